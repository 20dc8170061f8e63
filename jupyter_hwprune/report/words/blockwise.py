"""The facts of a model that was pruned block by block: where it is, each block's error, and time and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...core.errors import counted
from .numbers import UNKNOWN, count, three_digits

if TYPE_CHECKING:
    from .. import Blockwise, PrunedBlock

SHOWN = 12


def facts(found: Blockwise) -> Iterator[tuple[str, str]]:
    yield "written to", f"{found.out}: {count(found.bytes)}B in {counted(found.files, 'file')} of safetensors"
    blocks = found.blocks
    errors = [f"{each.name} {UNKNOWN if each.error is None else _percent(each.error)}" for each in _some(blocks)]
    if any(each.error is not None for each in blocks):
        more = "" if len(blocks) <= SHOWN else f" ({SHOWN} of {len(blocks)} blocks; `report.blockwise` has all)"
        how = "squared, of a block's output against the dense model's, with all blocks before it pruned too"
        yield "block error", f"{', '.join(errors)}{more}: {how}; on {counted(found.tokens, 'token')} of --calib"
    peaks = [each.peak_bytes for each in blocks if each.peak_bytes is not None]
    held = f"at most {count(max(peaks))}B, above what the process held before the first block" if peaks else UNKNOWN
    yield "memory", held
    seconds = [each.seconds for each in blocks]
    before = f"; {counted(found.taken_up, 'block')} by an earlier run" if found.taken_up else ""
    yield "took", f"{sum(seconds):.0f} s for {counted(len(blocks), 'block')}, {max(seconds):.1f} s at most{before}"


def _percent(error: float) -> str:
    return f"{three_digits(100 * error)} %"


def _some(blocks: Sequence[PrunedBlock]) -> list[PrunedBlock]:
    """Return at most SHOWN blocks, evenly, with the first and the last."""
    if len(blocks) <= SHOWN:
        return list(blocks)
    return [blocks[round(at * (len(blocks) - 1) / (SHOWN - 1))] for at in range(SHOWN)]
