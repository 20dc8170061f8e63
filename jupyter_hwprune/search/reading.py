"""What a search keeps of one measured candidate: numbers that can be written to a file and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..measure.candidates import Findings
from ..report import Estimated, Timed, Untimed


@dataclass(frozen=True)
class LayerTime:
    """The time of one layer's kernels in microseconds, or its cost in the unit of the whole model's estimate."""

    dense: float
    pruned: float


@dataclass(frozen=True)
class Reading:
    """The dense and the pruned model's time in milliseconds (`unit` says if it is an estimate in another), and more.

    With int8 models, the pruned one's time is that of the faster of the two pruned models. `others` are all kernels of
    no pruned layer. None is not measured, for the `reason`. `kept` is the share of the dense model's weights, and
    `score` the user's, without any training.
    """

    dense: float | None
    pruned: float | None
    unit: str = "ms"
    bytes: float | None = None
    dense_bytes: float | None = None
    energy_mj: float | None = None
    dense_energy_mj: float | None = None
    power_mw: float | None = None
    dense_power_mw: float | None = None
    layers: Mapping[str, LayerTime] = field(default_factory=dict)
    others: LayerTime | None = None
    reason: str | None = None
    int8: bool = False
    kept: float = 1.0
    score: float | None = None

    @classmethod
    def of(cls, found: Findings, pruned_file: Path, dense_file: Path) -> Reading:
        """Read what was found; the size is that of the compiled files, or of the exported one where nothing else is."""
        footprint = found.footprint
        size = float(footprint.pruned_bytes if footprint is not None else _size(pruned_file))
        whole = float(footprint.dense_bytes if footprint is not None else _size(dense_file))
        measured = found.measurement
        if isinstance(measured, Untimed):
            return cls(None, None, bytes=size, dense_bytes=whole, reason=measured.evidence.reason)
        if isinstance(measured, Estimated):
            costs = {each.name: each.estimate for each in found.layers if each.estimate is not None}
            layers = {name: LayerTime(own.dense, own.pruned) for name, own in costs.items()}
            return cls(measured.dense, measured.pruned, measured.unit, size, whole, layers=layers)
        assert isinstance(measured, Timed)
        dense, pruned, int8 = measured.dense_ms, measured.pruned_ms, False
        if found.corners is not None and found.corners.rows:
            best = min((each for each in found.corners.rows if each.pruned), key=lambda each: each.ms)
            pruned, int8 = best.ms, best.dtype == "int8"
            size = size if best.file_bytes is None else float(best.file_bytes)
        used, of_dense = (None, None) if found.energy is None else (found.energy.pruned, found.energy.dense)
        other = found.other_kernels
        known = other is not None and other.dense_us is not None and other.pruned_us is not None
        return cls(
            dense,
            pruned,
            bytes=size,
            dense_bytes=whole,
            energy_mj=None if used is None else used.total_mj,
            dense_energy_mj=None if of_dense is None else of_dense.total_mj,
            power_mw=None if used is None else used.average_mw,
            dense_power_mw=None if of_dense is None else of_dense.average_mw,
            layers={
                each.name: LayerTime(each.dense_us, each.pruned_us)
                for each in found.layers
                if each.dense_us is not None and each.pruned_us is not None
            },
            others=LayerTime(other.dense_us, other.pruned_us) if known else None,  # type: ignore[union-attr,arg-type]
            int8=int8,
        )

    @property
    def relative(self) -> float | None:
        """Return the pruned model's time as a share of the dense one's in the same call, so that drift cancels."""
        return None if self.dense is None or self.pruned is None else self.pruned / self.dense

    @property
    def quantities(self) -> dict[str, float]:
        """Return what was measured of the pruned model and can be limited."""
        found = {"time": self.relative, "size": self.bytes, "energy": self.energy_mj, "power": self.power_mw}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def dense_quantities(self) -> dict[str, float]:
        """Return the same of the dense model."""
        found = {
            "time": 1.0,
            "size": self.dense_bytes,
            "energy": self.dense_energy_mj,
            "power": self.dense_power_mw,
        }
        return {name: value for name, value in found.items() if value is not None}


def _size(model: Path) -> int:
    """Return the bytes of an exported model, with those of a large one's weights beside it."""
    beside = model.with_name(f"{model.name}.data")
    return model.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
