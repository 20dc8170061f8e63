"""Remove whole residual blocks: find them in the graph, try the model without each, and prove what is left.

The losses are measured one block at a time on the calibration inputs, as in ShortGPT (Men et al. 2024,
arXiv:2403.03853), with the model's own output or the user's score in place of a similarity inside the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Interpreter, Node
from torch.utils import _pytree as pytree

from ...core.copying import copied, in_float32
from ...core.errors import NothingFitsError, PruneError, first_line
from ...core.example import Example
from ...core.outputs import tensors_of
from ..allocation import leave_dense
from ..equivalence import TOLERANCE, draw_weights, relative_difference
from ..graph.trace import GraphTrace, tensors_of_model, trace
from ..layers import layers_with_weights
from ..method import Method, Tell
from ..sensitivity import ROWS, first_rows, output_error
from .find import ResidualBlock, find_blocks
from .remove import Removed, is_listed, names_left, remove_blocks

__all__ = ["Blocks", "Removed", "Shortened", "names_left", "remove_blocks"]


@dataclass(frozen=True)
class Shortened:
    """The model with fewer blocks, the names of the blocks found, and why those that stay do.

    `losses` say what the output (its relative error) or the score loses without a block alone.
    """

    model: nn.Module
    removed: tuple[Removed, ...]
    losses: Mapping[str, float]
    reasons: Mapping[str, str]
    scored: bool

    def loss(self, name: str) -> str:
        """Say what is lost without one block."""
        lost = self.losses[name]
        return f"the score falls by {lost:.3g}" if self.scored else f"the output changes by {lost:.2%}"


@dataclass(frozen=True)
class Blocks:
    """The residual blocks of a model, tried once: what is lost without each, how it comes out, and why others stay."""

    dense: nn.Module
    plain: nn.Module
    example: Example
    recorded: GraphTrace
    blocks: Mapping[str, ResidualBlock]
    losses: Mapping[str, float]
    ways: Mapping[str, Removed]
    reasons: Mapping[str, str]
    scored: bool

    @classmethod
    def of(cls, dense: nn.Module, example: Example, method: Method, progress: Tell = lambda _block: None) -> Blocks:
        plain, inputs = in_float32(dense), example.as_float32()
        recorded = trace(plain, inputs)
        blocks = {} if recorded.only_tensors else {block.name: block for block in find_blocks(plain, recorded)}
        kept = _named_dense(dense, blocks, method)
        reasons = dict.fromkeys(kept, "it was named to stay dense")
        losses, ways = dict[str, float](), dict[str, Removed]()
        if len(blocks) - len(kept) > 1:
            losses, ways, faults = _tried(dense, [name for name in blocks if name not in kept], method, progress)
            reasons |= faults
        scored = method.allocation == "sensitivity:score"
        return cls(dense, plain, inputs, recorded, blocks, losses, ways, reasons, scored)

    @property
    def cheapest(self) -> list[str]:
        """The blocks that can go, those that the model loses least by first; one block always stays."""
        return sorted(self.losses, key=lambda name: self.losses[name])[: len(self.blocks) - 1]

    def without(self, sparsity: float) -> Shortened:
        """Return a copy without the share `sparsity` of the blocks, those that it loses least by.

        Raises PruneError where there are no such blocks, where the share is less than one or all of them, or where the
        copy does not compute what the dense model computes without their branches.
        """
        chosen = self.cheapest[: round(sparsity * len(self.blocks))]
        if not chosen:
            raise _nothing_to_remove(self.recorded, self.blocks, self.reasons, sparsity)
        removed = tuple(self.ways[name] for name in self.blocks if name in chosen)
        gone = [self.blocks[each.name] for each in removed]
        proven = _proven(self.plain, self.recorded, self.example, gone, removed)
        model = copied(self.dense)
        remove_blocks(model, proven)
        found = Shortened(model, proven, self.losses, self.reasons, self.scored)
        stay = {name: f"without it alone, {found.loss(name)}" for name in self.losses if name not in chosen}
        return replace(found, reasons={**self.reasons, **stay})


def _named_dense(dense: nn.Module, blocks: Mapping[str, ResidualBlock], method: Method) -> set[str]:
    layers = [name for name, _ in layers_with_weights(dense)]
    named = leave_dense([*layers, *(name for name in blocks if name not in layers)], method.dense)
    return {block for block in blocks if any(f"{name}.".startswith(f"{block}.") for name in named)}


def _nothing_to_remove(
    recorded: GraphTrace, blocks: Mapping[str, ResidualBlock], reasons: Mapping[str, str], sparsity: float
) -> NothingFitsError:
    cure = "Choose another --pattern, such as channel."
    if recorded.only_tensors:
        return NothingFitsError(
            "torch.export cannot read this model's graph, in which residual blocks are looked for.", cure
        )
    if len(blocks) < 2:
        few = f"only one, {next(iter(blocks))}" if blocks else "none"
        return NothingFitsError(
            "The pattern depth removes residual blocks, modules that add to a tensor and give it back in its shape, "
            f"and keeps at least one; this model has {few}.",
            cure,
        )
    if round(sparsity * len(blocks)) < 1:
        enough = math.ceil(100 / len(blocks)) / 100
        return NothingFitsError(
            f"--sparsity {sparsity:g} of {len(blocks)} residual blocks is less than one.",
            f"Give at least {enough:g}, or another --pattern.",
            enough,
        )
    said = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:4])
    return NothingFitsError(f"None of the {len(blocks)} residual blocks of this model can be removed. {said}.", cure)


def _tried(
    dense: nn.Module, names: Sequence[str], method: Method, progress: Tell
) -> tuple[dict[str, float], dict[str, Removed], dict[str, str]]:
    """Run the model without each block; return what it loses, how the block was taken out, and why others cannot be."""
    losses, ways, faults = dict[str, float](), dict[str, Removed](), dict[str, str]()
    loss = _loss(dense, method)
    for at, name in enumerate(names, 1):
        progress(f"without block {at} of {len(names)}")
        for listed in (True, False) if is_listed(dense, name) else (False,):
            way = Removed(name, listed)
            try:
                lost = loss(_without(dense, [way]))
            except Exception as error:  # noqa: BLE001 - whatever the user's forward raises, it does not run without it
                faults[name] = f"the model does not run without it ({first_line(error)})"
                continue
            if math.isfinite(lost):
                losses[name], ways[name] = lost, way
                faults.pop(name, None)
                break
            faults[name] = "without it, the output holds NaN or infinite values"
    return losses, ways, faults


def _without(model: nn.Module, blocks: Sequence[Removed]) -> nn.Module:
    """Return a copy without the blocks that shares its weights with the model."""
    short = copied(model, {id(tensor): tensor for tensor in tensors_of_model(model).values()}).eval()
    remove_blocks(short, blocks)
    return short


def _loss(dense: nn.Module, method: Method) -> Callable[[nn.Module], float]:
    if method.allocation == "sensitivity:score" and method.score is not None:
        score = method.score
        best = score(dense)
        return lambda model: best - score(model)
    assert method.calibration is not None
    batches = first_rows(method.calibration.batches, ROWS)

    def run(model: nn.Module) -> list[list[Tensor]]:
        with torch.random.fork_rng(devices=[]):
            return [[out for out in batch.outputs(model) if out.is_floating_point()] for batch in batches]

    wanted = run(dense)

    def error(model: nn.Module) -> float:
        found = output_error(wanted, run(model))
        return math.inf if found is None else found

    return error


def _proven(
    plain: nn.Module,
    recorded: GraphTrace,
    example: Example,
    blocks: Sequence[ResidualBlock],
    removed: Sequence[Removed],
) -> tuple[Removed, ...]:
    """Return the way of removal that computes what the dense graph does without the blocks; raises PruneError."""
    weights = draw_weights(plain)
    given = recorded.constants | {place: weights[name].clone() for place, name in recorded.names.items()}
    leaves = pytree.tree_leaves((example.args, example.kwargs))
    given |= dict(zip(recorded.inputs, leaves, strict=True))
    places = [node.name for node in recorded.graph.graph.nodes if node.op == "placeholder"]
    with torch.no_grad():
        expected = tensors_of(_WithoutBlocks(recorded, blocks).run(*(given[name] for name in places)))
    fault = ""
    for ways in dict.fromkeys((tuple(removed), tuple(replace(each, listed=False) for each in removed))):
        memo: dict[int, Any] = {}
        for name, tensor in tensors_of_model(plain).items():
            own = weights[name].clone()
            memo.setdefault(id(tensor), nn.Parameter(own, False) if isinstance(tensor, nn.Parameter) else own)
        short = copied(plain, memo).eval()
        try:
            remove_blocks(short, ways)
            outputs = example.outputs(short)
        except Exception as error:  # noqa: BLE001 - whatever the user's forward raises, it means the same
            fault = fault or f"it does not run ({first_line(error)})"
            continue
        if [t.shape for t in outputs] == [t.shape for t in expected]:
            difference = relative_difference(outputs, expected)
            if difference <= TOLERANCE:
                return ways
            fault = fault or f"its output is off by {difference:.1e} of its largest value"
        fault = fault or "its output changes its shape"
    raise PruneError(
        f"Without {', '.join(each.name for each in removed)}, the model does not compute what the dense one computes "
        f"without their branches: {fault}. Keep some of them with --dense, or choose another --pattern."
    )


class _WithoutBlocks(Interpreter):
    """Runs the dense graph, and passes the stream by the blocks."""

    def __init__(self, recorded: GraphTrace, blocks: Sequence[ResidualBlock]) -> None:
        super().__init__(recorded.graph)
        self.within = {node: block for block in blocks for node in block.nodes}
        self.streams: dict[str, Any] = {}

    def run_node(self, n: Node) -> Any:
        block = self.within.get(n)
        if block is None:
            return super().run_node(n)
        if block.name not in self.streams:  # the first node of it, while the stream is still held
            self.streams[block.name] = self.env[block.stream]
        return self.streams[block.name] if n is block.out else None
