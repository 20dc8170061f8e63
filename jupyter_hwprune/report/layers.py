"""What is known of the single layers: the pruned ones, those left dense, and a scan of how sensitive each is."""

import base64
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from .measurement import NOT_COMPARED, Comparison, EvidenceKind

LARGEST_SIDE = 64  # of a picture, in tiles or weights
MOST_WEIGHTS = 2**63 - 1  # that a tensor can count


def check_shape(*shapes: tuple[int, ...]) -> None:
    """Raise ValueError unless a tensor can have each of these shapes."""
    for shape in shapes:
        if min(shape, default=0) < 0 or math.prod(shape) > MOST_WEIGHTS:
            raise ValueError(f"no tensor has the shape {str(shape)[:80]}")


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
class Memory:
    """What a compiled model or layer takes of the chip's memory, in bytes, by its compiler; None: it does not say.

    `weight_bytes` are its constants as the compiler packs them, in flash or DRAM; `sram_bytes` the most memory on the
    chip that it holds at a time; `traffic_bytes` what one run moves from and to flash or DRAM.
    """

    OMITS_DEFAULTS: ClassVar[bool] = True

    weight_bytes: int | None = None
    sram_bytes: int | None = None
    traffic_bytes: int | None = None


@dataclass(frozen=True)
class LayerEstimate:
    """A compiler's cost estimate of one layer, in the unit of the whole model's estimate, and the memory it takes."""

    OMITS_DEFAULTS: ClassVar[bool] = True

    dense: float
    pruned: float
    dense_memory: Memory | None = None
    pruned_memory: Memory | None = None


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
    `evidence` is the source of its times, kernels and estimate, None if it has none of them;
    `ran_on` is another processor that ran it than the device asked for; `groups` are those of a grouped convolution.
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
    ran_on: str | None = None
    groups: int | None = None

    def __post_init__(self) -> None:
        check_shape(self.shape, self.pruned_shape)


@dataclass(frozen=True)
class Skipped:
    """A layer with weights that was left dense, with the reason."""

    name: str
    kind: str
    shape: tuple[int, ...]
    reason: str

    def __post_init__(self) -> None:
        check_shape(self.shape)


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

    def __post_init__(self) -> None:
        check_shape(self.shape)


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
