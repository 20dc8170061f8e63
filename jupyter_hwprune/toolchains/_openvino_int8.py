"""Quantise by NNCF: weights symmetric and per channel, biases corrected, attention in the mode for transformers.

With a limit on the outputs' error, NNCF's accuracy control leaves the layers in float that it takes to keep it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ._output_error import in_two, kept_within, moved, relative_errors

if TYPE_CHECKING:
    from .contract import Settings

LEFT = "NNCF did not quantise its weight"
LOOKUPS = "NNCF failed on the rows that it picks, so it was told to leave lookups in float"
RECURRENT = {name + "Sequence": name for name in ("LSTM", "GRU", "RNN")}
WEIGHT_OPS = {
    **dict.fromkeys(("Convolution", "GroupConvolution", "ConvolutionBackpropData"), "Conv"),
    **{name: name for name in ("MatMul", "Gather")},
    **RECURRENT,
}
Outputs = Callable[[Any, dict[str, Any]], "list[Any]"]  # of a compiled model on one batch


def quantise(
    model: str,
    calibration: list[Any],
    settings: Settings,
    read: Callable[[], Any],
    compiled: Callable[[Any], Any],
    outputs: Outputs,
) -> dict[str, Any]:
    """Quantise the file, which `read` reads anew each time; `compiled` is the toolchain's compilation of a model."""
    import nncf
    import openvino

    most = settings["int8_error"]
    recorded, checked = (calibration, []) if most is None else in_two(calibration)
    attention = any(_multiplies_activations(node) for node in read().get_ops())
    options: dict[str, Any] = {"subset_size": len(recorded)}
    if attention:
        options["model_type"] = nncf.ModelType.TRANSFORMER
    why = LEFT
    try:
        quantised = nncf.quantize(read(), nncf.Dataset(recorded), **options)
    except KeyError:  # NNCF 3.4 on rows that a constant picks from an embedding, except in its mode for transformers
        why = LOOKUPS
        options["ignored_scope"] = nncf.IgnoredScope(types=["Gather"], validate=False)
        quantised = nncf.quantize(read(), nncf.Dataset(recorded), **options)
    left = {name: (op, why) for name, op in _in_float(quantised)}
    mode = ", in its mode for transformers" if attention else ""
    quantiser = "NNCF " + nncf.__version__ + ", static, 8-bit weights per channel" + mode
    if most is not None:
        wanted = compiled(read())
        limit = _Limit(outputs, [(batch, outputs(wanted, batch)) for batch in checked])
        before = after = limit.worst(compiled(quantised))
        if before > most:
            quantised = limit.control(read(), recorded, most, options)
            after = limit.worst(compiled(quantised))
        for name, op in _in_float(quantised):
            left.setdefault(name, (op, moved(before, after, most)))
        quantiser += kept_within(before, after, most, checked)
    path = os.path.splitext(model)[0] + ".int8.xml"
    openvino.save_model(quantised, path, compress_to_fp16=False)
    return {
        "file": path,
        "files": {"xml": path, "bin": path.replace(".xml", ".bin")},
        "quantiser": quantiser,
        "left_in_float": [{"names": [name], "op": op, "reason": reason} for name, (op, reason) in left.items()],
    }


class _Limit:
    """The batches to check on, each with the outputs that the model in float gives."""

    def __init__(self, outputs: Outputs, pairs: list[Any]) -> None:
        self.outputs, self.pairs = outputs, pairs

    def control(self, model: Any, recorded: list[Any], most: float, options: dict[str, Any]) -> Any:
        """Return the model quantised by NNCF's accuracy control, whose accuracy is what the error leaves of 1."""
        import nncf

        return nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(recorded),
            nncf.Dataset(self.pairs, lambda pair: pair[0]),
            self._rated,
            max_drop=most,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(num_ranking_workers=1),
            **options,
        )

    def worst(self, compiled: Any) -> float:
        return max(self._errors(compiled, self.pairs))

    def _rated(self, compiled: Any, pairs: Iterable[Any]) -> tuple[float, list[float]]:
        errors = self._errors(compiled, pairs)
        return 1 - max(errors), [1 - each for each in errors]  # NNCF divides by the accuracy of the model in float

    def _errors(self, compiled: Any, pairs: Iterable[Any]) -> list[float]:
        return [max(relative_errors(self.outputs(compiled, batch), wanted)) for batch, wanted in pairs]


def _in_float(model: Any) -> list[tuple[str, str]]:
    """Return the nodes that read float weights, with what ONNX calls them."""
    return [
        (node.get_friendly_name(), WEIGHT_OPS[node.get_type_name()])
        for node in model.get_ordered_ops()
        if node.get_type_name() in WEIGHT_OPS and _reads_float_weights(node)
    ]


def _multiplies_activations(node: Any) -> bool:
    if node.get_type_name() == "ScaledDotProductAttention":
        return True
    return node.get_type_name() == "MatMul" and not any(_origin(node.input_value(place))[0] for place in (0, 1))


def _reads_float_weights(node: Any) -> bool:
    """Say whether one of the node's inputs is a matrix of constants that nothing quantises on the way."""
    found = [_origin(value) for value in node.input_values()]
    return any(constant and not quantised for constant, quantised in found)


def _origin(value: Any) -> tuple[bool, bool]:
    """Say whether a value comes from a matrix of constants alone, and whether that is quantised on the way."""
    node, quantised = value.get_node(), False
    while node.get_type_name() in ("Convert", "Multiply", "Subtract", "Reshape", "Transpose", "FakeQuantize"):
        quantised = quantised or node.get_type_name() == "FakeQuantize"
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or len(node.get_output_shape(0)) < 2:
        return False, False
    kind = node.get_element_type().get_type_name()
    return kind in ("f32", "f16", "i8", "u8"), quantised or kind in ("i8", "u8")
