"""A search for a goal: the plans it takes are within the limits, and what it measured is never lost."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import InputError, Report, hwprune, load
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import PruneError
from jupyter_hwprune.core.goal import Goal
from jupyter_hwprune.pruning import Pruned
from jupyter_hwprune.report import Search
from jupyter_hwprune.report.words import line
from jupyter_hwprune.search import journal, plans, widths
from jupyter_hwprune.search.cost import Cost
from jupyter_hwprune.search.knapsack import Level, solve
from jupyter_hwprune.search.reading import LayerTime, Reading
from jupyter_hwprune.search.space import Sides
from jupyter_hwprune.search.table import Between, Sample, time_table

SHORT = Effort(min_rounds=3, max_rounds=4, measure_s=0.2, block_s=0.002, min_profile_rounds=3, profile_s=0.2)


class Net(nn.Module):
    """Wide enough that a runtime's time follows the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.body(self.stem(x)).mean((2, 3)))
        return made


X = torch.randn(1, 3, 24, 24)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plans, "EFFORTS", dict.fromkeys(("table", "round"), SHORT))
    monkeypatch.setattr(journal, "CACHE", tmp_path)


class Modelled:
    """In the place of a bench: a plan takes the time of its multiply-accumulates, so that no clock decides."""

    def __init__(self, measured: list[Pruned]) -> None:
        self.measured = measured

    def measure(self, candidates: list[Pruned]) -> list[Reading]:
        self.measured.extend(candidates)
        return [self._reading(each) for each in candidates]

    def _reading(self, pruned: Pruned) -> Reading:
        macs = (pruned.totals.pruned_macs or 0) / (pruned.totals.macs or 1)
        layers = {each.name: LayerTime(each.macs or 1, each.pruned_macs or 1) for each in pruned.layers}
        size, whole = (4.0 * each + 1000 for each in (pruned.totals.pruned_weights, pruned.totals.weights))
        time = 2.0 * (0.05 + 0.95 * macs)
        return Reading(2.0, time, "ms", size, whole, layers=layers, others=LayerTime(1.0, 1.0))


@pytest.fixture
def modelled(monkeypatch: pytest.MonkeyPatch) -> list[Pruned]:
    """Return what was measured in a search; the finished run itself is really measured."""
    measured: list[Pruned] = []
    monkeypatch.setattr(plans.Plans, "_bench", lambda *_: Modelled(measured))
    monkeypatch.setattr(plans.Plans, "_written", lambda _, _bench, pruned: pruned)
    monkeypatch.setattr(plans.Plans, "_read", lambda _, _bench, _candidate, reading: reading)
    return measured


def of_channels(model: nn.Module) -> float:
    """Score a model by the share of its channels that are left, which falls as channels go."""
    return sum(p.shape[0] for name, p in model.named_parameters() if name.endswith("weight")) / 202


def test_a_search_is_measured_on_the_toolchain_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widths, "RANDOM_SAMPLES", 1)
    run = hwprune(Net(), X, speedup=1.5, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert all(each.time > 0 and each.size_bytes for each in search.points)
    assert search.chosen.kept == pytest.approx(run.report.totals.pruned_weights / run.report.totals.weights)


def test_a_search_lands_within_its_limit_and_says_what_it_tried(modelled: list[Pruned]) -> None:
    run = hwprune(Net(), X, speedup=2.0, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert search.stopped_by is None
    assert 2.0 <= search.chosen.speedup < 2.0 / 0.85  # under the limit by no more than the widths allow
    assert search.rounds <= 4
    assert len(search.points) == len(modelled) == 8 + search.rounds
    assert all(each.predicted is not None for each in search.points[1:])
    assert run.report.request.sparsity == search.share
    assert "at least 2x as fast" in str(run)
    assert "--speedup 2" in line(run.report)
    assert "--sparsity" not in line(run.report)


class Deep(nn.Module):
    """Layers of many sizes, so that costs that rise in steps are not nearly straight lines."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 48, 1), (48, 96, 2), (96, 96, 1), (96, 160, 2), (160, 160, 1), (160, 224, 2), (224, 224, 1))
        layers = [(nn.Conv2d(a, b, 3, stride, 1), nn.ReLU()) for a, b, stride in sizes]
        self.body, self.head = nn.Sequential(*(each for pair in layers for each in pair)), nn.Linear(224, 10)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.body(x).mean((2, 3)))
        return made


@pytest.mark.parametrize("speedup", [1.5, 2.0, 3.0])
def test_estimates_that_rise_in_steps_are_met_in_four_rounds(speedup: float) -> None:
    torch.manual_seed(0)
    run = hwprune(Deep(), X, target="tpu-v5e", toolchain="tests.fakes.stepping", pattern="channel/8", speedup=speedup)
    search = run.report.search
    assert search is not None
    assert search.rounds <= 4
    assert 0.92 <= speedup / search.chosen.speedup <= 1.0


def test_by_second_order_only_what_is_scored_or_kept_is_refitted(modelled: list[Pruned]) -> None:
    data = torch.randn(64, 3, 24, 24)
    run = hwprune(Net(), X, speedup=2.0, importance="second-order", calib=data, effort=SHORT)
    assert run.report.search is not None
    assert run.report.search.stopped_by is None
    assert any(reason.startswith("Refitted by least squares: 2 of 2 layers") for reason in run.report.reasons)
    assert not any("Refitted" in remark for each in modelled for remark in each.remarks)


@pytest.mark.usefixtures("modelled")
def test_a_search_within_milliseconds_and_megabytes_meets_both() -> None:
    run = hwprune(Net(), X, latency_ms=1.2, size_mb=0.09, effort=SHORT)
    chosen = run.report.search.chosen  # type: ignore[union-attr]
    assert chosen.time <= 1.2
    assert chosen.size_bytes is not None
    assert chosen.size_bytes <= 90_000
    assert chosen.size_bytes > 40_000  # the larger of those that fit
    assert run.report.metrics()["size_mb"] == chosen.size_bytes / 1e6


@pytest.mark.usefixtures("modelled")
def test_a_limit_that_no_plan_meets_is_named_and_the_smallest_plan_is_kept() -> None:
    run = hwprune(Net(), X, speedup=1000.0, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert search.stopped_by == "time"
    assert search.chosen.time == min(each.time for each in search.points)
    assert "the time stopped the search" in str(run)


@pytest.mark.usefixtures("modelled")
def test_a_search_steps_back_from_a_score_that_falls_too_far() -> None:
    run = hwprune(Net(), X, speedup=4.0, max_drop=0.2, score=of_channels, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert search.stopped_by == "score"
    assert search.dense_score is not None
    assert search.chosen.score is not None
    assert search.dense_score - search.chosen.score <= 0.2
    assert 1 < search.chosen.speedup < 4
    said = str(run)
    assert "the score stopped the search" in said
    assert "too slow" in said


@pytest.mark.usefixtures("modelled")
def test_a_drop_alone_takes_the_fastest_plan_that_keeps_the_score() -> None:
    run = hwprune(Net(), X, max_drop=0.3, score=of_channels, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert search.stopped_by is None
    assert search.chosen.score is not None
    assert search.chosen.score >= of_channels(Net()) - 0.3
    with pytest.raises(PruneError, match="No plan keeps the score within 0"):
        hwprune(Net(), X, max_drop=0.0, score=of_channels, effort=SHORT)


@pytest.mark.usefixtures("modelled")
def test_a_cell_trains_the_plan_that_was_found_in_its_steps() -> None:
    seen: list[list[int]] = []

    def finetune(model: nn.Module) -> None:
        seen.append([p.shape[0] for p in model.parameters() if p.ndim > 1])

    run = hwprune(Net(), X, speedup=3.0, finetune=finetune, schedule="iterative", steps=2, effort=SHORT)
    assert len(seen) == 2
    assert sum(seen[1]) < sum(seen[0]) < 32 + 64 + 64 + 10
    assert [p.shape[0] for p in run.model.parameters() if p.ndim > 1] == seen[1]


@pytest.mark.usefixtures("modelled")
def test_the_plan_that_was_found_recovers_without_labels() -> None:
    run = hwprune(Net(), X, speedup=3.0, recover=2, calib=torch.randn(64, 3, 24, 24), effort=SHORT)
    assert run.report.search is not None
    assert run.report.recovered is not None
    assert run.report.recovered.steps == 2
    assert {"--speedup", "--recover"} <= {*line(run.report).split()}
    assert run.report.totals.pruned_weights == sum(each.numel() for each in run.model.parameters())


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x + self.second(self.first(x).relu())
        return made


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.blocks(self.stem(x))
        return made


@pytest.mark.usefixtures("modelled")
def test_where_one_share_goes_everywhere_the_search_finds_the_share() -> None:
    run = hwprune(Residual(), X, pattern="depth", speedup=1.3, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert search.stopped_by is None
    assert len(run.model.get_submodule("blocks")._modules) == 4 - round(4 * search.share) == 3
    assert search.chosen.speedup == min(each.speedup for each in search.points)  # the first block is enough
    assert {each.share for each in search.points} <= {0.25, 0.5, 0.75, 1.0}  # no two points are one plan


@pytest.mark.usefixtures("modelled")
def test_a_goal_between_two_numbers_of_blocks_is_told() -> None:
    run = hwprune(Residual(), X, pattern="depth", speedup=1.6, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert search.chosen.share == 0.5  # one of four blocks is too few
    [said] = search.remarks
    assert "this plan takes 8" in said
    assert "depth at 25 % is expected to take 1" in said
    assert re.search(r"^  steps +only whole blocks are removed", str(run), re.MULTILINE)


@pytest.mark.usefixtures("modelled")
def test_blocks_and_channels_go_together_where_the_pattern_says_so() -> None:
    run = hwprune(Residual(), X, pattern="depth+channel/8", speedup=4.0, effort=SHORT)
    search = run.report.search
    assert search is not None
    assert search.stopped_by is None
    tried = {each.name.partition(",")[0] for each in search.points}
    assert tried >= {"0 of 4 blocks", "2 of 4 blocks"}
    blocks = run.model.get_submodule("blocks")._modules
    assert search.chosen.name.startswith(f"{4 - len(blocks)} of 4 blocks")
    assert search.chosen.speedup >= 4.0


def test_a_librarys_model_keeps_widths_that_its_configuration_can_say(modelled: list[Pruned]) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    model: Any = BertModel(config)
    run = hwprune(model, torch.randint(0, 64, (1, 8)), pattern="channel/8", speedup=1.3, effort=SHORT)
    assert run.report.search is not None
    assert len({each.share for each in run.report.search.points}) == len(modelled)
    pruned: Any = run.model
    assert pruned.config.intermediate_size < 64


def test_a_search_that_was_ended_goes_on_where_it_was_and_ends_as_an_unbroken_one(
    modelled: list[Pruned], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, source = Net(), random.Random(1)

    def search() -> Search:
        found = hwprune(model, X, speedup=2.5, score=of_channels, effort=SHORT).report.search
        assert found is not None
        return found

    unbroken = search()
    for file in tmp_path.rglob("*.jsonl"):
        file.unlink()
    calls = itertools.count(1)
    keep = journal.Journal.keep

    def ended(*args: Any) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt
        keep(*args)

    monkeypatch.setattr(journal.Journal, "keep", ended)
    for _ in range(4):
        at, calls = source.randint(2, 5), itertools.count(1)
        try:
            search()
        except KeyboardInterrupt:
            for file in tmp_path.rglob("*.jsonl"):
                with file.open("a") as more:
                    more.write('{"part": "table", "na')  # the process ends within a line
    monkeypatch.setattr(journal.Journal, "keep", keep)
    modelled.clear()
    [file] = tmp_path.rglob("*.jsonl")
    kept = {
        line for line in file.read_text().splitlines() if line.startswith('{"part": "table"') and line.endswith("}")
    }
    resumed = search()
    assert resumed.points == unbroken.points
    assert resumed.remembered == len(kept) > 0
    assert len(modelled) == len(resumed.points) - len(kept)


def test_a_pattern_that_fits_nothing_is_told_as_without_a_goal(modelled: list[Pruned]) -> None:
    with pytest.raises(PruneError, match="residual blocks"):
        hwprune(Net(), X, pattern="depth", speedup=2.0, effort=SHORT)
    assert not modelled


@pytest.mark.usefixtures("modelled")
def test_a_goal_that_the_dense_model_meets_needs_no_search() -> None:
    with pytest.raises(InputError, match=r"already meets the goal.*takes 2 ms a batch"):
        hwprune(Net(), X, latency_ms=1000.0, effort=SHORT)
    run = hwprune(Net(), X, latency_ms=1.999, effort=SHORT)  # a step is taken, and no more than that
    assert run.report.search is not None
    assert run.report.search.chosen.share < 0.2


def test_what_is_remembered_of_one_score_is_not_shown_for_another(modelled: list[Pruned]) -> None:
    model = Net()

    def half(own: nn.Module) -> float:
        return of_channels(own) / 2

    for score in (of_channels, half):
        modelled.clear()
        search = hwprune(model, X, speedup=2.0, score=score, effort=SHORT).report.search
        assert search is not None
        assert search.remembered == 0
        assert max(each.score for each in search.points if each.score is not None) < score(model)
    hwprune(model, X, speedup=2.0, score=half, calib=torch.randn(2, 3, 24, 24), effort=SHORT)
    assert len(modelled) >= 2 * 9  # other inputs: the table anew, too


BAD: list[tuple[dict[str, Any], str]] = [
    ({"speedup": 0.5}, "give more than 1"),
    ({"latency_ms": 0}, "--latency-ms is 0; give a number above 0"),
    ({"latency_ms": float("nan")}, "--latency-ms is nan"),
    ({"speedup": "2"}, "--speedup is '2'; give a number"),
    ({"max_drop": 0.1}, "there is no score"),
    ({"speedup": 2.0, "sparsity": 0.5}, "sets the share itself"),
    ({"speedup": 2.0, "recipe": "x"}, "A recipe sets the sparsity itself"),
    ({"energy_mj": 1.0}, "has no energy meter"),
    ({"speedup": 2.0, "target": "hopper"}, "nothing here can measure that"),
]


@pytest.mark.parametrize(("asked", "said"), BAD, ids=[said for _, said in BAD])
def test_a_goal_that_cannot_be_searched_for_is_refused_before_anything_is_measured(
    asked: dict[str, Any], said: str, modelled: list[Pruned]
) -> None:
    with pytest.raises(InputError, match=said):
        hwprune(Net(), X, effort=SHORT, **asked)
    assert not modelled


def test_the_report_of_a_search_is_drawn_saved_and_read_again(modelled: list[Pruned], tmp_path: Path) -> None:
    model = Net()
    run = hwprune(model, X, speedup=2.0, score=of_channels, effort=SHORT)
    run.save(tmp_path / "run")
    report = load(tmp_path / "run", model).report
    assert report.search == run.report.search
    assert Report.from_json(report.to_json()) == report
    html = run._repr_mimebundle_()["text/html"]
    assert "what the search tried" in html
    assert html.count("data:image/png") >= 2
    rows = json.loads(report.to_json())["words"]["search"]["rows"]
    assert len(rows) == len(modelled)


def test_the_knapsack_is_exact() -> None:
    source = random.Random(0)
    for _ in range(20):
        names = "abcd"
        sets = {n: [Level(k / 4, source.random() * (1 - k / 4)) for k in (4, 3, 2, 1)] for n in names}
        pairs = {(a, b): source.random() for a, b in itertools.combinations_with_replacement(names, 2)}
        cost = Cost(0.1, {n: source.random() for n in names}, pairs)
        limit = 0.1 + source.random() * (cost.of({}) - 0.1)
        fitting = [
            sum(level.loss for level in chosen)
            for chosen in itertools.product(*sets.values())
            if cost.of({n: level.kept for n, level in zip(names, chosen, strict=True)}) <= limit
        ]
        found = solve(sets, [(cost, limit)])
        if not fitting:
            assert found is None
            continue
        assert found is not None
        largest = max(level.loss for levels in sets.values() for level in levels)
        assert sum(level.loss for level in found.values()) <= min(fitting) + 4 * 2e-3 * largest
        assert cost.of({n: level.kept for n, level in found.items()}) <= limit * (1 + 1e-6)


def test_the_table_learns_what_each_side_of_a_layer_costs() -> None:
    """Times made of known parts are given back for plans that were not among the samples."""
    layers = {"one": Sides(Cost(0, {"a": 1.0}), Cost(1.0)), "two": Sides(Cost(0, {"b": 1.0}), Cost(0, {"a": 1.0}))}
    weights = Cost(0, {"a": 10.0}, {("a", "b"): 90.0})

    def reading(a: float, b: float) -> Reading:
        one, two, others = 2 + 8 * a, 1 + 3 * b + 6 * a * b, 5.0
        times = {"one": LayerTime(10, one), "two": LayerTime(10, two)}
        return Reading(25e-3, (one + two + others) / 1e3, layers=times, others=LayerTime(5, others))

    source = random.Random(0)
    samples = [
        Sample({"a": a, "b": b}, reading(a, b)) for a, b in [(source.random(), source.random()) for _ in range(6)]
    ]
    table = time_table(layers, weights, samples)
    assert table is not None
    for a, b in ((0.3, 0.9), (0.9, 0.2), (1.0, 1.0)):
        assert table.whole().of({"a": a, "b": b}) == pytest.approx(reading(a, b).relative, rel=1e-6)


def test_between_two_plans_a_time_is_right_at_both() -> None:
    table = Cost(0.1, {"a": 0.4, "b": 0.5})  # which says too little of the one plan and too much of the other
    less = Sample({"a": 0.5, "b": 0.25}, Reading(1.0, 0.3))
    more = Sample({"a": 0.75, "b": 0.5}, Reading(1.0, 0.7))
    between = Between.of(less, more, table)
    assert between is not None
    assert between.time.of(less.kept) == pytest.approx(0.3)
    assert between.time.of(more.kept) == pytest.approx(0.7)
    levels = {name: [Level(share, 0.0) for share in (1.0, 0.75, 0.5, 0.25)] for name in "ab"}
    assert {name: [each.kept for each in own] for name, own in between.levels(levels).items()} == {
        "a": [0.75, 0.5],
        "b": [0.5, 0.25],
    }
    assert Between.of(more, less, table) is None


def test_a_goal_reads_as_a_sentence() -> None:
    assert str(Goal(speedup=2.0, max_drop=0.01)) == "at least 2x as fast, the score at most 0.01 lower"
    assert Goal.of(latency_ms=None) is None
