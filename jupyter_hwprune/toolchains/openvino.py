"""OpenVINO on the CPU. Its performance counters name each primitive and the model's nodes that it carries out."""

from __future__ import annotations

import os
from typing import Any

NAME = "OpenVINO"
INSTALL = "pip install openvino"

OPS = {"Convolution": "Conv", "GroupConvolution": "Conv", "Deconvolution": "ConvTranspose", "FullyConnected": "MatMul"}


def probe() -> dict[str, Any]:
    import openvino

    core = openvino.Core()
    devices = {name: core.get_property(name, "FULL_DEVICE_NAME") for name in core.available_devices}
    return {"versions": {"openvino": openvino.__version__.split("-")[0]}, "devices": devices}


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> _Request:
    files: dict[str, str] = {}
    if settings["keep_files"]:
        import openvino

        path = os.path.join(folder, os.path.basename(model).replace(".onnx", ".openvino.xml"))
        openvino.save_model(openvino.Core().read_model(model), path, compress_to_fp16=False)
        files = {"ir": path, "ir_weights": path.replace(".xml", ".bin")}
    return _Request(model, inputs, settings, files, counters=False)


def profile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> _Profile:
    return _Profile(_Request(model, inputs, settings, {}, counters=True))


class _Request:
    def __init__(
        self, model: str, inputs: dict[str, Any], settings: dict[str, Any], files: dict[str, str], *, counters: bool
    ) -> None:
        import openvino

        config = {
            "INFERENCE_NUM_THREADS": settings["threads"],
            "NUM_STREAMS": 1,
            # left to itself the plugin computes in bfloat16 where the CPU can, which is not the model that was checked
            "INFERENCE_PRECISION_HINT": "f32",
            "PERF_COUNT": counters,
        }
        self.compiled = openvino.Core().compile_model(model, settings["device"], config)
        self.request = self.compiled.create_infer_request()
        for port in self.compiled.inputs:
            self.request.set_tensor(port, openvino.Tensor(inputs[port.any_name]))
        self.files = files

    def run(self) -> None:
        self.request.infer()

    def outputs(self) -> list[Any]:
        self.request.infer()
        return [self.request.get_output_tensor(i).data.copy() for i in range(len(self.compiled.outputs))]


class _Profile:
    def __init__(self, request: _Request) -> None:
        self.request = request
        self.found: dict[int, tuple[Any, list[float]]] = {}

    def run(self) -> None:
        self.request.run()
        for position, info in enumerate(self.request.request.get_profiling_info()):  # names are not unique, places are
            if str(info.status).endswith("EXECUTED"):
                self.found.setdefault(position, (info, []))[1].append(info.real_time.total_seconds() * 1e6)

    def kernels(self) -> list[Any]:
        originals = {
            node.get_friendly_name(): str(node.rt_info["originalLayersNames"].value)
            for node in self.request.compiled.get_runtime_model().get_ordered_ops()
            if "originalLayersNames" in node.rt_info
        }
        return [
            {
                "names": [name for name in originals.get(info.node_name, info.node_name).split(",") if name],
                "op": OPS.get(info.node_type, info.node_type),
                "kernel": info.exec_type,
                "sparse": "sparse" in info.exec_type,
                "us": us,
            }
            for info, us in self.found.values()
        ]
