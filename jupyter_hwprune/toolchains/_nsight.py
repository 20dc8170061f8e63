"""Hardware counters from Nsight Compute: whether the sparse Tensor Cores worked, whatever a kernel's name says.

`ncu` starts a worker of its own, which runs the model once with each layer in an NVTX range. ncu is first asked which
counters the chip has: Ampere and Hopper name them differently, and an unknown name ends the whole session.
Command line, CSV and messages: https://docs.nvidia.com/nsight-compute/NsightComputeCli
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
from typing import Any

from ._nvidia import INSTALL_NCU, NO_NCU, NOT_PERMITTED, PERMIT, PRODUCT_KERNELS

CHIPS = {"8.0": "ga100", "8.6": "ga102", "8.7": "ga10b", "8.9": "ad102", "9.0": "gh100"}
COUNTER = re.compile(r"sm__ops_path_tensor_\w+_sparsity_(on|off)$")
RANGE = re.compile(r"<default domain>:(.*?):none:none:none:none:none:none")  # in a cell that begins with its number
QUERY_S, READ_S = 60, 120
MOST_KERNELS = 2000

CURES = (
    ("ERR_NVGPUCTRPERM|does not have permission to access NVIDIA GPU Performance Counters", NOT_PERMITTED, PERMIT),
    (
        "Cuda driver is not compatible",
        "Nsight Compute is newer than the driver",
        "install the Nsight Compute that matches the driver's CUDA version",
    ),
    (
        "driver resource was unavailable",
        "another program holds the GPU's counters",
        "stop other profilers, and pause DCGM's with `dcgmi profile --pause`",
    ),
    (
        "Failed to initialize the profiler|Driver could not be loaded",
        "Nsight Compute finds no driver that allows profiling, as in some containers and virtual machines",
        "run it on a machine with direct access to the driver",
    ),
)


def count(command: list[str], folder: str, capability: str) -> dict[str, Any]:
    """Run `command` under ncu; return what the contract's `count` returns."""
    ncu = shutil.which("ncu")
    if ncu is None:
        return {"reason": NO_NCU, "cure": INSTALL_NCU}
    report, log = (os.path.join(folder, name) for name in ("counted.ncu-rep", "ncu.log"))
    try:
        query = [ncu, "--query-metrics", "--chips", CHIPS.get(capability, ""), "--csv"]
        # of Tensor Core operations with sparsity on and off
        rows = csv.reader(io.StringIO(_said(query, folder, QUERY_S)))
        names = [row[0] for row in rows if row and COUNTER.match(row[0])]
        if not names:
            return _unavailable(f"this Nsight Compute has no sparsity counters for compute capability {capability}")
        under = [ncu, *COLLECT, "--metrics", ",".join(name + ".sum" for name in names)]
        under += ["--force-overwrite", "--export", os.path.splitext(report)[0], "--log-file", log]
        # the worker ends when its stdin closes, so when this process ends
        with subprocess.Popen(  # noqa: S603 - our own worker under the ncu of the user's PATH
            under + command, stdin=subprocess.PIPE, stdout=2, env=_environment(folder, TMPDIR=folder)
        ) as process:
            process.wait()
        try:
            with open(log, encoding="utf-8", errors="replace") as file:
                said = file.read()
        except OSError:
            said = ""
        if process.returncode or not os.path.exists(report):
            return _why_not(said)
        table = _said([ncu, "--import", report, "--csv", "--page", "raw", "--print-units", "base"], folder, READ_S)
        match = re.search(r"Version( \S+)", _said([ncu, "--version"], folder, QUERY_S))
        version = match[1] if match else ""
    except (OSError, subprocess.SubprocessError) as error:
        return _unavailable(f"Nsight Compute could not be run: {error}")
    found = counters_of_layers(table)
    return {"device": f"hardware counters, Nsight Compute{version}", "layers": found} if found else _why_not(said)


COLLECT = (
    *("--nvtx", "--profile-from-start", "off", "--target-processes", "all", "--replay-mode", "kernel"),
    *("--cache-control", "none", "--clock-control", "none", "--apply-rules", "no", "--config-file", "off"),
    *("--kernel-name-base", "demangled", "--kernel-name", "regex:" + PRODUCT_KERNELS),
    *("--launch-count", str(MOST_KERNELS)),
)


def counters_of_layers(table: str) -> dict[str, list[float]]:
    """Sum the kernels' [sparse, dense] by the layer in whose NVTX range they started, from ncu's raw CSV page."""
    lines = table.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID",')), len(lines))
    header, *rows = list(csv.reader(lines[start:])) or [[]]
    ranges = [i for i, name in enumerate(header) if "Push/Pop" in name]
    columns = {i: match[1] for i, name in enumerate(header) if (match := COUNTER.match(re.sub(r"\.sum$", "", name)))}
    found: dict[str, list[float]] = {}
    for row in rows:
        if len(row) != len(header) or not row[0].isdigit():  # such as the row of units
            continue
        layers = RANGE.findall("\n".join(row[i] for i in ranges))
        numbers = {i: _number(row[i]) for i in columns}
        if not layers or all(number is None for number in numbers.values()):
            continue
        sums = found.setdefault(layers[-1], [0.0, 0.0])  # the innermost range
        for i, way in columns.items():
            sums[("on", "off").index(way)] += numbers[i] or 0.0
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return None


def _said(command: list[str], home: str, timeout_s: float) -> str:
    """Run ncu and return its output, with numbers in the C locale and no files in the user's home."""
    done = subprocess.run(  # noqa: S603 - the ncu of the user's PATH, with our own arguments
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
        env=_environment(home),
    )
    return done.stdout


def _environment(home: str, **more: str) -> dict[str, str]:
    return dict(os.environ, HOME=home, LC_ALL="C.UTF-8", **more)


def _why_not(said: str) -> dict[str, Any]:
    for sign, reason, cure in CURES:
        if re.search(sign, said):
            return {"reason": reason, "cure": cure}
    errors = [line for line in said.splitlines() if line.startswith(("==ERROR==", "==WARNING=="))]
    return _unavailable("Nsight Compute: {}".format(" ".join(errors)[:300] or "no kernel was counted"))


def _unavailable(reason: str) -> dict[str, Any]:
    return {"reason": reason, "cure": "`%hwprune doctor` checks Nsight Compute"}
