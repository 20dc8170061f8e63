"""What was written of a model that was pruned block by block, from files larger than memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrunedBlock:
    """One block: its `weights`, and those that are `left` (not zero, or zero before).

    `error` is the squared difference of its output from the dense model's on the calibration inputs, relative to the
    dense model's: all blocks before it are pruned too. `peak_bytes` is the most that the process took while the block
    was pruned and written, above what it held before the first block. Each is None where it was not measured.
    """

    name: str
    weights: int
    left: int
    error: float | None
    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Blockwise:
    """The blocks in the order in which they run, and the folder written: its weights' `bytes` in so many `files`.

    `tokens` are those of the calibration inputs, 0 without. `taken_up` is the number of blocks that an earlier run had
    done.
    """

    source: str
    out: str
    bytes: int
    files: int
    tokens: int
    blocks: tuple[PrunedBlock, ...]
    taken_up: int = 0
