"""Models as people bring them: what cannot be copied or pruned as it stands is taken, or refused in one paragraph."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune, spectral_norm

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.copying import copied, copied_and_shared
from jupyter_hwprune.core.errors import InputError
from tests.conftest import fingerprint
from tests.networks import cnn


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))


def quick(model: nn.Module, example: Any, **options: Any) -> Any:
    asked: dict[str, Any] = {
        "target": "cpu",
        "toolchain": "onnxruntime",
        "pattern": "unstructured",
        "effort": QUICK,
    } | options
    return hwprune(model, example, **asked)


def said(run: Any, words: str) -> str:
    """Return the one reason or mistake that holds the words."""
    texts = (*run.report.reasons, *(each.what for each in run.report.mistakes))
    (found,) = (each for each in texts if words in each)
    return str(found)


def by_torch_prune(model: nn.Sequential) -> nn.Sequential:
    prune.l1_unstructured(model[0], "weight", amount=0.4)  # type: ignore[no-untyped-call]
    prune.random_unstructured(model[0], "weight", amount=0.1)  # type: ignore[no-untyped-call]
    return model


def by_weight_norm(model: nn.Sequential) -> nn.Sequential:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, in favour of parametrizations
        nn.utils.weight_norm(model[0])
    return model


def by_spectral_norm(model: nn.Sequential) -> nn.Sequential:
    spectral_norm(model[0])
    return model


HOOKED: dict[str, tuple[Callable[[nn.Sequential], nn.Sequential], str, str]] = {
    "prune": (by_torch_prune, "Your model multiplies 0.weight by masks", "weight_orig"),
    "weight_norm": (by_weight_norm, "torch.nn.utils.weight_norm of 0.weight is folded", "weight_g"),
    "spectral_norm": (by_spectral_norm, "torch.nn.utils.spectral_norm of 0.weight is folded", "weight_orig"),
}


@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
@pytest.mark.parametrize("kind", HOOKED)
def test_weights_that_hooks_compute_are_folded_in_the_copy(kind: str, pattern: str) -> None:
    build, words, own_name = HOOKED[kind]
    model = build(small())
    x = torch.randn(4, 16)
    model.eval()(x)
    mark = fingerprint(model)
    run = quick(model, x, pattern=pattern, sparsity=0.5)
    assert said(run, words)
    assert fingerprint(model) == mark
    assert own_name in dict(model[0].named_parameters())
    assert len(model[0]._forward_pre_hooks) == 1
    assert isinstance(run.model[0].weight, nn.Parameter)
    assert not run.model[0]._forward_pre_hooks
    assert [layer.name for layer in run.report.layers] == ["0", "2"]
    if pattern == "unstructured":
        kept = run.model[0].weight != 0
        weight = model[0].weight
        assert isinstance(weight, Tensor)
        assert torch.equal(run.model[0].weight[kept], weight[kept])


def test_a_mask_on_a_shared_weight_is_folded_for_its_own_layer_only() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    shared = model[0].get_parameter("weight")
    model[2].weight = shared
    prune.l1_unstructured(model[2], "weight", amount=0.5)  # type: ignore[no-untyped-call]
    dense = int(shared.count_nonzero())
    run = quick(model, torch.randn(2, 16), dense=["0"], sparsity=0.6)
    assert int((run.model[0].weight != 0).sum()) == dense
    assert int((run.model[2].weight == 0).sum()) >= 128


def test_a_pruned_model_is_trained_and_the_users_own_stays() -> None:
    model = by_torch_prune(small())
    mark = fingerprint(model)

    def train(net: nn.Module) -> None:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        net(torch.randn(4, 16)).square().sum().backward()
        optimizer.step()

    run = quick(model, torch.randn(4, 16), sparsity=0.5, finetune=train)
    assert fingerprint(model) == mark
    assert int((run.model[0].weight == 0).sum()) == 256


class Guarded(nn.Module):
    """Holds a lock, an open file and what it computed last, as models in people's notebooks do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()
        self.body[1].keep = {"locks": [threading.Lock()]}  # type: ignore[assignment]
        self.lock, self.rows = threading.Lock(), (row for row in range(3))
        self.log: Any = Path("/dev/null").open()  # noqa: SIM115
        self.seen = self.body(torch.ones(1, 16))

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            y: Tensor = self.body(x)
            return y


def test_attributes_that_cannot_be_copied_are_shared_and_named() -> None:
    model = Guarded()
    with pytest.raises((TypeError, RuntimeError)):
        copy.deepcopy(model)
    own, shared = copied_and_shared(model)
    assert shared == ("body.1.keep.locks.0 (lock)", "lock (lock)", "rows (generator)", "log (TextIOWrapper)")
    assert isinstance(own, Guarded)
    assert own.lock is model.lock
    assert own.seen is not model.seen
    assert torch.equal(own.seen, model.seen)
    assert own.body[0].weight is not model.body[0].weight
    run = quick(model, torch.randn(2, 16), sparsity=0.5, score=lambda net: float(net(torch.ones(1, 16)).sum()))
    assert "lock (lock)" in said(run, "4 attributes of the model cannot be copied, so they are shared")
    model.log.close()


def test_a_module_that_refuses_to_be_copied_is_never_shared() -> None:
    class Single(nn.Linear):
        def __deepcopy__(self, _memo: Any) -> Single:
            raise RuntimeError("there is only one")

    with pytest.raises(RuntimeError, match="only one"):
        copied(nn.Sequential(Single(4, 4)))
    with pytest.raises(InputError, match=r"cannot be copied .*there is only one"):
        quick(nn.Sequential(Single(4, 4)), torch.ones(1, 4))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "scripted": (lambda: torch.jit.script(small()), r"The model is TorchScript .*load_state_dict\(scripted"),
    "traced part": (
        lambda: nn.Sequential(torch.jit.trace(nn.Linear(16, 4), torch.ones(1, 16)), nn.Linear(4, 4)),  # type: ignore[no-untyped-call]
        r"part 0 is TorchScript",
    ),
    "quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(small(), {nn.Linear}),  # type: ignore[no-untyped-call]
        r"part 0 is quantised .*Prune the floating-point model first",
    ),
    "on meta": (lambda: small().to("meta"), r"weight 0.weight is on the meta device.*load_state_dict"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_of_models_without_weights_to_prune_are_refused_with_a_cure(kind: str, pattern: str) -> None:
    build, words = REFUSED[kind]
    with pytest.raises(InputError, match=words) as caught:
        quick(build(), torch.ones(1, 16), pattern=pattern)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
def test_a_layer_of_size_zero_is_left_alone(pattern: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.nothing = small(), nn.Linear(16, 0)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.body(x), self.nothing(x)], 1)

    run = quick(Net(), torch.randn(2, 16), pattern=pattern, sparsity=0.5)
    assert "nothing" not in [layer.name for layer in run.report.layers]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("toolchain", ["onnxruntime", "openvino"])
def test_models_of_16_bits_are_measured_in_float32_on_a_cpu(dtype: torch.dtype, toolchain: str) -> None:
    model = cnn().to(dtype)
    mark = fingerprint(model)
    run = quick(model, torch.randn(2, 3, 16, 16).to(dtype), pattern="channel", sparsity=0.5, toolchain=toolchain)
    assert run.report.measurement.evidence.kind == "measured"
    assert run.report.request.dtype == "float32"
    name = str(dtype).removeprefix("torch.")
    assert f"stays in {name}" in said(run, f"The model is in {name}. {toolchain} computes in float32")
    assert {parameter.dtype for parameter in run.model.parameters()} == {dtype}
    assert fingerprint(model) == mark
