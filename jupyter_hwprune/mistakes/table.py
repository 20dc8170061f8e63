"""The mistakes by their codes: one row each, which the rules, the reports and the pages of the documentation share.

A code stays with its mistake for good. A new one is a row here, a rule in `plan` or `result`, and a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..report import CLIFF_CODE, Severity
from . import plan, result
from .seen import Found, Seen


@dataclass(frozen=True)
class Kind:
    """`why` it costs, `when` the rule finds it, and how to `fix` it; a rule finds nothing where a fact is unknown."""

    title: str
    severity: Severity
    why: str
    when: str
    fix: str
    rule: Callable[[Seen], Iterator[Found]]


KINDS: dict[str, Kind] = {
    "HWP101": Kind(
        "Unstructured sparsity without kernels for it",
        "error",
        "Scattered zeros save nothing in a dense kernel, and GPUs, TPUs and most CPU runtimes have no other kind.",
        "The pattern is unstructured, and the target's row does not offer it with this toolchain.",
        "Prune the pattern that the row offers: whole channels, blocks, or 2:4.",
        plan.unstructured,
    ),
    "HWP102": Kind(
        "Pattern and target do not match",
        "error",
        "A chip skips the zeros of one pattern at most, and multiplies those of every other.",
        "The pattern is n:m or blocks, and the toolchain has no kernels for it on this target.",
        "Prune the pattern that the row offers.",
        plan.mismatched,
    ),
    "HWP103": Kind(
        "n:m along the wrong axis",
        "error",
        "Sparse kernels compress along the reduction axis, the inputs: n:m along the outputs is unstructured to them.",
        "The model came with weights that hold 2:4 along the outputs and not along the inputs, and the target or the "
        "pattern is n:m.",
        "Prune the dense model again, along the inputs: groups lie in a row of weight[outputs, inputs].",
        plan.along_the_outputs,
    ),
    "HWP104": Kind(
        "Below a kernel's minimum",
        "warning",
        "A sparse kernel has a fixed cost, which a small layer does not earn back.",
        "A layer has fewer rows (batch times tokens or pixels), or fewer channels, than the chip's kernels need.",
        "Leave such layers whole with --dense, measure with the batch of your deployment, or remove channels.",
        plan.below_the_minimum,
    ),
    "HWP105": Kind(
        "Blocks do not line up with the matrix unit",
        "error",
        "A block that does not fill the unit shares it with weights that were kept, so no work is saved.",
        "The blocks' sides are not multiples of the side of the chip's matrix unit.",
        "Use blocks of the unit's size.",
        plan.unaligned,
    ),
    "HWP106": Kind(
        "Channels are not rounded",
        "warning",
        "Vector units and blocked layouts work on 8, 16 or 32 channels at once: an odd rest is padded, or takes a slow "
        "path, and a smaller layer can be the slower one.",
        "Channels were removed, and a layer's remaining ones are not a multiple of what the chip's row asks for.",
        "Round to the row's multiple: channel/8, for example.",
        plan.unrounded,
    ),
    "HWP107": Kind(
        "Layers or kernel sizes that the chip does not take",
        "warning",
        "What an accelerator cannot run goes back to the CPU, with copies in between, and no pruning helps it there.",
        "A layer, pruned or not, breaks a rule of the chip's row on kinds of layers or on the sizes of their kernels.",
        "Replace such layers in the model, and train, before you prune.",
        plan.not_supported,
    ),
    "HWP108": Kind(
        "Depthwise layers pruned for nothing",
        "warning",
        "A depthwise convolution has one input channel a group: there is hardly a product to skip, and sparse kernels "
        "leave it dense. Its few weights cost accuracy all the same.",
        "Depthwise layers got zeros of a pattern that the toolchain has kernels for, and ran dense; or they are a "
        "quarter of the layers for a runtime that is used for its zeros.",
        "Leave them whole with --dense, or remove whole channels, which makes them smaller.",
        plan.depthwise,
    ),
    "HWP109": Kind(
        "Masks left in place",
        "note",
        "A mask of torch.nn.utils.prune, or of torch.ao.pruning, multiplies the whole weight before each pass: the "
        "model is slower and twice as large, not smaller.",
        "The model that was given carries such masks.",
        "Fold them into the weights by torch.nn.utils.prune.remove, or parametrize.remove_parametrizations.",
        plan.masked,
    ),
    "HWP110": Kind(
        "Sparsity only on paper",
        "error",
        "Weights and multiply-accumulates that are zero look saved in a table; a dense kernel computes every one.",
        "Every kernel that was seen is dense, and the toolchain has no sparse one for the pattern.",
        "Take the pattern that the row offers, or make layers smaller.",
        result.on_paper,
    ),
    "HWP111": Kind(
        "A layer got slower",
        "warning",
        "A layer that gets slower uses up what the others gained.",
        "A layer's own kernel is slower than the dense one by more than the noise, in its channels or its sparse form.",
        "Leave it whole with --dense.",
        result.slower,
    ),
    CLIFF_CODE: Kind(
        "Accuracy cliff",
        "error",
        "Past the knee each further weight costs far more than the one before; no speed makes up for it.",
        "The score fell by more than a tenth of its size; or, without a score, a layer lost more than the knee of its "
        "sensitivity scan, with an output error above a tenth.",
        "Correct the weights that stay with --importance second-order, prune in steps with the fine-tune step as the "
        "cell, let --allocation sensitivity divide, or remove less.",
        result.cliff,
    ),
    "HWP113": Kind(
        "Timing too noisy to judge",
        "warning",
        "If two copies of one model differ by as much as the gain, the measurement cannot rule a gain out.",
        "The verdict is no measurable gain, but the interval or the noise floor could hide one of 15 % or more.",
        "Measure on a quiet machine, or with a larger batch.",
        result.noisy,
    ),
    "HWP114": Kind(
        "Sparse kernel requested but not used",
        "warning",
        "A compiler is free to take a dense kernel for sparse weights, for a shape, a data type or a fusion.",
        "The toolchain has kernels for the pattern, and a dense one ran; or the hardware counters saw no sparse "
        "operation where the kernel's name says sparse.",
        "Check the layer's shape and data type against the chip's rules, or leave it whole.",
        result.not_engaged,
    ),
    "HWP115": Kind(
        "Silent fallback to another processor",
        "warning",
        "Runtimes silently move what an accelerator cannot run to the CPU, which takes time, as do the copies.",
        "The runtime's profile places a layer on another processor than the one asked for.",
        "Replace the layer, or take another toolchain.",
        result.fell_back,
    ),
    "HWP116": Kind(
        "Something else would gain more",
        "warning",
        "int8, or another runtime, may give more for less accuracy; pruning has to beat or add to that.",
        "int8 alone gains more than this pruning, which adds nothing measurable to it; or the dense model in another "
        "runtime is as fast as the pruned one.",
        "Take that first, then prune on top of it.",
        result.something_else_buys_more,
    ),
    "HWP117": Kind(
        "Evidence weaker than the claim",
        "note",
        "A time on one chip says little about another, and a compiled file says nothing about time.",
        "The times are from a chip that only runs the same instructions; or the models were compiled and not timed.",
        "Run the same line on the chip, and join the two with %hwprune merge.",
        result.weak_evidence,
    ),
    "HWP118": Kind(
        "The dense baseline is not the best one",
        "note",
        "A gain over a slow dense model is partly the runtime's, not the pruning's.",
        "The dense model is faster in another of the target's runtimes than in the one that runs the pruned model.",
        "Compare with the fastest dense model, as the verdict does.",
        result.weak_baseline,
    ),
}
