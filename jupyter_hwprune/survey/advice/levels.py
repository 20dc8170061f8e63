"""Which patterns are tried with a toolchain and at which levels, and which have no kernels there to be tried with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...choose.choice import INT8, Choice
from ...core.errors import first_of
from ...core.pattern import NM, Block, Channel, Depth, Pattern, Unstructured
from ...core.target import TARGETS, Judge
from ...report import Evidence
from ...report.words.numbers import share
from ...toolchains import manifest_of
from ...toolchains._host import fast_int8

CHANNELS = (0.3, 0.5, 0.7)
WITH_INT8 = 0.5  # of the channels
BLOCKS = (0.25, 0.5)
ZEROS = (0.5, 0.8, 0.9)
ONCE = 0.9  # the zeros that are timed where no kernel skips any


@dataclass(frozen=True)
class Trial:
    """A pattern at the share that it removes, None for none; with `int8`, of a model that is quantised afterwards."""

    pattern: Pattern | None
    share: float | None = None
    int8: bool = False

    def __str__(self) -> str:
        said = "" if self.pattern is None else f"{self.pattern} {self.share:g}"
        return f"{said} {INT8 if self.int8 else ''}".strip()

    @property
    def file(self) -> str:
        """A name for its files."""
        return re.sub(r"\W+", "-", str(self))


def trials(judge: Judge) -> list[Trial]:
    """Return what to try in the model's own dtype: the toolchain's offers, and what every runtime gains from."""
    offered = {offer.pattern: offer.sparsity for offer in judge.offers}
    channels = channels_of(judge)
    found = [Trial(channels, level) for level in CHANNELS] + [Trial(Depth(), level) for level in BLOCKS]
    skips = Unstructured() in offered
    found += [Trial(Unstructured(), level) for level in (ZEROS if skips else (ONCE,))]
    return found + [Trial(pattern, level) for pattern, level in offered.items() if isinstance(pattern, (NM, Block))]


def channels_of(judge: Judge) -> Channel:
    """Return the multiple of channels that the toolchain's offers leave; every chip takes multiples of 8."""
    return next((offer.pattern for offer in judge.offers if isinstance(offer.pattern, Channel)), Channel(8))


def without_kernels(choice: Choice) -> Iterator[tuple[Trial, Evidence]]:
    """Return the usual patterns of zeros that the toolchain has no kernels for, with the reason."""
    judge = choice.judge
    offered = [offer.pattern for offer in judge.offers]
    if Unstructured() in offered:  # whose kernels skip the zeros of any pattern
        return
    for pattern, usual in ((NM(2, 4), 0.5), (Block(16, 16), 0.75)):
        if pattern in offered or (judge.kernels is not None and judge.kernels.take(pattern)):
            continue
        if any(isinstance(pattern, Block) and isinstance(each, Block) for each in offered):
            continue  # blocks of the chip's own size are tried
        said = f"it has no sparse kernels for {pattern} on {choice.target.name}, so zeros cost as much as other "
        said += f"weights cost; unstructured at {share(ONCE)} is tried in its place"
        chips = [row.name for row in TARGETS if any(o.pattern == pattern for each in row.judges for o in each.offers)]
        cure = f"{pattern} is for {first_of(chips)}" if chips else None
        yield Trial(pattern, usual), Evidence("unavailable", reason=said, cure=cure)


def no_int8(choice: Choice) -> Evidence | None:
    """Say why int8 is not tried with a toolchain; None where it is worth trying."""
    quantises = manifest_of(choice.judge.toolchain).quantises is not None
    if choice.way != "run" or choice.target.kind != "cpu" or not quantises:
        return Evidence("unavailable", reason="it does not quantise models")
    if fast_int8() == []:
        return Evidence("unavailable", reason="this CPU has no instructions for fast products of 8-bit integers")
    return None
