"""What a user takes home: numbers for a logger, a folder that runs without this package, files that a save keeps."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
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


def pruned(toolchain: str = "onnxruntime", model: nn.Module | None = None, **options: Any) -> Run:
    own: dict[str, Any] = {"pattern": "channel", "sparsity": 0.5, "toolchain": toolchain, "effort": QUICK} | options
    return hwprune(Named() if model is None else model, INPUTS, **own)


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
    assert said_of_itself["hwprune.toolchain"] == toolchain
    again = Report.load(tmp_path / "deploy" / "report.json")
    assert again == run.report
    assert "<table" in (tmp_path / "deploy" / "report.html").read_text()
    assert "python run.py" in (tmp_path / "deploy" / "README.md").read_text()


class Cells(nn.Module):
    """A token of a class before what was read both ways: the graph is written for the batch that it was traced with."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.cells, self.head = nn.LSTM(8, 8, bidirectional=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        read, _ = self.cells(x.transpose(0, 1))
        y: Tensor = self.head(torch.cat([self.token.expand(x.shape[0], -1, -1), read.transpose(0, 1)], 1)[:, :2])
        return y


class Largest(nn.Module):
    """Picks by the number of the row, which a trace of one row writes down as 0."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cnn()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y[torch.arange(x.shape[0]), y.argmax(1)]


class OneRow(nn.Module):
    """Written for one row."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cnn()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x).view(1, 10)
        return y


def outputs_of(path: Path, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    """Load a model's file as it is, in the runtime that it was written for, and run it."""
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    if path.suffix == ".onnx":
        return list(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, arrays))
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled(arrays).values())


def error_of(found: list[np.ndarray], expected: list[Tensor]) -> float:
    assert [each.shape for each in found] == [each.shape for each in expected]
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(one - own.numpy()).max() / own.abs().max()) for one, own in pairs)


@pytest.mark.parametrize("toolchain", ["onnxruntime", "openvino"])
def test_what_is_taken_home_takes_any_batch_in_float_and_in_int8(toolchain: str, tmp_path: Path) -> None:
    model = Named()
    before = copy.deepcopy(model.state_dict())
    run = pruned(toolchain, model, dtype="int8")
    run.export(tmp_path / "deploy")
    run.save(tmp_path / "run")
    kept = load(tmp_path / "run", Named()).artifacts
    assert run.report.corners is not None
    int8 = run.report.corners.rows[3].error
    assert int8 is not None
    kinds = {"onnx": 1e-3, "ir": 1e-3, "int8_onnx": max(0.15, 3 * int8), "int8_xml": max(0.15, 3 * int8)}
    dense: nn.Module = Named().eval()
    dense.load_state_dict(before)
    seen: set[str] = set()
    for batch in (1, 2, 3, 7):
        inputs = {"pixels": INPUTS["pixels"][torch.arange(batch) % 2], "scale": INPUTS["scale"]}
        for own, prefix in ((run.model.eval(), ""), (dense, "dense_")):
            with torch.no_grad():
                expected = list(own(**inputs).values())
            for kind in (prefix + each for each in kinds if prefix + each in kept):
                seen.add(kind)
                for path in (kept[kind], tmp_path / "deploy" / kept[kind].name):
                    assert error_of(outputs_of(path, inputs), expected) <= kinds[kind.removeprefix("dense_")]
    assert seen >= ({"int8_onnx", "dense_int8_onnx"} if toolchain == "onnxruntime" else {"int8_xml", "dense_int8_xml"})
    assert seen >= {"onnx", "dense_onnx"}
    readme = (tmp_path / "deploy" / "README.md").read_text()
    assert "The files take any batch" in readme
    assert "at batches of 1 and 2 and 3" in readme
    assert "All four models are here" in readme
    assert ("`pruned.optimised.onnx` | the optimised file, for the type of device" in readme) == (
        toolchain == "onnxruntime"
    )


@pytest.mark.parametrize("toolchain", ["onnxruntime", "openvino"])
def test_a_graph_that_was_traced_for_one_row_takes_any_batch(toolchain: str) -> None:
    x = torch.randn(3, 5, 8)
    run = hwprune(Cells(), x[:1], pattern="unstructured", sparsity=0.5, toolchain=toolchain, effort=QUICK)
    for rows in (x[:1], x[1:], x):
        with torch.no_grad():
            expected = run.model.eval()(rows)
        assert error_of(outputs_of(run.artifacts["onnx"], {"x": rows}), [expected]) <= 1e-3


@pytest.mark.parametrize(
    ("model", "said"),
    [(Largest(), "at another batch the file is off by"), (OneRow(), "own forward fails on a batch of 3")],
    ids=["wrong at another batch", "refused by torch"],
)
def test_a_file_that_is_wrong_at_another_batch_keeps_the_examples_and_says_why(
    model: nn.Module, said: str, tmp_path: Path
) -> None:
    x = torch.randn(1, 3, 16, 16)
    run = hwprune(model, x, pattern="channel", sparsity=0.5, toolchain="onnxruntime", dtype="int8", effort=QUICK)
    run.export(tmp_path / "deploy")
    readme = " ".join((tmp_path / "deploy" / "README.md").read_text().split())
    assert "The files take a batch of 1 alone: " in readme
    assert said in readme
    assert "run.py" in readme
    run_script(tmp_path / "deploy")
    for kind in ("onnx", "int8_onnx"):
        (port,) = onnx.load(run.artifacts[kind]).graph.input
        assert [dim.dim_value for dim in port.type.tensor_type.shape.dim] == [1, 3, 16, 16]
    with torch.no_grad():
        expected = run.model.eval()(x)
    assert error_of(outputs_of(run.artifacts["onnx"], {"x": x}), [expected]) <= 1e-3


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
