"""The functions that a CPU spent its time in, by a profiler that samples."""

from dataclasses import dataclass

from .measurement import Evidence


@dataclass(frozen=True)
class Hotspot:
    """A function, and its CPU time in a run of each model; None where no sample fell into it.

    `module` is the file that holds it, or the vendor's word for code that a runtime compiled.
    """

    function: str
    module: str
    dense_ms: float | None
    pruned_ms: float | None


@dataclass(frozen=True)
class Hotspots:
    """The functions of both models, the longest first; no `rows` if they could not be sampled."""

    evidence: Evidence
    rows: tuple[Hotspot, ...] = ()
