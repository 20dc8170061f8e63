"""A report put together: what was asked for, what became of the layers, and what the proof found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from .choice import Choice
from .proof import Proof
from .rating import Settled
from .reasons import cliff, explain
from .recipe import RecipeRead
from .report import Fingerprints, Recipe, Report, Request, Scores


@dataclass(frozen=True)
class Asked:
    """What the user called things, and asked for beside the choice."""

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
    proof: Proof,
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
        proof,
        totals=pruned.totals,
        layers=proof.layers,
        skipped=pruned.skipped,
        returned=pruned.returned,
        scores=scores,
        sensitivity=pruned.sensitivity,
        reasons=(*explain(choice, proof, pruned), *pruned.remarks, *cliff(scores, trained=asked.trained)),
        versions=proof.versions | {"torch": torch.__version__} | versions,
        fingerprints=fingerprints,
    )


def request_of(choice: Choice, model: str, batch: int, **asked: Any) -> Request:
    """Return the request as it was settled; `asked` are those of its fields that the choice does not know."""
    return Request(
        model=model,
        target=choice.target.name,
        toolchain=choice.stack.toolchain,
        device=choice.stack.device,
        dtype=choice.dtype or "",
        pattern=str(choice.pattern),
        sparsity=choice.sparsity,
        threads=choice.threads,
        batch=batch,
        **asked,
    )


def compose(choice: Choice, request: Request, proof: Proof, **found: Any) -> Report:
    """Return the report; `found` are those of its fields that are neither the target's nor the proof's."""
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        request=request,
        chip=choice.target.chip,
        typical_speedup=choice.target.typical_speedup,
        other_kernels=proof.other_kernels,
        measurement=proof.measurement,
        energy=proof.energy,
        counters=proof.counters,
        check=proof.check,
        machine=proof.machine,
        baselines=proof.baselines,
        **found,
    )
