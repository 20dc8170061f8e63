"""What pruning costs a small language model: `python -m benchmarks.perplexity --sparsegpt P --wanda P --alps P`.

The paths are checkouts of github.com/IST-DASLab/sparsegpt, github.com/locuslab/wanda and github.com/mazumder-lab/ALPS.
All prune the same models of `benchmarks.charlm` with the same calibration sequences, in turn. Prints tables, writes
JSON beside them, and takes up a run again at the first pattern that is missing there.
"""

from __future__ import annotations

import argparse
import copy
import io
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks import alps
from benchmarks.charlm import CharLM, perplexity, prunable, trained
from benchmarks.masks import cpu_name
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.options import Solver
from jupyter_hwprune.core.pattern import NM, Block, Unstructured
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.masks import keep_blocks, keep_n_of_m, keep_top
from jupyter_hwprune.pruning.sequential import layer_by_layer
from jupyter_hwprune.pruning.solver import solve
from jupyter_hwprune.pruning.statistics import Statistics
from jupyter_hwprune.pruning.tuning import tuned

RESULTS = Path(__file__).parent / "results" / "perplexity.json"
CASES: tuple[tuple[NM | Block | Unstructured, float], ...] = (
    (NM(2, 4), 0.5),
    (Unstructured(), 0.7),
    (NM(4, 8), 0.5),
    (Unstructured(), 0.5),
    (Block(16, 16), 0.5),
)
SEQUENCES = 128
PACKAGES = ("jupyter-hwprune", "torch", "numpy", "transformers")
OURS = "ours"
STEPS = 100  # of tuning, for each block

Pattern = NM | Block | Unstructured
Prune = Callable[[CharLM, list[Tensor], Pattern, float], None]  # in place, with calibration tokens [N, T] each


@dataclass(frozen=True)
class Contestant:
    name: str
    prune: Prune
    blocks: bool  # whether it has a way of removing blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsegpt", type=Path, required=True)
    parser.add_argument("--wanda", type=Path, required=True)
    parser.add_argument("--alps", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2, help="models, each trained from another seed")
    parser.add_argument("--samples", type=int, default=1, help="calibration samples for each model")
    parser.add_argument("--quick", action="store_true", help="one model, one sample, and the first pattern alone")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="measure again what is written there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    contestants = list(all_contestants(options.sparsegpt, options.wanda, options.alps))
    cases = CASES[:1] if options.quick else CASES
    data: dict[str, Any] = {**provenance(), "runs": []}
    if options.out.exists() and not options.fresh:
        stored = json.loads(options.out.read_text())
        if comparable(stored) == comparable(data):
            data = stored
    for seed, sample in itertools.product(
        range(1 if options.quick else options.seeds), range(1 if options.quick else options.samples)
    ):
        model, batches, heldout = trained(seed)
        count = SEQUENCES // len(batches[0])
        tokens = [batch[:, :-1] for batch in batches[sample * count : (sample + 1) * count]]
        run = next((run for run in data["runs"] if (run["seed"], run["sample"]) == (seed, sample)), None)
        if run is None:
            run = {"seed": seed, "sample": sample, "dense": perplexity(model, heldout), "rows": []}
            data["runs"].append(run)
        for case in cases:
            if not any(row["case"] == title(*case) for row in run["rows"]):
                run["rows"] += measure(model, run["dense"], tokens, heldout, contestants, case)
                write(options.out, data)  # so far, for the whole takes long
    print(written(data))


def comparable(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in {"created", "runs"}}


def written(data: dict[str, Any]) -> str:
    return "\n".join([where(data), "", table(data), "", *verdicts(data)])


def write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
    path.with_suffix(".md").write_text(written(data) + "\n")


def measure(
    model: CharLM,
    dense: float,
    tokens: list[Tensor],
    heldout: list[Tensor],
    contestants: list[Contestant],
    case: tuple[Pattern, float],
) -> list[dict[str, Any]]:
    rows = []
    for each in contestants:
        if isinstance(case[0], Block) and not each.blocks:
            continue
        pruned = copy.deepcopy(model)
        start = time.process_time()
        each.prune(pruned, tokens, *case)
        seconds = time.process_time() - start
        weights = [pruned.get_parameter(f"{name}.weight") for name in prunable(pruned)]
        zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
        found = {"case": title(*case), "who": each.name, "seconds": seconds, "zeros": zeros}
        rows.append(found | {"perplexity": perplexity(pruned, heldout)})
        print(f"{dense:.3f}", *found.values(), f"{rows[-1]['perplexity']:.3f}", file=sys.stderr, flush=True)
    return rows


def title(pattern: Pattern, sparsity: float) -> str:
    return str(pattern) if isinstance(pattern, NM) else f"{pattern}, {sparsity:.0%}"


def all_contestants(sparsegpt: Path, wanda: Path, alps_: Path) -> Iterator[Contestant]:
    yield Contestant(OURS, ours("full"), blocks=True)
    yield Contestant("ours, best", ours("best"), blocks=True)
    yield Contestant("ours, blocks tuned", ours("full", tune=STEPS), blocks=True)
    yield Contestant("SparseGPT", reference_sparsegpt(sparsegpt), blocks=False)
    yield Contestant("ALPS", reference_alps(alps_), blocks=False)
    yield Contestant("Wanda", reference_wanda(wanda), blocks=False)
    yield Contestant("magnitude", by_magnitude, blocks=True)


def ours(effort: Solver, tune: int = 0) -> Prune:
    def prune(model: CharLM, tokens: list[Tensor], pattern: Pattern, sparsity: float) -> None:
        def visit(_name: str, layer: nn.Module, seen: Statistics) -> None:
            assert isinstance(layer, nn.Linear)
            assert seen.gram is not None
            layer.weight.data = solve(layer.weight, seen.gram[0], pattern, sparsity, effort=effort).weight

        dense = copy.deepcopy(model)
        calibration = Calibration.of(tokens, model, Example.of(tokens[0]))
        reasons = layer_by_layer(model, prunable(model), calibration, visit, gram=True)
        assert not reasons, reasons
        if tune:
            found, _ = tuned(dense, model, prunable(model), {}, [Example.of(each) for each in tokens], tune)
            model.load_state_dict(found.state_dict())

    return prune


def by_magnitude(model: CharLM, _tokens: list[Tensor], pattern: Pattern, sparsity: float) -> None:
    for name in prunable(model):
        weight = model.get_parameter(f"{name}.weight").data
        scores = weight.abs()[:, None]  # [K, 1, C]
        if isinstance(pattern, NM):
            keep = keep_n_of_m(scores, pattern.n, pattern.m)
        elif isinstance(pattern, Block):
            blocks = scores.numel() // (pattern.rows * pattern.columns)
            keep = keep_blocks(scores, pattern.rows, pattern.columns, round((1 - sparsity) * blocks))
        else:
            keep = keep_top(scores, round((1 - sparsity) * scores.numel()))
        weight *= keep[:, 0]


def reference_sparsegpt(path: Path) -> Prune:
    """Prune as its `opt.py` does: one pass of a block for all its layers, each pruned, one more for the next block."""
    with importable(path):
        reference = import_module("sparsegpt")

    def prune(model: CharLM, tokens: list[Tensor], pattern: Pattern, sparsity: float) -> None:
        n, m = (pattern.m - pattern.n, pattern.m) if isinstance(pattern, NM) else (0, 0)  # it counts those removed

        def finish(job: Any) -> None:
            with patch("torch.cuda.synchronize"), redirect_stdout(io.StringIO()):
                job.fasterprune(sparsity, prunen=n, prunem=m, percdamp=0.01, blocksize=128)

        block_by_block(model, tokens, reference.SparseGPT, finish)

    return prune


def reference_alps(path: Path) -> Prune:
    """Prune as its `opt.py` does, in SparseGPT's order."""
    reference = alps.read(path)

    def prune(model: CharLM, tokens: list[Tensor], pattern: Pattern, sparsity: float) -> None:
        assert not isinstance(pattern, Block)
        finish = partial(alps.prune, pattern=pattern, sparsity=sparsity)
        block_by_block(model, tokens, lambda layer: reference(layer, 1, 1), finish)

    return prune


def reference_wanda(path: Path) -> Prune:
    """Prune as its `lib/prune.py` does, each row of a weight by itself, with its own statistics."""
    with importable(path / "lib"):
        reference = import_module("layerwrapper")

    def prune(model: CharLM, tokens: list[Tensor], pattern: Pattern, sparsity: float) -> None:
        def finish(job: Any) -> None:
            weight = job.layer.weight.data
            scores = weight.abs() * job.scaler_row.sqrt()  # [K, C]
            if isinstance(pattern, NM):
                groups = scores.unflatten(1, (-1, pattern.m))
                lowest = groups.topk(pattern.m - pattern.n, largest=False).indices
                keep = torch.ones_like(groups, dtype=torch.bool).scatter_(2, lowest, value=False).flatten(1)
            else:
                lowest = scores.sort(stable=True).indices[:, : int(scores.shape[1] * sparsity)]
                keep = torch.ones_like(scores, dtype=torch.bool).scatter_(1, lowest, value=False)
            weight *= keep

        block_by_block(model, tokens, reference.WrappedGPT, finish)

    return prune


@torch.no_grad()
def block_by_block(
    model: CharLM, tokens: list[Tensor], wrap: Callable[[nn.Module], Any], finish: Callable[[Any], None]
) -> None:
    hidden = [model.embedded(batch) for batch in tokens]
    for block in model.blocks:
        jobs = {name: wrap(layer) for name, layer in block.named_modules() if isinstance(layer, nn.Linear)}
        handles = [
            job.layer.register_forward_hook(lambda _layer, inputs, output, job=job: job.add_batch(inputs[0], output))
            for job in jobs.values()
        ]
        for x in hidden:
            block(x)
        for handle in handles:
            handle.remove()
        for job in jobs.values():
            finish(job)
        hidden = [block(x) for x in hidden]


@contextmanager
def importable(path: Path) -> Iterator[None]:
    sys.path.insert(0, str(path.resolve()))
    try:
        yield
    finally:
        sys.path.pop(0)


def provenance() -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "sequences": SEQUENCES,
    }


def where(data: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in data["versions"].items())
    dense = [run["dense"] for run in data["runs"]]
    return (
        f"{data['cpu']}, one thread, {data['created']}; Python {data['python']}, {versions}. Perplexity of a character "
        f"held out; {len({run['seed'] for run in data['runs']})} models, {len(data['runs'])} runs, each with "
        f"{data['sequences']} calibration sequences of its own. Dense: {shown(dense)}. Seconds are CPU time, "
        "calibration included; each cell is the median (min-max)."
    )


def table(data: dict[str, Any]) -> str:
    columns = ("pattern", "who", "perplexity", "times the dense", "zeros", "seconds", "seconds by ours")
    lines = [columns, tuple("---" for _ in columns)]
    names = list(dict.fromkeys(row["who"] for run in data["runs"] for row in run["rows"]))
    for case in dict.fromkeys(row["case"] for run in data["runs"] for row in run["rows"]):
        for who in names:
            own = cells(data, case, who)
            if not own:
                lines.append((case, who, "has none", "", "", "", ""))
                continue
            reference = cells(data, case, OURS)
            lines.append(
                (
                    case,
                    who,
                    shown([row["perplexity"] for row in own]),
                    shown([row["perplexity"] / row["dense"] for row in own]),
                    f"{statistics.median(row['zeros'] for row in own):.2%}",
                    shown([row["seconds"] for row in own], 2),
                    shown([row["seconds"] / r["seconds"] for row, r in zip(own, reference, strict=True)], 2),
                )
            )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdicts(data: dict[str, Any]) -> list[str]:
    """Say what part of each peer's rise over the dense perplexity ours has."""
    lines = []
    names = list(dict.fromkeys(row["who"] for run in data["runs"] for row in run["rows"]))
    for case in dict.fromkeys(row["case"] for run in data["runs"] for row in run["rows"]):
        for mine, other in itertools.product(names, ("SparseGPT", "ALPS", "Wanda", "magnitude")):
            peers = cells(data, case, other)
            if mine.startswith(OURS) and peers:
                shares = [rise(row) / rise(peer) for row, peer in zip(cells(data, case, mine), peers, strict=True)]
                lines.append(f"- {case}: {mine} has {shown(shares, 2)} of {other}'s rise over dense")
    missing = [title(*each) for each in CASES if not all(seen(run, title(*each)) for run in data["runs"])]
    return [*lines, *([f"- not measured in every run: {'; '.join(missing)}"] if missing else [])]


def rise(row: dict[str, Any]) -> float:
    return float(row["perplexity"] - row["dense"])


def seen(run: dict[str, Any], case: str) -> bool:
    return any(row["case"] == case for row in run["rows"])


def cells(data: dict[str, Any], case: str, who: str) -> list[dict[str, Any]]:
    return [
        row | {"dense": run["dense"]}
        for run in data["runs"]
        for row in run["rows"]
        if row["case"] == case and row["who"] == who
    ]


def shown(values: list[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
