"""The worker's chief action: compile, load and check all cases of a job, then profile, time and meter them in turn."""

from __future__ import annotations

import os
import platform
import random
import time
from typing import Any

from . import _host, _sampling, _timing
from ._output_error import relative_errors


def measure(
    toolchain: Any, request: dict[str, Any], found: dict[str, Any], inputs_of: Any, settings_of: Any, say: Any
) -> dict[str, Any]:
    """Compile every case; if the device is here, check their outputs, profile their kernels and time all in turn.

    `found` is what probing found; `inputs_of` and `settings_of` read a request's inputs, and the settings of its cases.
    """
    import numpy as np

    inputs = inputs_of(request)
    result: dict[str, Any] = {
        "versions": dict(found["versions"], python=platform.python_version(), numpy=np.__version__),
        "machine": _host.machine(),
        "fast_int8": _host.fast_int8(),
        "cpu_clock_step_s": time.get_clock_info("process_time").resolution,  # too coarse for short runs on Windows
        "device": found["devices"].get(request["settings"]["device"]),
        "samples_functions": _sampling.program() is not None,
    }
    artefacts = _compiled(toolchain, request, inputs, settings_of, say, result)
    if not request["run"] and not request["interpret"]:
        return result
    if request["settings"]["rpc"]:
        say("load", "reaching the board at " + request["settings"]["rpc"])
        result["device"] = toolchain.board(settings_of(request))
    running = {}
    for case in _shuffled(request["cases"], request["process"]) if request["run"] else ():
        say("load", case["name"])
        running[case["name"]] = toolchain.load(artefacts[case["name"]], inputs, settings_of(request, case))
    result["errors"] = {}
    for case in request["cases"]:
        name = case["name"]
        say("check", name)
        if request["run"]:
            outputs = running[name].outputs()
        else:
            outputs = toolchain.interpret(artefacts[name], inputs, settings_of(request, case))
        with np.load(case["expected"]) as file:
            result["errors"][name] = relative_errors(outputs, [file[key] for key in file.files])
    result["other_batches"] = {
        case["name"]: _other_batches(np, toolchain, request, case, inputs_of, settings_of)
        for case in request["cases"]
        if case["others"]
    }
    tolerances = {case["name"]: case["tolerance"] for case in request["cases"]}
    wrong = any(max(errors, default=0.0) > tolerances[name] for name, errors in result["errors"].items())
    wrong = wrong or any(found["error"] > tolerances[name] for name, found in result["other_batches"].items())
    if wrong or not running or not request["effort"]:
        return result
    _time(toolchain, request, inputs, settings_of, running, say, result)
    return result


def _compiled(
    toolchain: Any, request: dict[str, Any], inputs: dict[str, Any], settings_of: Any, say: Any, result: dict[str, Any]
) -> dict[str, Any]:
    """Tune and compile every case; add what the compiler wrote and says to the result, and return the artefacts."""
    artefacts: dict[str, Any] = {}
    if request["settings"]["tune_s"]:
        models = list(dict.fromkeys(case["model"] for case in request["cases"]))
        toolchain.tune(models, settings_of(request), request["folder"], say)
    since = time.perf_counter()
    for case in _shuffled(request["cases"], request["process"]):
        say("compile", case["name"])
        settings = dict(settings_of(request, case), keep_files=case["keep_files"])
        artefacts[case["name"]] = toolchain.compile(case["model"], inputs, settings, request["folder"])
    result["compile_s"] = time.perf_counter() - since
    result["files"] = {name: _written(artefact.files) for name, artefact in artefacts.items()}
    result["bytes"] = {name: _size(artefact) for name, artefact in artefacts.items()}
    result["estimates"] = {name: getattr(artefact, "estimate", None) for name, artefact in artefacts.items()}
    result["memories"] = {name: getattr(artefact, "memory", None) for name, artefact in artefacts.items()}
    result["uncompiled"] = {name: getattr(artefact, "uncompiled", None) for name, artefact in artefacts.items()}
    # the artefacts' own lists, to which `load` and `interpret` may add
    result["remarks"] = {name: getattr(artefact, "remarks", []) for name, artefact in artefacts.items()}
    return artefacts


def _time(
    toolchain: Any,
    request: dict[str, Any],
    inputs: dict[str, Any],
    settings_of: Any,
    running: dict[str, Any],
    say: Any,
    result: dict[str, Any],
) -> None:
    """Profile the kernels of the running cases, time all cases in turn and meter them; add that to the result."""
    if request["effort"]["profile"]:
        result["kernels"] = _timing.profile(toolchain, request, inputs, settings_of, say)
    clock = "cpu_ms" if request["settings"]["threads"] == 1 and result["device"]["kind"] == "cpu" else "wall_ms"
    result["samples"], result["clear"] = _timing.measure(running, request, clock, say)
    result["rounds"] = [len(result["samples"][request["dense"]]["wall_ms"])] if request["dense"] in running else []
    result["facts"] = {name: getattr(case, "facts", None) for name, case in running.items()}
    if request["meter"] is not None:
        metered = {
            name: case
            for name, case in running.items()
            if name != request["control"] and not name.endswith(request["again"])
        }
        result["energy"] = _timing.energy(toolchain, metered, request["meter"], say)


def _other_batches(
    np: Any, toolchain: Any, request: dict[str, Any], case: dict[str, Any], inputs_of: Any, settings_of: Any
) -> dict[str, Any]:
    """Compile a case for any batch, and run it on others: its largest error, or what the runtime says against it."""
    settings, worst = dict(settings_of(request, case), batch=None), 0.0
    try:
        artefact = toolchain.compile(case["model"], inputs_of(request), settings, request["folder"])
        for inputs, expected in case["others"]:
            own = inputs_of(dict(request, inputs=inputs))
            outputs = toolchain.load(artefact, own, settings).outputs()
            with np.load(expected) as file:
                worst = max([worst, *relative_errors(outputs, [file[key] for key in file.files])])
    except Exception as error:  # noqa: BLE001 - a vendor may raise anything, and the file is right at its own batch
        return {"error": 1e30, "refused": f"{type(error).__name__}: {error}"}
    return {"error": worst, "refused": None}


def _shuffled(cases: list[Any], process: int) -> list[Any]:
    """Return the cases in an order of the process's own, the dense one first: what comes later may lie worse in memory.

    A toolchain may start all programs in the way that was fastest for the first one.
    """
    first, *others = cases
    return [first, *random.Random(process).sample(others, len(others))]  # noqa: S311 - an order, not a secret


def _size(artefact: Any) -> int | None:
    """Return the bytes that a compiled model takes: as it says itself, or else of its files."""
    own: int | None = getattr(artefact, "size_bytes", None)
    return own or sum(map(os.path.getsize, artefact.files.values())) or None


def _written(files: dict[str, str]) -> dict[str, str]:
    """Return a compiler's files; raises RuntimeError if one is missing or empty."""
    lacking = [path for path in files.values() if not os.path.exists(path) or not os.path.getsize(path)]
    if lacking:
        raise RuntimeError(f"the compiler did not write {', '.join(lacking)}, or left it empty")
    return dict(files)
