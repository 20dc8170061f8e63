"""Find the arguments with which a model library's own function builds the shapes that pruning left.

Such a library (timm is one) has a function `create_model(architecture, **arguments)`, and its models name their
architecture in `pretrained_cfg`. Which argument means which size is tried, not known: arguments are true where the
function builds a model of the same shapes from them, which then loads the weights and computes the same.
"""

import functools
import inspect
import itertools
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn

from ..core.example import Example
from .configuration import Undrawn
from .equivalence import TOLERANCE, relative_difference

FEW = 4  # values that an argument may take, the likely ones first
ATTRIBUTE = "model_args"
"""The library's own word for what a saved model is built with; the pruned model has them under this name."""

Shapes = Mapping[str, tuple[int, ...]]
Sizes = Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Builder:
    """A library's function, and the architecture that it built a model of."""

    library: str
    create: Callable[..., nn.Module]
    architecture: str

    @classmethod
    def of(cls, model: nn.Module) -> "Builder | None":
        """Return what built the model, None if no such function did."""
        said = vars(model).get("pretrained_cfg")
        architecture = said.get("architecture") if isinstance(said, dict) else None
        path = type(model).__module__.split(".")
        for end in range(1, len(path) + 1 if architecture else 1):
            create = getattr(sys.modules.get(library := ".".join(path[:end])), "create_model", None)
            if callable(create):
                return cls(library, create, str(architecture))
        return None

    def line(self, arguments: Mapping[str, Any]) -> str:
        """Write the call with these arguments."""
        given = "".join(f", {name}={value!r}" for name, value in arguments.items())
        return f"{self.library}.create_model({self.architecture!r}{given})"

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        return self.create(self.architecture, **arguments)

    def knows(self, model: nn.Module) -> bool:
        """Say whether the arguments that build a model were found."""
        return ATTRIBUTE in vars(model)

    def counts_heads(self, kind: type[nn.Module]) -> bool:
        """Say whether the class is built with a count of heads, which not every width can share."""
        return any("heads" in name for name in inspect.signature(kind).parameters)

    def arguments(self, kind: type[nn.Module]) -> tuple[nn.Module, dict[str, Any]]:
        """Build the architecture as it comes, without memory; also return what its class was given, or has itself."""
        taken: dict[str, Any] = {}
        original = kind.__init__

        @functools.wraps(original)
        def noting(self: nn.Module, *args: Any, **kwargs: Any) -> None:
            if type(self) is kind and not taken:
                bound = inspect.signature(original).bind(self, *args, **kwargs)
                bound.apply_defaults()
                taken.update(itertools.islice(bound.arguments.items(), 1, None))
            original(self, *args, **kwargs)

        with mock.patch.object(kind, "__init__", noting), torch.device("meta"):
            built = self.build({})
        return built, taken


def arguments_of(pruned: nn.Module, example: Example) -> dict[str, Any] | None:
    """Return the arguments that the library's function needs to build `pruned`; None where none say its shape.

    The model then has them as `model_args`.
    """
    builder = Builder.of(pruned)
    if builder is None:
        return None
    vars(pruned).pop(ATTRIBUTE, None)
    try:
        whole, taken = builder.arguments(type(pruned))
        search = _Search(builder, taken, _sizes(whole, pruned), _shapes(pruned))
        outputs = example.outputs(pruned)
        for arguments in search.fitting():
            with torch.random.fork_rng(devices=[]), Undrawn():  # what it would draw is then replaced
                again = builder.build(arguments).eval()
            again.load_state_dict(pruned.state_dict())
            found = example.outputs(again)
            alike = [t.shape for t in found] == [t.shape for t in outputs]
            if alike and relative_difference(found, outputs) <= TOLERANCE:
                vars(pruned)[ATTRIBUTE] = arguments
                return arguments
    except Exception:  # noqa: BLE001 - a library's function may refuse in any way
        return None
    return None


Values = dict[tuple[str, int | None], Any]
"""The numbers among a function's arguments, by name and by place in a tuple."""


class _Search:
    """Finds arguments that give the shapes wanted, one number after the other, as each has weights of its own."""

    def __init__(self, builder: Builder, taken: Mapping[str, Any], sizes: Sizes, wanted: Shapes) -> None:
        self.builder, self.taken, self.wanted = builder, taken, wanted
        self.options: dict[tuple[str, int | None], list[Any]] = {}
        for name, value in taken.items():
            several = isinstance(value, (tuple, list))
            for place, number in enumerate(value if several else [value]):
                options = _options(name, number, sizes)
                if len(options) > 1:
                    self.options[name, place if several else None] = options

    def fitting(self) -> Iterator[dict[str, Any]]:
        """Yield arguments that give the shapes wanted; counts of heads show in none, so each is tried."""
        values: Values = {key: options[0] for key, options in self.options.items()}
        for _ in range(2):  # a number may fit only once another does
            for key, options in self.options.items():
                if self.fit(values) == len(self.wanted):
                    break
                values = max(({**values, key: each} for each in options), key=self.fit)
        if self.fit(values) < len(self.wanted):
            return
        heads = {key: options for key, options in self.options.items() if "heads" in key[0]}
        yield self.arguments(values)
        for rank in range(FEW if heads else 0):
            other = values | {key: options[min(rank, len(options) - 1)] for key, options in heads.items()}
            if other != values and self.fit(other) == len(self.wanted):
                yield self.arguments(other)

    def fit(self, values: Values) -> int:
        """Count the tensors of the shape wanted, less those that are not wanted."""
        return self._fit(tuple(values.items()))

    @functools.cache  # noqa: B019 - it lives as long as one search
    def _fit(self, values: tuple[tuple[tuple[str, int | None], Any], ...]) -> int:
        try:
            with torch.device("meta"):
                found = _shapes(self.builder.build(self.arguments(dict(values))))
        except Exception:  # noqa: BLE001 - numbers that do not go together
            return -1
        alike = sum(self.wanted.get(name) == shape for name, shape in found.items())
        return alike - len(found.keys() - self.wanted.keys())

    def arguments(self, values: Values) -> dict[str, Any]:
        """Return the arguments that differ from what the architecture has by itself."""
        found: dict[str, Any] = {}
        for name in dict.fromkeys(name for name, _ in values):
            own = self.taken[name]
            several = isinstance(own, (tuple, list))
            made = [values.get((name, place), number) for place, number in enumerate(own if several else [])]
            new = type(own)(made) if several else values[name, None]
            if new != own:
                found[name] = new
        return found


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _sizes(whole: nn.Module, pruned: nn.Module) -> Sizes:
    """Return for each size of the whole model what it is in the pruned one, the most frequent first.

    Sizes are those of weights, of modules' numbers, and of lists of modules.
    """
    seen: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))

    def note(olds: Sequence[Any], news: Sequence[Any]) -> None:
        for old, new in zip(olds, news, strict=False):
            if type(old) is int and type(new) is int:
                seen[old][new] += 1

    shapes = _shapes(whole)
    for name, after in _shapes(pruned).items():
        note(shapes.get(name, ()), after)
    modules = dict(pruned.named_modules())
    for name, module in whole.named_modules():
        if name not in modules:
            continue
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and type(module) is type(modules[name]):
            note([len(module)], [len(modules[name])])
        own = vars(modules[name])
        for attribute, old in vars(module).items():
            pair = [value if isinstance(value, (tuple, list)) else (value,) for value in (old, own.get(attribute))]
            note(*pair)
    return {old: sorted(news, key=lambda new: -news[new]) for old, news in seen.items()}


def _options(name: str, value: Any, sizes: Sizes) -> list[Any]:
    """Return what a number among the arguments may be, itself included, the likely ones first."""
    news: list[Any] = []
    if type(value) is int:
        news = list(sizes.get(value, ()))
        if "heads" in name:
            pairs = [(old, new) for old, each in sizes.items() for new in each if old and new != old]
            news += [value * new // old for old, new in pairs if value * new % old == 0]
    elif type(value) is float and value not in (0.0, 1.0):
        news = _ratios(value, sizes)
    kept = [new for new in dict.fromkeys(news) if new > 0][:FEW]
    return kept if value in kept else [*kept, value]


def _ratios(value: float, sizes: Sizes) -> list[float]:
    """Return what a ratio of two sizes may be, so that its product with one gives the other when rounded down."""
    found: defaultdict[float, int] = defaultdict(int)
    for base, news in sizes.items():
        for wide in sizes.get(int(base * value), ()) if base * value % 1 == 0 else ():
            for new in news:
                if new > 1 and wide > 0:
                    ratio = wide / new
                    found[ratio if int(new * ratio) == wide else math.nextafter(ratio, math.inf)] += 1
    return sorted(found, key=lambda ratio: -found[ratio])
