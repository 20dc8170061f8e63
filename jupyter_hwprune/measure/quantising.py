"""The int8 twins of a bench's models: made by the toolchain's own quantiser, timed in turn with the float models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..choose.choice import Choice
from ..core.example import Example
from ..core.rows import RowsError, cut
from ..export.cases import Case
from ..export.onnx import WEIGHT_OPS
from ..report import Comparison, Corner, Corners, Evidence, LeftInFloat, Timed
from ..toolchains import manifest_of
from ..toolchains._output_error import held_back
from ..toolchains.process import Failure, Progress, guarded_folder
from .findings import errors_of, samples_of
from .job import AGAIN, DENSE, CaseOfJob, Job, Place
from .judge import between, on_clock, typical_ms

ABSURD = 1e29
"""An int8 model's outputs are reported, not checked, except for NaN and wrong shapes, which stand as a larger error."""
SUFFIX = "-int8"
MOST_ROWS = 128  # ranges of activations hardly change with more, and each row is a run of the model in float


@dataclass(frozen=True)
class Twin:
    """The int8 model of a case, with how it was made and the layers whose weights stay in float."""

    case: Case
    files: Mapping[str, str]
    quantiser: str
    left_in_float: tuple[LeftInFloat, ...]

    def of_job(self, name: str) -> CaseOfJob:
        return CaseOfJob(name + SUFFIX, self.case, keep_files=True, tolerance=ABSURD, others=self.case.others)


@dataclass(frozen=True)
class Calibration:
    """The inputs to quantise with: `batches` of the example's size, of `rows` rows together."""

    batches: Sequence[Sequence[Any]]
    rows: int

    def file(self, folder: Path) -> Path:
        """Return the file with all batches of each input in one array, written on first use."""
        path = folder / "calibration.npz"
        if not path.exists():
            with guarded_folder():
                np.savez(path, *(np.stack([each.numpy() for each in same]) for same in zip(*self.batches, strict=True)))
        return path


@dataclass
class Quantiser:
    """Makes each case's int8 twin once."""

    choice: Choice
    folder: Path
    place: Place
    progress: Progress
    calibration: Calibration
    _known: dict[Path, Twin | Failure] = field(default_factory=dict, init=False)

    @property
    def rows(self) -> int:
        """The rows that set the ranges: with a limit on the error, some are held back to check it on."""
        back = 0 if self.choice.int8_error is None else held_back(self.calibration.batches)
        return round(self.calibration.rows * (1 - back / len(self.calibration.batches)))

    def twin(self, case: Case, name: str) -> Twin | Failure:
        if case.model not in self._known:
            self._known[case.model] = self._made(case, name)
        return self._known[case.model]

    def forget(self, case: Case) -> None:
        self._known.pop(case.model, None)

    def _made(self, case: Case, name: str) -> Twin | Failure:
        more = {"calibration": self.calibration.file(self.folder).name}
        result = self.place.run(
            Job("quantise", self.choice, self.folder, (CaseOfJob(name, case),), more=more), self.progress
        )
        if isinstance(result, Failure):
            return result
        made = result["quantised"][name]
        left = [
            LeftInFloat(layer, row["reason"])
            for row in made["left_in_float"]
            for layer in case.layers_of(row["names"], row["op"]) or map(_scope, row["names"])
        ]
        return Twin(
            replace(case, model=Path(made["file"])), made["files"], made["quantiser"], tuple(dict.fromkeys(left))
        )


def _scope(node: str) -> str:
    """Return the layer that a node is named after, the node itself if after none."""
    return node.partition("::")[0] or node


def calibration_of(batches: Sequence[Example], like: Example) -> Calibration:
    """Cut calibration inputs into batches of the example's size, of at most `MOST_ROWS` rows together.

    Batches whose rows have another shape are left out; without any that fits, there is the example alone.
    """
    parts: list[Any] = []
    rows = 0
    for batch in batches:
        if rows >= MOST_ROWS:
            break
        try:
            found = cut(batch, like)
        except RowsError:
            continue
        wanted = -(-(MOST_ROWS - rows) // like.batch)
        parts += found[:wanted]
        rows += min(batch.batch, wanted * like.batch)
    return Calibration(parts, rows) if parts else Calibration(cut(like, like), like.batch)


def corners_of(result: Mapping[str, Any], name: str, timed: Timed, twins: Mapping[str, Twin], rows: int) -> Corners:
    """Return the four models of one candidate from a worker's answer; `twins` are those of dense and of `name`."""
    cases = (DENSE, name, DENSE + SUFFIX, name + SUFFIX)
    copies = {case: [samples_of(result, each) for each in (case, case + AGAIN)] for case in cases[1:]}
    copies[DENSE] = [timed.dense, timed.control]
    on = {case: [on_clock(own, timed.clock) for own in both] for case, both in copies.items()}
    errors = errors_of(result)

    def compared(before: str, after: str) -> Comparison:
        return between(on[before], on[after], on[DENSE], timed.rounds)

    def corner(case: str) -> Corner:
        int8 = case.endswith(SUFFIX)
        return Corner(
            pruned=case.startswith(name),
            dtype="int8" if int8 else "float32",
            ms=typical_ms(copies[case], timed.clock, timed.rounds),
            speed=compared(DENSE, case) if case != DENSE else Corner.speed,
            file_bytes=result["bytes"][case],
            peak_bytes=result.get("peaks", {}).get(case),
            error=errors.get(case),
            samples=copies[case][0] if int8 else None,
            int8_layers=_int8_layers(result, case, twins[name if case.startswith(name) else DENSE].case),
        )

    return Corners(
        timed.evidence,
        tuple(map(corner, cases)),
        on_int8=compared(cases[2], cases[3]),
        on_pruned=compared(cases[1], cases[3]),
        quantiser=twins[name].quantiser,
        calibration_rows=rows,
        left_in_float=(*twins[name].left_in_float, *_run_in_float(result, name + SUFFIX, twins[name])),
        fast_int8=None if result["fast_int8"] is None else tuple(result["fast_int8"]),
    )


def _int8_layers(result: Mapping[str, Any], case: str, written: Case) -> int | None:
    """Count the layers whose kernel multiplied 8-bit integers; None if kernels were not profiled."""
    if "kernels" not in result:
        return None
    found = (written.layers_of(row["names"], row["op"]) for row in result["kernels"][case] if row.get("int8"))
    return len({layer for layers in found for layer in layers})


def _run_in_float(result: Mapping[str, Any], case: str, twin: Twin) -> Iterator[LeftInFloat]:
    """List the layers whose weights are 8-bit integers, but whose kernel multiplied floats."""
    kernels: dict[str, str] = {}
    fast = set()
    for row in result.get("kernels", {}).get(case, ()):
        if row["op"] not in WEIGHT_OPS and not row.get("int8"):
            continue
        for layer in twin.case.layers_of(row["names"], row["op"]):
            kernels.setdefault(layer, row["kernel"])
            if row.get("int8"):
                fast.add(layer)
    known = {each.layer for each in twin.left_in_float}
    for layer, kernel in kernels.items():
        if layer not in fast | known:
            yield LeftInFloat(layer, f"its weights are int8, but the runtime multiplies floats, by {kernel}")


def not_made(choice: Choice, failure: Failure) -> Corners:
    """Say why there are no int8 models."""
    manifest = manifest_of(choice.judge.toolchain)
    reason = f"{choice.judge.toolchain}: {failure.reason}"
    cure = f"`{manifest.quantises}` if its library is missing; otherwise read the message above"
    return Corners(Evidence("unavailable", reason=reason, cure=cure))
