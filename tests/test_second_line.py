"""A second line on the same model: what is dense is traced and exported once, and never when anything has changed."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core import tracing
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export import remembered
from jupyter_hwprune.export.onnx import export_onnx
from jupyter_hwprune.keep.run import Run
from tests.networks import ZOO, cnn, images


class Scaled(nn.Module):
    """A number in the code, which is no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scale = cnn(), 2.0

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.body(x)
        return made * self.scale


class Patches(nn.Module):
    """Convolutions without a norm, whose weights the file holds as they are, and a head that it holds transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 32, 1), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.second(self.first(x).relu()).relu().flatten(2).transpose(1, 2))
        return y


class Clamped(nn.Module):
    """A weight that the file holds clamped, which leaves it as it is for as long as it is small."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.linear.weight.clamp(-1, 1), self.linear.bias)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often torch traces and how often it converts to ONNX, with nothing remembered of other tests."""
    monkeypatch.setattr(remembered, "_cases", type(remembered._cases)())
    counts: Counter[str] = Counter()

    def counted(what: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[what] += 1
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(torch.export, "export", counted("traced", torch.export.export))
    monkeypatch.setattr(torch.onnx, "export", counted("converted", torch.onnx.export))
    return counts


def pruned(model: nn.Module, x: Tensor, sparsity: float, **more: Any) -> Run:
    options: dict[str, Any] = {"pattern": "channel", "toolchain": "onnxruntime", "effort": QUICK} | more
    run = hwprune(model, x, sparsity=sparsity, **options)
    assert run.report.timed is not None
    return run


def test_the_analysis_and_the_export_of_a_line_share_one_trace(made: Counter[str], image: Tensor) -> None:
    pruned(cnn(), image, 0.5)
    assert made == {"traced": 2, "converted": 2}  # the dense and the pruned model, once each


@pytest.mark.parametrize("pattern", ["channel", "unstructured"])
def test_a_second_line_does_not_convert_the_dense_model_again(made: Counter[str], image: Tensor, pattern: str) -> None:
    model = cnn()
    pruned(model, image, 0.5, pattern=pattern)
    made.clear()
    pruned(model, image, 0.25, pattern=pattern)
    assert made["converted"] == 1


def test_a_change_of_any_kind_is_exported_anew(made: Counter[str], image: Tensor) -> None:
    model = Scaled()

    def converted(x: Tensor = image, **more: Any) -> int:
        made.clear()
        pruned(model, x, 0.5, **more)
        return made["converted"]

    assert converted() == 2
    with torch.no_grad():
        model.get_parameter("body.0.0.weight")[0, 0, 0, 0] += 1
    assert converted() == 2
    model.scale = 3.0
    assert converted() == 2
    assert converted(x=image + 1) == 0  # the graph is the same, and the outputs are computed anew
    assert converted(x=image + 1, batch=3) == 2


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
@pytest.mark.parametrize("name", ["transformer", "transformer_tied", "gated", "patches"])
def test_zeros_are_written_into_the_dense_file_as_a_conversion_would_write_them(
    made: Counter[str], name: str, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, make_input = ZOO.get(name, (Patches, images))
    model, x = build().eval(), make_input()
    smaller = hwprune(model, x, target="tpu-v5e", pattern=pattern, sparsity=0.5).model  # which is not measured here
    export_onnx(model, Example.of(x), tmp_path, "dense")
    files = []
    for times in (1, 2):
        files.append(onnx.load(str(export_onnx(smaller, Example.of(x), tmp_path, f"smaller-{times}").model)))
        assert made["converted"] == times
        monkeypatch.setattr(remembered, "_cases", type(remembered._cases)())
    assert files[0] == files[1]


def test_a_weight_that_the_file_holds_as_another_value_is_converted_anew(made: Counter[str], tmp_path: Path) -> None:
    model, x = Clamped().eval(), torch.randn(2, 8)
    export_onnx(model, Example.of(x), tmp_path, "small")
    nn.init.constant_(model.linear.weight[0, 0], 3.0)
    case = export_onnx(model, Example.of(x), tmp_path, "large")
    assert made["converted"] == 2
    session = onnxruntime.InferenceSession(case.model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {case.input_names[0]: x.numpy()})
    np.testing.assert_allclose(found, model(x).detach(), rtol=1e-5, atol=1e-6)


def test_files_of_a_run_are_its_own(made: Counter[str], image: Tensor, tmp_path: Path) -> None:
    model = cnn()
    first = pruned(model, image, 0.5)
    whole = first.artifacts["onnx"].read_bytes()
    first.artifacts["onnx"].write_bytes(b"changed by its user")
    second = pruned(model, image, 0.5)
    assert made["converted"] == 2
    assert second.artifacts["onnx"].read_bytes() == whole


def test_what_is_remembered_is_bounded(made: Counter[str], image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [cnn() for _ in range(3)]
    pruned(models[0], image, 0.5)
    (one, _) = (remembered._bytes(case) for _, case in remembered._cases.values())
    monkeypatch.setattr(remembered, "MOST_BYTES", int(one * 2.5))
    for model in models[1:]:
        pruned(model, image, 0.5)
    assert sum(remembered._bytes(case) for _, case in remembered._cases.values()) <= remembered.MOST_BYTES
    folders = {case.model.parent for _, case in remembered._cases.values()}
    assert all(folder.exists() for folder in folders)
    monkeypatch.setattr(remembered, "MOST_BYTES", 1)
    made.clear()
    pruned(cnn(), image, 0.5)
    assert made["converted"] == 2


def test_a_trace_stands_until_a_weight_changes(image: Tensor) -> None:
    model, example = cnn().eval(), Example.of(image)
    first = tracing.program_of(model, example)
    assert tracing.program_of(model, example) is first
    with torch.no_grad():
        model.get_parameter("0.0.weight").mul_(2)
    again = tracing.program_of(model, example)
    assert again is not first
    outputs = again.module()(image)
    np.testing.assert_allclose(outputs[0].detach(), model(image).detach(), rtol=1e-5, atol=1e-6)
