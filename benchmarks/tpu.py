"""What block sparsity buys on a TPU by the compiler's own estimate: `python -m benchmarks.tpu`; no TPU is needed.

An MLP, Linear(4096, 4096) - GELU - Linear(4096, 4096) on 1024 rows in bfloat16, is pruned in 256x256 blocks, as many
kept for each group of outputs, compiled for each chip dense and pruned, and checked against torch. The product is the
MLP's second layer compiled alone, which no activation follows; the share that the dense one reaches of the published
peak says how far the estimator is from that. Fetches beside which the kernel computes nothing are counted, XLA's own
are not, and `python -m benchmarks.tpu_estimator` says by how much the two ways to count differ. "At most" is the gain
of a kernel that takes as long as its multiplications at the peak or its bytes at the bandwidth, the longer: none can
gain more over this dense product. The MLP gains more than its products where XLA does not hide GELU behind them.
Every number is an estimate, none was timed on a TPU. `--quick` takes a side of 1024.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.masks import cpu_name
from jupyter_hwprune import hwprune
from jupyter_hwprune.toolchains._xla_cost import CHIPS

RESULTS = Path(__file__).parent / "results" / "tpu.json"
ROWS = 1024
TARGETS = ("tpu-v5e", "tpu-v6e")
ALONE = re.compile(r"\(alone (\S+) ms; dense ([\d.e-]+)")
SHARES = (0.5, 0.75)
PATTERN = "256x256/even"
COLUMNS = (
    *("chip", "zeros", "product, ms", "product", "at most", "of the peak, dense", "MLP, ms", "MLP"),
    "what was compiled",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a side of 1024")
    parser.add_argument("--chips", nargs="*", default=TARGETS)
    parser.add_argument("--shares", nargs="*", type=float, default=SHARES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    side = 1024 if options.quick else 4096
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    for share in options.shares:
        for chip in options.chips:
            found = estimate(chip, share, side)
            same = [each for each in rows if (each["chip"], each["zeros"], each["side"]) != (chip, share, side)]
            rows = sorted([*same, found], key=lambda each: (each["side"], each["chip"], each["zeros"]))
            data = {"cpu": cpu_name(), "pattern": PATTERN, "batch": ROWS, "rows": rows}
            options.out.write_text(json.dumps(data, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(table(rows) + "\n")
            print(chip, share, "estimated", file=sys.stderr, flush=True)
    print(table(rows))


def estimate(chip: str, share: float, side: int) -> dict[str, Any]:
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(side, side), nn.GELU(), nn.Linear(side, side)).eval()
    report = hwprune(mlp, torch.randn(ROWS, side), target=chip, pattern=PATTERN, sparsity=share).report
    if report.measurement.kind != "estimated" or report.check is None:
        raise SystemExit(f"nothing was estimated for {chip}: {report.measurement.evidence.reason}")
    return {
        "chip": chip,
        "zeros": share,
        "side": side,
        "mlp_ms": [report.measurement.dense, report.measurement.pruned],
        "kernels": {each.name: each.pruned_kernel for each in report.layers},
        "error": report.check.pruned_error,
        "versions": report.versions,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for each in rows:
        alone = ALONE.search(each["kernels"]["2"] or "")
        if alone is None:
            raise SystemExit(f"no product was compiled alone for {each['chip']}")
        times = [float(alone[2]), float(alone[1])]
        chip, side = CHIPS[each["chip"].removeprefix("tpu-")], each["side"]
        peak, kept = chip.tflops, (1 - each["zeros"]) * side**2
        least = max(2 * ROWS * kept / peak / 1e9, 2 * (2 * ROWS * side + kept) / chip.gb_per_s / 1e6)
        cells = [
            f"{each['chip']}, side {each['side']}",
            f"{each['zeros']:.0%}",
            *_pair(times),
            f"{times[0] / least:.2f}x",
            f"{2 * ROWS * each['side'] ** 2 / times[0] / 1e9 / peak:.0%}",
            *_pair(each["mlp_ms"]),
            each["kernels"]["2"].partition(" (")[0],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    versions = rows[-1]["versions"]
    said = ", ".join(f"{name} {versions[name]}" for name in ("jax", "libtpu", "torch"))
    return "\n".join([*lines, "", f"Estimates with {said}, compiled on {cpu_name()}; none was timed on a TPU."])


def _pair(times: list[float]) -> tuple[str, str]:
    dense, pruned = times
    return f"{dense:.3g} -> {pruned:.3g}", f"{dense / pruned:.2f}x"


if __name__ == "__main__":
    main()
