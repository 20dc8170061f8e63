"""The result of a run as frozen data, which the magics, the renderers and the lab extension share.

Every number has an `Evidence`; a number that was not measured is `None`, never 0.
Names of times end in their unit: `_ms` for a batch through the whole model, `_us` for one layer.
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
OLDER_VERSION = 4  # its reports are read too, and converted to this version
MIME_TYPE = "application/vnd.hwprune.report+json"

LARGEST_SIDE = 64  # of a picture, in tiles or weights

Verdict = Literal["faster", "slower", "no measurable gain", "not measured"]
EvidenceKind = Literal["measured", "simulated kernels", "compiler-estimate", "compiled", "unavailable"]


@dataclass(frozen=True)
class Evidence:
    """The source of a number.

    `measured` names the device it was measured on; `unavailable` gives the reason and the cure. `simulated kernels` ran
    on the named device, with weights made sparse at random.
    """

    kind: EvidenceKind
    device: str | None = None
    reason: str | None = None
    cure: str | None = None


@dataclass(frozen=True)
class Samples:
    """Raw samples, one per round: the mean time of a call in that round's block of calls."""

    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """How many times faster the pruned side is, with the bootstrap 95 % interval.

    `noise_floor` is the difference between two compilations of the same dense model (0.02 is 2 %). A verdict other than
    "no measurable gain" needs an interval beyond it.
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
    """How one model's kernels were launched, and the time of a run if Python launches them one by one."""

    way: str
    eager_ms: float | None


@dataclass(frozen=True)
class Timed:
    """Dense against pruned, interleaved in one process; `control` is the dense model compiled a second time.

    Only accelerators have launches.
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
    """A compiler's own cost estimate of both models, for one batch; it gives no verdict and is never mixed with times.

    `evidence.device` names the compiler and the chip it compiled for.
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
        """The dense cost divided by the pruned cost."""
        return self.dense / self.pruned


@dataclass(frozen=True)
class Untimed:
    """Neither timed nor estimated: only compiled, or not even that; the evidence gives the reason."""

    evidence: Evidence
    kind: Literal["untimed"] = "untimed"


Measurement = Timed | Estimated | Untimed


@dataclass(frozen=True)
class Footprint:
    """The sizes of the compiled models' files, in bytes."""

    dense_bytes: int
    pruned_bytes: int


@dataclass(frozen=True)
class Baseline:
    """The dense model with another of the target's toolchains, which a pruned model in a special runtime has to beat.

    It ran in separate processes `before` and `after` the candidates, on the same clock. `speed` compares the pruned
    model with it; its noise floor is the difference between the two times.
    """

    toolchain: str
    evidence: Evidence
    before: Samples | None
    after: Samples | None
    dense_ms: float | None
    speed: Comparison


@dataclass(frozen=True)
class Picture:
    """A small picture of a keep mask: the density of tiles, and a corner of the mask, both row by row in base64.

    `tiles` has one byte per tile (255 = all kept); `corner` one bit per weight (1 = kept), each row padded to whole
    bytes.
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
    """The size of a weight in torch's own 2:4 compression: the kept values, and two bits of metadata for each."""

    dense_bytes: int
    compressed_bytes: int


@dataclass(frozen=True)
class Counters:
    """Hardware counters for the layer's kernels: the operations with the chip's sparsity feature on, and off."""

    sparse: float
    dense: float


@dataclass(frozen=True)
class Utilization:
    """The layer's dense arithmetic divided by its time, as a share of the core's peak, if the toolchain reports it.

    A value far above 1 means that the kernel skipped arithmetic.
    """

    dense: float | None
    pruned: float | None


@dataclass(frozen=True)
class LayerEstimate:
    """A compiler's cost estimate of one layer, in the unit of the whole model's estimate."""

    dense: float
    pruned: float


@dataclass(frozen=True)
class Layer:
    """One pruned layer. `valid`, `used` and `faster` are three separate facts, and each may be unknown (None).

    valid: the weights hold the pattern (`valid_groups` is the share of its groups that do);
    used:  the kernel that ran profits from it: a sparse kernel, or a dense one over fewer channels;
    speed: the gain of the layer's own kernel, by the same rule as the whole model's verdict.
    `served_by` are the target's toolchains with a sparse kernel for this layer, None if not checked;
    `alone` is the gain of the layer timed by itself on an input of `rows` rows, before the whole model was measured;
    `error` is the squared difference of its output on the calibration inputs, relative to the squared output (about
    the mean, if the layer has a bias that corrects the mean);
    `evidence` is the source of its times, kernels and estimate, None if it has none of them.
    In JSON, a layer leaves out the fields that are unknown.
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
    """A layer with weights that was left dense, with the reason."""

    name: str
    kind: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Returned:
    """A pruned layer that gained nothing and got its dense weights back, with the evidence.

    `rows` is the height of its input matrix (batch times tokens); `speed` is the timing of this layer alone.
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
    """The largest difference from the reference's outputs, relative to their largest magnitude."""

    dense_error: float
    pruned_error: float
    tolerance: float
    reference: str = "torch"


@dataclass(frozen=True)
class EnergyOf:
    """One model's energy per run (a whole batch), in total and above idle, and its average power."""

    total_mj: float
    above_idle_mj: float
    average_mw: float
    windows_mj: tuple[float, ...]  # per run, for each window; their spread is the error
    window_s: float
    runs: int


@dataclass(frozen=True)
class Energy:
    """The device's own energy counter over windows of seconds, dense and pruned in turn."""

    evidence: Evidence
    idle_mw: float | None
    dense: EnergyOf | None
    pruned: EnergyOf | None


@dataclass(frozen=True)
class Scores:
    """The user's score of the dense and of the pruned model, higher is better."""

    expression: str
    dense: float
    pruned: float


@dataclass(frozen=True)
class Point:
    """The error of the model after removing the share `sparsity` of one layer alone.

    `error`: the mean squared difference of the outputs over their mean square, or the dense score minus the score;
    None if an output or the score was not finite.
    """

    sparsity: float
    error: float | None


@dataclass(frozen=True)
class Curve:
    """One layer's points, by rising sparsity; weights are removed in groups of `group` (a block, a channel)."""

    layer: str
    weights: int
    points: tuple[Point, ...]
    group: int = 1


@dataclass(frozen=True)
class Sensitivity:
    """The result of a scan: `passes` passes over `rows` rows of the calibration data (None: scored by the user)."""

    measure: Literal["output error", "score"]
    curves: tuple[Curve, ...]
    rows: int | None = None
    passes: int = 0


@dataclass(frozen=True)
class Recipe:
    """The SparseML recipe that pruned the model: the name used for it, and its text."""

    name: str
    text: str


@dataclass(frozen=True)
class Request:
    """The user's request, with every default filled in; `calib` is None if the example was used for calibration.

    `on_host` is True if the device is the CPU of the compiling machine, so that `threads` applies; `dtype` is the data
    type of both models, which --dtype chooses where the toolchain `takes_dtype`. The model was pruned in `steps`, each
    followed by the fine-tune step if there is one.
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
    takes_dtype: bool = False
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
    """Hashes of the dense and the pruned weights, to match reports of the same pruning from two machines."""

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
    """Return the fastest baseline; None if none was timed."""
    timed = [each for each in baselines if each.dense_ms is not None and each.speed.speedup is not None]
    return min(timed, key=lambda each: each.dense_ms or 0.0, default=None)


def deciding(measurement: Measurement, baselines: Sequence[Baseline]) -> Comparison:
    """Return the comparison that decides the verdict: with the toolchain's own dense model, or a faster baseline.

    A runtime that is only needed for sparsity has to beat the ones that users already have.
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
    counters: Evidence | None  # the source of the layers' hardware counters
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
        """Return the report as JSON, with its words for viewers; `from_json` ignores the words."""
        data = to_data(self) | {"words": codec.unstructure(words.words_of(self))}
        return json.dumps(data, allow_nan=False, separators=(",", ":"))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON; raises ReportError if the file cannot be written."""
        try:
            Path(path).write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise ReportError(f"The report cannot be written to {path}: {first_line(error)}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a file that `save` wrote; raises ReportError if it is missing, damaged, or of another version."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ReportError(f"There is no report to read in {path}: {first_line(error)}.") from error
        return cls.from_json(text)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read text that `to_json` wrote; raises ReportError if it is damaged or of another schema version."""
        try:
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ReportError(f"This is not a report: it is not JSON ({first_line(error)}).") from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version == OLDER_VERSION:
            data = _from_older(data)
        elif version != SCHEMA_VERSION:
            raise ReportError(
                f"This report has schema version {str(version)[:20]}; this package reads versions "
                f"{OLDER_VERSION} and {SCHEMA_VERSION}. "
                "Install the jupyter-hwprune that wrote it, or make the report again."
            )
        data.pop("words", None)
        report: Report = codec.structure(data, cls)
        return report


def _from_older(data: dict[str, Any]) -> dict[str, Any]:
    """Convert a report of version 4, which had one kind of measurement, to this version."""
    found = data.get("measurement")
    if isinstance(found, dict):
        timed = found.get("dense_ms") is not None
        measurement = found | {"kind": "timed"} if timed else {"kind": "untimed", "evidence": found.get("evidence")}
        data = data | {"measurement": measurement}
    request, layers = data.get("request"), data.get("layers")
    if isinstance(request, dict):
        on_host = request.get("device") == "CPU"
        data = data | {"request": request | {"on_host": on_host, "takes_dtype": not on_host}}
    if isinstance(layers, list):
        data = data | {"layers": [_with_evidence(layer) if isinstance(layer, dict) else layer for layer in layers]}
    return data | {"footprint": None, "schema_version": SCHEMA_VERSION}


def _with_evidence(layer: dict[str, Any]) -> dict[str, Any]:
    seen = any(layer.get(name) is not None for name in ("kernel", "pruned_kernel", "dense_us", "pruned_us"))
    return layer | {"evidence": "measured" if seen else None, "estimate": None}


def to_data(report: Report) -> dict[str, Any]:
    """Return the report as plain dicts, lists, strings and numbers."""
    return codec.unstructure(report)
