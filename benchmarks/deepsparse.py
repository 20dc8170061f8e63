"""What unstructured zeros buy with DeepSparse on this CPU: `python -m benchmarks.deepsparse`.

Three well-known shapes at several sparsities and batches, through the magic itself: DeepSparse's pruned model against
its own dense one (in turn, in one process) and against dense ONNX Runtime and OpenVINO (before and after). Beside each
stands what DeepSparse's own simulation had said. Prints tables, writes JSON beside them after every run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell

from benchmarks.cpu import where
from benchmarks.models import MODELS, Bert
from jupyter_hwprune import simulate
from jupyter_hwprune.report import Report, deciding

RESULTS = Path(__file__).parent / "results" / "deepsparse.json"
BERT_LAYERS = 4  # of twelve alike: the ratio is theirs, at a third of the time
RIVALS = ("onnxruntime", "openvino")
COLUMNS = (
    "model",
    "batch",
    "zeros",
    "DeepSparse dense → pruned, ms",
    "against its dense",
    "ONNX Runtime dense, ms",
    "against that",
    "OpenVINO dense, ms",
    "against that",
    "simulated, ms",
    "verdict",
)

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 16])
    parser.add_argument("--sparsities", nargs="*", type=float, default=[0.8, 0.9, 0.95])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.parent.mkdir(exist_ok=True)
    rows: Rows = []
    for batch in options.batches:
        for name in options.models:
            for row in runs(name, batch, options.sparsities):
                rows.append(row)
                options.out.write_text(json.dumps(rows, indent=1) + "\n")
    shown = page(rows)
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")


def runs(name: str, batch: int, sparsities: list[float]) -> Rows:
    """Run the magic for one model at each sparsity; simulate them all on the dense model first."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "jupyter_hwprune")
    torch.manual_seed(0)
    build, make_input = MODELS[name]
    model, x = Bert(layers=BERT_LAYERS) if build is Bert else build(), make_input(batch)
    shell.push({name: model, "x": x})
    simulated = {row.sparsity: row for row in simulate(model, x, target="x86-cpu", sparsities=sparsities).rows}
    rows = []
    for sparsity in sparsities:
        line = f"{name} --input x --target x86-cpu:deepsparse --sparsity {sparsity}"
        report: Report = shell.run_line_magic("hwprune", line).report
        data = json.loads(report.to_json())
        row = {key: value for key, value in data.items() if key not in {"layers", "skipped"}}
        row["reasons"] = [*report.reasons, *(each.what for each in report.mistakes)]
        row["simulated_ms"] = simulated[sparsity].ms
        row["layers_used"] = [layer.used for layer in report.layers]
        row["verdict"] = report.verdict
        row["page"] = where([report])
        row["cells"] = cells(report, simulated[sparsity].ms)
        print("  ".join(row["cells"]), flush=True)
        for reason in row["reasons"]:
            print(f"    {reason}", flush=True)
        rows.append(row)
    shell.drop_by_id({name: model, "x": x})
    return rows


def cells(report: Report, simulated_ms: float | None) -> list[str]:
    measurement, request = report.timed, report.request
    assert measurement is not None
    against = {each.toolchain: each for each in report.baselines}
    said = [request.model, str(request.batch), f"{request.sparsity:.0%}"]
    said += [f"{ms(measurement.dense_ms)} → {ms(measurement.pruned_ms)}", times(measurement.comparison.speedup)]
    for name in RIVALS:
        said += [ms(against[name].dense_ms), times(against[name].speed.speedup)]
    return [*said, ms(simulated_ms), deciding(measurement, report.baselines).verdict]


def ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def times(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}x"


def page(rows: Rows) -> str:
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    body = ["| " + " | ".join(row["cells"]) + " |" for row in rows]
    sure = [f"{row['cells'][0]}, batch {row['cells'][1]}, {row['cells'][2]} zeros" for row in rows]
    said = [
        f"- {about}: {reason}"
        for about, row in zip(sure, rows, strict=True)
        for reason in row["reasons"]
        if "advised" in reason or "are depthwise" in reason
    ]
    optimism = [
        row["measurement"]["pruned_ms"] / row["simulated_ms"]
        for row in rows
        if row["measurement"]["pruned_ms"] and row["simulated_ms"]
    ]
    spread = f"Pruned models took {min(optimism):.2f} to {max(optimism):.2f} of the simulated time." if optimism else ""
    bert = f"bert_base has {BERT_LAYERS} of its layers. The verdict is against the fastest dense model of the three."
    return "\n".join([rows[0]["page"].replace(", batch 1,", ","), "", *head, *body, "", bert, spread, "", *said])


if __name__ == "__main__":
    main()
