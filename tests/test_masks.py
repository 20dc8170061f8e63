"""Masks against slow references: exact counts, first position wins, whatever the scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_hwprune.pruning.masks import keep_blocks, keep_blocks_evenly, keep_n_of_m, keep_top

scores_of_few_values = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=60)


def best(scores: list[float], count: int) -> set[int]:
    return set(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])


@given(scores_of_few_values, st.integers(0, 70))
def test_top_keeps_the_exact_count_and_the_first_of_equals(scores: list[float], count: int) -> None:
    keep = keep_top(torch.tensor(scores), count)
    assert set(keep.nonzero().flatten().tolist()) == best(scores, count)


@given(st.data())
@settings(max_examples=150)
def test_n_of_m_keeps_n_in_every_group(data: st.DataObject) -> None:
    m = data.draw(st.integers(2, 20))
    n = data.draw(st.integers(1, m - 1))
    rows = data.draw(
        st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2 * m, max_size=2 * m), min_size=1, max_size=4)
    )
    keep = keep_n_of_m(torch.tensor(rows), n, m)
    for row, kept in zip(rows, keep, strict=True):
        for start in range(0, 2 * m, m):
            assert set(kept[start : start + m].nonzero().flatten().tolist()) == best(row[start : start + m], n)


def test_blocks_are_kept_whole_and_counted_exactly() -> None:
    scores = torch.rand(8, 3, 12)
    keep = keep_blocks(scores, 4, 6, count=5)
    blocks = keep.reshape(2, 4, 3, 2, 6).permute(0, 2, 3, 1, 4).flatten(3).float()
    assert set(blocks.mean(-1).flatten().tolist()) == {0.0, 1.0}
    assert int(keep.sum()) == 5 * 4 * 6


def test_a_constant_layer_loses_its_share_and_not_the_whole() -> None:
    assert int(keep_top(torch.ones(10, 10), 30).sum()) == 30
    assert int(keep_n_of_m(torch.ones(10, 8), 2, 4).sum()) == 40


@pytest.mark.parametrize("kind", ["spread", "ties", "sorted", "misleading", "one value"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.5, 0.999])
def test_the_highest_of_many_are_exact_whatever_a_sample_of_them_shows(kind: str, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(600, 512, generator=generator)
    if kind == "ties":
        scores = (scores * 20).round()
    if kind == "sorted":
        scores = scores.flatten().sort().values.reshape(600, 512)
    if kind == "misleading":
        scores.view(-1)[::5] += 1  # the sample is every fifth, and sees no other
    if kind == "one value":
        scores.fill_(0.5)
    count = round(share * scores.numel())
    keep = keep_top(scores, count)
    order = scores.flatten().argsort(descending=True, stable=True)
    assert keep.shape == scores.shape
    assert torch.equal(keep.flatten().nonzero().flatten(), order[:count].sort().values)


def test_even_blocks_keep_as_many_in_each_row_of_blocks_and_the_best_of_each() -> None:
    scores = torch.arange(8 * 24, dtype=torch.float32).reshape(8, 1, 24)
    kept = keep_blocks_evenly(scores, 4, 6, share=0.5)[::4, 0, ::6]
    assert kept.tolist() == [[False, False, True, True]] * 2
    assert keep_blocks(scores, 4, 6, count=4)[::4, 0, ::6].tolist() == [[False] * 4, [True] * 4]
