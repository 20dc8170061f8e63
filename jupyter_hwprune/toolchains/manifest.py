"""What a toolchain says of itself: the literal MANIFEST of its file, read without running it."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import InputError

Form = Literal["onnx", "program"]


@dataclass(frozen=True)
class Meter:
    """A device's energy counter: what it is called, what cures its absence, and how long a window it needs.

    Such a counter moves in steps of tens of milliseconds and samples a part of the time: `window_s` is what a reading
    takes to be true, `settle_s` what the device takes to come to rest.
    """

    name: str
    cure: str
    window_s: float = 3.0
    settle_s: float = 1.0


@dataclass(frozen=True)
class Manifest:
    """`install` is the command that makes the toolchain importable; all else has the commonest case as its default.

    takes:           the form it compiles: "onnx", or "program", a torch ExportedProgram in the dtype that is chosen
    opset:           the version of ONNX's operators that it wants, None for the exporter's own
    converts:        it runs a model in the dtype that is chosen, instead of as it comes
    runs:            it has `load`, and so can run and time where its device is
    cross_compiles:  it compiles for a device that is not here
    estimates:       its artefacts carry an estimate by this cost model, in words; None for no estimate
    rates:           it has `rate`, which times each layer alone, dense against sparse
    chooses_kernels: it picks sparse kernels by itself, layer by layer, so that no layer need be given back
    counts:          it has `count`, which reads hardware counters
    meter:           it has `meter`, which reads this energy counter
    simulates:       it has `simulate`; this is what a simulation leaves out
    checks:          it has `interpret`, which computes what an artefact does without its device
    """

    install: str
    takes: Form = "onnx"
    opset: int | None = None
    converts: bool = False
    runs: bool = True
    cross_compiles: bool = False
    estimates: str | None = None
    rates: bool = False
    chooses_kernels: bool = False
    counts: bool = False
    meter: Meter | None = None
    simulates: str | None = None
    checks: bool = False


NAMES = {field.name for field in fields(Manifest)}


def manifest_in(file: Path) -> Manifest:
    """Read a file's MANIFEST; raises InputError, with the cure, where it has none or a wrong one."""
    return _read(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read(file: Path, _changed: int) -> Manifest:
    literal = _literal(file)
    unknown = sorted(set(literal) - NAMES)
    if unknown or "install" not in literal or literal.get("takes", "onnx") not in get_args(Form):
        wrong = f"does not know {', '.join(unknown)}" if unknown else "needs an install line, and takes onnx or program"
        raise InputError(f"The toolchain in {file} has a wrong MANIFEST: it {wrong}. Its names are {', '.join(NAMES)}.")
    meter = literal.get("meter")
    try:
        return Manifest(**{**literal, "meter": None if meter is None else Meter(**meter)})
    except TypeError as error:
        raise InputError(f"The toolchain in {file} has a wrong meter in its MANIFEST: {error}.") from error


def _literal(file: Path) -> dict[str, Any]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MANIFEST":
            try:
                found = ast.literal_eval(node.value)
            except ValueError:
                break
            if isinstance(found, dict):
                return found
    raise InputError(
        f"{file} is no toolchain: it has no MANIFEST, a dict of plain values that says what it can do. "
        "jupyter_hwprune/toolchains/contract.py shows one."
    )
