"""What 2:4 buys on the NVIDIA GPU of this machine: `python -m benchmarks.nvidia --target hopper`.

Single products in each dtype and shape, each dense against 2:4 as `hwprune` rates a layer; then whole models through
`%hwprune`'s own flow, with energy, kernel names and hardware counters. Prints tables, writes JSON and reports beside
them, and the report that the tutorial shows where there is no GPU. Results join those that lie there already, so that
`--dtypes bfloat16 float16` and `--dtypes int8 float8` can be two sittings.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.models import MODELS
from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.report import NOT_COMPARED, Comparison, Report
from jupyter_hwprune.toolchains import probe

RESULTS = Path(__file__).parent / "results"
RECORDED = Path(__file__).parents[1] / "notebooks" / "recorded" / "nvidia_2to4.json"
DTYPES = ("bfloat16", "float16", "int8", "float8")
MATRICES = ((4096, 4096), (4096, 14336), (14336, 4096))
SHAPES = [(rows, *matrix) for matrix in MATRICES for rows in (256, 2048, 8192)]
SHAPES += [(16, 4096, 4096), (2048, 1024, 4096), (3072, 10240, 3072), (8192, 8192, 8192), (256, 768, 768)]
QUICK = [(256, 4096, 4096), (2048, 4096, 14336), (8192, 8192, 8192)]
GOALS = {"bfloat16": 1.3, "int8": 1.5, "float8": 1.5}


class Products(nn.Module):
    """One Linear for each shape (rows, inputs, outputs), all fed from one matrix; the outputs are means over rows."""

    def __init__(self, shapes: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.shapes = shapes
        self.layers = nn.ModuleDict({_name(shape): nn.Linear(shape[1], shape[2], bias=False) for shape in shapes})

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layers[_name(shape)](x[: shape[0], : shape[1]].contiguous()).mean(dim=1) for shape in self.shapes]


class Mlp(nn.Module):
    """Gated feed-forward blocks as large language models have them, without what lies between."""

    def __init__(self, width: int = 4096, hidden: int = 14336, depth: int = 4) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(depth))
        self.ups = nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Linear(hidden, width, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for gate, up, down, norm in zip(self.gates, self.ups, self.downs, self.norms, strict=True):
            y = norm(x)
            x = x + down(functional.silu(gate(y)) * up(y))
        return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="hopper", help="the chip's row, as `%%hwprune targets` lists them")
    parser.add_argument("--toolchain", default="cusparselt")
    parser.add_argument("--dtypes", nargs="*", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--quick", action="store_true", help="fewer shapes, and models in two dtypes only")
    parser.add_argument("--tiny", action="store_true", help="shapes small enough to try the script without a GPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    offered = choose(options.target, toolchain=options.toolchain).judge.dtypes
    options.dtypes = [dtype for dtype in options.dtypes if dtype in offered]
    reports = _earlier(options.out / "nvidia.json")
    for name, dtype, model, x in _cases(options):
        print(f"== {name} in {dtype}", flush=True)
        report = hwprune(model, x, target=options.target, toolchain=options.toolchain, dtype=dtype, name=name).report
        reports[f"{name}-{dtype}"] = report
        print("\n".join(_products([report]) if name == "products" else [str(_model_row(report))]), flush=True)
        _write(reports, options)  # what was measured stays, should a later case end the run
    if reports and all(report.measurement.evidence.kind == "unavailable" for report in reports.values()):
        evidence = next(iter(reports.values())).measurement.evidence
        raise SystemExit(f"Nothing was measured: {evidence.reason}. {evidence.cure}.")


def _cases(options: argparse.Namespace) -> Any:
    """Yield (name, dtype, model, example), each made when its turn comes."""
    shapes = [(64, 256, 256), (24, 128, 64)] if options.tiny else QUICK if options.quick else SHAPES
    for dtype in options.dtypes:
        torch.manual_seed(0)
        rows, inputs = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
        yield "products", dtype, Products(shapes), torch.randn(rows, inputs)
    for dtype in options.dtypes[:2] if options.quick else options.dtypes:
        torch.manual_seed(0)
        if options.tiny:
            yield "mlp", dtype, Mlp(128, 256, 2), torch.randn(2, 40, 128)
            continue
        yield "mlp", dtype, Mlp(), torch.randn(1, 2048, 4096)
        build, make_input = MODELS["bert_base"]
        yield "bert_base", dtype, build(), make_input(64)


def _earlier(path: Path) -> dict[str, Report]:
    if not path.exists():
        return {}
    return {name: Report.from_json(json.dumps(data)) for name, data in json.loads(path.read_text()).items()}


def _name(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _write(reports: dict[str, Report], options: argparse.Namespace) -> None:
    gpu = probe(options.toolchain).devices.get("cuda", "none")
    products = [report for name, report in reports.items() if name.startswith("products")]
    models = [report for name, report in reports.items() if not name.startswith("products")]
    first = next(iter(reports.values()))
    versions = ", ".join(f"{name} {value}" for name, value in first.versions.items())
    lines = [f"{gpu}; {versions}; {first.created}", "", *_products(products)]
    lines += ["", *_table(MODEL_COLUMNS, [_model_row(report) for report in models]), "", *_goals(products)]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "nvidia.md").write_text("\n".join(lines) + "\n")
    data = {name: json.loads(report.to_json()) for name, report in reports.items()}
    (options.out / "nvidia.json").write_text(json.dumps(data, indent=1) + "\n")
    recorded = reports.get("bert_base-bfloat16")
    if recorded is not None and recorded.measurement.evidence.kind == "measured":
        RECORDED.parent.mkdir(exist_ok=True)
        recorded.save(RECORDED)


MODEL_COLUMNS = (
    *("model", "dtype", "dense ms", "2:4 ms", "speed-up", "95 %", "verdict", "sparse layers", "counters"),
    *("mJ dense", "mJ 2:4"),
)


def _products(reports: list[Report]) -> list[str]:
    """Put the shapes below each other and the dtypes side by side; each cell is dense time over sparse time."""
    found: dict[str, dict[str, str]] = {}
    for report in reports:
        said = {layer.name: _cell(layer.alone or NOT_COMPARED, "") for layer in report.layers}
        said |= {back.name: _cell(back.speed, back.reason) for back in report.returned}
        for name, cell in said.items():
            found.setdefault(name.removeprefix("layers."), {})[report.request.dtype] = cell
    dtypes = [report.request.dtype for report in reports]
    rows = [(shape, *(cells.get(dtype, "-") for dtype in dtypes)) for shape, cells in found.items()]
    return _table(("rows x inputs x outputs", *dtypes), rows)


def _cell(speed: Comparison, otherwise: str) -> str:
    if speed.speedup is None or speed.low is None or speed.high is None:
        return otherwise[:60]
    return f"{speed.speedup:.2f}x ({speed.low:.2f}-{speed.high:.2f}) {speed.verdict}"


def _model_row(report: Report) -> tuple[str, ...]:
    m, energy = report.timed, report.energy
    if m is None or (c := m.comparison).speedup is None or c.low is None or c.high is None:
        why = report.measurement.evidence.reason
        return (report.request.model, report.request.dtype, f"not measured: {why}")
    used = sum(layer.used is True for layer in report.layers)
    counted = [layer for layer in report.layers if layer.counters is not None]
    agree = sum((layer.counters is not None and layer.counters.sparse > 0) == layer.used for layer in counted)
    joules = ("-", "-")
    if energy is not None and energy.dense is not None and energy.pruned is not None:
        joules = (f"{energy.dense.total_mj:.1f}", f"{energy.pruned.total_mj:.1f}")
    return (
        report.request.model,
        report.request.dtype,
        f"{m.dense_ms:.3f}",
        f"{m.pruned_ms:.3f}",
        f"{c.speedup:.2f}x",
        f"{c.low:.2f}-{c.high:.2f}",
        c.verdict,
        f"{used} of {len(report.layers)}, {len(report.returned)} dense again",
        f"agree in {agree} of {len(counted)}" if counted else "not measured",
        *joules,
    )


def _goals(reports: list[Report]) -> list[str]:
    """Hold the best shape of each dtype against what it should reach."""
    said = []
    for report in reports:
        goal = GOALS.get(report.request.dtype)
        best = max(((layer.alone or NOT_COMPARED).speedup or 0.0 for layer in report.layers), default=0.0)
        if goal is not None and best:
            said.append(
                f"- {report.request.dtype}: best shape {best:.2f}x, goal {goal}x: {'met' if best >= goal else 'missed'}"
            )
    return said


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    full = [columns, ("---",) * len(columns), *(row + ("",) * (len(columns) - len(row)) for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in full]


if __name__ == "__main__":
    main()
