"""Make the configuration of a model library's model say the sizes that pruning left, so that it can be read back.

Classes of such a library build their layers from a configuration, and its `from_pretrained` reads weights into what the
configuration says. Which of its numbers mean which size is tried, not known: a configuration is true where the class
builds a model of the same shapes from it, which then computes the same.
"""

import copy
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..core.copying import copied
from ..core.errors import InputError
from ..core.example import Example
from .depth.remove import configurations, within
from .equivalence import TOLERANCE, relative_difference
from .graph.trace import tensors_of_model

NO_WIDTH = re.compile(
    r"vocab|position|token|layer|label|window|expert|image|patch|channels|stride|seed|chunk|length|max|_id$|rank|beam"
)
UNSET = ("n_inner", "head_dim", "ffn_dim", "intermediate_size")  # which follow from other sizes where they are not set
MOST_TRIED = 64


@dataclass(frozen=True)
class Setting:
    """A number that a configuration says now: of which one (in the order of `configurations`), and its name."""

    place: int
    name: str
    value: int


def library_models(model: nn.Module) -> dict[str, nn.Module]:
    """Return by their names the outermost modules that a model library builds from a configuration and saves."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        outer = any(f"{name}.".startswith(f"{each}.") or not each for each in found)
        config = vars(module).get("config")
        if not outer and callable(getattr(config, "to_dict", None)) and hasattr(type(module), "save_pretrained"):
            found[name] = module
    return found


def configure(dense: nn.Module, pruned: nn.Module, example: Example) -> list[str] | None:
    """Set the configurations of a pruned copy to what they should say, and return what they said and say now.

    `dense` has the same modules in their full size. Returns None, and leaves all as it was, where no configuration
    builds the pruned model.
    """
    said = []
    for name, module in library_models(pruned).items():
        place = _Place(pruned, name, example)
        settings = _true_settings(dense.get_submodule(name), module, place)
        if settings is None:
            return None
        own = within([module.config])
        copies = configurations(module)[len(own) :]  # a part of the model may have one of its own
        for each in settings:
            before = getattr(own[each.place], each.name, None)
            setattr(own[each.place], each.name, each.value)
            for held in copies:
                if before is not None and vars(held).get(each.name) == before:
                    setattr(held, each.name, each.value)
            said.append(f"{each.name} {before} → {each.value}" if before is not None else f"{each.name} {each.value}")
        if relative_difference(example.outputs(pruned), place.outputs) > TOLERANCE:
            return None
    return said


def settings_of(dense: nn.Module, pruned: nn.Module) -> tuple[Setting, ...]:
    """List the numbers that the configurations of a pruned copy say in another way."""
    pairs = zip(configurations(dense), configurations(pruned), strict=True)
    return tuple(
        Setting(place, name, value)
        for place, (before, after) in enumerate(pairs)
        for name, value in vars(after).items()
        if type(value) is int and vars(before).get(name) != value
    )


def refuse_saving(model: nn.Module) -> None:
    """Make `save_pretrained` raise an error in a model that no configuration describes, before it writes anything."""
    for module in library_models(model).values():
        vars(module)["save_pretrained"] = partial(_refuse, type(module).__name__)


def refuses_saving(model: nn.Module) -> bool:
    return any("save_pretrained" in vars(module) for module in library_models(model).values())


def _refuse(kind: str, folder: str | Path = "", *_args: Any, **_kwargs: Any) -> NoReturn:
    raise InputError(
        f"Nothing was written to {folder or 'the folder'}: no configuration of {kind} says the sizes of this pruned "
        "model, so from_pretrained could not read the folder. Keep it with run.save(folder), which "
        "jupyter_hwprune.load reads, or prune with --allocation uniform, which leaves layers of one kind alike."
    )


@dataclass(frozen=True)
class _Place:
    """Where a library's model stands in the pruned one, and what that gives for the example."""

    pruned: nn.Module
    name: str
    example: Example

    @cached_property
    def outputs(self) -> list[torch.Tensor]:
        return self.example.outputs(self.pruned)

    def holds(self, rebuilt: nn.Module) -> bool:
        """Say whether the whole computes the same with a model that was built from a configuration."""
        whole = rebuilt
        if self.name:
            shared = {id(tensor): tensor for tensor in tensors_of_model(self.pruned).values()}
            whole = copied(self.pruned, shared)
            whole.set_submodule(self.name, rebuilt)
        expected = self.outputs
        found = self.example.outputs(whole.eval())
        alike = [t.shape for t in found] == [t.shape for t in expected]
        return alike and relative_difference(found, expected) <= TOLERANCE


def _true_settings(dense: nn.Module, pruned: nn.Module, place: _Place) -> list[Setting] | None:
    shapes = {name: tuple(tensor.shape) for name, tensor in pruned.state_dict().items()}
    for settings in itertools.islice(_candidates(dense, pruned), MOST_TRIED):
        config = copy.deepcopy(pruned.config)
        own = within([config])
        try:
            for each in settings:
                setattr(own[each.place], each.name, each.value)
            _require_readable(config)
            with torch.device("meta"):
                built = type(pruned)(config)
            if {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()} != shapes:
                continue
            with torch.random.fork_rng(devices=[]), Undrawn():  # what it would draw is then replaced
                rebuilt = type(pruned)(config)
            rebuilt.load_state_dict(pruned.state_dict(), assign=True)
            rebuilt.tie_weights()  # type: ignore[operator]
            if place.holds(rebuilt):
                return settings
        except Exception:  # noqa: BLE001,S112 - a class may refuse a configuration in any way
            continue
    return None


class Undrawn(TorchFunctionMode):
    """Leaves a new weight as it was allocated where a class fills it with random values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") in {"normal_", "uniform_"}:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _require_readable(config: Any) -> None:
    """Raise what the library raises for a configuration that cannot be written and read back."""
    again = type(config).from_dict(json.loads(json.dumps(config.to_dict(), default=str)))
    for each in (config, again):
        if callable(validate := getattr(each, "validate", None)):
            validate()


def _candidates(dense: nn.Module, pruned: nn.Module) -> Iterator[list[Setting]]:
    """Yield ways to write the new sizes into the configurations, the likely ones first."""
    shrunk = _shrunk(dense, pruned)
    choices: list[Sequence[Setting | None]] = []
    for place, config in enumerate(within([pruned.config])):
        own = vars(config)
        for name, value in own.items():
            if NO_WIDTH.search(name) or name.startswith("_"):
                continue
            if type(value) is int and (news := _news(name, value, shrunk)):
                choices.append([*(Setting(place, name, new) for new in news), None])
            elif value is None and name in UNSET:
                choices.append([None, *(Setting(place, name, new) for new in _all(shrunk))])
        if "head_dim" not in own:
            widths = {vars(module).get("head_dim") for module in pruned.modules()} - {None}
            choices.append([None, *(Setting(place, "head_dim", w) for w in widths if type(w) is int)])
    ranked = sorted(
        itertools.islice(itertools.product(*(range(len(each)) for each in choices)), 1 << 14),
        key=lambda at: sum(map(bool, at)),
    )
    for index in ranked:
        taken = [each[at] for each, at in zip(choices, index, strict=True)]
        yield [each for each in taken if each is not None]


def _shrunk(dense: nn.Module, pruned: nn.Module) -> Mapping[int, list[int]]:
    """Return for each size that shrank what it became, the most frequent first, in weights and in modules' numbers."""
    seen: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    before, after = tensors_of_model(dense), tensors_of_model(pruned)
    for name in before.keys() & after.keys():
        for old, new in zip(before[name].shape, after[name].shape, strict=False):
            seen[old][new] += old != new
    modules = dict(pruned.named_modules())
    for name, module in dense.named_modules():
        for attribute, old in vars(module).items():
            own = vars(modules[name]).get(attribute) if name in modules else None
            if type(old) is int and type(own) is int and old != own:
                seen[old][own] += 1
    counted = {old: sorted((n for n in news if news[n]), key=lambda n: -news[n]) for old, news in seen.items()}
    return {old: news for old, news in counted.items() if news}


def _news(name: str, value: int, shrunk: Mapping[int, list[int]]) -> list[int]:
    """Return what a number of a configuration may become; heads by the ratios too, for they show in no shape."""
    news = list(shrunk.get(value, ()))
    if "head" in name and "dim" not in name:
        pairs = [(old, new) for old, each in shrunk.items() for new in each]
        news += [value * new // old for old, new in pairs if value * new % old == 0]
    return list(dict.fromkeys(new for new in news if new))


def _all(shrunk: Mapping[int, list[int]]) -> list[int]:
    return list(dict.fromkeys(new for news in shrunk.values() for new in news))
