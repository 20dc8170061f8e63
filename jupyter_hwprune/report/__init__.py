"""What a run found, as frozen data: the one thing that the magics, the renderers and the lab extension share.

Every number rests on an `Evidence`; a number that was not measured is `None`, never 0.
Times carry their unit in their name: `_ms` for a whole batch through the model, `_us` for one layer of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import ReportError, first_line
from . import codec, words

SCHEMA_VERSION = 5
OLDER_VERSION = 4  # its reports are read too, as what they would be in this version
MIME_TYPE = "application/vnd.hwprune.report+json"

LARGEST_SIDE = 64  # of a picture, in tiles or weights

Verdict = Literal["faster", "slower", "no measurable gain", "not measured"]
EvidenceKind = Literal["measured", "simulated kernels", "compiler-estimate", "compiled", "unavailable"]


@dataclass(frozen=True)
class Evidence:
    """What a number rests on.

    `measured` names the device it was measured on, `unavailable` says why and what would cure it. `simulated kernels`
    really ran on the device it names, on weights that somebody made sparse at random.
    """

    kind: EvidenceKind
    device: str | None = None
    reason: str | None = None
    cure: str | None = None


@dataclass(frozen=True)
class Samples:
    """Raw samples, one a round, each the mean time of one call in that round's block of calls."""

    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """How many times faster the pruned side is, with the bootstrap 95 % interval.

    `noise_floor` is how far the same dense model, compiled a second time, came out from itself (0.02 is 2 %):
    a verdict other than "no measurable gain" needs an interval that clears it.
    """

    speedup: float | None
    low: float | None
    high: float | None
    noise_floor: float | None
    verdict: Verdict

    def __post_init__(self) -> None:
        if (self.speedup is None) != (self.verdict == "not measured"):
            raise ValueError(f"the verdict {self.verdict!r} does not go with a speed-up of {self.speedup}")


NOT_COMPARED = Comparison(None, None, None, None, "not measured")


@dataclass(frozen=True)
class Launch:
    """How one model's kernels were started, and what a run takes where Python starts them one by one."""

    way: str
    eager_ms: float | None


@dataclass(frozen=True)
class Timed:
    """Dense against pruned, interleaved in one process; `control` is the dense model compiled a second time.

    The launches are those of an accelerator; a CPU's toolchain has none to tell of.
    """

    evidence: Evidence
    clock: Literal["cpu", "wall"]
    dense: Samples
    control: Samples
    pruned: Samples
    dense_ms: float
    pruned_ms: float
    comparison: Comparison
    dense_launch: Launch | None = None
    pruned_launch: Launch | None = None
    kind: Literal["timed"] = "timed"


@dataclass(frozen=True)
class Estimated:
    """What a compiler's own cost model says of both models, for one batch: never a verdict, never beside a time.

    `evidence.device` names the compiler and the chip that it compiled for.
    """

    evidence: Evidence
    unit: Literal["cycles", "ms"]
    dense: float
    pruned: float
    kind: Literal["estimated"] = "estimated"

    def __post_init__(self) -> None:
        if not (self.dense > 0 and self.pruned > 0):
            raise ValueError(f"an estimate is above 0, and these are {self.dense} and {self.pruned} {self.unit}")

    @property
    def ratio(self) -> float:
        """How many times less the pruned model takes, by that cost model."""
        return self.dense / self.pruned


@dataclass(frozen=True)
class Untimed:
    """Neither timed nor estimated: compiled only, or not even that, for the reason that the evidence gives."""

    evidence: Evidence
    kind: Literal["untimed"] = "untimed"


Measurement = Timed | Estimated | Untimed


@dataclass(frozen=True)
class Footprint:
    """What the compiled models take, in bytes, as their compiler wrote them."""

    dense_bytes: int
    pruned_bytes: int


@dataclass(frozen=True)
class Baseline:
    """The dense model with another of the target's toolchains: what a pruned model has to beat that needs its own.

    It ran in processes of its own before and after the others, on the same clock; `speed` is the pruned model's against
    it, and its noise floor is what those two times differed by.
    """

    toolchain: str
    evidence: Evidence
    before: Samples | None
    after: Samples | None
    dense_ms: float | None
    speed: Comparison


@dataclass(frozen=True)
class Picture:
    """A keep mask, small: the density of tiles and a corner of the mask itself, both row by row in base64.

    `tiles` holds a byte a tile (255 = all kept); `corner` a bit a weight (1 = kept), each row padded to whole bytes.
    """

    rows: int
    columns: int
    tile_rows: int
    tile_columns: int
    tiles: str
    corner_rows: int
    corner_columns: int
    corner: str

    def __post_init__(self) -> None:
        sides = (self.tile_rows, self.tile_columns, self.corner_rows, self.corner_columns)
        if not all(1 <= side <= LARGEST_SIDE for side in sides):
            raise ValueError(f"the sides of a picture are 1 to {LARGEST_SIDE}, and these are {sides}")
        bytes_needed = (self.tile_rows * self.tile_columns, self.corner_rows * -(-self.corner_columns // 8))
        for text, needed in zip((self.tiles, self.corner), bytes_needed, strict=True):
            if len(base64.b64decode(text, validate=True)) != needed:
                raise ValueError(f"a picture's data should have {needed} bytes")


@dataclass(frozen=True)
class Compressed:
    """What torch's own 2:4 compression of a weight takes: the values kept, and two bits of metadata for each."""

    dense_bytes: int
    compressed_bytes: int


@dataclass(frozen=True)
class Counters:
    """A profiler's hardware counters for the layer's kernels: operations with the chip's sparsity on, and off."""

    sparse: float
    dense: float


@dataclass(frozen=True)
class Utilization:
    """The layer's dense arithmetic by the time it took, as a share of the core's peak, where a toolchain tells.

    What is far above 1 left arithmetic out.
    """

    dense: float | None
    pruned: float | None


@dataclass(frozen=True)
class LayerEstimate:
    """What a compiler's cost model says of one layer, in the unit of the whole model's estimate."""

    dense: float
    pruned: float


@dataclass(frozen=True)
class Layer:
    """One pruned layer. `valid`, `used` and `faster` are three separate facts, and each may be unknown (None).

    valid: the weights hold the pattern (`valid_groups` is the share of its groups that do);
    used:  a kernel ran that profits from it: a sparse kernel, or a dense one over fewer channels;
    speed: what the layer's own kernel gained, by the same rule as the whole model's verdict.
    `served_by` are the target's toolchains that have a kernel for the pattern in this layer, where that was asked;
    `alone` is what the layer gained by itself on its own input of `rows` rows, before it was let into the model;
    `error` is what its output lost on the calibration inputs, the squared difference relative to the squared output
    (about its mean, where the layer has a bias that makes up for that);
    `evidence` is what its times, kernels and estimate rest on, None where it has none of them.
    In JSON a layer has no field for what is not known of it.
    """

    OMITS_DEFAULTS: ClassVar[bool] = True

    name: str
    kind: str
    shape: tuple[int, ...]
    pruned_shape: tuple[int, ...]
    pattern: str
    sparsity: float
    macs: int | None
    pruned_macs: int | None
    valid: bool
    valid_groups: float
    picture: Picture | None
    used: bool | None = None
    speed: Comparison = NOT_COMPARED
    kernel: str | None = None
    pruned_kernel: str | None = None
    dense_us: float | None = None
    pruned_us: float | None = None
    served_by: tuple[str, ...] | None = None
    rows: int | None = None
    alone: Comparison | None = None
    utilization: Utilization | None = None
    compressed: Compressed | None = None
    counters: Counters | None = None
    error: float | None = None
    evidence: EvidenceKind | None = None
    estimate: LayerEstimate | None = None


@dataclass(frozen=True)
class Skipped:
    """A layer with weights that was left dense, and why."""

    name: str
    kind: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Returned:
    """A layer that was pruned, gained nothing by it, and has its dense weights again; with the evidence for that.

    `rows` is the height of the matrix that it multiplied (batch times tokens), `speed` of that layer alone.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    reason: str
    rows: int | None
    speed: Comparison


@dataclass(frozen=True)
class Totals:
    weights: int
    pruned_weights: int
    macs: int | None
    pruned_macs: int | None


@dataclass(frozen=True)
class OtherKernels:
    """The profiled time of all kernels that belong to no pruned layer."""

    dense_us: float | None
    pruned_us: float | None


@dataclass(frozen=True)
class OutputCheck:
    """The largest difference to the outputs of the reference, relative to their largest magnitude."""

    dense_error: float
    pruned_error: float
    tolerance: float
    reference: str = "torch"


@dataclass(frozen=True)
class EnergyOf:
    """One model's energy: of one run (a whole batch), in all and above the idle device, and the mean power."""

    total_mj: float
    above_idle_mj: float
    average_mw: float
    windows_mj: tuple[float, ...]  # the total of each window, by its runs: their spread is the error
    window_s: float
    runs: int


@dataclass(frozen=True)
class Energy:
    """What the device's own energy counter said, over windows of seconds, dense and pruned in turn."""

    evidence: Evidence
    idle_mw: float | None
    dense: EnergyOf | None
    pruned: EnergyOf | None


@dataclass(frozen=True)
class Scores:
    """The user's own score of the dense and of the pruned model, higher is better."""

    expression: str
    dense: float
    pruned: float


@dataclass(frozen=True)
class Point:
    """What removing the share `sparsity` of one layer alone does to the model.

    `error`: mean squared difference of the outputs over their mean square, or the dense score minus the score;
    None where an output or the score was not finite.
    """

    sparsity: float
    error: float | None


@dataclass(frozen=True)
class Curve:
    """One layer's points, by rising sparsity; its weights go in groups of `group` (a block, a channel)."""

    layer: str
    weights: int
    points: tuple[Point, ...]
    group: int = 1


@dataclass(frozen=True)
class Sensitivity:
    """What a scan found with `passes` passes over `rows` rows of the calibration data (None: with a score)."""

    measure: Literal["output error", "score"]
    curves: tuple[Curve, ...]
    rows: int | None = None
    passes: int = 0


@dataclass(frozen=True)
class Recipe:
    """The SparseML recipe that pruned the model: what it was called there, and its text."""

    name: str
    text: str


@dataclass(frozen=True)
class Request:
    """What was asked for, with every default filled in; `calib` None where the example itself was looked at.

    `on_host` is whether the device is the CPU of the machine that compiles, whose threads then count; `dtype` is what
    both models run in.
    It was pruned in `steps`, after each of which a fine-tune step ran where there was one.
    """

    model: str
    target: str
    toolchain: str
    device: str
    dtype: str
    pattern: str
    sparsity: float
    importance: str
    allocation: str
    threads: int
    batch: int
    on_host: bool = True
    keep_all: bool = False
    dense: tuple[str, ...] = ()
    permute: bool = False
    input: str | None = None
    calib: str | None = None
    recipe: Recipe | None = None
    schedule: str = "one-shot"
    steps: int = 1


@dataclass(frozen=True)
class Fingerprints:
    """Which weights went in and which came out, so that reports of one pruning on two machines can be told."""

    dense: str
    pruned: str


@dataclass(frozen=True)
class Machine:
    cpu: str
    architecture: str
    cores: int
    system: str
    load_1min: float | None


def best_baseline(baselines: Sequence[Baseline]) -> Baseline | None:
    """Return the fastest dense model among the baselines, None where none was timed."""
    timed = [each for each in baselines if each.dense_ms is not None and each.speed.speedup is not None]
    return min(timed, key=lambda each: each.dense_ms or 0.0, default=None)


def deciding(measurement: Measurement, baselines: Sequence[Baseline]) -> Comparison:
    """Return the comparison that decides: with the same toolchain's dense model, or with a faster one elsewhere.

    A runtime that a user would not otherwise need has to beat those that they have.
    """
    if not isinstance(measurement, Timed):
        return NOT_COMPARED
    own, rival = measurement.comparison, best_baseline(baselines)
    if rival is None or own.speedup is None or own.verdict == "slower" or rival.speed.verdict == "faster":
        return own
    return rival.speed


@dataclass(frozen=True)
class Report:
    created: str
    request: Request
    chip: str
    typical_speedup: str | None
    totals: Totals
    layers: tuple[Layer, ...]
    skipped: tuple[Skipped, ...]
    returned: tuple[Returned, ...]
    other_kernels: OtherKernels | None
    measurement: Measurement
    energy: Energy | None
    counters: Evidence | None  # what the layers' hardware counters rest on
    check: OutputCheck | None
    scores: Scores | None
    reasons: tuple[str, ...]
    machine: Machine | None
    versions: dict[str, str]
    fingerprints: Fingerprints
    baselines: tuple[Baseline, ...] = ()
    sensitivity: Sensitivity | None = None
    footprint: Footprint | None = None
    omitted: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def timed(self) -> Timed | None:
        return self.measurement if isinstance(self.measurement, Timed) else None

    @property
    def verdict(self) -> Verdict:
        return self.deciding.verdict

    @property
    def deciding(self) -> Comparison:
        return deciding(self.measurement, self.baselines)

    @property
    def rival(self) -> Baseline | None:
        return best_baseline(self.baselines)

    def to_json(self) -> str:
        """Return the report as JSON, with its words for those who only draw it; `from_json` makes these anew."""
        data = to_data(self) | {"words": codec.unstructure(words.words_of(self))}
        return json.dumps(data, allow_nan=False, separators=(",", ":"))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON; raises ReportError where the file cannot be written."""
        try:
            Path(path).write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise ReportError(f"The report cannot be written to {path}: {first_line(error)}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read what `save` wrote; raises ReportError for a file that is not there, damaged, or of another version."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ReportError(f"There is no report to read in {path}: {first_line(error)}.") from error
        return cls.from_json(text)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what `to_json` wrote; raises ReportError when it is damaged or of another schema version."""
        try:
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ReportError(f"This is no report: it is not JSON ({first_line(error)}).") from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version == OLDER_VERSION:
            data = _from_older(data)
        elif version != SCHEMA_VERSION:
            raise ReportError(
                f"This report has schema version {str(version)[:20]}; this package reads version {SCHEMA_VERSION}, "
                f"and {OLDER_VERSION} as well. "
                "Install the jupyter-hwprune that wrote it, or make the report again."
            )
        data.pop("words", None)
        report: Report = codec.structure(data, cls)
        return report


def _from_older(data: dict[str, Any]) -> dict[str, Any]:
    """Return a report of version 4, which had one kind of measurement, as one of this version."""
    found = data.get("measurement")
    if isinstance(found, dict):
        timed = found.get("dense_ms") is not None
        measurement = found | {"kind": "timed"} if timed else {"kind": "untimed", "evidence": found.get("evidence")}
        data = data | {"measurement": measurement}
    request, layers = data.get("request"), data.get("layers")
    if isinstance(request, dict):
        data = data | {"request": request | {"on_host": request.get("device") == "CPU"}}
    if isinstance(layers, list):
        data = data | {"layers": [_with_evidence(layer) if isinstance(layer, dict) else layer for layer in layers]}
    return data | {"footprint": None, "schema_version": SCHEMA_VERSION}


def _with_evidence(layer: dict[str, Any]) -> dict[str, Any]:
    seen = any(layer.get(name) is not None for name in ("kernel", "pruned_kernel", "dense_us", "pruned_us"))
    return layer | {"evidence": "measured" if seen else None, "estimate": None}


def to_data(report: Report) -> dict[str, Any]:
    """Return the report as plain dicts, lists, strings and numbers."""
    return codec.unstructure(report)
