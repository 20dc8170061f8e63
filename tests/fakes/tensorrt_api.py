"""A constructed `tensorrt` module: its API, its log and its inspector as known, with ONNX Runtime at work inside.

Constructed from NVIDIA's documents, from the strings in TensorRT 8.6's library and from the headers and bindings of
8.6, 10 and 11; NOT recorded on hardware. What it fuses, which layers it holds eligible (16 inputs or more), which it
runs sparsely (32 outputs or more) and all its times are made up. HWPRUNE_TRT_VERSION is 8.6, 10 or 11, and symbols are
missing as in reality. HWPRUNE_TRT_FAULT plants a fault: `no gpu`, `segfault` (in Runtime), `parse`, `build`, `run`,
`silent` (no word of sparsity, no tactic), `unknown names` (numbers without lists, and tactics whose names say nothing).
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import pickle
import random
import signal
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from .tensorrt_layers import layers_of

VERSION = os.environ.get("HWPRUNE_TRT_VERSION", "10")
FAULT = os.environ.get("HWPRUNE_TRT_FAULT", "")
OLD, NEWEST = VERSION == "8.6", VERSION == "11"
__version__ = {"8.6": "8.6.1", "10": "10.16.1.11", "11": "11.4.0.106"}[VERSION]

EDGES = {  # of the ONNX element type: TensorRT's name, numpy's
    TensorProto.FLOAT: ("FLOAT", "float32"),
    TensorProto.FLOAT16: ("HALF", "float16"),
    TensorProto.BFLOAT16: ("BF16", "uint16"),
    TensorProto.INT64: ("INT32", "int32") if OLD else ("INT64", "int64"),
}
TACTICS = {  # of a convolution, and whether it is sparse; these names stand in libnvinfer 8.6
    (
        True,
        True,
    ): "sm80_xmma_fprop_sparse_conv_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize64x64x64_stage3_warpsize1x2x1_g1_"
    "sptensor16x8x32_t1r1s1",
    (True, False): "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize64x64x64_stage3",
    (False, True): "sm80_xmma_sparse_gemm_f16f16_f16f32_f32_nt_n_tilesize128x128x64_stage3_warpsize2x2x1_"
    "sptensor16x8x32",
    (False, False): "sm80_xmma_gemm_f16f16_f16f32_f32_nt_n_tilesize128x128x64_stage3",
}


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity: Any = Severity

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


def _flags(name: str, *members: str) -> Any:
    return enum.IntEnum(name, {member: number for number, member in enumerate(members)})


NetworkDefinitionCreationFlag: Any = _flags(
    "NetworkDefinitionCreationFlag",
    *(() if NEWEST else ("EXPLICIT_BATCH",)),
    *(("EXPLICIT_PRECISION",) if OLD else ("STRONGLY_TYPED",)),
)
BuilderFlag: Any = _flags("BuilderFlag", *(() if NEWEST else ("FP16", "INT8")), "SPARSE_WEIGHTS", "TF32")
DataType: Any = _flags(
    "DataType", "FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", *(() if OLD else ("BF16", "INT64"))
)
ProfilingVerbosity: Any = _flags("ProfilingVerbosity", "LAYER_NAMES_ONLY", "DETAILED", "NONE")
LayerInformationFormat: Any = _flags("LayerInformationFormat", "ONELINE", "JSON")
TensorIOMode: Any = _flags("TensorIOMode", "NONE", "INPUT", "OUTPUT")
TensorLocation: Any = _flags("TensorLocation", "DEVICE", "HOST")


class Network:
    def __init__(self, flags: int) -> None:
        self.flags, self.proto = flags, onnx.ModelProto()

    @property
    def num_outputs(self) -> int:
        return len(self.proto.graph.output)

    def get_output(self, index: int) -> Any:
        return self.proto.graph.output[index]


class OnnxParser:
    def __init__(self, network: Network, logger: ILogger) -> None:
        self.network, self.num_errors = network, 0

    def parse_from_file(self, path: str) -> bool:
        explicit = not OLD or self.network.flags & 1 << NetworkDefinitionCreationFlag.EXPLICIT_BATCH
        if FAULT == "parse" or not explicit:
            self.num_errors = 1
            return False
        self.network.proto.CopyFrom(onnx.load(path))
        return True

    def get_error(self, index: int) -> str:
        return "In node 3 with name: 1.0::Conv_2 and operator: Conv (importConv): UNSUPPORTED_NODE"


class Config:
    def __init__(self) -> None:
        self.flags: set[Any] = set()
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag)


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger
        if FAULT == "no gpu":
            logger.log(Severity.WARNING, "CUDA initialization failure with error: 35. Please check your installation")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def build_serialized_network(self, network: Network, config: Config) -> Any:
        half = any(each.data_type == TensorProto.FLOAT16 for each in network.proto.graph.initializer)
        typed = not OLD and network.flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        flagged = not NEWEST and BuilderFlag.FP16 in config.flags
        if FAULT == "build" or (flagged and typed) or (half and not flagged and not typed and not NEWEST):
            self.logger.log(Severity.ERROR, "Error Code 10: Could not find any implementation for node 1.0::Conv_2.")
            return None
        layers = layers_of(network.proto, old=OLD, allowed=BuilderFlag.SPARSE_WEIGHTS in config.flags)
        self.logger.log(Severity.VERBOSE, "Tactic: 0x0000000000000001 Time: 0.0123")
        if FAULT != "silent":
            for severity, line in sparsity_lines(layers):
                self.logger.log(severity, line)
        detailed = config.profiling_verbosity == ProfilingVerbosity.DETAILED
        return bytearray(pickle.dumps((network.proto.SerializeToString(), layers, detailed)))


def sparsity_lines(layers: list[dict[str, Any]]) -> list[tuple[Severity, str]]:
    eligible, picked = ([layer for layer in layers if layer[key]] for key in ("eligible", "sparse"))
    if OLD:
        return [
            (Severity.INFO, "(Sparsity) Layers eligible for sparse math: " + ", ".join(e["fused"] for e in eligible)),
            (
                Severity.INFO,
                "(Sparsity) TRT inference plan picked sparse implementation for layers: "
                + ", ".join(p["fused"] for p in picked),
            ),
        ]
    said = []
    for last in (False, True):  # it speaks more than once, and not of the same part
        for verb, kind, chosen in (("Found", "eligible to use", eligible), ("Chose", "using", picked)):
            part = chosen if last else chosen[:1]
            names = ", ".join(each["fused" if verb == "Found" else "name"] for each in part)
            bare = NEWEST or FAULT == "unknown names" or not part
            line = f"(Sparsity) {verb} {len(part)} layer(s) {kind} sparse tactics" + ("" if bare else f": {names}")
            said.append((Severity.VERBOSE, line))
    return said


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        if FAULT == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)

    def deserialize_cuda_engine(self, plan: Any) -> Engine:
        return Engine(*pickle.loads(plan))


class Engine:
    def __init__(self, proto: bytes, layers: list[dict[str, Any]], detailed: bool) -> None:
        self.layers, self.detailed = layers, detailed
        graph = onnx.load_model_from_string(proto).graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(widened(proto), options, providers=["CPUExecutionProvider"])
        self.inputs = {value.name: value for value in graph.input}
        self.edges = [*graph.input, *reversed(graph.output)]  # an order that nobody promises
        self.types = {value.name: value.type.tensor_type for value in self.edges}
        self.num_io_tensors = len(self.edges)

    def get_tensor_name(self, index: int) -> str:
        return str(self.edges[index].name)

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType[EDGES[self.types[name].elem_type][0]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(dim.dim_value for dim in self.types[name].shape.dim)

    def get_tensor_location(self, name: str) -> Any:
        return TensorLocation.DEVICE

    def numpy_type(self, name: str) -> Any:
        return np.dtype(EDGES[self.types[name].elem_type][1])

    def create_execution_context(self) -> Context:
        return Context(self)

    def create_engine_inspector(self) -> Engine:
        return self

    def get_engine_information(self, form: Any) -> str:
        assert form is LayerInformationFormat.JSON
        layers = [inspected(layer) if self.detailed else layer["name"] for layer in self.layers]
        names = [value.name for value in self.edges]
        edges = {"I/O Tensors": [{"Name": name} for name in names]} if NEWEST else {"Bindings": names}
        return json.dumps({"Layers": layers, **edges})


def widened(proto: bytes) -> bytes:
    """Turn bfloat16, which ONNX Runtime does not know on a CPU, into float32."""
    model = onnx.load_model_from_string(proto)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.BFLOAT16:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype("float32"), weight.name))
    for attribute in (attribute for node in model.graph.node for attribute in node.attribute):
        if attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
            attribute.i = TensorProto.FLOAT
    return bytes(model.SerializeToString())


def inspected(layer: dict[str, Any]) -> dict[str, Any]:
    """Tell of a layer: here 8.6 does it by its name, 10 by its metadata, 11 only by the value that it makes."""
    written = {"Datatype": "Half", "Format": "Row major"} if NEWEST else {"Format/Datatype": "Half"}
    told = {"Name": layer["name"], "LayerType": layer["kind"], "Inputs": []}
    told |= {"Outputs": [{"Name": layer["made"], "Dimensions": [1], **written}], "StreamId": 0}
    told["Metadata"] = "\x1e".join(f"[ONNX Layer: {node}]" for node in layer["nodes"]) if VERSION == "10" else ""
    if layer["kind"] in {"CaskConvolution", "MatrixMultiply", "gemm"} and FAULT != "silent":
        conv, sparse = layer["kind"] == "CaskConvolution", layer["sparse"] and FAULT != "unknown names"
        told |= {"TacticName": TACTICS[conv, sparse], "AllowSparse": 1}
    return told


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses = engine, dict[str, int]()
        self.profiler: IProfiler | None = None

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.engine.get_tensor_shape(name)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return memory != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self.engine
        if FAULT == "run" or stream_handle == 0 or len(self.addresses) != engine.num_io_tensors:
            return False
        values = {name: self._read(name) for name in engine.inputs}
        names = [output.name for output in engine.session.get_outputs()]
        for name, value in zip(names, engine.session.run(names, values), strict=True):
            narrow = (value.view("uint32") >> 16) if engine.numpy_type(name) == "uint16" else value
            made = np.ascontiguousarray(narrow.astype(engine.numpy_type(name)))
            ctypes.memmove(self.addresses[name], made.ctypes.data, made.nbytes)
        end = time.perf_counter() + sum(layer["ms"] for layer in engine.layers) / 1e3
        while time.perf_counter() < end:  # so that sparse layers make the whole model faster, as its times say
            pass
        for layer in engine.layers:
            if self.profiler is None:
                break
            self.profiler.report_layer_time(layer["name"], layer["ms"] * random.uniform(0.995, 1.005))
        return True

    def _read(self, name: str) -> Any:
        dtype, shape = self.engine.numpy_type(name), self.engine.get_tensor_shape(name)
        size = int(np.prod(shape)) * dtype.itemsize
        value = np.frombuffer(ctypes.string_at(self.addresses[name], size), dtype).reshape(shape)
        if dtype == "uint16":
            return (value.astype("uint32") << 16).view("float32")
        return value.astype("int64") if dtype.kind == "i" else value
