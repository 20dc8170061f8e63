"""Which channels have to go together, and the operation that removes them.

torch-pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900) couples the layers. The operation runs on a copy
whose weights are replaced by their own positions: what is left afterwards says, for every parameter and buffer, which
of the dense values survived, whatever the library did on the way.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PruneError, first_line
from ..example import Example, tensors_of
from ..pattern import Channel
from ..quiet import quiet
from .importance import channel_magnitude
from .layers import PRUNABLE, TRANSPOSED, reason_not_prunable

HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
HEAD_WIDTHS = ("all_head_size", "inner_dim")  # what model libraries call heads x head size
OPAQUE = (nn.MultiheadAttention, nn.RNNBase)  # their inner layout does not survive a cut through their channels


@dataclass(frozen=True)
class Cut:
    """Channels to remove from the output of one layer, and from all that the graph couples to it."""

    root: str
    removed: tuple[int, ...]
    head_attributes: tuple[tuple[str, str, int], ...]  # (module, attribute, its value afterwards)


@dataclass(frozen=True)
class Candidate:
    """A set of coupled channels: `units[i]` are the channels that go or stay together, `scores[i]` their worth."""

    root: str
    members: tuple[str, ...]
    units: Tensor  # [U, channels a unit]
    scores: Tensor  # [U]
    step: int  # units are kept in multiples of this, so that the channels left are a multiple of the pattern's
    attention: tuple[str, ...]  # modules whose count of heads has to follow


class Coupling:
    """A copy of the dense model with its dependency graph; one operation, then it is spent."""

    def __init__(self, dense: nn.Module, example: Example) -> None:
        self.dense, self.example = dense, example
        self.copy = copy.deepcopy(dense).eval()
        for parameter in self.copy.parameters():  # the graph is read from autograd, which skips what is frozen
            if parameter.is_floating_point():
                parameter.requires_grad_()
        with torch.enable_grad(), quiet():
            import torch_pruning

            try:
                self.graph = torch_pruning.DependencyGraph().build_dependency(
                    self.copy, example, forward_fn=lambda model, ex: _traceable(ex, model), verbose=False
                )
            except Exception as error:
                raise PruneError(
                    f"torch-pruning cannot read this model's channels ({first_line(error)}). "
                    "Use a pattern that keeps the shapes, such as --pattern unstructured."
                ) from error
        self.names: dict[nn.Module, str] = {module: name for name, module in self.copy.named_modules()}
        self.at_output = _output_modules(self.copy, example)

    def candidates(self, pattern: Channel) -> tuple[list[Candidate], dict[str, str]]:
        """Return the sets of coupled channels that may shrink, and why the other layers may not."""
        found: list[Candidate] = []
        reasons: dict[str, str] = {}
        for module, name in self.names.items():
            if isinstance(module, PRUNABLE):
                parent = self.copy.get_submodule(name.rpartition(".")[0])
                unreached = "autograd does not reach it from the example input (is it unused, or under no_grad?)"
                whole = f"it belongs to a {type(parent).__name__}, which cannot be cut by channels"
                reasons[name] = whole if isinstance(parent, OPAQUE) else unreached
        for group in self.graph.get_all_groups(root_module_types=PRUNABLE):
            outputs = [self.names[dep.target.module] for dep, _ in group if self._shrinks_output(dep)]
            candidate = self._candidate(group, pattern)
            if isinstance(candidate, Candidate):
                found.append(candidate)
                for output in outputs:
                    reasons.pop(output, None)
            else:
                reasons |= dict.fromkeys(outputs, candidate)
        return found, reasons

    def operate(self, cuts: list[Cut]) -> tuple[nn.Module, dict[str, Tensor]]:
        """Make the cuts; return the smaller model with the dense model's values, and the keep masks."""
        for _, tensor in _tensors(self.copy):
            tensor.data = _positions(tensor)
        for cut in cuts:
            root = self.copy.get_submodule(cut.root)
            pruner = self.graph.get_pruner_of_module(root)
            with quiet():
                self.graph.get_pruning_group(root, pruner.prune_out_channels, list(cut.removed)).prune()
            for name, what, value in cut.head_attributes:
                module = self.copy.get_submodule(name)
                for attribute in HEAD_COUNTS if what == "heads" else HEAD_WIDTHS:
                    if isinstance(getattr(module, attribute, None), int):
                        setattr(module, attribute, value)
        for module in self.copy.modules():
            if isinstance(module, nn.RMSNorm) and module.weight is not None:  # which the library cuts and does not tell
                module.normalized_shape = tuple(module.weight.shape)
        keep = _restore(self.copy, self.dense)
        for name, own in self.copy.named_parameters():
            own.requires_grad_(self.dense.get_parameter(name).requires_grad)
        return self.copy, keep

    def _shrinks_output(self, dep: Any) -> bool:
        module = dep.target.module
        return isinstance(module, PRUNABLE) and self.graph.is_out_channel_pruning_fn(dep.handler)

    def _candidate(self, group: Any, pattern: Channel) -> Candidate | str:
        root = group[0].dep.target.module
        channels = self.graph.get_out_channels(root)
        repeats, heads = 1, 0
        attention: dict[str, int] = {}
        for dep, _ in group:
            module, shrinks_output = dep.target.module, self._shrinks_output(dep)
            name = self.names.get(module)
            if isinstance(module, OPAQUE):
                return f"its channels run through {name} ({type(module).__name__}), which cannot be cut by channels"
            if name is not None and isinstance(module, PRUNABLE) and (reason := reason_not_prunable(module)):
                return f"its channels run through {name}: {reason}"
            makes_output = module in self.at_output or not dep.target.outputs
            if makes_output and (shrinks_output or not isinstance(module, PRUNABLE)):
                return "its channels are the model's output"
            if isinstance(module, nn.GroupNorm):
                repeats = max(repeats, module.num_groups)
            if isinstance(module, PRUNABLE) and not isinstance(module, nn.Linear) and module.groups != channels:
                repeats = max(repeats, module.groups)
            if shrinks_output and isinstance(module, nn.Linear) and name is not None:
                parent = name.rpartition(".")[0]
                heads = _head_count(self.copy.get_submodule(parent)) or 0
                if heads:
                    attention[parent] = heads
                    if module.out_features != channels or module.out_features == 3 * module.in_features:
                        return f"{name} makes queries, keys and values of unequal layout, which cannot be cut by heads"

        units = self._units(root, channels)
        if units is None:
            return "its channels depend on one another in sets of unequal size"
        if attention:
            heads = next(iter(attention.values()))
            if repeats > 1 or channels % heads or len(set(attention.values())) > 1 or units.shape[1] > 1:
                return f"its {channels} channels do not divide into the {heads} heads of {next(iter(attention))}"
            units = units.reshape(heads, -1)  # a head goes whole
        elif repeats > 1:
            if units.shape[1] > 1:
                return "its channels are both grouped and split"
            units = units.reshape(repeats, -1).T  # each convolution group loses the same share
        scores = self._scores(group, channels)[units].square().sum(dim=1).sqrt()
        members = tuple(dict.fromkeys(self.names[dep.target.module] for dep, _ in group if self._shrinks_output(dep)))
        return Candidate(self.names[root], members, units, scores, _step(group, len(units), pattern), tuple(attention))

    def _units(self, root: nn.Module, channels: int) -> Tensor | None:
        """Return the sets of the root's channels that can only go together. -> [U, channels a set], or None.

        In most layers each channel is on its own; where a layer's output is split and its parts meet again, as in a
        gated unit, channel i takes others along. If channel 0 takes +o along, so does every other: tried on a few.
        """
        offsets = self._taken_along(root, 0)
        count = channels // len(offsets)
        units = torch.arange(count, device="cpu")[:, None] + offsets  # [U, channels a set]
        if not torch.equal(units.flatten().sort().values, torch.arange(channels, device="cpu")):
            return None
        for i in {1, count // 2, count - 1} & set(range(count)):
            if not torch.equal(self._taken_along(root, i), units[i]):
                return None
        return units

    def _taken_along(self, root: nn.Module, channel: int) -> Tensor:
        pruner = self.graph.get_pruner_of_module(root)
        group = self.graph.get_pruning_group(root, pruner.prune_out_channels, [channel])
        found = {i for dep, idxs in group if dep.target.module is root and self._shrinks_output(dep) for i in idxs}
        return torch.tensor(sorted(found), device="cpu")

    def _scores(self, group: Any, channels: int) -> Tensor:
        """Score each channel of the group's root by the norm over all weights that would go with it. -> [C]."""
        squares = torch.zeros(channels, dtype=torch.float32)
        for item in group:
            module = item.dep.target.module
            if not isinstance(module, (*PRUNABLE, nn.Embedding)):
                continue
            depthwise = getattr(module, "groups", 1) > 1
            out = self.graph.is_out_channel_pruning_fn(item.dep.handler)
            dim = 1 if isinstance(module, nn.Embedding) else int(out == isinstance(module, TRANSPOSED))
            if depthwise and not out:
                continue  # its input channels are its output channels, counted there
            norms = channel_magnitude(module.weight, dim)
            if len(norms) > max(item.idxs):
                squares.index_add_(0, torch.tensor(item.root_idxs), norms[torch.tensor(item.idxs)].square())
        return squares.sqrt()


def _step(group: Any, units: int, pattern: Channel) -> int:
    """Return how many units have to stay together, so that every layer keeps a multiple of the pattern's channels."""
    a_unit = {len(set(item.idxs)) // units for item in group if len(set(item.idxs)) % units == 0}
    return math.lcm(*(pattern.multiple // math.gcd(pattern.multiple, channels) for channels in a_unit))


def _head_count(module: nn.Module) -> int | None:
    for attribute in HEAD_COUNTS:
        value = getattr(module, attribute, None)
        if isinstance(value, int) and value > 1:
            return value
    return None


def _traceable(example: Example, model: nn.Module) -> list[Tensor]:
    return [tensor for tensor in tensors_of(example.through(model)) if tensor.grad_fn is not None]


def _output_modules(model: nn.Module, example: Example) -> set[nn.Module]:
    """Return the modules whose own output is an output of the model; their channels are not ours to remove."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensor is held so that its id stays its own
    hooks = [
        module.register_forward_hook(
            lambda module, _, output: (
                made.update({id(output): (module, output)}) if isinstance(output, Tensor) else None
            )
        )
        for module in model.modules()
        if not list(module.children())
    ]
    try:
        outputs = example.outputs(model)
    finally:
        for hook in hooks:
            hook.remove()
    return {made[id(tensor)][0] for tensor in outputs if id(tensor) in made}


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter and buffer that a cut could shrink, tied ones under each of their names."""
    for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)):
        if tensor.ndim and tensor.is_floating_point():
            yield name, tensor


def _positions(tensor: Tensor) -> Tensor:
    """Return the elements' numbers in a float type that holds each number exactly. [..] -> [..]."""
    dtype = torch.float32 if tensor.numel() <= 1 << 24 else torch.float64
    return torch.arange(tensor.numel(), dtype=torch.int64).to(dtype).reshape(tensor.shape)


def _restore(model: nn.Module, dense: nn.Module) -> dict[str, Tensor]:
    """Replace positions by the dense values that stood there; return the mask `keep` of each tensor that shrank."""
    keep: dict[str, Tensor] = {}
    originals = dict(_tensors(dense))
    made: dict[int, tuple[Tensor, nn.Parameter]] = {}
    for name, positions in list(_tensors(model)):
        original = originals[name]
        index = positions.detach().long()
        values = original.detach().flatten()[index]
        if index.numel() < original.numel():
            mask = torch.zeros(original.numel(), dtype=torch.bool)
            mask[index.flatten()] = True
            keep[name] = mask.reshape(original.shape)
        parent, _, own = name.rpartition(".")
        module = model.get_submodule(parent)
        if isinstance(original, nn.Parameter):
            tied = made.get(id(original))
            if tied is None or not torch.equal(tied[0], index):
                tied = made[id(original)] = (index, nn.Parameter(values, original.requires_grad))
            setattr(module, own, tied[1])
        else:
            setattr(module, own, values)
    return keep
