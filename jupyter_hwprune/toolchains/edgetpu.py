"""Google's Coral Edge TPU: an int8 .tflite file, held against the documented rules of the chip, operator by operator.

edgetpu_compiler is in no package index. Where it is on PATH it compiles the file, and its own report is read; else the
file is what it takes, and the rules say which operators would run on the chip. Nothing here says how fast it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

from . import _litert_int8
from ._calibration import batches
from ._edgetpu_rules import PAGE, operators, placed
from .litert import Converted, order_of

if TYPE_CHECKING:
    from ._edgetpu_rules import Placed
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup litert",
    "environment": "litert",
    "takes": "program",
    "calibrates": True,
    "runs": False,
    "cross_compiles": True,
    "checks": True,
}
COMPILER = "edgetpu_compiler"
COMPILER_PAGE = "https://coral.ai/docs/edgetpu/compiler/"
ABSENT = "jupyter-hwprune times no Edge TPU yet"
CACHE_BYTES = 8 << 20  # on the chip, for the weights, as the compiler's page says: "roughly 8 MB"
TIMEOUT_S = 300
MAPPED = "Mapped to Edge TPU"  # the compiler's words


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    import ai_edge_quantizer  # noqa: F401 - raises ImportError where it is not installed
    import litert_torch  # noqa: F401

    versions = {"litert": version("ai-edge-litert"), "ai-edge-quantizer": version("ai-edge-quantizer")}
    said = _said([COMPILER, "--version"]) if shutil.which(COMPILER) else ""
    found = re.search(r"version\s+(\S+)", said)
    if found:
        versions["edgetpu"] = found.group(1)
    return {"versions": versions, "devices": {}, "absent": {"edgetpu": ABSENT}}


class _Artefact:
    """`uncompiled` says what is missing to compile the file for the chip, None where it was compiled."""

    def __init__(self, path: str, folder: str) -> None:
        self.path, self.files = path, {"tflite": path}
        self.remarks: list[str] = []
        self.uncompiled: dict[str, str] | None = None
        if shutil.which(COMPILER):
            self._compile(folder)
        else:
            self._hold_against_the_rules()
        size = os.path.getsize(path)
        if size > CACHE_BYTES:
            self.remarks.append(
                "The file has %.1f MB, and the chip keeps about %d MB of weights; it reads the others from the host in "
                "each run." % (size / 1e6, CACHE_BYTES >> 20)
            )

    def _compile(self, folder: str) -> None:
        said = _said([COMPILER, "--show_operations", "--out_dir", folder, self.path])
        compiled = os.path.join(folder, os.path.splitext(os.path.basename(self.path))[0] + "_edgetpu.tflite")
        if not os.path.exists(compiled):
            raise RuntimeError(
                COMPILER + ": " + (said.strip().splitlines() or ["it wrote no file and said nothing"])[-1]
            )
        self.files["edgetpu"] = compiled
        rows = re.findall(r"^([A-Z][A-Z0-9_]+)\s+(\d+)\s+(\S.*?)\s*$", said, re.MULTILINE)
        left: Counter[str] = Counter()
        for name, count, status in rows:
            if status != MAPPED:
                left["%s (%s)" % (name, status[0].lower() + status[1:])] += int(count)
        total = sum(int(count) for _, count, _ in rows)
        if total:
            self._say(total - sum(left.values()), total, _listed(left), COMPILER)
        off_chip = re.search(r"Off-chip memory used for streaming uncached model parameters: (\S+)", said)
        if off_chip and not off_chip.group(1).startswith("0.00B"):
            self.remarks.append("%s of weights do not fit on the chip, and are read in each run." % off_chip.group(1))

    def _hold_against_the_rules(self) -> None:
        found = list(placed(operators(self.path)))
        first = next((place for place, each in enumerate(found) if each.reason is not None), len(found))
        table = os.path.splitext(self.path)[0] + ".mapping.txt"
        with open(table, "w", encoding="utf-8") as file:
            file.writelines(_line(each, place < first) + "\n" for place, each in enumerate(found))
        self.files["mapping"] = table
        left = ""
        if first < len(found):
            one = found[first]
            left = "the first, %s (%s), because %s" % (one.operator.name, _called(one), one.reason)
        self._say(first, len(found), left, "the documented rules (%s)" % PAGE)
        self.uncompiled = {
            "reason": COMPILER
            + " is not on PATH: the int8 file that it takes was written and checked, and not compiled",
            "cure": "install it as %s says (on x86 Linux), and run the line again" % COMPILER_PAGE,
        }

    def _say(self, on_chip: int, total: int, left: str, by: str) -> None:
        if on_chip == total:
            self.remarks.append("All %d operators run on the Edge TPU, by %s." % (total, by))
        else:
            rest = "%d of %d operators run on the Edge TPU, by %s; the CPU runs the others: %s."
            self.remarks.append(rest % (on_chip, total, by, left))


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Artefact:
    """Quantise the whole model, its inputs and outputs too, and compile it or hold it against the rules."""
    given = [dict(enumerate(values)) for values in batches(settings["calibration"])]
    return _Artefact(_litert_int8.quantise_whole(Converted(model), given), folder)


def interpret(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs of the int8 file on this host's CPU, by LiteRT's own kernels."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(artefact.path, num_threads=settings["threads"])
    interpreter.allocate_tensors()
    values = list(inputs.values())
    for place in interpreter.get_input_details():
        value, (scale, zero) = values[order_of(place)], place["quantization"]
        if scale:
            limits = np.iinfo(place["dtype"])
            value = np.clip(np.round(value / scale) + zero, limits.min, limits.max)
        interpreter.set_tensor(place["index"], value.astype(place["dtype"]))
    interpreter.invoke()
    outputs = []
    for place in sorted(interpreter.get_output_details(), key=order_of):
        value, (scale, zero) = interpreter.get_tensor(place["index"]), place["quantization"]
        outputs.append((value.astype(np.float32) - zero) * scale if scale else value)
    return outputs


def _line(one: Placed, before: bool) -> str:
    if one.reason is not None:
        where = "CPU: " + one.reason
    else:
        where = "Edge TPU" if before else "CPU: it comes after an operator that runs there"
    return "%-20s %-40s %s" % (one.operator.name, _called(one), where)


def _called(one: Placed) -> str:
    """Return the last two parts of the converter's name: Sequential_0/torch.nn.modules.conv.Conv2d_0."""
    return "/".join(one.operator.outputs[0].name.rstrip(";").split("/")[-2:])


def _listed(counts: Counter[str]) -> str:
    return ", ".join("%d %s" % (count, name) for name, count in counts.most_common())


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError("%s: %s" % (COMPILER, error)) from error
    return done.stdout + done.stderr
