"""OpenVINO on the device that is named, never one of its own choice.

Its performance counters name each primitive and the model's nodes that it computes. NNCF, by the same maker, quantises
its models. Of a file that another library quantised, outputs are several times further from those in float at the same
speed.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from ._openvino_int8 import RECURRENT

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "package": "openvino",
    "install": "pip install openvino",
    "quantises": "pip install nncf",
    "limits_error": True,
    "any_batch": True,
    "script": """
import numpy as np
import openvino

config = {"INFERENCE_NUM_THREADS": $threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
inputs = dict(np.load("$example"))
own = openvino.Core().read_model("$model")
given = {port: inputs[next(name for name in port.names if name in inputs)] for port in own.inputs}
own.reshape({port: value.shape for port, value in given.items()})  # for a file that takes any batch
model = openvino.Core().compile_model(own, "CPU", config)
result = model(list(given.values()))
for port, value in result.items():
    print(port.any_name, value.shape, value.dtype)
""",
}

OTHERS = ("NPU", "GPU")  # devices beside the CPU that users may name
NO_KERNELS = ("Parameter", "Result", "Constant", "Input", "Output")
BLOCK_S = 0.03  # the counters' steps of one microsecond average out over a block of runs
OPS = {
    "Convolution": "Conv",
    "GroupConvolution": "Conv",
    "Deconvolution": "ConvTranspose",
    "FullyConnected": "MatMul",
    **RECURRENT,
}


def probe() -> dict[str, Any]:
    import openvino

    core = openvino.Core()
    devices = {name: _device(name, core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}
    absent = {name: _why_absent(core, name) for name in OTHERS if name not in devices}
    return {"versions": {"openvino": openvino.__version__.split("-")[0]}, "devices": devices, "absent": absent}


def _why_absent(core: Any, name: str) -> str:
    """Return what the device's plugin says against the smallest model."""
    import openvino

    value = openvino.opset13.parameter([1], openvino.Type.f32)
    try:
        core.compile_model(openvino.Model([openvino.opset13.relu(value)], [value]), name)
    except RuntimeError as error:
        missing = re.search(r"(lib[\w.+-]+\.so[\d.]*): cannot open", str(error))
        if missing is not None:
            return "OpenVINO's plugin for the %s needs %s, which is not on this machine" % (name, missing[1])
        return "OpenVINO's plugin for the %s says: %s" % (name, str(error).strip().splitlines()[-1])
    return "OpenVINO can compile for the %s here, but no such device is on this machine" % name


def _device(name: str, label: str) -> dict[str, Any]:
    if name == "CPU":
        return {"kind": "cpu", "label": label}
    kind = name.partition(".")[0].lower()
    return {"kind": {"myriad": "vpu"}.get(kind, kind), "identities": [label], "label": label}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Compiled:
    import openvino

    files: dict[str, str] = {}
    if settings["keep_files"]:
        path = os.path.join(folder, os.path.splitext(os.path.basename(model))[0] + ".openvino.xml")
        openvino.save_model(openvino.Core().read_model(model), path, compress_to_fp16=False)
        files = {"ir": path, "ir_weights": path.replace(".xml", ".bin")}
    return _Compiled(_shaped(model, inputs, settings), settings, files, counters=False)


def load(artefact: _Compiled, inputs: dict[str, Any], settings: Settings) -> _Request:
    return _Request(artefact, inputs)


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profile:
    return _Profile(_shaped(model, inputs, settings), inputs, settings)


def _shaped(model: str, inputs: dict[str, Any], settings: Settings) -> Any:
    """Read a model, with an open batch fixed to that of the inputs: kernels are chosen for it."""
    own = _read(model)
    if settings["batch"] is not None and own.is_dynamic():
        own.reshape({port: _input_of(port, inputs).shape for port in own.inputs})
    return own


def _read(model: str) -> Any:
    """Read a model, with the file's names for recurrent nodes: the reader gives those to what turns their outputs."""
    import openvino

    own = openvino.Core().read_model(model)
    for node in own.get_ops():
        if node.get_type_name() in RECURRENT:
            read_by = [target.get_node() for output in node.outputs() for target in output.get_target_inputs()]
            names = [name for each in read_by for output in each.outputs() for name in output.get_names()]
            found = [match[0] for name in names if (match := _named(node.get_type_name(), name))]
            if found:
                node.set_friendly_name(found[0])
    return own


def _named(kind: str, name: str) -> Any:
    """Find the file's name of a recurrent node in one that was made of it."""
    return re.search(r"[^,]*::%s_\d+" % RECURRENT[kind], name)


def quantise(model: str, calibration: list[Any], settings: Settings, folder: str) -> dict[str, Any]:
    from . import _openvino_int8

    def read() -> Any:
        return _read(model)

    def compiled(own: Any) -> Any:
        return _Compiled(own, settings, {}, counters=False).model

    def outputs(own: Any, batch: dict[str, Any]) -> list[Any]:
        return list(own([_input_of(port, batch) for port in own.inputs]).values())

    return _openvino_int8.quantise(model, calibration, settings, read, compiled, outputs)


class _Compiled:
    def __init__(self, model: Any, settings: Settings, files: dict[str, str], *, counters: bool) -> None:
        import openvino

        config: dict[str, Any] = {"PERF_COUNT": counters}
        if settings["device"] == "CPU":
            config.update(INFERENCE_NUM_THREADS=settings["threads"], NUM_STREAMS=1)
        if settings["device"] != "NPU":  # which computes in no other than its own
            # by default the plugin computes in bfloat16 if the CPU can, which is not the model that was checked
            config["INFERENCE_PRECISION_HINT"] = "f32"
        self.model = openvino.Core().compile_model(model, settings["device"], config)
        self.files = files


class _Request:
    def __init__(self, compiled: _Compiled, inputs: dict[str, Any]) -> None:
        import openvino

        self.model = compiled.model
        self.request = self.model.create_infer_request()
        for port in self.model.inputs:
            self.request.set_tensor(port, openvino.Tensor(_input_of(port, inputs)))

    def run(self) -> None:
        self.request.infer()

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""

    def outputs(self) -> list[Any]:
        self.request.infer()
        return [self.request.get_output_tensor(i).data.copy() for i in range(len(self.model.outputs))]


def _input_of(port: Any, inputs: dict[str, Any]) -> Any:
    """Return the value for an input: OpenVINO adds the name of a first node that it drops."""
    return next(inputs[name] for name in sorted(port.names) if name in inputs)


class _Profile:
    """The counters give the mean of all runs since compilation in whole microseconds, including the cold first one.

    So each sample is the mean of a block of runs on a freshly compiled model, with the first run subtracted.
    """

    def __init__(self, model: Any, inputs: dict[str, Any], settings: Settings) -> None:
        self.model, self.inputs, self.settings = model, inputs, settings
        self.request: Any = None
        self.infos: list[Any] = []
        self.samples: list[list[float]] = []  # [samples][nodes]

    def run(self) -> None:
        self.request = _Request(_Compiled(self.model, self.settings, {}, counters=True), self.inputs)
        start = time.perf_counter()
        self.request.run()
        first = self._totals(1)
        runs = max(5, min(50, int(BLOCK_S / (time.perf_counter() - start))))
        for _ in range(runs):
            self.request.run()
        together = self._totals(1 + runs)
        self.samples.append([max(0.0, (both - one) / runs) for both, one in zip(together, first)])

    def _totals(self, runs: int) -> list[float]:
        self.infos = self.request.request.get_profiling_info()  # in an order that is the same for all compilations
        return [info.real_time.total_seconds() * 1e6 * runs for info in self.infos]

    def kernels(self) -> list[Any]:
        nodes = self.request.model.get_runtime_model().get_ordered_ops()
        originals = {
            node.get_friendly_name(): str(node.rt_info["originalLayersNames"].value)
            for node in nodes
            if "originalLayersNames" in node.rt_info
        }
        kinds = {info.node_name: info.node_type for info in self.infos if info.node_type in RECURRENT}
        for node in nodes:
            if node.get_friendly_name() in kinds:
                originals[node.get_friendly_name()] = _recurrent(node, kinds[node.get_friendly_name()])
        return [
            {
                "names": [name for name in originals.get(info.node_name, info.node_name).split(",") if name],
                "op": OPS.get(info.node_type, info.node_type),
                "kernel": info.exec_type,
                "sparse": "sparse" in info.exec_type,
                "int8": info.exec_type.lower().endswith(("_i8", "_u8")),
                "us": [sample[place] for sample in self.samples],
            }
            for place, info in enumerate(self.infos)
            if info.node_type not in NO_KERNELS  # not by status: a kernel below one microsecond counts as not run
        ]


def _recurrent(node: Any, kind: str) -> str:
    """Return the file's name of a recurrent kernel; the two of a layer in both directions are joined under it."""
    following, seen = [node], set()
    for each in following:
        name = _named(kind, each.get_friendly_name())
        if name is not None:
            return str(name[0])
        for output in each.outputs():
            for target in output.get_target_inputs():
                after = target.get_node()
                if after.get_friendly_name() not in seen:
                    seen.add(after.get_friendly_name())
                    following.append(after)
    return str(node.get_friendly_name())
