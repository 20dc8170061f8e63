"""Every runtime of a target in one report: what each buys alone, what pruning buys on top, and which is the fastest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from jupyter_hwprune import Report, Run, hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.measure.judge import across, compare
from jupyter_hwprune.render import summary
from jupyter_hwprune.report import MIME_TYPE, NOT_COMPARED, LeftOut, Runtime, Runtimes, Timed
from jupyter_hwprune.report.words import line, words_of
from tests import reports
from tests.networks import cnn
from tests.reports import timed

SHORT = Effort(min_rounds=5, max_rounds=5, measure_s=0.1, profile_s=0.1)
NAMES = ("onnxruntime", "openvino")


def side_by_side(**options: Any) -> tuple[Run, list[tuple[str, str]]]:
    """Run with all toolchains; return the run, and the phases that its progress told, each with what it was about."""
    told: list[tuple[str, str]] = []
    torch.manual_seed(0)
    example = torch.randn(2, 3, 16, 16)
    asked: dict[str, Any] = {"target": "x86-cpu", "toolchain": "all", "pattern": "channel/4", "effort": SHORT}
    return hwprune(cnn(), example, progress=lambda *each: told.append(each), name="net", **asked | options), told


@pytest.fixture(scope="module")
def both() -> tuple[Run, list[tuple[str, str]]]:
    return side_by_side()


def runtimes_of(run: Run) -> Runtimes:
    assert run.report.runtimes is not None
    return run.report.runtimes


def dense_ms(found: Timed) -> float:
    """Return the geometric mean of two processes, in each of which the faster of two copies counts."""
    first, second, first_again, second_again = found.copies_ms()[0]
    return math.sqrt(min(first, first_again) * min(second, second_again))


def test_each_runtime_times_dense_and_pruned_of_one_model_in_turn_with_the_others(
    both: tuple[Run, list[tuple[str, str]]],
) -> None:
    run, told = both
    own, other = runtimes_of(run).rows
    assert (own.toolchain, other.toolchain) == NAMES
    assert run.report.request.toolchain == own.toolchain
    assert own.timed is None
    assert (own.dense_ms, own.pruned_ms) == (timed(run.report).dense_ms, timed(run.report).pruned_ms)
    assert other.timed is not None
    for each in (timed(run.report), other.timed):
        assert each.rounds == (5, 5)
        assert {len(samples.cpu_ms) for samples in (each.dense, each.control, each.pruned)} == {10}
    assert (own.alone, own.pruning) == (NOT_COMPARED, timed(run.report).comparison)
    assert other.alone.speedup == pytest.approx(dense_ms(timed(run.report)) / dense_ms(other.timed), rel=1e-4)
    assert all(each.error is not None and each.error < 1e-4 for each in (own, other))
    turns = [(phase, *said.split(", ")[:-1]) for phase, said in told if "load" in said]
    assert list(dict.fromkeys(turns))[-3:] == [
        ("runtimes", "openvino", "process 1 of 2"),
        ("confirm", "process 2 of 2"),
        ("runtimes", "openvino", "process 2 of 2"),
    ]


def test_the_headline_is_the_fastest_pruned_against_the_fastest_dense_model(
    both: tuple[Run, list[tuple[str, str]]],
) -> None:
    run, _ = both
    found = runtimes_of(run)
    assert run.report.deciding == found.speed
    dense, pruned = found.fastest_dense, found.fastest_pruned
    assert dense.dense_ms == min(each.dense_ms for each in found.rows)
    assert pruned.pruned_ms == min(each.pruned_ms for each in found.rows)
    said = f"pruned with {pruned.toolchain} against dense with {dense.toolchain}"
    for form in (str(run), run._repr_mimebundle_()["text/html"].replace("&nbsp;", " ")):
        assert said in " ".join(form.split())
        assert "the runtime alone" in form
        assert "its licence allows evaluation only" in " ".join(form.split())  # of what is taken by its name only
    assert line(run.report).startswith("%hwprune net --target x86-cpu --pattern channel/4")
    assert "--toolchain all" in line(run.report)
    assert Report.from_json(run.report.to_json()) == run.report
    assert run._repr_mimebundle_()[MIME_TYPE]["runtimes"]["rows"][1]["toolchain"] == "openvino"
    assert {f"{name}_{kind}_ms" for name in NAMES for kind in ("dense", "pruned")} < run.report.metrics().keys()


@pytest.mark.parametrize(
    ("fault", "said"),
    [("measure:segfault", "SIGSEGV"), ("check:wrong", "its outputs are off by"), ("probe:raise", "own complaint")],
)
def test_a_runtime_that_fails_stays_out_with_its_reason(fault: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_FAULT", fault)
    run, _ = side_by_side(target="tests.fakes.two_runtimes")
    found = runtimes_of(run)
    assert [each.toolchain for each in found.rows] == ["onnxruntime"]
    [left] = found.left_out
    assert left.toolchain == "tests.fakes.faulty"
    assert said in left.reason
    assert found.speed == timed(run.report).comparison == run.report.deciding
    assert left.reason in " ".join(str(run).replace("\n", " ").split()) or said in str(run)


def test_int8_models_and_all_runtimes_are_two_questions() -> None:
    with pytest.raises(InputError, match="Name the toolchain, such as --toolchain onnxruntime"):
        side_by_side(dtype="int8")


def made_up(*times: tuple[str, float, float]) -> Report:
    """Make a report of runtimes with these times of dense and pruned, in milliseconds."""
    one = reports.report((reports.layer("a", 8, 8),))
    around = (1.0, 1.01, 0.99, 1.0, 1.02, 0.98)

    def copies(ms: float) -> tuple[list[float], list[float]]:
        return ([ms * each for each in around],) * 2

    def apart(before: float, after: float) -> Any:
        return across(copies(before), copies(after), ([3, 3], [3, 3]))

    rows = tuple(
        Runtime(name, "1", dense, pruned, compare(*copies(dense), copies(pruned)[0]), apart(times[0][1], dense))
        for name, dense, pruned in times
    )
    dense, pruned = min(row.dense_ms for row in rows), min(row.pruned_ms for row in rows)
    return replace(one, runtimes=Runtimes(rows, apart(dense, pruned), (LeftOut("a third", "it is not here", None),)))


def test_a_runtime_that_only_gains_much_by_pruning_is_held_against_the_fastest_dense_one() -> None:
    report = made_up(("onnxruntime", 1.0, 0.9), ("openvino", 4.0, 1.0))
    assert summary(report).endswith(
        "FASTER 1.11x: pruned with onnxruntime against dense with onnxruntime, score 0.9 → 0.8"
    )
    facts = {fact.name: fact.said for fact in words_of(report).facts}
    assert facts["time"] == "1.00 ms → 0.900 ms, pruned with onnxruntime against dense with onnxruntime"
    assert facts["openvino"].startswith("the runtime alone is slower 0.25x")
    assert "pruning on top of it is faster 4.00x" in facts["openvino"]
    assert facts["not timed"] == "a third: it is not here"
    table = words_of(report).runtimes
    assert table is not None
    assert [row[:5] for row in table.rows] == [
        ("onnxruntime 1", "1.00 ms", "0.900 ms", "1x", "faster 1.11x"),
        ("openvino 1", "4.00 ms", "1.00 ms", "slower 0.25x", "faster 4.00x"),
    ]


def test_dense_and_pruned_may_be_fastest_in_two_runtimes() -> None:
    report = made_up(("onnxruntime", 1.0, 0.9), ("openvino", 2.0, 0.5))
    assert "FASTER 2.00x: pruned with openvino against dense with onnxruntime" in summary(report)
    slower = made_up(("onnxruntime", 1.0, 1.5), ("openvino", 2.0, 1.6))
    assert "SLOWER 0.67x: pruned with onnxruntime against dense with onnxruntime" in summary(slower)
