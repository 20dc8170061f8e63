"""TensorRT on an NVIDIA GPU: it times sparse kernels against dense ones layer by layer, and picks one itself.

Which one it picked can be read in two places, neither of them documented: its log, worded differently up to 8.6 and
later, and the names of its tactics. If neither tells, the report claims nothing. APIs of 8.6, 10 and 11:
https://docs.nvidia.com/deeplearning/tensorrt
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _nvidia
from ._tensorrt_words import EngineLayer, Told

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "package": "tensorrt",
    "install": "pip install tensorrt",
    "converts": True,
    "rates": True,
    "chooses_kernels": True,
    "tells_by_values": True,
    "meter": {"name": "NVML's energy counter", "cure": "pip install nvidia-ml-py, where the GPU has such a counter"},
}

DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "FP8": "float8_e4m3fn"}
"""TensorRT's data types and torch's, by name, where torch's is not the same in small letters, such as INT8. Which ones
exist depends on the version, and numpy lacks some."""


class Gpu(_nvidia.Gpu):
    """The device, with a stream of its own: on the default one TensorRT synchronises more than necessary."""

    def __init__(self) -> None:
        super().__init__()
        self.torch.cuda.set_stream(self.torch.cuda.Stream())

    def stream(self) -> int:
        return int(self.torch.cuda.current_stream().cuda_stream)


GPU: Callable[[], Any] = Gpu


def probe() -> dict[str, Any]:
    found = _nvidia.found()
    import tensorrt  # type: ignore[import-not-found,unused-ignore]

    found = dict(found, versions={"tensorrt": str(tensorrt.__version__)})
    if found["devices"]:
        try:
            _session()
        except RuntimeError as error:
            return dict(found, devices={}, absent={"cuda": str(error)})
    return found


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Engine:
    engine = _Engine(model, settings)
    _session().built.append((model, engine))
    engine.files = engine.saved(folder, model) if settings["keep_files"] else {}
    return engine


def load(artefact: _Engine, inputs: dict[str, Any], settings: Settings) -> _Running:
    return _Running(artefact, inputs)


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profiled:
    """Profile the engine that was compiled before, if there is one: a second build may pick other kernels."""
    built = _session().built
    known = next((each for each in built if each[0] == model), None)
    if known is not None:
        built.remove(known)
    return _Profiled(_Engine(model, settings) if known is None else known[1], inputs)


def rate(models: dict[str, str], inputs: dict[str, Any], settings: Settings, say: Any) -> list[dict[str, Any]]:
    """Build the pruned model and say which layers TensorRT runs sparsely; `picked` is None if it does not say."""
    say("rate", "building the pruned engine")
    told = _Engine(models["pruned"], settings).told
    return [told.rated(layer) for layer in settings["layers"]]


meter = _nvidia.Meter


@functools.lru_cache(maxsize=1)
def _session() -> _Session:
    return _Session()


class _Session:
    """The objects that a process needs once: TensorRT's logger, the builder, the runtime, the device.

    The builder is made first: without a working GPU it raises, while making a runtime would end the process.
    """

    def __init__(self) -> None:
        import tensorrt

        self.trt: Any = tensorrt
        self.log = _logger(tensorrt)
        try:
            self.builder = tensorrt.Builder(self.log)
        except TypeError as error:
            raise RuntimeError(f"TensorRT finds no GPU that it can use: {self.complaints() or error}") from error
        self.gpu = GPU()
        self.built: list[tuple[str, _Engine]] = []  # engines by their models, until they are profiled

    @functools.lru_cache(maxsize=1)  # noqa: B019 - there is one session, which lives as long as the process
    def runtime(self) -> Any:
        return self.trt.Runtime(self.log)

    def complaints(self) -> str:
        """Return the last errors of the log, or else its last warnings."""
        error = int(self.trt.ILogger.Severity.ERROR)
        errors = [message for severity, message in self.log.complaints if severity <= error]
        return "; ".join((errors or [message for _, message in self.log.complaints])[-3:])

    def build(self, model: str, dtype: str) -> tuple[Any, list[str]]:
        """Return the serialised engine of an ONNX file and the names of its outputs, in the model's order."""
        trt = self.trt
        del self.log.complaints[:], self.log.sparsity[:]
        kinds = trt.NetworkDefinitionCreationFlag
        typed = hasattr(kinds, "STRONGLY_TYPED")
        if not typed and dtype == "bfloat16":
            raise RuntimeError(f"TensorRT {trt.__version__} has no bfloat16; use --dtype float16")
        network = self.builder.create_network(1 << int(kinds.STRONGLY_TYPED if typed else kinds.EXPLICIT_BATCH))
        parser = trt.OnnxParser(network, self.log)
        if not parser.parse_from_file(model):
            errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise RuntimeError(f"TensorRT cannot read this model: {errors or self.complaints()}")
        config = self.builder.create_builder_config()
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)  # only allows sparse kernels: dense weights are not changed
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if not typed and dtype == "float16":
            config.set_flag(trt.BuilderFlag.FP16)
        plan = self.builder.build_serialized_network(network, config)
        if plan is None:
            raise RuntimeError(f"TensorRT cannot build this model: {self.complaints() or 'it gives no reason'}")
        return plan, [network.get_output(i).name for i in range(network.num_outputs)]


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Receives every message, including thousands of VERBOSE ones, and keeps those that are needed later."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.sparsity: list[str] = []
            self.complaints: list[tuple[int, str]] = []
            self.least = int(trt.ILogger.Severity.WARNING)

        def log(self, severity: Any, msg: str) -> None:
            if "(Sparsity)" in msg:
                self.sparsity.append(msg)
            if int(severity) <= self.least:
                self.complaints.append((int(severity), msg.strip()))

    return Logger()


class _Engine:
    """An engine, with what its builder and its inspector report about its layers."""

    def __init__(self, model: str, settings: Settings) -> None:
        self.files: dict[str, str] = {}
        self.session = _session()
        self.plan, self.outputs = self.session.build(model, settings["dtype"])
        self.engine = self.session.runtime().deserialize_cuda_engine(self.plan)
        if self.engine is None:
            raise RuntimeError(f"TensorRT cannot load its own engine: {self.session.complaints()}")
        form = self.session.trt.LayerInformationFormat.JSON
        self.inspected = self.engine.create_engine_inspector().get_engine_information(form)
        self.told = Told(self.inspected, self.session.log.sparsity)

    def saved(self, folder: str, model: str) -> dict[str, str]:
        base = os.path.join(folder, os.path.splitext(os.path.basename(model))[0])
        files = {"engine": base + ".engine", "layers": base + ".layers.json"}
        with open(files["engine"], "wb") as file:
            file.write(self.plan)
        with open(files["layers"], "w", encoding="utf-8") as file:
            file.write(self.inspected)
        return files


class _Bound:
    """An engine's context with its inputs in place, and memory for its outputs."""

    def __init__(self, engine: _Engine, inputs: dict[str, Any]) -> None:
        self.own, self.session, self.gpu = engine, engine.session, engine.session.gpu
        self.context = engine.engine.create_execution_context()
        if self.context is None:
            raise RuntimeError(f"TensorRT cannot run this engine: {self.session.complaints()}")
        self.values: dict[str, Any] = {}
        for number in range(engine.engine.num_io_tensors):
            name = engine.engine.get_tensor_name(number)
            self.values[name] = value = self._value(name, inputs)
            if not self.context.set_tensor_address(name, value.data_ptr()):
                raise RuntimeError(f"TensorRT did not accept the memory for {name}: {self.session.complaints()}")

    def _value(self, name: str, inputs: dict[str, Any]) -> Any:
        torch, trt, engine = self.gpu.torch, self.session.trt, self.own.engine
        dtype_name = engine.get_tensor_dtype(name).name
        dtype = getattr(torch, DTYPES.get(dtype_name, dtype_name.lower()))
        on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
        device = "cpu" if on_host else self.gpu.device
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            return torch.from_numpy(inputs[name]).to(device, dtype).contiguous()
        shape = tuple(self.context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise RuntimeError(f"the size of the output {name} depends on the values in it, which is not supported")
        return torch.zeros(shape, dtype=dtype, device=device)

    def enqueue(self) -> None:
        if not self.context.execute_async_v3(stream_handle=self.gpu.stream()):
            raise RuntimeError(f"TensorRT did not start a run: {self.session.complaints()}")

    def finish(self) -> None:
        self.gpu.finish()


class _Running(_Bound):
    """An engine started as one CUDA graph if it can be captured."""

    def __init__(self, engine: _Engine, inputs: dict[str, Any]) -> None:
        super().__init__(engine, inputs)
        self.enqueue()
        eager_ms = round(self.gpu.wall_milliseconds(self.enqueue), 6)
        self.facts: dict[str, Any] = {"way": "a CUDA graph", "eager_ms": eager_ms}
        self.run: Callable[[], Any] = self.enqueue
        try:
            self.run = self.gpu.graph(self.enqueue)
        except Exception as error:  # noqa: BLE001 - the engine runs without a graph, whatever the reason
            self.finish()
            self.facts.update(way="kernel by kernel", refused=[str(error)])

    def outputs(self) -> list[Any]:
        found = [self.values[name] for name in self.own.outputs]
        self.gpu.clear(found)
        self.run()
        self.finish()
        return _nvidia.on_host(found)


class _Profiled(_Bound):
    """A context of its own with TensorRT's profiler on; each run is one pass over the engine's layers."""

    def __init__(self, engine: _Engine, inputs: dict[str, Any]) -> None:
        super().__init__(engine, inputs)
        self.profiler = _profiler(self.session.trt)
        self.context.profiler = self.profiler
        self.passes: list[dict[Any, float]] = []

    def run(self) -> None:
        del self.profiler.seen[:]
        self.enqueue()
        self.finish()
        self.passes.append(_nvidia.numbered(self.profiler.seen))

    def kernels(self) -> list[Any]:
        layers = _nvidia.numbered((layer.name, layer) for layer in self.own.told.layers)
        if not self.passes[-1]:
            raise RuntimeError("TensorRT's profiler reported no layer")
        rows = []
        for key, ms in _nvidia.samples_of(self.passes).items():
            layer = layers.get(key) or EngineLayer({"Name": key[0]})
            row = {"names": layer.names, "op": layer.op, "kernel": layer.tactic or layer.type or layer.name}
            rows.append(dict(row, sparse=self.own.told.is_sparse(layer), us=[each * 1e3 for each in ms]))
        return rows


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.seen: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.seen.append((layer_name, ms))

    return Profiler()
