"""Read what Rockchip's compiler prints about a model that it has built: its layers, their cycles, and its memory.

The tables are of a verbose build's log and undocumented, so a table of another form than this one is not read at all.
"""

from __future__ import annotations

import re
from typing import Any

TITLE = "Network Layer Information Table"
HEAD = "ID OpType DataType Target InputShape OutputShape Cycles(DDR/NPU/Total) RW(KB) FullName"
SPARSE = " SparseRatio"  # a column of chips that skip zeros
ROW = re.compile(
    r"(?P<id>\d+)\s+(?P<op>\S+)\s+(?P<dtype>\S+)\s+(?P<target>[A-Z]+)\s.*\s(?P<ddr>\d+)/(?P<npu>\d+)/(?P<total>\d+)\s+"
    r"(?:(?P<sparse>\d+)%\S*\s+)?(?P<kb>\d+)\s+(?P<name>\S.*)"
)
PREFIX = re.compile(r"^D RKNN: \[[\d:.]+\] ?")
# a node of the model, or what the compiler put in its place; `0::Conv_0_conv` is an operator that it adds behind one
OWN = re.compile(r"\w+:(?P<node>.*::(?P<op>[A-Za-z]+)_\d+)(?:#\d+(?:_tile\d+)?)?")
ENDS = ("InputOperator", "OutputOperator")  # rows of no operator: where the tensors come in and go out


def table_in(log: str) -> list[str]:
    """Return the lines of the layers' table, its head first; raises RuntimeError if there is none of the known form."""
    lines = [PREFIX.sub("", line).rstrip() for line in log.splitlines()]
    places = [place for place, line in enumerate(lines) if line.strip() == TITLE]
    rest = [line for line in lines[places[-1] + 1 :] if not set(line) <= {"-"}] if places else []
    if not rest or " ".join(rest[0].split()).replace(SPARSE, "") != HEAD:
        raise RuntimeError("the compiler printed no table of its layers that is known here")
    rows = [rest[0]]
    for line in rest[1:]:
        if ROW.fullmatch(line) is None:
            break
        rows.append(line)
    return rows


def estimate(table: list[str]) -> dict[str, Any]:
    """Return the cycles, and the traffic with DRAM, of each layer and of all; those of a skipped operator are 0.

    Raises RuntimeError where the compiler counts no cycles at all.
    """
    layers: list[dict[str, Any]] = [
        {
            "names": [own["node"]] if own else [],
            "op": own["op"] if own else row["op"],
            "cost": float(row["total"]),
            "memory": {"traffic_bytes": int(row["kb"]) * 1024},
            "kernel": "{} in {}".format(row["op"], row["dtype"].lower()),
            "sparse": int(row["sparse"] or 0) > 0,
            "ran_on": None if row["target"] == "NPU" else row["target"],
        }
        for row in _rows(table)
        for own in [OWN.fullmatch(row["name"])]
    ]
    total = float(sum(each["cost"] for each in layers))
    if not total:
        raise RuntimeError("the compiler's table counts no cycles")
    return {"unit": "cycles", "total": total, "layers": layers}


def memory(table: list[str], log: str) -> dict[str, int]:
    """Return the bytes of the constants as packed, and those that one run moves; rows are printed in whole KB."""
    found = {"traffic_bytes": sum(int(row["kb"]) for row in _rows(table)) * 1024}
    weights = re.search(r"Total Weight Memory Size: ([\d.]+)KB", log)
    return found if weights is None else dict(found, weight_bytes=round(float(weights[1]) * 1024))


def remarks(table: list[str]) -> list[str]:
    """Say which operators the compiler leaves to the CPU, and for which it counts no cycles."""
    rows = _rows(table)
    said = []
    on_cpu = _listed(row["op"] for row in rows if row["target"] != "NPU")
    if on_cpu:
        said.append(f"The compiler leaves these operators to the CPU: {on_cpu}.")
    free = _listed(row["op"] for row in rows if row["total"] == "0")
    if free:
        said.append(f"The compiler counts no cycles for {free}, so the estimate leaves them out.")
    return said


def _rows(table: list[str]) -> list[dict[str, str]]:
    found = [match.groupdict() for line in table[1:] for match in [ROW.fullmatch(line)] if match]
    return [row for row in found if row["op"] not in ENDS]


def _listed(names: Any) -> str:
    return ", ".join(sorted(set(names)))
