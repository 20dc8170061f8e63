"""What XLA's compiler for TPUs says that a compiled program costs: cycles of each instruction, by layer.

The compiler writes `estimated_cycles` into the configuration of most instructions of the text form of its HLO. These
leave out the time in which the memory is waited for, so a part takes at least the time to read its weights once. The
format is not documented: where it cannot be read, there is no estimate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Chip:
    """One device of a TPU generation as the compiler sees it: a chip, or one of its two cores where it says so.

    `topology` is the smallest that the compiler knows. `tflops` is the published peak in bfloat16, `clock_ghz` follows
    from it and the products that `units` matrix units of side `unit` make in a cycle, `gb_per_s` is the published
    bandwidth of the HBM. `vmem_bytes` is what a kernel of our own may take of the core's memory.
    """

    topology: str
    tflops: float
    products_per_cycle: int
    gb_per_s: float
    unit: int
    units: int
    vmem_bytes: int
    page: str

    @property
    def clock_ghz(self) -> float:
        return self.tflops * 1e3 / 2 / self.products_per_cycle


PAGES = "https://cloud.google.com/tpu/docs"
# peak and bandwidth of the pages of each; a device of v4 and of 7x is a core
CHIPS = {
    "v4": Chip("v4:2x2x1", 275 / 2, 1 << 16, 1228 / 2, 128, 4, 14 << 20, f"{PAGES}/v4"),
    "v5e": Chip("v5e:2x2", 197, 1 << 16, 819, 128, 4, 100 << 20, f"{PAGES}/v5e"),
    "v5p": Chip("v5p:2x2x1", 459, 1 << 17, 2765, 128, 8, 56 << 20, f"{PAGES}/v5p"),
    "v6e": Chip("v6e:2x2", 918, 1 << 18, 1638, 256, 2, 100 << 20, f"{PAGES}/v6e"),
    "7x": Chip("tpu7x:2x2x1", 2307 / 2, 1 << 18, 7380 / 2, 256, 2, 56 << 20, f"{PAGES}/tpu7x"),
}

INSTRUCTION = re.compile(r"\s*(?:ROOT )?%(\S+) = .*? ([a-z][\w-]*)\(")
COMPUTATION = re.compile(r"(?:ENTRY )?%(\S+) \(.*\{$")
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
GATHER = re.compile(r"%gather_fusion[\w.]* = ")  # looks rows of a table up, which is all memory's time
KERNEL = re.compile(r"%(\w+)(?:\.\d+)? = .*tpu_custom_call")
OP_NAME = re.compile(r'op_name="([^"]*)"')
CALLS = re.compile(r"calls=%([\w.-]+)")
FREE = {  # instructions that move nothing, or move it beside the arithmetic
    *("parameter", "constant", "bitcast", "get-tuple-element", "tuple", "custom-call", "iota", "reshape"),
    *("copy-start", "copy-done", "slice-start", "slice-done", "async-start", "async-done"),
}
PRODUCTS = ("dot", "convolution")  # a matrix product is written as either


def estimate(
    hlo: str, scope: str, weight_bytes: dict[str, int], moved_bytes: int, chip: Chip, kernels: dict[str, int]
) -> dict[str, Any]:
    """Return the Estimate of a program in milliseconds, with the layers in whose scope instructions stand.

    `weight_bytes` are those of each layer, `moved_bytes` those that the program reads or writes at least once, and
    `kernels` the cycles of Pallas's by their names. Raises RuntimeError if the text does not hold the cycles of the
    instructions that compute.
    """
    entry, products = computations(hlo, scope)
    cycles: dict[str | None, int] = {}
    operators: dict[str | None, str] = {}
    for line in entry:
        found, kernel = INSTRUCTION.match(line), KERNEL.search(line)
        if kernel is not None:
            if kernel[1] not in kernels:
                raise RuntimeError(f"the compiler does not say how many cycles the kernel {kernel[1]} takes")
            layer = _scope_of(line, scope)
            cycles[layer] = cycles.get(layer, 0) + kernels[kernel[1]]
            operators[layer] = "MatMul"
            continue
        if found is None or found[2] in FREE or GATHER.search(line):
            continue
        told = CYCLES.search(line)
        if found[2] in {"while", "conditional", "call"} or (told is None and found[2] in {"fusion", "convolution"}):
            raise RuntimeError(f"the compiler does not say how many cycles a {found[2]} takes")
        layer, operator = layer_of(line, products, scope)
        cycles[layer] = cycles.get(layer, 0) + (int(told[1]) if told else 0)
        if operator is not None:
            operators[layer] = operator
    if not cycles:
        raise RuntimeError("the compiler's text does not hold the cycles of any instruction")
    layers = [
        {
            "names": [] if layer is None else [layer],
            "op": operators.get(layer, "Elementwise"),
            "cost": milliseconds(own, weight_bytes.get(layer or "", 0), chip),
        }
        for layer, own in cycles.items()
    ]
    return {"unit": "ms", "total": milliseconds(sum(cycles.values()), moved_bytes, chip), "layers": layers}


def computations(hlo: str, scope: str) -> tuple[list[str], dict[str, dict[str | None, str]]]:
    """Return the lines of the program itself, and by computation the layers whose products it holds, with operators."""
    entry: list[str] = []
    products: dict[str, dict[str | None, str]] = {}
    calls: dict[str, list[str]] = {}
    name = ""
    for line in hlo.splitlines():
        begun = COMPUTATION.match(line)
        if begun is not None:
            name = "" if line.startswith("ENTRY ") else begun[1]
            continue
        if not name:
            entry.append(line)
            continue
        operator = _operator(line)
        if operator is not None:
            products.setdefault(name, {})[_scope_of(line, scope)] = operator
        calls.setdefault(name, []).extend(CALLS.findall(line))
    for outer, inner in calls.items():  # a fusion may hold another one
        for each in inner:
            products.setdefault(outer, {}).update(products.get(each, {}))
    return entry, products


def name_of(line: str) -> str | None:
    """Return an instruction's name; None for a line that is none."""
    found = INSTRUCTION.match(line)
    return None if found is None else found[1]


def layer_of(line: str, products: dict[str, dict[str | None, str]], scope: str) -> tuple[str | None, str | None]:
    """Return the layer that an instruction of the program computes, and the operator of its product if it holds one.

    An instruction that holds the products of several layers belongs to none of them.
    """
    called = CALLS.search(line)
    multiplied = products.get(called[1], {}) if called else {}
    if len(multiplied) == 1:
        [(layer, operator)] = multiplied.items()
        return layer, operator
    return (None, None) if multiplied else (_scope_of(line, scope), _operator(line))


def _operator(line: str) -> str | None:
    """Return the ONNX operator of an instruction that is a product; None for any other."""
    found = INSTRUCTION.match(line)
    if found is None or found[2] not in PRODUCTS:
        return None
    text = OP_NAME.search(line)
    return "Conv" if text and text[1].endswith("conv_general_dilated") else "MatMul"


def _scope_of(line: str, scope: str) -> str | None:
    """Return the layer in whose scope an instruction stands."""
    name = OP_NAME.search(line)
    found = re.search(f"{scope}([^/]*)/", name[1]) if name else None
    return None if found is None else found[1]


def milliseconds(cycles: int, moved_bytes: int, chip: Chip) -> float:
    """Return the longer of the time to compute and the time to move the bytes, which go on side by side."""
    return max(cycles / (chip.clock_ghz * 1e6), moved_bytes / (chip.gb_per_s * 1e6))
