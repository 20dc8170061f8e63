"""What a user takes home: numbers for a logger, a folder that runs without this package, files that a save keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune, load
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.errors import InputError, ReportError
from jupyter_hwprune.report import Report
from tests.networks import cnn
from tests.reports import report
from tests.test_report import SMALL, UNKNOWN


class Named(nn.Module):
    """A network whose outputs have names."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cnn()

    def forward(self, pixels: Tensor, scale: Tensor) -> dict[str, Tensor]:
        logits = self.body(pixels) * scale
        return {"logits": logits, "probabilities": logits.softmax(1)}


INPUTS = {"pixels": torch.randn(2, 3, 16, 16), "scale": torch.tensor([2.0])}


def pruned(toolchain: str = "onnxruntime", **options: Any) -> Run:
    own: dict[str, Any] = {"pattern": "channel", "sparsity": 0.5, "toolchain": toolchain, "effort": QUICK} | options
    return hwprune(Named(), INPUTS, **own)


def run_script(folder: Path) -> str:
    """Run the folder's script where this package cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "run.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "jupyter_hwprune" not in (folder / "run.py").read_text()
    return done.stdout


@pytest.mark.parametrize("toolchain", ["onnxruntime", "openvino"])
def test_an_exported_folder_runs_by_itself_under_the_models_own_names(toolchain: str, tmp_path: Path) -> None:
    run = pruned(toolchain)
    run.export(tmp_path / "deploy")
    said = run_script(tmp_path / "deploy")
    assert "logits (2, 10) float32" in said
    assert "probabilities (2, 10) float32" in said
    proto = onnx.load(tmp_path / "deploy" / run.artifacts["onnx"].name)
    onnx.checker.check_model(proto)
    assert [value.name for value in proto.graph.input] == ["pixels", "scale"]
    assert [value.name for value in proto.graph.output] == ["logits", "probabilities"]
    said_of_itself = {each.key: each.value for each in proto.metadata_props}
    assert said_of_itself["hwprune.pattern"] == "channel at 0.5"
    assert run.report.fingerprints.pruned in said_of_itself["hwprune.report"]
    again = Report.load(tmp_path / "deploy" / "report.json")
    assert again == run.report
    assert "<table" in (tmp_path / "deploy" / "report.html").read_text()
    assert "python run.py" in (tmp_path / "deploy" / "README.md").read_text()


def test_the_exported_file_computes_what_the_pruned_model_does(tmp_path: Path) -> None:
    import onnxruntime

    run = pruned()
    run.export(tmp_path / "deploy")
    session = onnxruntime.InferenceSession(
        tmp_path / "deploy" / run.artifacts["onnx"].name, providers=["CPUExecutionProvider"]
    )
    with np.load(tmp_path / "deploy" / "example.npz") as example:
        found = session.run(["logits"], dict(example))[0]
    expected = run.model.eval()(**INPUTS)["logits"].detach().numpy()
    assert np.abs(found - expected).max() <= run.report.check.tolerance * np.abs(expected).max()  # type: ignore[union-attr]


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    run = pruned()
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="holds files, which stay as they are"):
        run.export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    run.export(tmp_path / "empty")
    assert (tmp_path / "empty" / "run.py").exists()


def test_a_run_that_nothing_compiled_says_so(tmp_path: Path) -> None:
    run = hwprune(Named(), INPUTS, target="tpu-v5e", pattern="channel", sparsity=0.5)
    with pytest.raises(InputError, match="There is nothing to export"):
        run.export(tmp_path / "deploy")
    assert not (tmp_path / "deploy").exists()


def test_a_saved_run_keeps_its_compiled_files(tmp_path: Path) -> None:
    run = pruned()
    run.save(tmp_path / "run")
    again = load(tmp_path / "run", Named())
    assert again.artifacts.keys() == run.artifacts.keys()
    assert all(path.read_bytes() == run.artifacts[kind].read_bytes() for kind, path in again.artifacts.items())
    again.save(tmp_path / "again")
    assert load(tmp_path / "again", Named()).artifacts.keys() == run.artifacts.keys()
    assert not load(tmp_path / "run", Named(), weights="own").artifacts  # they are of other weights


def test_a_compiled_file_that_changed_is_refused(tmp_path: Path) -> None:
    run = pruned()
    run.save(tmp_path / "run")
    path = tmp_path / "run" / "files" / run.artifacts["onnx"].name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ReportError, match="its content is not what its checksum says"):
        load(tmp_path / "run", Named())
    path.unlink()
    with pytest.raises(ReportError, match="cannot be read"):
        load(tmp_path / "run", Named())


def test_metrics_are_flat_numbers_and_what_is_unknown_is_left_out() -> None:
    found = SMALL.metrics()
    assert {"speedup", "speedup_low", "speedup_high", "dense_ms", "pruned_ms", "dense_score", "output_error"} <= {
        *found
    }
    assert all(type(value) is float for value in found.values())
    assert json.loads(json.dumps(found)) == found
    unknown = UNKNOWN.metrics()
    assert not {"speedup", "dense_ms", "dense_score", "output_error"} & {*unknown}
    assert "dense_weights" in unknown


def test_metrics_of_estimates_are_no_speedups() -> None:
    from tests.reports import estimated

    found = estimated(report(SMALL.layers)).metrics()
    assert "estimated_ratio" in found
    assert "speedup" not in found
