"""A torch program quantised to int8 by PT2E, and lowered through TOSA and Vela to the .pte that is deployed."""

from __future__ import annotations

import collections
import os
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import Settings

FREE = ("quantize_per_tensor", "dequantize_per_tensor", "executorch_call_delegate", "getitem", "_clone_dim_order")
"""What every program has around its delegates: the conversion of inputs and outputs."""


class Lowered:
    """The .pte, a folder with Vela's tables for each part that it compiled, and the operators left to the CPU."""

    def __init__(self, executorch: bytes, folders: list[str], on_the_cpu: list[str]) -> None:
        self.executorch, self.folders, self.on_the_cpu = executorch, folders, on_the_cpu


class Quantised:
    """The program in int8: weights symmetric about zero for each channel, activations by the calibration's ranges."""

    def __init__(self, path: str, settings: Settings) -> None:
        import numpy as np
        import torch
        from executorch.backends.arm.common.arm_compile_spec import ArmCompileSpec
        from executorch.backends.arm.ethosu import EthosUCompileSpec
        from executorch.backends.arm.quantizer import EthosUQuantizer, get_symmetric_quantization_config
        from torch.utils import _pytree as pytree
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        loaded = torch.export.load(path)
        self.args, self.kwargs = loaded.example_inputs
        accelerator, memory, system = settings["config"]
        # Vela prints its table of layers only where it is asked for
        self.spec = EthosUCompileSpec(accelerator, system, memory, extra_flags=["--verbose-performance"])
        self.debug = ArmCompileSpec.DebugMode.JSON
        quantizer = EthosUQuantizer(self.spec)
        quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(loaded.module(check_guards=False), quantizer)
        leaves, tree = pytree.tree_flatten((self.args, self.kwargs))
        tensors = [index for index, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        with np.load(settings["calibration"]) as file:
            stacks = [file[key] for key in file.files]  # of each input [batches, ...]
        with torch.no_grad():
            for batch in zip(*stacks):
                own = list(leaves)
                for index, value in zip(tensors, batch):
                    own[index] = torch.from_numpy(value).to(leaves[index].dtype)
                args, kwargs = pytree.tree_unflatten(own, tree)
                prepared(*args, **kwargs)
        self.module = convert_pt2e(prepared)

    def outputs(self) -> list[Any]:
        import torch
        from torch.utils import _pytree as pytree

        with torch.no_grad():
            found = self.module(*self.args, **self.kwargs)
        return [each.numpy() for each in pytree.tree_leaves(found) if isinstance(each, torch.Tensor)]

    def lower(self, folder: str) -> Lowered:
        """Compile what Vela takes; `folder` gets one folder for each part of the program that it compiles."""
        import torch
        from executorch.backends.arm.ethosu import EthosUPartitioner, backend
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        shared = os.path.join(folder, "shared")
        os.makedirs(shared, exist_ok=True)
        self.spec.dump_intermediate_artifacts_to(shared)
        self.spec.dump_debug_info(self.debug)
        folders: list[str] = []
        compile_part = backend.vela_compile

        def keep_tables(flatbuffer: Any, args: Any, **more: Any) -> Any:
            """Compile one part in a folder of its own: all would write to the same one."""
            own = os.path.join(folder, str(len(folders)))
            os.makedirs(own, exist_ok=True)
            shutil.move(os.path.join(shared, "debug.json"), own)
            folders.append(own)
            return compile_part(flatbuffer, args, **dict(more, intermediate_path=own))

        backend.vela_compile = keep_tables
        try:
            program = torch.export.export(self.module, self.args, self.kwargs or None)
            config = EdgeCompileConfig(_check_ir_validity=False)
            edge = to_edge_transform_and_lower(
                program, partitioner=[EthosUPartitioner(self.spec)], compile_config=config
            )
        finally:
            backend.vela_compile = compile_part
        on_the_cpu = _operators(edge.exported_program())
        if not folders:
            raise RuntimeError(
                "no part of this model runs on the Ethos-U; its operators are %s" % ", ".join(on_the_cpu)
            )
        return Lowered(bytes(edge.to_executorch().buffer), folders, on_the_cpu)


def _operators(program: Any) -> list[str]:
    """Return the operators outside of the NPU's parts, each with the layers that they are of."""
    found: dict[str, list[str]] = collections.OrderedDict()
    for node in program.graph.nodes:
        name = getattr(node.target, "__name__", str(node.target))
        if node.op != "call_function" or any(each in name for each in FREE):
            continue
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        layers = found.setdefault(name, [])
        if stack and stack[-1][0] not in layers:
            layers.append(stack[-1][0])
    return [name + (" (%s)" % ", ".join(layers) if any(layers) else "") for name, layers in found.items()]
