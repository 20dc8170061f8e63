"""Prune a copy of a dense model, and describe every layer that was pruned or left dense."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..core.copying import copied
from ..core.errors import PruneError, counted, first_of
from ..core.example import Example
from ..core.pattern import NM, Block, Channel, Depth, Pattern
from ..report import Layer, Recovered, Returned, Sensitivity, Skipped, Totals, TrainedStep
from .allocation import leave_dense
from .channels import Channels
from .configuration import configure, refuse_saving
from .cuts import describe_cut
from .depth import Blocks, Removed, names_left
from .depth.both import joined
from .depth.rows import describe_blocks
from .fitting import ZeroPattern, zero_pattern
from .layers import Weight, layers_with_weights, weight_name
from .macs import count_macs
from .method import MAGNITUDE, Method, Tell
from .permutation import permute_for
from .plan import Plan
from .planning import plan_channels, plan_zeros
from .reading import read_weights
from .refitting import refitted
from .served import Served
from .uniform import built_by, remove_alike
from .weights import describe_zeros, zero_weights

SAMPLED = 1 << 16


@dataclass(frozen=True)
class Pruned:
    model: nn.Module
    layers: tuple[Layer, ...]
    skipped: tuple[Skipped, ...]
    totals: Totals
    returned: tuple[Returned, ...] = ()
    sensitivity: Sensitivity | None = None
    remarks: tuple[str, ...] = ()  # that tell the user about this result
    keep: Mapping[str, Tensor] = field(default_factory=dict)  # dense masks of what shrank, where channels were removed
    blocks: tuple[Removed, ...] = ()  # that are gone, by their names in the dense model
    renamed: Mapping[str, str] = field(default_factory=dict)  # dense names -> the names without the blocks
    statistics: str = ""  # what BatchNorm's statistics are and bring, where they could be estimated anew
    fell_back: bool = False  # to magnitude, from the importance that is the default
    tuning: str = ""  # what training whole blocks brought, where that was asked for
    recovered: Recovered | None = None  # what a recovery without labels did
    trained: tuple[TrainedStep, ...] = ()  # what each step of a training did

    def remarked(self, *said: str) -> Pruned:
        return replace(self, remarks=(*self.remarks, *said))


def fingerprint(model: nn.Module) -> str:
    """Hash a model's weights: each tensor's name, shape, and up to 65,536 values spread evenly over it."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        values = tensor.detach().cpu().flatten()
        taken = values[:: max(1, values.numel() // SAMPLED)].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(taken.view(torch.uint8).numpy().tobytes() if taken.numel() else b"")
    return digest.hexdigest()[:16]


def copy_modes(source: nn.Module, pruned: nn.Module, blocks: Sequence[Removed] = ()) -> nn.Module:
    """Put each module of `pruned` into training or evaluation mode as its original is, and return `pruned`.

    `blocks` of the source are gone in `pruned`.
    """
    for module, name in zip(pruned.modules(), names_left(source, blocks), strict=True):
        module.training = source.get_submodule(name).training
    return pruned


def reordered(dense: nn.Module, example: Example, pattern: Pattern, sparsity: float) -> tuple[nn.Module, str]:
    """Return an equivalent copy with channels reordered to suit the pattern, and a remark on the gain.

    Raises PruneError if the model's graph cannot be read.
    """
    assert isinstance(pattern, (NM, Block))
    model = copied(dense)
    permuted = permute_for(model, example, pattern, sparsity=sparsity)
    moved = [each for each in permuted if each.reason is None]
    if not moved:
        why = next((each.reason for each in permuted), None) or "no layer reads channels that can be reordered"
        return dense, f"No channels were reordered for {pattern}: {why}."
    total, before, after = (sum(getattr(each, what) for each in moved) for what in ("total", "before", "after"))
    return model, (
        f"Channels were reordered in {counted(len(moved), 'set')} without changing the model's function: {pattern} "
        f"keeps {after / total:.1%} of the magnitude there instead of {before / total:.1%}."
    )


def plan_and_prune(
    dense: nn.Module,
    example: Example,
    pattern: Pattern,
    sparsity: float,
    method: Method = MAGNITUDE,
    served: Served | None = None,
    progress: Tell = lambda _layer: None,
    blocks: Blocks | None = None,
) -> Pruned:
    """Prune a copy of `dense` by the method's plan: `sparsity` by the pattern in every layer that fits it.

    With `served`, a layer that its toolchain has no sparse kernel for stays dense. `blocks` are those of `dense`, if
    already tried. Raises as `prune` does.
    """
    if isinstance(pattern, Depth):
        shorter = without_blocks(blocks or Blocks.of(dense, example, method, progress), example, sparsity)
        if pattern.then is None:
            return shorter.remarked(*built_by(shorter.model, example))
        rest = below(shorter, dense, method)
        return joined(shorter, plan_and_prune(shorter.model, example, pattern.then, sparsity, rest))
    if not isinstance(pattern, Channel):
        weights = read_weights(dense, example)
        plan = plan_zeros(dense, pattern, sparsity, method, served, progress, weights)
        return prune(dense, example, plan, method, served, progress, weights=weights)
    channels = Channels.by(method, dense, example, progress)
    plan = plan_channels(channels, pattern, sparsity, method, progress)
    return prune(dense, example, plan, method, progress=progress, channels=channels)


def prune(
    dense: nn.Module,
    example: Example,
    plan: Plan,
    method: Method = MAGNITUDE,
    served: Served | None = None,
    progress: Tell = lambda _layer: None,
    channels: Channels | None = None,
    weights: Sequence[Weight] | None = None,
) -> Pruned:
    """Prune a copy of `dense`, which stays as it is, by the plan; the method ranks the weights of each layer.

    `served` says which toolchains run a layer with 2:4 weights sparsely. `channels` and `weights` are those of `dense`,
    if already read. Raises PruneError if the plan does not fit the model or removes nothing, or if a channel cut cannot
    be proven right.
    """
    weights = read_weights(dense, example) if weights is None else weights
    macs = count_macs(dense, example, weights)
    if any(isinstance(pattern, Channel) for pattern in plan.patterns):
        channels = channels or Channels.by(method, dense, example, progress)
        surgery, said = remove_alike(channels, plan, example)
        surgery = refitted(channels, surgery, progress)
        left = read_weights(surgery.model, example)
        macs_left = count_macs(surgery.model, example, left)
        layers, skipped = describe_cut(dense, weights, surgery, macs, macs_left)
        described = _described(dense, surgery.model, layers, skipped, macs, macs_left)
        pruned = replace(described, keep=surgery.keep, fell_back=channels.fell_back)
        pruned = pruned.remarked(*channels.remarks, *surgery.remarks, *said)
    else:
        model = copied(dense)
        layers, skipped, raised = zero_weights(model, weights, plan, method, macs, served, progress)
        pruned = _described(dense, model, layers, skipped, macs).remarked(*damped(raised))
    if not layers:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in skipped[:4])
        raise PruneError(f"The plan removes nothing from any layer. {reasons}. Remove more, or use another --pattern.")
    _require_finite(pruned.model, example, f"Remove less than {max(part.share for part in plan.parts.values()):.0%}.")
    return replace(pruned, sensitivity=plan.sensitivity)


def below(shorter: Pruned, dense: nn.Module, method: Method) -> Method:
    """Return the method for the model without the blocks: its layers that stay dense have other names there."""
    named = leave_dense([name for name, _ in layers_with_weights(dense)], method.dense)
    return replace(method, dense=tuple(shorter.renamed[name] for name in named if name in shorter.renamed))


def without_blocks(blocks: Blocks, example: Example, sparsity: float) -> Pruned:
    """Remove the share `sparsity` of the blocks, those that the model loses least by; raises PruneError as they do."""
    dense, shortened = blocks.dense, blocks.without(sparsity)
    macs, macs_left = count_macs(dense, example), count_macs(shortened.model, example)
    layers, skipped = describe_blocks(dense, shortened, macs)
    _require_finite(shortened.model, example, f"Remove less than {sparsity:.0%}.")
    weights, left = (sum(p.numel() for p in model.parameters()) for model in (dense, shortened.model))
    totals = Totals(weights, left, sum(macs.values()), sum(macs_left.values()))
    lost = "; ".join(f"{each.name}: {shortened.loss(each.name)}" for each in shortened.removed[:8])
    modules = dict(shortened.model.named_modules())
    renamed = dict(zip(names_left(dense, shortened.removed), modules, strict=True))
    for old, new in list(renamed.items()):  # rows of layers are also named after parameters
        for own, _ in modules[new].named_parameters(recurse=False):
            renamed[f"{old}.{own}".lstrip(".")] = f"{new}.{own}".lstrip(".")
    found = Pruned(shortened.model, tuple(layers), tuple(skipped), totals, blocks=shortened.removed, renamed=renamed)
    of = len(shortened.removed) + len(shortened.reasons)
    found = found.remarked(f"{len(layers)} of {counted(of, 'residual block')} are removed. Without each alone: {lost}.")
    if configure(shortened.model, shortened.model, example) is None:
        refuse_saving(shortened.model)
    return found


def _described(
    dense: nn.Module,
    model: nn.Module,
    layers: Sequence[Layer],
    skipped: Sequence[Skipped],
    macs: dict[str, int],
    macs_left: dict[str, int] | None = None,
) -> Pruned:
    """Put a result together, with its totals; without `macs_left`, only its layers have lost MACs."""
    if macs_left is None:
        macs_left = macs | {layer.name: layer.pruned_macs for layer in layers if layer.pruned_macs is not None}
    weights = sum(parameter.numel() for parameter in dense.parameters())
    totals = Totals(weights, _weights_left(dense, model), sum(macs.values()), sum(macs_left.values()))
    return Pruned(model, tuple(layers), tuple(skipped), totals)


def damped(raised: Mapping[str, float]) -> Iterator[str]:
    """Say of which layers the damping was raised, if of any, and how far."""
    if not raised:
        return
    yield (
        f"The Hessian of {counted(len(raised), 'layer')} was not positive definite, so its damping was raised, up to "
        f"{max(raised.values()):.2g} of the mean diagonal: {first_of(raised)}. More calibration inputs (--calib) would "
        "help."
    )


def adopt(
    dense: nn.Module,
    example: Example,
    weights: Mapping[str, Tensor],
    patterns: Mapping[str, ZeroPattern],
    reasons: Mapping[str, str],
    served: Served | None = None,
) -> Pruned:
    """Build the pruned model from `weights` (by name) pruned by another tool; `dense` stays as it is.

    Raises PruneError if no layer with kernels has zeros, or if zeros do not hold the given pattern.
    """
    model = copied(dense)
    with torch.no_grad():
        for name, weight in weights.items():
            own = model.get_parameter(name)
            own.copy_(torch.where(weight == 0, 0.0, weight).to(own.dtype))  # 0.0, never -0.0
    described = read_weights(dense, example)
    macs = count_macs(dense, example, described)
    layers, skipped = describe_zeros(dense, model, described, patterns, reasons, macs, served)
    if not layers:
        named = ", ".join(weights) or "none"
        raise PruneError(
            f"No Linear layer or convolution got zeros (weights that changed: {named}), so nothing could get faster. "
            "Name such layers."
        )
    _require_finite(model, example, "Remove less.")
    return _described(dense, model, layers, skipped, macs)


def recount(dense: nn.Module, example: Example, pruned: Pruned, served: Served | None = None) -> Pruned:
    """Describe `pruned` again after its weights were trained; where something was removed, nothing can have changed."""
    if pruned.keep or pruned.blocks:
        return pruned
    patterns = {weight_name(dense, layer.name): zero_pattern(layer.pattern) for layer in pruned.layers}
    reasons = {layer.name: layer.reason for layer in pruned.skipped}
    weights = read_weights(dense, example)
    macs = count_macs(dense, example, weights)
    layers, skipped = describe_zeros(dense, pruned.model, weights, patterns, reasons, macs, served)
    found = _described(dense, pruned.model, layers, skipped, macs)
    return replace(pruned, layers=found.layers, skipped=found.skipped, totals=found.totals)


def _require_finite(model: nn.Module, example: Example, cure: str) -> None:
    if not all(bool(torch.isfinite(output).all()) for output in example.outputs(model)):
        raise PruneError(f"The pruned model's output holds NaN or infinite values. {cure}")


def restore(dense: nn.Module, pruned: Pruned, returned: Sequence[Returned]) -> Pruned:
    """Give the layers `returned` their dense weights back; for models where pruning only zeroed weights.

    All running statistics are the dense model's again.
    """
    model = copied(pruned.model)
    names = {layer.name for layer in returned}
    gone = [layer for layer in pruned.layers if layer.name in names]
    with torch.no_grad():
        for layer in gone:
            if weight_name(dense, layer.name) == layer.name:
                model.get_parameter(layer.name).copy_(dense.get_parameter(layer.name))
                continue
            own, before = (of.get_submodule(layer.name).parameters(recurse=False) for of in (model, dense))
            for parameter, original in zip(own, before, strict=True):
                parameter.copy_(original)  # the bias too, which may have made up for weights that are back
        for name, buffer in model.named_buffers():
            buffer.copy_(dense.get_buffer(name))
    left = tuple(layer for layer in pruned.layers if layer.name not in names)
    totals = replace(
        pruned.totals,
        pruned_weights=_weights_left(dense, model),
        pruned_macs=(pruned.totals.pruned_macs or 0) + sum((each.macs or 0) - (each.pruned_macs or 0) for each in gone),
    )
    return replace(pruned, model=model, layers=left, totals=totals, returned=tuple(returned), statistics="", tuning="")


def _weights_left(dense: nn.Module, model: nn.Module) -> int:
    """Count the weights, without those zeroed in parameters of unchanged shape; what was zero before is left."""
    before, left = dict(dense.named_parameters()), 0
    for name, own in model.named_parameters():
        left += own.numel()
        if name in before and before[name].shape == own.shape:
            left -= int(before[name].count_nonzero()) - int(own.count_nonzero())
    return left
