"""What each block is called with: taken from one pass of the model around blocks that only hand their input on."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..core.errors import InputError, first_line
from ..core.example import Example
from ..pruning.replay import Enough
from ..pruning.sequential import evaluation
from .skeleton import Skeleton

TOKENS = 4096  # of one pass; more rows make several
MOST_BATCHES = 128
KINDS = "a tensor of token numbers [rows, length], a dict of the model's inputs, a list of those, or a DataLoader"


class _Hidden:
    """Stands in a call for the activations that come from the block before."""


HIDDEN = _Hidden()


@dataclass
class Calls:
    """`of[block]` has one call for each batch, with HIDDEN in the place of its activations; `first` are block 0's."""

    of: dict[str, list[Example]] = field(default_factory=dict)
    first: list[Tensor] = field(default_factory=list)

    def with_hidden(self, block: str, at: int, hidden: Tensor) -> Example:
        call = self.of[block][at]
        leaves, spec = pytree.tree_flatten((call.args, call.kwargs))
        args, kwargs = pytree.tree_unflatten([hidden if leaf is HIDDEN else leaf for leaf in leaves], spec)
        return Example(args, kwargs)


def read_batches(value: Any) -> list[Example]:
    """Return calibration inputs as batches of at most 4096 tokens, or one row; raises InputError for others."""
    if isinstance(value, (Tensor, Mapping)):
        value = [value]
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InputError(f"The calibration data is a {type(value).__name__}; with --from it has to be {KINDS}.")
    found: list[Example] = []
    for at, item in enumerate(islice(value, MOST_BATCHES)):
        if isinstance(item, Mapping):
            batch = Example((), {key: each for key, each in item.items() if key not in {"labels", "label"}})
        elif isinstance(item, Tensor):
            batch = Example((item,), {})
        else:
            raise InputError(f"Batch {at} of the calibration data is a {type(item).__name__}; it has to be {KINDS}.")
        if not batch.tensors or batch.tensors[0].ndim < 2 or not batch.tensors[0].numel():
            shapes = ", ".join(str(tuple(t.shape)) for t in batch.tensors) or "no tensor"
            raise InputError(f"Batch {at} of the calibration data is {shapes}; give {KINDS}.")
        batch = batch.on_cpu()
        rows = max(1, TOKENS // batch.tensors[0].shape[1])
        found += [batch.taken(part) for part in torch.split(torch.arange(batch.batch), rows)]
    if not found:
        raise InputError("The calibration data is empty; give at least one batch, e.g. --calib ids.")
    return found


def fingerprint(batches: Iterable[Example]) -> str:
    digest = hashlib.sha256()
    for batch in batches:
        for tensor in batch.tensors:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + _bytes(tensor))
    return digest.hexdigest()[:16]


def calls_of(skeleton: Skeleton, batches: list[Example]) -> Calls:
    """Run the model around its blocks; raises InputError where it does not run, or works between its blocks too."""
    takes = inspect.signature(skeleton.model.forward).parameters
    batches = [
        Example(each.args, {"use_cache": False} | each.kwargs) if "use_cache" in takes else each for each in batches
    ]
    found = Calls()
    with evaluation(skeleton.model):
        packed = _packed(skeleton, batches[0])
        recorder = _Recorder(skeleton, packed, found)
        with skeleton.standing_in(recorder.forward):
            for at, batch in enumerate(batches):
                recorder.begin()
                _run(skeleton, batch, at)
                recorder.end()
    return found


class _Recorder:
    def __init__(self, skeleton: Skeleton, packed: int | None, found: Calls) -> None:
        self.blocks, self.packed, self.found = skeleton.blocks, packed, found
        self.kind = type(skeleton.model).__name__
        self.pool: dict[Any, Tensor] = {}
        self.reached: list[str] = []
        self.given: Tensor | None = None

    def begin(self) -> None:
        self.reached, self.given = [], None

    def end(self) -> None:
        if tuple(self.reached) != self.blocks:
            self._refuse("it does not run each of them once, one after the other")

    def forward(self, block: str) -> Any:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            hidden = hidden_of(args, kwargs)
            if self.given is None:
                self.found.first.append(hidden.detach().clone())
            elif hidden is not self.given:
                self._refuse(f"it computes something of its own before {block}")
            self.reached.append(block)
            taken = pytree.tree_map_only(Tensor, lambda t: HIDDEN if t is hidden else self._kept(t), (args, kwargs))
            self.found.of.setdefault(block, []).append(Example(*taken))
            if block == self.blocks[-1]:
                raise Enough
            self.given = hidden.clone()
            return self.given if self.packed is None else (self.given, *[None] * (self.packed - 1))

        return stand_in

    def _kept(self, tensor: Tensor) -> Tensor:
        """Return the one copy of a tensor's values: blocks and batches have masks and positions in common."""
        key = (tuple(tensor.shape), tensor.dtype, hashlib.sha256(_bytes(tensor)).digest())
        return self.pool.setdefault(key, tensor.detach().clone())

    def _refuse(self, why: str) -> None:
        raise InputError(
            f"--from carries activations from block to block, and that is not all that {self.kind} does with its "
            f"{len(self.blocks)} blocks: {why}. Load it with from_pretrained, and prune it in memory."
        )


def hidden_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    found = args[0] if args else kwargs.get("hidden_states")
    assert isinstance(found, Tensor)
    return found


def output_of(output: Any) -> Tensor:
    """Return the activations in what a block gave: that, or the first of it."""
    found = output[0] if isinstance(output, (tuple, list)) else output
    assert isinstance(found, Tensor)
    return found


def _packed(skeleton: Skeleton, batch: Example) -> int | None:
    """Run the first block as it is, and say how many things it returns; None for the activations alone."""
    seen: list[Any] = []

    def forward(name: str) -> Any:
        own = skeleton.model.get_submodule(name)
        plain = type(own).forward

        def first(*args: Any, **kwargs: Any) -> Any:
            skeleton.fill(name)
            seen.append(plain(own, *args, **kwargs))
            skeleton.empty(name)
            raise Enough

        return first

    with skeleton.standing_in(forward):
        _run(skeleton, batch, 0)
    if not seen:
        raise InputError(f"The calibration data reaches no block of {type(skeleton.model).__name__}. Give {KINDS}.")
    return len(seen[0]) if isinstance(seen[0], (tuple, list)) else None


def _run(skeleton: Skeleton, batch: Example, at: int) -> None:
    try:
        batch.through(skeleton.model)
    except Enough:
        pass
    except InputError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in batch.tensors)
        raise InputError(
            f"The model does not run on batch {at} of the calibration data, of shape {shapes}: {first_line(error)}. "
            f"Give {KINDS}."
        ) from error


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
