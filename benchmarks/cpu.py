"""What `%hwprune` measures on this CPU: `python -m benchmarks.cpu`.

Three well-known shapes, with half of their channels removed and with 90 % of their weights zeroed, compiled by each CPU
toolchain; and each toolchain's verdict on a model against itself, twenty times. Prints tables, writes JSON beside them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from benchmarks.models import MODELS
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.measure.rating import Settled
from jupyter_hwprune.measure.writing import bench_for, measure
from jupyter_hwprune.pruning import Pruned
from jupyter_hwprune.report import Report, Totals
from jupyter_hwprune.toolchains.process import private_folder

RESULTS = Path(__file__).parent / "results" / "cpu.json"
TOOLCHAINS = ("onnxruntime", "openvino")
CASES = (("channel/8", 0.5), ("unstructured", 0.9))
COLUMNS = ("model", "pattern", "toolchain", "dense ms", "pruned ms", "speed-up", "95 %", "floor", "MACs", "verdict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--itself", type=int, default=20, help="runs of a model against itself, for each toolchain")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    reports = [report for model in options.models for report in prune_all_ways(model)]
    verdicts = {name: against_itself(name, options.itself) for name in TOOLCHAINS} if options.itself else {}
    shown = "\n".join([where(reports), "", table(reports), "", *(tally(name, each) for name, each in verdicts.items())])
    print(shown)
    data = {"runs": [provenance(report) for report in reports], "against_itself": verdicts}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(shown + "\n")
    print(f"Written to {options.out} and beside it")


def prune_all_ways(name: str) -> list[Report]:
    """Run the magic itself, in an IPython, for each toolchain and pattern."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "jupyter_hwprune")
    torch.manual_seed(0)
    build, make_input = MODELS[name]
    shell.push({name: build(), "x": make_input(1)})
    reports = []
    for pattern, sparsity in CASES:
        for toolchain in TOOLCHAINS:
            line = f"{name} --input x --target intel-cpu:{toolchain} --pattern {pattern} --sparsity {sparsity}"
            report = shell.run_line_magic("hwprune", line).report
            print("  ".join(cells(report)), flush=True)
            for reason in report.reasons:
                print(f"    {reason}", flush=True)
            reports.append(report)
    shell.drop_by_id({name: shell.user_ns[name]})
    return reports


def against_itself(toolchain: str, runs: int) -> list[dict[str, Any]]:
    """Judge a model against an equal copy, as a run judges dense against pruned."""
    torch.manual_seed(0)
    build, make_input = MODELS["mobilenet_v2"]
    model: nn.Module = build().eval()
    choice = choose("intel-cpu", toolchain=toolchain)
    same = Settled(Pruned(model, (), (), Totals(0, 0, 0, 0)), choice)
    found = []
    for _ in range(runs):
        with private_folder() as folder:
            example = Example.of(make_input(1))
            bench = bench_for(model, example, choice, folder, lambda *_: None)
            timed = measure(bench, model, same, example).timed
        assert timed is not None
        comparison = timed.comparison
        found.append({"speedup": comparison.speedup, "floor": comparison.noise_floor, "verdict": comparison.verdict})
    return found


def where(reports: list[Report]) -> str:
    """Say on what machine, with which versions, and when."""
    versions = {name: value for report in reports for name, value in report.versions.items()}
    machine = reports[0].machine
    cpu = machine.cpu if machine else "an unknown machine"
    return f"{cpu}, one thread, batch 1, {reports[0].created}; " + ", ".join(f"{n} {v}" for n, v in versions.items())


def tally(toolchain: str, verdicts: list[dict[str, Any]]) -> str:
    counts = Counter(row["verdict"] for row in verdicts)
    said = ", ".join(f"{count}x {verdict}" for verdict, count in counts.items())
    return f"- {toolchain}, mobilenet_v2 against itself, {len(verdicts)} runs: {said}"


def cells(report: Report) -> tuple[str, ...]:
    m = report.timed
    if m is None or (c := m.comparison).speedup is None or c.low is None or c.high is None or c.noise_floor is None:
        unknown = "not measured"
        return (report.request.model, report.request.pattern, report.request.toolchain, *[unknown] * 7)
    macs, left = report.totals.macs, report.totals.pruned_macs
    assert macs is not None
    assert left is not None
    return (
        report.request.model,
        report.request.pattern,
        report.request.toolchain,
        f"{m.dense_ms:.2f}",
        f"{m.pruned_ms:.2f}",
        f"{c.speedup:.2f}x",
        f"{c.low:.2f}-{c.high:.2f}",
        f"{100 * c.noise_floor:.1f} %",
        f"-{1 - left / macs:.0%}",
        c.verdict,
    )


def table(reports: list[Report]) -> str:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *map(cells, reports)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def provenance(report: Report) -> dict[str, Any]:
    """Keep what a reader needs to trust a row, and leave the layers out."""
    data: dict[str, Any] = json.loads(report.to_json())
    return {key: value for key, value in data.items() if key not in {"layers", "skipped"}}


if __name__ == "__main__":
    main()
