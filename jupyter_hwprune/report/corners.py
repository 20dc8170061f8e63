"""Four models side by side: dense and pruned, each in float and in int8."""

from dataclasses import dataclass

from .measurement import NOT_COMPARED, Comparison, Evidence, Samples


@dataclass(frozen=True)
class Corner:
    """One of the four models: `ms` is its median time, and `speed` compares it with the dense model in float.

    The samples of the float models are in the report's measurement. `file_bytes` is the size of the compiled model's
    files, `peak_bytes` its peak memory as in PeakMemory, `error` its largest difference from torch's outputs in float,
    relative to their largest magnitude. `score` is the user's: of an int8 model by running the compiled model itself.
    """

    pruned: bool
    dtype: str
    ms: float
    speed: Comparison = NOT_COMPARED
    file_bytes: int | None = None
    error: float | None = None
    score: float | None = None
    samples: Samples | None = None
    int8_layers: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class LeftInFloat:
    """A layer that an int8 model computes in float, with the reason: its weights stay so, or the runtime's kernel."""

    layer: str
    reason: str


@dataclass(frozen=True)
class Corners:
    """The four models, compiled and timed in turn in one process; no `rows` if there are no int8 models.

    `rows` are dense and pruned in float, then in int8. `on_int8` compares pruned int8 with dense int8, and `on_pruned`
    with pruned float. `quantiser` is the library with its settings, and `calibration_rows` the rows that it recorded
    ranges from. `fast_int8` are the CPU's instructions for int8 products, None if unknown. `unscored` is the reason why
    the int8 models have no score, if there is one in float.
    """

    evidence: Evidence
    rows: tuple[Corner, ...] = ()
    on_int8: Comparison = NOT_COMPARED
    on_pruned: Comparison = NOT_COMPARED
    quantiser: str | None = None
    calibration_rows: int = 0
    left_in_float: tuple[LeftInFloat, ...] = ()
    fast_int8: tuple[str, ...] | None = None
    unscored: str | None = None

    def __post_init__(self) -> None:
        if len(self.rows) not in (0, 4):
            raise ValueError(f"four models are compared, and these are {len(self.rows)}")

    @property
    def fastest(self) -> Corner | None:
        """The fastest of the three that differ from the dense model in float; None if nothing was measured."""
        return min(self.rows[1:], key=lambda each: each.ms, default=None)
