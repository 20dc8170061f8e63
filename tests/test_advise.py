"""`%hwprune advise` in a real IPython: what is tried, said and remembered, and what stays as it is."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import advise, pruning
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.pattern import Unstructured
from jupyter_hwprune.core.target import Judge, Offer
from jupyter_hwprune.measure.job import HERE, Here, Job
from jupyter_hwprune.report import Comparison, Evidence
from jupyter_hwprune.survey import advice as home
from jupyter_hwprune.survey.advice import Advised, levels, measuring, remembered
from jupyter_hwprune.survey.advice.following import line_of, needs_of
from jupyter_hwprune.survey.advice.levels import trials
from jupyter_hwprune.survey.advice.picture import panels_of
from jupyter_hwprune.survey.advice.rows import best_of, ranked
from tests.conftest import fingerprint
from tests.test_magics import cell

FAULTY, ESTIMATING = "tests.fakes.faulty", "tests.fakes.estimating"
FAST_INT8 = "jupyter_hwprune.survey.advice.levels.fast_int8"
SHORT = Effort(min_rounds=3, max_rounds=3, measure_s=0.1, block_s=0.001, profile=False)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.narrow(torch.relu(self.wide(x)))
        return y


def blocks() -> nn.Module:
    """Two residual blocks, so that one of them can go."""
    return nn.Sequential(nn.Linear(16, 32), Block(), Block(), nn.Linear(32, 8))


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the worker's jobs by what they do; nothing is remembered of the user's own calls."""
    monkeypatch.setattr(remembered, "FOLDER", tmp_path / "advice")
    counts: Counter[str] = Counter()
    real = Here.run

    def run(self: Here, job: Job, progress: Any) -> Any:
        counts[job.action] += 1
        return real(self, job, progress)

    monkeypatch.setattr(Here, "run", run)
    assert isinstance(HERE, Here)
    return counts


@pytest.fixture
def user(shell: Any, jobs: Counter[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user with a model, on a CPU without instructions for int8: quantising takes longer than all else."""
    monkeypatch.setattr(FAST_INT8, list)
    shell.push({"net": blocks().train(), "x": torch.randn(4, 16)})
    return shell


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try channels at one level, and no blocks."""
    monkeypatch.setattr(levels, "CHANNELS", (0.5,))
    monkeypatch.setattr(levels, "BLOCKS", ())


def of(rows: tuple[Advised, ...], pattern: str | None) -> list[Any]:
    return [row for row in rows if row.pattern == pattern and not row.int8]


def test_each_pattern_and_level_is_a_row_and_a_second_call_remembers_them(user: Any, jobs: Counter[str]) -> None:
    before = fingerprint(user.user_ns["net"])
    line = "%hwprune advise net --input x --target cpu --toolchain onnxruntime"
    result, shown = cell(user, line)
    found = result.result
    assert "hwprune: net: " in shown
    assert "hwprune advise: net for" in shown

    channels, depth, zeros = (of(found.rows, pattern) for pattern in ("channel/8", "depth", "unstructured"))
    assert sorted(row.share for row in channels) == [0.3, 0.5, 0.7]
    assert [row.share for row in zeros] == [0.9]
    for row in (*channels, *zeros, depth[0]):
        assert row.evidence.kind == "measured"
        assert row.speed.low <= row.speed.speedup <= row.speed.high
        assert row.ms > 0
        assert len(row.samples_ms) == len(row.dense_samples_ms) >= 7
    by_share = {row.share: row.weights_removed for row in channels}
    assert 0.1 < by_share[0.3] < by_share[0.5] < by_share[0.7] < 1
    assert zeros[0].weights_removed == pytest.approx(0.9, abs=0.06)  # of all parameters, biases too
    one_block = sum(p.numel() for p in Block().parameters()) / sum(p.numel() for p in blocks().parameters())
    by_level = {row.share: row for row in depth}
    assert by_level[0.5].weights_removed == pytest.approx(one_block)
    assert by_level[0.25].evidence.kind == "unavailable"  # a quarter of two blocks is none
    assert "block" in by_level[0.25].evidence.reason
    assert {"2:4", "16x16"} <= {row.pattern for row in found.rows if "no sparse kernels" in (row.evidence.reason or "")}

    ratios = [row.speed.speedup for row in found.rows if row.speed.speedup is not None]
    assert ratios == sorted(ratios, reverse=True)
    assert all(row.speed.speedup is None for row in found.rows[len(ratios) :])
    assert fingerprint(user.user_ns["net"]) == before

    assert jobs.pop("measure") == 1  # the dense model and all candidates in turn
    again, shown = cell(user, line)
    assert not jobs
    measured = [row for row in again.result.rows if row.evidence.kind == "measured"]
    assert all(row.remembered for row in measured)
    assert [(row.what, row.share, row.ms) for row in measured] == [
        (row.what, row.share, row.ms) for row in found.rows if row.evidence.kind == "measured"
    ]
    assert f"{len(measured)} of {len(found.rows)} rows are remembered, made 2" in " ".join(shown.split())


@pytest.mark.usefixtures("few")
def test_what_is_shown_and_saved(user: Any, jobs: Counter[str], tmp_path: Path) -> None:
    found = advise(user.user_ns["net"], user.user_ns["x"], toolchain="onnxruntime", effort=SHORT, name="net")
    bundle = found._repr_mimebundle_()
    html, text = bundle["text/html"], " ".join(bundle["text/plain"].split())
    for said in ("channel/8", "50 % of channels", "not trained", "no sparse kernels for 2:4", "95 % interval"):
        assert said in html
        assert said in text
    assert "<script" not in html
    assert html.count("<img alt=") == 1
    found.save(tmp_path / "advice.json")
    data = json.loads((tmp_path / "advice.json").read_text())
    assert [row["pattern"] for row in data["rows"]] == [row.pattern for row in found.rows]
    assert data["rows"][0]["evidence"]["kind"] == "measured"
    (panel,) = panels_of(found.rows, lambda row: row.toolchain)
    drawn = {line.name: line for line in panel.lines}
    assert [point.removed for point in drawn["channel/8, onnxruntime"].points] == sorted(
        row.weights_removed or 0 for row in of(found.rows, "channel/8")
    )
    assert panel.noise is not None
    assert panel.noise >= 0.03


def row(pattern: str | None, share: float | None, ratio: float | None, **more: Any) -> Advised:
    verdict = "not measured" if ratio is None else "faster" if ratio > 1.1 else "no measurable gain"
    speed: Any = Comparison(ratio, ratio, ratio, ratio and 0.05, verdict)  # type: ignore[arg-type]
    evidence = Evidence("unavailable", reason="why") if ratio is None else Evidence("measured", device="a CPU")
    options: dict[str, Any] = {"int8": False, "evidence": evidence, "weights_removed": share or 0.0}
    options |= {"dense_ms": 1.0, "ms": ratio and 1 / ratio} | more
    return Advised("x86-cpu", "onnxruntime", pattern, share, speed=speed, **options)


def test_the_best_saves_most_for_what_goes_and_int8_alone_comes_last() -> None:
    rows = ranked(
        [row("depth", 0.5, None), row("channel/8", 0.3, 1.4), row("channel/8", 0.7, 2.0), row(None, None, 3.0)]
    )
    assert [each.speed.speedup for each in rows] == [3.0, 2.0, 1.4, None]
    best = best_of(rows)
    assert best is not None
    assert (best.share, best.speed.speedup) == (0.3, 1.4)  # 0.95 of the time for each of the channels, and not 0.71
    assert best_of(rows[:1]) is rows[0]
    slow = row("channel/8", 0.3, 1.8, dense_ms=2.0, ms=2.0 / 1.8)
    assert best_of([slow]) is slow
    assert best_of([slow, row("unstructured", 0.9, 1.0)]) is None  # dense is faster with another toolchain
    assert best_of([row("channel/8", 0.5, 1.0), row("depth", 0.5, None)]) is None


@pytest.mark.usefixtures("few")
def test_where_nothing_pays_it_says_so_and_what_may(user: Any, jobs: Counter[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(home, "best_of", lambda _: None)
    found = advise(user.user_ns["net"], user.user_ns["x"], target="x86-cpu:onnxruntime", effort=SHORT, name="net")
    said = " ".join(str(found).split())
    assert "nothing that was timed beats the fastest dense model beyond the noise" in said
    assert "would pay" in said
    assert "%hwprune advise net --target x86-cpu:deepsparse" in said
    assert found.line is None
    assert found.summary == "net: nothing that was timed beats the fastest dense model beyond the noise"


@pytest.mark.usefixtures("few")
def test_int8_alone_and_with_channels_are_rows_where_the_cpu_is_fast_at_it(
    user: Any, jobs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FAST_INT8, lambda: ["VNNI"])
    options: dict[str, Any] = {"toolchain": "onnxruntime", "effort": SHORT, "calib": torch.randn(8, 16)}
    found = advise(user.user_ns["net"], user.user_ns["x"], **options, name="net", calib_name="data")
    alone, wide = sorted((each for each in found.rows if each.int8), key=lambda each: each.share or 0)
    assert (alone.pattern, alone.weights_removed, alone.removes) == (None, 0.0, "nothing")
    assert (wide.what, wide.share) == ("channel/8 + int8", 0.5)
    assert jobs["quantise"] == 2
    line = line_of(wide, {"model": "net", "input": "x"}, "data")
    assert line.startswith("%hwprune net --input x --target x86-cpu:onnxruntime --pattern channel/8 --sparsity 0.5")
    assert "--calib data --dtype int8" in line
    assert needs_of(wide, "data") == needs_of(dataclasses.replace(wide, int8=False), None) == ()
    assert "add --calib" in needs_of(wide, None)[0]

    monkeypatch.setattr(FAST_INT8, list)
    (alone,) = [each for each in advise(user.user_ns["net"], user.user_ns["x"], **options).rows if each.int8]
    assert alone.ms is None
    assert "no instructions for fast products" in (alone.evidence.reason or "")


@pytest.mark.usefixtures("few")
def test_a_toolchain_that_fails_is_a_reason_and_is_asked_again(
    user: Any, jobs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWPRUNE_FAULT", "compile:segfault")
    line = f"%hwprune advise net --input x --toolchain {FAULTY}"
    result, shown = cell(user, line)
    assert "SIGSEGV" in shown
    assert not [each for each in result.result.rows if each.ms is not None]
    assert jobs["measure"] == 2  # all together, then the dense model alone, and no more
    monkeypatch.setenv("HWPRUNE_FAULT", "")
    monkeypatch.setattr(FAST_INT8, lambda: ["VNNI"])
    result, _ = cell(user, line)
    assert of(result.result.rows, "channel/8")[0].evidence.kind == "measured"
    int8 = [each for each in result.result.rows if each.int8]
    assert all("a_quantiser" in (each.evidence.reason or "") for each in int8)


def test_one_model_that_fails_keeps_the_others_going(
    user: Any, jobs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pruning.prune

    def prune(dense: Any, example: Any, plan: Any, **more: Any) -> Any:
        if any(part.share == 0.5 for part in plan.parts.values()):
            raise ZeroDivisionError("of its own")
        return real(dense, example, plan, **more)

    monkeypatch.setattr(measuring, "prune", prune)
    monkeypatch.setattr(levels, "BLOCKS", ())
    found = advise(user.user_ns["net"], user.user_ns["x"], toolchain="onnxruntime", effort=SHORT)
    kinds = {each.share: each.evidence for each in of(found.rows, "channel/8")}
    assert kinds[0.5].reason == "ZeroDivisionError: of its own"
    assert kinds[0.3].kind == kinds[0.7].kind == "measured"


@pytest.mark.usefixtures("few")
def test_an_estimate_has_no_verdict_and_a_missing_toolchain_its_cure(user: Any, jobs: Counter[str]) -> None:
    result, shown = cell(user, f"%hwprune advise net --input x --target tpu-v5e --toolchain {ESTIMATING}")
    found = result.result
    (zeros,) = of(found.rows, "unstructured")
    assert zeros.estimate.ratio == pytest.approx(10, rel=0.05)
    assert zeros.speed.verdict == "not measured"
    assert found.best.evidence.kind == "compiler-estimate"
    assert f"estimated {zeros.estimate.ratio:.2f}x" in shown
    assert "--target tpu-v5e:tests.fakes.estimating" in found.line
    assert {panel.label for panel in panels_of(found.rows, lambda each: each.toolchain)} == {"estimated speed-up"}

    result, shown = cell(user, "%hwprune advise net --input x --target jetson,edge-tpu")
    assert not result.result.rows
    assert {each.target for each in result.result.absent} == {"jetson", "edge-tpu"}
    assert "nothing was timed here" in shown
    assert "not here" in shown


@pytest.mark.usefixtures("few")
def test_an_interrupt_ends_it_and_what_was_measured_stays(
    user: Any, jobs: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(FAST_INT8, lambda: ["VNNI"])
    monkeypatch.setenv("HWPRUNE_FAULT", "quantise:hang")
    monkeypatch.setenv("HWPRUNE_PID_FILE", str(tmp_path / "pid"))
    pressed: list[float] = []

    def press() -> None:
        while not (tmp_path / "pid").exists():
            time.sleep(0.05)
        time.sleep(0.5)  # the worker is in the phase, but who reads what it says may not have come to it yet
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    line = f"%hwprune advise net --input x --toolchain {FAULTY}"
    waiting = threading.Thread(target=press)
    waiting.start()
    result, shown = cell(user, line)
    ended = time.monotonic()
    waiting.join()
    assert ended - pressed[0] < 5  # a second, on a machine with nothing else to do
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert "interrupted in phase quantise" in shown
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    monkeypatch.setenv("HWPRUNE_FAULT", "")
    monkeypatch.setattr(FAST_INT8, list)
    jobs.clear()
    result, _ = cell(user, line)
    timed = [each for each in result.result.rows if each.ms is not None]
    assert {each.pattern for each in timed if each.remembered} == {"channel/8", "unstructured"}
    assert not jobs


@pytest.mark.usefixtures("user", "few")
def test_what_is_remembered_is_of_the_structure_and_damage_is_measured_anew(jobs: Counter[str]) -> None:
    net, x = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(4, 16)

    def measured(model: nn.Module = net, **more: Any) -> int:
        jobs.clear()
        options: dict[str, Any] = {"toolchain": "onnxruntime", "effort": SHORT} | more
        assert advise(model, x, **options).rows
        return jobs["measure"]

    assert measured()
    with torch.no_grad():
        net.get_parameter("0.weight").add_(1)
    assert not measured()
    assert measured(fresh=True)
    assert measured(nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 8)))
    for path in remembered.FOLDER.glob("*.json"):
        path.write_text('{"channel/8 0.5 ": [{"target": 3}]}')
    assert measured()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "toaster"}, "There is no target 'toaster'"),
        ({"target": ""}, "--target is ''; it takes names of targets"),
        ({"target": ["cpu", 3]}, "it takes names of targets"),
        ({"threads": 0}, "--threads is 0"),
        ({"target": "all", "toolchain": FAULTY}, "No target can be timed, .* here with tests.fakes.faulty"),
        ({"toolchain": "gcc"}, "There is no toolchain 'gcc'"),
        ({"calib": []}, "The calibration data is empty"),
    ],
)
def test_wrong_options_are_one_paragraph(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        advise(blocks(), torch.randn(4, 16), **options)


def test_zeros_are_tried_at_several_levels_where_a_toolchain_skips_them() -> None:
    judge = Judge("some", "CPU", (Offer(Unstructured(), 0.9),))
    assert [each.share for each in trials(judge) if each.pattern == Unstructured()] == [0.5, 0.8, 0.9]
