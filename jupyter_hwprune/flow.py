"""The product on one screen: choose, prune, export, measure with the target's own compiler, report."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from .choose.checks import check_goal
from .choose.choice import choose
from .choose.effort import FULL, Effort
from .choose.scoring import DenseScore, Score, Scorer, device_of
from .core.door import one_door
from .core.errors import InputError, PruneError
from .core.goal import Goal
from .core.interrupts import heard, unbroken
from .core.pattern import Depth
from .core.torch_state import own_torch_state
from .keep.exported import Signature
from .keep.run import Run, required
from .keep.saved.structure import structure_of
from .measure.bench import Bench
from .measure.candidates import Findings
from .measure.compiled_score import with_scores
from .measure.proof import bench_for, measure
from .measure.rating import Settled, give_up, keep_trained, return_losers
from .measure.trial import tried_dense
from .mistakes import check_codes
from .pruning import Pruned, copy_modes, fingerprint
from .pruning.prepared import Prepared, prepare
from .pruning.taking import take
from .pruning.training import Finetune, Subject, Training
from .pruning.training.recovery import Recovery, check_recover
from .pruning.training.schedule import check_schedule
from .pruning.tuning import check_tune
from .recipe import RecipeRead, apply_recipe, read_recipe
from .report import NOT_COMPARED, Fingerprints
from .report.requirements import read_requirements
from .report.words.line import expression_of
from .reporting.compose import Asked, report_of_run
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
    importance: str = "magnitude",
    solver: str = "full",
    tune_blocks: int | None = None,
    allocation: str = "uniform",
    dense: Sequence[str] = (),
    permute: bool = False,
    toolchain: str | None = None,
    tune_kernels: float | None = None,
    dtype: str | None = None,
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
    both, which also corrects the weights that stay). All but "magnitude" look at `calib`: one input like the example, a
    list of them, or a DataLoader; None takes the example. `calib` also gives BatchNorm new running statistics, unless
    `keep_statistics`. `solver` is how long second order searches for zeros: "quick", "full" or "best". `tune_blocks`
    then trains the weights left in each block for so many steps, without labels, to give the dense block's output on
    `calib`. `allocation` distributes the sparsity: "uniform", "global" (all layers ranked together), "sensitivity" (by
    a scan of the output's error) or "sensitivity:score" (of the score). `dense` names the layers to leave unpruned,
    wildcards allowed. `permute` reorders input channels, so that n:m or blocks lose less.

    `dtype` is the data type of both models on a GPU. On a CPU it may be "int8": the runtime's own library quantises
    dense and pruned with `calib`, all four are timed in turn, and the fastest is the one compared with dense in float;
    `score` is then also taken on the compiled int8 models. `config` are parts of the configuration of a chip that has
    several. For `tune_kernels` seconds a toolchain that tunes first tries schedules of both models' kernels. A
    layer that gains nothing by its zeros gets its dense weights back, if the toolchain can time it, unless
    `keep_all`. `score` rates a model, higher is better. `finetune` trains the copy it receives after each of the
    `steps` of the `schedule` (one-shot, iterative, cubic). The zeros survive any optimiser, its return value is
    ignored, and all layers stay pruned. `recover` trains for so many steps in its place, without labels, to give the
    dense model's outputs on the rows of `calib`. `recipe` is a SparseML recipe, as a file or text, and replaces all of
    these. A goal (`latency_ms` of a batch, `speedup` over dense, `energy_mj`, `power_mw`, `size_mb` of its files, and
    `max_drop` of the score) takes the place of the sparsity: a search finds the plan that loses least within it.
    `effort` limits the rounds and seconds of a measurement, `timeout_s` the toolchain's worker. The model, its mode and
    torch's random state stay as they are, except for random numbers that `score` and `finetune` draw. `require` is what
    the run has to reach, such as "speedup>=1.3, drop<=0.01"; `ignore` are codes of mistakes that the report says
    nothing of.

    Raises InputError, PruneError, ExportError or MismatchError, and RequirementError with the run in it. If a toolchain
    is missing, crashes or takes too long, the report's verdict is "not measured".
    """
    silent = check_codes(ignore)
    requirements = () if require is None else read_requirements(require)
    check_schedule(schedule, steps, finetune, recovers=recover is not None)
    check_recover(recover, calib=calib, has_cell=finetune is not None, has_recipe=recipe is not None)
    beside = {"the cell": finetune is not None, "--recover": recover is not None, "a recipe": recipe is not None}
    trains = finetune is not None or recover is not None
    limits = {"latency_ms": latency_ms, "speedup": speedup, "energy_mj": energy_mj, "power_mw": power_mw}
    goal = Goal.of(**limits, size_mb=size_mb, max_drop=max_drop)
    method = {
        "importance": importance,
        "solver": solver,
        "tune_blocks": tune_blocks,
        "allocation": allocation,
        "dense": dense,
        "permute": permute,
    }
    asked: dict[str, Any] = {"pattern": pattern, "sparsity": sparsity, **method}
    check_goal(goal, sparsity, recipe, tune_kernels)
    check_tune(tune_blocks, calib=calib, others=beside | {"the search for a goal": goal is not None})
    recipe_read = None if recipe is None else _recipe(recipe, recipe_name, asked, finetune, progress)
    asked |= {"toolchain": toolchain, "dtype": dtype, "keep_all": keep_all, "keep_statistics": keep_statistics}
    asked |= {"threads": threads, "batch": batch, "config": config, "tune_kernels": tune_kernels}
    choice = choose(target, **asked, timeout_s=timeout_s)
    if steps > 1 and isinstance(choice.pattern, Depth):
        raise InputError(
            f"--steps is {steps}, but the pattern depth removes its blocks in one step. Remove --schedule."
        )
    with _folder_of_run() as folder:
        progress("prune", str(choice.pattern) if recipe_read is None else recipe_read.name)
        taken = take(model)
        own = taken.model.eval()
        scorer = None if score is None else Scorer(score, model, optional=finetune is not None)
        dense_score = DenseScore(scorer, own)
        dense_score()
        line = asked | {"model": name, "input": input_name, "target": target, "calib": calib_name, "schedule": schedule}
        line |= limits | {"size_mb": size_mb, "max_drop": max_drop, "require": require, "ignore": silent}
        line |= {"steps": steps, "recover": recover, "eval": expression_of(score), "timeout": timeout_s}
        line |= {"cell": finetune is not None}
        how = {"looks_at_inputs": recipe_read is None, "searches": goal is not None}
        how |= {"trains": finetune is not None, "recovers": recover is not None}
        ready = prepare(own, example, choice, calib, scorer, line, **how)
        choice = ready.choice
        tell = partial(progress, "prune")
        prune = partial(ready.prune, tell)
        subject = Subject(model, name, own, ready.start)
        about = (schedule, steps, ready.inputs, ready.served, progress)
        step = finetune if recover is None else _recovery(ready, recover, scorer, progress)
        training = None if step is None else Training(subject, step, *about)
        versions: dict[str, str] = {}
        searched = None
        if recipe_read is not None:
            with own_torch_state():
                applied = apply_recipe(recipe_read, own, ready.inputs, calib, choice, folder, progress)
            pruned, choice, versions = applied.pruned, applied.choice, applied.versions
        elif goal is not None:
            pruned, searched = search(goal, ready, dense_score, training, progress)
            choice = replace(choice, sparsity=searched.share)
        elif training is not None:
            pruned = training.along(prune, choice.pattern, choice.sparsity)
        else:
            pruned = prune(ready.start, choice.pattern, choice.sparsity)
            pruned = ready.tuned(ready.with_own_statistics(pruned, scorer and scorer.maybe), tell)
        calibration, outputs = ready.calibration, ready.outputs
        bench = bench_for(ready.start, ready.inputs, choice, folder, progress, effort, calibration, outputs)
        pruned = pruned.remarked(*taken.remarks, *ready.remarks)
        settled, found = _measured(bench, ready, pruned, tell, trained=trains)
        if not trains and goal is None and recipe_read is None:  # else the line with --dense would give another model
            found = replace(found, tried=tried_dense(bench, ready, settled, found))
        scores = None if scorer is None else scorer.both(dense_score(), settled.pruned.model)
        if scorer is not None:
            models = (ready.start, settled.pruned.model)
            found = with_scores(bench, found, models, ready.inputs, scorer, scores)
        words = Asked(
            name, input_name, calib_name, recipe_read, schedule, steps, recover, trains, taken.arrived, silent
        )
        prints = Fingerprints(fingerprint(own), fingerprint(settled.pruned.model))
        report = report_of_run(words, settled, ready.inputs.batch, found, scores, prints, versions, searched)
        finished = copy_modes(model, settled.pruned.model, settled.pruned.blocks).to(device_of(model))
        structure = structure_of(ready.start, finished, settled.pruned.keep, settled.pruned.blocks)
        signature = Signature(ready.inputs, found.any_batch, found.fixed_batch)
        run = Run(finished, report, found.files, folder, structure, signature)
    return required(run, requirements)


def _recipe(
    source: str | Path, name: str | None, asked: Mapping[str, Any], finetune: Finetune | None, progress: Progress
) -> RecipeRead:
    """Read the recipe first, and refuse options that it sets itself."""
    if finetune is not None:
        raise InputError(
            "A recipe prunes in one step, by its own patterns, and takes no fine-tune step. Use --pattern instead."
        )
    for option, value in asked.items():
        if value not in (None, "magnitude", "full", "uniform", (), [], False):
            raise InputError(f"--{option} is {value}, but the recipe sets that itself. Give one of the two.")
    return read_recipe(source, progress, name)


def _recovery(ready: Prepared, steps: int, scorer: Scorer | None, progress: Progress) -> Recovery:
    score = None if scorer is None else scorer.maybe
    return Recovery(ready.start, ready.calibration, steps, ready.choice.keep_statistics, score, progress)


@own_torch_state()
def _measured(
    bench: Bench, ready: Prepared, pruned: Pruned, tell: Callable[[str], None], *, trained: bool
) -> tuple[Settled, Findings]:
    """Give layers that gain nothing their dense weights back and measure; if the whole model is slower, restore all.

    After training, every layer stays pruned.
    """
    settled = return_losers(bench, ready.start, pruned, ready.inputs)
    if trained:
        settled = keep_trained(settled, pruned)
    elif settled.pruned.returned:
        settled = replace(settled, pruned=ready.tuned(ready.with_own_statistics(settled.pruned), tell))
    found = measure(bench, ready.start, settled, ready.inputs)
    comparison = found.timed.comparison if found.timed else NOT_COMPARED
    if comparison.verdict == "slower" and settled.rated and not trained and not bench.choice.keep_all:
        settled = give_up(ready.start, settled, comparison)
        found = measure(bench, ready.start, settled, ready.inputs)
    return settled, found


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
