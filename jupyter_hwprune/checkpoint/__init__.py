"""`--from FOLDER`: prune a transformers model that is larger than memory, block by block, from files to files.

The weights of one block are in memory at a time, in float32. The activations that the calibration inputs give go from
block to block on the disk, twice: those of the dense model, to measure errors by, and those of the pruned one, on which
each layer is pruned. Each block is written once it is pruned, so a run that was ended goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..choose.checks import WEIGHT_IMPORTANCE, either
from ..choose.choice import Choice, choose
from ..core.door import one_door
from ..core.errors import InputError, NothingFitsError, PruneError
from ..core.interrupts import heard
from ..core.options import AUTO
from ..core.pattern import Channel, Depth, parse_pattern
from ..core.torch_state import own_torch_state
from ..keep.run import Shown
from ..measure.candidates import Findings
from ..mistakes import check_codes, silenced
from ..pruning import damped
from ..pruning.allocation import leave_dense
from ..pruning.knapsack import divide
from ..pruning.layers import layers_with_weights
from ..report import Blockwise, Evidence, Fingerprints, Report, Sensitivity, Totals, Untimed
from ..reporting.compose import compose, request_of
from ..toolchains.process import Progress
from . import memory
from .calls import Calls, calls_of, fingerprint, read_batches
from .journal import REPORT, Output, groups_of
from .line import Line
from .scan import scan
from .skeleton import Skeleton
from .source import Source

NOT_TIMED = Evidence(
    "unavailable",
    reason="the model went from files to files, one block in memory at a time, so it never was here as a whole",
    cure="load the new folder with from_pretrained on a machine that it fits on, and time it there",
)


@heard()
@one_door(PruneError)
def prune_folder(
    source: str | Path,
    *,
    out: str | Path | None = None,
    target: str = "cpu",
    pattern: str | None = None,
    sparsity: float | None = None,
    importance: str = AUTO,
    solver: str = "full",
    allocation: str = "uniform",
    dense: Sequence[str] = (),
    calib: Any = None,
    ignore: Sequence[str] = (),
    progress: Progress = lambda _phase, _detail: None,
    calib_name: str | None = None,
) -> Shown:
    """Prune the transformers model in the folder `source` into the new folder `out`, with one block in memory.

    The folder is as `save_pretrained` writes it: config.json and safetensors files; so is the new one, which
    `from_pretrained` loads. `pattern` is one of zeros: n:m, blocks or single weights; what goes, by `importance` and
    `solver`, and what `dense` names, is as in `hwprune`; "auto" is by magnitude. `allocation` is "uniform", or "mixed":
    each layer is first pruned alone in its block, and shares are those with the least sum of the blocks' errors.
    `calib` are token numbers [rows, length], a dict of the model's inputs, or a list or DataLoader of those; without,
    weights can only go by their magnitude, and no error is measured. Weights are pruned in float32, and written in the
    dtype that they had.

    The same call with the same `out` goes on where an earlier one was ended. The report has the error, the time and the
    peak memory of each block; nothing is timed. Raises InputError for a folder, an option or inputs that do not fit,
    and PruneError where no layer does.
    """
    silent = check_codes(ignore)
    importance = "magnitude" if importance == AUTO else importance
    if out is None:
        raise InputError("--from reads a folder and writes another one: name that with --out.")
    _refuse_channels(pattern, importance)
    if allocation not in {"uniform", "mixed"}:
        raise InputError(
            f"--allocation {allocation} looks at all of the model at once, which --from never has in memory. Use "
            "uniform, or mixed, which looks at one block at a time."
        )
    ways = {"pattern": pattern, "sparsity": sparsity, "importance": importance, "solver": solver, "dense": dense}
    ways["allocation"] = allocation
    choice = choose(target, **ways, looking=partial(progress, "find", "toolchains"))  # type: ignore[arg-type]
    _refuse_channels(str(choice.pattern), importance)
    if calib is None and (importance != "magnitude" or allocation != "uniform"):
        what = f"--importance {importance}" if importance != "magnitude" else f"--allocation {allocation}"
        raise InputError(f"{what} looks at inputs, and there are none. Give --calib.")
    with own_torch_state():
        report = _written(Source.of(source), out, choice, calib, progress, calib_name)
    return Shown(silenced(report, silent))


def _refuse_channels(pattern: str | None, importance: str) -> None:
    what = None if pattern is None else parse_pattern(pattern)
    if isinstance(what, (Channel, Depth)) or importance == "taylor":
        raise InputError(
            f"--from makes zeros in one block after the other, and {what or importance} takes channels or blocks away, "
            "which go from all blocks at once: their outputs are added up. Use --pattern 2:4 (any n:m), 16x16 (any "
            f"AxB) or unstructured, by {either(WEIGHT_IMPORTANCE)}; or load the model, and prune it in memory."
        )


def _written(
    source: Source, out: str | Path, choice: Choice, calib: Any, progress: Progress, calib_name: str | None
) -> Report:
    """Prune into the folder, from the first block that is not done, and return the report, which is written there."""
    skeleton = Skeleton.of(source)
    batches = [] if calib is None else read_batches(calib)
    left_dense = leave_dense([name for name, _ in layers_with_weights(skeleton.model)], choice.dense)
    asked = {
        "model": source.fingerprint,
        "pattern": str(choice.pattern),
        "sparsity": choice.sparsity,
        "importance": choice.importance,
        "solver": choice.solver,
        "dense": sorted(left_dense),
        "allocation": choice.allocation,
        "calib": fingerprint(batches),
    }
    rest = groups_of(source, skeleton.rest, max(map(source.bytes_of, skeleton.of_blocks)))
    progress("prune", "what each block is called with")
    calls = calls_of(skeleton, batches) if batches else Calls()
    output = Output.of(out, source, len(rest) + len(skeleton.blocks), asked)
    line = Line(skeleton, calls, output, choice, frozenset(left_dense), progress, memory.now_bytes())
    sensitivity = None
    if choice.allocation == "mixed":
        sensitivity = output.remembered(partial(scan, line))
        line = replace(line, shares=divide(sensitivity, choice.sparsity))
    taken_up = len(output.done)
    _prune_blocks(line, len(rest), asked)
    total = output.finish(source, rest, skeleton.of_blocks)
    tokens = sum(batch.tensors[0].numel() for batch in batches)
    blocks = tuple(each.block for each in output.done)
    blockwise = Blockwise(str(source.folder), str(output.folder), total, output.files, tokens, blocks, taken_up)
    report = _report(source, choice, output, blockwise, sensitivity, calib_name)
    report.save(output.folder / REPORT)
    output.end()
    return report


def _prune_blocks(line: Line, files_before: int, asked: Mapping[str, Any]) -> None:
    """Prune and write the blocks that are not done; raises NothingFitsError if no layer of any lost weights."""
    output = line.output
    if not output.done:
        line.begin()
    for number in range(len(output.done), len(line.skeleton.blocks)):
        output.note(line.prune(number, files_before + number + 1), asked)
    if not any(each.layers for each in output.done):
        output.end()
        skipped = [layer for each in output.done for layer in each.skipped]
        said = "; ".join(f"{each.name}: {each.reason}" for each in skipped[:4])
        raise NothingFitsError(
            f"No layer of this model lost weights by {line.choice.pattern}. {said}.", "Use another one."
        )


def _report(
    source: Source,
    choice: Choice,
    output: Output,
    blockwise: Blockwise,
    sensitivity: Sensitivity | None,
    calib_name: str | None,
) -> Report:
    weights = sum(each.numel for each in source.tensors.values())
    raised = {name: damping for each in output.done for name, damping in each.raised.items()}
    choice = choice.for_model_in(str(source.config.get("dtype") or source.config.get("torch_dtype") or "float32"))
    return compose(
        choice,
        replace(request_of(choice, source.folder.name, 1), calib=calib_name),
        Findings(Untimed(NOT_TIMED), tuple(layer for each in output.done for layer in each.layers)),
        totals=Totals(weights, weights - sum(each.weights - each.left for each in blockwise.blocks), None, None),
        skipped=tuple(layer for each in output.done for layer in each.skipped),
        returned=(),
        scores=None,
        sensitivity=sensitivity,
        reasons=tuple(damped(raised)),
        versions={"torch": torch.__version__},
        fingerprints=Fingerprints(source.fingerprint, ""),
        blockwise=blockwise,
    )
