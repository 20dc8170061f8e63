"""Prepare what is pruned and measured: the inputs checked, the toolchain suited to the model, the data looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ..choose.choice import Choice
from ..choose.scoring import Scorer
from ..core.errors import NothingFitsError, PruneError
from ..core.example import Example, require_runs
from ..core.outputs import remark_on_left_out
from ..core.pattern import Depth, Pattern
from ..core.torch_state import own_torch_state
from ..report import Search
from . import Pruned, plan_and_prune, reordered
from .batch_norm import with_own_statistics
from .depth import Blocks
from .graph.outputs import output_names
from .method import Method, calibrated, can_rank, reason_too_long
from .served import Served
from .suiting import dtype_of, line_that_fits, suited
from .tuning import check_rows, tuned


@dataclass(frozen=True)
class Prepared:
    """What to prune and measure, and how: `start` is the dense copy, its channels reordered with `permute`.

    `outputs` are their names. `calibration` are the batches to look at, of the example alone unless `calib_given`.
    """

    start: nn.Module
    inputs: Example
    choice: Choice
    method: Method
    outputs: tuple[str, ...]
    calibration: Sequence[Example]
    calib_given: bool
    served: Served | None
    remarks: tuple[str, ...]
    line: Mapping[str, Any]
    _tried: list[Blocks] = field(default_factory=list, compare=False)

    def blocks(self, progress: Callable[[str], None] = lambda _block: None) -> Blocks:
        """Return the residual blocks of the start, which are tried on first use."""
        if not self._tried:
            self._tried.append(Blocks.of(self.start, self.inputs, self.method, progress))
        return self._tried[0]

    def with_dense(self, dense: tuple[str, ...]) -> Prepared:
        """Return the same with these layers left dense."""
        return replace(self, choice=replace(self.choice, dense=dense), method=replace(self.method, dense=dense))

    @own_torch_state()
    def with_own_statistics(self, pruned: Pruned, score: Callable[[nn.Module], float | None] | None = None) -> Pruned:
        """Estimate BatchNorm's running statistics anew from the calibration inputs."""
        if self.choice.keep_statistics or not pruned.layers:
            return pruned
        own_inputs = self.calibration if self.calib_given else ()
        refitted = self.choice.importance == "second-order" and bool(pruned.keep) and not pruned.fell_back
        return with_own_statistics(pruned, self.start, own_inputs, score, refitted=refitted)

    @own_torch_state()
    def tuned(self, pruned: Pruned, progress: Callable[[str], None] = lambda _block: None) -> Pruned:
        """Train each block towards the dense model's, where that was asked for; see `tuning`."""
        if self.choice.tune_blocks is None or not pruned.layers:
            return pruned
        names = [layer.name for layer in pruned.layers]
        steps = self.choice.tune_blocks
        model, said = tuned(self.start, pruned.model, names, pruned.keep, self.calibration, steps, progress)
        return replace(pruned, model=model, tuning=said)

    @own_torch_state()
    def prune(self, progress: Callable[[str], None], model: nn.Module, pattern: Pattern, sparsity: float) -> Pruned:
        """Return a pruned copy of `model`: the start, or one that was trained after the step before.

        Raises PruneError where nothing fits, with a line that does.
        """
        try:
            blocks = self.blocks(progress) if model is self.start and isinstance(pattern, Depth) else None
            of = (self.inputs, pattern, sparsity, self.method, self.served, progress)
            return plan_and_prune(model, *of, blocks=blocks)
        except NothingFitsError as error:
            if sparsity < self.choice.sparsity:
                raise  # an early step of several, which may be too small a share
            raise self.refused(error) from None

    def refused(self, error: NothingFitsError) -> PruneError:
        """Return the error with a line that fits as its end, or as it is where none does."""
        fitting = line_that_fits(self.choice, self.start, self.inputs, self.line, error.enough)
        if fitting is None:
            return error
        found = PruneError(f"{error.said} This line fits: {fitting}")
        found.line = fitting
        return found


@dataclass(frozen=True)
class Made:
    """The pruned model, the choice with the pattern and share that it got, and what gave them."""

    pruned: Pruned
    choice: Choice
    versions: dict[str, str] = field(default_factory=dict)
    search: Search | None = None


@own_torch_state()
def prepare(
    own: nn.Module,
    example: Any,
    choice: Choice,
    calib: Any,
    scorer: Scorer | None,
    line: Mapping[str, Any],
    *,
    looks_at_inputs: bool,
    searches: bool,
    trains: bool,
    recovers: bool,
    may_rank: bool,
) -> Prepared:
    """Check the inputs, suit the choice to the model, and read the data; `may_rank` leaves the importance to us."""
    inputs = Example.of(example).on_cpu()
    output = require_runs(own, inputs)
    left_out = remark_on_left_out(output)
    if choice.batch is not None:
        inputs = inputs.rebatched(choice.batch)
        require_runs(own, inputs)
    choice = suited(choice, own, inputs) if looks_at_inputs else choice.for_model_in(dtype_of(own))
    start, calibration, remarks = own, None, [left_out] if left_out else []
    if choice.permute:
        start, said = reordered(own, inputs, choice.pattern, choice.sparsity)
        remarks.append(said)
    if looks_at_inputs or choice.quantises:
        what = {"trains": trains, "searches": searches, "recovers": recovers}
        ranks = may_rank and can_rank(choice)
        wanted = replace(choice, importance="second-order") if ranks else choice
        calibration, more = calibrated(start, inputs, calib, wanted, scored=scorer is not None, **what)
        remarks += more
        if ranks and calibration is not None:
            why = reason_too_long(start, calibration.rows)
            choice, remarks = (wanted, remarks) if why is None else (choice, [*remarks, why])
    method = Method.of(choice, calibration, scorer, by_default=may_rank)
    batches = () if calibration is None else calibration.batches
    check_rows(choice.tune_blocks, sum(each.batch for each in batches))
    given = calib is not None
    outputs, served = tuple(output_names(output)), Served.of(choice)
    return Prepared(start, inputs, choice, method, outputs, batches, given, served, tuple(remarks), line)
