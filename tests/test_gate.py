"""What a run has to reach: the grammar, the magic's failing cell, the function's error, and the command's process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jupyter_hwprune import RequirementError, Run, hwprune
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.report import Energy, EnergyOf, Evidence, Footprint, Report
from jupyter_hwprune.report.metrics import METRICS
from jupyter_hwprune.report.requirements import SIGNS, check, read_requirements, unmet
from tests.networks import cnn
from tests.reports import estimated, timed
from tests.test_magics import cell
from tests.test_report import SMALL, UNKNOWN

UNTIMED = "--target tpu-v5e --pattern unstructured --sparsity 0.5"  # nobody times it here: only the pruning takes time


def judged(report: Report, text: str) -> list[bool]:
    return [each.met for each in check(report, read_requirements(text))]


@given(st.sampled_from([*METRICS]), st.sampled_from([*SIGNS]), st.floats(allow_nan=False, allow_infinity=False))
def test_a_requirement_is_read_as_it_was_written(metric: str, sign: str, value: float) -> None:
    [read] = read_requirements(f" {metric} {sign}{value!r} ")
    assert (read.metric, read.sign, read.value) == (metric, sign, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read ''"),
        ("speedup>=1.3,", "cannot read ''"),
        ("speedup>=1.3 drop<=0", "'1.3 drop<=0' is not one"),
        ("speedup", "cannot read 'speedup'"),
        ("1.3<=speedup", "cannot read '1.3<=speedup'"),
        ("speedup>=__import__('os')", "is not one"),
        ("speedup>=nan", "'nan' is not one"),
        ("speedup>=1_0", "'1_0' is not one"),
        ("speedup>=\u0661", "is not one"),
        ("speedup==2", "a measured number is never exactly 2"),
        ("spedup>=2", "Did you mean speedup?"),
        ("latency<=2", "Did you mean latency_ms?"),
        ("zzz>1", "There are: verdict, speedup, "),
        ("verdict>=faster", "a verdict is compared by == or !="),
        ("verdict==fast", "Did you mean faster?"),
    ],
)
def test_all_else_is_refused_with_the_cure(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_requirements(text)
    assert said in str(caught.value)


def test_each_sign_and_the_verdict_are_those_of_the_report() -> None:
    assert SMALL.scores is not None
    assert judged(SMALL, "pruned_ms<=1, pruned_ms>=1, pruned_ms<1, pruned_ms>1") == [True, True, False, False]
    assert judged(SMALL, "verdict==faster, verdict!=faster, verdict!=no measurable gain") == [True, False, True]
    weighed = replace(SMALL, footprint=Footprint(4_000_000, 2_000_000))
    assert judged(weighed, "size_mb<=2, size_mb<2, latency_ms<=1") == [True, False, True]
    of = EnergyOf(3.0, 1.0, 10.0, (3.0,), 1.0, 1)
    metered = replace(SMALL, energy=Energy(Evidence("measured", device="a meter"), 1.0, of, replace(of, total_mj=2.0)))
    assert judged(metered, "energy_mj<=2, energy_mj<2") == [True, False]


def test_a_ratio_within_the_noise_is_no_gain_though_it_is_large_enough() -> None:
    noisy = replace(timed(SMALL).comparison, speedup=1.35, low=0.9, verdict="no measurable gain")
    report = replace(SMALL, measurement=replace(timed(SMALL), comparison=noisy))
    assert judged(report, "speedup>=1.3, speedup>1, speedup>=1, speedup_low>=0.9") == [False, False, True, True]
    assert "which is no measurable gain" in str(unmet(check(report, read_requirements("speedup>=1.3"))))


@pytest.mark.parametrize("metric", METRICS)
def test_what_was_not_measured_meets_nothing_and_says_why(metric: str) -> None:
    for report in (SMALL, UNKNOWN, estimated(SMALL)):
        [low, high] = check(report, read_requirements(f"{metric}>=-1e9, {metric}<=1e12"))
        assert low.met == high.met == (metric in report.metrics())
        if not low.met:
            assert low.said.startswith(f"{metric} was not measured: ")
            assert len(low.said) > len(f"{metric} was not measured: ") + 10


def test_the_function_raises_with_the_whole_run_and_reads_the_words_before_it_starts() -> None:
    net, x = cnn(), torch.randn(2, 3, 16, 16)
    options: dict[str, Any] = {"target": "tpu-v5e", "pattern": "unstructured", "sparsity": 0.5}
    with pytest.raises(RequirementError, match=r"1 of 2 requirements not met: speedup>=1.3 is required, but") as caught:
        hwprune(net, x, **options, require="speedup>=1.3, sparsity>=0.5")
    assert caught.value.run.model(x).shape == (2, 10)
    assert isinstance(hwprune(net, x, **options, require="sparsity>=0.5"), Run)
    with pytest.raises(InputError, match="Did you mean speedup"):
        hwprune("no model at all", x, require="speedupp>=1")  # type: ignore[arg-type]


@pytest.fixture
def user(shell: Any) -> Any:
    shell.push({"net": cnn(), "x": torch.randn(2, 3, 16, 16)})
    shell.run_cell("def accuracy(model):\n    return 0.25")
    return shell


def test_the_cell_fails_with_the_figures_and_the_run_is_kept_and_shown(user: Any) -> None:
    line = '%hwprune net --target cpu --toolchain onnxruntime --eval accuracy --require "{}" -o run'
    result, shown = cell(user, line.format("drop<=-0.5, output_error<=1"))
    assert not result.success
    said = " ".join(shown.split())
    assert "RequirementError: 1 of 2 requirements not met: drop<=-0.5 is required, but drop is 0." in said
    assert "Traceback" not in shown
    assert "hwprune: net for" in shown
    assert user.user_ns["run"].report.scores.dense == 0.25
    assert result.error_in_exec.run is user.user_ns["run"]
    result, _ = cell(user, line.format("drop<=0, output_error<=1, verdict!=not measured"))
    assert result.result is user.user_ns["run"]


def test_a_training_cell_keeps_its_names_and_a_typo_stops_it_before_it_trains(user: Any) -> None:
    body = "made = 1\nnet.eval()\naccuracy(net)"
    result, shown = cell(user, f"%%hwprune net {UNTIMED} --require pruned_score>0.5;\n{body}")
    assert type(result.error_in_exec) is RequirementError
    assert "left dense" not in shown  # the semicolon silences the report, not the figures
    assert "pruned_score is 0.25" in " ".join(shown.split())
    assert user.user_ns["made"] == 1
    _, shown = cell(user, f"%%hwprune net {UNTIMED} --require pruned_scor>0.5\nmade = 2")
    assert "Did you mean pruned_score?" in " ".join(shown.split())
    assert user.user_ns["made"] == 1


def command(*words: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "jupyter_hwprune", "check", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_the_command_judges_a_report_a_saved_run_and_an_exported_folder(tmp_path: Path) -> None:
    SMALL.save(tmp_path / "report.json")  # as an exported folder has it
    code, said = command(tmp_path, "--require", "speedup>=1.3, drop<=0.01")
    assert code == 1
    assert "met      speedup>=1.3: speedup is 1.97" in said
    assert "NOT MET  drop<=0.01: drop is 0.1" in said
    assert command(tmp_path / "report.json", "--require", "speedup>=1.3")[0] == 0
    run = hwprune(cnn(), torch.randn(2, 3, 16, 16), target="tpu-v5e", pattern="unstructured", sparsity=0.5)
    run.save(tmp_path / "run")
    code, said = command(tmp_path / "run", "--require", "latency_ms<=2")
    assert code == 1
    assert "NOT MET  latency_ms<=2: latency_ms was not measured: " in said


@pytest.mark.parametrize("text", ["{}", "no JSON", None])
def test_the_command_ends_with_2_where_it_can_read_nothing(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    code, said = command(path)
    assert code == 2
    assert said.startswith("ReportError: ")
