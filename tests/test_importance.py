"""What is kept, by which inputs, and how much of each layer: asked for as a user does, without a measurement."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.core.errors import InputError, PruneError
from jupyter_hwprune.core.example import Example
from tests.conftest import fingerprint

UNMEASURED: dict[str, Any] = {"target": "tpu-v5e", "toolchain": "xla"}  # nothing to wait for: pruning is tested


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)


@pytest.fixture(scope="module")
def trained(digits: tuple[Tensor, Tensor]) -> nn.Module:
    """A small network that really knows the digits, so that losing weights shows."""
    torch.manual_seed(0)
    x, y = digits
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(300):
        rows = torch.arange(step * 64, step * 64 + 64) % 1200
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def drift(model: nn.Module, run: Run, x: Tensor) -> float:
    """How far the outputs went on inputs that nobody calibrated on, relative to their size."""
    with torch.no_grad():
        before, after = model(x), run.model(x)
    return float((after - before).square().sum() / before.square().sum())


@pytest.mark.parametrize("pattern", ["2:4", "unstructured"])
def test_inputs_make_better_choices_and_mending_better_ones_still(
    trained: nn.Module, digits: tuple[Tensor, Tensor], pattern: str
) -> None:
    x, _ = digits
    before = fingerprint(trained)
    drifts = {
        importance: drift(
            trained,
            hwprune(
                trained,
                x[:8],
                pattern=pattern,
                sparsity=None if pattern == "2:4" else 0.6,
                importance=importance,
                calib=None if importance == "magnitude" else x[:1200],
                **UNMEASURED,
            ),
            x[1200:],
        )
        for importance in ("magnitude", "activation", "second-order")
    }
    assert drifts["second-order"] < 0.5 * drifts["magnitude"]
    assert drifts["second-order"] < drifts["activation"]
    assert fingerprint(trained) == before


@pytest.mark.parametrize("form", ["tensor", "list", "loader", "pairs", "example"])
def test_calibration_inputs_come_in_every_usual_form(
    trained: nn.Module, digits: tuple[Tensor, Tensor], form: str
) -> None:
    x, y = digits
    calib: Any = {
        "tensor": x[:96],
        "list": [x[:48], x[48:96]],
        "loader": DataLoader(TensorDataset(x[:96], y[:96]), batch_size=32),
        "pairs": [(x[:48], y[:48]), (x[48:96], y[48:96])],
        "example": None,
    }[form]
    run = hwprune(
        trained, x[:96], pattern="2:4", importance="second-order", calib=calib, calib_name="data", **UNMEASURED
    )
    said = "of the calibration inputs" if form != "example" else "on the example input alone (96 rows)"
    assert any(said in reason and "96 rows" in reason for reason in run.report.reasons)
    assert run.report.request.importance == "second-order"
    assert all(layer.error is not None and 0 < layer.error < 1 for layer in run.report.layers)
    assert "layer error" in str(run)
    assert "by second-order" in str(run)


@pytest.mark.parametrize("kind", ["linear", "grouped convolution"])
def test_a_bias_makes_up_for_what_the_inputs_have_in_common(kind: str) -> None:
    layer: nn.Module
    layer, x = {
        "linear": (nn.Linear(32, 16), 3 + torch.randn(256, 32)),  # as after a ReLU: far from zero on average
        "grouped convolution": (nn.Conv2d(16, 8, 3, groups=2), 3 + torch.randn(16, 16, 6, 6)),
    }[kind]
    run = hwprune(nn.Sequential(layer).eval(), x, pattern="2:4", importance="second-order", **UNMEASURED)
    over = [d for d in range(x.ndim) if d != 1]
    before, after = layer(x), run.model(x)
    torch.testing.assert_close(after.mean(over), before.mean(over), rtol=1e-3, atol=1e-4)
    assert (after - before).square().mean() < 0.7 * before.var()


def test_an_input_that_never_varies_is_left_to_the_bias() -> None:
    x = torch.cat([torch.randn(64, 12), torch.full((64, 4), 7.0)], dim=1)
    model = nn.Sequential(nn.Linear(16, 8)).eval()
    run = hwprune(model, x, pattern="unstructured", sparsity=0.25, importance="second-order", **UNMEASURED)
    assert int((run.model[0].weight[:, 12:] == 0).sum()) >= 24  # type: ignore[index]
    assert drift(model, run, x) < 1e-3


def test_inputs_that_say_nothing_are_no_reason_to_fail(trained: nn.Module) -> None:
    report = hwprune(trained, torch.zeros(4, 64), pattern="2:4", importance="second-order", **UNMEASURED).report
    assert [layer.name for layer in report.layers] == ["0", "2", "4"]
    assert all(layer.valid for layer in report.layers)


def test_a_convolution_in_groups_is_solved_with_the_inputs_of_each_group() -> None:
    model = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(32, 8, 3)).eval()
    mix = torch.randn(16, 4)  # channels that say much the same, as real ones do
    x, fresh = (torch.einsum("ck,nkhw->nchw", mix, torch.randn(16, 4, 8, 8)) for _ in range(2))
    runs = {
        importance: hwprune(model, x, pattern="2:4", importance=importance, **UNMEASURED)
        for importance in ("magnitude", "second-order")
    }
    assert drift(model, runs["second-order"], fresh) < 0.8 * drift(model, runs["magnitude"], fresh)
    assert all(layer.valid for layer in runs["second-order"].report.layers)


def test_a_scan_spares_the_layers_that_matter_and_meets_the_total(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    x, y = digits
    shares = {
        allocation: hwprune(
            trained,
            x[:8],
            pattern="unstructured",
            sparsity=0.8,
            allocation=allocation,
            calib=x[:512] if allocation != "uniform" else None,
            score=lambda model: float((model(x[:512]).argmax(1) == y[:512]).float().mean()),
            **UNMEASURED,
        )
        for allocation in ("uniform", "sensitivity", "sensitivity:score")
    }
    for run in shares.values():
        sizes = {layer.name: layer.shape[0] * layer.shape[1] for layer in run.report.layers}
        gone = sum(layer.sparsity * sizes[layer.name] for layer in run.report.layers)
        assert gone / sum(p.numel() for p in trained.parameters() if p.ndim == 2) == pytest.approx(0.8, abs=0.002)
    report = shares["sensitivity"].report
    assert len({layer.sparsity for layer in report.layers}) > 1
    assert drift(trained, shares["sensitivity"], x[1200:]) < drift(trained, shares["uniform"], x[1200:])
    assert report.sensitivity is not None
    assert {curve.layer for curve in report.sensitivity.curves} == {"0", "2", "4"}
    assert shares["uniform"].report.sensitivity is None


def test_layers_named_dense_stay_as_they_are(trained: nn.Module) -> None:
    run = hwprune(trained, torch.randn(2, 64), pattern="unstructured", sparsity=0.5, dense=["4", "0*"], **UNMEASURED)
    assert [layer.name for layer in run.report.layers] == ["2"]
    assert torch.equal(run.model[0].weight, trained[0].weight)  # type: ignore[index]
    assert {s.name for s in run.report.skipped if "--dense" in s.reason} == {"0", "4"}


def test_a_layer_that_shares_its_weight_with_one_named_dense_stays_too() -> None:
    first = nn.Linear(16, 16)
    shared = nn.Sequential(first, nn.ReLU(), nn.Linear(16, 16))
    shared[2].weight = first.weight
    run = hwprune(
        nn.Sequential(shared, nn.Linear(16, 4)), torch.randn(2, 16), pattern="2:4", dense=["0.2"], **UNMEASURED
    )
    assert [layer.name for layer in run.report.layers] == ["1"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"importance": "gradient"}, "There is no importance 'gradient'. Use auto, magnitude, activation"),
        ({"importance": "taylor"}, "--importance taylor ranks channels, but the pattern is 2:4"),
        ({"importance": "activation", "pattern": "channel"}, "ranks single weights, but the pattern is channel"),
        ({"allocation": "sensitivity"}, "2:4 fixes it"),
        ({"permute": True, "pattern": "unstructured"}, "--permute reorders input channels"),
        (
            {"allocation": "global", "importance": "second-order", "pattern": "unstructured"},
            "ranks all layers together",
        ),
        ({"calib": torch.zeros(2, 64)}, "--calib is for options that use inputs"),
        ({"importance": "activation", "calib": "words"}, "calib"),
        ({"importance": "activation", "calib": []}, "empty"),
        ({"importance": "activation", "calib": torch.zeros(2, 63)}, "63"),
        ({"importance": "activation", "calib": torch.full((2, 64), torch.nan)}, "NaN"),
        ({"dense": ["heads"]}, "'heads'"),
        ({"dense": [3]}, "--dense is [3]"),
        ({"dense": ["*"]}, "--dense"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_does_not_go_together_is_one_clear_paragraph(
    trained: nn.Module, options: dict[str, Any], said: str
) -> None:
    before = fingerprint(trained)
    with pytest.raises((InputError, PruneError), match=re.escape(said)) as caught:
        hwprune(trained, torch.randn(2, 64), **{"pattern": "2:4"} | options, **UNMEASURED)
    assert "\n" not in str(caught.value)
    assert fingerprint(trained) == before


def test_channels_change_places_and_nothing_else_changes(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, _ = digits
    runs = {
        permute: hwprune(trained, x[:64], pattern="2:4", permute=permute, **UNMEASURED) for permute in (False, True)
    }
    kept = {
        permute: sum(float(p.detach().abs().sum()) for p in run.model.parameters() if p.ndim == 2)
        for permute, run in runs.items()
    }
    assert kept[True] > kept[False]
    assert any("Channels were reordered" in reason for reason in runs[True].report.reasons)
    assert all(layer.valid for layer in runs[True].report.layers)
    assert runs[True].report.request.permute
    assert Example.of(x).outputs(runs[True].model)[0].shape == (len(x), 10)


def accuracy(model: nn.Module, digits: tuple[Tensor, Tensor]) -> float:
    x, y = digits
    return float((model(x[1200:]).argmax(1) == y[1200:]).float().mean())


def test_gradients_find_the_neurons_that_matter(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    options = UNMEASURED | {"pattern": "channel", "sparsity": 0.25, "score": lambda model: accuracy(model, digits)}
    taylor = hwprune(trained, x[:8], importance="taylor", calib=[(x[:600], y[:600])], **options).report
    plain = hwprune(trained, x[:8], **options).report
    assert taylor.scores is not None
    assert plain.scores is not None
    assert taylor.scores.pruned > plain.scores.pruned
    assert [layer.pruned_shape for layer in taylor.layers] == [(48, 64), (48, 48), (10, 48)]
    assert taylor.request.importance == "taylor"


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_a_scan_of_channels_takes_more_where_less_is_lost(
    trained: nn.Module, digits: tuple[Tensor, Tensor], importance: str
) -> None:
    x, _ = digits
    options = UNMEASURED | {"pattern": "channel", "sparsity": 0.5, "importance": importance, "calib": x[:512]}
    even, uneven = (
        hwprune(trained, x[:8], allocation=allocation, **options)
        if allocation != "uniform" or importance != "magnitude"
        else hwprune(trained, x[:8], **{key: value for key, value in options.items() if key != "calib"})
        for allocation in ("uniform", "sensitivity")
    )
    assert uneven.report.sensitivity is not None
    assert len(uneven.report.sensitivity.curves) == 2  # the two hidden layers; the third is the model's output
    shapes = [layer.pruned_shape[0] for layer in uneven.report.layers]
    assert shapes[0] != shapes[1]
    assert drift(trained, uneven, x[1200:]) < drift(trained, even, x[1200:])
    assert "how sensitive each layer is" in uneven._repr_mimebundle_()["text/html"]


def test_channels_of_a_layer_named_dense_stay(trained: nn.Module) -> None:
    run = hwprune(trained, torch.randn(2, 64), pattern="channel", sparsity=0.5, dense=["0"], **UNMEASURED)
    assert {layer.name: layer.pruned_shape for layer in run.report.layers} == {"2": (32, 64), "4": (10, 32)}
    assert [s.reason for s in run.report.skipped] == ["--dense leaves it unpruned"]
