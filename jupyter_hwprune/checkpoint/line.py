"""One block after the other: its weights read, its layers pruned on what the blocks before give now, and written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import overload

import torch
from torch import Tensor, nn

from ..choose.choice import Choice
from ..core.errors import PruneError
from ..core.example import Example
from ..core.pattern import NM, Block, Unstructured
from ..pruning.calibration import Calibration
from ..pruning.fitting import find_fitting
from ..pruning.method import Method
from ..pruning.plan import Part, Plan, uniform
from ..pruning.reading import read_weights
from ..pruning.sequential import evaluation
from ..pruning.weights import zero_weights
from ..report import PrunedBlock, Skipped
from ..toolchains.process import Progress
from . import memory
from .calls import Calls, output_of
from .journal import Done, Output, Stream
from .skeleton import Skeleton

STREAMS: tuple[Stream, ...] = ("dense", "pruned")


@dataclass(frozen=True)
class Line:
    """The blocks and what runs through them; `held` is what the process took before, in bytes, None if unknown.

    `shares` are those of the layers by their full names; without, all lose the same.
    """

    skeleton: Skeleton
    calls: Calls
    output: Output
    choice: Choice
    left_dense: frozenset[str]
    progress: Progress
    held: int | None
    shares: Mapping[str, float] | None = None

    def begin(self) -> None:
        """Write what goes into the first block."""
        for at, hidden in enumerate(self.calls.first):
            for stream in STREAMS:
                self.output.keep(0, stream, at, hidden)

    def prune(self, number: int, file: int) -> Done:
        """Prune the block with this number, and write it as this file and what it gives as the next one's input."""
        name = self.skeleton.blocks[number]
        start, counts = time.monotonic(), memory.begin_peak()
        self.progress("prune", self._place(number))
        block = self.skeleton.fill(name)
        with evaluation(block):
            for at, call in enumerate(self._batches(number, "dense")):
                self.output.keep(number + 1, "dense", at, output_of(call.through(block)))
            done = self._zeroed(number, block)
            tensors = dict(self._rounded(name, block))
            error = self._error(number, block)
        self.output.write(file, tensors)
        self.skeleton.empty(name)
        peak = memory.peak_bytes() if counts else None
        above = None if peak is None or self.held is None else max(0, peak - self.held)
        found = replace(done.block, error=error, seconds=time.monotonic() - start, peak_bytes=above)
        return replace(done, block=found)

    def _zeroed(self, number: int, block: nn.Module) -> Done:
        """Zero the weights of each layer that fits the pattern, in place."""
        path, pattern, choice = self.skeleton.blocks[number], self.choice.pattern, self.choice
        assert isinstance(pattern, (NM, Block, Unstructured))
        batches = self._batches(number, "pruned")
        weights = read_weights(block, batches[0] if len(batches) else None)
        names = [each.name for each in weights]
        left_dense = [name for name in names if f"{path}.{name}" in self.left_dense]
        fitting, reasons = find_fitting(block, weights, dict.fromkeys(names, pattern), left_dense)
        before = _nonzero(block)
        if fitting:
            seen = None if choice.importance == "magnitude" else Calibration(batches, None)
            method = Method(choice.importance, calibration=seen, solver=choice.solver, resume=False)
            parts = uniform(fitting, pattern, choice.sparsity)
            if self.shares is not None:
                parts = {each: Part(pattern, self.shares[f"{path}.{each}"]) for each in fitting}
            tell = partial(self._tell, number)
            layers, skipped, raised = zero_weights(block, weights, Plan(parts, reasons), method, {}, None, tell)
        else:
            layers, raised = [], {}
            skipped = [Skipped(each.name, each.kind, each.shape, reasons[each.name]) for each in weights]
        left = _nonzero(block)
        total = sum(each.numel() for each in block.parameters())
        return Done(
            PrunedBlock(path, total, total - before + left, None, 0.0, None),
            tuple(replace(each, name=f"{path}.{each.name}") for each in layers),
            tuple(replace(each, name=f"{path}.{each.name}") for each in skipped),
            {f"{path}.{name}": damping for name, damping in raised.items()},
        )

    def _rounded(self, path: str, block: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Yield what is written, in the dtype of the files, and give the block these very values."""
        own = dict(block.named_parameters(remove_duplicate=False)) | dict(block.named_buffers())
        for name, tensor in own.items():
            stored = self.skeleton.stored.get(f"{path}.{name}")
            if stored is None:
                continue
            written = tensor.detach().to(self.skeleton.source.tensors[stored].dtype)
            with torch.no_grad():
                tensor.copy_(written)
            yield stored, written.contiguous()

    def _error(self, number: int, block: nn.Module) -> float | None:
        """Keep what the pruned block gives, and return how far that is from what the dense model gives."""
        batches = self._batches(number, "pruned")
        lost = energy = 0.0
        for at, call in enumerate(batches):
            own = output_of(call.through(block))
            if not bool(torch.isfinite(own).all()):
                raise PruneError(
                    f"The output of {self.skeleton.blocks[number]} for the calibration inputs holds NaN or infinite "
                    "values. Look at these inputs, or remove less."
                )
            wanted = self.output.kept(number + 1, "dense", at)
            lost += float((own - wanted).square().sum(dtype=torch.float64))
            energy += float(wanted.square().sum(dtype=torch.float64))
            self.output.keep(number + 1, "pruned", at, own)
        return lost / energy if energy > 0 else None

    def _batches(self, number: int, stream: Stream) -> _Batches:
        return _Batches(self, number, stream)

    def _place(self, number: int) -> str:
        return f"block {number + 1} of {len(self.skeleton.blocks)}"

    def _tell(self, number: int, layer: str) -> None:
        self.progress("prune", f"{self._place(number)}, {layer}")


@dataclass(frozen=True)
class _Batches(Sequence[Example]):
    """The calls of one block, each read from the disk when it is asked for."""

    line: Line
    number: int
    stream: Stream

    def __len__(self) -> int:
        return len(self.line.calls.first)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> list[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | list[Example]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        hidden = self.line.output.kept(self.number, self.stream, at)
        return self.line.calls.with_hidden(self.line.skeleton.blocks[self.number], at, hidden)


def _nonzero(block: nn.Module) -> int:
    return sum(int(each.count_nonzero()) for each in block.parameters())
