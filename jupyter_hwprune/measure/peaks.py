"""Peak memory of what is deployed: each model's file, run by the toolchain's own script in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..choose.choice import Choice
from ..export.cases import Case
from ..toolchains import manifest_of
from ..toolchains.process import Failure, Progress
from .job import CaseOfJob, Job, Place

EXAMPLE = "peak.npz"


def peaks_of(
    place: Place, choice: Choice, cases: Mapping[str, Case], files: Mapping[str, Mapping[str, str]], progress: Progress
) -> dict[str, int]:
    """Return the bytes that each case takes beyond the libraries; without those whose script says nothing."""
    manifest = manifest_of(choice.judge.toolchain)
    scripts = {}
    for name, case in cases.items():
        there = {case.model.suffix[1:]: str(case.model), **files[name]}
        model = next((there[kind] for kind in manifest.deploys if kind in there), None)
        of = (EXAMPLE, choice.threads, case.batch or 1)
        script = None if model is None else manifest.script_for(Path(model).name, *of)
        if script is not None:
            scripts[name] = script
    if not scripts:
        return {}
    folder = next(iter(cases.values())).model.parent
    job = Job(
        "peak", choice, folder, tuple(CaseOfJob(name, cases[name]) for name in scripts), more={"scripts": scripts}
    )
    result = place.run(job, progress)
    return {} if isinstance(result, Failure) else dict(result["peaks"])
