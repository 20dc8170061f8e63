"""The order of input channels: what is retained, and that no order found is worse than none."""

from __future__ import annotations

import itertools

import pytest
import torch

from jupyter_hwprune.errors import InputError
from jupyter_hwprune.pattern import NM
from jupyter_hwprune.pruning.masks import keep_n_of_m
from jupyter_hwprune.pruning.permutation import bound, retained, search


def scores(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).abs()


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(4, 8), NM(1, 2), NM(3, 4)], ids=str)
def test_retained_is_what_the_mask_keeps(pattern: NM) -> None:
    own = scores(24, 64)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    kept = own[:, order].double()[keep_n_of_m(own[:, order], pattern.n, pattern.m)].sum()
    assert retained(own, pattern, order) == pytest.approx(float(kept), rel=1e-6)
    assert retained(own, pattern) < bound(own, pattern)


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(4, 8), NM(1, 2), NM(3, 4)], ids=str)
def test_an_order_of_all_columns_that_retains_more(pattern: NM) -> None:
    own = scores(32, 64)
    order = search(own, pattern, rounds=60)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(64))
    assert retained(own, pattern) < retained(own, pattern, order) <= bound(own, pattern)


def test_the_best_of_all_orders_of_a_tiny_matrix() -> None:
    for seed in range(5):
        own = scores(6, 8, seed)
        best = max(
            retained(own, NM(2, 4), torch.tensor([*left, *sorted(set(range(8)) - set(left))]))
            for left in itertools.combinations(range(8), 4)
        )
        assert retained(own, NM(2, 4), search(own, NM(2, 4), rounds=200)) == pytest.approx(best)


def test_columns_that_crowd_each_other_are_parted() -> None:
    own = torch.ones(16, 8)
    own[:, 4:] = 0.0  # four strong neighbours of which half would go
    order = search(own, NM(2, 4), rounds=50)
    assert retained(own, NM(2, 4), order) == bound(own, NM(2, 4)) == 64


def test_more_groups_than_one_assignment_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_hwprune.pruning.permutation.GROUPS_AT_ONCE", 6)
    own = scores(16, 64)
    order = search(own, NM(2, 4), rounds=60)
    assert sorted(order.tolist()) == list(range(64))
    assert retained(own, NM(2, 4), order) > retained(own, NM(2, 4))


def test_a_constant_matrix_stays_as_it_is() -> None:
    assert torch.equal(search(torch.ones(8, 32), NM(2, 4), rounds=20), torch.arange(32))
    assert torch.equal(search(torch.zeros(8, 32), NM(2, 4), rounds=20), torch.arange(32))


def test_no_order_is_worse_than_the_one_given() -> None:
    own = scores(16, 32)
    best = own[:, search(own, NM(2, 4), rounds=500)]
    for seed in range(4):
        assert retained(best, NM(2, 4), search(best, NM(2, 4), rounds=1, seed=seed)) >= retained(best, NM(2, 4))


def test_the_seed_alone_decides_and_the_global_one_is_left_alone() -> None:
    own = scores(16, 64)
    before, expected = torch.random.get_rng_state(), own.clone()
    first = search(own, NM(2, 4), rounds=30, seed=3)
    torch.manual_seed(99)
    assert torch.equal(first, search(own, NM(2, 4), rounds=30, seed=3))
    assert not torch.equal(first, search(own, NM(2, 4), rounds=30, seed=4))
    torch.random.set_rng_state(before)
    search(own, NM(2, 4), rounds=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(own, expected)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (torch.ones(4, 6), "multiples of 4"),
        (torch.ones(8), r"shape \(8,\)"),
        (-torch.ones(4, 8), "below zero"),
        (torch.full((4, 8), torch.nan), "NaN"),
    ],
)
def test_scores_that_cannot_be_searched_are_refused(own: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        search(own, NM(2, 4))
