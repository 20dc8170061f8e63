"""What Vela says of a compiled part: a summary, and a table of layers under the names of TOSA's tensors.

ExecuTorch's debugging file says from which torch module each of these came. Vela's table names a fused operation after
the last tensor that it makes, so a product is that of the last TOSA product before it.
"""

from __future__ import annotations

import csv
import glob
import json
import os
from typing import Any

PRODUCTS = ("CONV2D", "DEPTHWISE_CONV2D", "TRANSPOSE_CONV2D", "CONV3D", "MATMUL", "FULLY_CONNECTED")
ROWS_OF_PRODUCTS = ("Conv2D", "DepthwiseConv2D", "TransposeConv2D", "Conv3D", "MatMul", "FullyConnected")


class Table:
    """One part: the row of its summary, and those of its layers with the torch module each."""

    def __init__(self, summary: dict[str, str], rows: list[tuple[str, dict[str, str]]]) -> None:
        self.summary, self.rows = summary, rows

    @classmethod
    def read(cls, folder: str) -> Table:
        [summary] = _csv(folder, "*_summary_*.csv")
        with open(os.path.join(folder, "debug.json"), encoding="utf-8") as file:
            modules = _Modules(json.load(file))
        return cls(summary, [(modules.of(row), row) for row in _csv(folder, "*_per-layer.csv")])


class _Modules:
    """The torch module of each TOSA tensor."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.places = {}
        self.products = []  # of each event, the module of the last product up to it
        self.own = []
        product = ""
        for index, event in enumerate(events):
            own = _module(event["torch_info"]["nn_module_stack"])
            operator = event["aten_info"]["operator_name"]
            if any(operator == "tosa.%s.default" % each for each in PRODUCTS):
                product = own
            self.places[event["aten_info"]["node_name"]] = index
            self.products.append(product)
            self.own.append(own)

    def of(self, row: dict[str, str]) -> str:
        index = self.places.get(row["Name"])
        if index is None:
            return ""
        return self.products[index] if row["NNG Operator"] in ROWS_OF_PRODUCTS else self.own[index]


def _module(stack: Any) -> str:
    """Return the innermost module of a stack {id: [path, class]}; a stack that is missing is a sentence."""
    return list(stack.values())[-1][0] if isinstance(stack, dict) and stack else ""


def _csv(folder: str, pattern: str) -> list[dict[str, str]]:
    [path] = glob.glob(os.path.join(folder, "output", pattern))
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def estimate(tables: list[Table]) -> dict[str, Any]:
    """Return the Estimate of all parts together, which run one after the other."""
    layers = [
        {
            "names": [module] if module else [],
            "op": row["NNG Operator"],
            "cost": float(row["Op Cycles"]),
            "memory": {"sram_bytes": round(float(row["Staging Usage"]))},
        }
        for table in tables
        for module, row in table.rows
    ]
    total = sum(float(table.summary["cycles_total"]) for table in tables)
    clock_mhz = float(tables[0].summary["core_clock"]) / 1e6
    return {"unit": "cycles", "total": total, "clock_mhz": clock_mhz, "layers": layers}


def memory(tables: list[Table]) -> dict[str, int]:
    """Return the Memory of all parts: the largest SRAM of any, and the sums of the rest."""
    summaries = [table.summary for table in tables]
    off_chip = ("dram_total_bytes", "on_chip_flash_total_bytes", "off_chip_flash_total_bytes")
    return {
        "weight_bytes": sum(round(float(each["total_npu_encoded_weights"])) for each in summaries),
        "sram_bytes": max(round(float(each["sram_memory_used"]) * 1024) for each in summaries),
        "traffic_bytes": sum(round(float(each[name])) for each in summaries for name in off_chip),
    }
