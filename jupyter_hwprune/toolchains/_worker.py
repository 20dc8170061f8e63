"""Run one job of one toolchain in a process of its own: `python -I _worker.py FOLDER NAME`.

It runs with the toolchain's interpreter (Python 3.8 or newer), the standard library, numpy and the vendor's package.
The folder holds NAME.request.json and all files that it names, by paths relative to the folder. Progress goes to
NAME.progress.jsonl, one object a line, and the result to NAME.result.json in one move, so that the caller never reads
half of it. stdout is not used, since vendors write there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import types
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))


def main(folder: str, name: str) -> None:
    with open(os.path.join(folder, name + ".request.json"), encoding="utf-8") as file:
        request = _with_whole_paths(json.load(file), os.path.abspath(folder))
    _end_with_the_caller()
    sys.path.extend(request["path"])
    say = _Progress(os.path.join(folder, request.get("progress", name) + ".progress.jsonl"))
    try:
        result = ACTIONS.get(request["action"], _asked)(_load(request["toolchain"]), request, say)
    except Exception as error:  # noqa: BLE001 - a vendor may raise anything; the error is the result
        result = {"error": f"{type(error).__name__}: {error}"}
    path = os.path.join(folder, name + ".result.json")
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.replace(path + ".part", path)


def _with_whole_paths(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """Complete the paths of a job, which are relative to its folder."""
    for case in request.get("cases", ()):
        case.update({key: os.path.join(folder, case[key]) for key in ("model", "expected")})
        case["others"] = [[os.path.join(folder, path) for path in pair] for pair in case.get("others", ())]
    request = dict(request, folder=folder)
    for key in ("inputs", "calibration"):
        request[key] = os.path.join(folder, request[key]) if request.get(key) else None
    return request


def _probe(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    return dict(_found(toolchain), machine=_host().machine())


def _found(toolchain: Any) -> dict[str, Any]:
    """Probe the toolchain, and complete its CPU device with the facts of this host."""
    found = dict(toolchain.probe())
    own = _host().cpu()
    found["devices"] = {
        name: dict(own, **device) if device["kind"] == "cpu" else device for name, device in found["devices"].items()
    }
    return found


def _measure(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    measuring = _load(os.path.join(HERE, "_measuring.py"), "hwprune_worker")
    return dict(measuring.measure(toolchain, request, _found(toolchain), _inputs, _settings, say))


def _quantise(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Quantise every case, with the calibration inputs that lie in the folder."""
    calibration = _load(os.path.join(HERE, "_calibration.py"), "hwprune_worker")
    batches = [dict(zip(request["input_names"], values)) for values in calibration.batches(request["calibration"])]
    quantised = {}
    for case in request["cases"]:
        say("quantise", case["name"])
        quantised[case["name"]] = toolchain.quantise(
            case["model"], batches, _settings(request, case), request["folder"]
        )
    return {"quantised": quantised, "versions": toolchain.probe()["versions"]}


def _serve(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Compile one case, then run it on each inputs file as it appears, until this process is ended."""
    import numpy as np

    (case,) = request["cases"]
    artefact = toolchain.compile(case["model"], _inputs(request), _settings(request, case), request["folder"])
    number = 0
    while True:
        path = os.path.join(request["folder"], "%s-%d" % (case["name"], number))
        while not os.path.exists(path + ".inputs.npz"):
            time.sleep(0.001)
        with np.load(path + ".inputs.npz") as file:
            inputs = dict(zip(request["input_names"], [file[key] for key in file.files]))
        os.remove(path + ".inputs.npz")
        outputs = toolchain.load(artefact, inputs, _settings(request, case)).outputs()
        np.savez(path + ".outputs.part.npz", *outputs)
        os.replace(path + ".outputs.part.npz", path + ".outputs.npz")
        number += 1


def _rate(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Time each layer alone, dense against sparse, to decide which layers stay pruned."""
    models = {case["name"]: case["model"] for case in request["cases"]}
    return {"layers": toolchain.rate(models, _inputs(request), dict(_settings(request), layers=request["layers"]), say)}


def _count(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Read hardware counters for a case, in a process that the toolchain's profiler starts."""
    (case,) = request["cases"]
    say("count", "hardware counters")
    command = _worker_for("counted", request)
    return {"counted": toolchain.count(case["model"], _inputs(request), _settings(request), request["folder"], command)}


def _hotspots(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Sample the functions of all cases, in a process that the CPU's profiler starts."""
    say("hotspots", "functions")
    return {"hotspots": _sampling().collect(_worker_for("marked", request), request["folder"])}


def _peak(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Run each case's script in a process of its own, two at a time, and return the peak of each one's memory."""
    import subprocess
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    np.savez(os.path.join(request["folder"], "peak.npz"), **_inputs(request))

    def words(name: str) -> list[str]:
        say("peak", name)
        path = os.path.join(request["folder"], "peak-%s.py" % name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(request["scripts"][name])
        command = [sys.executable, "-I", os.path.join(HERE, "_peak_memory.py"), path]
        done = subprocess.run(  # noqa: S603 - the toolchain's own script
            command, cwd=request["folder"], capture_output=True, text=True, check=False
        )
        return done.stdout.split()

    with ThreadPoolExecutor(2) as pool:
        said = dict(zip(request["scripts"], pool.map(words, request["scripts"])))
    return {"peaks": {name: int(own[-1]) for name, own in said.items() if own[-2:-1] == ["peak"]}}


def _marked(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    return dict(_sampling().run_marked(toolchain, request, _inputs(request), _settings))


def _worker_for(action: str, request: dict[str, Any]) -> list[str]:
    """Return the command of another worker, for a profiler to start, that does this with the same request."""
    own = dict(request, action=action, progress=request["action"])
    with open(os.path.join(request["folder"], action + ".request.json"), "w", encoding="utf-8") as file:
        json.dump(own, file)
    return [sys.executable, "-I", os.path.abspath(__file__), request["folder"], action]


def _counted(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    (case,) = request["cases"]
    toolchain.counted(case["model"], _inputs(request), _settings(request, case))
    return {}


def _simulate(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Time the dense model with each share of zeros imposed on it."""
    (case,) = request["cases"]
    settings, inputs, model = _settings(request), _inputs(request), case["model"]
    simulated = []
    for sparsity in request["sparsities"]:
        say("simulate", "the dense model" if sparsity is None else f"{sparsity:.0%} of its weights zero")
        simulated.append(toolchain.simulate(model, inputs, settings, request["folder"], sparsity))
    return {"simulated": simulated, "machine": _host().machine(), "versions": toolchain.probe()["versions"]}


ASKED = {"read": "read_recipe", "recipe": "apply_recipe", "zoo": "read"}  # of SparseML twice, and of SparseZoo


def _asked(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Pass a request on to the function of the toolchain's file that serves it."""
    return dict(getattr(toolchain, ASKED[request["action"]])(request, say))


def _run(toolchain: Any, request: dict[str, Any], say: _Progress) -> dict[str, Any]:
    """Run every case once and save its outputs as the expected ones: the reference for other toolchains."""
    import numpy as np

    inputs, folder = _inputs(request), request["folder"]
    for case in request["cases"]:
        say("run", case["name"])
        artefact = toolchain.compile(case["model"], inputs, _settings(request), folder)
        running = toolchain.load(artefact, inputs, _settings(request))
        np.savez(case["expected"], *running.outputs())
    return {"versions": toolchain.probe()["versions"]}


HANDLERS = (_probe, _measure, _quantise, _serve, _rate, _count, _counted, _hotspots, _marked, _peak, _simulate, _run)
ACTIONS = {each.__name__[1:]: each for each in HANDLERS}


def _inputs(request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    with np.load(request["inputs"]) as file:
        return dict(zip(request["input_names"], [file[key] for key in file.files]))


def _settings(request: dict[str, Any], case: Any = None) -> dict[str, Any]:
    own = {key: case[key] for key in ("layers", "sparse", "plans") if case}
    return dict(request["settings"], calibration=request["calibration"] or "", **own)


def _load(path: str, package_name: str = "hwprune_toolchains") -> Any:
    """Load a file as part of a package of its own, so that it can import the files beside it."""
    package = types.ModuleType(package_name)
    package.__path__ = [os.path.dirname(path)]
    sys.modules[package_name] = package
    return importlib.import_module(f"{package_name}.{os.path.splitext(os.path.basename(path))[0]}")


def _host() -> Any:
    return _load(os.path.join(HERE, "_host.py"), "hwprune_worker")


def _sampling() -> Any:
    return _load(os.path.join(HERE, "_sampling.py"), "hwprune_worker")


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
    """Exit when the caller is gone: it holds the other end of stdin and never writes."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would stop the interpreter from ending
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
