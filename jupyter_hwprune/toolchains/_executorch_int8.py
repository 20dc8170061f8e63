"""Quantise an exported program by torchao's PT2E flow, for XNNPACK: weights symmetric and per channel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import _executorch_program as programs
from ._pt2e import calibrate

if TYPE_CHECKING:
    from .contract import LeftInFloat, Quantised

WEIGHTED = {  # operators of an exported program -> the place of the weight, and what ONNX calls them
    **{f"aten.conv{n}d.default": (1, "Conv") for n in (1, 2, 3)},
    **dict.fromkeys(("aten.conv_transpose1d.default", "aten.conv_transpose2d.input"), (1, "ConvTranspose")),
    "aten.linear.default": (1, "Gemm"),
    "aten.matmul.default": (1, "MatMul"),
    "aten.embedding.default": (0, "Gather"),
    "aten.lstm.input": (2, "LSTM"),
    "aten.gru.input": (2, "GRU"),
}
LEFT = "XNNPACK's quantiser did not quantise its weight"


def quantise(model: str, calibration: list[Any]) -> Quantised:
    """Write the program with 8-bit weights and activations; activations' ranges are those of the calibration inputs."""
    from importlib.metadata import version

    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    program = programs.load(model)
    module = program.module()
    layers = {node.name: _layer(node) for node in module.graph.nodes if str(node.target) in WEIGHTED}
    prepared = prepare_pt2e(
        module, XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    )
    calibrate(prepared, program.example_inputs, (batch.values() for batch in calibration))
    quantised = convert_pt2e(prepared)
    left = _named_after_layers(quantised, layers)
    args, kwargs = program.example_inputs
    path = os.path.splitext(model)[0] + ".int8.pt2"
    torch.export.save(torch.export.export(quantised, args, kwargs), path)
    return {
        "file": path,
        "files": {"pt2": path},
        "quantiser": "torchao "
        + version("torchao")
        + ", PT2E with XNNPACKQuantizer, static, 8-bit weights per channel",
        "left_in_float": left,
    }


def _layer(node: Any) -> str | None:
    """Return the torch layer whose weight a node of an exported module reads."""
    place, _ = WEIGHTED[str(node.target)]
    weight = node.args[place]
    source = weight[0] if isinstance(weight, (list, tuple)) else weight
    return source.target.rpartition(".")[0] if source.op == "get_attr" else None


def _named_after_layers(module: Any, layers: dict[str, str | None]) -> list[LeftInFloat]:
    """Name each quantised weight after its layer again, which the conversion numbers; list the layers left in float."""
    left: list[LeftInFloat] = []
    for node in module.graph.nodes:
        layer = layers.get(node.name)
        if layer is None:
            continue
        place, op = WEIGHTED[str(node.target)]
        read = node.args[place]
        if not isinstance(read, (list, tuple)) and "dequantize" in str(read.target):
            source = read.args[0]
            owner = module.get_submodule(layer)
            values = getattr(module, source.target)
            if hasattr(owner, "weight"):
                del owner.weight
            owner.register_buffer("weight", values)
            source.target = f"{layer}.weight"
        else:
            left.append({"names": [layer], "op": op, "reason": LEFT})
    module.graph.lint()
    module.recompile()
    return left
