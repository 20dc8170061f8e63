"""How often the verdict is wrong, on models whose truth is known: `python -m benchmarks.verdicts`.

    python -m benchmarks.verdicts --runs 200 [--load] [--cases same,less] [--afresh]

`same` compares a model with a copy of itself, so "faster" and "slower" are wrong. `less` compares a stack of 13 equal
blocks with one of 12, which is 8 % faster where the blocks are all there is, so "no measurable gain" is a miss. Both
run on two runtimes and three networks in turn, as `%hwprune` would time them. `--load` runs two programs beside it that
stream memory and two that keep a core busy each. Every run is kept as it ends, and a later call adds to them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.masks import cpu_name, installed
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.choose.effort import FULL
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export import write_case
from jupyter_hwprune.measure.bench import Bench
from jupyter_hwprune.measure.candidates import Candidate
from jupyter_hwprune.toolchains.process import private_folder

RESULTS = Path(__file__).parent / "results" / "verdicts.json"
BLOCKS = 13  # and 12 of them take 1/1.083 of the time
RUNTIMES = ("onnxruntime", "openvino")
STREAMED = 64 << 20  # bytes, more than a cache holds
RIGHT = {"same": "no measurable gain", "less": "faster"}


class Products(nn.Module):
    """A block of a transformer's feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(192), nn.Linear(192, 768), nn.Linear(768, 192)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(nn.functional.gelu(self.up(self.norm(x))))
        return x + y


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(48, 48, 3, padding=1), nn.ReLU())


def separable() -> nn.Module:
    return nn.Sequential(nn.Conv2d(96, 96, 3, padding=1, groups=96), nn.Conv2d(96, 96, 1), nn.ReLU())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (convolution, (1, 48, 28, 28)),
    "separable": (separable, (1, 96, 28, 28)),
    "products": (Products, (1, 64, 192)),
}


def verdict(network: str, runtime: str, case: str) -> dict[str, Any]:
    """Time one pair of models, and return the comparison with the rounds of each process."""
    block, shape = NETWORKS[network]
    torch.manual_seed(0)
    dense = nn.Sequential(*(block() for _ in range(BLOCKS))).eval()
    other = dense if case == "same" else dense[: BLOCKS - 1]
    example, effort = Example.of(torch.randn(shape)), replace(FULL, profile=False)
    choice = choose("cpu", toolchain=runtime, pattern="channel").for_model_in("float32")
    with private_folder() as folder:

        def written(name: str, model: nn.Module) -> Any:
            return write_case(model, example, choice, folder, name, lambda *_: None)

        bench = Bench(lambda _, name: written(name, dense), choice, folder, lambda *_: None, effort=effort)
        found = bench.measure([Candidate(written("pruned", other), (), "", channels=True)])[0]
    assert found.timed is not None
    return {**vars(found.timed.comparison), "rounds": list(found.timed.rounds)}


def _stream() -> None:
    array = np.zeros(STREAMED // 8)
    while True:
        array += 1


def _burn() -> None:
    for number in itertools.count():
        hash(number)


@contextlib.contextmanager
def load() -> Iterator[None]:
    others = [multiprocessing.Process(target=each, daemon=True) for each in (_stream, _stream, _burn, _burn)]
    for each in others:
        each.start()
    try:
        yield
    finally:
        for each in others:
            each.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--cases", default="same,less")
    parser.add_argument("--afresh", action="store_true", help="leave out the runs that were kept before")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    settings = list(itertools.product(options.cases.split(","), NETWORKS, RUNTIMES))
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    state = "loaded" if options.load else "idle"
    rows = [] if options.afresh else known.get(state, {}).get("runs", [])
    with load() if options.load else contextlib.nullcontext():
        for _ in range(options.runs):
            case, network, runtime = settings[len(rows) % len(settings)]
            found = verdict(network, runtime, case)
            rows.append({"case": case, "network": network, "runtime": runtime, "cpu": cpu_name()} | found)
            print(rows[-1], flush=True)
            known[state] = {
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "packages": {name: installed(name) for name in ("torch", *RUNTIMES)},
                "runs": rows,
            }
            options.out.write_text(json.dumps(known, indent=1) + "\n")
    shown = table(known)
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")


def table(data: dict[str, Any]) -> str:
    lines = [
        "| machine | case | runs | right | wrong verdicts | ratios seen |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for state, found in data.items():
        for case, right in RIGHT.items():
            rows = [row for row in found["runs"] if row["case"] == case]
            if rows:
                said = Counter(row["verdict"] for row in rows)
                wrong = ", ".join(f"{count} {verdict}" for verdict, count in said.items() if verdict != right) or "none"
                ratios = sorted(row["speedup"] for row in rows)
                seen = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
                lines.append(f"| {state} | {case} | {len(rows)} | {said[right]} | {wrong} | {seen} |")
    chips = {state: ", ".join(sorted({row["cpu"] for row in found["runs"]})) for state, found in data.items()}
    notes = [f"- {state}: {chips[state]}, {found['created']}" for state, found in data.items()]
    return "\n".join([*lines, "", *notes])


if __name__ == "__main__":
    main()
