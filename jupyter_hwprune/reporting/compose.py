"""Build a report from the request, the pruned layers and the judge's findings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from ..choose.choice import Choice
from ..measure.bench import Findings
from ..measure.rating import Settled
from ..recipe import RecipeRead
from ..report import Fingerprints, Recipe, Report, Request, Scores
from .reasons import cliff, explain


@dataclass(frozen=True)
class Asked:
    """The user's names for the inputs, and the requests that `Choice` does not hold."""

    model: str
    input: str | None
    calib: str | None
    recipe: RecipeRead | None
    schedule: str
    steps: int
    trained: bool


def report_of_run(
    asked: Asked,
    settled: Settled,
    batch: int,
    findings: Findings,
    scores: Scores | None,
    fingerprints: Fingerprints,
    versions: dict[str, str],
) -> Report:
    choice, pruned = settled.choice, settled.pruned
    request = request_of(
        choice,
        asked.model,
        batch,
        importance=choice.importance if asked.recipe is None else "recipe",
        allocation=choice.allocation,
        dense=choice.dense,
        permute=choice.permute,
        calib=asked.calib,
        keep_all=choice.keep_all,
        input=asked.input,
        recipe=None if asked.recipe is None else Recipe(asked.recipe.name, asked.recipe.text),
        schedule=asked.schedule,
        steps=asked.steps,
    )
    return compose(
        choice,
        request,
        findings,
        totals=pruned.totals,
        layers=findings.layers,
        skipped=pruned.skipped,
        returned=pruned.returned,
        scores=scores,
        sensitivity=pruned.sensitivity,
        reasons=(*explain(choice, findings, pruned), *pruned.remarks, *cliff(scores, trained=asked.trained)),
        versions=findings.versions | {"torch": torch.__version__} | versions,
        fingerprints=fingerprints,
    )


def request_of(choice: Choice, model: str, batch: int, **asked: Any) -> Request:
    """Return the request with all defaults filled in; `asked` are the fields that `Choice` does not hold."""
    return Request(
        model=model,
        target=choice.target.name,
        toolchain=choice.judge.toolchain,
        device=choice.judge.device,
        dtype=choice.dtype or "",
        pattern=str(choice.pattern),
        sparsity=choice.sparsity,
        threads=choice.threads,
        batch=batch,
        on_host=choice.target.kind == "cpu",
        takes_dtype=bool(choice.judge.dtypes),
        **asked,
    )


def compose(choice: Choice, request: Request, findings: Findings, **found: Any) -> Report:
    """Return the report; `found` are the fields that come from neither the target nor the findings."""
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        request=request,
        chip=choice.target.chip,
        typical_speedup=choice.target.typical_speedup,
        other_kernels=findings.other_kernels,
        measurement=findings.measurement,
        energy=findings.energy,
        counters=findings.counters,
        check=findings.check,
        footprint=findings.footprint,
        machine=findings.machine,
        baselines=findings.baselines,
        **found,
    )
