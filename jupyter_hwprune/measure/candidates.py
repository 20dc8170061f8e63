"""What a bench measures, and what it finds: a candidate, and the judge's findings for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..choose.choice import Choice
from ..export.cases import Case
from ..report import (
    Baseline,
    Corners,
    Energy,
    Evidence,
    Footprint,
    Hotspots,
    Layer,
    Machine,
    Measurement,
    OtherKernels,
    OutputCheck,
    PeakMemory,
    Runtimes,
    Timed,
    Tried,
)
from .job import CaseOfJob
from .quantising import Twin


@dataclass(frozen=True)
class Candidate:
    """A pruned model written for the judge, the report's layers so far, and how the toolchain runs it.

    `write` writes it for another toolchain, None where one file fits all. `fingerprint` identifies its weights, "" if
    unknown. `channels` is True if channels were removed, so that it is smaller, not sparse. `layers_run` are the layers
    that may run sparsely, `sparse` those that do, and `plans` their kernels. `first_wrong` names the first layer whose
    output is wrong, in the pruned or the dense model.
    """

    case: Case
    layers: tuple[Layer, ...]
    fingerprint: str
    channels: bool
    layers_run: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)  # modules -> their names in the pruned model, if others
    plans: Mapping[str, Any] = field(default_factory=dict)
    graphs: bool = True
    first_wrong: Callable[[str], str] = lambda _: "and it is not known which layer is wrong first"
    write: Callable[[Choice], Case] | None = None
    _written: dict[str, Candidate] = field(default_factory=dict, init=False)

    @property
    def key(self) -> Any:
        """Return what makes another candidate the same: its weights, and which of its layers run sparsely."""
        return self.fingerprint, self.sparse, self.graphs

    def for_runtime(self, choice: Choice) -> Candidate:
        """Return the same model for another toolchain, written once."""
        name = choice.judge.toolchain
        if name not in self._written:
            case = self.case if self.write is None else self.write(choice)
            sparse = tuple(layer.name for layer in self.layers if name in (layer.served_by or ()))
            self._written[name] = replace(self, case=case, layers_run=sparse, sparse=sparse, plans={}, graphs=True)
        return self._written[name]

    def of_job(self, name: str) -> CaseOfJob:
        return CaseOfJob(
            name, self.case, self.layers_run, self.sparse, self.plans, keep_files=True, others=self.case.others
        )


@dataclass(frozen=True)
class Findings:
    """What the judge measured for one candidate.

    `case` is the model as it was written, `tried` what leaving slower layers dense would bring. Its files take any
    batch if `any_batch`; `fixed_batch` says why not, where something was found to stand against it. `calibration_rows`
    are those that the toolchain quantised with in its compilation, `remarks` what it says of the compiled model.
    """

    measurement: Measurement
    layers: tuple[Layer, ...]
    other_kernels: OtherKernels | None = None
    energy: Energy | None = None
    counters: Evidence | None = None
    check: OutputCheck | None = None
    footprint: Footprint | None = None
    peak_memory: PeakMemory | None = None
    baselines: tuple[Baseline, ...] = ()
    machine: Machine | None = None
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    case: Case | None = None
    any_batch: bool = False
    fixed_batch: str | None = None
    corners: Corners | None = None
    runtimes: Runtimes | None = None
    hotspots: Hotspots | None = None
    tried: Tried | None = None
    calibration_rows: int | None = None
    remarks: tuple[str, ...] = ()
    twins: Mapping[str, Twin] = field(default_factory=dict)

    @property
    def timed(self) -> Timed | None:
        return self.measurement if isinstance(self.measurement, Timed) else None
