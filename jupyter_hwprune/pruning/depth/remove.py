"""Take blocks out of a model in place, and tell what counts its layers that there are fewer."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

PLACE = re.compile(r"(^|_)(layer|block)s?_?(idx|index|id|number|num)$|^(idx|index|i)$")
COUNT = re.compile(r"layer|depth|block")


@dataclass(frozen=True)
class Removed:
    """A block that is gone, by its name in the dense model: from its list, or with an identity in its place."""

    name: str
    listed: bool


class Passed(nn.Module):
    """Stands where a block was, and returns its first argument."""

    def forward(self, stream: Any, *_args: Any, **_kwargs: Any) -> Any:
        return stream


def is_listed(model: nn.Module, name: str) -> bool:
    """Say whether the block is an element of a list that could do without it."""
    parent = model.get_submodule(name.rpartition(".")[0])
    return isinstance(parent, (nn.ModuleList, nn.Sequential)) and len(parent) > 1


def remove_blocks(model: nn.Module, blocks: Sequence[Removed]) -> None:
    """Take the blocks out of a dense model, in place; raises AttributeError where it has no such block."""
    lists: defaultdict[str, list[str]] = defaultdict(list)
    for block in blocks:
        parent, _, own = block.name.rpartition(".")
        held = model.get_submodule(block.name)
        if block.listed:
            lists[parent].append(own)
        else:
            passed = Passed()
            passed.training = held.training
            model.get_submodule(parent)._modules[own] = passed  # noqa: SLF001 - whatever kind of module holds it
    for path, gone in lists.items():
        _shorten(model, path, gone)


def names_left(model: nn.Module, blocks: Collection[Removed]) -> Iterator[str]:
    """Yield the names of the dense model's modules that have a counterpart after the removal, in the same order."""
    for name, _ in model.named_modules():
        around = next((each for each in blocks if f"{name}.".startswith(f"{each.name}.")), None)
        if around is None or (name == around.name and not around.listed):
            yield name


def configurations(model: nn.Module) -> list[Any]:
    """Return each configuration that the model's modules hold, and those within them, as model libraries have them."""
    return within([vars(module).get("config") for module in model.modules()])


def within(held: Iterable[Any]) -> list[Any]:
    """Return the configurations among some objects, and those that they hold, each once."""
    waiting = list(held)
    found: dict[int, Any] = {}
    while waiting:
        each = waiting.pop(0)
        if callable(getattr(each, "to_dict", None)) and hasattr(each, "__dict__") and id(each) not in found:
            found[id(each)] = each
            waiting += vars(each).values()
    return list(found.values())


def _shorten(model: nn.Module, path: str, gone: Collection[str]) -> None:
    """Delete elements of a list, and number the others anew."""
    held = model.get_submodule(path)
    held_now = {name: module for name, module in held._modules.items() if module is not None}  # noqa: SLF001
    names, elements = list(held_now), list(held_now.values())
    numbered = names == [str(i) for i in range(len(names))]
    kept = [i for i, name in enumerate(names) if name not in gone]
    held._modules.clear()  # noqa: SLF001 - a ModuleList would renumber after each deletion
    for new, old in enumerate(kept):
        held.add_module(str(new) if numbered else names[old], elements[old])
        for module in elements[old].modules():
            for name, value in list(vars(module).items()):
                if type(value) is int and value == old and PLACE.search(name):
                    setattr(module, name, new)
    parents = [model.get_submodule(path[:end]) for end, letter in enumerate(path) if letter == "."]
    for owner in dict.fromkeys((model, *parents)):
        _count_again(owner, path, len(names), kept)
    for config in configurations(model):
        _count_again(config, path, len(names), kept)


def _count_again(owner: Any, path: str, before: int, kept: Sequence[int]) -> None:
    """Set the counts of layers that an object keeps, and shorten its lists with one entry for each layer."""
    own = {name: value for name, value in vars(owner).items() if not name.startswith("_")}
    counts = [name for name, value in own.items() if type(value) is int and value == before and COUNT.search(name)]
    decoding = [name for name in counts if "decoder" in name]
    if "encoder" in path:
        counts = [name for name in counts if name not in decoding]
    elif decoding:
        counts = decoding
    for name in counts:
        setattr(owner, name, len(kept))
    for name, value in own.items():
        if isinstance(value, (list, tuple)) and len(value) == before and COUNT.search(name):
            setattr(owner, name, type(value)([value[i] for i in kept]))
