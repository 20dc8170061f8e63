"""The product on one screen: choose, prune, export, prove in the target's own compiler, report."""

from __future__ import annotations

import contextlib
import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .choice import Choice, choose
from .errors import InputError, first_line
from .example import Example, require_runs
from .pattern import Pattern
from .proof import Proof, prove
from .pruning import Pruned, copy_modes, copy_of, fingerprint, prune, recount
from .pruning.served import Sparse24
from .rating import Settled, give_up, settle
from .reasons import cliff, explain
from .recipe import Asked, apply_recipe, read_recipe
from .report import Fingerprints, Recipe, Report, Request, Scores
from .run import Run
from .saved.structure import structure_of
from .toolchains.process import Progress, new_folder, remove
from .training import Finetune, PruneStep, Subject, keep_trained, train_along
from .training.schedule import check_schedule, stages

Score = Callable[[nn.Module], float]


def hwprune(
    model: nn.Module,
    example: Any,
    *,
    target: str = "cpu",
    pattern: str | None = None,
    sparsity: float | None = None,
    allocation: str = "uniform",
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
    `sparsity` is the share removed, above 0 and below 1. `dtype` is what a GPU runs both models in. A layer that gains
    nothing by its zeros gets its dense weights back, where the toolchain can tell, unless `keep_all`. `score` rates a
    model, higher is better. `finetune` trains the copy that it is given, after each of the `steps` in which `schedule`
    prunes (one-shot, iterative, cubic): the zeros hold whatever its optimisers do, its result is not looked at, and all
    layers stay pruned. `recipe` is a SparseML recipe, a file or its text, that prunes instead of `pattern`,
    `sparsity` and `allocation`; `calib` are inputs for those of its modifiers that look at activations: one as the
    example is, or a list of them. `timeout_s` bounds the toolchain's worker in seconds. The model itself, its mode, and
    torch's random state stay as they are (but for what `score` draws).

    Raises InputError, PruneError, ExportError or MismatchError; a toolchain that is missing, crashes or takes too long
    is no error but a report whose verdict is "not measured".
    """
    check_schedule(schedule, steps, finetune)
    if finetune is not None and recipe is not None:
        raise InputError(
            "A recipe prunes at once, by its own patterns, and no fine-tune step goes with it. Use --pattern."
        )
    plan = _recipe((recipe, recipe_name), calib, pattern, sparsity, allocation, progress)
    choice = choose(
        target,
        pattern=pattern,
        sparsity=sparsity,
        allocation=allocation,
        toolchain=toolchain,
        dtype=dtype,
        keep_all=keep_all,
        threads=threads,
        batch=batch,
        timeout_s=timeout_s,
    )
    with _folder_of_run() as folder:
        progress("prune", str(choice.pattern) if plan is None else plan.name)
        dense = copy_of(model).eval()
        choice = choice.for_model_in(_dtype(dense))
        dense_score = _rate(score, dense, model, optional=finetune is not None)
        with _own_torch_state():
            inputs = _inputs(dense, example, choice)
            sparse24 = Sparse24.of(choice)
        prune_step = _prune_step(inputs, choice, sparse24)
        if finetune is not None:  # in the user's own torch state, whose random numbers are theirs to draw
            growing = stages(schedule, choice.pattern, choice.sparsity, steps)
            trained = train_along(Subject(model, name, dense), growing, prune_step, finetune, progress)
            if dense_score is None:  # a cell knows its score only once it has run
                dense_score = _rate(score, dense, model, optional=True)
        with _own_torch_state():
            versions = {}
            if finetune is not None:
                pruned = recount(dense, inputs, trained, choice.pattern, sparse24)
            elif plan is None:
                pruned = prune_step(dense, choice.pattern, choice.sparsity)
            else:
                applied = apply_recipe(plan, dense, inputs, calib, choice, folder, progress)
                pruned, choice, versions = applied.pruned, applied.choice, applied.versions
            settled = settle(dense, pruned, inputs, choice, folder, progress)
            if finetune is not None:
                settled = keep_trained(settled, pruned)
            proof = prove(dense, settled, inputs, folder, progress)
            if finetune is None and proof.measurement.comparison.verdict == "slower" and settled.rated and not keep_all:
                settled = give_up(dense, settled, proof.measurement.comparison)
                proof = prove(dense, settled, inputs, folder, progress)
            fingerprints = Fingerprints(fingerprint(dense), fingerprint(settled.pruned.model))
        scores = _scores(score, dense_score, _rate(score, settled.pruned.model, model, optional=finetune is not None))
        asked = None if plan is None else Recipe(plan.name, plan.text, calib_name)
        training = None if finetune is None else (schedule, steps)
        report = _report((name, input_name), settled, inputs, proof, scores, fingerprints, asked, training, versions)
        finished = copy_modes(model, settled.pruned.model).to(_device(model))
        return Run(finished, report, proof.files, folder, structure_of(dense, finished, settled.pruned.keep))


def _recipe(
    recipe: tuple[str | Path | None, str | None],
    calib: Any,
    pattern: str | None,
    sparsity: float | None,
    allocation: str,
    progress: Progress,
) -> Asked | None:
    """Read the recipe before anything else is done, and refuse what it decides itself."""
    source, name = recipe
    if source is None:
        if calib is not None:
            raise InputError("--calib is for a --recipe with SparseGPT or Wanda; without one nothing looks at it.")
        return None
    for option, value in (("pattern", pattern), ("sparsity", sparsity), ("allocation", allocation)):
        if value not in {None, "uniform"}:
            raise InputError(f"--{option} is {value}, and the recipe says itself what to remove. Give one of the two.")
    return read_recipe(source, progress, name)


def _prune_step(inputs: Example, choice: Choice, sparse24: Sparse24 | None) -> PruneStep:
    def prune_step(model: nn.Module, pattern: Pattern, sparsity: float) -> Pruned:
        with _own_torch_state():
            return prune(model, inputs, pattern, sparsity, choice.allocation, sparse24)

    return prune_step


def _inputs(dense: nn.Module, example: Any, choice: Choice) -> Example:
    inputs = Example.of(example).on_cpu()
    require_runs(dense, inputs)
    if choice.batch is not None:
        inputs = inputs.rebatched(choice.batch)
        require_runs(dense, inputs)
    return inputs


def _rate(score: Score | None, own: nn.Module, model: nn.Module, *, optional: bool = False) -> float | None:
    """Ask the user's score about a copy, where the user's model lives: whatever it does to the copy stays there.

    Where it is `optional`, a score of None is none.
    """
    if score is None:
        return None
    try:
        value = score(copy.deepcopy(own).to(_device(model)))
        if value is None and optional:
            return None
        value = float(value.detach() if isinstance(value, torch.Tensor) else value)
    except Exception as error:
        raise InputError(
            f"The score could not be taken: {first_line(error)}. It has to be a function of the model, or an "
            "expression with it, that gives one number, higher is better."
        ) from error
    if not math.isfinite(value):
        raise InputError(f"The score of the model is {value}; a number is needed, higher is better.")
    return value


def _scores(score: Score | None, dense: float | None, pruned: float | None) -> Scores | None:
    if score is None or dense is None or pruned is None:
        return None
    return Scores(str(getattr(score, "__name__", score)), dense, pruned)


def _report(
    names: tuple[str, str | None],
    settled: Settled,
    inputs: Example,
    proof: Proof,
    scores: Scores | None,
    fingerprints: Fingerprints,
    recipe: Recipe | None,
    training: tuple[str, int] | None,
    versions: dict[str, str],
) -> Report:
    choice, pruned = settled.choice, settled.pruned
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        request=Request(
            model=names[0],
            target=choice.target.name,
            toolchain=choice.stack.toolchain,
            device=choice.stack.device,
            dtype=choice.dtype or "",
            pattern=str(choice.pattern),
            sparsity=choice.sparsity,
            importance="magnitude" if recipe is None else "recipe",
            allocation=choice.allocation,
            threads=choice.threads,
            batch=inputs.batch,
            keep_all=choice.keep_all,
            input=names[1],
            recipe=recipe,
            schedule="one-shot" if training is None else training[0],
            steps=1 if training is None else training[1],
        ),
        chip=choice.target.chip,
        typical_speedup=choice.target.typical_speedup,
        totals=pruned.totals,
        layers=proof.layers,
        skipped=pruned.skipped,
        returned=pruned.returned,
        other_kernels=proof.other_kernels,
        measurement=proof.measurement,
        energy=proof.energy,
        counters=proof.counters,
        check=proof.check,
        scores=scores,
        reasons=(*explain(choice, proof, pruned), *cliff(scores, trained=training is not None)),
        machine=proof.machine,
        versions=proof.versions | {"torch": torch.__version__} | versions,
        fingerprints=fingerprints,
        baselines=proof.baselines,
    )


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


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def _folder_of_run() -> Iterator[Path]:
    """Make the folder of a run's files; it goes with the run, or at once when there will be none."""
    folder = new_folder()
    try:
        yield folder
    except BaseException:
        remove(folder)
        raise
