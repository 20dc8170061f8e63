"""One call of one toolchain, in a process of its own: `python -I _worker.py REQUEST.json RESULT.json`.

It runs on the toolchain's interpreter (Python 3.8 upward) with the standard library, numpy and the vendor's package.
Tensors and models come and go as files. Progress goes to a file of one JSON object a line, the result to another in one
move, so that the caller never reads half of it. Nothing is said on stdout: vendors write there.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import threading
import time
import types
from typing import Any


def main(request_path: str, result_path: str) -> None:
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    _end_with_the_caller()
    sys.path.extend(request["path"])
    say = _Progress(request["progress"])
    try:
        toolchain = _load(request["toolchain"])
        actions = {
            "probe": _probe,
            "prove": _prove,
            "rate": _rate,
            "count": _count,
            "simulate": _simulate,
            "read": _read,
            "recipe": _recipe,
            "zoo": _zoo,
            "run": _run,
        }
        result = actions[request["action"]](toolchain, request, say)
    except Exception as error:  # noqa: BLE001 - whatever a vendor raises is the result of this call
        result = {"error": "{}: {}".format(type(error).__name__, error)}
    temporary = result_path + ".part"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.replace(temporary, result_path)


def _probe(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    return dict(toolchain.probe(), machine=_machine())


def _rate(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Have the toolchain say of each layer what the pattern buys there, before the model is settled."""
    models = {case["name"]: case["model"] for case in request["cases"]}
    settings = dict(request["settings"], keep_files=False)
    return {"layers": toolchain.rate(models, _inputs(request), settings, say)}


def _count(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Run a case once while a profiler that started this process counts."""
    (case,) = request["cases"]
    settings = dict(request["settings"], sparse=case["sparse"], keep_files=False)
    toolchain.count(case["model"], _inputs(request), settings, request["folder"])
    return {"counted": True}


def _simulate(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Time the dense model with each share of zeros imposed on it."""
    (case,) = request["cases"]
    settings, inputs = dict(request["settings"], keep_files=False), _inputs(request)
    simulated = []
    for sparsity in request["sparsities"]:
        say("simulate", "the dense model" if sparsity is None else "{:.0%} of its weights zero".format(sparsity))
        simulated.append(toolchain.simulate(case["model"], inputs, settings, request["folder"], sparsity))
    return {"simulated": simulated, "machine": _machine(), "versions": toolchain.probe()["versions"]}


def _read(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Have the toolchain say what a recipe needs, or why it is refused."""
    return dict(toolchain.read_recipe(request, say))


def _recipe(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Have the toolchain apply a recipe to a model."""
    return dict(toolchain.apply_recipe(request, say))


def _zoo(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Have SparseZoo's reader say what it finds in a model folder, behind a stub, or in an analysis file."""
    return dict(toolchain.read(request, say))


def _run(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Run every case once and keep what it returns where the case expects it: a reference for other toolchains."""
    import numpy as np

    inputs, settings = _inputs(request), dict(request["settings"], keep_files=False, sparse=[])
    for case in request["cases"]:
        say("run", case["name"])
        outputs = toolchain.compile(case["model"], inputs, settings, request["folder"]).outputs()
        np.savez(case["expected"], *outputs)
    return {"versions": toolchain.probe()["versions"]}


def _inputs(request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    with np.load(request["inputs"]) as file:
        return dict(zip(request["input_names"], [file[key] for key in file.files]))


def _prove(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Compile every case, check its outputs, profile its kernels, and time all cases in turn."""
    import numpy as np

    timing = _load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "_timing.py"), "hwprune_worker")
    settings, folder, inputs = request["settings"], request["folder"], _inputs(request)
    found = toolchain.probe()
    versions = dict(found["versions"], python=platform.python_version(), numpy=np.__version__)
    cases = {}
    for case in request["cases"]:
        say("compile", case["name"])
        own = dict(settings, sparse=case["sparse"], keep_files=case["name"] == request["keep_files_of"])
        cases[case["name"]] = toolchain.compile(case["model"], inputs, own, folder)
    result: dict[str, Any] = {"versions": versions, "machine": _machine(), "errors": {}}
    result["device"] = found["devices"][settings["device"]]
    result["capability"] = found.get("capabilities", {}).get(settings["device"])
    for case in request["cases"]:
        say("check", case["name"])
        with np.load(case["expected"]) as file:
            expected = [file[key] for key in file.files]
        result["errors"][case["name"]] = _relative_errors(np, cases[case["name"]].outputs(), expected)
    if max(max(errors) for errors in result["errors"].values()) > request["tolerance"] or not request["timing"]:
        return result
    if request["profile"]:
        result["kernels"] = timing.profile(toolchain, request, inputs, say)
    result["samples"] = timing.measure(cases, request["timing"], say)
    result["files"] = {name: case.files for name, case in cases.items()}
    result["facts"] = {name: getattr(case, "facts", None) for name, case in cases.items()}
    if hasattr(toolchain, "meter"):
        result["energy"] = timing.energy(toolchain, cases, request["timing"], say)
    return result


def _relative_errors(np: Any, outputs: list[Any], expected: list[Any]) -> list[float]:
    """Return for each output its largest difference relative to its largest magnitude; JSON knows no NaN, so 1e30."""
    if [o.shape for o in outputs] != [e.shape for e in expected]:
        return [1e30]
    errors = []
    for output, want in zip(outputs, expected):
        scale = max(float(np.abs(want).max()), 1e-30) if want.size else 1.0
        error = float(np.abs(output.astype("float64") - want).max()) / scale if want.size else 0.0
        errors.append(min(1e30, error))  # in this order, min turns NaN into 1e30 too
    return errors


def _load(path: str, package_name: str = "hwprune_toolchains") -> Any:
    """Load a file as a part of a package of its own, so that it may import the files beside it."""
    package = types.ModuleType(package_name)
    package.__path__ = [os.path.dirname(path)]
    sys.modules[package_name] = package
    return importlib.import_module("{}.{}".format(package_name, os.path.splitext(os.path.basename(path))[0]))


def _machine() -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "system": platform.system() + " " + platform.release(),
        "load_1min": load,
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = [line.partition(":") for line in file]
    except OSError:
        return platform.processor() or platform.machine()
    names = {key.strip(): value.strip() for key, _, value in facts}
    wide = [
        isa
        for flag, isa in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("amx_tile", "AMX"))
        if flag in names.get("flags", "").split()
    ]
    return " ".join([names.get("model name", platform.machine()), *(["({})".format(", ".join(wide))] if wide else [])])


class _Progress:
    """Write at most ten lines a second of each phase."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open for the life of the process
        self.phase = ""
        self.next = 0.0

    def __call__(self, phase: str, detail: str) -> None:
        now = time.perf_counter()
        if phase != self.phase or now >= self.next:
            self.phase, self.next = phase, now + 0.1
            self.file.write(json.dumps({"phase": phase, "detail": detail}) + "\n")
            self.file.flush()


def _end_with_the_caller() -> None:
    """Leave when the caller is gone: it holds the other end of stdin and never writes."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would stop the interpreter from ending
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
