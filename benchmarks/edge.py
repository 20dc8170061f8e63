"""Channels in the runtimes of phones, boards and this CPU, in one table: `python -m benchmarks.edge`.

Two well-known shapes with random weights lose 30, 50 and 70 % of their channels in multiples of 8, and 33, 53 and 73 %
in no multiple, in float and, where the runtime has a quantiser, in int8. All models of one network and one runtime are
timed in turn in one process. What is there already is not measured again, unless `--fresh`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.candidates import silent
from benchmarks.masks import cpu_name
from benchmarks.models import MobileNetV2, ResNet18
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.errors import HwpruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.measure.bench import Bench
from jupyter_hwprune.measure.candidates import Findings
from jupyter_hwprune.measure.job import DENSE, HERE
from jupyter_hwprune.measure.peaks import peaks_of
from jupyter_hwprune.measure.quantising import SUFFIX
from jupyter_hwprune.measure.rating import Settled
from jupyter_hwprune.measure.writing import bench_for, candidate
from jupyter_hwprune.pruning import plan_and_prune
from jupyter_hwprune.toolchains import manifest_of
from jupyter_hwprune.toolchains.process import private_folder

RESULTS = Path(__file__).parent / "results" / "edge.json"
TARGET = "x86-cpu"
TOOLCHAINS = ("onnxruntime", "openvino", "executorch", "litert", "iree", "tvm")
NETWORKS: dict[str, Callable[[], nn.Module]] = {"mobilenet_v2": MobileNetV2, "resnet18": ResNet18}
SIDE = 128
ROUNDED = 8
PAIRS = {0.3: 0.33, 0.5: 0.53, 0.7: 0.73}  # of these networks' widths 50 % are round anyway, 53 % are not
CALIBRATED_ON = 8
GOAL = (0.5, 0.7)
NOTE = """\
TVM's kernels are untuned. 30 % in multiples of 8 stands beside 33 % in no multiple, and so on: of half the channels,
most widths of these networks would be round anyway."""
COLUMNS = (
    *("network", "runtime", "channels", "multiple of", "dtype", "ms", "against dense float", "95 %", "floor"),
    *("MACs", "file", "peak memory", "output difference"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toolchains", nargs="*", default=list(TOOLCHAINS), choices=TOOLCHAINS)
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    parser.add_argument("--quick", action="store_true", help="one small network at 50 %%, and nothing is written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)  # torch's idle threads would otherwise spin on cores that others need
    known: dict[str, Any] = {"cases": {}}
    if options.out.exists() and not options.quick:
        known = json.loads(options.out.read_text(encoding="utf-8"))
    for network in ["mobilenet_v2"] if options.quick else NETWORKS:
        for toolchain in options.toolchains:
            key = f"{network}/{toolchain}"
            if is_timed(known["cases"].get(key, {})) and not options.fresh:
                continue
            shares = {0.5: PAIRS[0.5]} if options.quick else PAIRS
            known["cases"][key] = measured(network, toolchain, shares, 64 if options.quick else SIDE)
            print(table(known), flush=True)
            if not options.quick:
                options.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
                options.out.with_suffix(".md").write_text(table(known), encoding="utf-8")


def is_timed(case: dict[str, Any]) -> bool:
    return any("ms" in row for row in case.get("rows", ()))


def measured(network: str, toolchain: str, shares: dict[float, float], side: int) -> dict[str, Any]:
    """Return the rows of one network in one runtime, or why there are none, with what was at work."""
    torch.manual_seed(0)
    model, x = NETWORKS[network]().eval(), torch.randn(1, 3, side, side)
    about = {"created": datetime.now(UTC).isoformat(timespec="minutes"), "machine": cpu_name(), "side": side}
    try:
        rows, versions = _rows(model, x, toolchain, shares)
    except HwpruneError as error:
        return about | {"error": str(error)}
    return about | {"versions": versions, "rows": rows}


def _rows(
    model: nn.Module, x: Tensor, toolchain: str, shares: dict[float, float]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    dtype = "int8" if manifest_of(toolchain).quantises else None
    choice = choose(TARGET, toolchain=toolchain, pattern=f"channel/{ROUNDED}", dtype=dtype).for_model_in("float32")
    example, calibration = Example.of(x), [Example.of(torch.randn_like(x)) for _ in range(CALIBRATED_ON)]
    both = [*((share, ROUNDED) for share in shares), *((share, 1) for share in shares.values())]
    with private_folder() as folder:
        bench = bench_for(model, example, choice, folder, silent, QUICK, calibration)
        pruned = [plan_and_prune(model, example, Channel(multiple), share) for share, multiple in both]
        brought = [
            candidate(bench, model, Settled(each, choice), example, f"pruned{number}")
            for number, each in enumerate(pruned)
        ]
        found = bench.measure(brought)
        rows: list[dict[str, Any]] = []
        for (share, multiple), each, own in zip(both, found, pruned, strict=True):
            macs = (own.totals.macs, own.totals.pruned_macs)
            rows += _of_one(bench, each, {"share": share, "multiple": multiple}, macs, with_dense=not rows)
        return rows, found[0].versions | {"torch": torch.__version__}


def _of_one(
    bench: Bench, found: Findings, case: dict[str, Any], macs: tuple[int | None, int | None], *, with_dense: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one pruned model, in float and in int8, with those of the dense one before them."""
    timed = found.timed
    if timed is None:
        yield case | {"error": found.measurement.evidence.reason}
        return
    peaks, footprint, check = _peaks(bench, found), found.footprint, found.check
    of_dense = {"share": 0.0, "multiple": None, "macs": macs[0]}
    if found.corners is not None and found.corners.rows:
        for row in found.corners.rows:
            whose = case | {"macs": macs[1]} if row.pruned else of_dense
            said = {"dtype": row.dtype, "ms": row.ms, "bytes": row.file_bytes, "error_of_output": row.error}
            peak = peaks.get(("pruned" if row.pruned else DENSE) + (SUFFIX if row.dtype == "int8" else ""))
            if row.pruned or with_dense:
                yield whose | said | _compared(row.speed) | {"peak": peak}
        return
    assert footprint is not None
    assert check is not None
    if with_dense:
        said = {"dtype": "float32", "ms": timed.dense_ms, "bytes": footprint.dense_bytes}
        yield of_dense | said | {"peak": peaks.get(DENSE), "error_of_output": check.dense_error}
    said = {"dtype": "float32", "ms": timed.pruned_ms, "bytes": footprint.pruned_bytes}
    said |= {"peak": peaks.get("pruned"), "error_of_output": check.pruned_error}
    yield case | {"macs": macs[1]} | said | _compared(timed.comparison)


def _compared(speed: Any) -> dict[str, Any]:
    return {"speedup": speed.speedup, "low": speed.low, "high": speed.high, "floor": speed.noise_floor}


def _peaks(bench: Bench, found: Findings) -> dict[str, int]:
    assert found.case is not None
    cases = {DENSE: bench.dense, "pruned": found.case}
    prefixes = {DENSE: "dense_", "pruned": "", DENSE + SUFFIX: "dense_int8_", "pruned" + SUFFIX: "int8_"}
    for name, twin in found.twins.items():
        cases[(DENSE if name == DENSE else "pruned") + SUFFIX] = twin.case
    files = {
        name: {kind.removeprefix(prefix): str(path) for kind, path in found.files.items() if kind.startswith(prefix)}
        for name, prefix in prefixes.items()
    }
    return peaks_of(HERE, bench.choice, cases, files, silent)


def table(data: dict[str, Any]) -> str:
    cases = data["cases"]
    there = {key: each for key, each in cases.items() if is_timed(each)}
    versions = {name: value for each in there.values() for name, value in each["versions"].items()}
    machines = ", ".join(dict.fromkeys(each["machine"] for each in cases.values()))
    missing = [key for name in NETWORKS for tool in TOOLCHAINS if (key := f"{name}/{tool}") not in there]
    first = f"{len(there)} of {len(NETWORKS) * len(TOOLCHAINS)} networks in a runtime are measured"
    lines = [
        f"{machines}, one thread, batch 1, process-CPU time, {max(each['created'] for each in cases.values())}; "
        + ", ".join(f"{name} {value}" for name, value in versions.items()),
        "",
        first + (f"; missing: {', '.join(missing)}." if missing else "."),
        NOTE,
        "",
        *_summary(there),
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for key, each in there.items():
        lines += ["| " + " | ".join((*key.split("/"), *_cells(row))) + " |" for row in each["rows"]]
    failed = {key: each.get("error") or each["rows"][0]["error"] for key, each in cases.items() if key not in there}
    lines += ["", *(f"- {key}: not measured, {' '.join(error.split())[:300]}" for key, error in failed.items())]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    width = "" if row["multiple"] is None else str(row["multiple"])
    if "ms" not in row:
        return (f"-{row['share']:.0%}", width, "", f"not measured, {row['error'][:200]}", *[""] * 7)
    speed = ("1x", "", "") if row.get("speedup") is None else _speed(row)
    return (
        f"-{row['share']:.0%}" if row["share"] else "all",
        width,
        row["dtype"],
        f"{row['ms']:.3g}",
        *speed,
        f"{row['macs'] / 1e6:.0f} M",
        f"{row['bytes'] / 1e6:.2f} MB",
        "not measured" if row.get("peak") is None else f"{row['peak'] / 1e6:.1f} MB",
        f"{row['error_of_output']:.1e}",
    )


def _speed(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{row['speedup']:.2f}x", f"{row['low']:.2f}-{row['high']:.2f}", f"{100 * row['floor']:.1f} %"


def _summary(cases: dict[str, Any]) -> Iterator[str]:
    """Say of each runtime what it gains, and what its widths in no multiple cost by the same work."""
    yield "| network | runtime | float, -50 % to -70 % | time per MAC, no multiple against multiples of 8 (median) |"
    yield "|---|---|---|---|"
    for key, each in cases.items():
        floats = [row for row in each["rows"] if row.get("dtype") == "float32" and row["share"]]
        known = {(row["share"], row["multiple"]): row for row in floats}
        gains = [known[share, ROUNDED]["speedup"] for share in GOAL if (share, ROUNDED) in known]
        costs = [
            (known[other, 1]["ms"] / known[other, 1]["macs"])
            / (known[share, ROUNDED]["ms"] / known[share, ROUNDED]["macs"])
            for share, other in PAIRS.items()
            if (share, ROUNDED) in known and (other, 1) in known
        ]
        said = f"{min(gains):.2f}x to {max(gains):.2f}x" if gains else "not measured"
        cost = f"{statistics.median(costs):.2f}x" if costs else "not measured"
        yield f"| {' | '.join(key.split('/'))} | {said} | {cost} |"


if __name__ == "__main__":
    main()
