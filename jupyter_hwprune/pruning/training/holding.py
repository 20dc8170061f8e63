"""While the user's code trains, keep removed weights at zero and the user's own model as it was."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ...core.errors import InputError


@contextlib.contextmanager
def held(model: nn.Module, keep: Mapping[str, Tensor]) -> Iterator[None]:
    """Hold the weights of `model` at zero where `keep` (by parameter name) is False, with any optimiser.

    This zeroes their gradients, so that line searches see the pruned model. After each step it zeroes the weights and
    the optimiser's state, so that no momentum brings them back. At the end it zeroes the weights again, in case they
    changed without an optimiser. A weight with two names keeps the positions that both masks keep.
    """
    removed: dict[nn.Parameter, Tensor] = {}
    named = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in keep.items():
        gone = ~mask.to(named[name].device)
        removed[named[name]] = removed[named[name]] | gone if named[name] in removed else gone

    def zero_again(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if (gone := removed.get(parameter)) is not None:
                    _zero(parameter, gone)
                    for value in optimizer.state.get(parameter, {}).values():
                        if isinstance(value, Tensor) and value.shape == gone.shape:
                            _zero(value, gone)

    hooks = [register_optimizer_step_post_hook(zero_again)]
    hooks += [
        parameter.register_hook(lambda grad, gone=gone: grad.masked_fill(gone.to(grad.device), 0))  # type: ignore[no-untyped-call]
        for parameter, gone in removed.items()
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if name in keep:
                _zero(parameter, ~keep[name])


def _zero(tensor: Tensor, gone: Tensor) -> None:
    with torch.no_grad():
        tensor.masked_fill_(gone.to(tensor.device), 0)  # a product with the mask would leave -0.0, and NaN


@contextlib.contextmanager
def kept_as_it_is(own: nn.Module, before: nn.Module, name: str) -> Iterator[None]:
    """Stop any optimiser that would step on the user's own model, and restore that model bit for bit.

    `before` is a copy of `own`. Raises InputError if the user's code trained `own`, or tried to.
    """
    parameters = {id(parameter) for parameter in own.parameters()}
    buffers = [  # not from `before`, which has run since and may have changed its own
        (module, name, buffer, buffer.clone())
        for module in own.modules()
        for name, buffer in module._buffers.items()  # noqa: SLF001
        if buffer is not None
    ]
    originals = dict[str, Tensor](before.named_parameters())
    for parameter_name, parameter in own.named_parameters():
        if parameter_name not in originals:  # `before` holds it folded into a weight
            originals[parameter_name] = parameter.detach().clone()
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in own.named_parameters()}
    modes = {module: module.training for module in own.modules()}
    stopped: list[str] = []

    def stop(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if any(id(parameter) in parameters for group in optimizer.param_groups for parameter in group["params"]):
            stopped.append(f"the optimiser, {type(optimizer).__name__}, holds the weights of {name}")
            raise _wrong_model(name, stopped[0])

    hook = register_optimizer_step_pre_hook(stop)
    try:
        yield
    finally:
        hook.remove()
        changed = _give_back(own, originals, buffers)
        for parameter_name, parameter in own.named_parameters():
            parameter.grad = grads[parameter_name]
        for module, training in modes.items():
            module.training = training
    if stopped or changed:
        raise _wrong_model(name, stopped[0] if stopped else f"it changed {changed[0]}")


def _wrong_model(name: str, how: str) -> InputError:
    return InputError(
        f"The fine-tune step trains {name} itself and not the pruned copy: {how}. Your model was restored bit for bit. "
        "Train the model that the step receives: pass it as an argument, as in train(model), and create the optimiser "
        "there, with that argument's parameters."
    )


def _give_back(
    own: nn.Module, before: Mapping[str, Tensor], buffers: Sequence[tuple[nn.Module, str, Tensor, Tensor]]
) -> list[str]:
    """Restore parameters, and buffers (with module, name and values); return the parameters that had changed."""
    changed = []
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            original = before[name].to(parameter.device)
            if not _same(parameter, original):
                parameter.copy_(original)
                changed.append(name)
        for module, name, buffer, values in buffers:
            if not _same(buffer, values):
                buffer.copy_(values)
            module._buffers[name] = buffer  # noqa: SLF001
    return changed


def _same(a: Tensor, b: Tensor) -> bool:
    """Compare bit for bit, so that -0.0 is not 0.0, and NaN is NaN."""
    return bool(torch.equal(*(each.detach().flatten().contiguous().view(torch.uint8) for each in (a, b))))
