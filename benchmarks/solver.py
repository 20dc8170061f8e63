"""Our one-shot solvers against SparseGPT: `python -m benchmarks.solver --sparsegpt CHECKOUT`.

Layers [size, size] of three kinds: random, a small character language model's, a digits network's. All contestants get
the same weight and the same products of the calibration inputs; errors are those on other inputs. Every round calls
each contestant once, in a shuffled order, and a ratio pairs the calls of one round. SparseGPT's own file runs as it is,
on the CPU: its prints are silenced and its wait for a GPU is left out. It has no entry for Wanda, whose score and
groups (rows, or n:m) are a line: that line is ours. Times are CPU seconds of one thread. Prints a table, writes it with
the JSON, and takes up a run again at the first size that is missing there.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
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
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from benchmarks.masks import cpu_name
from jupyter_hwprune.core.pattern import NM, Unstructured
from jupyter_hwprune.pruning.importance import activation, magnitude
from jupyter_hwprune.pruning.masks import keep_n_of_m, keep_top
from jupyter_hwprune.pruning.solver import layer_error, solve

RESULTS = Path(__file__).parent / "results" / "solver.json"
SIZES = (512, 1024, 2048, 4096)
PATTERNS: tuple[NM | Unstructured, ...] = (NM(2, 4), Unstructured())
SPARSITY, DAMPING = 0.5, 0.01
ROWS = 8  # calibration inputs for each input channel, and as many held out
CHUNK = 4096  # of those at once
CHARACTERS, CONTEXT, EMBEDDED = 128, 16, 32
STEPS, BATCH = 200, 256
ERROR_GOAL, TIME_GOAL, QUICK_ERROR_GOAL, QUICK_TIME_GOAL = 0.85, 1.0, 1.0, 1 / 3
COLUMNS = (
    "size",
    "layer",
    "pattern",
    "SparseGPT's error",
    "seconds",
    "full: error",
    "min-max",
    "time",
    "min-max",
    "quick: error",
    "min-max",
    "time",
    "min-max",
    "Wanda: error",
    "magnitude: error",
    "full",
    "quick",
)

Pattern = NM | Unstructured
Rows = Iterator[Tensor]  # of a layer's inputs [N, D], in chunks
Ready = Callable[[Tensor, Tensor, Pattern], Callable[[], Tensor]]  # does what is not timed, returns the call that is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsegpt", type=Path, required=True, help="a checkout of github.com/IST-DASLab/sparsegpt")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="measure again what is written there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path: Path = options.out
    data = {**provenance(), "seeds": options.seeds, "cells": []}
    if path.exists() and not options.fresh:
        stored = json.loads(path.read_text())
        if comparable(stored) == comparable(data):
            data = stored
    contestants = {
        "full": ours("full"),
        "quick": ours("quick"),
        "SparseGPT": sparsegpt(options.sparsegpt / "sparsegpt.py"),
    }
    contestants |= {"Wanda": by_score(wanda_mask), "magnitude": by_score(magnitude_mask)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for size in options.sizes:
        if not any(cell["size"] == size for cell in data["cells"]):
            data["cells"] += measure(size, options.seeds, contestants)
            path.write_text(json.dumps(data, indent=1) + "\n")
    shown = "\n".join([where(data), "", table(data), "", *notes(data)])
    path.with_suffix(".md").write_text(shown + "\n")
    print(shown)


def comparable(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in {"created", "cells"}}


@torch.no_grad()
def measure(size: int, seeds: int, contestants: dict[str, Ready]) -> list[dict[str, Any]]:
    """Measure all layers of one width, with all patterns."""
    cells: list[dict[str, Any]] = []
    for name, layer in {"random": random_layer, "character model": character_layer, "digits": digits_layer}.items():
        start = time.perf_counter()
        weight, inputs = layer(size)
        of_layer: list[dict[str, Any]] = [
            {"size": size, "layer": name, "pattern": str(pattern), "rounds": [], "errors": []} for pattern in PATTERNS
        ]
        for seed in range(seeds):
            gram, heldout = (gram_of(rows, size) for rows in inputs(seed))
            for cell, pattern in zip(of_layer, PATTERNS, strict=True):
                one_seed(cell, weight, gram, heldout, pattern, seed, contestants)
        cells += of_layer
        print(f"{size}, {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return cells


def one_seed(
    cell: dict[str, Any],
    weight: Tensor,
    gram: Tensor,
    heldout: Tensor,
    pattern: Pattern,
    seed: int,
    contestants: dict[str, Ready],
) -> None:
    """Add the rounds of one seed, more of them for small layers, and its errors; the first call of all warms up."""
    shuffled = random.Random(seed)  # noqa: S311 - an order, not a secret
    if seed == 0:
        for contestant in contestants.values():
            contestant(weight, gram, pattern)()
    errors = {}
    for _ in range(max(1, 2048 // len(weight))):
        seconds = {}
        for name in shuffled.sample(list(contestants), len(contestants)):
            gc.collect()
            call = contestants[name](weight, gram, pattern)
            start = time.process_time()
            pruned = call()
            seconds[name] = time.process_time() - start
            if name not in errors:
                errors[name] = layer_error(weight, pruned, heldout)
        cell["rounds"].append(seconds)
    cell["errors"].append(errors)


def ours(effort: str) -> Ready:
    def ready(weight: Tensor, gram: Tensor, pattern: Pattern) -> Callable[[], Tensor]:
        return lambda: solve(weight, gram, pattern, SPARSITY, damping=DAMPING, effort=effort).weight  # type: ignore[arg-type]

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

    def ready(weight: Tensor, gram: Tensor, pattern: Pattern) -> Callable[[], Tensor]:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(weight.clone())
        solver = module.SparseGPT(layer)
        solver.H = gram.clone()
        groups = {"prunen": pattern.m - pattern.n, "prunem": pattern.m} if isinstance(pattern, NM) else {}

        def call() -> Tensor:
            with redirect_stdout(StringIO()), patch.object(torch.cuda, "synchronize", lambda *_: None):
                solver.fasterprune(SPARSITY, **groups, blocksize=128, percdamp=DAMPING)
            return layer.weight.data

        return call

    return ready


def by_score(mask: Callable[[Tensor, Tensor, Pattern], Tensor]) -> Ready:
    return lambda weight, gram, pattern: lambda: torch.where(mask(weight, gram, pattern), weight, 0.0)


def wanda_mask(weight: Tensor, gram: Tensor, pattern: Pattern) -> Tensor:
    """Compare within the groups, or within each row, as Wanda does."""
    scores = activation(weight, gram.diagonal().sqrt())
    if isinstance(pattern, NM):
        return keep_n_of_m(scores, pattern.n, pattern.m)
    kept = scores.topk(round((1 - SPARSITY) * weight.shape[1]), dim=1).indices
    return torch.zeros_like(weight, dtype=torch.bool).scatter_(1, kept, value=True)


def magnitude_mask(weight: Tensor, gram: Tensor, pattern: Pattern) -> Tensor:  # noqa: ARG001
    scores = magnitude(weight)
    if isinstance(pattern, NM):
        return keep_n_of_m(scores, pattern.n, pattern.m)
    return keep_top(scores, round((1 - SPARSITY) * weight.numel()))


def gram_of(rows: Rows, size: int) -> Tensor:
    gram = torch.zeros(size, size)
    for x in rows:
        gram.addmm_(x.mT, x)
    return gram


Inputs = Callable[[int], tuple[Rows, Rows]]  # from a seed, those of calibration and those held out


def random_layer(size: int) -> tuple[Tensor, Inputs]:
    """Return normal weights, and inputs of a few strong directions, weaker noise, and channels of unlike scale."""

    def inputs(seed: int) -> tuple[Rows, Rows]:
        generator = torch.Generator().manual_seed(seed)
        rank = size // 8
        directions = torch.randn(rank, size, generator=generator) / torch.arange(1, rank + 1)[:, None].sqrt()
        directions /= directions.square().sum(0).mean().sqrt()
        scales = torch.exp(0.5 * torch.randn(size, generator=generator))

        def rows() -> Rows:
            for _ in range(ROWS * size // CHUNK):
                strong = torch.randn(CHUNK, rank, generator=generator) @ directions
                yield (strong + 0.5 * torch.randn(CHUNK, size, generator=generator)) * scales

        return rows(), rows()

    return torch.randn(size, size, generator=torch.Generator().manual_seed(size)) / size**0.5, inputs


def character_layer(size: int) -> tuple[Tensor, Inputs]:
    """Train a network on the standard library's sources to tell a character from the 16 before it; its middle layer.

    Held-out inputs are of source files it was not trained on.
    """
    train, heldout = source_texts()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = nn.Sequential(
            nn.Embedding(CHARACTERS, EMBEDDED), nn.Flatten(), nn.Linear(CONTEXT * EMBEDDED, size), nn.GELU()
        )
        middle = nn.Linear(size, size)
        model = nn.Sequential(first, middle, nn.GELU(), nn.Linear(size, CHARACTERS))
    generator = torch.Generator().manual_seed(0)
    fit(model, lambda: windows(train, BATCH, generator), STEPS)

    def inputs(seed: int) -> tuple[Rows, Rows]:
        own = torch.Generator().manual_seed(seed)

        def rows(text: Tensor) -> Rows:
            for _ in range(ROWS * size // CHUNK):
                yield first(windows(text, CHUNK, own)[0])

        return rows(train), rows(heldout)

    return middle.weight.detach(), inputs


def source_texts() -> tuple[Tensor, Tensor]:
    """Read the standard library's sources, every tenth file held out. -> int64 [characters] each."""
    texts = [path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("*.py"))]
    heldout = b"".join(texts[::10])
    train = b"".join(text for i, text in enumerate(texts) if i % 10)
    return tuple(torch.tensor(list(text)).clamp_max(CHARACTERS - 1) for text in (train, heldout))  # type: ignore[return-value]


def windows(text: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut contexts from random places, and the characters after them. -> int64 [N, 16], [N]."""
    places = torch.randint(len(text) - CONTEXT, (count, 1), generator=generator)
    return text[places + torch.arange(CONTEXT)], text[places[:, 0] + CONTEXT]


def digits_layer(size: int) -> tuple[Tensor, Inputs]:
    """Train a network of two wide layers on half of the digits; the second of them. The other half is held out."""
    from sklearn.datasets import load_digits

    images, labels = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
    images = images.float() / 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, middle = nn.Sequential(nn.Linear(64, size), nn.ReLU()), nn.Linear(size, size)
        model = nn.Sequential(first, middle, nn.ReLU(), nn.Linear(size, 10))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    half, other = order.chunk(2)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[Tensor, Tensor]:
        chosen = half[torch.randint(len(half), (BATCH,), generator=generator)]
        return images[chosen], labels[chosen]

    fit(model, batch, STEPS)

    def inputs(seed: int) -> tuple[Rows, Rows]:
        own = torch.randperm(len(half), generator=torch.Generator().manual_seed(seed))
        seen = half[own[: len(half) * 3 // 4]]  # each seed calibrates with other images
        return iter([first(images[seen])]), iter([first(images[other])])

    return middle.weight.detach(), inputs


@torch.enable_grad()
def fit(model: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]], steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        x, y = batch()
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    print(f"trained to {loss.item():.2f} nats", file=sys.stderr, flush=True)


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
    shown = [str(cell["size"]), cell["layer"], cell["pattern"]]
    shown.append(f"{statistics.median(errors['SparseGPT'] for errors in cell['errors']):.4f}")
    shown.append(f"{statistics.median(seconds['SparseGPT'] for seconds in cell['rounds']):.3f}")
    for name in ("full", "quick"):
        shown += [*spread(error_ratios(cell, name), 3), *spread(time_ratios(cell, name), 2)]
    shown += [spread(error_ratios(cell, name), 2)[0] for name in ("Wanda", "magnitude")]
    return (
        *shown,
        verdict(cell, "full", ERROR_GOAL, TIME_GOAL),
        verdict(cell, "quick", QUICK_ERROR_GOAL, QUICK_TIME_GOAL),
    )


def error_ratios(cell: dict[str, Any], name: str) -> list[float]:
    return [errors[name] / errors["SparseGPT"] for errors in cell["errors"]]


def time_ratios(cell: dict[str, Any], name: str) -> list[float]:
    return [seconds[name] / seconds["SparseGPT"] for seconds in cell["rounds"]]


def spread(values: list[float], digits: int) -> tuple[str, str]:
    return f"{statistics.median(values):.{digits}f}", f"{min(values):.{digits}f}-{max(values):.{digits}f}"


def verdict(cell: dict[str, Any], name: str, error: float, seconds: float) -> str:
    lost = []
    if statistics.median(error_ratios(cell, name)) > error:
        lost.append("error")
    if statistics.median(time_ratios(cell, name)) > seconds:
        lost.append("time")
    return f"lost: {', '.join(lost)}" if lost else "won"


def notes(data: dict[str, Any]) -> Iterator[str]:
    for name, error, seconds in (
        ("full", ERROR_GOAL, TIME_GOAL),
        ("quick", QUICK_ERROR_GOAL, QUICK_TIME_GOAL),
    ):
        won = sum(verdict(cell, name, error, seconds) == "won" for cell in data["cells"])
        yield (
            f"- {name} is won with at most {error:g} of SparseGPT's held-out error in {seconds:.2g} of its time, "
            f"by the medians: {won} of {len(data['cells'])}."
        )
    yield "- error: ||(W - W')X||^2 / ||W X||^2 on inputs held out; all but SparseGPT's are ratios to it, by seed;"
    yield "  times are ratios paired by round. A seed is another draw of the inputs; the trained weights are the same."
    yield (
        f"- random, character model: {data['rows']} inputs for each input channel to calibrate with, and as many held "
        "out; digits: 674 images to calibrate with and 898 held out, fewer than a wide layer's channels."
    )


if __name__ == "__main__":
    main()
