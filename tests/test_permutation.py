"""The order of channels: what is retained, that no order found is worse than none, and that models stay the same."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import NM, Block
from jupyter_hwprune.pruning.equivalence import relative_difference
from jupyter_hwprune.pruning.graph import ChannelSet
from jupyter_hwprune.pruning.layers import PRUNABLE, as_matrix
from jupyter_hwprune.pruning.masks import keep_n_of_m
from jupyter_hwprune.pruning.permutation import bound, cluster, permute_for, retained, retained_in_blocks, search
from tests.networks import ZOO


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
    monkeypatch.setattr("jupyter_hwprune.pruning.permutation.groups.GROUPS_AT_ONCE", 6)
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


def shuffled_blocks(rows: int, columns: int, block: int) -> torch.Tensor:
    """Scores of which half stand in blocks, with all rows and columns out of order."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.rand(rows // block, columns // block, generator=generator).argsort(dim=1) < columns // block // 2
    whole = blocks.repeat_interleave(block, 0).repeat_interleave(block, 1) + 0.1 * scores(rows, columns)
    return whole[torch.randperm(rows, generator=generator)][:, torch.randperm(columns, generator=generator)]


def test_blocks_in_disorder_are_found_again() -> None:
    own, pattern = shuffled_blocks(64, 96, 8), Block(8, 8)
    rows, columns = cluster(own, pattern)
    assert sorted(rows.tolist()) == list(range(64))
    assert sorted(columns.tolist()) == list(range(96))
    assert retained_in_blocks(own, pattern) < 0.65 * float(own.sum())
    assert retained_in_blocks(own[rows][:, columns], pattern) > 0.9 * float(own.sum())


@pytest.mark.parametrize("pattern", [Block(4, 4), Block(1, 8), Block(16, 2)], ids=str)
@pytest.mark.parametrize("sparsity", [0.5, 0.75])
def test_blocks_never_hold_less_in_the_new_order(pattern: Block, sparsity: float) -> None:
    own = scores(32, 48)
    rows, columns = cluster(own, pattern, sparsity=sparsity)
    better = retained_in_blocks(own[rows][:, columns], pattern, sparsity)
    assert better > retained_in_blocks(own, pattern, sparsity)
    again = cluster(own, pattern, sparsity=sparsity)
    assert torch.equal(rows, again[0])
    assert torch.equal(columns, again[1])


def test_a_matrix_that_blocks_do_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="6 by 8, which blocks of 4x4 do not divide"):
        cluster(torch.ones(6, 8), Block(4, 4))


def built(name: str) -> tuple[nn.Module, Example]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build, make_input = ZOO[name]
        return build().eval(), Example.of(make_input())


def magnitude_left(model: nn.Module, pattern: NM | Block) -> float:
    """Recount from the model itself what the pattern would keep of all its layers."""
    total = 0.0
    for module in model.modules():
        if isinstance(module, PRUNABLE):
            matrix = as_matrix(module.weight.detach().abs(), module)  # [K, taps, C]
            if isinstance(pattern, NM) and matrix.shape[2] % pattern.m == 0:
                total += retained(matrix.flatten(0, 1), pattern)
            if isinstance(pattern, Block) and not matrix.shape[0] % pattern.rows + matrix.shape[2] % pattern.columns:
                total += retained_in_blocks(matrix, pattern)
    return total


@pytest.mark.parametrize("pattern", [NM(2, 4), Block(4, 4)], ids=str)
@pytest.mark.parametrize("name", ZOO)
def test_a_model_computes_the_same_and_the_pattern_keeps_more_of_it(name: str, pattern: NM | Block) -> None:
    model, example = built(name)
    dense = copy.deepcopy(model)
    permuted = permute_for(model, example, pattern, rounds=40)
    assert relative_difference(example.outputs(model), example.outputs(dense)) < 1e-5
    assert [each for each in permuted if each.reason is None]
    assert magnitude_left(model, pattern) > magnitude_left(dense, pattern)
    for each in permuted:
        assert each.after >= each.before
        assert each.after <= each.total


def test_one_order_serves_all_readers_of_a_residual_stream() -> None:
    model, example = built("transformer")
    dense = copy.deepcopy(model)
    permuted = {each.name: each for each in permute_for(model, example, NM(2, 4), rounds=40)}
    stream = permuted["tokens"]
    assert set(stream.layers) == {"attention.q", "attention.k", "attention.v", "up", "head"}

    def kept(source: nn.Module) -> float:
        return sum(retained(source.get_parameter(f"{n}.weight").detach().abs(), NM(2, 4)) for n in stream.layers)

    assert stream.before == pytest.approx(kept(dense))
    assert stream.after == pytest.approx(kept(model))
    assert stream.most is not None
    assert stream.before < stream.after < stream.most


def test_scores_of_the_callers_decide() -> None:
    model, example = built("cnn")
    asked = []

    def score(name: str, weight: torch.Tensor) -> torch.Tensor:
        asked.append(name)
        return weight.abs().pow(2)

    [first, *_] = permute_for(model, example, NM(2, 4), score, rounds=20)
    assert asked == ["1.0", "4"]  # the first convolution has 3 input channels
    assert first.total == pytest.approx(float(model.get_parameter("1.0.weight").detach().pow(2).sum()), rel=1e-5)


def test_channels_in_groups_with_others_are_left_and_said() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.head = nn.Linear(8, 10), nn.Linear(8, 6), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(torch.cat([self.left(x), self.right(x)], 1))
            return y

    model = Join().eval()
    before = copy.deepcopy(model.state_dict())
    permuted = permute_for(model, Example.of(torch.randn(2, 8)), NM(2, 4), rounds=20)
    assert {each.reason for each in permuted} == {"in head its channels stand in groups of 4 with others"}
    assert all(each.before == each.after and each.most is None for each in permuted)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_move_that_changes_the_function_is_undone_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(model: nn.Module, channels: ChannelSet, order: torch.Tensor) -> None:
        slot = next(slot for slot in channels.slots if slot.reads)  # moves the readers and forgets the makers
        with torch.no_grad():
            weight = model.get_parameter(slot.tensor)
            weight.copy_(weight.index_select(slot.dim, order))

    monkeypatch.setattr("jupyter_hwprune.pruning.permutation.network.permute", careless)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    before = copy.deepcopy(model.state_dict())
    [undone] = permute_for(model, Example.of(torch.randn(2, 8)), NM(2, 4), rounds=20)
    assert undone.reason is not None
    assert "output changed by" in undone.reason
    assert undone.after == undone.before
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
