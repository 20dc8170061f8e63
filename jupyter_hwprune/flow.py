"""The product on one screen: choose, prune, export, measure with the target's own compiler, report."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from .choose.choice import choose
from .choose.effort import FULL, Effort
from .choose.scoring import DenseScore, Score, Scorer, device_of
from .core.door import one_door
from .core.errors import PruneError
from .core.interrupts import heard, unbroken
from .core.torch_state import own_torch_state
from .keep.exported import Signature
from .keep.run import Run, required
from .keep.saved.structure import structure_of
from .measure.bench import Bench
from .measure.candidates import Findings
from .measure.compiled_score import with_scores
from .measure.rating import Settled, give_up, keep_trained, return_losers, settled_by_estimates
from .measure.trial import tried_dense
from .measure.writing import bench_for, measure
from .pruning import Pruned, copy_modes, fingerprint
from .pruning.prepared import Made, Prepared, prepare
from .pruning.taking import take
from .pruning.training import Finetune, Subject, Training
from .pruning.training.recovery import Recovery
from .pruning.training.schedule import check_steps
from .recipe import apply_recipe
from .report import NOT_COMPARED, Fingerprints, Scores
from .reporting.asked import Asked
from .reporting.compose import report_of_run
from .search import search
from .toolchains.folders import remove
from .toolchains.process import Progress, new_folder


@heard()
@one_door(PruneError)
def hwprune(
    model: nn.Module,
    example: Any,
    *,
    target: str = "cpu",
    pattern: str | None = None,
    sparsity: float | None = None,
    importance: str = "auto",
    solver: str = "full",
    tune_blocks: int | None = None,
    allocation: str = "uniform",
    dense: Sequence[str] = (),
    permute: bool = False,
    toolchain: str | None = None,
    tune_kernels: float | None = None,
    rpc: str | None = None,
    rpc_key: str | None = None,
    dtype: str | None = None,
    int8_error: float | None = None,
    config: Sequence[str] = (),
    keep_all: bool = False,
    keep_statistics: bool = False,
    threads: int = 1,
    batch: int | None = None,
    score: Score | None = None,
    latency_ms: float | None = None,
    speedup: float | None = None,
    energy_mj: float | None = None,
    power_mw: float | None = None,
    size_mb: float | None = None,
    max_drop: float | None = None,
    finetune: Finetune | None = None,
    schedule: str = "one-shot",
    steps: int = 1,
    recover: int | None = None,
    recipe: str | Path | None = None,
    calib: Any = None,
    timeout_s: float = 1800,
    require: str | None = None,
    ignore: Sequence[str] = (),
    effort: Effort = FULL,
    progress: Progress = lambda _phase, _detail: None,
    name: str = "model",
    input_name: str | None = None,
    recipe_name: str | None = None,
    calib_name: str | None = None,
) -> Run:
    """Prune a copy of `model` for a chip, and measure the gain with the chip's own compiler.

    `example` is the model's input: a tensor, a tuple of arguments or a dict of keyword arguments; `batch` repeats or
    cuts its rows. `targets()` lists the values for `target`, `pattern` and `toolchain`; None takes the target's own.
    `sparsity` is the share to remove, above 0 and below 1. `importance` ranks the weights: "magnitude", "activation"
    (Wanda's product, for single weights), "taylor" (for channels), or "second-order" (the optimal-brain family for
    both, which also corrects the remaining weights); "auto" is second order for channels that go at once where there is
    `calib` and it takes seconds, and magnitude elsewhere. All but these two look at `calib`: one input like the
    example, a list of them, or a DataLoader; None takes the example. `calib` also gives BatchNorm new running
    statistics, unless `keep_statistics`. `solver` is how long second order searches for zeros: "quick", "full" or
    "best". `tune_blocks` then trains the weights left in each block for so many steps, without labels, to give the
    dense block's output on `calib`. `allocation` distributes the sparsity: "uniform", "global" (all layers ranked
    together), "sensitivity" (by a scan of the output's error), "sensitivity:score" (of the score) or "mixed" (of the
    error, by an exact knapsack). `dense` names the layers to leave unpruned, wildcards allowed. `permute` reorders
    input channels, so that n:m or blocks lose less.

    `dtype` is the data type of both models on a GPU. On a CPU it may be "int8": the runtime's own library quantises
    dense and pruned with `calib`, all four are timed in turn, and the fastest is the one compared with dense in float;
    `score` is then also taken on the compiled int8 models, and layers stay in float where `int8_error` is a share of
    the outputs' largest value that these would move by otherwise. `config` are parts of the configuration of a chip
    that has several. For `tune_kernels` seconds a toolchain that tunes first tries schedules of both models' kernels.
    `rpc` is where a board's own server is reached, "HOST:PORT", and `rpc_key` the board to ask a tracker there for: the
    models are compiled here, and checked and timed on the board. A layer that gains nothing by its zeros gets its dense
    weights back, if the toolchain can time it, unless `keep_all`. `score` gives a model's score, higher is better.
    `finetune` trains the copy it receives after each of the `steps` of the `schedule` (one-shot, iterative, cubic). The
    zeros survive any optimiser, its return value is ignored, and all layers stay pruned. `recover` trains for this many
    steps instead, without labels, to reproduce the
    dense model's outputs on the rows of `calib`. `recipe` is a SparseML recipe, as a file or text, and replaces all of
    these. A goal (`latency_ms` of a batch, `speedup` over dense, `energy_mj`, `power_mw`, `size_mb` of its files, and
    `max_drop` of the score) replaces the sparsity: a search finds the plan that loses least within it. `effort` limits
    the rounds and seconds of a measurement, `timeout_s` the toolchain's worker. The model, its mode and torch's random
    state stay as they are, except for random numbers that `score` and `finetune` draw. `require` is what the run must
    reach, such as "speedup>=1.3, drop<=0.01"; `ignore` are codes of mistakes to leave out of the report.

    Raises InputError, PruneError, ExportError or MismatchError, and RequirementError with the run in it. If a toolchain
    is missing, crashes or takes too long, the report's verdict is "not measured".
    """
    asked = Asked.of(locals())
    choice = choose(**asked.chosen, looking=partial(progress, "find", "toolchains"))
    check_steps(choice.pattern, steps)
    with _folder_of_run() as folder:
        progress("prune", str(choice.pattern) if asked.recipe is None else asked.recipe.name)
        taken = take(model)
        own = taken.model.eval()
        dense_score = DenseScore(None if score is None else Scorer(score, model, optional=finetune is not None), own)
        dense_score()
        ready = prepare(own, example, choice, calib, dense_score.scorer, asked.line, **asked.ways)
        made = _pruned(asked, ready, dense_score, Subject(model, name, own, ready.start), folder)
        pruned = made.pruned.remarked(*taken.remarks, *ready.remarks)
        facts = (folder, progress, effort, ready.calibration, ready.outputs)
        bench = bench_for(ready.start, ready.inputs, made.choice, *facts)
        settled, found = _measured(asked, bench, ready, pruned)
        found, scores = _scored(bench, ready, settled, found, dense_score)
        prints = Fingerprints(fingerprint(own), fingerprint(settled.pruned.model))
        report = report_of_run(asked, taken.arrived, made, settled, ready.inputs.batch, found, scores, prints)
        finished = copy_modes(model, settled.pruned.model, settled.pruned.blocks).to(device_of(model))
        structure = structure_of(ready.start, finished, settled.pruned.keep, settled.pruned.blocks)
        signature = Signature(ready.inputs, found.any_batch, found.fixed_batch)
        run = Run(finished, report, found.files, folder, structure, signature)
    return required(run, asked.requirements)


def _pruned(asked: Asked, ready: Prepared, dense_score: DenseScore, subject: Subject, folder: Path) -> Made:
    """Prune as asked: by a recipe, by the plan that a search finds for the goal, along a training, or at once."""
    choice, progress, scorer = ready.choice, asked.given["progress"], dense_score.scorer
    tell = partial(progress, "prune")
    if asked.recipe is not None:
        with own_torch_state():
            return apply_recipe(
                asked.recipe, subject.dense, ready.inputs, asked.given["calib"], choice, folder, progress
            )
    step = asked.given["finetune"]
    if asked.given["recover"] is not None:
        score = None if scorer is None else scorer.maybe
        keeps = choice.keep_statistics
        step = Recovery(ready.start, ready.calibration, asked.given["recover"], keeps, score, progress)
    schedule, steps = asked.given["schedule"], asked.given["steps"]
    about = (ready.inputs, ready.served, scorer, progress)
    training = None if step is None else Training(subject, step, schedule, steps, *about)
    if asked.goal is not None:
        pruned, found = search(asked.goal, ready, dense_score, training, progress)
        return Made(pruned, replace(choice, sparsity=found.share), search=found)
    prune = partial(ready.prune, tell)
    if training is not None:
        return Made(training.along(prune, choice.pattern, choice.sparsity), choice)
    pruned = prune(ready.start, choice.pattern, choice.sparsity)
    if pruned.fell_back:
        choice = replace(choice, importance="magnitude")
    return Made(ready.tuned(ready.with_own_statistics(pruned, scorer and scorer.maybe), tell), choice)


@own_torch_state()
def _measured(asked: Asked, bench: Bench, ready: Prepared, pruned: Pruned) -> tuple[Settled, Findings]:
    """Give layers that gain nothing their dense weights back and measure; if the whole model is slower, restore all.

    After training, every layer stays pruned. Layers that were pruned at once and got slower are tried dense as well.
    """

    def tuned(settled: Settled) -> Settled:
        return replace(settled, pruned=ready.tuned(ready.with_own_statistics(settled.pruned), tell))

    tell = partial(bench.progress, "prune")
    settled = return_losers(bench, ready.start, pruned, ready.inputs)
    if asked.trains:
        settled = keep_trained(settled, pruned)
    elif settled.pruned.returned:
        settled = tuned(settled)
    found = measure(bench, ready.start, settled, ready.inputs)
    while not asked.trains and (fewer := settled_by_estimates(ready.start, settled, found)) is not settled:
        settled = tuned(fewer)  # each time with fewer layers
        found = measure(bench, ready.start, settled, ready.inputs)
    comparison = found.timed.comparison if found.timed else NOT_COMPARED
    if comparison.verdict == "slower" and settled.rated and not asked.trains and not bench.choice.keep_all:
        settled = give_up(ready.start, settled, comparison)
        found = measure(bench, ready.start, settled, ready.inputs)
    if asked.at_once:  # else the line with --dense would give another model
        found = replace(found, tried=tried_dense(bench, ready, settled, found))
    return settled, found


def _scored(
    bench: Bench, ready: Prepared, settled: Settled, found: Findings, dense_score: DenseScore
) -> tuple[Findings, Scores | None]:
    """Score dense and pruned, and what was compiled of them in int8."""
    scorer, pruned = dense_score.scorer, settled.pruned.model
    if scorer is None:
        return found, None
    scores = scorer.both(dense_score(), pruned)
    return with_scores(bench, found, (ready.start, pruned), ready.inputs, scorer, scores), scores


@contextlib.contextmanager
def _folder_of_run() -> Iterator[Path]:
    """Make the folder of a run's files; it is removed with the run, or at once if the run fails."""
    folder = new_folder()
    try:
        yield folder
    except BaseException:
        with unbroken():
            remove(folder)
        raise
