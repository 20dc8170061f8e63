"""The next steps under a verdict: what they say follows from the numbers, and each line runs as it stands."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from jupyter_hwprune import Report
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.core.options import RUN
from jupyter_hwprune.core.target import ALIASES
from jupyter_hwprune.notebook.asked import arguments, form_of, parse
from jupyter_hwprune.render.html import render as html
from jupyter_hwprune.render.text import render as text
from jupyter_hwprune.report import Comparison, NextStep, Scores, Timed
from jupyter_hwprune.reporting.next_steps import MOST, next_steps

NOTEBOOK = """import torch
from torch import nn
net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8))
x = torch.ones(2, 16)
def accuracy(model): return 0.5
run = %hwprune net --input x --toolchain onnxruntime --eval accuracy(net)
there = %hwprune net --input x --target hopper"""
FASTER = Comparison(1.5, 1.4, 1.6, 0.03, "faster")
NO_GAIN = Comparison(1.0, 0.97, 1.03, 0.03, "no measurable gain")


@pytest.fixture(scope="module")
def user() -> Iterator[Any]:
    """One notebook for all, with a run on this computer's CPU and one for a chip that is not here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VIRTUAL_ENV", raising=False)
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance()
        shell.run_line_magic("load_ext", "jupyter_hwprune")
        assert ran(shell, NOTEBOOK).success
        yield shell
        shell.reset()
        InteractiveShell.clear_instance()


def ran(shell: Any, code: str) -> Any:
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        result = shell.run_cell(code)
    assert result.success, f"{code}\n{printed.getvalue()}"
    return result


def asked(shell: Any, step: NextStep) -> dict[str, Any]:
    """Read a line as the magic does, up to the run itself."""
    options = parse(step.line.removeprefix("%hwprune"))
    assert options is not None
    assert form_of(options, cell=False) == RUN
    found = arguments(shell.user_ns, options)
    choose(found["target"], **{name: found[name] for name in ("pattern", "sparsity", "toolchain", "dtype")})
    return found


def report_of(user: Any, comparison: Comparison, after: float = 0.5, **request: Any) -> Report:
    report = user.user_ns["run"].report
    assert isinstance(report, Report)
    assert isinstance(report.measurement, Timed)
    return replace(
        report,
        measurement=replace(report.measurement, comparison=comparison),
        scores=Scores("accuracy(net)", 0.5, after),
        request=replace(report.request, **request),
    )


def lines(steps: tuple[NextStep, ...]) -> list[str]:
    return [step.line for step in steps]


def test_a_gain_with_its_score_is_exported_quantised_or_searched_further(
    user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, int8 = next_steps(report_of(user, FASTER), fast_int8=True)
    assert lines(next_steps(report_of(user, FASTER)))[1].endswith("--eval 'accuracy(net)' --max-drop 0.01 -o run")
    assert " --dtype int8 " in int8.line
    monkeypatch.chdir(tmp_path)
    ran(user, export.line)
    assert (tmp_path / "pruned-to-deploy" / "README.md").is_file()
    kept = user.user_ns["run"]
    assert ran(user, int8.line).result.report.corners is not None
    user.user_ns["run"] = kept


def test_a_lost_score_is_trained_or_less_goes(user: Any) -> None:
    fine_tune, less = next_steps(report_of(user, FASTER, after=0.2))
    assert "the score fell from 0.5 to 0.2" in fine_tune.what
    assert fine_tune.line.splitlines()[1:] == ["# train net here", "accuracy(net)"]
    kept = user.user_ns["run"]
    trained = ran(user, fine_tune.line).result.report
    assert trained.request.trained
    assert trained.scores == Scores("accuracy(net)", 0.5, 0.5)
    assert asked(user, less)["sparsity"] == 0.25
    user.user_ns["run"] = kept


def test_where_there_are_calibration_inputs_the_weights_that_stay_are_corrected_by_them(user: Any) -> None:
    lost = report_of(user, FASTER, after=0.2, calib="x")
    correct, _ = next_steps(lost)
    assert "the score fell from 0.5 to 0.2" in correct.what
    assert asked(user, correct)["importance"] == "second-order"
    done = replace(lost, request=replace(lost.request, importance="second-order"))
    assert not any("Correct" in step.what for step in next_steps(done))


def test_no_gain_leads_to_what_the_target_offers_and_to_advice(user: Any) -> None:
    zeros = next_steps(report_of(user, NO_GAIN, pattern="2:4", sparsity=0.5))
    assert "--pattern channel/8" in zeros[0].line
    assert asked(user, zeros[0])["model"] is user.user_ns["net"]
    advise, everywhere = next_steps(report_of(user, NO_GAIN))
    assert advise.line == zeros[1].line == f"%hwprune advise net --input x --target {ALIASES['cpu']}"
    assert "--toolchain all" in everywhere.line
    kept = user.user_ns["run"]
    assert ran(user, everywhere.line).result.report.runtimes is not None
    user.user_ns["run"] = kept


def test_what_was_not_measured_leads_to_what_can_be(user: Any) -> None:
    report = user.user_ns["there"].report
    if report.timed is not None:
        pytest.skip("this machine has a Hopper GPU")
    first, second = report.next_steps
    assert first.line == "%hwprune doctor hopper"
    assert ran(user, first.line).result.target.name == "hopper"
    assert asked(user, second)["target"] == "cpu"


def test_every_form_of_a_report_shows_them_whole(user: Any) -> None:
    report = user.user_ns["run"].report
    assert 1 <= len(report.next_steps) <= MOST
    again = Report.from_json(report.to_json())
    assert again.next_steps == report.next_steps
    step = NextStep("Fine-tune", "%%hwprune net " + " ".join(["--dense layer.<b>"] * 20) + "\n# train net here\nscore")
    shown = replace(report, next_steps=(step,))
    said = text(shown, 80)
    assert said.index("Next: Fine-tune:") < said.index("weights")
    assert f"  {step.line.splitlines()[0]}\n  # train net here\n  score\n" in said
    page = html(shown, None)
    assert "--dense layer.&lt;b&gt;" in page
    assert page.index("Next:") < page.index("weights")
    older = {key: value for key, value in json.loads(report.to_json()).items() if key != "next_steps"}
    assert Report.from_json(json.dumps(older)).next_steps == ()


def test_there_is_no_line_for_a_model_that_came_pruned(user: Any) -> None:
    assert next_steps(report_of(user, FASTER, importance="as it came")) == ()
