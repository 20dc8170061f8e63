"""BatchNorm's running statistics follow the pruned model, where calibration inputs are given."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.keep.run import Run
from tests.conftest import fingerprint
from tests.networks import cnn

DATA = [torch.randn(64, 3, 16, 16) * 2 + 1 for _ in range(3)]


def trained(network: nn.Module) -> nn.Module:
    """Give a network statistics of its own data, as training leaves them."""
    torch.optim.swa_utils.update_bn(DATA, network)
    return network.eval()


def pruned(model: nn.Module, **options: Any) -> Run:
    own: dict[str, Any] = {"pattern": "unstructured", "sparsity": 0.8, "toolchain": "onnxruntime", "effort": QUICK}
    return hwprune(model, DATA[0][:2], **own | options)


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer for name, buffer in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
def test_they_are_those_of_the_pruned_model_over_the_calibration_inputs(pattern: str) -> None:
    model = trained(cnn())
    before = fingerprint(model)
    run = pruned(model, pattern=pattern, importance="magnitude", calib=DATA)
    expected = copy.deepcopy(run.model)
    torch.optim.swa_utils.update_bn(DATA, expected)
    for name, buffer in statistics(run.model).items():
        torch.testing.assert_close(buffer, statistics(expected)[name])
    assert fingerprint(model) == before
    [said] = [reason for reason in run.report.reasons if "running statistics" in reason]
    assert "on 192 calibration rows" in said
    assert run.report.check is not None  # what was exported computes what the model does
    assert run.report.check.pruned_error < run.report.check.tolerance
    assert not run.model.training


def test_the_report_says_what_they_bring() -> None:
    model = trained(cnn())

    def trueness(own: nn.Module) -> float:
        means = own.get_submodule("0.0")(torch.cat(DATA)).mean((0, 2, 3))
        return -float((statistics(own)["0.1.running_mean"] - means).abs().max())

    run = pruned(model, calib=DATA, score=trueness)
    kept = pruned(model, calib=DATA, score=trueness, importance="activation", keep_statistics=True)
    assert run.report.scores is not None
    [said] = [reason for reason in run.report.reasons if "running statistics" in reason]
    assert f"the score is {run.report.scores.pruned:.4g} with them" in said
    assert not [reason for reason in kept.report.reasons if "running statistics" in reason]
    assert torch.equal(statistics(kept.model)["0.1.running_mean"], statistics(model)["0.1.running_mean"])
    assert kept.report.request.keep_statistics


def test_the_dense_models_stay_where_the_score_falls_by_others() -> None:
    model = trained(cnn())
    mean = statistics(model)["0.1.running_mean"].clone()

    def likes_the_old(own: nn.Module) -> float:
        return -float((statistics(own)["0.1.running_mean"] - mean).abs().sum())

    run = pruned(model, calib=DATA, score=likes_the_old)
    assert torch.equal(statistics(run.model)["0.1.running_mean"], mean)
    assert any("with the dense model's, which were kept" in reason for reason in run.report.reasons)


def test_without_calibration_inputs_the_report_says_what_they_would_do() -> None:
    assert any("--calib with at least 64 rows" in reason for reason in pruned(trained(cnn())).report.reasons)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(768, 32), nn.ReLU(), nn.Linear(32, 4))
    assert not any("BatchNorm" in reason for reason in pruned(plain).report.reasons)


def test_too_few_rows_are_said_and_change_nothing() -> None:
    model = trained(cnn())
    run = pruned(model, calib=DATA[0][:8])
    assert torch.equal(statistics(run.model)["0.1.running_mean"], statistics(model)["0.1.running_mean"])
    assert any("have 8 rows, too few" in reason and "at least 64 rows" in reason for reason in run.report.reasons)


def test_batches_of_one_row_are_joined_and_each_row_counts_alike() -> None:
    rows = torch.cat(DATA)[:80]
    run = pruned(trained(cnn()), calib=[row[None] for row in rows])
    first = run.model.get_submodule("0.0")
    means = first(rows).mean((0, 2, 3)).detach()  # of the first normalisation's input: no average comes before it
    torch.testing.assert_close(statistics(run.model)["0.1.running_mean"], means, rtol=1e-4, atol=1e-5)


def test_calibration_inputs_that_nothing_reads_are_still_refused() -> None:
    with pytest.raises(InputError, match="This line has none of them"):
        pruned(trained(cnn()), calib=DATA, keep_statistics=True)
