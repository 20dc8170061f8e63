"""A torch program quantised to int8 by PT2E, and lowered through TOSA and Vela to the .pte that is deployed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from ._calibration import batches
from ._pt2e import calibrate

if TYPE_CHECKING:
    from .contract import Settings

FREE = ("quantize_per_tensor", "dequantize_per_tensor", "executorch_call_delegate", "getitem", "_clone_dim_order")
"""What every program has around its delegates: the conversion of inputs and outputs."""


class Lowered(NamedTuple):
    """The .pte, a folder with Vela's tables for each part that it compiled, and the operators left to the CPU.

    `outputs` is a file with those of the quantised program for its own inputs, computed on this host.
    """

    path: str
    folders: list[str]
    on_the_cpu: list[str]
    outputs: str


def lower(model: str, settings: Settings, folder: str) -> Lowered:
    """Quantise and compile a program's file, once for all workers that share its folder: that takes seconds."""
    own = os.path.join(folder, os.path.basename(model) + ".vela")
    with open(model, "rb") as file:
        key = hashlib.sha256(file.read() + json.dumps(settings["config"]).encode()).hexdigest()
    facts = os.path.join(own, key + ".json")
    if not os.path.exists(facts):
        shutil.rmtree(own, ignore_errors=True)
        os.makedirs(own)
        found = _lowered(model, settings, own)
        with open(facts + ".part", "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.replace(facts + ".part", facts)
    with open(facts, encoding="utf-8") as file:
        return Lowered(*json.load(file))


def _lowered(model: str, settings: Settings, folder: str) -> Lowered:
    import numpy as np
    import torch
    from executorch.backends.arm.ethosu import EthosUCompileSpec
    from torch.utils import _pytree as pytree

    loaded = torch.export.load(model)
    args, kwargs = loaded.example_inputs
    accelerator, memory, system = settings["config"]
    # Vela prints its table of layers only where it is asked for
    spec = EthosUCompileSpec(accelerator, system, memory, extra_flags=["--verbose-performance"])
    module = _quantised(loaded, spec, settings["calibration"])
    with torch.no_grad():
        found = pytree.tree_leaves(module(*args, **kwargs))
    outputs = os.path.join(folder, "outputs.npz")
    np.savez(outputs, *[each.numpy() for each in found if isinstance(each, torch.Tensor)])
    program, folders, on_the_cpu = _compiled(torch.export.export(module, args, kwargs or None), spec, folder)
    path = os.path.splitext(model)[0] + ".pte"
    with open(path, "wb") as file:
        file.write(program)
    return Lowered(path, folders, on_the_cpu, outputs)


def _quantised(loaded: Any, spec: Any, calibration: str) -> Any:
    """Return the module in int8: weights symmetric about zero for each channel, activations by the inputs' ranges."""
    from executorch.backends.arm.quantizer import EthosUQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = EthosUQuantizer(spec)
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(loaded.module(check_guards=False), quantizer)
    calibrate(prepared, loaded.example_inputs, batches(calibration))
    return convert_pt2e(prepared)


def _compiled(program: Any, spec: Any, folder: str) -> tuple[bytes, list[str], list[str]]:
    """Compile what Vela takes: return the .pte, a folder for each part that it compiled, and the other operators."""
    from executorch.backends.arm.common.arm_compile_spec import ArmCompileSpec
    from executorch.backends.arm.ethosu import EthosUPartitioner, backend
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    shared = os.path.join(folder, "shared")
    os.makedirs(shared)
    spec.dump_intermediate_artifacts_to(shared)
    spec.dump_debug_info(ArmCompileSpec.DebugMode.JSON)
    folders: list[str] = []
    compile_part = backend.vela_compile

    def keep_tables(flatbuffer: Any, args: Any, **more: Any) -> Any:
        """Compile one part in a folder of its own: all would write to the same one."""
        own = os.path.join(folder, str(len(folders)))
        os.makedirs(own)
        shutil.move(os.path.join(shared, "debug.json"), own)
        folders.append(own)
        return compile_part(flatbuffer, args, **dict(more, intermediate_path=own))

    backend.vela_compile = keep_tables
    try:
        edge = to_edge_transform_and_lower(
            program,
            partitioner=[EthosUPartitioner(spec)],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    finally:
        backend.vela_compile = compile_part
    on_the_cpu = _operators(edge.exported_program())
    if not folders:
        raise RuntimeError("no part of this model runs on the NPU; its operators are %s" % ", ".join(on_the_cpu))
    return bytes(edge.to_executorch().buffer), folders, on_the_cpu


def _operators(program: Any) -> list[str]:
    """Return the operators outside of the NPU's parts, each with the layers that they are of."""
    found: dict[str, list[str]] = {}
    for node in program.graph.nodes:
        name = getattr(node.target, "__name__", str(node.target))
        if node.op != "call_function" or any(each in name for each in FREE):
            continue
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        layers = found.setdefault(name, [])
        if stack and stack[-1][0] not in layers:
            layers.append(stack[-1][0])
    return [name + (" (%s)" % ", ".join(layers) if any(layers) else "") for name, layers in found.items()]
