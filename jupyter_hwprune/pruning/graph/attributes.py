"""Integers that a module's code keeps of its sizes, such as its count of heads, and what they become after a cut.

The graph says which sizes shrink inside each module. An attribute that equals such a size may mean it, or another of
the same value that stays; the variants are ordered by likelihood, and the proof says which one is right. A run goes
wrong by what it has read until then, so variants that differ in nothing of that are not tried.
"""

import contextlib
import itertools
from abc import ABCMeta
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..attention import MultiheadAttention
from ..layers import LOOKUPS, NORMALISATIONS, PRUNABLE, RECURRENT
from .labels import values_in
from .sets import Coupled

KNOWN = (*PRUNABLE, *NORMALISATIONS, *LOOKUPS, nn.PReLU, *RECURRENT, MultiheadAttention)
WITHOUT_WEIGHTS = (nn.LayerNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)  # noqa: SLF001 - as these may be
SHRINKS = ("head", "inner", "split", "inter", "hidden", "exp", "ffn", "mlp")
STAYS = ("window", "patch", "kernel", "stride", "resolution", "image", "layers", "shift")
LARGEST_SEARCH = 64


@dataclass(frozen=True)
class Attribute:
    module: str
    name: str
    place: int | None  # in a tuple or list
    values: tuple[int, ...]  # the likely one first


def variants(model: nn.Module, attributes: list[Attribute]) -> Generator[nn.Module, None, None]:
    """Yield `model` itself with its attributes set in one way after another; equal modules get them alike.

    Who goes on has run a copy of the model before, and found it wrong.
    """
    alike: dict[tuple[Any, ...], list[Attribute]] = defaultdict(list)
    for attribute in attributes:
        kind = type(model.get_submodule(attribute.module))
        alike[kind, attribute.name, attribute.place, len(attribute.values)].append(attribute)
    groups = list(alike.values())
    first, *others = _choices([len(group[0].values) for group in groups])
    _choose(model, groups, first)
    yield model
    wrong: list[dict[int, int]] = []  # of each run that went wrong, the groups that it read, and how they were set
    tried = 1
    with _watched(model, groups) as (read, always):
        for choice in others:
            if any(all(choice[group] == index for group, index in each.items()) for each in wrong):
                continue
            if tried == LARGEST_SEARCH:
                return
            _choose(model, groups, choice)
            read.clear()
            yield model
            wrong.append({group: choice[group] for group in read | always})
            tried += 1


def _choices(sizes: list[int]) -> list[tuple[int, ...]]:
    """Return which value each group takes, the likely ones first; all of them, or the few that differ in up to two."""
    choices: Iterator[tuple[int, ...]] = itertools.product(*map(range, sizes))
    if len(sizes) > 8:  # too many to try them all: each by itself, then two together
        few = itertools.chain.from_iterable(itertools.combinations(range(len(sizes)), count) for count in range(3))
        choices = (tuple(min(1, size - 1) * (i in chosen) for i, size in enumerate(sizes)) for chosen in few)
    return sorted(itertools.islice(choices, 1 << 12), key=lambda choice: sum(map(bool, choice)))


def _choose(model: nn.Module, groups: list[list[Attribute]], choice: tuple[int, ...]) -> None:
    for index, group in zip(choice, groups, strict=True):
        for attribute in group:
            _set(model.get_submodule(attribute.module), attribute, attribute.values[index])


@contextlib.contextmanager
def _watched(model: nn.Module, groups: list[list[Attribute]]) -> Iterator[tuple[set[int], set[int]]]:
    """Note which groups of attributes are read, in the model or in a copy of it, for as long as this lasts.

    A module gets a class of its own meanwhile, with properties for its attributes. Also yields the groups of which that
    cannot tell: the classes of their modules are told of each new one, or define the name themselves.
    """
    noted: dict[nn.Module, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for number, group in enumerate(groups):
        for attribute in group:
            noted[model.get_submodule(attribute.module)][attribute.name].add(number)
    read, always = set[int](), set[int]()
    kinds: dict[nn.Module, tuple[Any, Any]] = {}
    for module, names in noted.items():
        kind: Any = type(module)
        told = type(kind) not in (type, ABCMeta) or any("__init_subclass__" in vars(base) for base in kind.mro()[:-1])
        if not told and not any(hasattr(kind, name) for name in names):
            own = {name: _noting(name, numbers, read) for name, numbers in names.items()}
            kinds[module] = kind, type(kind)(kind.__name__, (kind,), own)
        else:
            always.update(*names.values())
    try:
        for module, (_, watched) in kinds.items():
            module.__class__ = watched
        yield read, always
    finally:
        for module, (kind, _) in kinds.items():
            module.__class__ = kind


def _noting(name: str, numbers: set[int], read: set[int]) -> property:
    """Return a property that keeps its value where an attribute does, and notes that it is read."""

    def get(module: nn.Module) -> Any:
        read.update(numbers)
        return vars(module)[name]

    def put(module: nn.Module, value: Any) -> None:
        vars(module)[name] = value

    return property(get, put)


def find_attributes(dense: nn.Module, coupled: Coupled, keep: Mapping[str, Tensor]) -> list[Attribute]:
    """List the integers of the model's modules that equal a size which shrinks inside them."""
    shrunk, whole = _sizes(dense, coupled, keep)
    found = []
    for path, module in dense.named_modules(remove_duplicate=False):
        plain = isinstance(module, WITHOUT_WEIGHTS) and not [*module.parameters(), *module.buffers()]
        if isinstance(module, KNOWN) and not plain:
            continue
        for name, value in vars(module).items():
            if name.startswith("_") or isinstance(value, bool):
                continue
            single = isinstance(value, int)
            for place, number in enumerate([value] if single else value if isinstance(value, (tuple, list)) else []):
                if type(number) is int and number > 1 and (news := shrunk[path].get(number)):
                    likely = number not in whole[path] or any(word in name for word in SHRINKS)
                    likely &= not any(word in name for word in STAYS)
                    likely |= plain and name == "num_features"  # with a wrong one it runs, and warns each time
                    options = (*sorted(news), number) if likely else (number, *sorted(news))
                    found.append(Attribute(path, name, None if single else place, options))
    return found


def _set(module: nn.Module, attribute: Attribute, value: int) -> None:
    if attribute.place is None:
        setattr(module, attribute.name, value)
        return
    held = getattr(module, attribute.name)
    items = list(held)
    items[attribute.place] = value
    setattr(module, attribute.name, torch.Size(items) if isinstance(held, torch.Size) else type(held)(items))


def _sizes(
    dense: nn.Module, coupled: Coupled, keep: Mapping[str, Tensor]
) -> tuple[defaultdict[str, dict[int, set[int]]], defaultdict[str, set[int]]]:
    """Return for each module the sizes that shrink in it, with what they become, and those that stay."""
    alive = alive_labels(coupled, keep)
    labels, recorded = coupled.analysis.labels, coupled.analysis.trace.only_tensors  # a record names no modules
    paths = [path for path, _ in dense.named_modules(remove_duplicate=False)]
    shrunk: defaultdict[str, dict[int, set[int]]] = defaultdict(dict)
    whole: defaultdict[str, set[int]] = defaultdict(set)
    for node in coupled.analysis.trace.graph.graph.nodes:
        stack = [str(path) for path, _ in node.meta.get("nn_module_stack", {}).values()]
        modules = ["", *stack] if stack or not recorded else list(paths)
        for value in values_in([coupled.analysis.values.get(n.name) for n in (node, *node.all_input_nodes)]):
            left = list(value.shape)
            for each in value.factors:
                factor = labels.simplified(each)
                for axis in factor.axes[:1]:
                    left[axis] = int(np.count_nonzero(alive[labels.roots(factor.labels)]))
            for before, after in zip(value.shape, left, strict=True):
                for path in modules:
                    if before == after:
                        whole[path].add(before)
                    else:
                        shrunk[path].setdefault(before, set()).add(after)
    return shrunk, whole


def alive_labels(coupled: Coupled, keep: Mapping[str, Tensor]) -> Any:
    """Say for each joined label whether its unit stays. -> bool [labels]."""
    analysis = coupled.analysis
    alive = np.ones(len(analysis.labels._root), bool)  # noqa: SLF001 - as many as there are labels
    for channels in coupled.sets:
        if (kept := keep.get(channels.name)) is None:
            continue
        slot = channels.slots[0]
        value = analysis.tensors[slot.tensor].on(slot.dim)
        assert value is not None
        roots = analysis.labels.roots(value.labels.ravel())
        alive[roots[slot.positions[~kept.cpu()].flatten().numpy()]] = False
    return alive
