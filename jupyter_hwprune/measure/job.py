"""A job: a folder of files, and a frozen description of what the worker does with them. A place runs the job.

The description names files relative to the folder and holds nothing about this machine, so another machine can run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ..choose.choice import Choice
from ..choose.effort import Effort
from ..export.cases import Case
from ..toolchains import interpreter, toolchain_file
from ..toolchains.contract import Settings
from ..toolchains.manifest import Meter
from ..toolchains.process import CACHE, Failure, Progress, call

Action = Literal["rate", "prove", "count", "run", "simulate"]
ANSWERS: Mapping[Action, Sequence[str]] = {
    "rate": ["layers"],
    "prove": ["machine", "device", "versions", "files"],
    "count": ["counted"],
    "run": ["versions"],
    "simulate": ["simulated", "machine", "versions"],
}


@dataclass(frozen=True)
class CaseOfJob:
    """A case and how to run it: the layers that may run sparsely, those that do in this case, and their plans."""

    name: str
    case: Case
    layers: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()
    plans: Mapping[str, Any] = field(default_factory=dict)
    keep_files: bool = False


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
        first = self.cases[0].case
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
                }
                for each in self.cases
            ],
            "settings": self._settings(),
            "answer": ANSWERS[self.action],
            **self.more,
        }

    def _path(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _settings(self) -> Settings:
        choice = self.choice
        return {
            "threads": choice.threads,
            "device": choice.judge.device,
            "dtype": choice.dtype or "",
            "layers": [],
            "sparse": [],
            "plans": {},
            "graphs": self.graphs,
            "keep_files": False,
            "cache": "",
        }


def prove_job(
    choice: Choice,
    folder: Path,
    cases: Sequence[CaseOfJob],
    tolerance: float,
    *,
    runs: bool = True,
    interpret: bool = False,
    effort: Effort | None = None,
    graphs: bool = True,
    control: str | None = None,
    meter: Meter | None = None,
) -> Job:
    """Return the job that compiles and checks cases, and with an `effort` profiles and times them.

    Without `runs` nothing is loaded on a device. The case called `control` is not metered.
    """
    more = {
        "run": runs,
        "interpret": interpret,
        "tolerance": tolerance,
        "effort": effort and asdict(effort),
        "control": control,
        "meter": meter and {"window_s": meter.window_s, "settle_s": meter.settle_s},
    }
    return Job("prove", choice, folder, tuple(cases), graphs, more)


class Place(Protocol):
    """Where jobs run. A place has its own interpreters, toolchain files and cache."""

    def run(self, job: Job, progress: Progress) -> dict[str, Any] | Failure:
        """Run a job; return the worker's answer with facts about its machine, or how it failed."""


class Here:
    """A worker process on this machine."""

    def run(self, job: Job, progress: Progress) -> dict[str, Any] | Failure:
        name, choice = job.choice.judge.toolchain, job.choice
        request = job.request()
        request["toolchain"] = str(toolchain_file(name))
        request["settings"]["cache"] = str(CACHE / f"{name}.json")
        return call(
            request, job.folder, progress, python=interpreter(name), threads=choice.threads, timeout_s=choice.timeout_s
        )


HERE: Place = Here()
