"""Several candidates in one worker process: the job that compiles and times them, and those whose outputs are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..choose.choice import INT8, Choice
from ..choose.effort import Effort
from ..core.errors import MismatchError
from ..export.cases import Case
from ..report import Evidence, Untimed
from ..toolchains import manifest_of
from ..toolchains.process import Failure
from .candidates import Candidate, Findings
from .findings import errors_of
from .job import AGAIN, CONTROL, DENSE, CaseOfJob, Job, measuring_job, tolerance_of
from .quantising import ABSURD, SUFFIX, Twin


def job_of(
    choice: Choice,
    folder: Path,
    dense: Case,
    candidates: Mapping[str, Candidate],
    twins: Mapping[str, Twin] | Failure,
    effort: Effort,
    process: int = 0,
    calibration: Path | None = None,
) -> Job:
    """Return the job for dense, its control, the named candidates and the int8 twins, each compiled twice.

    The first `process` keeps the compiled files, and tries other batches; the others only time.
    """
    runs = choice.way == "run"
    layers = tuple(dict.fromkeys(name for each in candidates.values() for name in each.layers_run))
    plans = {layer: plan for each in candidates.values() for layer, plan in each.plans.items()}
    cases = [CaseOfJob(DENSE, dense, layers, (), plans, keep_files=not runs or bool(twins))]
    if runs:  # timing noise: the difference between two compilations of one model
        cases.append(replace(cases[0], name=CONTROL, keep_files=not runs))
    others = [each.of_job(name) for name, each in candidates.items()]
    if not isinstance(twins, Failure):
        others += [twin.of_job(name) for name, twin in twins.items()]
    cases += others
    if runs:
        judged = {*candidates}  # an int8 twin is judged as a whole
        cases += [
            replace(each, name=each.name + AGAIN, keep_files=False, profiled=each.name in judged, others=())
            for each in others
        ]
    if process:
        cases = [replace(each, keep_files=False, others=()) for each in cases]
    graphs = all(each.graphs for each in candidates.values())
    return measuring_job(
        choice, folder, cases, effort=effort, runs=runs, graphs=graphs, process=process, calibration=calibration
    )


def wrong_outputs(
    choice: Choice, reference: str, result: dict[str, Any], candidates: Mapping[str, Candidate]
) -> dict[str, Findings]:
    """Find each candidate whose output is wrong; raises MismatchError if no other candidate is left."""
    found = {}
    for case, error in errors_of(result).items():
        name = case.removesuffix(AGAIN).removesuffix(SUFFIX)
        is_twin = SUFFIX in case
        tolerance = ABSURD if is_twin else tolerance_of(choice)
        if error <= tolerance:
            continue
        model = "pruned" if name in candidates else "dense"
        one = candidates.get(name) or next(iter(candidates.values()))
        if is_twin:
            raise MismatchError(
                f"{choice.judge.toolchain}'s int8 twin of the {model} model returns NaN or outputs of another "
                "shape. Nothing was timed. Give inputs like those of your data with --calib, or remove --dtype."
            )
        said = (
            f"{choice.judge.toolchain} and {reference} disagree on the {model} model: the output is off "
            f"by {error:.1e} of its largest value (tolerance {tolerance:g}), {one.first_wrong(model)}. Nothing was "
            "timed. Try another --toolchain, and report this to the maker of this one."
        )
        if manifest_of(choice.judge.toolchain).calibrates and choice.dtype == INT8:
            said += " In int8, inputs like those of your data (--calib) may come closer."
        if model == "dense" or len(candidates) == 1:
            raise MismatchError(said)
        found[name] = Findings(Untimed(Evidence("unavailable", reason=said)), one.layers)
    return found
