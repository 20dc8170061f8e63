"""`--allocation mixed` with `--from`: each layer is pruned alone in its block, and the block's own error measured."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.pattern import NM, Block, Unstructured
from ..pruning.fitting import find_fitting
from ..pruning.planning import zero_smallest
from ..pruning.reading import read_weights
from ..pruning.sensitivity import LEVELS, output_error
from ..pruning.sequential import evaluation
from ..report import Curve, Point, Sensitivity
from .calls import output_of
from .line import Line


def scan(line: Line) -> Sensitivity:
    """Return each layer's curve: the error of its block's output for the first batch, all other layers dense.

    One block's weights are in memory at a time, as later; weights go by magnitude. It takes 1 + layers x levels passes
    of each block.
    """
    hidden, curves = line.calls.first[0], []
    for number, name in enumerate(line.skeleton.blocks):
        line.progress("prune", f"scan, block {number + 1} of {len(line.skeleton.blocks)}")
        hidden, own = _scan_block(line, name, hidden)
        curves += own
        line.skeleton.empty(name)
    passes = len(line.skeleton.blocks) + sum(len(curve.points) for curve in curves)
    return Sensitivity("output error", tuple(curves), len(line.calls.first[0]), passes)


def _scan_block(line: Line, name: str, hidden: Tensor) -> tuple[Tensor, list[Curve]]:
    """Return what the dense block gives, and the curves of its layers under their full names."""
    block, pattern = line.skeleton.fill(name), line.choice.pattern
    assert isinstance(pattern, (NM, Block, Unstructured))
    group = pattern.rows * pattern.columns if isinstance(pattern, Block) else 1
    call, curves = line.calls.with_hidden(name, 0, hidden), []
    with evaluation(block):
        wanted = output_of(call.through(block))
        weights = read_weights(block, call)
        left_dense = [each.name for each in weights if f"{name}.{each.name}" in line.left_dense]
        fitting, _ = find_fitting(block, weights, {each.name: pattern for each in weights}, left_dense)
        for layer, weight in fitting.items():
            before, errors = weight.of(block).detach().clone(), {}
            for level in LEVELS:
                share = zero_smallest(fitting, pattern, block, layer, level)
                if share > 0 and share not in errors:  # few blocks: several levels come to the same
                    errors[share] = output_error([[wanted]], [[output_of(call.through(block))]])
                with torch.no_grad():
                    weight.of(block).copy_(before)
            points = tuple(Point(share, error) for share, error in sorted(errors.items()))
            curves.append(Curve(f"{name}.{layer}", before.numel(), points, group))
    return wanted, curves
