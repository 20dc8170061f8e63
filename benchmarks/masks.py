"""Time and memory of all masks of a whole transformer, ours against peers: `python -m benchmarks.masks`.

Each measurement is a fresh process that builds the model, makes the masks of all its layers once, and keeps them; each
round goes through all contestants in a shuffled order, and a ratio pairs the calls of one round. Times are CPU seconds
of one thread. The limit is what the memory's bandwidth, measured in the same round, allows: every weight read once, one
byte a weight written. Prints a table, writes JSON beside it; models that were not run keep their earlier rows.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

RESULTS = Path(__file__).parent / "results" / "masks.json"
PEER = "nvidia-modelopt"
PACKAGES = ("jupyter-hwprune", "torch", "numpy", PEER)
MODELS = {  # width, width of keys and values, hidden width, decoder layers, dtype of the weights
    "100M": (768, 256, 2560, 14, torch.float32),
    "1B": (2048, 512, 8192, 16, torch.bfloat16),
}
MEGABYTE = 1e6
COLUMNS = (
    "model",
    "masks",
    "who",
    "seconds",
    "min-max",
    "times ours",
    "min-max",
    "times the limit",
    "peak MB",
    "wrong",
)

Call = Callable[[], list[Tensor]]  # what is timed: all masks; not zero where a weight stays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with nvidia-modelopt, if not this one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    models = json.loads(options.out.read_text())["models"] if options.out.exists() else {}
    data = {**provenance(options.peer_python), "models": models}
    for name in options.models:
        models[name] = measure(name, options.rounds, options.peer_python)
        data["models"] = {each: models[each] for each in MODELS if each in models}
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps(data, indent=1) + "\n")  # so far, for the next one takes long
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    shown = "\n".join([table(data), "", *verdicts(data), "", *notes(data)])
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")
    print(f"Written to {options.out} and beside it")


def measure(model: str, rounds: int, peers: str) -> dict[str, Any]:
    jobs = [(job, name) for job, names in CONTESTANTS.items() for name in names]
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {job: [] for job in jobs}
    bandwidths = []
    shuffled = random.Random(0)  # noqa: S311 - an order, not a secret
    for _ in range(rounds):
        bandwidths.append(in_child(sys.executable, model, "", "bandwidth")["bytes_per_s"])
        for job in shuffled.sample(jobs, len(jobs)):
            python = peers if job[1].startswith("modelopt") else sys.executable
            rows[job].append(in_child(python, model, *job))
            print(model, *job, rows[job][-1], file=sys.stderr, flush=True)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dtype": str(MODELS[model][-1]).removeprefix("torch."),
        "weights": sum(weight.numel() for weight in weights_of(transformer(model, "meta"))),
        "bandwidth_bytes_per_s": bandwidths,
        "rows": [{"masks": job, "who": name, "runs": runs} for (job, name), runs in rows.items()],
    }


def in_child(python: str, *arguments: str) -> dict[str, Any]:
    """Run this module in a fresh interpreter; an error there is what its row says."""
    command = [python, "-m", "benchmarks.masks", "--child", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    if run.returncode:
        return {"error": (run.stderr.strip().splitlines() or [f"ended by signal {-run.returncode}"])[-1]}
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


def child(model_name: str, job: str, name: str) -> dict[str, Any]:
    if name == "bandwidth":
        return {"bytes_per_s": copy_bandwidth()}
    with redirect_stdout(sys.stderr), torch.no_grad():
        CONTESTANTS[job][name](nn.Sequential(nn.Linear(64, 64, bias=False)))()  # brings what a library loads once
        model = transformer(model_name, "cpu")
        first = [weight.clone() for weight in weights_of(model)[:7]]
        gc.collect()
        held = resident_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        call = CONTESTANTS[job][name](model)
        start = time.process_time()
        masks = call()
        seconds = time.process_time() - start
        peak = resident_bytes("VmHWM") - held
        return {"seconds": seconds, "peak_mb": peak / MEGABYTE, "wrong": wrong(first, masks, job)}


def copy_bandwidth() -> float:
    """Return the bytes a second, read and written, of the best of several copies too large for any cache."""
    source = torch.ones(1 << 28)  # 1 GiB
    target = torch.ones_like(source)
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        target.copy_(source)
        best = min(best, time.process_time() - start)
    return 2 * source.numel() * source.element_size() / best


def resident_bytes(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) * 1024


def transformer(name: str, device: str) -> nn.Sequential:
    """Build the linear layers of a Llama-like decoder, all in memory; each decoder layer holds the first one's values.

    Drawing a billion values would take longer than anything measured here, and no contestant looks at two layers.
    """
    width, keys, hidden, depth, dtype = MODELS[name]
    shapes = [(width, width), (width, keys), (width, keys), (width, width), (width, hidden), (width, hidden)]
    shapes.append((hidden, width))
    layers = [nn.Linear(i, o, bias=False, device="meta") for _ in range(depth) for i, o in shapes]
    if device != "meta":
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(o, i, generator=generator, dtype=torch.float32).to(dtype) for i, o in shapes]
        for i, layer in enumerate(layers):
            layer.weight = nn.Parameter(drawn[i % len(shapes)].clone())
    return nn.Sequential(*layers)


def weights_of(model: nn.Module) -> list[Tensor]:
    return [weight.detach() for weight in model.parameters()]


def wrong(weights: list[Tensor], masks: list[Tensor], job: str) -> int:
    """Count the groups without 2 kept or, unstructured, the layers without half kept, or where less magnitude stays."""
    faults = 0
    for weight, mask in zip(weights, masks, strict=False):
        keep, size = mask != 0, weight.abs().float()
        if job == "2:4":
            best = size.view(-1, 4).topk(2, dim=1).values.sum(dim=1)
            kept = (size * keep).view(-1, 4).sum(dim=1)
            faults += int(((keep.view(-1, 4).sum(dim=1) != 2) | (kept < best * (1 - 1e-6))).sum())
        else:
            half = weight.numel() // 2
            lowest_kept, highest_gone = size[keep].min(), size[~keep].max()
            faults += int(int(keep.count_nonzero()) != half or bool(lowest_kept < highest_gone))
    return faults


def ours(job: str) -> Callable[[nn.Module], Call]:
    def ready(model: nn.Module) -> Call:
        masks = import_module("jupyter_hwprune.pruning.masks")
        magnitude = import_module("jupyter_hwprune.pruning.importance").magnitude

        def keep(weight: Tensor) -> Tensor:
            scores = magnitude(weight)
            made: Tensor = (
                masks.keep_n_of_m(scores, 2, 4) if job == "2:4" else masks.keep_top(scores, scores.numel() // 2)
            )
            return made

        return lambda: [keep(weight) for weight in weights_of(model)]

    return ready


def plain_torch(job: str) -> Callable[[nn.Module], Call]:
    """What one would write by hand: topk and scatter."""

    def keep(weight: Tensor) -> Tensor:
        scores = weight.abs()
        groups = scores.view(-1, 4) if job == "2:4" else scores.view(1, -1)
        kept = groups.topk(groups.shape[1] // 2, dim=1, sorted=False).indices
        return torch.zeros(groups.shape, dtype=torch.bool).scatter_(1, kept, value=True).view(weight.shape)

    return lambda model: lambda: [keep(weight) for weight in weights_of(model)]


def weight_norm_sparsifier(model: nn.Module) -> Call:
    """Give the masks as the sparsifier leaves them on the prepared model; preparing is not timed."""
    pruning = import_module("torch.ao.pruning")
    sparsifier = pruning.WeightNormSparsifier(1.0, sparse_block_shape=(1, 4), zeros_per_block=2, norm=1)
    sparsifier.prepare(model, [{"tensor_fqn": name} for name, _ in list(model.named_parameters())])

    def call() -> list[Tensor]:
        sparsifier.step()
        return [group["module"].parametrizations.weight[0].mask for group in sparsifier.groups]

    return call


def l1_unstructured(model: nn.Module) -> Call:
    prune = import_module("torch.nn.utils.prune")

    def call() -> list[Tensor]:
        for layer in model.children():
            prune.l1_unstructured(layer, "weight", amount=0.5)
        return [layer.get_buffer("weight_mask") for layer in model.children()]

    return call


def modelopt(model: nn.Module) -> Call:
    sparsity = import_module("modelopt.torch.sparsity")

    def call() -> list[Tensor]:
        pruned = sparsity.sparsify(model, "sparse_magnitude")
        return [layer.get_buffer("_weight_mask") for layer in pruned.children()]

    return call


CONTESTANTS: dict[str, dict[str, Callable[[nn.Module], Call]]] = {  # ours first for each kind of masks
    "2:4": {
        "ours": ours("2:4"),
        "topk, scatter": plain_torch("2:4"),
        "torch.ao: WeightNormSparsifier.step": weight_norm_sparsifier,
        "modelopt: sparsify, sparse_magnitude": modelopt,
    },
    "50 % unstructured": {
        "ours": ours("50 % unstructured"),
        "topk, scatter": plain_torch("50 % unstructured"),
        "torch.nn.utils.prune: l1_unstructured": l1_unstructured,
    },
}


def provenance(peer_python: str) -> dict[str, Any]:
    versions = {name: installed(name) for name in PACKAGES}
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions | {PEER: versions[PEER] or installed_there(peer_python)},
    }


def installed_there(python: str) -> str | None:
    asked = "from benchmarks.masks import PEER, installed; print(installed(PEER) or '')"
    said = subprocess.run([python, "-c", asked], check=False, capture_output=True, text=True)  # noqa: S603 - the peers'
    return said.stdout.strip() or None


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def table(data: dict[str, Any]) -> str:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for name, model in data["models"].items():
        for row in model["rows"]:
            errors = [run["error"] for run in row["runs"] if "error" in run]
            values = (errors[0][:60], *[""] * 6) if errors else cells(model, row)
            rows.append((name, row["masks"], row["who"], *values))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cells(model: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    times = [run["seconds"] for run in row["runs"]]
    limits = [seconds / limit(model, each) for seconds, each in zip(times, model["bandwidth_bytes_per_s"], strict=True)]
    against = spread(ratios(model, row), 2) if row["who"] != "ours" else ("1", "")
    peak = statistics.median(run["peak_mb"] for run in row["runs"])
    faults = row["runs"][0]["wrong"]
    return (*spread(times, 2), *against, f"{statistics.median(limits):.1f}", f"{peak:.0f}", str(faults))


def limit(model: dict[str, Any], bandwidth: float) -> float:
    """Return the seconds that moving the weights in and the masks out takes."""
    size = torch.finfo(getattr(torch, model["dtype"])).bits // 8
    return float(model["weights"] * (size + 1) / bandwidth)


def ratios(model: dict[str, Any], row: dict[str, Any]) -> list[float]:
    """Return how many times as long as ours a row took, in each round."""
    own = next(each for each in model["rows"] if each["masks"] == row["masks"])
    return [theirs["seconds"] / our["seconds"] for theirs, our in zip(row["runs"], own["runs"], strict=True)]


def spread(values: list[float], digits: int) -> tuple[str, str]:
    return f"{statistics.median(values):.{digits}f}", f"{min(values):.{digits}f}-{max(values):.{digits}f}"


def verdicts(data: dict[str, Any]) -> Iterator[str]:
    """Set the fastest and the smallest of the others against ours, for each model and kind of masks."""
    for name, model in data["models"].items():
        for kind in CONTESTANTS:
            rows = [row for row in model["rows"] if row["masks"] == kind and not any("error" in r for r in row["runs"])]
            if len(rows) > 1 and rows[0]["who"] == "ours":
                fastest = min(rows[1:], key=lambda row: statistics.median(ratios(model, row)))
                ratio = statistics.median(ratios(model, fastest))
                said = "won" if ratio >= 1 else "LOST"
                yield f"- {name}, {kind}: the fastest other, {fastest['who']}, takes {ratio:.2f} times our time: {said}"


def notes(data: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {found or 'not installed'}" for name, found in data["versions"].items())
    yield f"- {data['cpu']}, {data['cores']} cores; Python {data['python']}, {versions}."
    for name, model in data["models"].items():
        copied, widest = spread([each / 1e9 for each in model["bandwidth_bytes_per_s"]], 1)
        least = limit(model, statistics.median(model["bandwidth_bytes_per_s"]))
        yield (
            f"- {name}: {model['weights'] / 1e6:.0f} million weights in {model['dtype']}; runs of each: "
            f"{len(model['rows'][0]['runs'])}; copying moves {copied} GB/s ({widest}), so the limit is {least:.3f} s."
        )
    yield "- peak MB: what making and holding all masks adds to the process with the model in it."
    yield "- wrong: in the first decoder layer, groups or weights without the exact count, or that keep less magnitude."


if __name__ == "__main__":
    main()
