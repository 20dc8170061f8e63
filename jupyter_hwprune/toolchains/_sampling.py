"""Which functions a CPU spends its time in, by sampling: Intel's VTune, where it is on the PATH.

`vtune` starts a worker of its own, which runs dense and pruned in turn, each in a task that ittapi marks, and then
gives the CPU time of each function in each task. Products that a runtime compiles itself stand in "[Dynamic code]". No
machine with VTune has run this yet: it was written after the vendor's pages.
Command line: https://www.intel.com/content/www/us/en/docs/vtune-profiler/user-guide/2024-0/hotspots-report.html
Marks: https://github.com/intel/ittapi
"""

from __future__ import annotations

import contextlib
import csv
import glob
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any

NAME = "VTune"
INSTALLED = ("/opt/intel/oneapi", os.path.expanduser("~/intel/oneapi"))  # Intel's own places on Linux
DOWNLOAD = "https://www.intel.com/content/www/us/en/developer/tools/oneapi/vtune-profiler-download.html"
COLLECT = ("-collect", "hotspots", "-knob", "sampling-mode=sw", "-quiet", "-no-summary")
REPORT = ("-report", "hotspots", "-quiet", "-format", "csv", "-csv-delimiter", "comma", "-group-by", "task,function")
READ_S = 300
TURNS, TURN_S = 3, 1.0

CURES = (
    (
        "ptrace",
        "the system does not let programs watch each other",
        "sudo sysctl -w kernel.yama.ptrace_scope=0",
    ),
)


def program() -> str | None:
    return shutil.which("vtune")


def here() -> tuple[bool, str, str | None]:
    """Return whether VTune can be used, what was found, and the cure; nothing is started."""
    found = program()
    if found is not None:
        return True, "samples the functions of dense and pruned in each run on this CPU: " + found, None
    scripts = [path for folder in INSTALLED for path in glob.glob(os.path.join(folder, "setvars.sh"))]
    if scripts:
        return False, "installed, but not on the PATH", "source " + scripts[0] + " before the kernel starts"
    return False, "not here: no run samples the functions that a CPU spends its time in", "get it from " + DOWNLOAD


def collect(command: list[str], folder: str) -> dict[str, Any]:
    """Run `command` under VTune; returns {"device", "tasks", "runs"}, or {"reason", "cure"}.

    `tasks` are those of `functions_of`, `runs` how often each model ran in its task.
    """
    vtune = program()
    if vtune is None:
        return {"reason": NAME + " is not on the PATH", "cure": here()[2]}
    if importlib.util.find_spec("ittapi") is None:
        reason = "without ittapi, " + NAME + " cannot tell dense from pruned"
        return {"reason": reason, "cure": sys.executable + " -m pip install ittapi"}
    result = os.path.join(folder, "vtune")
    try:
        # the worker ends when its stdin closes, so when this process ends
        with subprocess.Popen(  # noqa: S603 - our own worker under the vtune of the user's PATH
            [vtune, *COLLECT, "-result-dir", result, "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            said = process.stdout.read().decode(errors="replace") if process.stdout else ""
        if process.returncode:
            return _why_not(said)
        table = _said([vtune, *REPORT, "-result-dir", result])
        version = re.search(r"\d{4}\.\d[\d.]*", _said([vtune, "-version"]))
    except (OSError, subprocess.SubprocessError) as error:
        return _why_not(str(error))
    with open(os.path.join(folder, "marked.result.json"), encoding="utf-8") as file:
        runs = json.load(file).get("runs", {})
    tasks = {task: rows for task, rows in functions_of(table).items() if task in runs}
    if set(tasks) != set(runs) or not runs:
        return _why_not("its report has no time in the tasks of both models")
    device = NAME + " " + (version[0] if version else "of an unknown version") + ", sampling in user mode"
    return {"device": device, "tasks": tasks, "runs": runs}


def functions_of(table: str) -> dict[str, list[list[Any]]]:
    """Return [function, module, seconds of CPU time] by task, from a hotspots report by task and function, as CSV."""
    lines = table.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match('"?Task Type"?,', line)), len(lines))
    found: dict[str, list[list[Any]]] = {}
    for row in csv.DictReader(lines[start:]):
        seconds = _seconds(row.get("CPU Time") or row.get("CPU Time:Self") or "")
        if seconds:
            found.setdefault(row["Task Type"], []).append([row["Function"], row.get("Module") or "", seconds])
    return found


def run_marked(toolchain: Any, request: dict[str, Any], inputs: dict[str, Any], settings_of: Any) -> dict[str, Any]:
    """Compile and load every case, then run all in turn, each in a task of its name; return how often each ran.

    Compiling and loading are tasks too, so that their time is none of a model's.
    """
    import ittapi  # type: ignore[import-not-found,unused-ignore]

    running, runs = {}, {}  # type: dict[str, Any], dict[str, int]
    for case in request["cases"]:
        with ittapi.task("prepare " + case["name"], domain="hwprune"):
            settings = settings_of(request, case)
            artefact = toolchain.compile(case["model"], inputs, settings, request["folder"])
            running[case["name"]] = toolchain.load(artefact, inputs, settings)
            running[case["name"]].run()
            running[case["name"]].finish()
    for name in [*running] * TURNS:
        with ittapi.task(name, domain="hwprune"):
            end = time.perf_counter() + TURN_S
            while time.perf_counter() < end:
                running[name].run()
                running[name].finish()
                runs[name] = runs.get(name, 0) + 1
    return {"runs": runs}


def _seconds(cell: str) -> float:
    with contextlib.suppress(ValueError):
        return float(cell.rstrip("s"))
    return 0.0


def _said(command: list[str]) -> str:
    done = subprocess.run(  # noqa: S603 - the vtune of the user's PATH, with our own arguments
        command, capture_output=True, text=True, errors="replace", timeout=READ_S, check=False, stdin=subprocess.DEVNULL
    )
    return done.stdout


def _why_not(said: str) -> dict[str, Any]:
    for sign, reason, cure in CURES:
        if re.search(sign, said):
            return {"reason": NAME + ": " + reason, "cure": cure}
    return {"reason": NAME + ": " + " ".join(said.split())[-300:], "cure": "`%hwprune doctor` checks " + NAME}
