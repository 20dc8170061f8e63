"""Read the user's calibration data (`--calib`) into batches that the model runs on."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from ..core.errors import InputError, first_line
from ..core.example import Example

LABELS = ("labels", "label", "targets", "target", "y")
KINDS = (
    "a tensor, a tuple of arguments, a dict of keyword arguments, (inputs, labels), a list of those, or a DataLoader"
)


@dataclass(frozen=True)
class Calibration:
    """Batches on the CPU, floating tensors in the model's dtype, and the labels of each where they came as pairs.

    A second item is a label where the example has one argument less than the pair has items: many a `forward` would
    take labels for its optional mask, so the example decides, not the signature.
    """

    batches: Sequence[Example]
    labels: tuple[Any, ...] | None

    @property
    def rows(self) -> int:
        return sum(batch.batch for batch in self.batches)

    @classmethod
    def of(cls, value: Any, model: nn.Module, example: Example, most_batches: int = 128) -> Calibration:
        """Read at most `most_batches` from what the user gave; torch's, numpy's and Python's random state stay.

        A tensor, a dict and a tuple are one batch each, as the example is one; a list is one of batches, like all that
        can be iterated. An iterator of the user's own moves on by the batches read. Raises InputError for what is no
        data, is empty, holds NaN or infinite values, or does not run through the model.
        """
        with _random_state_kept(value):
            items = _first(_items(value, example), most_batches)
        if not items:
            raise InputError("The calibration data is empty; give at least one batch, e.g. --calib x.")
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        tried: set[Any] = set()
        pairs = [_batch(item, model, example, dtype, f"batch {at}", tried) for at, item in enumerate(items)]
        batches, labels = zip(*pairs, strict=True)
        return cls(batches, None if any(label is None for label in labels) else labels)


def _first(items: Iterator[Any], most: int) -> list[Any]:
    try:
        return list(itertools.islice(items, most))
    except InputError:
        raise
    except Exception as error:  # a Dataset's, a collate function's or a generator's own
        raise InputError(
            f"The calibration data raised {first_line(error)} while its batches were read. Fix that, or give a list of "
            "inputs, e.g. --calib [x]."
        ) from error


def _items(value: Any, example: Example) -> Iterator[Any]:
    """Yield the batches, each still as the user wrote it."""
    is_one = isinstance(value, tuple) and not _holds_batches(value, example)
    if is_one or isinstance(value, (Tensor, Mapping, Example)):
        return iter([value])
    if isinstance(value, Dataset) and not isinstance(value, IterableDataset):
        raise InputError(
            "The calibration data is a Dataset, which holds single samples; give batches of it, e.g. "
            "--calib 'DataLoader(dataset, batch_size=32)'."
        )
    if isinstance(value, (str, bytes, nn.Module, np.ndarray)) or not isinstance(value, Iterable):
        raise InputError(f"The calibration data is a {type(value).__name__}; it has to be {KINDS}.")
    try:
        return iter(value)
    except Exception as error:
        raise InputError(f"The calibration data cannot be iterated: {first_line(error)}. Give {KINDS}.") from error


def _holds_batches(value: tuple[Any, ...], example: Example) -> bool:
    """Tell a tuple of batches from one batch in a tuple: its items are dicts, pairs, or all like the one input."""
    if any(not isinstance(item, Tensor) for item in value):
        return all(isinstance(item, (Tensor, Mapping, tuple, list)) for item in value)
    if len(example.args) != 1 or example.kwargs or not isinstance(example.args[0], Tensor):
        return False
    like = example.args[0]
    return all(t.shape[1:] == like.shape[1:] and t.ndim == like.ndim and t.dtype == like.dtype for t in value)


def _batch(
    item: Any, model: nn.Module, example: Example, dtype: torch.dtype, name: str, tried: set[Any]
) -> tuple[Example, Any]:
    found, label = _parted(item, model, example, name)
    batch = found.on_cpu().in_dtype(dtype)
    shapes = ", ".join(str(tuple(t.shape)) for t in batch.tensors)
    if not batch.tensors or batch.batch == 0 or any(t.numel() == 0 for t in batch.tensors):
        raise InputError(f"The calibration data's {name} is empty ({shapes or 'no tensor'}); leave it out.")
    if not all(bool(torch.isfinite(t).all()) for t in batch.tensors if t.is_floating_point()):
        raise InputError(f"The calibration data's {name} holds NaN or infinite values; leave such samples out.")
    kind = (tuple((tuple(t.shape), t.dtype) for t in batch.tensors), tuple(batch.kwargs))
    if kind in tried:
        return batch, label
    error = _error(model, batch)
    if error is not None and label is None and "labels" in batch.kwargs:
        rest = Example(batch.args, {key: v for key, v in batch.kwargs.items() if key != "labels"})
        if rest.kwargs and _error(model, rest) is None:
            return rest, batch.kwargs["labels"]
    if error is not None:
        raise InputError(
            f"The model does not run on the calibration data's {name} of shape {shapes}: {error}. Each batch has to be "
            "as the example input is, or a pair (inputs, labels)."
        )
    tried.add(kind)
    return batch, label


def _error(model: nn.Module, batch: Example) -> str | None:
    try:
        with contextlib.ExitStack() as after, torch.random.fork_rng(devices=[]):
            for module in model.modules():
                after.callback(setattr, module, "training", module.training)
            batch.outputs(model.eval())
    except Exception as error:  # noqa: BLE001 - whatever the user's model raises, it goes into our message
        return first_line(error)
    return None


def _parted(item: Any, model: nn.Module, example: Example, name: str) -> tuple[Example, Any]:
    """Separate a batch from its labels."""
    if isinstance(item, Example):
        return item, None
    if isinstance(item, Tensor):
        return _arguments((item,), model, example), None
    if isinstance(item, Mapping) and item:
        taken = inspect.signature(model.forward).parameters
        takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
        unknown = [] if takes_all else [key for key in item if key not in taken]
        if unknown and not set(unknown) <= set(LABELS):
            raise InputError(
                f"The calibration data's {name} holds {', '.join(map(str, unknown))}, which the model's forward does "
                f"not take. Leave it out; labels are known by one of the names {', '.join(LABELS)}."
            )
        inputs = {key: value for key, value in item.items() if key not in unknown}
        return Example((), inputs), item[unknown[0]] if unknown else None
    if isinstance(item, (tuple, list)) and item:
        wanted = len(example.args) + len(example.kwargs)
        if len(item) == 2 and isinstance(item[0], Mapping) and not isinstance(next(iter(example.args), None), Mapping):
            return _parted(item[0], model, example, name)[0], item[1]
        if len(item) == wanted + 1:
            return _arguments(tuple(item[:-1]), model, example), item[-1]
        if len(item) <= wanted or _binds(model, item):
            return _arguments(tuple(item), model, example), None
        raise InputError(
            f"The calibration data's {name} has {len(item)} items, and the example input has {wanted}; give as many, "
            "or one more for labels."
        )
    raise InputError(f"The calibration data's {name} is a {type(item).__name__}; it has to be {KINDS}.")


def _arguments(values: tuple[Any, ...], model: nn.Module, example: Example) -> Example:
    """Give the values the names that the example's arguments have."""
    if example.args or not example.kwargs:
        return Example(values, {})
    order = [name for name in inspect.signature(model.forward).parameters if name in example.kwargs]
    if len(order) < len(values):
        order = list(example.kwargs)
    return Example((), dict(zip(order, values, strict=False)))


def _binds(model: nn.Module, values: Iterable[Any]) -> bool:
    try:
        inspect.signature(model.forward).bind(*values)
    except TypeError:
        return False
    return True


@contextlib.contextmanager
def _random_state_kept(value: Any) -> Iterator[None]:
    """Draw from the user's data without advancing their random state or a DataLoader's generator."""
    with contextlib.ExitStack() as after, torch.random.fork_rng(devices=[]):
        after.callback(random.setstate, random.getstate())
        after.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 - the user's, whatever they draw with
        if isinstance(own := getattr(value, "generator", None), torch.Generator):
            after.callback(own.set_state, own.get_state())
        yield
