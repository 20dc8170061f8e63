"""Check the options that are the same for each target, each with one paragraph for a wrong value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from ..core.goal import Goal
from ..core.nearest import did_you_mean
from ..core.options import OPTIONS, Allocation, Importance, Solver
from ..core.pattern import NM, Block, Channel, Depth, Pattern

CHANNEL_IMPORTANCE = ("magnitude", "taylor", "second-order")
WEIGHT_IMPORTANCE = ("magnitude", "activation", "second-order")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that are the same for each target; raises InputError for a wrong one.

    `permute` reorders input channels so that a pattern loses less, `keep_all` keeps layers pruned that gain nothing,
    `keep_statistics` the running statistics of the dense model. `solver` is how long second order searches the mask of
    each layer, and `tune_blocks` the steps by which each block is trained towards the dense one's output.
    `tune_kernels` are the seconds for which the toolchain looks for the kernels' schedules. `rpc` is where a board is
    reached, and `rpc_key` the one to ask a tracker for. `int8_error` is how far the outputs of int8 models may be from
    those in float, relative to their largest value.
    """

    importance: Importance = "magnitude"
    solver: Solver = "full"
    tune_blocks: int | None = None
    allocation: Allocation = "uniform"
    permute: bool = False
    keep_all: bool = False
    keep_statistics: bool = False
    threads: int = 1
    batch: int | None = None
    timeout_s: float = 1800
    tune_kernels: float | None = None
    rpc: str | None = None
    rpc_key: str | None = None
    int8_error: float | None = None

    def __post_init__(self) -> None:
        for name in ("importance", "solver", "allocation"):
            given, known = getattr(self, name), OPTIONS[name].choices
            if given not in known:
                raise InputError(f"There is no {name} {given!r}.{did_you_mean(given, known)} Use {either(known)}.")
        check_whole_number("threads", self.threads)
        if self.tune_blocks is not None:
            check_whole_number("tune-blocks", self.tune_blocks)
        if self.batch is not None:
            check_whole_number("batch", self.batch)
        _check_seconds("timeout", self.timeout_s)
        if self.tune_kernels is not None:
            _check_seconds("tune-kernels", self.tune_kernels)
        if self.tune_kernels is not None and self.tune_kernels >= self.timeout_s:
            raise InputError(
                f"--tune-kernels {self.tune_kernels:g} leaves no time to measure within --timeout "
                f"{self.timeout_s:g}. Raise --timeout."
            )
        error: Any = self.int8_error
        if error is not None and (isinstance(error, bool) or not isinstance(error, (int, float)) or not 0 < error < 1):
            raise InputError(f"--int8-error is {error!r}; it is a share of the outputs' largest value, such as 0.05.")
        self._check_board()

    def _check_board(self) -> None:
        if self.rpc is None and self.rpc_key is not None:
            raise InputError(
                f"--rpc-key {self.rpc_key} names a board of a tracker. Add the tracker's --rpc HOST:PORT, or remove it."
            )
        if self.rpc is not None and not re.fullmatch(r"[^\s:]+:[0-9]{1,5}", str(self.rpc)):
            raise InputError(f"--rpc is {self.rpc!r}; give HOST:PORT, such as 192.168.1.20:9090.")
        if self.rpc is not None and self.tune_kernels is not None:
            raise InputError(
                f"--tune-kernels {self.tune_kernels:g} tries schedules on this machine, and --rpc {self.rpc} runs the "
                "models on another. Remove one of the two."
            )


def _check_seconds(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InputError(f"--{name} is {value!r}; it is a number of seconds above 0.")


def check_whole_number(name: str, value: Any, most: int | None = None) -> None:
    """Raise InputError unless `value` is a whole number from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"--{name} is {value!r}; give a whole number, at least 1.")
    if most is not None and value > most:
        raise InputError(f"--{name} is {value}, but this machine has {most} cores; give at most {most}.")


def scans(allocation: Allocation) -> bool:
    """Say whether shares are set by pruning each layer alone first."""
    return allocation not in {"uniform", "global"}


def check_method(pattern: Pattern, options: Options) -> None:
    """Raise InputError if the pattern, importance, allocation and permutation do not fit together."""
    importance, allocation = options.importance, options.allocation
    if isinstance(pattern, Depth) and importance != "magnitude":
        raise InputError(
            f"--importance {importance} ranks weights or channels, but the pattern depth ranks blocks by how far the "
            "output changes without each. Remove --importance; --allocation sensitivity:score ranks by your score."
        )
    fitting = CHANNEL_IMPORTANCE if isinstance(pattern, Channel) else WEIGHT_IMPORTANCE
    if importance not in fitting:
        raise InputError(
            f"--importance {importance} ranks {'channels' if importance == 'taylor' else 'single weights'}, but the "
            f"pattern is {pattern}. Use {either(fitting)} with it."
        )
    solves = importance == "second-order" and not isinstance(pattern, Channel)
    if options.solver != "full" and not solves:
        raise InputError(
            f"--solver {options.solver} is how --importance second-order searches for zeros, but {pattern} is "
            f"pruned by {importance} here. Remove --solver, or use --importance second-order with a pattern of zeros."
        )
    if options.tune_blocks is not None and isinstance(pattern, Depth):
        raise InputError(
            f"--tune-blocks {options.tune_blocks} trains blocks that lost weights, and the pattern depth removes whole "
            "ones. Use --recover with it."
        )
    if scans(allocation) and isinstance(pattern, NM):
        raise InputError(
            f"--allocation {allocation} gives each layer its own share, but {pattern} fixes it: every layer loses "
            f"{pattern.sparsity:.0%}. Remove --allocation, and name the layers to leave unpruned with --dense."
        )
    if allocation == "global" and importance == "second-order":
        raise InputError(
            "--importance second-order solves one layer after the other, but --allocation global ranks all layers "
            f"together. Use --allocation sensitivity, or --importance {fitting[1]}."
        )
    if isinstance(pattern, Block) and pattern.even and importance == "second-order":
        raise InputError(
            f"--importance second-order keeps as many blocks as a layer has to, not as many in each row, as {pattern} "
            f"asks. Use --pattern {pattern.rows}x{pattern.columns}, or --importance magnitude."
        )
    if options.permute and not isinstance(pattern, (NM, Block)):
        raise InputError(
            f"--permute reorders input channels for n:m groups or blocks, and {pattern} has neither. Remove --permute."
        )


def either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def check_sparsity(sparsity: float | None, pattern: Pattern | None) -> None:
    if sparsity is None:
        return
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)) or not 0 < sparsity < 1:
        raise InputError(f"--sparsity is {sparsity}; give the share to remove, above 0 and below 1, such as 0.5.")
    if isinstance(pattern, NM) and abs(sparsity - pattern.sparsity) > 1e-9:
        raise InputError(
            f"The pattern {pattern} always removes {pattern.sparsity:.0%}, not --sparsity {sparsity:g}. "
            "Remove --sparsity, or choose another n:m."
        )


def check_goal(goal: Goal | None, sparsity: float | None, recipe: object, tune_kernels: float | None = None) -> None:
    """Raise InputError for a goal beside what it would have to find itself."""
    if goal is None:
        return
    if sparsity is not None:
        raise InputError(
            f"--sparsity is {sparsity}, but the search for a goal ({goal}) sets the share itself. Give one of them."
        )
    if recipe is not None:
        raise InputError(f"A recipe sets the sparsity itself, but the goal is {goal}. Give one of the two.")
    if tune_kernels is not None:
        raise InputError(
            f"--tune-kernels {tune_kernels:g} would tune the kernels of every model that the search for {goal} tries. "
            "Search without it, then tune the plan that was found."
        )
