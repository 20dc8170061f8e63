"""Run a model from its middle, with stored outputs in place of the first part, so that it need not run again.

A model is cut into elements: modules that each depend only on the element before and on the model's inputs, such as
the blocks of a transformer. This is tested by running the model, not read from its code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from ..core.errors import InputError, first_line
from ..core.example import Example
from ..core.outputs import tensors_of
from .layers import layers_with_weights
from .trace import Trace, hooks

SAMPLED = 1024
TOLERANCE = 1e-3


class Enough(BaseException):
    """Raised in a hook to end a pass early; an `except Exception` in the model cannot catch it."""


@dataclass
class Replay:
    """Passes of the batches through the model, from the beginning or from an element on.

    `resumable[i]` says whether a pass may begin with element i. `outputs` holds, for each batch, what the element
    before `position` gave, and `blanks` the shapes of what those before it gave.
    """

    model: nn.Module
    batches: Sequence[Example]
    elements: list[str]
    resumable: list[bool]
    position: int = 0
    outputs: list[Any] = field(default_factory=list)
    blanks: list[dict[str, Any]] = field(default_factory=list)

    def start_of(self, element: int | None) -> int:
        """Move to the element, with the weights as they are now, and return where passes for it begin."""
        if element is None or element == 0 or not self.resumable[element]:
            return 0
        if self.position != element:
            between = range(max(1, self.position), element)
            start = self.position if self.position < element and all(self.resumable[i] for i in between) else 0
            outputs, blanks = self.outputs, self.blanks
            if start == 0:
                outputs, blanks = [None] * len(self.batches), [{} for _ in self.batches]
            for at in range(len(self.batches)):
                with captured(self.model, self.elements[start:element], _blank) as seen:
                    self.run(at, start)
                if self.elements[element - 1] not in seen:
                    self.position, self.resumable[element] = 0, False
                    return 0
                outputs[at] = seen.pop(self.elements[element - 1])
                blanks[at] |= seen | {self.elements[element - 1]: _blank(outputs[at])}
            self.outputs, self.blanks, self.position = outputs, blanks, element
        return element

    def run(self, at: int, start: int) -> None:
        """Run one batch from element `start` on, where 0 is the beginning, until a hook says Enough."""
        before = self.elements[: max(0, start - 1)]
        stand_ins = {name: self.blanks[at][name] for name in before if name in self.blanks[at]}
        if start:
            stand_ins[self.elements[start - 1]] = self.outputs[at]
        try:
            with standing_in(self.model, stand_ins):
                self.batches[at].through(self.model)
        except Enough:
            pass
        except Exception as error:
            raise InputError(
                f"The model does not run on batch {at} of the calibration data: {first_line(error)}. Give batches that "
                "the model takes."
            ) from error


def replay(model: nn.Module, batches: Sequence[Example], calls: Trace) -> Replay:
    """Cut the model into the smallest elements that follow on each other; what holds no weights is none of them."""
    weighty = [name for name, module in layers_with_weights(model) if not isinstance(module, nn.Embedding)]
    elements, resumable = _Cut(model, _few_rows(model, batches[0]), calls, weighty).elements()
    return Replay(model, batches, elements, resumable)


@contextmanager
def captured(model: nn.Module, names: Sequence[str], note: Callable[[Any], Any]) -> Iterator[dict[str, Any]]:
    """Collect a note of what each of the modules returns, and all that the last returns, which ends the pass."""
    seen: dict[str, Any] = {}

    def collect(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            seen[name] = output if name == names[-1] else note(output)
            if name == names[-1]:
                raise Enough

        return hook

    with hooks() as handles:
        handles += [model.get_submodule(name).register_forward_hook(collect(name)) for name in names]
        yield seen


@contextmanager
def standing_in(model: nn.Module, values: Mapping[str, Any]) -> Iterator[None]:
    """Let modules return a copy of a value, or blanks full of NaN, in the place of what they would compute."""
    modules = [model.get_submodule(name) for name in values]
    before = [vars(module).get("forward") for module in modules]
    try:
        for module, value in zip(modules, values.values(), strict=True):
            vars(module)["forward"] = lambda *_args, _value=value, **_kwargs: pytree.tree_map(_filled, _value)
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            vars(module).pop("forward", None)
            if own is not None:
                vars(module)["forward"] = own


@dataclass(frozen=True)
class _Blank:
    shape: torch.Size
    dtype: torch.dtype


def _blank(output: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda t: _Blank(t.shape, t.dtype), output, is_leaf=_is_packed)


def _is_packed(value: Any) -> bool:
    return isinstance(value, PackedSequence)  # which refuses to hold anything but tensors


def _filled(leaf: Any) -> Any:
    if isinstance(leaf, _Blank):  # NaN wherever a later element looks at more than the element before it
        empty = torch.empty(leaf.shape, dtype=leaf.dtype)
        return empty.fill_(torch.nan if leaf.dtype.is_floating_point or leaf.dtype.is_complex else 0)
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


@dataclass
class _Cut:
    model: nn.Module
    batch: Example
    calls: Trace
    weighty: list[str]
    outputs: dict[str, Any] = field(default_factory=dict)

    def elements(self) -> tuple[list[str], list[bool]]:
        """Start with what the model itself calls, and open an element where what it calls follows on each other."""
        elements = self._parts("")
        if not elements:
            return [], []
        self.outputs = self._outputs(elements, elements, 0)
        resumable = [at == 0 or self._follows(elements, at) for at in range(len(elements))]
        refused: set[Any] = set()  # kinds of blocks that could not be opened; the next like it will not either
        at = 0
        while at < len(elements):
            inner = self._inner(elements[at])
            kind = tuple(type(self.model.get_submodule(name)) for name in (elements[at], *inner))
            if inner and kind not in refused:
                trial = [*elements[:at], *inner, *elements[at + 1 :]]
                end = at + len(inner)
                self.outputs |= self._outputs(trial, inner, at if resumable[at] else 0)
                last = end if at + 1 < len(elements) and resumable[at + 1] else end - 1
                if all(self._follows(trial, each) for each in range(at + 1, last + 1)):
                    elements = trial
                    resumable[at + 1 : at + 1] = [True] * (len(inner) - 1)
                    if end < len(elements):  # the last part may return plainly what the whole wraps in an object
                        resumable[end] = resumable[end] or self._follows(elements, end)
                    continue
                refused.add(kind)
            at += 1
        return elements, resumable

    def _inner(self, name: str) -> list[str]:
        """Return the parts of a module with several layers; none where a part with layers is called repeatedly."""
        held = [layer for layer in self.weighty if self.calls.within(layer, name)]
        parts = self._parts(name)
        in_parts = all(any(layer == part or self.calls.within(layer, part) for part in parts) for layer in held)
        return parts if len(held) > 1 and in_parts else []

    def _parts(self, name: str) -> list[str]:
        single = self.calls.single_children(name)
        return [p for p in single if any(layer == p or self.calls.within(layer, p) for layer in self.weighty)]

    def _outputs(self, elements: Sequence[str], names: Sequence[str], start: int) -> dict[str, Any]:
        """Run from element `start` on, and return what the modules gave."""
        values = {name: _blank(self.outputs[name]) for name in elements[: max(0, start - 1)]}
        values |= {name: self.outputs[name] for name in elements[max(0, start - 1) : start]}
        copied = partial(pytree.tree_map_only, Tensor, torch.clone)
        with captured(self.model, names, copied) as seen, standing_in(self.model, values), suppress(Enough):
            self.batch.through(self.model)
        return seen

    def _follows(self, elements: Sequence[str], at: int) -> bool:
        """Say whether an element gives what it gave, when all that is known is what the one before it gave."""
        known = [self.outputs.get(name) for name in elements[: at + 1]]
        if any(not _is_plain(output) for output in known[:-1]):
            return False
        try:
            seen = self._outputs(elements, [elements[at]], at)
        except Exception:  # noqa: BLE001 - a model may say in any way that it cannot go on from there
            return False
        return _alike(seen.get(elements[at]), known[-1])


def _few_rows(model: nn.Module, batch: Example) -> Example:
    """Cut the batch to two rows, where the model runs on them."""
    few = batch.rebatched(min(2, batch.batch))
    try:
        few.outputs(model)
    except Exception:  # noqa: BLE001 - its first dimension is not that of rows, or not in all its inputs
        return batch
    return few


def _is_plain(output: Any) -> bool:
    """Say whether all that a module returned can be written down: an object of its own class may hide tensors."""
    leaves = pytree.tree_leaves(output, is_leaf=_is_packed)
    return all(leaf is None or isinstance(leaf, (Tensor, bool, int, float, str)) for leaf in leaves)


def _alike(output: Any, expected: Any) -> bool:
    ours, theirs = tensors_of(output), tensors_of(expected)
    return bool(ours) and len(ours) == len(theirs) and all(map(_close, ours, theirs))


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.numel():
        return one.shape == other.shape
    a, b = (t.flatten()[:: max(1, t.numel() // SAMPLED)].double() for t in (one, other))
    return bool((a - b).norm() <= TOLERANCE * b.norm())  # NaN is close to nothing
