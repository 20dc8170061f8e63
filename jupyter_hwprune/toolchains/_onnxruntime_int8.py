"""Quantise an ONNX file by onnxruntime.quantization, and leave in float what moves its outputs too far.

Activations are unsigned and weights signed, as the x86 kernels want both: with signed activations the matrix products
run several times slower.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from ._host import fast_int8
from ._output_error import in_two, kept_within, moved, relative_errors

if TYPE_CHECKING:
    from .contract import Settings

LARGE_BYTES = 1 << 30  # protobuf itself stops at twice that
WEIGHTS = {  # operators -> the place of their weight
    "Conv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "MatMul": 1,
    "Gather": 0,
    "LSTM": 1,
    "GRU": 1,
    "RNN": 1,
}
CLEAN_DB = 50.0  # signal to noise of 8 bits over their whole range: 6.02 * 8 + 1.76
COMPARED = 4  # batches whose every value is held twice, to find the layers that lose most


def quantise(model: str, calibration: list[Any], settings: Settings) -> dict[str, Any]:
    """Quantise statically to QuantizeLinear and DequantizeLinear pairs, which the runtime fuses into int8 kernels."""
    import onnx
    import onnxruntime

    most = settings["int8_error"]
    recorded, checked = (calibration, []) if most is None else in_two(calibration)
    file = _File(model, recorded)
    file.write([])
    left = _left_in_float(onnx.load(file.path, load_external_data=False).graph)
    how = "7-bit weights, as the CPU has no VNNI" if file.seven_bits else "8-bit weights"
    quantiser = "onnxruntime.quantization " + onnxruntime.__version__ + ", static, " + how + " per channel"
    if most is not None:
        before, after = _within(most, file, checked)
        known = [each["names"] for each in left]
        for each in _left_in_float(onnx.load(file.path, load_external_data=False).graph):
            if each["names"] not in known:
                left.append(dict(each, reason=moved(before, after, most)))
        quantiser += kept_within(before, after, most, checked)
    return {"file": file.path, "files": {"onnx": file.path}, "quantiser": quantiser, "left_in_float": left}


class _File:
    """The float model's file, the batches to record ranges from, and the int8 file."""

    def __init__(self, model: str, recorded: list[Any]) -> None:
        self.model, self.recorded = model, recorded
        self.path = os.path.splitext(model)[0] + ".int8.onnx"
        # without VNNI a product of 8-bit numbers adds up in 16 bits, which saturates: the library then takes 7 bits
        self.seven_bits = fast_int8() == [] and platform.machine().lower() in ("x86_64", "amd64")

    def write(self, in_float: list[str]) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        quantize_static(
            self.model,
            self.path,
            _Batches(self.recorded),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=self.seven_bits,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=in_float,
            use_external_data_format=os.path.getsize(self.model) > LARGE_BYTES,
            extra_options={"WeightSymmetric": True},
        )


class _Batches:
    """The calibration inputs, one batch a call, as the library reads them."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = iter(batches)

    def __iter__(self) -> Any:
        return self.batches

    def get_next(self) -> Any:
        return next(self.batches, None)


def _left_in_float(graph: Any) -> list[dict[str, Any]]:
    """List the nodes whose weights are still floating-point numbers."""
    from onnxruntime.quantization.registry import QDQRegistry

    matrices = {each.name for each in graph.initializer if len(each.dims) >= 2}
    found = []
    for node in graph.node:
        place = WEIGHTS.get(node.op_type)
        if place is None or node.input[place] not in matrices:
            continue
        reason = "onnxruntime.quantization did not quantise its weight"
        if node.op_type not in QDQRegistry:
            reason = "onnxruntime.quantization has no quantiser for " + node.op_type
        found.append({"names": [node.name], "op": node.op_type, "reason": reason})
    return found


def _within(most: float, file: _File, checked: list[Any]) -> tuple[float, float]:
    """Leave the nodes that lose most in float until the outputs move by at most `most`; return their error both ways.

    Each round takes twice as many nodes as the one before, so that a deep model needs few rounds.
    """
    import onnx

    nodes = list(onnx.load(file.model, load_external_data=False).graph.node)
    wanted = _outputs(file.model, checked)

    def error() -> float:
        own = _outputs(file.path, checked)
        return max(each for got, want in zip(own, wanted) for each in relative_errors(got, want))

    before = after = error()
    in_float: set[str] = set()
    count = 1
    writers = {name: node for node in nodes for name in node.output}
    while after > most:
        worst = [
            each
            for each in _losing_most(nodes, file, checked[:COMPARED])
            if _around(each, writers, in_float) - in_float
        ]
        if not worst:
            break
        for node in worst[:count]:
            in_float |= _around(node, writers, in_float)
        file.write(sorted(in_float))
        after = error()
        count *= 2
    return before, after


def _outputs(model: str, batches: list[Any]) -> list[list[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [session.run(None, batch) for batch in batches]


def _losing_most(nodes: list[Any], file: _File, batches: list[Any]) -> list[Any]:
    """Return the nodes, those first whose outputs are noisier than their inputs by most.

    Noise is that of the int8 model's values against the float model's, as the library's debugging helpers compare them.
    """
    from onnxruntime.quantization import qdq_loss_debug as debug

    values = []
    for path in (file.model, file.path):
        more = path + ".values.onnx"
        large = os.path.getsize(path) > LARGE_BYTES
        debug.modify_model_output_intermediate_tensors(path, more, save_as_external_data=large)
        values.append(debug.collect_activations(more, _Batches(batches)))
        os.remove(more)
    wanted, own = values
    clean = {
        name: min(CLEAN_DB, debug.compute_signal_to_quantization_noice_ratio(each, own[name]))
        for name, each in wanted.items()
        if name in own
    }
    lost = []
    for node in nodes:  # in an order in which a value is written before it is read
        arriving = min((clean[name] for name in node.input if name in clean), default=CLEAN_DB)
        for name in node.output:
            clean.setdefault(name, arriving)  # of a node that was taken into the one before
        lost.append(arriving - min(clean[name] for name in node.output))
    return [nodes[place] for place in sorted(range(len(nodes)), key=lambda place: -lost[place])]


def _around(node: Any, writers: dict[str, Any], in_float: set[str]) -> set[str]:
    """Return a node and those that write what it reads; past the ones in float, those before them."""
    found, readers = {node.name}, [node]
    while readers:
        for writer in [writers[name] for name in readers.pop().input if name in writers]:
            if writer.name in in_float and writer.name not in found:
                readers.append(writer)
            found.add(writer.name)
    return found
