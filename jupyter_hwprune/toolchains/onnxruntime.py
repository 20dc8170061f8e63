"""ONNX Runtime on the CPU. Its trace names operators and layouts, not kernels; none of its kernels skips zeros.

Its own library quantises.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "package": "onnxruntime",
    "install": "pip install onnxruntime",
    "quantises": "pip install onnxruntime onnx",
    "limits_error": True,
    "any_batch": True,
    "bound": ("optimised",),
    "script": """
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = $threads
options.add_free_dimension_override_by_name("batch", $batch)  # for a file that takes any
session = onnxruntime.InferenceSession("$model", options, providers=["CPUExecutionProvider"])
inputs = dict(np.load("$example"))
names = [each.name for each in session.get_outputs()]
for name, value in zip(names, session.run(names, inputs)):
    print(name, value.shape, value.dtype)
""",
}


def probe() -> dict[str, Any]:
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    devices = {"CPU": {"kind": "cpu"}} if "CPUExecutionProvider" in providers else {}
    return {"versions": {"onnxruntime": onnxruntime.__version__}, "devices": devices}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Session:
    options, files = _options(settings), {}
    if settings["keep_files"]:
        files = {"optimised": os.path.join(folder, os.path.basename(model).replace(".onnx", ".optimised.onnx"))}
        options.optimized_model_filepath = files["optimised"]
    return _Session(model, options, files)


def load(artefact: _Session, inputs: dict[str, Any], settings: Settings) -> _Running:
    return _Running(artefact.session, inputs)


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profile:
    options = _options(settings)
    options.enable_profiling = True
    options.profile_file_prefix = os.path.join(folder, os.path.basename(model) + ".trace")
    return _Profile(_Session(model, options, {}).session, inputs)


def quantise(model: str, calibration: list[Any], settings: Settings, folder: str) -> dict[str, Any]:
    from . import _onnxruntime_int8

    return _onnxruntime_int8.quantise(model, calibration, settings)


def _options(settings: Settings) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: a failure shows the end of the worker's log
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    # idle threads of one session would otherwise spin on the cores while the next session is timed
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if settings["batch"] is not None:
        options.add_free_dimension_override_by_name("batch", settings["batch"])
    return options


class _Session:
    def __init__(self, model: str, options: Any, files: dict[str, str]) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.files = files


class _Running:
    def __init__(self, session: Any, inputs: dict[str, Any]) -> None:
        self.session, self.inputs = session, inputs

    def outputs(self) -> Any:
        return self.session.run(None, self.inputs)

    def run(self) -> None:
        self.session.run(None, self.inputs)

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""


class _Profile(_Running):
    def kernels(self) -> list[Any]:
        with open(self.session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        kernels: dict[tuple[str, str], dict[str, Any]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                name = event["name"][: -len("_kernel_time")]
                found = kernels.setdefault((event["args"]["node_index"], name), _kernel(name, event["args"]))
                found["us"].append(float(event["dur"]))
        return list(kernels.values())


def _kernel(name: str, args: dict[str, Any]) -> dict[str, Any]:
    op = re.sub(r"^Fused", "", args["op_name"])
    layout = " (NCHWc)" if name.endswith("_nchwc") else ""
    int8 = op.startswith("Q") or "Integer" in op
    return {"names": [name], "op": op, "kernel": args["op_name"] + layout, "sparse": False, "int8": int8, "us": []}
