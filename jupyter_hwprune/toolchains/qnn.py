"""Qualcomm's compiler for the tensor processor of its NPUs (HTP), which needs none: ONNX Runtime's QNN provider.

It compiles whole models only: with its fallback allowed, the CPU would run what the NPU lacks, and nothing would tell.
The same library computes on this host what the HTP would; its cycles there are no latency, so none are read.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from ._calibration import batches

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup qnn --accept-licence",
    "opset": 21,
    "calibrates": True,
    "runs": False,
    "cross_compiles": True,
    "checks": True,
}
ABSENT = "the compiler needs no chip, and jupyter-hwprune times none of Qualcomm's yet"
PROVIDER = "qnn"
CHIPS = {"HTP": {"soc_model": "60", "htp_arch": "73"}}  # Snapdragon X Elite: float16 has to name one
CONTEXT = "EPContext"  # the node that holds a compiled part of the model


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    import onnx  # noqa: F401 - raises ImportError where it is not installed
    import onnxruntime_qnn  # noqa: F401

    versions = {"qnn": version("onnxruntime-qnn"), "onnxruntime": version("onnxruntime")}
    return {"versions": versions, "devices": {}, "absent": dict.fromkeys(CHIPS, ABSENT)}


class _Artefact:
    def __init__(self, session: Any, path: str) -> None:
        self.session = session
        self.files = {"context": path}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Artefact:
    """Compile the whole model; raises RuntimeError that names the operators which the NPU does not take."""
    path = os.path.join(folder, os.path.splitext(os.path.basename(model))[0] + ".htp.onnx")
    if settings["dtype"] == "int8":
        model = _in_int8(model, list(inputs), settings["calibration"])
    try:
        session = _session(model, path, settings, whole=True)
    except Exception as error:  # the vendor's own
        left = _left_over(model, path + ".part.onnx", settings)
        raise RuntimeError(left or str(error).splitlines()[0]) from error
    kinds = [node.op_type for node in _graph(path).node]
    if CONTEXT not in kinds:
        raise RuntimeError("the compiler wrote no context binary for the NPU")
    return _Artefact(session, path)


def interpret(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs on this host, by the vendor's library, which does what the HTP would."""
    names = [each.name for each in artefact.session.get_inputs()]
    return list(artefact.session.run(None, {name: inputs[name] for name in names}))


def _in_int8(model: str, names: list[str], calibration: str) -> str:
    """Quantise a model by ONNX Runtime's settings for this NPU: weights symmetric about zero for each channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    given = (dict(zip(names, values)) for values in batches(calibration))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(given, None)

    path = os.path.splitext(model)[0] + ".int8.onnx"
    config = get_qnn_qdq_config(
        model,
        Reader(),
        weight_type=QuantType.QInt8,
        per_channel=True,
        weight_symmetric=True,
        activation_symmetric=False,
    )
    quantize(model, path, config)
    return path


def _session(model: str, path: str, settings: Settings, *, whole: bool) -> Any:
    """Compile a model to a file that holds the context binary; with `whole`, refuse one of which a part is left."""
    import onnxruntime
    import onnxruntime_qnn

    if PROVIDER not in {each.ep_name for each in onnxruntime.get_ep_devices()}:
        onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    entries = {
        "session.disable_cpu_ep_fallback": "1" if whole else "0",
        "ep.context_enable": "1",
        "ep.context_embed_mode": "1",
        "ep.context_file_path": path,
    }
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    own = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "enable_htp_fp16_precision": "1"}
    devices = [each for each in onnxruntime.get_ep_devices() if each.ep_name == PROVIDER]
    options.add_provider_for_devices(devices[:1], dict(own, **CHIPS[settings["device"]]))
    return onnxruntime.InferenceSession(model, options)


def _left_over(model: str, path: str, settings: Settings) -> str | None:
    """Name the nodes that the NPU does not take; None if it takes them all, or says nothing."""
    try:
        _session(model, path, settings, whole=False)
        left = [node for node in _graph(path).node if node.op_type != CONTEXT]
    except Exception:  # noqa: BLE001 - the first failure is the one to tell
        return None
    if not left:
        return None
    kinds = Counter(node.op_type for node in left)
    listed = ", ".join("%s (%d)" % each if each[1] > 1 else each[0] for each in kinds.most_common())
    return "the NPU takes the model only in parts; it leaves to the CPU: %s, first %s" % (listed, left[0].name)


def _graph(path: str) -> Any:
    import onnx

    return onnx.load(path, load_external_data=False).graph
