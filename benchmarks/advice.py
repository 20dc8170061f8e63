"""Advice is true: `python -m benchmarks.advice`.

`%hwprune advise` times many pruned copies of a model for a second or two. Here each of its rows is measured again by
the full run of `%hwprune` that it stands for: whether both give the same verdict, and by how much their ratios differ.
Forty cases: ten rows of each of four networks, spread over the table of two runtimes (`--models`, `--cases`). Each case
is written as it is measured, and `--resume` goes on with those that are missing. Prints a table, writes JSON beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor, nn

from benchmarks.models import MODELS, Bert, ResNet18, conv_bn
from jupyter_hwprune import Report
from jupyter_hwprune.report import Comparison
from jupyter_hwprune.survey.advice import Advice, Advised
from jupyter_hwprune.survey.advice.following import line_of

RESULTS = Path(__file__).parent / "results" / "advice.json"
HEAD = ("model", "pattern", "removes", "toolchain", "advised", "full run", "verdicts", "advised / full")
PER_MODEL = 10  # rows of about fourteen: six float patterns and int8 with channels, for each of two runtimes
TARGET = "x86-cpu:onnxruntime,x86-cpu:openvino"


def plain_cnn() -> nn.Module:
    """Return a convolutional network without branches, in the manner of VGG."""
    widths = (3, 64, 64, 128, 128, 256, 256)
    pairs = enumerate(itertools.pairwise(widths))
    made = [(conv_bn(a, b, 3, 2 if at in {2, 4} else 1), nn.ReLU()) for at, (a, b) in pairs]
    return nn.Sequential(*itertools.chain(*made), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 100))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "resnet18": (ResNet18, lambda: torch.randn(1, 3, 112, 112)),
    "mobilenet_v2": (MODELS["mobilenet_v2"][0], lambda: MODELS["mobilenet_v2"][1](1)),
    "bert_4": (lambda: Bert(layers=4, width=256, heads=4, vocabulary=1000), lambda: torch.randint(0, 1000, (1, 64))),
    "cnn": (plain_cnn, lambda: torch.randn(1, 3, 64, 64)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--cases", type=int, default=PER_MODEL, help="rows of each model, spread over its table")
    parser.add_argument("--resume", action="store_true", help="keep the cases that are in the output already")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)  # torch's idle threads would otherwise spin on cores that others need
    cases = json.loads(options.out.read_text())["cases"] if options.resume and options.out.exists() else []
    for name in options.models:
        held_against_full_runs(name, options.cases, options.out, cases, fresh=not options.resume)
    print(f"{summary(cases)}\nWritten to {options.out} and beside it")


def held_against_full_runs(name: str, most: int, out: Path, cases: list[dict[str, Any]], *, fresh: bool) -> None:
    """Ask for advice by the magic itself, then run the line of each row in full, but for cases that are there already.

    Advice that is not `fresh` is that of the run that is resumed, which advise remembers.
    """
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "jupyter_hwprune")
    torch.manual_seed(0)
    build, make_input = NETWORKS[name]
    shell.push({name: build(), "x": make_input()})
    advice: Advice = shell.run_line_magic(
        "hwprune", f"advise {name} --input x --target {TARGET} {'--fresh' if fresh else ''}"
    )
    print(advice, flush=True)
    rows = [row for row in advice.rows if row.evidence.kind == "measured" and row.pattern is not None]
    for row in spread(rows, most):
        line = line_of(row, {"model": name, "input": "x"}, None)
        if any(one["line"] == line for one in cases):
            continue
        report: Report = shell.run_line_magic("hwprune", line.removeprefix("%hwprune ")).report
        cases.append(case(name, row, report) | {"line": line})
        print(" | ".join(cells(cases[-1])), flush=True)
        write(out, cases)
    shell.drop_by_id({name: shell.user_ns[name]})


def spread(rows: Sequence[Advised], most: int) -> list[Advised]:
    """Return at most so many rows, evenly from the first to the last: what gains nothing is among them."""
    count = min(most, len(rows))
    return [rows[round(at * (len(rows) - 1) / max(1, count - 1))] for at in range(count)]


def case(name: str, row: Advised, report: Report) -> dict[str, Any]:
    speed = report.deciding
    if row.int8 and report.corners is not None and report.corners.rows:
        speed = report.corners.rows[3].speed
    return {
        "model": name,
        "pattern": row.what,
        "removes": row.removes,
        "toolchain": row.toolchain,
        "advised": vars(row.speed),
        "full": vars(speed),
        "device": row.evidence.device,
        "versions": report.versions,
        "created": report.created,
        "load_1min": os.getloadavg()[0],
    }


def cells(one: dict[str, Any]) -> tuple[str, ...]:
    advised, full = Comparison(**one["advised"]), Comparison(**one["full"])
    verdicts = advised.verdict if agree(one) else f"**{advised.verdict}, then {full.verdict}**"
    ratios = (f"{each.speedup:.2f}x" if each.speedup else "not measured" for each in (advised, full))
    off = error(one)
    head = (one["model"], one["pattern"], one["removes"], one["toolchain"])
    return (*head, *ratios, verdicts, "" if off is None else f"{off:.3f}")


def agree(one: dict[str, Any]) -> bool:
    return bool(one["advised"]["verdict"] == one["full"]["verdict"])


def error(one: dict[str, Any]) -> float | None:
    """Return the advised ratio divided by that of the full run."""
    advised, full = one["advised"]["speedup"], one["full"]["speedup"]
    return advised / full if advised and full else None


def summary(cases: Sequence[dict[str, Any]]) -> str:
    off = [abs(math.log(each)) for one in cases if (each := error(one))]
    load, cores = [one["load_1min"] for one in cases], os.cpu_count() or 1
    beside = f" with {cores} cores, so that other programs ran beside" if max(load) > cores else f" with {cores} cores"
    return (
        f"{sum(map(agree, cases))} of {len(cases)} verdicts agree; the ratios differ by {statistics.median(off):.1%} "
        f"in the median and {max(off):.1%} at most. {cases[0]['device']}, one thread, batch 1; the machine's load was "
        f"{min(load):.1f} to {max(load):.1f}{beside}."
    )


def write(path: Path, cases: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cases": cases}, indent=1) + "\n")
    rows = [HEAD, tuple("---" for _ in HEAD), *map(cells, cases)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    merged = {name: version for one in cases for name, version in one["versions"].items()}
    versions = ", ".join(f"{name} {version}" for name, version in merged.items())
    made = sorted(one["created"] for one in cases)
    path.with_suffix(".md").write_text(f"{summary(cases)} {made[0]} to {made[-1]}; {versions}\n\n{table}\n")


if __name__ == "__main__":
    main()
