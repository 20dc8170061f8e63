"""A job: a folder of files, and a frozen description of what the worker does with them. A place runs the job.

The description names files relative to the folder and holds nothing about this machine, so another machine can run it.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ..choose.choice import Choice
from ..choose.effort import Effort
from ..export.cases import Case, Rows
from ..toolchains import interpreter, manifest_of, toolchain_file
from ..toolchains.contract import Settings
from ..toolchains.process import CACHE, Failure, Progress, call
from ..toolchains.serving import Server, serving

TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.15, "float8": 0.15}
"""The largest error of the whole model's output against torch in float32, relative to the largest value. It allows for
the dtype's rounding in every layer. Toolchains that time single layers check each product to a tighter tolerance."""
DENSE, CONTROL = "dense", "control"
AGAIN = "~"  # after the name of a case, the same compiled a second time
Action = Literal["rate", "measure", "quantise", "serve", "count", "hotspots", "peak", "run", "simulate"]
ANSWERS: Mapping[Action, Sequence[str]] = {
    "rate": ["layers"],
    "measure": ["machine", "device", "versions", "files"],
    "quantise": ["quantised"],
    "serve": [],
    "count": ["counted"],
    "hotspots": ["hotspots"],
    "peak": ["peaks"],
    "run": ["versions"],
    "simulate": ["simulated", "machine", "versions"],
}


@dataclass(frozen=True)
class CaseOfJob:
    """A case and how to run it: the layers that may run sparsely, those that do in this case, and their plans.

    `tolerance` is the largest error of its outputs, None for that of the choice's dtype. `others` are other batches to
    run it on. `profiled` is False where no layer of it is judged.
    """

    name: str
    case: Case
    layers: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()
    plans: Mapping[str, Any] = field(default_factory=dict)
    keep_files: bool = False
    tolerance: float | None = None
    others: tuple[Rows, ...] = ()
    profiled: bool = True


@dataclass(frozen=True)
class Job:
    """One action on some cases. `more` holds its other settings; without `graphs`, kernels are launched one by one."""

    action: Action
    choice: Choice
    folder: Path
    cases: tuple[CaseOfJob, ...]
    graphs: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """Return the description as a dict for JSON."""
        first, choice = self.cases[0].case, self.choice
        settings: Settings = {
            "threads": choice.threads,
            "device": choice.judge.device,
            "dtype": choice.dtype or "",
            "layers": [],
            "sparse": [],
            "plans": {},
            "graphs": self.graphs,
            "batch": next((each.case.batch for each in self.cases if each.case.batch is not None), None),
            "keep_files": False,
            "cache": "",
            "config": list(choice.configured),
            "tune_s": choice.tune_kernels or 0.0,
            "rpc": choice.rpc or "",
            "rpc_key": choice.rpc_key or "",
            "calibration": "",
            "int8_error": choice.int8_error,
        }
        return {
            "action": self.action,
            "inputs": self._path(first.inputs),
            "input_names": first.input_names,
            "cases": [
                {
                    "name": each.name,
                    "model": self._path(each.case.model),
                    "expected": self._path(each.case.expected),
                    "layers": list(each.layers),
                    "sparse": list(each.sparse),
                    "plans": dict(each.plans),
                    "keep_files": each.keep_files,
                    "tolerance": tolerance_of(choice) if each.tolerance is None else each.tolerance,
                    "others": [[self._path(rows.inputs), self._path(rows.expected)] for rows in each.others],
                    "profiled": each.profiled,
                }
                for each in self.cases
            ],
            "settings": settings,
            "answer": ANSWERS[self.action],
            **self.more,
        }

    def _path(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def measuring_job(
    choice: Choice,
    folder: Path,
    cases: Sequence[CaseOfJob],
    *,
    effort: Effort | None = None,
    runs: bool = True,
    graphs: bool = True,
    process: int = 0,
    calibration: Path | None = None,
) -> Job:
    """Return the job that compiles and checks cases, and with an `effort` profiles and times them.

    Each `process` compiles the cases in an order of its own.

    Without `runs` nothing is loaded on a device. The control is not metered. `calibration` is the file with the inputs
    that the toolchain quantises with in its compilation.
    """
    manifest = manifest_of(choice.judge.toolchain)
    meter = manifest.meter if runs and effort and effort.profile else None
    more = {
        "run": runs,
        "interpret": manifest.checks and not runs,
        "effort": effort and asdict(effort),
        "dense": DENSE,
        "control": CONTROL,
        "again": AGAIN,
        "process": process,
        "calibration": calibration and calibration.relative_to(folder).as_posix(),
        "meter": meter and {"window_s": meter.window_s, "idle_s": meter.idle_s},
    }
    return Job("measure", choice, folder, tuple(cases), graphs, more)


def tolerance_of(choice: Choice) -> float:
    """Return how far a compiled model's output may be from torch's, relative to the largest value."""
    return TOLERANCES.get(choice.dtype or "float32", TOLERANCES["float32"])


class Place(Protocol):
    """Where jobs run. A place has its own interpreters, toolchain files and cache."""

    def run(self, job: Job, progress: Progress, stop: threading.Event | None = None) -> dict[str, Any] | Failure:
        """Run a job; return the worker's answer with facts about its machine, or how it failed.

        Setting `stop` ends it, as a failure.
        """

    def serve(self, job: Job) -> AbstractContextManager[Server]:
        """Hold the job's one case ready in a worker, to run on inputs as they come."""


class Here:
    """A worker process on this machine."""

    def run(self, job: Job, progress: Progress, stop: threading.Event | None = None) -> dict[str, Any] | Failure:
        request, options = self._with_place(job)
        return call(request, job.folder, progress, stop=stop, **options)

    def serve(self, job: Job) -> AbstractContextManager[Server]:
        request, options = self._with_place(job)
        return serving(request, job.folder, **options)

    def _with_place(self, job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
        """Complete a request by what only this machine knows, and return it with the options of its process."""
        name, choice = job.choice.judge.toolchain, job.choice
        request = job.request() | {"toolchain": str(toolchain_file(name))}
        request["settings"]["cache"] = str(CACHE / f"{name}.json")
        return request, {"python": interpreter(name), "threads": choice.threads, "timeout_s": choice.timeout_s}


HERE: Place = Here()
