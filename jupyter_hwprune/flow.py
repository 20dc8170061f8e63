"""The product on one screen: choose, prune, export, prove in the target's own compiler, report."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .choice import Choice, choose
from .errors import InputError
from .example import Example, require_runs
from .pattern import Pattern
from .proof import prove
from .pruning import Pruned, copy_modes, copy_of, fingerprint, plan_and_prune, recount, reordered
from .pruning.method import Method, calibrated
from .pruning.served import Sparse24
from .rating import give_up, settle
from .recipe import RecipeRead, apply_recipe, read_recipe
from .report import Fingerprints
from .reporting import Asked, report_of_run
from .run import Run
from .saved.structure import structure_of
from .scoring import Score, Scorer, device_of
from .toolchains.process import Progress, new_folder, remove
from .training import Finetune, PruneStep, Subject, keep_trained, train_along
from .training.schedule import check_schedule, stages


def hwprune(
    model: nn.Module,
    example: Any,
    *,
    target: str = "cpu",
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
    score: Score | None = None,
    finetune: Finetune | None = None,
    schedule: str = "one-shot",
    steps: int = 1,
    recipe: str | Path | None = None,
    calib: Any = None,
    timeout_s: float = 1800,
    progress: Progress = lambda _phase, _detail: None,
    name: str = "model",
    input_name: str | None = None,
    recipe_name: str | None = None,
    calib_name: str | None = None,
) -> Run:
    """Prune a copy of `model` for a chip, and prove with the chip's own compiler what that bought.

    `example` is the model's input: a tensor, a tuple of arguments or a dict of keyword arguments; `batch` repeats or
    cuts its rows. `target`, `pattern` and `toolchain` are as `targets()` shows them, `None` takes the target's own.
    `sparsity` is the share removed, above 0 and below 1. `importance` says what is worth keeping: "magnitude",
    "activation" (Wanda's product), "second-order" (the optimal-brain family, which mends the weights that stay), or for
    channels "taylor". `calib` are the inputs that all but the first look at: one as the example is, a list of them, or
    a DataLoader; None takes the example. `allocation` shares the sparsity out: "uniform", "global" (ranked together),
    "sensitivity" (by a scan of the output's error, or "sensitivity:score" of the score). `dense` names layers to leave
    alone, wildcards too. `permute` lets input channels change places, so that n:m or blocks keep more.

    `dtype` is what a GPU runs both models in. A layer that gains nothing by its zeros gets its dense weights back,
    where the toolchain can tell, unless `keep_all`. `score` rates a model, higher is better. `finetune` trains the copy
    that it is given, after each of the `steps` in which `schedule` prunes (one-shot, iterative, cubic): the zeros hold
    whatever its optimisers do, its result is not looked at, and all layers stay pruned. `recipe` is a SparseML recipe,
    a file or its text, that prunes instead of all those. `timeout_s` bounds the toolchain's worker in seconds. The
    model itself, its mode, and torch's random state stay as they are (but for what `score` and `finetune` draw).

    Raises InputError, PruneError, ExportError or MismatchError; a toolchain that is missing, crashes or takes too long
    is no error but a report whose verdict is "not measured".
    """
    check_schedule(schedule, steps, finetune)
    method: dict[str, Any] = {"importance": importance, "allocation": allocation, "dense": dense, "permute": permute}
    asked = {"pattern": pattern, "sparsity": sparsity, **method, "finetune": finetune}
    recipe_read = None if recipe is None else _recipe(recipe, recipe_name, asked, progress)
    choice = choose(
        target,
        pattern=pattern,
        sparsity=sparsity,
        **method,
        toolchain=toolchain,
        dtype=dtype,
        keep_all=keep_all,
        threads=threads,
        batch=batch,
        timeout_s=timeout_s,
    )
    with _folder_of_run() as folder:
        progress("prune", str(choice.pattern) if recipe_read is None else recipe_read.name)
        own = copy_of(model).eval()
        choice = choice.for_model_in(_dtype(own))
        scorer = None if score is None else Scorer(score, model, optional=finetune is not None)
        dense_score = None if scorer is None else scorer.maybe(own)
        with _own_torch_state():
            inputs = _inputs(own, example, choice)
            start, remarks = _start(own, inputs, choice)
            calibration = None
            if recipe_read is None:
                calibration, said = calibrated(start, inputs, calib, choice, scored=scorer is not None)
                remarks += said
        sparse24 = Sparse24.of(choice)
        prune_step = _prune_step(inputs, Method.of(choice, calibration, scorer), sparse24, progress)
        if finetune is not None:  # in the user's own torch state, whose random numbers are theirs to draw
            growing = stages(schedule, choice.pattern, choice.sparsity, steps)
            trained = train_along(Subject(model, name, own, start), growing, prune_step, finetune, progress)
            if scorer is not None and dense_score is None:  # a cell knows its score only once it has run
                dense_score = scorer.maybe(own)
        with _own_torch_state():
            versions: dict[str, str] = {}
            if recipe_read is not None:
                applied = apply_recipe(recipe_read, own, inputs, calib, choice, folder, progress)
                pruned, choice, versions = applied.pruned, applied.choice, applied.versions
            elif finetune is not None:
                pruned = recount(start, inputs, trained, sparse24)
            else:
                pruned = prune_step(start, choice.pattern, choice.sparsity)
            pruned = pruned.remarked(*remarks)
            settled = settle(start, pruned, inputs, choice, folder, progress)
            if finetune is not None:
                settled = keep_trained(settled, pruned)
            proof = prove(start, settled, inputs, folder, progress)
            if finetune is None and proof.measurement.comparison.verdict == "slower" and settled.rated and not keep_all:
                settled = give_up(start, settled, proof.measurement.comparison)
                proof = prove(start, settled, inputs, folder, progress)
            fingerprints = Fingerprints(fingerprint(own), fingerprint(settled.pruned.model))
        scores = None if scorer is None else scorer.both(dense_score, settled.pruned.model)
        words = Asked(name, input_name, calib_name, recipe_read, schedule, steps, trained=finetune is not None)
        report = report_of_run(words, settled, inputs.batch, proof, scores, fingerprints, versions)
        finished = copy_modes(model, settled.pruned.model).to(device_of(model))
        return Run(finished, report, proof.files, folder, structure_of(start, finished, settled.pruned.keep))


def _recipe(source: str | Path, name: str | None, asked: Mapping[str, Any], progress: Progress) -> RecipeRead:
    """Read the recipe before anything else is done, and refuse what it decides itself."""
    if asked["finetune"] is not None:
        raise InputError(
            "A recipe prunes at once, by its own patterns, and no fine-tune step goes with it. Use --pattern."
        )
    for option, value in asked.items():
        if value not in (None, "magnitude", "uniform", (), [], False):
            raise InputError(f"--{option} is {value}, and the recipe says itself what to remove. Give one of the two.")
    return read_recipe(source, progress, name)


def _start(own: nn.Module, inputs: Example, choice: Choice) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the dense model that is pruned, its channels in another order where that was asked for, and remarks."""
    if not choice.permute:
        return own, ()
    model, said = reordered(own, inputs, choice.pattern, choice.sparsity)
    return model, (said,)


def _prune_step(inputs: Example, method: Method, sparse24: Sparse24 | None, progress: Progress) -> PruneStep:
    def prune_step(model: nn.Module, pattern: Pattern, sparsity: float) -> Pruned:
        with _own_torch_state():
            return plan_and_prune(model, inputs, pattern, sparsity, method, sparse24, partial(progress, "prune"))

    return prune_step


def _inputs(dense: nn.Module, example: Any, choice: Choice) -> Example:
    inputs = Example.of(example).on_cpu()
    require_runs(dense, inputs)
    if choice.batch is not None:
        inputs = inputs.rebatched(choice.batch)
        require_runs(dense, inputs)
    return inputs


@contextlib.contextmanager
def _own_torch_state() -> Iterator[None]:
    """Work with gradients on and on the CPU, whatever mode the user's code is in, and give their random state back."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.enable_grad(), torch.device("cpu"):
        yield


def _dtype(model: nn.Module) -> str:
    """Return the dtype of most of the model's weights."""
    sizes: Counter[str] = Counter()
    for parameter in model.parameters():
        sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return sizes.most_common(1)[0][0] if sizes else "float32"


@contextlib.contextmanager
def _folder_of_run() -> Iterator[Path]:
    """Make the folder of a run's files; it goes with the run, or at once when there will be none."""
    folder = new_folder()
    try:
        yield folder
    except BaseException:
        remove(folder)
        raise
