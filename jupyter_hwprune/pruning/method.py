"""The method to choose weights to remove: the importance, its calibration inputs, and the allocation to layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..choose.checks import scans
from ..choose.choice import Choice
from ..core.errors import InputError, counted
from ..core.example import Example
from ..core.options import Allocation, Importance, Solver
from ..core.pattern import Channel, Depth
from .batch_norm import batch_norms
from .calibration import Calibration

SECONDS = 2e8
"""Calibration rows x weights: a ResNet-18 with 64 rows of 112 pixels has 7.5e8, and took a minute of a busy core."""
Tell = Callable[[str], None]  # is told what is being pruned or scanned


@dataclass(frozen=True)
class Method:
    """`dense` are names of layers to leave unpruned; `calibration` is set if the importance looks at inputs.

    Where the importance is so `by_default`, magnitude takes its place if it cannot rank the channels.
    `resume` is whether passes may begin in the middle of the model, for which what its parts give is kept in memory.
    """

    importance: Importance = "magnitude"
    allocation: Allocation = "uniform"
    dense: tuple[str, ...] = ()
    calibration: Calibration | None = None
    score: Callable[[nn.Module], float] | None = None
    solver: Solver = "full"
    resume: bool = True
    by_default: bool = False

    @classmethod
    def of(
        cls,
        choice: Choice,
        calibration: Calibration | None,
        score: Callable[[nn.Module], float] | None,
        *,
        by_default: bool = False,
    ) -> Method:
        seen = calibration if ranks_by_inputs(choice) else None
        by_default = by_default and choice.importance == "second-order"
        return cls(
            choice.importance, choice.allocation, choice.dense, seen, score, choice.solver, by_default=by_default
        )

    @property
    def scan_score(self) -> Callable[[nn.Module], float] | None:
        """The score to scan by; None to scan by the error of the outputs."""
        return self.score if self.allocation == "sensitivity:score" else None


MAGNITUDE = Method()


def ranks_by_inputs(choice: Choice) -> bool:
    """Say whether the importance, the scan or the pattern looks at inputs."""
    looks = isinstance(choice.pattern, Depth) or scans(choice.allocation)
    return looks or choice.importance != "magnitude"


def can_rank(choice: Choice) -> bool:
    """Say whether second order is the importance where none is asked for: of channels, layer by layer."""
    return isinstance(choice.pattern, Channel) and choice.allocation != "global"


def reason_too_long(model: nn.Module, rows: int) -> str | None:
    """Say why second order is not the default for so many calibration rows; None where it takes seconds."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    if rows * weights <= SECONDS:
        return None
    return (
        f"Channels are ranked by magnitude: second order, the default with --calib, may take minutes for "
        f"{counted(rows, 'row')} and {weights:,} weights, whose product is above {SECONDS:.0e}. --importance "
        "second-order takes that time, or give fewer rows."
    )


def calibrated(
    dense: nn.Module,
    example: Example,
    calib: Any,
    choice: Choice,
    *,
    scored: bool,
    trains: bool,
    searches: bool,
    recovers: bool,
) -> tuple[Calibration | None, tuple[str, ...]]:
    """Return the inputs that the importance, the scan, BatchNorm or a recovery need, if any, and remarks on them.

    A cell that `trains` updates BatchNorm's statistics itself; a run that `searches` scans channels.
    """
    if choice.allocation == "sensitivity:score" and not scored:
        raise InputError("--allocation sensitivity:score scans by the score, but there is none. Give one with --eval.")
    scans = searches and isinstance(choice.pattern, Channel)
    tunes = choice.tune_blocks is not None
    if not (ranks_by_inputs(choice) or scans or choice.quantises or recovers or tunes):
        if calib is None:
            return None, ()
        if trains or choice.keep_statistics or not batch_norms(dense):
            raise InputError(
                "--calib is for options that use inputs: --importance activation, second-order or taylor, --allocation "
                "sensitivity or mixed, --pattern depth, a search over channels, the running statistics of BatchNorm, "
                "--tune-blocks, --recover, --dtype int8 where it quantises, or a --recipe with SparseGPT or Wanda. "
                "This line has none of them."
            )
    found = Calibration.of(example if calib is None else calib, dense, example)
    if choice.quantises:  # which says itself how many rows it used
        return found, ()
    if calib is None:
        return found, (f"Calibrated on the example input alone ({counted(found.rows, 'row')}); --calib takes more.",)
    return found, (f"Calibrated on {counted(found.rows, 'row')} of the calibration inputs.",)
