"""Quantise a .tflite file by ai-edge-quantizer: weights symmetric and per channel, activations as calibrated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ._litert_operators import operators

if TYPE_CHECKING:
    from .contract import Quantised
    from .litert import Converted

LEFT = "ai-edge-quantizer did not quantise its weight"


def quantise(converted: Converted, calibration: list[dict[str, Any]]) -> Quantised:
    """Write the model with 8-bit weights and activations, its inputs and outputs in float."""
    from importlib.metadata import version

    path = _written(converted, calibration, float_outside=True)
    return {
        "file": path,
        "files": {"tflite": path},
        "quantiser": "ai-edge-quantizer " + version("ai-edge-quantizer") + ", static, 8-bit weights per channel",
        "left_in_float": [
            {"names": [each.layer], "op": each.op, "reason": LEFT}
            for each in operators(path, converted.weights)
            if each.layer is not None and each.weighted and each.kinds[1].startswith("float")
        ],
    }


def quantise_whole(converted: Converted, calibration: list[dict[Any, Any]]) -> str:
    """Write the same with its inputs and outputs in 8 bits too, and return the file."""
    return _written(converted, calibration, float_outside=False)


def _written(converted: Converted, calibration: list[dict[Any, Any]], *, float_outside: bool) -> str:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.qtyping import TFLOperationName

    interpreter = Interpreter(converted.path)
    (signature,) = interpreter.get_signature_list()
    places = interpreter.get_signature_runner(signature).get_input_details()
    kinds = {name: place["dtype"] for name, place in places.items()}
    own = quantizer.Quantizer(converted.path, recipe.static_wi8_ai8())
    for place in (TFLOperationName.INPUT, TFLOperationName.OUTPUT) if float_outside else ():
        own.update_quantization_recipe(".*", place, algorithm_key="no_quantize")
    batches = []
    for batch in calibration:
        given = {"args_%d" % number: value for number, value in enumerate(batch.values())}
        batches.append({name: given[name].astype(kind) for name, kind in kinds.items()})
    path = os.path.splitext(converted.path)[0] + ".int8.tflite"
    own.quantize(
        own.calibrate({signature: batches}, num_threads=1), serialize_to_path=path, enable_progress_report=False
    )
    return path
