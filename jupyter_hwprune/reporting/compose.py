"""Build a report from the request, the pruned layers and the judge's findings."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import torch

from ..choose.choice import Choice
from ..measure.candidates import Findings
from ..measure.rating import Settled
from ..mistakes import with_mistakes
from ..pruning.prepared import Made
from ..report import Arrived, Fingerprints, Recipe, Report, Request, Scores, Timed, TrainedStep
from ..report.words.scores import fell
from ..toolchains._host import fast_int8
from .asked import Asked
from .next_steps import next_steps
from .reasons import explain


def report_of_run(
    asked: Asked,
    arrived: Arrived,
    made: Made,
    settled: Settled,
    batch: int,
    findings: Findings,
    scores: Scores | None,
    fingerprints: Fingerprints,
) -> Report:
    choice, pruned = settled.choice, settled.pruned
    request = request_of(choice, batch=batch, **asked.request)
    fall = None if scores is None or scores.is_cliff(scores.pruned) else fell(scores, trained=asked.trains)
    if asked.recipe is not None:
        request = replace(request, importance="recipe", recipe=Recipe(asked.recipe.name, asked.recipe.text))
    return compose(
        choice,
        request,
        findings,
        totals=pruned.totals,
        skipped=pruned.skipped,
        returned=pruned.returned,
        scores=scores,
        sensitivity=pruned.sensitivity,
        search=made.search,
        recovered=pruned.recovered,
        trained=_with_last_score(pruned.trained, scores),
        reasons=(
            *explain(choice, findings, pruned, request.calib),
            *pruned.remarks,
            *filter(None, [pruned.statistics, pruned.tuning]),
            *([] if fall is None else [" ".join(fall)]),
        ),
        versions=findings.versions | {"torch": torch.__version__} | made.versions,
        fingerprints=fingerprints,
        arrived=arrived,
    )


def _with_last_score(steps: tuple[TrainedStep, ...], scores: Scores | None) -> tuple[TrainedStep, ...]:
    """Give the last step the finished model's score, which is taken once."""
    return steps if scores is None or not steps else (*steps[:-1], replace(steps[-1], score=scores.pruned))


def request_of(choice: Choice, model: str, batch: int, **asked: Any) -> Request:
    """Return the request with all defaults filled in; `asked` are the fields that `Choice` does not hold, or others."""
    own = Request(
        model=model,
        target=choice.target.name,
        toolchain=choice.judge.toolchain,
        device=choice.judge.device,
        dtype=choice.quantise or choice.dtype or "",
        pattern=str(choice.pattern),
        sparsity=choice.sparsity,
        importance=choice.importance,
        allocation=choice.allocation,
        threads=choice.threads,
        batch=batch,
        on_host=choice.target.kind == "cpu" and choice.rpc is None,
        takes_dtype=bool(choice.judge.dtypes) or choice.quantise is not None,
        keep_all=choice.keep_all,
        keep_statistics=choice.keep_statistics,
        dense=choice.dense,
        permute=choice.permute,
        solver=choice.solver,
        tune_blocks=choice.tune_blocks,
        tune_kernels=choice.tune_kernels,
        rpc=choice.rpc,
        rpc_key=choice.rpc_key,
        int8_error=choice.int8_error,
        config=choice.config,
    )
    return replace(own, **asked)


def compose(choice: Choice, request: Request, findings: Findings, **found: Any) -> Report:
    """Return the report of these findings; `found` are its other fields, and those that differ from the findings'."""
    shared = {field.name: getattr(findings, field.name) for field in fields(Report) if hasattr(findings, field.name)}
    report = Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        request=request,
        chip=choice.target.chip,
        typical_speedup=choice.target.typical_speedup,
        identities=tuple(choice.found.identities) if choice.found and isinstance(findings.measurement, Timed) else (),
        **shared | found,
    )
    steps = next_steps(report, choice.target, fast_int8=bool(fast_int8()))
    return replace(with_mistakes(report, choice.target), next_steps=steps)
