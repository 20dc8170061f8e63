"""Mark a model's layers as named ranges for profilers: Nsight Systems, Nsight Compute, torch's own."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .errors import InputError


@contextlib.contextmanager
def layer_ranges(model: nn.Module) -> Iterator[None]:
    """Wrap each layer's forward in an NVTX range, and a range of torch's profiler, with the layer's name.

    NVTX ranges need a torch built for CUDA; with any other, only torch's profiler sees the names. The hooks are removed
    when the block ends, even by an error. A layer whose forward raises leaves no range open.
    Raises InputError for anything but a torch nn.Module.

    Example: `with layer_ranges(model): model(x)` in a program that runs under `nsys profile -t cuda,nvtx`.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"The model is a {type(model).__name__}; it has to be a torch nn.Module.")
    nvtx = torch.cuda.nvtx if torch.version.cuda is not None else None
    open_ranges: list[tuple[nn.Module, Any]] = []

    def enter(name: str, module: nn.Module) -> None:
        scope: Any = torch.profiler.record_function(name)
        scope.__enter__()
        if nvtx is not None:
            nvtx.range_push(name)
        open_ranges.append((module, scope))

    def leave(module: nn.Module) -> None:
        while open_ranges:  # ranges above the module's own were left open by an error
            inner, scope = open_ranges.pop()
            if nvtx is not None:
                nvtx.range_pop()
            scope.__exit__(None, None, None)
            if inner is module:
                return

    with contextlib.ExitStack() as hooks:
        for name, module in model.named_modules():
            if name and not list(module.children()):
                hooks.callback(module.register_forward_pre_hook(lambda own, _, name=name: enter(name, own)).remove)
                hooks.callback(module.register_forward_hook(lambda own, *_: leave(own), always_call=True).remove)
        yield
