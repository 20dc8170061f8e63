"""DeepSparse on x86 CPUs: the only runtime here whose kernels skip unstructured zeros.

Its last release, Neural Magic's 1.8.0, pins numpy below 2, so it runs in an environment of its own. Its analyser gives
each kernel's time, kernel sparsity, and utilisation: the dense layer's multiplications against the core's peak.
"""

from __future__ import annotations

import os
import re
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup deepsparse --accept-licence",
    "opset": 18,  # the newest that its embedded runtime takes and torch's exporter writes natively
    # benchmarks/results/deepsparse.md compares simulated times with those of pruned models
    "simulates": "kernels with zeros imposed at random on the dense weights: they say nothing about accuracy, and the "
    "kernels of a pruned model may take longer or less",
}

# Without skipping, matrix products stay just below the core's peak, and Winograd's 3x3 convolutions exceed it.
PEAK_OF_PRODUCTS, PEAK_OF_WINOGRAD = 1.1, 4.2
PROFILE_S, SIMULATE_S = 0.05, 0.3  # of runs in one analysis
FEWEST_ITERATIONS, MOST_ITERATIONS = 5, 1000
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FALLBACK = "ONNX Runtime, inside DeepSparse (no kernel of its own)"


def probe() -> dict[str, Any]:
    import numpy as np

    if int(np.__version__.split(".")[0]) >= 2:
        raise ImportError(
            f"numpy {np.__version__} is installed beside DeepSparse, which then silently returns wrong outputs; it "
            "needs numpy below 2"
        )
    import onnx

    engine = _engine()
    label = f"the host's CPU ({engine.AVX_TYPE}{', VNNI' if engine.VNNI else ''})"
    devices = {"CPU": {"kind": "cpu", "label": label}}
    return {"versions": {"deepsparse": engine.version, "onnx": onnx.__version__}, "devices": devices}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> Any:
    """Write the model in the operators that the engine has kernels for; loading compiles it, and it is not saved."""
    from ._deepsparse_graph import prepared

    path = prepared(model, folder)
    return types.SimpleNamespace(path=path, files={"prepared": path} if settings["keep_files"] else {})


def load(artefact: Any, inputs: dict[str, Any], settings: Settings) -> _Engine:
    return _Engine(artefact.path, inputs, settings["threads"])


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profile:
    return _Profile(model, inputs, settings, folder)


def simulate(
    model: str, inputs: dict[str, Any], settings: Settings, folder: str, sparsity: float | None
) -> list[float]:
    """Return times in milliseconds with this share of every layer's weights set to zero; None sets none."""
    analysis = _Analysis(model, inputs, settings, folder)
    found = analysis.run(FEWEST_ITERATIONS, sparsity)
    wanted = analysis.iterations(SIMULATE_S)
    if wanted > FEWEST_ITERATIONS:  # each analysis compiles again, which takes longer than the few runs needed
        found = analysis.run(wanted, sparsity)
    return list(found["iteration_times"])


def _engine() -> Any:
    os.environ["NM_DISABLE_ANALYTICS"] = "1"  # before the import, which otherwise reports the machine's address
    import deepsparse.engine

    return deepsparse.engine


class _Engine:
    """A model compiled for its file's batch size: given another, the engine would rewrite the file's shapes."""

    def __init__(self, path: str, inputs: dict[str, Any], threads: int) -> None:
        self.engine = _engine().Engine(path, batch_size=None, num_cores=threads)
        self.inputs = _in_order(self.engine.input_names, inputs)

    def run(self) -> None:
        self.engine.run(self.inputs, val_inp=False)

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""

    def outputs(self) -> Any:
        return self.engine.run(self.inputs)


def _in_order(names: list[str], inputs: dict[str, Any]) -> list[Any]:
    import numpy as np

    return [np.ascontiguousarray(inputs[name]) for name in names]


class _Analysis:
    """The analyser compiles a model, runs it several times and gives means; analysing a compilation twice crashes."""

    def __init__(self, model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> None:
        from ._deepsparse_graph import prepared

        self.path, self.inputs, self.threads = prepared(model, folder), inputs, settings["threads"]
        self.mean_ms = 1.0

    def run(self, iterations: int, imposed: float | None = None) -> dict[str, Any]:
        runs = {"num_iterations": iterations, "num_warmup_iterations": 2, "imposed_ks": imposed}
        engine = _engine().DebugAnalysisEngine(self.path, batch_size=None, num_cores=self.threads, **runs)
        found: dict[str, Any] = engine.analyze(_in_order(engine.input_names, self.inputs))
        self.mean_ms = found["average_total_time"]
        return found

    def iterations(self, seconds: float) -> int:
        return max(FEWEST_ITERATIONS, min(MOST_ITERATIONS, int(seconds * 1e3 / max(self.mean_ms, 1e-3))))


class _Profile:
    cold_runs = 0  # each analysis warms up by itself

    def __init__(self, model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> None:
        from ._deepsparse_graph import layers_of_weights, makers

        self.analysis = _Analysis(model, inputs, settings, folder)
        self.weights = layers_of_weights(self.analysis.path)  # node -> whether it is a spatial convolution
        self.makers = makers(self.analysis.path)
        self.iterations = FEWEST_ITERATIONS
        self.found: list[list[dict[str, Any]]] = []  # [runs][kernels]

    def run(self) -> None:
        self.found.append(self.analysis.run(self.iterations)["layer_info"])
        self.iterations = self.analysis.iterations(PROFILE_S)

    def kernels(self) -> list[Any]:
        rows = []
        for infos in zip(*self.found):  # one kernel's in all runs
            if len({info["canonical_name"] for info in infos}) > 1:
                raise RuntimeError("two compilations of one model gave different kernels")
            rows.append(self._kernel(infos))
        covered = {name for row in rows for name in row["names"]}
        alone = [name for name in self.weights if name not in covered]  # in a subgraph without names of nodes
        nothing = {"kernel": FALLBACK, "sparse": False, "us": [0.0] * len(self.found)}
        return rows + [dict(nothing, names=[name], op=_op(name)) for name in alone]

    def _kernel(self, infos: Any) -> dict[str, Any]:
        info = infos[0]
        names = [
            self.makers.get(name, name) for name in info["canonical_name"].split(",") if name not in ("", "<none>")
        ]
        us = [each["average_run_time_in_ms"] * 1e3 for each in infos]
        utilization = sum(each["average_utilization"] for each in infos) / len(infos)
        kernel = re.sub(r"_\d+$", "", info["name"])
        ops = [op for op in map(_op, names) if op in PRODUCTS]
        sparse = self._sparse(kernel, names, utilization)
        if sparse and not kernel.startswith("ks_"):
            kernel += " (sparse, inferred from its utilisation)"
        row = {"names": names, "op": (ops or [""])[0], "kernel": kernel, "sparse": sparse, "us": us}
        return dict(row, utilization=utilization) if utilization else row

    def _sparse(self, kernel: str, names: list[str], utilization: float) -> bool | None:
        """Judge by the name; a pyramid (layers run tile by tile) has none, but above the peak it has skipped work."""
        if kernel.startswith("ks_"):
            return True
        if not kernel.startswith("pyramid"):
            return False
        spatial = any(self.weights.get(name, False) for name in names)
        return True if utilization > (PEAK_OF_WINOGRAD if spatial else PEAK_OF_PRODUCTS) else None


def _op(name: str) -> str:
    match = re.search(r"::([A-Za-z]+)_\d+", name)
    return match.group(1) if match else ""
