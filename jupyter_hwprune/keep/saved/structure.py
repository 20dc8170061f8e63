"""Describe which positions a pruned network lacks, as plain data, and make the same cut in another network."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...core.copying import copied
from ...pruning.attention import replace_attention, replaceable
from ...pruning.configuration import Setting, refuse_saving, refuses_saving, settings_of
from ...pruning.depth import Removed, remove_blocks
from ...pruning.depth.remove import configurations
from ...report.layers import check_shape


@dataclass(frozen=True)
class Dims:
    """A tensor's dense shape, and the kept positions of each dimension; None if nothing was removed."""

    shape: tuple[int, ...]
    kept: tuple[tuple[int, ...] | None, ...] | None = None

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if self.kept is None:
            return
        if len(self.kept) != len(self.shape):
            raise ValueError(f"a tensor of {len(self.shape)} dimensions has kept positions for {len(self.kept)}")
        for size, kept in zip(self.shape, self.kept, strict=True):
            if kept is not None and (not kept or any(a >= b for a, b in pairwise((-1, *kept, size)))):
                raise ValueError(f"kept positions out of {size} must be at least one, in range, and ascending")

    @property
    def pruned_shape(self) -> tuple[int, ...]:
        kept = self.kept or (None,) * len(self.shape)
        return tuple(size if own is None else len(own) for size, own in zip(self.shape, kept, strict=True))

    def of(self, dense: Tensor) -> Tensor:
        """Return the kept positions of a dense tensor."""
        for dim, kept in enumerate(self.kept or ()):
            if kept is not None:
                dense = dense.index_select(dim, torch.tensor(kept, device=dense.device))
        return dense.contiguous()


@dataclass(frozen=True)
class Attribute:
    """A count in a module that depends on its shapes, such as a number of heads; one number is a tuple of one."""

    module: str
    name: str
    dense: tuple[int, ...]
    pruned: tuple[int, ...]

    def __post_init__(self) -> None:
        for before, after in zip(self.dense, self.pruned, strict=False):
            if before != after and not 0 < after < before:
                raise ValueError(f"{self.name[:80]} was {str(before)[:40]}, and no cut makes {str(after)[:40]} of it")


@dataclass(frozen=True)
class Structure:
    """Every tensor of the state by name; the counts that differ; the first name of tensors with several names.

    All of it describes the network without the `blocks` that are gone.
    """

    OMITS_DEFAULTS: ClassVar[bool] = True

    tensors: dict[str, Dims]
    attributes: tuple[Attribute, ...] = ()
    shared: dict[str, str] = field(default_factory=dict)
    blocks: tuple[Removed, ...] = ()
    settings: tuple[Setting, ...] = ()  # of the configurations of a model library
    unsaid: bool = False  # where no configuration describes the pruned model


def structure_of(
    dense: nn.Module, pruned: nn.Module, keep: Mapping[str, Tensor], blocks: tuple[Removed, ...] = ()
) -> Structure | None:
    """Describe a cut by its masks `keep`; None if the kept positions do not form a grid along the dimensions.

    The masks are those of the dense network without the `blocks`.
    """
    if blocks:
        dense = copied(dense, {id(tensor): tensor for _, tensor in named_tensors(dense)})
        remove_blocks(dense, blocks)
    persistent = dense.state_dict().keys()
    tensors = {}
    for name, tensor in named_tensors(dense):
        if name in keep:
            tensors[name] = _grid(keep[name])
            if int(keep[name].sum()) != math.prod(tensors[name].pruned_shape):
                return None
        elif name in persistent:
            tensors[name] = Dims(tuple(tensor.shape))
    return Structure(
        tensors,
        tuple(_changed(dense, pruned, keep)),
        shared_names(dense),
        blocks,
        settings_of(dense, pruned),
        refuses_saving(pruned),
    )


def _grid(mask: Tensor) -> Dims:
    """Return the smallest grid that holds all kept positions of a mask."""
    kept = []
    for dim, size in enumerate(mask.shape):
        positions = mask.movedim(dim, 0).reshape(size, -1).any(dim=1).nonzero().flatten().tolist()
        kept.append(None if len(positions) == size else tuple(positions))
    return Dims(tuple(mask.shape), tuple(kept))


def _changed(dense: nn.Module, pruned: nn.Module, keep: Mapping[str, Tensor]) -> Iterator[Attribute]:
    """Yield the counts that differ in modules that hold cut tensors, directly or in submodules."""
    around = {name[:end] for name in keep for end, letter in enumerate(name) if letter == "."} | {""}
    for name, module in dense.named_modules():
        if name not in around or not keep:
            continue
        own = vars(pruned.get_submodule(name))
        for attribute, value in vars(module).items():
            before, after = _counts(value), _counts(own.get(attribute))
            if before is not None and after is not None and before != after:
                yield Attribute(name, attribute, before, after)


def _counts(value: Any) -> tuple[int, ...] | None:
    counts = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return counts if all(type(each) is int for each in counts) else None


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter and buffer under each of its names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def shared_names(model: nn.Module) -> dict[str, str]:
    """Map every further name of a parameter or buffer to its first name."""
    first: dict[int, str] = {}
    named = [(name, first.setdefault(id(tensor), name)) for name, tensor in named_tensors(model)]
    return {name: other for name, other in named if name != other}


def lacking(model: nn.Module, structure: Structure) -> list[str]:
    """List the blocks that are to go and that a model does not have."""
    known = dict(model.named_modules())
    return [f"it has no {each.name}" for each in structure.blocks if each.name not in known]


def misfits(model: nn.Module, structure: Structure) -> list[str]:
    """List the differences between a model and the structure's dense model; empty if the cut fits."""
    own = dict(named_tensors(model))
    said = [f"it has no {name}" for name in structure.tensors if name not in own]
    said += [f"{name} was not there" for name in model.state_dict() if name in own and name not in structure.tensors]
    said += [
        f"{name} is {tuple(own[name].shape)} and was {dims.shape}"
        for name, dims in structure.tensors.items()
        if name in own and tuple(own[name].shape) != dims.shape
    ]
    if not said and shared_names(model) != structure.shared:
        said.append("other weights of it are shared")
    modules = dict(model.named_modules())
    for each in structure.attributes:
        value = _counts(vars(modules[each.module]).get(each.name)) if each.module in modules else None
        if value != each.dense or len(each.pruned) != len(each.dense):
            said.append(f"{each.module}.{each.name} is {value} and was {each.dense}")
    if any(not 0 <= each.place < len(configurations(model)) for each in structure.settings):
        said.append("it has fewer configurations")
    return said


def cut(model: nn.Module, structure: Structure) -> None:
    """Make the cut in place in a dense model that fits; tied tensors with the same cut stay tied."""
    smaller = [name for name, dims in structure.tensors.items() if dims.kept is not None]
    own_class = [name for name in replaceable(model) if any(tensor.startswith(f"{name}.") for tensor in smaller)]
    replace_attention(model, own_class)  # torch's class would not take these sizes
    made: dict[tuple[int, Dims], Tensor] = {}
    originals = list(named_tensors(model))  # held, so that their ids stay their own
    for name, original in originals:
        dims = structure.tensors.get(name)
        if dims is None or dims.kept is None:
            continue
        key = id(original), dims
        if key not in made:
            small = dims.of(original.detach())
            is_parameter = isinstance(original, nn.Parameter)
            made[key] = nn.Parameter(small, original.requires_grad) if is_parameter else small
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, made[key])
    for each in structure.attributes:
        module = model.get_submodule(each.module)
        value = vars(module)[each.name]
        setattr(module, each.name, each.pruned[0] if isinstance(value, int) else type(value)(each.pruned))
    held = configurations(model)
    for setting in structure.settings:
        setattr(held[setting.place], setting.name, setting.value)
    if structure.unsaid:
        refuse_saving(model)
