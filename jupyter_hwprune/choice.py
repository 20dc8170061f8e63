"""What will be done: every option checked, every default filled in, and who judges it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from .errors import InputError
from .pattern import NM, Block, Channel, Pattern, parse_pattern
from .report import Evidence
from .target import TARGETS, Stack, Target, find_target
from .toolchains import Status, probe_all, toolchain_file

Allocation = Literal["uniform", "global", "sensitivity", "sensitivity:score"]
Importance = Literal["magnitude", "activation", "second-order", "taylor"]
CHANNEL_IMPORTANCE = ("magnitude", "taylor")
WEIGHT_IMPORTANCE = ("magnitude", "activation", "second-order")
DTYPE_ALIASES = {"fp32": "float32", "fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp8": "float8"}


@dataclass(frozen=True)
class Choice:
    """`dtype` is what dense and pruned are run in, None for whatever the model comes in.

    `dense` names layers that are left alone, `permute` lets input channels change places so that more of their worth is
    kept, `keep_all` leaves layers pruned that gain nothing. `obstacle` is why nothing can be measured here, or None;
    `remarks` is what the user should know of the choice.
    """

    target: Target
    stack: Stack
    dtype: str | None
    pattern: Pattern
    sparsity: float
    importance: Importance
    allocation: Allocation
    dense: tuple[str, ...]
    permute: bool
    keep_all: bool
    threads: int
    batch: int | None
    timeout_s: float
    obstacle: Evidence | None
    remarks: tuple[str, ...]

    def for_model_in(self, dtype: str) -> Choice:
        """Fill in the dtype where none was asked for: the model's own where the stack runs that, else its usual."""
        if self.dtype is not None:
            return self
        usual = self.stack.dtypes
        if not usual or dtype in usual:
            return replace(self, dtype=dtype)
        said = f"Dense and pruned run in {usual[0]}: {self.stack.toolchain} has no sparse kernels for {dtype}."
        return replace(self, dtype=usual[0], remarks=(*self.remarks, said))


def choose(
    target: str,
    *,
    pattern: str | None = None,
    sparsity: float | None = None,
    importance: str = "magnitude",
    allocation: str = "uniform",
    dense: Sequence[str] = (),
    permute: bool = False,
    toolchain: str | None = None,
    dtype: str | None = None,
    keep_all: bool = False,
    threads: int = 1,
    batch: int | None = None,
    timeout_s: float = 1800,
) -> Choice:
    """Check the options and settle on a toolchain; raises InputError for whatever cannot be done as asked."""
    for name, value in (("target", target), ("pattern", pattern), ("toolchain", toolchain), ("dtype", dtype)):
        if value is not None and not isinstance(value, str):
            raise InputError(f"--{name} is {value!r} of type {type(value).__name__}; it has to be a string.")
    row, named = find_target(target)
    if named and toolchain and named != toolchain:
        raise InputError(
            f"--target {target} names the toolchain {named} and --toolchain {toolchain}. Give one of them."
        )
    for name, value, known in (("importance", importance, Importance), ("allocation", allocation, Allocation)):
        if value not in get_args(known):
            raise InputError(f"There is no {name} {value!r}. It is {_either(get_args(known))}.")
    _check_whole_number("threads", threads, most=cores())
    if batch is not None:
        _check_whole_number("batch", batch)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s > 0:
        raise InputError(f"--timeout is {timeout_s!r}; it is a number of seconds above 0.")
    given = None if pattern is None else parse_pattern(pattern)
    if sparsity is not None:
        _check_sparsity(sparsity, given)

    stack, obstacle, remarks = _settle(row, toolchain or named)
    settled = given or parse_pattern(stack.pattern)
    _check_method(settled, importance, allocation, permute=permute)
    return Choice(
        row,
        stack,
        _dtype(dtype, stack),
        settled,
        _sparsity(sparsity, settled, stack),
        cast("Importance", importance),
        cast("Allocation", allocation),
        _names_of(dense),
        permute,
        keep_all,
        threads,
        batch,
        timeout_s,
        obstacle,
        remarks,
    )


def _check_whole_number(name: str, value: Any, most: int | None = None) -> None:
    """Raise InputError unless `value` is a whole number from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"--{name} is {value!r}; a whole number is needed, at least 1.")
    if most is not None and value > most:
        raise InputError(
            f"--{name} is {value}, and this machine has {most} cores; more would only wait for each other."
        )


def _check_method(pattern: Pattern, importance: str, allocation: str, *, permute: bool) -> None:
    """Raise InputError for what does not go together."""
    fitting = CHANNEL_IMPORTANCE if isinstance(pattern, Channel) else WEIGHT_IMPORTANCE
    if importance not in fitting:
        raise InputError(
            f"--importance {importance} ranks {'channels' if importance == 'taylor' else 'single weights'}, and the "
            f"pattern is {pattern}. For that it is {_either(fitting)}."
        )
    if allocation.startswith("sensitivity") and isinstance(pattern, NM):
        raise InputError(
            f"--allocation {allocation} gives each layer a share of its own, and {pattern} fixes it: every layer loses "
            f"{pattern.sparsity:.0%}. Leave --allocation out, and name the layers to leave alone with --dense."
        )
    if allocation == "global" and importance == "second-order":
        raise InputError(
            "--importance second-order solves one layer after the other, and --allocation global ranks all of them "
            "together. Take --allocation sensitivity, or --importance activation."
        )
    if permute and not isinstance(pattern, (NM, Block)):
        raise InputError(
            f"--permute moves input channels so that groups or blocks hold more, and {pattern} has neither. Leave it "
            "out."
        )


def _names_of(dense: Sequence[str]) -> tuple[str, ...]:
    names = (dense,) if isinstance(dense, str) else tuple(dense)
    if not all(isinstance(name, str) and name for name in names):
        raise InputError(f"--dense is {dense!r}; it takes the names of layers, such as head or layers.0.*")
    return names


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_sparsity(sparsity: float, pattern: Pattern | None) -> None:
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)) or not 0 < sparsity < 1:
        raise InputError(
            f"--sparsity is {sparsity}; it is the share that is removed, above 0 and below 1, such as 0.5."
        )
    if isinstance(pattern, NM) and abs(sparsity - pattern.sparsity) > 1e-9:
        raise InputError(
            f"The pattern {pattern} removes {pattern.sparsity:.0%} by itself; --sparsity {sparsity:g} cannot be met. "
            "Leave --sparsity out, or choose another n:m."
        )


def _sparsity(asked: float | None, pattern: Pattern, stack: Stack) -> float:
    if isinstance(pattern, NM):
        _check_sparsity(pattern.sparsity if asked is None else asked, pattern)
        return pattern.sparsity
    return stack.sparsity if asked is None else asked


def _dtype(asked: str | None, stack: Stack) -> str | None:
    if asked is None:
        return None
    name = DTYPE_ALIASES.get(asked, asked)
    if not stack.dtypes:
        raise InputError(f"{stack.toolchain} runs a model as it comes, so --dtype {asked} has no say; leave it out.")
    if name not in stack.dtypes:
        raise InputError(f"{stack.toolchain} runs no {asked} for this target. It takes: {', '.join(stack.dtypes)}.")
    return name


def _settle(row: Target, named: str | None) -> tuple[Stack, Evidence | None, tuple[str, ...]]:
    """Take the toolchain named, or the first of the row that can be used here, and say what was passed over."""
    if named is not None:
        stack = _named_stack(row, named)
        return stack, obstacle_for(row, stack, probe_all([stack.toolchain])[stack.toolchain]), ()
    statuses = probe_all(stack.toolchain for stack in row.stacks)
    obstacles = [obstacle_for(row, stack, statuses[stack.toolchain]) for stack in row.stacks]
    usable = next((i for i, obstacle in enumerate(obstacles) if obstacle is None), 0)
    passed_over = tuple(
        f"{stack.toolchain} is preferred for {row.name} and was passed over: {obstacle.reason}"
        for stack, obstacle in zip(row.stacks[:usable], obstacles[:usable], strict=True)
        if obstacle is not None
    )
    return row.stacks[usable], obstacles[usable], passed_over


def _named_stack(row: Target, named: str) -> Stack:
    for stack in row.stacks:
        if stack.toolchain == named:
            return stack
    toolchain_file(named)  # raises for a name that does not exist at all
    if "." in named:
        first = row.stacks[0]
        return replace(first, toolchain=named)
    served = ", ".join(stack.toolchain for stack in row.stacks)
    raise InputError(f"The target {row.name} is not served by {named}. Its toolchains are: {served}.")


def obstacle_for(row: Target, stack: Stack, status: Status) -> Evidence | None:
    """Return why this stack cannot measure the target on this machine, or None where it can."""
    if not status.available:
        return Evidence("unavailable", reason=status.reason, cure=status.cure)
    host = platform.machine()
    if stack.device == "CPU" and host not in row.hosts:
        return Evidence(
            "unavailable",
            reason=f"this machine is {host}, and a time taken on it is not a time of {row.chip}",
            cure=f"run the same line on such a machine ({' or '.join(row.hosts)})",
        )
    if stack.device not in status.devices:
        there = ", ".join(status.devices) or "none"
        return Evidence(
            "unavailable",
            reason=status.absent.get(stack.device) or f"no device {stack.device} was found here (there is: {there})",
            cure=stack.cure or f"run the same line on a machine with {row.chip} and its driver",
        )
    if row.capabilities:
        return _other_gpu(row, status.devices[stack.device], status.capabilities.get(stack.device))
    if stack.device != "CPU":
        return Evidence(
            "unavailable",
            reason=f"{stack.toolchain} finds {status.devices[stack.device]}, and this version measures CPUs and CUDA "
            "GPUs only",
            cure="pip install -U jupyter-hwprune, once a version measures it",
        )
    return None


def _other_gpu(row: Target, found: str, capability: str | None) -> Evidence | None:
    """Refuse a GPU of another generation: its kernels are others."""
    if capability in row.capabilities:
        return None
    fitting = [other.name for other in TARGETS if capability in other.capabilities]
    return Evidence(
        "unavailable",
        reason=f"the GPU here is {found} of compute capability {capability or 'unknown'}, and {row.chip} is of "
        f"{' or '.join(row.capabilities)}: other kernels",
        cure=f"use --target {fitting[0]}" if fitting else f"run the same line on a machine with {row.chip}",
    )
