"""Many candidates on one bench: `python -m benchmarks.candidates`.

Forty pruned models of one network, against calls of `hwprune` one by one (`--candidates N`, `--calls N`). A bench
exports, compiles and times the dense model once, and times all candidates in turn with it. Writes results/candidates.*.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import ResNet18
from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.choose.effort import FULL, QUICK, Effort
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.measure.rating import Settled
from jupyter_hwprune.measure.writing import bench_for, candidate
from jupyter_hwprune.pruning import plan_and_prune
from jupyter_hwprune.toolchains.process import private_folder

RESULTS = Path(__file__).parent / "results" / "candidates.json"
TARGET, TOOLCHAIN = "intel-cpu", "onnxruntime"


def silent(_phase: str, _detail: str) -> None:
    """Show no progress."""


def on_benches(
    model: torch.nn.Module, example: Example, shares: list[float], efforts: dict[str, Effort]
) -> dict[str, Any]:
    """Bring pruned models of these shares to a bench of each effort; returns seconds of each step and the ratios."""
    choice = choose(TARGET, toolchain=TOOLCHAIN, pattern="channel/8").for_model_in("float32")
    start = time.monotonic()
    pruned = [plan_and_prune(model, example, Channel(8), share) for share in shares]
    found: dict[str, Any] = {"prune_s": time.monotonic() - start}
    with private_folder() as folder:
        benches = {name: bench_for(model, example, choice, folder, silent, effort) for name, effort in efforts.items()}
        first = next(iter(benches.values()))
        start = time.monotonic()
        brought = [
            candidate(first, model, Settled(each, choice), example, f"pruned-{i}") for i, each in enumerate(pruned)
        ]
        found["export_s"] = time.monotonic() - start
        for name, bench in benches.items():
            start = time.monotonic()
            measured = bench.measure(brought)
            measure_s = time.monotonic() - start
            start = time.monotonic()
            bench.measure(brought)
            again_s = time.monotonic() - start
            speedups = [each.timed.comparison.speedup if each.timed else None for each in measured]
            found[name] = {"measure_s": measure_s, "again_s": again_s, "speedups": speedups}
        machine = measured[0].machine
        found["machine"] = machine.cpu if machine else "an unknown machine"
        found["versions"] = measured[0].versions | {"torch": torch.__version__}
    return found


def one_by_one(model: torch.nn.Module, x: torch.Tensor, shares: list[float]) -> list[float]:
    """Return the seconds of a whole call of `hwprune` for each share."""
    seconds = []
    for share in shares:
        start = time.monotonic()
        hwprune(model, x, target=TARGET, toolchain=TOOLCHAIN, pattern="channel/8", sparsity=share)
        seconds.append(time.monotonic() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--calls", type=int, default=4)
    options = parser.parse_args()
    torch.manual_seed(0)
    model, x = ResNet18().eval(), torch.randn(1, 3, 224, 224)
    number = options.candidates
    shares = [0.1 + 0.8 * i / max(1, number - 1) for i in range(number)]
    benches = on_benches(model, Example.of(x), shares, {"quick": QUICK, "full": FULL})
    calls = one_by_one(model, x, shares[:: max(1, number // options.calls)][: options.calls])
    found = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "candidates": number,
        **benches,
        "calls_s": calls,
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = table(found)
    RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def table(found: dict[str, Any]) -> str:
    number, each = found["candidates"], statistics.median(found["calls_s"])
    prepared = f"Pruned in {found['prune_s']:.0f} s and exported in {found['export_s']:.0f} s, once for both benches."
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        f"{number} candidates of a ResNet-18 shape, {TOOLCHAIN}, channel/8, batch 1.",
        "",
        f"{found['machine']}, one thread, {found['created']}; {versions}",
        "",
        f"Seconds; what is not measured is said to be reckoned. {prepared}",
        "",
        "| one bench | compile, check and time | the same again, found |",
        "|---|---|---|",
    ]
    for name in ("quick", "full"):
        row = found[name]
        lines.append(f"| {name} effort | {row['measure_s']:.1f} | {row['again_s']:.1f} |")
    calls = len(found["calls_s"])
    said = f"{calls} calls of `hwprune` one by one took {each:.1f} s each (median), so {number} of them are reckoned at"
    return "\n".join([*lines, "", f"{said} {number * each:.0f} s.", ""])


if __name__ == "__main__":
    main()
