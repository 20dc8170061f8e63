"""Take a copy of the user's model, in a form that can be pruned; what that changes is said in remarks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from ..core.copying import copied_and_shared
from ..core.errors import InputError, counted, first_line, first_of
from ..report import Arrived

GROUP, HALF = 4, 2  # 2:4


@dataclass(frozen=True)
class Taken:
    """Our copy of the user's model, on the CPU, what it differs in from theirs, and what theirs came with."""

    model: nn.Module
    remarks: tuple[str, ...]
    arrived: Arrived


def take(model: nn.Module, *, finite: bool = True) -> Taken:
    """Copy a model, and fold into its weights what torch.nn.utils computes them from before each pass.

    The user's own stays as it is. Raises InputError if the model is of a kind that cannot be pruned, holds no values
    (or NaN, unless they need not be `finite`), or cannot be copied.
    """
    _refuse_other_kinds(model)
    try:
        own, shared = copied_and_shared(model)
        own = own.cpu()
    except Exception as error:
        raise InputError(
            f"The model cannot be copied ({first_line(error)}), and the user's own is never changed."
        ) from error
    masked, parametrized = tuple(_masked(own)), tuple(_parametrized(own))
    remarks = [*_fold_hooks(own)]
    if shared:
        it = "it is" if len(shared) == 1 else "they are"
        remarks.append(
            f"{counted(len(shared), 'attribute')} of the model cannot be copied, so {it} shared by the pruned copy and "
            f"your model: {first_of(shared)}."
        )
    for name, parameter in own.named_parameters() if finite else ():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise InputError(
                f"The weight {name} holds NaN or infinite values; no pruning can rank those. Replace them first."
            )
    return Taken(own, tuple(remarks), Arrived(masked, parametrized, tuple(_across(own))))


def _refuse_other_kinds(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"The model is a {type(model).__name__}; it has to be a torch nn.Module.")
    if "_modules" not in vars(model):
        raise InputError(
            f"The model, a {type(model).__name__}, has no parts yet: its __init__ has to call super().__init__() first."
        )
    tensors = (*model.named_parameters(), *model.named_buffers())
    if any(isinstance(each, (nn.UninitializedParameter, nn.UninitializedBuffer)) for _, each in tensors):
        raise InputError("The model has lazy layers that never ran; run it once on an input, so that they get weights.")
    for name, module in model.named_modules():
        what = f"The model's part {name}" if name else "The model"
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"{what} is TorchScript ({type(module).__name__}), whose code cannot be pruned. Build the eager "
                "nn.Module by its Python class and give it the weights: eager.load_state_dict(scripted.state_dict())."
            )
        if _is_quantised(module):
            raise InputError(
                f"{what} is quantised ({type(module).__module__}.{type(module).__qualname__}): its weights are packed, "
                "and no pattern can be put into them. Prune the floating-point model first, and quantise what that "
                "returns (run.model)."
            )
    without = next((name for name, tensor in tensors if tensor.is_meta), None)
    if without is not None:
        raise InputError(
            f"The weight {without} is on the meta device, which holds no values to rank. Load the model's weights "
            'first: model.to_empty(device="cpu"), and then model.load_state_dict(...).'
        )


def _is_quantised(module: nn.Module) -> bool:
    """Say whether torch packed the weights of this module: no pattern is left in what it computes with."""
    packed = (getattr(module, "_packed_params", None), getattr(module, "_all_weight_values", None))
    return type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")) or any(
        isinstance(each, torch.ScriptObject) for each in packed
    )


def _masked(own: nn.Module) -> Iterator[str]:
    """Name the weights that torch.nn.utils.prune multiplies by a mask before each pass."""
    for name, module in own.named_modules():
        for hook in module._forward_pre_hooks.values():  # noqa: SLF001 - where torch.nn.utils leaves its hooks
            if isinstance(hook, prune.BasePruningMethod):
                yield f"{name}.{hook._tensor_name}".lstrip(".")  # noqa: SLF001


def _parametrized(own: nn.Module) -> Iterator[str]:
    """Name the weights that a parametrization with a mask computes, as those of torch.ao.pruning."""
    for name, module in own.named_modules():
        for weight, steps in getattr(module, "parametrizations", {}).items():
            if any("mask" in dict(step.named_buffers(recurse=False)) for step in steps):
                yield f"{name}.{weight}".lstrip(".")


@torch.no_grad()
def _across(own: nn.Module) -> Iterator[str]:
    """Name the layers with zeros that are 2:4 along the outputs and not along the inputs."""
    for name, weight in own.named_parameters():
        if weight.ndim < 2 or not name.endswith("weight") or min(weight.shape[:2]) < GROUP:
            continue
        zero = weight.flatten(2) == 0 if weight.ndim > 2 else (weight == 0)[..., None]  # [O, I, places]
        many = 2 * int(zero.sum()) >= zero[: len(zero) - len(zero) % GROUP].numel()
        if many and _in_halves(zero) and not _in_halves(zero.transpose(0, 1)):
            yield name.removesuffix(".weight")


def _in_halves(zero: Tensor) -> bool:
    """Say whether at least two of each four along the first dimension are zero. [A, B, places]."""
    whole = zero[: len(zero) - len(zero) % GROUP]
    return bool((whole.reshape(-1, GROUP, *zero.shape[1:]).sum(1) >= HALF).all())


def _fold_hooks(own: nn.Module) -> Iterator[str]:
    """Put the weights that hooks compute in their place, in our copy, and say of which layers."""
    folded: dict[str, list[str]] = {}
    for name, module in own.named_modules():
        for hook in list(module._forward_pre_hooks.values()):  # noqa: SLF001 - where torch.nn.utils leaves its hooks
            known = next((row for row in FOLDS if isinstance(hook, row[0])), None)
            if known is not None:
                _, what, remove, attribute = known
                weight = getattr(hook, attribute)
                remove(module, weight)
                if what is not None:
                    folded.setdefault(what, []).append(f"{name}.{weight}".lstrip("."))
    for what, names in folded.items():
        yield (
            f"In the pruned copy, {what} of {first_of(names)} {'is' if len(names) == 1 else 'are'} folded into the "
            "weights, which compute the same; your own model still has it."
        )


def _remove_masks(module: nn.Module, name: str) -> None:
    """Fold the masks of torch.nn.utils.prune; other layers that share the weight keep theirs unmasked."""
    masked = module._parameters[f"{name}_orig"]  # noqa: SLF001 - prune.remove writes to it, and takes it from here
    assert masked is not None
    module._parameters[f"{name}_orig"] = nn.Parameter(masked.detach().clone(), masked.requires_grad)  # noqa: SLF001
    prune.remove(module, name)  # type: ignore[no-untyped-call]


FOLDS: tuple[tuple[type, str | None, Callable[[Any, str], Any], str], ...] = (
    (prune.BasePruningMethod, None, _remove_masks, "_tensor_name"),  # a mistake, which `arrived` leads to
    (WeightNorm, "torch.nn.utils.weight_norm", remove_weight_norm, "name"),
    (SpectralNorm, "torch.nn.utils.spectral_norm", remove_spectral_norm, "name"),
)
