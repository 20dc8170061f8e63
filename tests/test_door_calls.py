"""Calls of `hwprune` as people make them: any output, any example, and one door for every failure."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import hwprune, simulate
from jupyter_hwprune.core.errors import InputError, PruneError, ToolchainError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.outputs import tensors_of
from jupyter_hwprune.pruning.graph import analyse
from tests.test_door_models import quick, said, small


@dataclasses.dataclass
class Answer:
    scores: Tensor
    hidden: dict[str, Tensor]
    rows: int = 3


class Cache:
    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors


class Net(nn.Module):
    """Returns what `wrap` makes of its hidden values and its scores."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.body, self.wrap = small(), wrap

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.body[0](x))
        return self.wrap(hidden, self.body[2](hidden))


OUTPUTS: dict[str, tuple[Any, int, str | None]] = {
    "an int and None": (lambda h, y: (y, 7, None, h), 2, "1 value among the model's outputs is no tensor .*: 1 (int)"),
    "a dataclass": (lambda h, y: Answer(y, {"h": h}), 2, "1 value among the model's outputs is no tensor .*rows (int)"),
    "a cache": (lambda h, y: {"y": [y], "past": Cache(h)}, 1, "is left out of what .*past (Cache)"),
    "a cache in a dataclass": (lambda h, y: (Answer(y, {}), Cache(h)), 1, "0.rows (int), 1 (Cache)"),
    "tensors only": (lambda h, y: {"y": y, "h": (h, h[:1])}, 3, None),
}


@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_tensors_there_are_among_the_outputs_are_taken(kind: str, pattern: str) -> None:
    wrap, count, words = OUTPUTS[kind]
    model, x = Net(wrap), torch.randn(2, 16)
    assert len(tensors_of(model(x))) == count
    run = quick(model, x, pattern=pattern, sparsity=0.5) if count == 1 or pattern != "channel" else None
    if run is None:  # the hidden values are an output, so that their channels have to stay
        with pytest.raises(PruneError, match="its channels are the model's output"):
            quick(model, x, pattern=pattern, sparsity=0.5)
        return
    assert run.report.measurement.evidence.kind == "measured"
    if words is None:
        assert not [reason for reason in run.report.reasons if "left out" in reason]
    else:
        for part in words.split(".*"):
            assert part in said(run, "left out of what is compared")


REFUSED: dict[str, tuple[Any, str]] = {
    "sparse": (lambda _, y: (y, y.to_sparse()), r"a sparse tensor \(torch.sparse_coo\).*y\.to_dense\(\)"),
    "no tensor": (lambda *_: Cache(), "returns no tensor, but a value of type Cache.*dataclass of tensors"),
    "None": (lambda *_: None, "returns no tensor, but None"),
}


@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
@pytest.mark.parametrize("kind", REFUSED)
def test_outputs_that_no_runtime_returns_are_refused_with_a_cure(kind: str, pattern: str) -> None:
    wrap, words = REFUSED[kind]
    with pytest.raises(InputError, match=words) as caught:
        quick(Net(wrap), torch.ones(1, 16), pattern=pattern)
    assert "\n" not in str(caught.value)


def test_an_example_on_the_meta_device_is_refused() -> None:
    with pytest.raises(InputError, match=r"example input of shape \(2, 16\) is on the meta device.*a real tensor"):
        quick(small(), torch.ones(2, 16, device="meta"))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = small()

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        x += 1
        shift.mul_(2)
        y: Tensor = self.body(x + shift)
        return y


@pytest.mark.parametrize("options", [{}, {"pattern": "channel"}, {"importance": "activation"}, {"batch": 4}])
def test_a_forward_that_changes_its_inputs_changes_only_copies(options: dict[str, Any]) -> None:
    x, shift = torch.randn(2, 16), torch.randn(2, 16)
    before = x.clone(), shift.clone()
    run = quick(InPlace(), (x, shift), sparsity=0.5, **options)
    assert run.report.measurement.evidence.kind == "measured"
    assert torch.equal(x, before[0])
    assert torch.equal(shift, before[1])


def test_each_pass_gets_the_same_values_and_one_tensor_stays_one() -> None:
    class Same(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            assert a is b
            return a.add_(1)

    x = torch.zeros(2)
    example = Example.of((x, x))
    assert [float(out.sum()) for _ in range(2) for out in example.outputs(Same())] == [2, 2]
    assert not x.any()


def test_a_score_is_taken_without_gradients() -> None:
    modes = []

    def score(net: nn.Module) -> float:
        value = net(torch.ones(1, 16)).sum()
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled(), value.requires_grad))
        return value  # type: ignore[no-any-return]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(small(), torch.ones(1, 16), sparsity=0.5, score=lambda net: float(score(net)))
    assert set(modes) == {(False, False, False)}


def test_an_error_that_is_not_ours_names_the_phase_and_keeps_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("_odd")

    monkeypatch.setattr("jupyter_hwprune.flow.bench_for", broken)
    told = []
    with pytest.raises(PruneError, match=r"hwprune stopped in the phase prune \(.*KeyError: '_odd'\. Your") as caught:
        quick(small(), torch.ones(1, 16), progress=lambda *said: told.append(said))
    assert isinstance(caught.value.__cause__, KeyError)
    assert "\n" not in str(caught.value)
    assert told
    monkeypatch.setattr("jupyter_hwprune.survey.simulation.choose", broken)
    with pytest.raises(ToolchainError, match=r"simulate stopped before its first phase .*KeyError"):
        simulate(small(), torch.ones(1, 16), target="x86-cpu", toolchain="deepsparse")


def test_the_callers_own_errors_and_interrupts_pass_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class MineError(Exception):
        pass

    def raising(error: BaseException) -> Any:
        def function(*_: Any) -> None:
            raise error

        return function

    for option in ("finetune", "progress"):
        with pytest.raises(MineError):
            quick(small(), torch.ones(1, 16), **{option: raising(MineError())})
    monkeypatch.setattr("jupyter_hwprune.flow.bench_for", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        quick(small(), torch.ones(1, 16))
    with pytest.raises(TypeError, match="colour"):
        hwprune(small(), torch.ones(1, 16), colour="red")  # type: ignore[call-arg]


def test_constants_of_a_recorded_run_are_read() -> None:
    class Branches(nn.Module):  # torch.export stops at the branch, so that one run is recorded
        def __init__(self) -> None:
            super().__init__()
            self.body = small()

        def forward(self, x: Tensor) -> Tensor:
            if x.sum().item() > -1e9:
                x = torch.cat([torch.tensor([]), x * torch.tensor([2.0])], 0)
            y: Tensor = self.body(x)
            return y

    found = analyse(Branches(), Example.of(torch.ones(2, 16)))
    assert [(each.name, each.units) for each in found.sets] == [("body.0", 32)]


@pytest.mark.parametrize("toolchain", ["onnxruntime", "openvino"])
def test_an_input_that_a_reshape_follows_is_known_to_the_runtime(toolchain: str) -> None:
    class Reshaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, 16), nn.Linear(16, 8)

        def forward(self, ids: Tensor) -> Tensor:
            y: Tensor = self.head(torch.relu(self.table(ids.view(-1, ids.shape[-1]))))
            return y

    run = quick(Reshaped(), torch.randint(0, 20, (2, 6)), sparsity=0.5, toolchain=toolchain)
    assert run.report.measurement.evidence.kind == "measured"
