"""Measure before any training what each pattern would gain with each toolchain: compile and time pruned copies now.

The time of a structure does not depend on trained weights, so its answer is known before anything is trained for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ...choose.choice import Choice
from ...choose.effort import QUICK, Effort
from ...core.door import one_door
from ...core.errors import ToolchainError
from ...core.interrupts import heard
from ...core.pattern import Depth, Unstructured
from ...core.torch_state import own_torch_state
from ...pruning import fingerprint
from ...pruning.prepared import prepare
from ...pruning.suiting import dtype_of
from ...pruning.taking import take
from ...toolchains import manifest_of
from ...toolchains.process import Progress
from ..simulation import simulate
from .choosing import choices_of, split
from .following import line_of, needs_of, would_pay
from .levels import Trial, no_int8, trials, without_kernels
from .measuring import Workshop, measured, unmeasured
from .remembered import Memory, structure_of
from .result import Advice
from .rows import Absent, Advised, best_of, ranked

__all__ = ["Absent", "Advice", "Advised", "advise"]

SIMULATED = "simulated"  # the trial's name, where a toolchain imposes zeros on the dense model by itself


@heard()
@one_door(ToolchainError)
def advise(
    model: nn.Module,
    example: Any,
    *,
    target: str | Sequence[str] = "cpu",
    toolchain: str | None = None,
    calib: Any = None,
    config: Sequence[str] = (),
    threads: int = 1,
    batch: int | None = None,
    timeout_s: float = 1800,
    fresh: bool = False,
    effort: Effort = QUICK,
    progress: Progress = lambda _phase, _detail: None,
    name: str = "model",
    input_name: str | None = None,
    calib_name: str | None = None,
) -> Advice:
    """Measure, before training, what each pattern would gain at each level with each toolchain that works here.

    Copies of the model are pruned by magnitude, compiled, checked and timed, all of a toolchain in turn; nothing is
    trained, so the answer tells nothing about accuracy. `example` is the model's input, as for `hwprune`. `target` may
    name several chips, with commas or as a list, or be "all": those that can be timed, estimated or compiled for here.
    Toolchains that are used only when named are left out unless `toolchain` or chip:toolchain names one. `calib` are
    inputs to quantise with, where the toolchain makes int8 models and the CPU has fast products for them, or where the
    chip knows integers only. `config` is that of a chip that has several.

    A pattern that does not fit, or a toolchain that fails, is a row with its reason. What an earlier call has measured
    for this structure on this machine, with the same versions, is remembered unless `fresh`. Raises InputError.
    """
    asked = choices_of(target, toolchain, config=config, threads=threads, batch=batch, timeout_s=timeout_s)
    taken = take(model)
    own = taken.model.eval()
    able, absent = split(asked)
    choices = [each.for_model_in(dtype_of(own)) for each in able]
    no_more = {"searches": False, "trains": False, "recovers": False, "may_rank": False}
    ready = prepare(own, example, asked[0], calib, None, {}, looks_at_inputs=True, **no_more)
    shop = Workshop(ready, effort, progress)
    structure = None
    if choices:
        progress("trace", name)
        with own_torch_state():
            structure = structure_of(own, ready.inputs)
    rows: list[Advised] = []
    for choice in choices:
        memory = Memory(structure, choice, effort, fresh=fresh)
        rows += _tried(shop, choice, memory)
        if manifest_of(choice.judge.toolchain).simulates:
            rows += _simulated(shop, choice, memory, name)
    rows = list(ranked(rows))
    best = best_of(rows)
    needs = () if best is None else needs_of(best, calib_name)
    line = {
        "model": name,
        "input": input_name,
        "config": config,
        "threads": threads,
        "batch": batch,
        "timeout": timeout_s,
    }
    return Advice(
        name,
        threads,
        ready.inputs.batch,
        tuple(rows),
        best,
        None if best is None else line_of(best, line, calib_name),
        tuple(would_pay(asked, rows, line)) if best is None else (),
        absent,
        tuple(dict.fromkeys([*taken.remarks, *(said for each in choices for said in each.remarks), *needs])),
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def _tried(shop: Workshop, choice: Choice, memory: Memory) -> Iterator[Advised]:
    """Yield the rows of one toolchain, those that are known from an earlier call without measuring."""
    for trial, evidence in without_kernels(choice):
        yield unmeasured(choice, trial, evidence)
    wanted, int8 = trials(choice.judge), Trial(None, int8=True)
    why_not = no_int8(choice)
    if why_not is None:
        wanted.append(int8)
    elif choice.way == "run" and choice.target.kind == "cpu":
        yield unmeasured(choice, int8, why_not)
    weights = fingerprint(shop.ready.start)
    packs = manifest_of(choice.judge.toolchain).calibrates  # what a compiler packs depends on the weights
    names = {trial: f"{trial} {weights if packs or isinstance(trial.pattern, Depth) else ''}" for trial in wanted}
    for name in names.values():
        yield from memory.rows(name)
    for trial, rows in measured(shop, choice, [trial for trial, name in names.items() if not memory.rows(name)]):
        if all(row.evidence.kind != "unavailable" for row in rows):
            memory.keep(names[trial], rows)
        yield from rows


def _simulated(shop: Workshop, choice: Choice, memory: Memory, name: str) -> list[Advised]:
    """Return the times of the dense model with zeros at random, as the toolchain itself imposes them."""
    known = memory.rows(SIMULATED)
    if known:
        return known
    inputs = shop.ready.inputs
    found = simulate(
        shop.ready.start,
        inputs.args or inputs.kwargs,
        target=choice.target.name,
        toolchain=choice.judge.toolchain,
        threads=choice.threads,
        timeout_s=choice.timeout_s,
        progress=shop.progress,
        name=name,
    )
    rows = [
        replace(
            unmeasured(choice, Trial(Unstructured(), each.sparsity), found.evidence),
            dense_ms=found.dense_ms,
            ms=each.ms,
            speed=each.speed,
            samples_ms=each.samples_ms,
        )
        for each in found.rows
    ]
    if rows:
        memory.keep(SIMULATED, rows)
    return rows or [unmeasured(choice, Trial(Unstructured()), found.evidence)]
