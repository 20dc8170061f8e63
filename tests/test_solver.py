"""One-shot solvers: the patterns they leave, and how near they come to the best there is."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from jupyter_hwprune.core.errors import PruneError
from jupyter_hwprune.core.options import Solver
from jupyter_hwprune.core.pattern import NM, Block, Unstructured, parse_pattern
from jupyter_hwprune.pruning.importance import activation, magnitude
from jupyter_hwprune.pruning.masks import block_sums, keep_blocks, keep_n_of_m, keep_top
from jupyter_hwprune.pruning.solver import hessian, layer_error, solve
from jupyter_hwprune.pruning.solver.hessian import conjugate_gradients, damped

PATTERNS = ["2:4", "1:4", "4:8", "8:16", "4x8", "1x16", "unstructured"]
DAMPING = 0.01
EFFORTS: tuple[Solver, ...] = ("quick", "full", "best")


def layer(outputs: int, width: int, rows: int = 400, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a weight and the Gram matrix of inputs that are correlated, and of unlike scale."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(width // 4, width, generator=generator)
    scales = torch.rand(width, generator=generator) + 0.2
    strong = torch.randn(rows, width // 4, generator=generator) @ directions
    x = (strong + torch.randn(rows, width, generator=generator)) * scales
    return torch.randn(outputs, width, generator=generator), x.T @ x


def pattern_of(text: str) -> NM | Block | Unstructured:
    pattern = parse_pattern(text)
    assert isinstance(pattern, NM | Block | Unstructured)
    return pattern


def assert_holds(keep: Tensor, pattern: NM | Block | Unstructured, sparsity: float) -> None:
    if isinstance(pattern, NM):
        assert (keep.reshape(-1, pattern.m).sum(1) == pattern.n).all()
    elif isinstance(pattern, Block):
        left = block_sums(keep.float()[:, None], pattern.rows, pattern.columns)
        assert ((left == 0) | (left == pattern.rows * pattern.columns)).all()
        assert int((left > 0).sum()) == max(1, round((1 - sparsity) * left.numel()))
    else:
        assert int(keep.sum()) == max(1, round((1 - sparsity) * keep.numel()))


def by_magnitude(weight: Tensor, pattern: NM | Block | Unstructured, sparsity: float) -> Tensor:
    scores = magnitude(weight)
    if isinstance(pattern, NM):
        return keep_n_of_m(scores, pattern.n, pattern.m)
    if isinstance(pattern, Block):
        count = round((1 - sparsity) * scores.numel() / (pattern.rows * pattern.columns))
        return keep_blocks(scores[:, None], pattern.rows, pattern.columns, count)[:, 0]
    return keep_top(scores, round((1 - sparsity) * scores.numel()))


def greedy(weight: Tensor, gram: Tensor, n: int, m: int) -> Tensor:
    """Prune n:m as optimal brain surgeons do, column by column from the left, in float64."""
    hessian = gram.double() + DAMPING * gram.diagonal().double().mean() * torch.eye(len(gram))
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    left = weight.double().clone()
    for i in range(weight.shape[1]):
        if i % m == 0:
            keep = keep_n_of_m((left[:, i : i + m] / factor.diagonal()[i : i + m]).square(), n, m)
        gone = torch.where(keep[:, i % m], 0.0, left[:, i]) / factor[i, i]
        left[:, i:] -= gone[:, None] * factor[i, i:]
        left[:, i] = torch.where(keep[:, i % m], left[:, i], 0.0)
    return left


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("sparsity", [0.5, 0.7])
@pytest.mark.parametrize("text", PATTERNS)
def test_the_pattern_holds_with_the_exact_count(text: str, sparsity: float, effort: Solver) -> None:
    weight, gram = layer(24, 48)
    pattern = pattern_of(text)
    before = weight.clone(), gram.clone()
    state = torch.get_rng_state()
    solved = solve(weight, gram, pattern, sparsity, effort=effort)
    assert_holds(solved.keep, pattern, sparsity)
    assert torch.equal(solved.weight != 0, solved.keep)
    assert not torch.signbit(solved.weight[~solved.keep]).any()
    assert solved.weight.dtype == torch.float32
    assert torch.equal(weight, before[0])
    assert torch.equal(gram, before[1])
    assert torch.equal(torch.get_rng_state(), state)
    again = solve(weight, gram, pattern, sparsity, effort=effort)
    assert torch.equal(again.weight, solved.weight)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("text", PATTERNS)
def test_the_error_is_that_of_the_weight_and_below_that_of_the_mask_alone(text: str, effort: Solver) -> None:
    weight, gram = layer(32, 64)
    pattern = pattern_of(text)
    solved = solve(weight, gram, pattern, 0.5, effort=effort)
    error = layer_error(weight, solved.weight, gram)
    assert solved.error == (None if effort == "quick" else pytest.approx(error, rel=1e-3))
    assert error < layer_error(weight, weight * solved.keep, gram)
    assert error < layer_error(weight, weight * by_magnitude(weight, pattern, 0.5), gram)


def test_the_layer_error_is_that_of_its_outputs() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, other = (torch.randn(shape, generator=generator).double() for shape in ((700, 300), (9, 300), (9, 300)))
    expected = ((weight - other) @ x.T).square().sum() / (weight @ x.T).square().sum()
    assert layer_error(weight, other, x.T @ x) == pytest.approx(float(expected), rel=1e-5)
    assert layer_error(weight, weight, x.T @ x) == 0


@pytest.mark.parametrize("seed", range(3))
def test_2_of_4_is_better_than_greedy_surgery_and_full_effort_better_than_quick(seed: int) -> None:
    weight, gram = layer(64, 128, rows=1000, seed=seed)
    peer = layer_error(weight, greedy(weight, gram, 2, 4), gram)
    quick, full, best = (
        layer_error(weight, solve(weight, gram, NM(2, 4), 0.5, effort=e).weight, gram) for e in EFFORTS
    )
    assert best < 0.95 * full
    assert full < 0.85 * peer
    assert quick < peer


@pytest.mark.parametrize("seed", range(5))
def test_2_of_4_comes_near_the_best_of_all_masks(seed: int) -> None:
    weight, gram = layer(2, 8, seed=seed)
    groups = [[c in pair for c in range(4)] for pair in combinations(range(4), 2)]
    masks = torch.tensor([[*a, *b] for a, b in product(groups, groups)])  # [36, 8]
    rows = [min(error_of(row, refit(row, mask[None], gram).float(), gram) for mask in masks) for row in weight[:, None]]
    best = sum(rows) / error_of(weight, torch.zeros_like(weight), gram)
    found = layer_error(weight, solve(weight, gram, NM(2, 4), 0.5).weight, gram)
    assert best * 0.999 < found < 1.5 * best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("text", [*PATTERNS, "16x16"])
def test_no_effort_is_behind_a_smaller_one(text: str, seed: int) -> None:
    weight, gram = layer(32, 64, seed=seed)
    pattern = pattern_of(text)
    quick, full, best = (layer_error(weight, solve(weight, gram, pattern, 0.5, effort=e).weight, gram) for e in EFFORTS)
    assert full <= quick * 1.001
    assert best <= full * 1.001


def error_of(weight: Tensor, pruned: Tensor, gram: Tensor) -> float:
    return float(((weight - pruned) @ gram * (weight - pruned)).sum())


def refit(weight: Tensor, keep: Tensor, gram: Tensor) -> Tensor:
    """Return the least-squares values of the weights kept, in float64. [K, D] -> [K, D]."""
    hessian = gram.double() + DAMPING * gram.diagonal().double().mean() * torch.eye(len(gram))
    values = torch.zeros(weight.shape, dtype=torch.float64)
    for row, kept, found in zip(weight.double(), keep, values, strict=True):
        found[kept] = torch.linalg.solve(hessian[kept][:, kept], (hessian @ row)[kept])
    return values


@pytest.mark.parametrize("text", ["2:4", "4x8", "unstructured"])
def test_conjugate_gradients_end_at_the_least_squares_of_each_row(text: str) -> None:
    weight, gram = layer(8, 32)
    keep = by_magnitude(weight, pattern_of(text), 0.5)
    products, *_ = damped(gram.clone(), DAMPING)
    refitted = (weight * keep).t().contiguous()
    conjugate_gradients(refitted, products @ (weight.t() - refitted), keep.t().contiguous(), products, 200)
    for found, expected in zip(refitted.t(), refit(weight, keep, gram), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-3)
    assert layer_error(weight, refitted.t(), gram) < layer_error(weight, weight * keep, gram)


def test_full_effort_leaves_little_for_a_refit_to_gain() -> None:
    weight, gram = layer(64, 128, rows=1000)
    solved = solve(weight, gram, NM(2, 4), 0.5)
    best = layer_error(weight, refit(weight, solved.keep, gram), gram)
    assert solved.error is not None
    assert best <= solved.error * 1.001
    assert solved.error < 1.25 * best


def test_an_unstructured_layer_keeps_more_where_the_inputs_are_larger() -> None:
    weight, gram = layer(32, 64)
    scales = torch.ones(64)
    scales[32:] = 4.0
    solved = solve(weight, gram * scales * scales[:, None], Unstructured(), 0.5)
    assert int(solved.keep[:, 32:].sum()) > 1.5 * int(solved.keep[:, :32].sum())


def test_too_few_inputs_raise_the_damping_and_say_so() -> None:
    weight, gram = layer(16, 32, rows=10)
    plain = solve(weight, gram, NM(2, 4), 0.5, damping=0.01)
    assert (plain.damping, plain.raised) == (0.01, 0)
    raised = solve(weight, gram, NM(2, 4), 0.5, damping=0.0)
    assert raised.raised > 0
    assert raised.damping > 0
    assert raised.weight.isfinite().all()


@pytest.mark.parametrize("text", PATTERNS)
def test_dead_doubled_and_silent_inputs_and_constant_layers_are_no_trouble(text: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 48, generator=generator)
    x[:, 5] = 0
    x[:, 7] = x[:, 6]
    pattern = pattern_of(text)
    for weight in (torch.ones(16, 48), torch.zeros(16, 48), torch.randn(16, 48, generator=generator).bfloat16()):
        for gram in (x.T @ x, torch.zeros(48, 48)):
            solved = solve(weight, gram, pattern, 0.5)
            assert_holds(solved.keep, pattern, 0.5)
            assert solved.weight.isfinite().all()
            assert not solved.weight[~solved.keep].any()
            assert solved.error is not None
            assert 0 <= solved.error <= 1


@pytest.mark.parametrize(("outputs", "width"), [(1, 1), (1, 7), (5, 27), (300, 3)])
def test_unstructured_takes_any_shape(outputs: int, width: int) -> None:
    weight, gram = torch.randn(outputs, width, generator=torch.Generator().manual_seed(0)), torch.eye(width)
    for sparsity in (0.5, 0.99):
        solved = solve(weight, gram, Unstructured(), sparsity)
        assert_holds(solved.keep, Unstructured(), sparsity)
        assert torch.equal(solved.weight != 0, solved.keep)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_products_that_are_not_finite_are_refused(value: float) -> None:
    weight, gram = layer(4, 8)
    gram[2, 3] = value
    with pytest.raises(PruneError, match="NaN or infinite") as caught:
        solve(weight, gram, NM(2, 4), 0.5)
    assert "\n" not in str(caught.value)


def test_an_indefinite_matrix_and_groups_across_taps_are_refused() -> None:
    weight, gram = layer(4, 12)
    with pytest.raises(PruneError, match="not positive definite"):
        solve(weight, -gram, NM(2, 4), 0.5)
    with pytest.raises(PruneError, match="Groups of 4 do not divide the layer's 6 inputs"):
        solve(weight, gram, NM(2, 4), 0.5, taps=2)


def test_activation_scores_are_weights_times_the_norms_of_their_inputs() -> None:
    scores = activation(torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([2.0, 3.0]))
    assert scores.tolist() == [[2.0, 6.0], [6.0, 1.5]]


def test_best_tells_its_rounds_and_keeps_the_largest_where_inputs_are_independent() -> None:
    weight, gram = layer(16, 32)
    rounds: list[str] = []
    solve(weight, gram, NM(2, 4), 0.5, effort="best", tell=rounds.append)
    assert rounds[0] == "round 1 of at most 12"
    assert len(rounds) <= 12
    independent = solve(weight, torch.eye(32), NM(2, 4), 0.5, effort="best")
    assert torch.equal(independent.keep, keep_n_of_m(magnitude(weight), 2, 4))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory from Linux")
def test_best_takes_no_more_than_twice_the_gram_matrix_and_five_times_the_weight() -> None:
    program = r"""
import re, torch
from pathlib import Path
from jupyter_hwprune.core.pattern import NM
from jupyter_hwprune.pruning.solver import hessian, solve, splitting
torch.set_num_threads(1)
splitting.ROUNDS = 2  # the second one, where the first is done with, and all others are alike
hessian.PIECE = 1 << 17  # as much smaller beside this layer as the real one beside a large layer
def memory(name):
    return int(re.search(name + r":\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
x, weight = torch.randn(512, 1024), torch.randn(1024, 1024)
gram = x.T @ x
solve(weight[:, :512], gram[:512, :512], NM(2, 4), 0.5, effort="best")  # what libraries take once
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
solve(weight, gram, NM(2, 4), 0.5, effort="best")
print(memory("VmHWM") - before)
"""
    alone = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}  # so that what is freed is given back at once
    ran = subprocess.run([sys.executable, "-c", program], env=alone, capture_output=True, text=True, check=True)
    gram = weight = 4 * 1024**2
    piece = 4 * 1024 * hessian.PANEL
    assert int(ran.stdout) < 2 * gram + 5 * weight + 8 * piece
