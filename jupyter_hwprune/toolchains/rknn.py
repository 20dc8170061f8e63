"""Rockchip's compiler for the NPUs in its chips, which needs none of them: cycles of each layer by its own table."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from . import _rknn_table
from ._calibration import batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup rknn --accept-licence",
    "opset": 19,
    "calibrates": True,
    "runs": False,
    "cross_compiles": True,
    "estimates": "Rockchip's RKNN compiler",
    "checks": True,
}
ABSENT = "the compiler needs no chip, and jupyter-hwprune times none of Rockchip's yet"
CHIPS = ("rk3588", "rk3576", "rk3566", "rk3562")
SKIPS_ZEROS = ("rk3576",)  # 2:4 in int8; the compiler refuses the others


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    import rknn.api  # noqa: F401 - raises ImportError where it is not installed

    versions = {"rknn": version("rknn-toolkit2"), "onnx": version("onnx")}
    return {"versions": versions, "devices": {}, "absent": dict.fromkeys(CHIPS, ABSENT)}


class _Artefact:
    def __init__(self, built: Any, path: str, log: str) -> None:
        self.built = built
        self.files = {"rknn": path}
        self.estimate: Any = None
        self.memory: Any = None
        self.remarks: list[str] = []
        with contextlib.suppress(RuntimeError):  # the table's form changed: the model is compiled all the same
            table = _rknn_table.table_in(log)
            with open(path + ".txt", "w", encoding="utf-8") as file:
                file.write("\n".join(table) + "\n")
            self.files["table"] = path + ".txt"
            self.memory, self.remarks = _rknn_table.memory(table, log), _rknn_table.remarks(table)
            self.estimate = _rknn_table.estimate(table)


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Artefact:
    path = os.path.join(folder, os.path.basename(model) + ".rknn")
    with _logged(folder) as log:
        from rknn.api import RKNN

        built = RKNN(verbose=True)
        chip = settings["device"]
        _must(built.config, log, target_platform=chip, sparse_infer=chip in SKIPS_ZEROS)
        _must(built.load_onnx, log, model=model)
        if settings["dtype"] == "int8":
            dataset = _dataset(settings["calibration"], os.path.dirname(log))
            _must(built.build, log, do_quantization=True, dataset=dataset)
        else:
            _must(built.build, log, do_quantization=False)
        _must(built.export_rknn, log, path)
        said = _read(log)
    return _Artefact(built, path, said)


def interpret(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs on this host's CPU, by the compiler's own simulator."""
    with _logged(os.path.dirname(artefact.files["rknn"])) as log:
        _must(artefact.built.init_runtime, log)
        outputs = artefact.built.inference(inputs=list(inputs.values()), data_format="nchw")
        if outputs is None:
            raise RuntimeError(_complaint(_read(log)))
        artefact.built.release()
    return list(outputs)


def _dataset(calibration: str, folder: str) -> str:
    """Write the calibration inputs as the compiler reads them: a file for each, and a list with a line for each run."""
    import numpy as np

    lines = []
    for number, values in enumerate(batches(calibration)):
        paths = [os.path.join(folder, "%d-%d.npy" % (number, place)) for place in range(len(values))]
        for path, value in zip(paths, values):
            np.save(path, value)
        lines.append(" ".join(paths))
    path = os.path.join(folder, "dataset.txt")
    with open(path, "w", encoding="utf-8") as listed:
        listed.write("\n".join(lines) + "\n")
    return path


@contextlib.contextmanager
def _logged(folder: str) -> Iterator[str]:
    """Work in a folder of its own, for the compiler leaves files where it works, and write all it prints to a file.

    Its library in C prints past Python's streams.
    """
    here = os.getcwd()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = os.path.join(own, "log")
        before = [os.dup(number) for number in (1, 2)]
        try:
            with open(path, "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(own)
            yield path
        finally:
            os.chdir(here)
            _flush()
            for number, old in zip((1, 2), before):
                os.dup2(old, number)
                os.close(old)


def _must(step: Any, log: str, *args: Any, **options: Any) -> None:
    """Take a step of the build; raises RuntimeError with the compiler's own words if it fails."""
    try:
        code = step(*args, **options)
    except Exception as error:  # the vendor's own holds a whole traceback, and the cause in its last line
        lines = str(error).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else type(error).__name__) from error
    if code != 0:
        raise RuntimeError(_complaint(_read(log)))


def _complaint(log: str) -> str:
    said = [line.partition(":")[2].strip() for line in log.splitlines() if line.startswith("E ") and ":" in line]
    return "; ".join(dict.fromkeys(said[-3:])) or "the compiler failed, and does not say why"


def _read(log: str) -> str:
    _flush()
    with open(log, encoding="utf-8", errors="replace") as file:
        return re.sub(r"\x1b\[[\d;]*m", "", file.read())


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
