"""What a scan says of each layer, and the division of a sparsity among them."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
import subprocess
import sys
from dataclasses import asdict, replace
from io import BytesIO

import pytest
import torch
from PIL import Image
from torch import nn

from jupyter_hwprune.core.errors import InputError, PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.pruning.allocation import allocate, curve_of, leave_dense
from jupyter_hwprune.pruning.knapsack import divide
from jupyter_hwprune.pruning.masks import keep_top
from jupyter_hwprune.pruning.sensitivity import output_error, scan
from jupyter_hwprune.render.sensitivity import picture, plotted, table
from jupyter_hwprune.report import Curve, Point, Sensitivity
from tests.networks import TwoOutputs, cnn, images

LEVELS = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95)


def sensitivity(*curves: tuple[int, list[float | None]], group: int = 1) -> Sensitivity:
    """Curves of (weights, error at each of LEVELS); the layers are called 0, 1, .."""
    made = [
        Curve(str(i), weights, tuple(map(Point, LEVELS, errors)), group) for i, (weights, errors) in enumerate(curves)
    ]
    return Sensitivity("output error", tuple(made))


def power(weights: int, scale: float, exponent: float = 3.0) -> tuple[int, list[float | None]]:
    return weights, [scale * level**exponent for level in LEVELS]


def removed(found: Sensitivity, shares: dict[str, float]) -> int:
    counts = [shares[curve.layer] * curve.weights for curve in found.curves]
    assert all(math.isclose(count, round(count), abs_tol=1e-6) for count in counts)
    return sum(map(round, counts))


def zero(model: nn.Module, name: str, share: float) -> float:
    weight = model.get_parameter(f"{name}.weight")
    keep = keep_top(weight.abs(), round((1 - share) * weight.numel()))
    weight.copy_(torch.where(keep, weight, 0.0))
    return 1 - int(keep.sum()) / keep.numel()


def weights_of(model: nn.Module) -> dict[str, int]:
    kinds = (nn.Linear, nn.Conv2d)
    return {name: m.weight.numel() for name, m in model.named_modules() if isinstance(m, kinds)}


@pytest.mark.parametrize("sparsity", [0.0, 0.13, 0.5, 0.77, 0.9])
def test_the_weights_removed_add_up_exactly(sparsity: float) -> None:
    found = sensitivity(power(1001, 1.0), power(333, 20.0), power(77, 0.01))
    assert removed(found, allocate(found, sparsity)) == round(sparsity * 1411)


def test_groups_go_whole_and_add_up_to_less_than_one() -> None:
    found = sensitivity(power(4096, 1.0), power(1024, 5.0), group=256)
    shares = allocate(found, 0.6)
    assert shares["0"] * 16 == pytest.approx(round(shares["0"] * 16))
    assert shares["1"] * 4 == pytest.approx(round(shares["1"] * 4))
    assert 0.6 * 5120 - 256 < shares["0"] * 4096 + shares["1"] * 1024 <= 0.6 * 5120


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("group", [1, 64])
def test_mixed_shares_meet_the_budget_and_lose_no_more_than_any_other_division(seed: int, group: int) -> None:
    drawn = random.Random(seed)
    made: list[tuple[int, list[float | None]]] = []
    for _ in range(8):  # curves of any form: steep, flat, and with steps, where the cheapest next step leads astray
        errors = list(itertools.accumulate(drawn.random() ** 4 for _ in LEVELS))
        made.append((64 * drawn.randrange(10, 90), [drawn.choice([0.1, 1.0, 5.0]) * each for each in errors]))
    found = sensitivity(*made, group=group)
    errors_of, total = curve_of(found), sum(weights for weights, _ in made)
    for sparsity in (0.1, 0.53, 0.9):
        mixed = divide(found, sparsity)
        gone = sum(mixed[curve.layer] * curve.weights for curve in found.curves)
        assert math.ceil(sparsity * total) <= gone + 1e-6 < math.ceil(sparsity * total) + group
        lost = sum(errors_of[name](share) for name, share in mixed.items())
        sizes = [weights // group for weights, _ in made]
        uniform = [min(math.ceil(sparsity * size - 1e-9), size - 1) / size for size in sizes]
        assert lost <= sum(errors_of[str(at)](share) for at, share in enumerate(uniform)) + 1e-9
        if group == 1:  # where steps along the convex curves remove exactly as many, though not by whole percents
            steps = allocate(found, sparsity)
            assert lost <= 1.01 * sum(errors_of[name](share) for name, share in steps.items()) + 1e-9


def test_mixed_shares_find_what_the_cheapest_steps_miss() -> None:
    found = sensitivity((1000, [0.0, 0.0, 5.0, 5.0, 5.0, 5.0]), (1000, [0.9, 0.95, 1.0, 1.0, 1.0, 1.0]))
    errors = curve_of(found)
    mixed, steps = divide(found, 0.45), allocate(found, 0.45)
    assert sum(errors[name](share) for name, share in mixed.items()) <= sum(
        errors[name](share) for name, share in steps.items()
    )
    assert sum(mixed.values()) == pytest.approx(0.9)
    with pytest.raises(PruneError, match="Choose a lower --sparsity"):
        divide(found, 1.0)


def test_a_layer_that_matters_more_loses_less() -> None:
    found = sensitivity(power(1000, 0.1), power(1000, 1.0), power(1000, 10.0))
    shares = list(allocate(found, 0.5).values())
    assert shares[0] > shares[1] > shares[2] > 0


def test_like_layers_lose_alike() -> None:
    found = sensitivity(*[power(1000, 1.0)] * 4)
    assert list(allocate(found, 0.63).values()) == pytest.approx([0.63] * 4, abs=0.02)


def test_no_division_into_percents_of_two_layers_costs_less() -> None:
    weights, scales, exponents = (3000, 1000), (1.0, 4.0), (2.0, 5.0)
    found = sensitivity(*map(power, weights, scales, exponents))

    def cost(shares: tuple[float, float]) -> float:
        return sum(c * math.pow(s, e) for c, s, e in zip(scales, shares, exponents, strict=True))

    first, second = allocate(found, 0.6).values()
    others = [(s, (0.6 * 4000 - 3000 * s) / 1000) for s in [i / 100 for i in range(48, 80)]]
    assert cost((first, second)) <= min(cost(other) for other in others) * 1.002
    assert cost((first, second)) < 0.9 * cost((0.6, 0.6))


def test_noise_in_a_scan_does_not_make_less_pruning_look_worse() -> None:
    noisy = sensitivity((1000, [0.3, -0.2, 0.1, 0.4, 0.2, 0.9]), power(1000, 1.0))
    before = allocate(noisy, 0.2)
    for sparsity in (0.4, 0.6, 0.8, 0.95):
        shares = allocate(noisy, sparsity)
        assert all(shares[name] >= before[name] for name in shares)
        before = shares


def test_levels_at_which_the_outputs_were_not_finite_are_the_last_resort() -> None:
    found = sensitivity((1000, [0.1, 0.2, None, None, None, None]), power(1000, 5.0))
    assert allocate(found, 0.7)["0"] <= 0.52
    assert removed(found, allocate(found, 0.95)) == 1900
    nothing = sensitivity((1000, [None] * 6))
    assert allocate(nothing, 0.5) == {"0": 0.5}


def test_a_single_layer_takes_it_all_and_keeps_something() -> None:
    found = sensitivity(power(10, 1.0))
    assert allocate(found, 0.5) == {"0": 0.5}
    assert allocate(found, 0.9, (0.0, 1.0)) == {"0": 0.9}
    with pytest.raises(PruneError, match=r"allows 0.0% to 90.0% in all"):
        allocate(found, 1.0, (0.0, 1.0))


def test_bounds_hold_for_every_layer() -> None:
    found = sensitivity(power(1000, 0.001), power(1000, 1000.0))
    assert allocate(found, 0.5, (0.2, 0.8)) == {"0": 0.8, "1": 0.2}


@pytest.mark.parametrize("sparsity", [0.05, 0.99, -0.5, math.nan])
def test_a_share_that_the_bounds_do_not_allow_is_refused(sparsity: float) -> None:
    with pytest.raises(PruneError, match=r"allows 10.0% to 90.0% in all\. Choose a --sparsity between"):
        allocate(sensitivity(power(1000, 1.0)), sparsity, (0.1, 0.9))


def test_bounds_that_are_none_and_scans_without_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"bounded by 0.9 and 0.1"):
        allocate(sensitivity(power(1000, 1.0)), 0.5, (0.9, 0.1))
    with pytest.raises(PruneError, match="no layer to prune"):
        allocate(Sensitivity("score", ()), 0.5)


def test_patterns_name_layers_and_all_in_a_module() -> None:
    names = ["layers.0.fc", "layers.0.out", "layers.1.fc", "layers.10.fc", "head"]
    assert leave_dense(names, ["head", "layers.0.*"]) == {"head", "layers.0.fc", "layers.0.out"}
    assert leave_dense(names, ["layers.1"]) == {"layers.1.fc"}
    assert leave_dense(names, ["*.fc"]) == {"layers.0.fc", "layers.1.fc", "layers.10.fc"}
    assert leave_dense(names, []) == set()


@pytest.mark.parametrize(("pattern", "near"), [("haed", "Near it: head"), ("layer.0.fc", "Near it: layers.0.fc")])
def test_a_pattern_that_names_nothing_is_refused_with_what_comes_near(pattern: str, near: str) -> None:
    with pytest.raises(InputError, match=f"is called '{pattern}'. {near}"):
        leave_dense(["layers.0.fc", "layers.1.fc", "head"], [pattern])
    with pytest.raises(InputError, match="There are none"):
        leave_dense([], [pattern])


def test_a_scan_leaves_the_model_the_random_numbers_and_the_hooks_alone() -> None:
    model = cnn().train()
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("called"))  # type: ignore[index]
    before = copy.deepcopy(model.state_dict())
    batches = [Example.of(images())]
    state = torch.get_rng_state()
    scan(model, weights_of(model), zero, batches, (0.5, 0.9))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert all(module.training for module in model.modules())
    assert len(model[0]._forward_hooks) == 1  # type: ignore[index]


def test_each_trial_starts_from_the_dense_weights() -> None:
    model = cnn().eval()
    batches = [Example.of(images()) for _ in range(2)]
    found = scan(model, weights_of(model), zero, batches, (0.9, 0.5))
    dense = [batch.outputs(model) for batch in batches]
    for curve in found.curves:
        assert [point.sparsity for point in curve.points] == pytest.approx([0.5, 0.9], abs=0.01)
        for point in curve.points:
            alone = copy.deepcopy(model)
            with torch.no_grad():
                zero(alone, curve.layer, point.sparsity)
            assert point.error == output_error(dense, [batch.outputs(alone) for batch in batches])
    assert found.passes == 1 + 2 * len(found.curves)
    assert found.rows == 4


def test_a_scan_takes_no_more_rows_than_it_was_told_and_says_how_far_it_is() -> None:
    seen: list[int] = []
    told: list[tuple[int, int]] = []

    class Seeing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return super().forward(x)

    batches = [Example.of(torch.randn(2, 4)) for _ in range(4)]
    model = nn.Sequential(Seeing(4, 4), nn.Linear(4, 4))
    found = scan(model, weights_of(model), zero, batches, (0.5,), rows=3, progress=lambda *at: told.append(at))
    assert found.rows == 3
    assert seen == [2, 1] * found.passes
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_levels_that_come_to_the_same_zeros_are_measured_once() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False))

    def halves(own: nn.Module, name: str, share: float) -> float:
        return zero(own, name, 0.5 if share >= 0.5 else 0.0)

    [curve] = scan(model, {"0": 8}, halves, [Example.of(torch.randn(3, 4))], LEVELS, groups={"0": 4}).curves
    assert [point.sparsity for point in curve.points] == [0.5]
    assert curve.group == 4


def test_a_score_takes_the_place_of_the_outputs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
    x = torch.randn(16, 8)

    def score(own: nn.Module) -> float:
        assert not own.training
        own.train()  # as a careless user's function may leave it
        torch.rand(3)
        return -float((own(x) - model(x)).detach().square().mean())

    state = torch.get_rng_state()
    found = scan(model, weights_of(model), zero, [Example.of(x)], (0.25, 0.75), score)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.measure == "score"
    assert found.rows is None
    for curve in found.curves:
        low, high = (point.error for point in curve.points)
        assert low is not None
        assert high is not None
        assert 0 < low < high


def test_errors_that_are_not_finite_are_unknown() -> None:
    model = nn.Sequential(nn.Linear(4, 4))

    def spoil(own: nn.Module, name: str, share: float) -> float:
        own.get_parameter(f"{name}.weight").fill_(torch.inf)
        return share

    found = scan(model, {"0": 16}, spoil, [Example.of(torch.ones(2, 4))], (0.5,))
    assert found.curves[0].points == (Point(0.5, None),)
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["curves"][0]["points"][0]["error"] is None
    by_score = scan(model, {"0": 16}, spoil, [], (0.5,), lambda own: float(own(torch.ones(2, 4)).detach().sum()))
    assert by_score.curves[0].points == (Point(0.5, None),)


def test_several_outputs_count_alike_whatever_their_scale() -> None:
    model = TwoOutputs().eval()
    x = [Example.of(images())]
    found = scan(model, weights_of(model), zero, x, (0.9,))
    with torch.no_grad():
        model.head.weight.mul_(1e-3)
        model.head.bias.mul_(1e-3)
    scaled = scan(model, weights_of(model), zero, x, (0.9,))
    for one, other in zip(found.curves, scaled.curves, strict=True):
        assert one.points[0].error == pytest.approx(other.points[0].error, rel=1e-3)


@pytest.mark.parametrize("batches", [[], [Example.of(torch.full((2, 4), torch.nan))]])
def test_outputs_that_cannot_be_compared_are_refused(batches: list[Example]) -> None:
    with pytest.raises(InputError, match="Give inputs with --calib, or a score with --eval"):
        scan(nn.Sequential(nn.Linear(4, 4)), {"0": 16}, zero, batches, (0.5,))
    with pytest.raises(InputError, match="score of the dense model is nan"):
        scan(nn.Sequential(nn.Linear(4, 4)), {"0": 16}, zero, batches, (0.5,), lambda _: math.nan)


def test_allocation_by_a_scan_beats_uniform_on_inputs_that_it_never_saw() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)).eval()
    with torch.no_grad():
        model.get_parameter("2.weight").mul_(torch.rand(64, 256) ** 6)  # most of these are next to nothing
    x = torch.randn(2, 64, 32)
    layers = weights_of(model)
    found = scan(model, layers, zero, [Example.of(x[0])], LEVELS)
    errors = {}
    for name, shares in {"scan": allocate(found, 0.7), "uniform": dict.fromkeys(layers, 0.7)}.items():
        pruned = copy.deepcopy(model)
        with torch.no_grad():
            for layer, share in shares.items():
                zero(pruned, layer, share)
            errors[name] = output_error([[model(x[1])]], [[pruned(x[1])]])
        assert sum(round(share * layers[layer]) for layer, share in shares.items()) == pytest.approx(
            0.7 * sum(layers.values()), abs=2
        )
    assert errors["scan"] is not None
    assert errors["uniform"] is not None
    assert errors["scan"] < 0.5 * errors["uniform"]


def decoder(layers: int) -> Sensitivity:
    source = random.Random(0)
    scales = [10 ** source.uniform(-3, 0) for _ in range(layers)]
    found = sensitivity(*[power(65536, scale, source.uniform(2, 5)) for scale in scales])
    names = [f"model.layers.{i // 7}.part{i % 7}.proj" for i in range(layers)]
    curves = [replace(curve, layer=name) for curve, name in zip(found.curves, names, strict=True)]
    return replace(found, curves=tuple(curves), rows=64, passes=1 + 6 * layers)


@pytest.mark.parametrize("layers", [1, 5, 168])
def test_the_picture_has_its_size_whatever_the_number_of_layers(layers: int) -> None:
    found = decoder(layers)
    png = picture(found, allocate(found, 0.6))
    image = Image.open(BytesIO(png))
    assert image.size == (825, 441)
    assert len(image.convert("RGB").getcolors() or []) > 5
    assert len(png) < 36 * 1024


def test_the_picture_leaves_pyplot_and_its_settings_alone() -> None:
    code = (
        "import sys, matplotlib; from jupyter_hwprune.report import Curve, Point, Sensitivity\n"
        "from jupyter_hwprune.render.sensitivity import picture\n"
        "settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "was = settings()\n"
        "picture(Sensitivity('score', (Curve('a', 8, (Point(0.5, 0.1), Point(0.9, 0.3))),)), {'a': 0.7})\n"
        "assert 'matplotlib.pyplot' not in sys.modules and settings() == was"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_most_sensitive_layers_are_named_and_what_is_chosen_lies_on_their_lines() -> None:
    found = decoder(30)
    chosen = allocate(found, 0.6)
    plot = plotted(found, chosen)
    assert plot.log
    ranks = [line.rank for line in plot.lines]
    assert ranks == [None] * 18 + list(range(11, -1, -1))
    worst = max(found.curves, key=lambda curve: curve.points[-1].error or 0)
    assert plot.lines[-1].layer == worst.layer
    for line in plot.lines:
        assert line.chosen is not None
        assert line.chosen[0] == chosen[line.layer]
        assert line.chosen in zip(line.x, line.y, strict=True)
        assert list(line.y) == sorted(line.y)


def test_falling_scores_and_errors_that_are_no_numbers_are_drawn() -> None:
    points = (Point(0.25, -0.01), Point(0.5, 0.0), Point(0.9, None))
    found = Sensitivity("score", (Curve("$x_1$ <b>", 10, points), Curve("", 10, (Point(0.5, None),))), None, 6)
    plot = plotted(found, {})
    assert not plot.log
    assert plot.low == -0.01
    assert [line.broken for line in plot.lines] == [0.9, 0.5]
    assert len(picture(found)) > 1000
    html = table(found)
    assert "not finite" in html
    assert "$x_1$ &lt;b&gt;" in html
    assert "chosen" not in html


def test_the_table_has_a_row_for_each_layer_the_most_sensitive_first() -> None:
    found = sensitivity(power(1000, 0.1), power(2000, 1.0), power(3000, 0.5))
    html = table(found, allocate(found, 0.5) | {"2": 0.25})
    order = [html.index(f'left">{name}</td>') for name in ("1", "2", "0")]
    assert order == sorted(order)
    assert "<b>25 %</b>" in html
    assert "<script" not in html
    assert len(table(decoder(168))) < 40_000
