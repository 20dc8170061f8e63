"""Where a compiler's estimates decide, layers whose zeros lower none of theirs are dense again, in runs and advice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from jupyter_hwprune import Report, advise, hwprune
from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.survey.advice import levels

SETTLING = "tests.fakes.settling"


def mlp() -> nn.Module:
    """One small weight, in which the chip skips no zeros, between large ones."""
    torch.manual_seed(0)
    layers = (nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 128))
    return nn.Sequential(*layers).eval()


def pruned(model: nn.Module, pattern: str = "unstructured", **options: Any) -> Report:
    x = torch.randn(4, 64)
    return hwprune(model, x, target="tpu-v5e", toolchain=SETTLING, pattern=pattern, sparsity=0.5, **options).report


def test_a_layer_whose_zeros_lower_no_estimate_gets_its_dense_weights_back() -> None:
    model = mlp()
    report = pruned(model)
    (returned,) = report.returned
    assert returned.name == "2"
    assert returned.reason == "the compiler estimates 1,024 cycles with its zeros, 1,024 without"
    assert [layer.name for layer in report.layers] == ["0", "4"]
    assert all(layer.estimate and layer.estimate.pruned < layer.estimate.dense for layer in report.layers)
    assert report.totals.pruned_weights == sum(weight.numel() for weight in model.parameters()) - 2048
    assert any("1 layer of 3 gained nothing" in each for each in report.reasons)


def test_it_stays_pruned_if_the_user_keeps_all_or_the_zeros_are_trained_or_channels_go() -> None:
    for options in ({"keep_all": True}, {"finetune": lambda _: None}, {"pattern": "channel/8"}):
        report = pruned(mlp(), **options)
        assert not report.returned
        assert "2" in {layer.name for layer in report.layers}


def test_advice_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "BLOCKS", ())
    found = advise(mlp(), torch.randn(4, 64), target="tpu-v5e", toolchain=SETTLING, fresh=True)
    (zeros,) = [row for row in found.rows if row.pattern == "unstructured"]
    assert zeros.estimate is not None
    assert zeros.estimate.ratio == pytest.approx((2048 + 512 + 2048) / (205 + 512 + 205), rel=0.01)
    assert zeros.weights_removed == pytest.approx(0.9 * 4096 / (4608 + 176), rel=0.01)


def test_where_no_layer_gains_all_are_dense_again() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 16)).eval()
    report = pruned(model)
    assert {each.name for each in report.returned} == {"0", "2"}
    assert not report.layers
    assert report.measurement.kind == "estimated"
    assert report.measurement.pruned == report.measurement.dense
    assert report.totals.pruned_weights == report.totals.weights
    assert "2 layers of 2 gained nothing" in str(mimebundle(report)["text/html"])
