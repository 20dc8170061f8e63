"""What an order of input channels wins for 2:4, ours against apex: `python -m benchmarks.permutation --apex CHECKOUT`.

Efficacy is apex's own: 0 is the order given, 100 what half of each row keeps where it may stand anywhere. Each seed
runs apex and every effort of ours in turn on the same matrix, timed in CPU seconds of the process, on one thread.
Prints a table, writes JSON beside it; a run replaces the matrices it measured and keeps the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.masks import cpu_name, installed
from jupyter_hwprune.core.pattern import NM
from jupyter_hwprune.pruning.layers import as_matrix
from jupyter_hwprune.pruning.permutation import bound, retained, search

RESULTS = Path(__file__).parent / "results" / "permutation.json"
PATTERN = NM(2, 4)
EFFORTS = {"ours, 100 rounds": 100, "ours, 1000 rounds": 1000, "ours, as it decides": None}
APEX = {0: "apex, no escapes", 100: "apex, 100 escapes, its default"}
COLUMNS = ("matrix", "shape", "who", "efficacy", "min-max", "CPU s", "min-max", "runs")

Search = Callable[[Tensor, int], Tensor]  # scores, seed -> order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apex", type=Path, help="a checkout of https://github.com/NVIDIA/apex")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--apex-seeds", type=int, help="fewer for apex, which takes minutes, or hours on a wide matrix")
    parser.add_argument("--escapes", type=int, nargs="*", default=list(APEX), choices=list(APEX))
    parser.add_argument("--matrices", nargs="*", default=list(MATRICES), choices=list(MATRICES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    contestants: dict[str, Search] = {name: ours(rounds) for name, rounds in EFFORTS.items()}
    peers = apex(options.apex, options.escapes) if options.apex else {}
    runs = dict.fromkeys(peers, options.apex_seeds or options.seeds)
    contestants |= peers
    for name in options.matrices:
        measured = measure(MATRICES[name](), contestants, options.seeds, runs)
        keep(options.out, name, measured)
        print(name, "measured", file=sys.stderr, flush=True)
    data = json.loads(options.out.read_text())
    shown = "\n".join([table(data), "", *verdicts(data), "", *notes(data)])
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")
    print(f"Written to {options.out} and beside it")


def measure(scores: Tensor, contestants: dict[str, Search], seeds: int, runs: dict[str, int]) -> dict[str, Any]:
    """Run each contestant once a seed, in turn, on the scores [K, C]."""
    given, most = retained(scores, PATTERN), bound(scores, PATTERN)
    rows: dict[str, Any] = {name: {"efficacy": [], "cpu_s": []} for name in contestants}
    for seed in range(seeds):
        for name, find in contestants.items():
            if seed < runs.get(name, seeds):
                start = time.process_time()
                order = find(scores, seed)
                rows[name]["cpu_s"].append(time.process_time() - start)
                rows[name]["efficacy"].append((retained(scores, PATTERN, order) - given) / (most - given) * 100)
                if not torch.equal(order.sort().values, torch.arange(scores.shape[1])):
                    raise SystemExit(f"{name} returned no order of all columns")
    return {"shape": list(scores.shape), "created": datetime.now(UTC).isoformat(timespec="seconds"), "rows": rows}


def keep(out: Path, name: str, measured: dict[str, Any]) -> None:
    """Write what was measured at once: apex may take long over the next matrix."""
    before = json.loads(out.read_text())["matrices"] if out.exists() else {}
    matrices = {each: measured if each == name else before.get(each) for each in MATRICES}
    data = {**provenance(), "matrices": {each: found for each, found in matrices.items() if found}}
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(data, indent=1) + "\n")


def ours(rounds: int | None) -> Search:
    return lambda scores, seed: search(scores, PATTERN, rounds=rounds, seed=seed)


def apex(checkout: Path, escapes: list[int]) -> dict[str, Search]:
    """Load apex's search as its pruning calls it; without CUDA kernels it takes its CPU path by itself.

    `exhaustive_search` uses `time`, which nothing it imports brings: that name is given to it. Nothing else is changed.
    """
    os.environ["APEX_ASP_CACHE_DIR"] = tempfile.mkdtemp()
    sys.path.insert(0, str(checkout / "apex" / "contrib" / "sparsity"))
    with redirect_stdout(sys.stderr):
        found = import_module("permutation_search_kernels")
        import_module("permutation_search_kernels.exhaustive_search").time = time  # type: ignore[attr-defined]

    def find(scores: Tensor, seed: int, attempts: int) -> Tensor:
        np.random.seed(seed)  # noqa: NPY002 - what apex draws from
        with redirect_stdout(sys.stderr):
            order = found.accelerated_search_for_good_permutation(scores, {"escape_attempts": attempts})
        return torch.tensor([int(i) for i in order])

    find(torch.rand(2, 12), 0, 0)  # lists the 35 ways to regroup 8 columns, once and not timed
    return {APEX[attempts]: partial(find, attempts=attempts) for attempts in escapes}


def apex_case() -> Tensor:
    """The matrix of apex's own README: `permutation_test.py --channels 64 --filters 128`, its seed 1."""
    return torch.from_numpy(np.random.RandomState(1).rand(128, 64))


def normal(rows: int, columns: int, power: float = 1.0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).abs().pow(power)


def trained(build: Callable[[], nn.Sequential], layer: int) -> Tensor:
    """Train on scikit-learn's digits, full batches, and return a layer's magnitudes, its taps among the rows."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16  # [1797, 1, 8, 8]
    labels = torch.from_numpy(digits.target)
    torch.manual_seed(0)
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    weight = model[layer].get_parameter("weight").detach()
    return as_matrix(weight, model[layer]).flatten(0, 1).abs()


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(48, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


MATRICES: dict[str, Callable[[], Tensor]] = {
    "apex's own, uniform": apex_case,
    "normal": lambda: normal(256, 256),
    "heavy-tailed (cubed normal)": lambda: normal(64, 128, 3.0),
    "trained MLP, first layer": lambda: trained(mlp, 1),
    "trained MLP, second layer": lambda: trained(mlp, 3),
    "trained CNN, second convolution": lambda: trained(cnn, 2),
    "trained CNN, third convolution": lambda: trained(cnn, 4),
    "normal, wide": lambda: normal(4096, 4096),
}


def provenance() -> dict[str, Any]:
    versions = {name: installed(name) for name in ("jupyter-hwprune", "torch", "numpy", "scipy", "scikit-learn")}
    return {"cpu": cpu_name(), "python": sys.version.split()[0], "versions": versions, "pattern": str(PATTERN)}


def table(data: dict[str, Any]) -> str:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for name, matrix in data["matrices"].items():
        shape = "x".join(map(str, matrix["shape"]))
        rows += [
            (name, shape, who, *spread(row["efficacy"], 1), *spread(row["cpu_s"], 2), str(len(row["cpu_s"])))
            for who, row in matrix["rows"].items()
        ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def spread(values: list[float], digits: int) -> tuple[str, str]:
    return f"{statistics.median(values):.{digits}f}", f"{min(values):.{digits}f}-{max(values):.{digits}f}"


def verdicts(data: dict[str, Any]) -> Iterator[str]:
    """Hold each matrix against the goal: at least apex's efficacy in a tenth of its CPU time."""
    for name, matrix in data["matrices"].items():
        medians = {
            who: (statistics.median(row["efficacy"]), statistics.median(row["cpu_s"]))
            for who, row in matrix["rows"].items()
        }
        for peer in APEX.values():
            if peer not in medians:
                yield f"- {name}, {peer}: not run"
                continue
            theirs, seconds = medians[peer]
            won = [who for who in EFFORTS if medians[who][0] >= theirs and medians[who][1] <= seconds / 10]
            reached = [f"{who} ({medians[who][0]:.1f}, 1/{seconds / medians[who][1]:.0f} of its time)" for who in won]
            outcome = f"reached by {', '.join(reached)}" if won else "LOST: no effort reaches it in a tenth of the time"
            yield f"- {name}, {peer}: {theirs:.1f} in {seconds:.1f} s; {outcome}"


def notes(data: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {found or 'not installed'}" for name, found in data["versions"].items())
    return [
        f"- {data['cpu']}, one thread; Python {data['python']}, {versions}. Medians over the runs, each its own seed.",
        "- apex: `accelerated_search_for_good_permutation`, which regroups 8 columns at once, on the CPU path it takes",
        "  without its CUDA kernels (those are not measured). `time`, which its `exhaustive_search` uses and does not",
        "  import, was given to it; nothing else is changed. Without escapes it draws nothing: all runs end alike.",
    ]


if __name__ == "__main__":
    main()
