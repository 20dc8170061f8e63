"""The next steps under a verdict: at most two lines that run as they stand, the likeliest first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..choose.choice import ALL, INT8, runs
from ..core.options import magic_line
from ..core.pattern import NM, Channel, Depth
from ..core.target import ALIASES, TARGETS, Target
from ..mistakes.seen import Seen
from ..report import NextStep, Report
from ..report.words.line import expression_of
from ..report.words.numbers import share
from ..toolchains import manifest_of

MOST = 2
LONGEST = 400  # characters of a line, which a notebook's output would cut
FELL = 0.02  # of the dense score's size
RECOVERY_STEPS = 200
DROP = 0.01  # of the score, for a search
INSTALL = re.compile(r"(?:%hwprune setup|pip install) [\w. -]+")


def next_steps(report: Report, row: Target | None = None, *, fast_int8: bool = False) -> tuple[NextStep, ...]:
    """Return what to do next, by the report's numbers; `fast_int8` says whether this CPU has int8 products.

    There is nothing to say of a model that came pruned or by a recipe, since no line makes another one of it.
    """
    seen = Seen.of(report, row)
    if seen.line() is None:
        return ()
    steps = (step for step in _steps(seen, fast_int8=fast_int8) if len(step.line) <= LONGEST)
    return tuple(islice(dict.fromkeys(steps), MOST))


def _steps(seen: Seen, *, fast_int8: bool) -> Iterator[NextStep]:
    report = seen.report
    if report.timed is None:
        yield from _not_timed(seen)
    elif report.verdict != "faster":
        yield from _no_gain(seen)
    elif _fell(report):
        yield from _lost_score(seen)
    else:
        yield from _gained(seen, fast_int8=fast_int8)


def _not_timed(seen: Seen) -> Iterator[NextStep]:
    report = seen.report
    cure = report.measurement.evidence.cure or ""
    command = INSTALL.fullmatch(cure)
    name = report.request.toolchain
    if command is not None:
        yield NextStep(
            f"Set up {name}, {_what_it_does(name)} this target", cure if cure.startswith("%") else f"%{cure}"
        )
    else:
        yield NextStep("See what is missing here, and how to fix it", f"%hwprune doctor {report.request.target}")
    own = next(each for each in TARGETS if each.name == ALIASES["cpu"])
    if report.request.target != own.name:
        pattern = own.judges[0].offers[0].pattern
        line = seen.line_of(pattern, target="cpu", toolchain=None, dtype=None)
        yield from _step("Time a pruned copy on this computer's CPU, to try the whole way", line)


def _what_it_does(toolchain: str) -> str:
    manifest = manifest_of(toolchain)
    if manifest.runs:
        return "which times"
    return "which estimates times on" if manifest.estimates else "which compiles for"


def _no_gain(seen: Seen) -> Iterator[NextStep]:
    request = seen.report.request
    if seen.offered and seen.pattern not in seen.offered:
        offered = seen.offered[0]
        yield from _step(f"Prune the pattern that pays on this target: {offered}", seen.line_of(offered))
    asked = {"model": request.model, "input": request.input, "target": request.target, "batch": None}
    line = magic_line({**asked, "threads": request.threads}).replace("%hwprune", "%hwprune advise", 1)
    yield NextStep("Measure what each pattern would gain here, before any training", line)
    if request.on_host and seen.report.runtimes is None and seen.report.corners is None:
        all_of_them = seen.line(target=request.target, toolchain=ALL)
        yield from _step("Time it in every runtime of the target that works here", all_of_them)


def _lost_score(seen: Seen) -> Iterator[NextStep]:
    report = seen.report
    request, scores = report.request, report.scores
    assert scores is not None
    fall = f"the score fell from {scores.dense:.4g} to {_after(report):.4g}"
    if request.calib is not None:
        yield from _step(f"Correct the remaining weights with these inputs, since {fall}", seen.corrected())
    if not request.trained:
        if request.calib is not None:
            yield from _step(f"Recover, since {fall}", seen.line(recover=RECOVERY_STEPS))
        elif (line := _with_cell(seen)) is not None:
            yield NextStep(f"Fine-tune, since {fall}: put your training into this cell", line)
    if report.search is not None or isinstance(seen.pattern, (NM, Depth)):
        return
    half = round(request.sparsity / 2, 2)
    line = _with_cell(seen, sparsity=half) if request.trained else seen.line(sparsity=half)
    yield from _step(f"Remove less: {share(half)} instead of {share(request.sparsity)}", line)


def _gained(seen: Seen, *, fast_int8: bool) -> Iterator[NextStep]:
    report = seen.report
    request = report.request
    kept = "it is faster" + (", and the score is kept" if report.scores is not None else "")
    yield NextStep(
        f"Export a folder to deploy, since {kept} (the result is in `run`)", 'run.export("pruned-to-deploy")'
    )
    if request.trained:
        return
    untried = report.corners is None and report.runtimes is None and request.on_host
    if fast_int8 and untried and seen.judge is not None and runs(seen.judge, INT8):
        yield from _step("Quantise too: this CPU has instructions for int8", seen.line(dtype=INT8))
    if report.search is None and isinstance(seen.pattern, (Channel, Depth)):
        scored = expression_of(report.scores and report.scores.expression) is not None
        gain = max(1.1, round((report.deciding.speedup or 1.0) * 1.2, 1))
        goal: dict[str, Any] = {"max_drop": DROP} if scored else {"speedup": gain}
        what = f"the fastest plan that loses at most {DROP:g} of the score" if scored else f"the plan for {gain:g}x"
        yield from _step(f"Search for {what}", seen.line(sparsity=None, **goal))


def _step(what: str, line: str | None) -> Iterator[NextStep]:
    """Yield the step; none where there is no line for it, or where its cell would be missing."""
    if line is not None and (not line.startswith("%%") or "\n" in line):
        yield NextStep(what, line)


def _with_cell(seen: Seen, **changed: Any) -> str | None:
    """Return the line with a cell that scores, and a place for the training; None without a score to end it with."""
    report = seen.report
    expression = expression_of(report.scores and report.scores.expression)
    model = report.request.model
    line = seen.line(eval=None, **changed)
    if expression is None or line is None or not model.isidentifier():
        return None
    score = expression if re.search(rf"\b{re.escape(model)}\b", expression) else f"{expression}({model})"
    return f"%%{line.lstrip('%')}\n# train {model} here\n{score}"


def _after(report: Report) -> float:
    """Return the score of the model that the verdict is about."""
    corner = None if report.fastest is None else report.fastest.score
    assert report.scores is not None
    return report.scores.pruned if corner is None else corner


def _fell(report: Report) -> bool:
    scores = report.scores
    return scores is not None and scores.dense - _after(report) > FELL * abs(scores.dense)
