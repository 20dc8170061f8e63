"""The literal MANIFEST of a toolchain's file, which says what it can do; it is read without running the file."""

import ast
import contextlib
import functools
from dataclasses import dataclass, fields
from pathlib import Path
from string import Template
from typing import Any, Literal, get_args

from ..core.errors import InputError

Form = Literal["onnx", "program"]


@dataclass(frozen=True)
class Meter:
    """A device's energy counter: its name, the cure if it is missing, and the length of window that it needs.

    Such a counter is updated every few tens of milliseconds and samples only part of the time: a reading is accurate
    over `window_s` seconds. The device needs `idle_s` seconds to become idle.
    """

    name: str
    cure: str
    window_s: float = 3.0
    idle_s: float = 1.0


@dataclass(frozen=True)
class Manifest:
    """`install` is the command that makes the toolchain importable; all other keys default to the commonest case.

    environment:     the environment that it runs in, where that is not called as it is
    takes:           the form it compiles: "onnx", or "program", a torch ExportedProgram in the chosen dtype
    opset:           the ONNX operator set it needs, None for the exporter's own
    any_batch:       it takes a model with an open batch, and compiles it for the batch in its settings, or for any
    converts:        it converts models to the chosen dtype
    in_float32:      the dtypes of models that it does not run as they are, but in float32
    package:         the package that has to be installed beside the kernel; "" for one with its own environment
    runs:            it has `load` and `profile`, so it can run and time where its device is
    cross_compiles:  it compiles for a device that is not on this machine
    estimates:       the name of the cost model whose estimates its artefacts carry, None for no estimate
    good_to:         the relative difference below which the cost model cannot tell models apart, by its maker's word
    calibrates:      its `compile` quantises a model in float32 to the chosen dtype, with its settings' `calibration`
    settles:         its estimates of each layer decide which layers keep their zeros
    rates:           it has `rate`, which times each layer alone, dense against sparse
    chooses_kernels: it chooses sparse kernels itself, layer by layer, so no layer has to get its dense weights back
    tells_by_values: it may identify a layer only by the names of its outputs, so the export keeps names of its own
    counts:          it has `count`, which reads hardware counters
    meter:           it has `meter`, which reads this energy counter
    simulates:       it has `simulate`; the text says what a simulation leaves out
    checks:          it has `interpret`, which computes an artefact's outputs without its device
    bound:           the kinds of its files that run only on the run's type of device, and at its batch
    deploys:         the kinds of file that its script runs; it takes the first that is there
    script:          a Python script that runs a model's file $model on $threads threads with the inputs in $example, of
                     $batch rows
    tunes:           it has `tune`, which tries schedules of the kernels on the device before they are compiled
    reaches:         it has `board`, which connects to a board's own server; `load` and `profile` then run there
    quantises:       it has `quantise`, which makes an int8 model; the text is the command that installs what it needs
    limits_error:    its `quantise` keeps to its settings' `int8_error`, by leaving layers in float
    """

    install: str
    environment: str | None = None
    takes: Form = "onnx"
    opset: int | None = None
    any_batch: bool = False
    converts: bool = False
    in_float32: tuple[str, ...] = ("float16", "bfloat16")
    package: str = ""
    runs: bool = True
    cross_compiles: bool = False
    estimates: str | None = None
    good_to: float | None = None
    calibrates: bool = False
    settles: bool = False
    rates: bool = False
    chooses_kernels: bool = False
    tells_by_values: bool = False
    counts: bool = False
    meter: Meter | None = None
    simulates: str | None = None
    checks: bool = False
    tunes: bool = False
    reaches: bool = False
    quantises: str | None = None
    limits_error: bool = False
    bound: tuple[str, ...] = ()
    deploys: tuple[str, ...] = ("onnx", "xml")
    script: str | None = None

    def script_for(self, model: str, example: str, threads: int, batch: int) -> str | None:
        """Return the script that runs a file on an example, both by their names; None where none is known."""
        values = {"model": model, "threads": threads, "example": example, "batch": batch}
        return None if self.script is None else Template(self.script).substitute(values)


def manifest_in(file: Path) -> Manifest:
    """Read a file's MANIFEST; raises InputError, with the cure, if it is missing or wrong."""
    return _read(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read(file: Path, _changed: int) -> Manifest:
    literal = _literal(file)
    names = [each.name for each in fields(Manifest)]
    unknown = sorted(set(literal) - set(names))
    if unknown or "install" not in literal or literal.get("takes", "onnx") not in get_args(Form):
        wrong = f"does not know {', '.join(unknown)}" if unknown else "needs an install line, and takes onnx or program"
        raise InputError(f"The toolchain in {file} has a wrong MANIFEST: it {wrong}. Its names are {', '.join(names)}.")
    meter = literal.get("meter")
    try:
        return Manifest(**{**literal, "meter": None if meter is None else Meter(**meter)})
    except TypeError as error:
        raise InputError(f"The toolchain in {file} has a wrong meter in its MANIFEST: {error}.") from error


def _literal(file: Path) -> dict[str, Any]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MANIFEST":
            with contextlib.suppress(ValueError):
                found = ast.literal_eval(node.value)
                if isinstance(found, dict):
                    return found
    raise InputError(
        f"{file} is not a toolchain: it has no MANIFEST, a dict of plain values that says what it can do. "
        "jupyter_hwprune/toolchains/contract.py shows one."
    )
