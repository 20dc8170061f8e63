"""`--tune-blocks` and `--solver`: what is left of the weights gives the dense blocks' outputs again, without labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.report.words import line
from tests.conftest import fingerprint

WIDTH = 16
NOT_MEASURED: dict[str, Any] = {"target": "tpu-v5e", "toolchain": "xla"}  # only the pruning takes time


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x + self.down(functional.gelu(self.up(self.norm(x))))
        return made


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, WIDTH), Block(), Block(), nn.Linear(WIDTH, 4)).eval()


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


NET = network()


def nearness(model: nn.Module) -> float:
    """Return minus the squared error of the outputs on rows that nothing was calibrated with."""
    x = rows(200, seed=1)
    with torch.no_grad():
        return -float((model(x) - NET(x)).square().mean())


def run(**options: Any) -> Run:
    given = {
        "score": nearness,
        "calib": rows(256),
        "calib_name": "data",
        "pattern": "unstructured",
        "sparsity": 0.5,
        **NOT_MEASURED,
    }
    return hwprune(NET, rows(4), **given | options)


def lost(found: Run) -> float:
    assert found.report.scores is not None
    return -found.report.scores.pruned


@pytest.mark.parametrize(
    ("pattern", "importance"),
    [("unstructured", "second-order"), ("2:4", "second-order"), ("4x4", "second-order"), ("channel/8", "taylor")],
)
def test_blocks_come_nearer_to_the_dense_ones_and_keep_their_zeros(pattern: str, importance: str) -> None:
    before, state = fingerprint(NET), torch.get_rng_state()
    options = {"pattern": pattern, "importance": importance} | ({"sparsity": None} if pattern == "2:4" else {})
    plain, found = run(**options), run(**options, tune_blocks=60)
    assert lost(found) < 0.8 * lost(plain)
    zeros = [[p == 0 for p in each.model.parameters()] for each in (plain, found)]
    assert all(torch.equal(one, other) for one, other in zip(*zeros, strict=True))
    said = next(each for each in found.report.reasons if "tuned as a whole" in each)
    assert "60 steps each, without labels on 256 rows" in said
    assert "%hwprune" in line(found.report)
    assert "--tune-blocks 60" in line(found.report)
    assert (fingerprint(NET), bool((torch.get_rng_state() == state).all())) == (before, True)
    again = run(**options, tune_blocks=60)
    assert again.report.fingerprints == found.report.fingerprints


def test_the_best_solver_is_in_the_line_and_loses_less() -> None:
    options = {"pattern": "unstructured", "importance": "second-order"}
    quick, best = run(**options, solver="quick"), run(**options, solver="best")
    assert "--solver best" in line(best.report)
    errors = [layer.error for layer in best.report.layers]
    assert all(error is not None and 0 < error < 1 for error in errors)
    assert lost(best) < lost(quick)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tune_blocks": 0}, "--tune-blocks is 0; give a whole number"),
        ({"tune_blocks": 5, "calib": None}, "no calibration inputs to tune on"),
        ({"tune_blocks": 5, "calib": rows(4)}, "at least 8 rows of calibration inputs, and --calib gives 4 rows"),
        ({"tune_blocks": 5, "recover": 5}, "and --recover goes on from there"),
        ({"tune_blocks": 5, "finetune": lambda _model: None}, "and the cell goes on from there"),
        ({"tune_blocks": 5, "speedup": 2.0, "sparsity": None}, "and the search for a goal goes on from there"),
        ({"tune_blocks": 5, "pattern": "depth"}, "the pattern depth removes whole ones"),
        ({"solver": "exact"}, "There is no solver 'exact'. Use quick, full or best."),
        ({"solver": "best"}, "--solver best is how --importance second-order searches for zeros"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        run(**options)
    assert "\n" not in str(caught.value)
