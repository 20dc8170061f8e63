"""Our one-shot solvers against the field's: `python -m benchmarks.solver --sparsegpt CHECKOUT --alps CHECKOUT`.

Layers [size, size] of three kinds: random, a small character language model's, a digits network's. All contestants get
the same weight and the same products of the calibration inputs; errors are those on other inputs. Every round calls
each contestant once, in a shuffled order, and a ratio pairs the calls of one round. SparseGPT's and ALPS's own files
run on the CPU: prints are silenced and waits for a GPU are left out. SparseGPT's has no entry for Wanda, whose score
and groups (rows, or n:m) are a line: that line is ours. Times are CPU seconds of one thread. Prints a table, writes it
with the JSON, and takes up a run again at the first layer that is missing there.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks import alps
from benchmarks.masks import cpu_name
from benchmarks.solver_layers import ROWS, Rows, character_layer, digits_layer, random_layer
from jupyter_hwprune.core.options import Solver
from jupyter_hwprune.core.pattern import NM, Unstructured
from jupyter_hwprune.pruning.importance import activation, magnitude
from jupyter_hwprune.pruning.masks import keep_n_of_m, keep_top
from jupyter_hwprune.pruning.solver import layer_error, solve

RESULTS = Path(__file__).parent / "results" / "solver.json"
SIZES = (512, 1024, 2048, 4096)
Pattern = NM | Unstructured
CASES: tuple[tuple[Pattern, float], ...] = (
    (NM(2, 4), 0.5),
    (NM(4, 8), 0.5),
    (Unstructured(), 0.5),
    (Unstructured(), 0.7),
)
DAMPING = 0.01
LAYERS = ("random", "character model", "digits")
GOALS = (  # who, against whom, and the most of its error and of its time
    ("full", "SparseGPT", 0.85, 1.0),
    ("quick", "SparseGPT", 1.0, 1 / 3),
    ("full", "SparseGPT", 0.72, 1.0),
    ("best", "ALPS", 1.0, 0.5),
    ("best", "ALPS", 0.97, 0.5),
)
SHOWN = ("quick", "full", "best", "ALPS")
COLUMNS = (
    "size",
    "layer",
    "pattern",
    "SparseGPT's error",
    "seconds",
    *(f"{name}: {what}" for name in SHOWN for what in ("error", "time")),
    "best by ALPS: error",
    "time",
    "Wanda: error",
    "magnitude: error",
)

Ready = Callable[
    [Tensor, Tensor, Pattern, float], Callable[[], Tensor]
]  # does what is not timed, returns the call that is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsegpt", type=Path, required=True, help="a checkout of github.com/IST-DASLab/sparsegpt")
    parser.add_argument("--alps", type=Path, required=True, help="a checkout of github.com/mazumder-lab/ALPS")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="measure again what is written there")
    parser.add_argument("--quick", action="store_true", help="one seed of the smallest size")
    options = parser.parse_args()
    sizes, seeds = (SIZES[:1], 1) if options.quick else (options.sizes, options.seeds)
    torch.set_num_threads(1)
    path: Path = options.out
    data = {**provenance(), "seeds": seeds, "cells": []}
    if path.exists() and not options.fresh:
        stored = json.loads(path.read_text())
        if comparable(stored) == comparable(data):
            data = stored
    contestants = {name: ours(name) for name in ("quick", "full", "best")}
    contestants |= {"SparseGPT": sparsegpt(options.sparsegpt / "sparsegpt.py"), "ALPS": by_alps(options.alps)}
    contestants |= {"Wanda": by_score(wanda_mask), "magnitude": by_score(magnitude_mask)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for contestant, case in itertools.product(contestants.values(), CASES):  # the first call of all warms up
            contestant(torch.randn(64, 64), torch.eye(64), *case)()
    for size, name in itertools.product(sizes, LAYERS):
        if not of(data["cells"], size, name):
            data["cells"] += measure(size, name, seeds, contestants)
            path.write_text(json.dumps(data, indent=1) + "\n")
            path.with_suffix(".md").write_text(written(data) + "\n")
    print(written(data))


def written(data: dict[str, Any]) -> str:
    return "\n".join([where(data), "", table(data), "", *notes(data)])


def comparable(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in {"created", "cells"}}


@torch.no_grad()
def measure(size: int, name: str, seeds: int, contestants: dict[str, Ready]) -> list[dict[str, Any]]:
    """Measure one layer with all patterns."""
    start = time.perf_counter()
    weight, inputs = {"random": random_layer, "character model": character_layer, "digits": digits_layer}[name](size)
    cells: list[dict[str, Any]] = [
        {"size": size, "layer": name, "pattern": title(*case), "rounds": [], "errors": []} for case in CASES
    ]
    for seed in range(seeds):
        gram, heldout = (gram_of(rows, size) for rows in inputs(seed))
        for cell, case in zip(cells, CASES, strict=True):
            one_seed(cell, weight, gram, heldout, case, seed, contestants)
    print(f"{size}, {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return cells


def title(pattern: Pattern, sparsity: float) -> str:
    return str(pattern) if isinstance(pattern, NM) else f"{pattern}, {sparsity:.0%}"


def one_seed(
    cell: dict[str, Any],
    weight: Tensor,
    gram: Tensor,
    heldout: Tensor,
    case: tuple[Pattern, float],
    seed: int,
    contestants: dict[str, Ready],
) -> None:
    """Add the rounds of one seed, more of them for small layers, and its errors."""
    shuffled = random.Random(seed)  # noqa: S311 - an order, not a secret
    errors = {}
    for _ in range(max(1, 1024 // len(weight))):
        seconds = {}
        for name in shuffled.sample(list(contestants), len(contestants)):
            gc.collect()
            call = contestants[name](weight, gram, *case)
            start = time.process_time()
            pruned = call()
            seconds[name] = time.process_time() - start
            if name not in errors:
                errors[name] = layer_error(weight, pruned, heldout)
        cell["rounds"].append(seconds)
    cell["errors"].append(errors)


def ours(effort: Solver) -> Ready:
    def ready(weight: Tensor, gram: Tensor, pattern: Pattern, sparsity: float) -> Callable[[], Tensor]:
        return lambda: solve(weight, gram, pattern, sparsity, damping=DAMPING, effort=effort).weight

    return ready


def sparsegpt(path: Path) -> Ready:
    """Load the reference by its path; block size 128 and damping 0.01 are its own defaults."""
    sys.path.insert(0, str(path.parent))  # it imports its neighbour
    spec = spec_from_file_location("sparsegpt", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(path.parent))

    def ready(weight: Tensor, gram: Tensor, pattern: Pattern, sparsity: float) -> Callable[[], Tensor]:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(weight.clone())
        solver = module.SparseGPT(layer)
        solver.H = gram.clone()
        groups = {"prunen": pattern.m - pattern.n, "prunem": pattern.m} if isinstance(pattern, NM) else {}

        def call() -> Tensor:
            with redirect_stdout(StringIO()), patch.object(torch.cuda, "synchronize", lambda *_: None):
                solver.fasterprune(sparsity, **groups, blocksize=128, percdamp=DAMPING)
            return layer.weight.data

        return call

    return ready


def by_alps(checkout: Path) -> Ready:
    reference = alps.read(checkout)

    def ready(weight: Tensor, gram: Tensor, pattern: Pattern, sparsity: float) -> Callable[[], Tensor]:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(weight.clone())
        job = reference(layer, 1, 1)
        job.XtX = gram.clone()

        def call() -> Tensor:
            alps.prune(job, pattern, sparsity)
            return layer.weight.data

        return call

    return ready


def by_score(mask: Callable[[Tensor, Tensor, Pattern, float], Tensor]) -> Ready:
    return lambda weight, gram, *case: lambda: torch.where(mask(weight, gram, *case), weight, 0.0)


def wanda_mask(weight: Tensor, gram: Tensor, pattern: Pattern, sparsity: float) -> Tensor:
    """Compare within the groups, or within each row, as Wanda does."""
    scores = activation(weight, gram.diagonal().sqrt())
    if isinstance(pattern, NM):
        return keep_n_of_m(scores, pattern.n, pattern.m)
    kept = scores.topk(round((1 - sparsity) * weight.shape[1]), dim=1).indices
    return torch.zeros_like(weight, dtype=torch.bool).scatter_(1, kept, value=True)


def magnitude_mask(weight: Tensor, gram: Tensor, pattern: Pattern, sparsity: float) -> Tensor:  # noqa: ARG001
    scores = magnitude(weight)
    if isinstance(pattern, NM):
        return keep_n_of_m(scores, pattern.n, pattern.m)
    return keep_top(scores, round((1 - sparsity) * weight.numel()))


def gram_of(rows: Rows, size: int) -> Tensor:
    gram = torch.zeros(size, size)
    for x in rows:
        gram.addmm_(x.mT, x)
    return gram


def provenance() -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "clock": "CPU seconds of one thread",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rows": ROWS,
        "damping": DAMPING,
    }


def where(data: dict[str, Any]) -> str:
    return (
        f"{data['cpu']}, {data['clock']}, {data['seeds']} seeds, {data['created']}; "
        f"Python {data['python']}, torch {data['torch']}; damping {data['damping']}, blocks of 128 columns."
    )


def table(data: dict[str, Any]) -> str:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *map(row, data["cells"])]
    return "\n".join("| " + " | ".join(each) + " |" for each in rows)


def row(cell: dict[str, Any]) -> tuple[str, ...]:
    cells = [str(cell["size"]), cell["layer"], cell["pattern"]]
    cells.append(f"{statistics.median(errors['SparseGPT'] for errors in cell['errors']):.2e}")
    cells.append(f"{statistics.median(seconds['SparseGPT'] for seconds in cell['rounds']):.3f}")
    for name, other in (*((name, "SparseGPT") for name in SHOWN), ("best", "ALPS")):
        cells += [spread(error_ratios(cell, name, other), 3), spread(time_ratios(cell, name, other), 2)]
    cells += [spread(error_ratios(cell, name, "SparseGPT"), 2) for name in ("Wanda", "magnitude")]
    return tuple(cells)


def error_ratios(cell: dict[str, Any], name: str, other: str) -> list[float]:
    return [errors[name] / errors[other] for errors in cell["errors"]]


def time_ratios(cell: dict[str, Any], name: str, other: str) -> list[float]:
    return [seconds[name] / seconds[other] for seconds in cell["rounds"]]


def spread(values: list[float], digits: int) -> str:
    low, middle, high = (f"{f(values):.{digits}f}" for f in (min, statistics.median, max))
    return f"{middle} ({low}-{high})"


def notes(data: dict[str, Any]) -> Iterator[str]:
    cells = data["cells"]
    for name, other, error, seconds in GOALS:
        meets = [
            (
                statistics.median(error_ratios(cell, name, other)) <= error,
                statistics.median(time_ratios(cell, name, other)) <= seconds,
            )
            for cell in cells
        ]
        yield (
            f"- {name}, by the medians: at most {error:g} of {other}'s held-out error in {sum(e for e, _ in meets)} of "
            f"{len(cells)} cells, at most {seconds:.2g} of its time in {sum(t for _, t in meets)}, both in "
            f"{sum(e and t for e, t in meets)}."
        )
    missing = [f"{size}, {name}" for size, name in itertools.product(SIZES, LAYERS) if not of(cells, size, name)]
    if missing:
        yield f"- not measured: {'; '.join(missing)}."
    yield (
        "- error: ||(W - W')X||^2 / ||W X||^2 on inputs held out, median (min-max): SparseGPT's as it is, the others "
        "as ratios to it, by seed; times are ratios paired by round. A seed is another draw of the inputs; the trained "
        "weights are the same."
    )
    yield (
        f"- random, character model: {data['rows']} inputs for each input channel to calibrate with, and as many held "
        "out; digits: 674 images to calibrate with and 898 held out, fewer than a wide layer's channels."
    )


def of(cells: list[dict[str, Any]], size: int, name: str) -> list[dict[str, Any]]:
    return [cell for cell in cells if (cell["size"], cell["layer"]) == (size, name)]


if __name__ == "__main__":
    main()
