"""Read what TensorRT says about an engine's layers: the sparsity lines of its log, and its inspector's entries.

Neither is documented, so anything unrecognised stays unknown.
"""

from __future__ import annotations

import json
import re
from typing import Any

from . import _nvidia

PRODUCT = re.compile(r"gemm|conv(?!ert)|fprop|matri|matmul|xmma|cutlass|nvjet", re.IGNORECASE)  # a type or a tactic
WEIGHT_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
NODE = re.compile(r"[^\s\[\](){},+]*::[A-Za-z]+_\d+")
ONNX_LAYER = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f\[ ]|$)")

SPARSITY_LINES = {
    "eligible": (
        r"\(Sparsity\)\s*Layers eligible for sparse math:()\s*(.*)$",
        r"\(Sparsity\)\s*Found\s+(\d+)\s+layer\(s\)\s+eligible to use sparse tactics\s*:?\s*(.*)$",
    ),
    "picked": (
        r"\(Sparsity\)\s*TRT inference plan picked sparse implementation for layers:()\s*(.*)$",
        r"\(Sparsity\)\s*Chose\s+(\d+)\s+layer\(s\)\s+using sparse tactics\s*:?\s*(.*)$",
    ),
}
"""The wording of 8.x, which has only a list, and of 10.x, which has a number and may leave out the list."""


class Said:
    """Layers that the log names; `complete` if each of its lines names as many as it counts.

    There may be one line for each part of the network, so the lists are joined and the counts are not added.
    """

    def __init__(self, lines: list[tuple[str, list[str]]]) -> None:
        self.names = list(dict.fromkeys(name for _, names in lines for name in names))
        counts = [int(count) if count else len(names) for count, names in lines]
        self.count = max(counts)
        self.complete = all(len(names) == count for (_, names), count in zip(lines, counts))

    def names_layer(self, layer: str) -> bool:
        return any(carries(name, layer) for name in self.names)


def read_sparsity(log: list[str]) -> dict[str, Said | None]:
    """Return which layers the log calls eligible and picked; None if it does not mention them."""
    found: dict[str, Said | None] = {}
    for key, wordings in SPARSITY_LINES.items():
        matches = [re.search(wording, line, re.IGNORECASE | re.DOTALL) for line in log for wording in wordings]
        lines = [(match[1], split_names(match[2])) for match in matches if match is not None]
        found[key] = Said(lines) if lines else None
    return found


def split_names(text: str) -> list[str]:
    """Split a list at its commas, except within brackets: `PWN(PWN(a), b)` is one layer's name."""
    names, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth <= 0:
            names.append("")
        else:
            names[-1] += character
    return [name.strip() for name in names if name.strip()]


def carries(name: str, layer: str) -> bool:
    """Say whether a fused layer's name contains this torch layer: `m.a::Conv_3 + b::Relu_4` has m.a and b, not a."""
    return re.search(r"(?<!\w)(?<!\w\.)" + re.escape(layer) + r"::[A-Za-z]+_\d", name) is not None


class Told:
    """An engine's layers as the inspector lists them, combined with what the log said during the build."""

    def __init__(self, inspected: str, log: list[str]) -> None:
        said = read_sparsity(log)
        self.eligible, self.picked = said["eligible"], said["picked"]
        layers = json.loads(inspected)["Layers"]  # names alone, where it will not tell more
        self.layers = [EngineLayer(layer if isinstance(layer, dict) else {"Name": layer}) for layer in layers]
        claimed = {node for layer in self.layers if layer.product for node in layer.names}
        for layer in self.layers:
            layer.find_operator(claimed)
        sparse = sum(self._named_sparse(layer) for layer in self.layers)
        # if the log counts more than we recognise, some sparse tactic has a name that we do not know
        self.accounted = self.picked is None or sparse >= self.picked.count

    def _named_sparse(self, layer: EngineLayer) -> bool:
        named = self.picked.names if self.picked else []
        return layer.op in WEIGHT_OPS and (_nvidia.is_sparse(layer.tactic) or layer.is_among(named))

    def is_sparse(self, layer: EngineLayer) -> bool | None:
        """Say whether a layer skips zeros; None if neither the log nor its tactic tells."""
        if layer.op not in WEIGHT_OPS or self._named_sparse(layer):
            return layer.op in WEIGHT_OPS
        listed = self.picked and self.picked.complete and layer.type != "Myelin"  # 8.x lists nothing within Myelin
        return False if listed or (layer.tactic and self.accounted) else None

    def rated(self, layer: str) -> dict[str, Any]:
        """Say whether a sparse kernel was picked for a torch layer (None: unknown), or why none was."""
        picked = self._runs_sparsely(layer)
        if picked is not False:
            return {"layer": layer, "rows": None, "picked": picked}
        refused = "TensorRT runs it with a dense kernel"
        if self.eligible and self.eligible.names_layer(layer):
            refused = "TensorRT timed its sparse kernels and picked a dense one"
        elif self.eligible and self.eligible.complete:
            refused = "TensorRT does not consider it eligible for sparse math"
        return {"layer": layer, "rows": None, "refused": refused}

    def _runs_sparsely(self, layer: str) -> bool | None:
        kernels = [own for own in self.layers if own.op in WEIGHT_OPS and any(carries(n, layer) for n in own.names)]
        states = [self.is_sparse(own) for own in kernels]
        if True in states or (self.picked and self.picked.names_layer(layer)):
            return True
        return False if states and None not in states else None


class EngineLayer:
    """A layer of an engine: the ONNX nodes in it, and its kernel."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.name, self.type = str(told["Name"]), str(told.get("LayerType") or "")
        self.tactic = str(told.get("TacticName") or "")
        values = " ".join(str(output.get("Name", "")) for output in told.get("Outputs", []))  # called as their nodes
        metadata = ONNX_LAYER.findall(str(told.get("Metadata") or ""))
        self.names: list[str] = metadata or NODE.findall(self.name) or NODE.findall(values)
        self.product = PRODUCT.search(self.type + " " + self.tactic) is not None
        self.op = self.type or "unknown"

    def find_operator(self, claimed: set[str]) -> None:
        """Find the operator once the products' nodes are known: a copy made for a product is named after it."""
        nodes = [node for node in self.names if self.product or node not in claimed]
        ops = [node.rpartition("::")[2].partition("_")[0] for node in nodes]
        products = [op for op in ops if op in WEIGHT_OPS]
        if products:
            self.op = products[0]
        elif self.product:
            self.op = "Conv" if "conv" in self.type.lower() else "MatMul"
        elif ops:
            self.op = ops[0]

    def is_among(self, names: list[str]) -> bool:
        return any(name == self.name or set(self.names) & set(NODE.findall(name)) for name in names)
