"""Mistakes of the plan: the pattern, the chip and the layers do not go together. Known before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.errors import counted
from ..core.pattern import NM, Block, Channel, Unstructured
from ..core.rules import Rule
from ..report import Layer, Returned, Skipped
from ..report.words.facts import some
from .seen import Found, Seen, is_depthwise

MANY_DEPTHWISE = 4  # at least one layer in four
BOUGHT = 0.5  # of what the work that is gone would be worth in time


def unstructured(seen: Seen) -> Iterator[Found]:
    if seen.row is None or not isinstance(seen.pattern, Unstructured) or _pays(seen):
        return
    instead = seen.offered[0]
    yield Found(
        f"On {seen.row.chip}, {seen.report.request.toolchain} skips no single weights.",
        f"Use --pattern {instead}.",
        line=seen.line_of(instead),
    )


def mismatched(seen: Seen) -> Iterator[Found]:
    if seen.row is None or not isinstance(seen.pattern, (NM, Block)) or _pays(seen):
        return
    instead = seen.offered[0]
    yield Found(
        f"{seen.report.request.toolchain} has no kernels for {seen.pattern} on {seen.row.chip}.",
        f"Use what it gains from: --pattern {instead}.",
        line=seen.line_of(instead),
    )


def _pays(seen: Seen) -> bool:
    """Say whether the judge has kernels for the pattern, ran one, or is not known."""
    return not seen.offered or seen.has_kernels or any(layer.used for layer in seen.report.layers)


def along_the_outputs(seen: Seen) -> Iterator[Found]:
    arrived = seen.report.arrived
    wants = isinstance(seen.pattern, NM) or (seen.judge is not None and seen.judge.kernels is not None)
    if arrived is None or not arrived.across or not wants:
        return
    yield Found(
        f"The model came with zeros that are 2:4 along the outputs of {some(arrived.across)}, not along the inputs.",
        "Prune the dense model along the inputs, as this package does, and train with the zeros held.",
        arrived.across,
    )


def below_the_minimum(seen: Seen) -> Iterator[Found]:
    for rule in _rules(seen, "HWP104"):
        layers: list[Layer | Returned] = [*seen.report.layers, *seen.report.returned]
        broken = [layer for layer in layers if not rule.holds(seen.facts(layer))]
        if broken:
            least = min((seen.facts(layer) for layer in broken), key=lambda each: each.rows or 0)
            yield Found(
                f"{counted(len(broken), 'layer')} of {len(layers)}, {some([each.name for each in broken])}: "
                f"{rule.broken(least)}.",
                "Leave them whole with --dense, or give the kernels more work with a larger --batch.",
                tuple(each.name for each in broken),
                _sentence(rule.says),
            )


def unaligned(seen: Seen) -> Iterator[Found]:
    for rule, layers in _broken(seen, "HWP105"):
        finding = f" {seen.row.finding}" if seen.row is not None and seen.row.finding else ""
        blocks = next((each for each in seen.offered if isinstance(each, Block)), None)
        yield Found(
            f"{counted(len(layers), 'layer')} in blocks of {seen.pattern}: {some(layers)}.",
            "Use blocks that fill the unit, or remove whole channels."
            if blocks is None
            else f"Use --pattern {blocks}.",
            layers,
            f"{_sentence(rule.says)}{finding}",
            None if blocks is None else seen.line_of(blocks),
        )


def unrounded(seen: Seen) -> Iterator[Found]:
    for rule, layers in _broken(seen, "HWP106"):
        multiple = rule.multiple or 8
        yield Found(
            f"{counted(len(layers), 'layer')} kept channels in no multiple of {multiple}: {some(layers)}."
            + _saved(seen),
            f"Use --pattern channel/{multiple}.",
            layers,
            _sentence(rule.says),
            seen.line(pattern=Channel(multiple)),
        )


def _saved(seen: Seen) -> str:
    """Say where most of the work that is gone bought no time."""
    totals, timed = seen.report.totals, seen.report.timed
    speedup = None if timed is None else timed.comparison.speedup
    if not totals.macs or not totals.pruned_macs or speedup is None:
        return ""
    work = totals.macs / totals.pruned_macs
    if speedup - 1 >= BOUGHT * (work - 1):
        return ""
    return f" {work:.1f}x fewer multiply-accumulates gave {speedup:.2f}x in time."


def not_supported(seen: Seen) -> Iterator[Found]:
    everything: list[Layer | Skipped | Returned] = [*seen.report.layers, *seen.report.skipped, *seen.report.returned]
    for rule in _rules(seen, "HWP107"):
        broken = tuple(layer.name for layer in everything if not rule.holds(seen.facts(layer)))
        if broken:
            first = next(layer for layer in everything if layer.name == broken[0])
            yield Found(
                f"{counted(len(broken), 'layer')} that the chip does not take: {some(broken)}; "
                f"{rule.broken(seen.facts(first))}.",
                "Replace them in the model before pruning; what falls back to another processor gains nothing.",
                broken,
                _sentence(rule.says),
            )


def depthwise(seen: Seen) -> Iterator[Found]:
    judge, layers = seen.judge, seen.report.layers
    if judge is None or not seen.makes_zeros or not seen.has_kernels:
        return
    wasted = [layer for layer in layers if is_depthwise(layer) and not layer.used]
    ran_dense = any(layer.used is False for layer in wasted)
    if wasted and (ran_dense or (judge.against and len(wasted) * MANY_DEPTHWISE >= len(layers))):
        yield Found(
            f"{counted(len(wasted), 'layer')} of {len(layers)}, {some([each.name for each in wasted])}, are depthwise, "
            f"which {judge.toolchain} runs dense.",
            "Leave them whole with --dense, or remove whole channels.",
            tuple(each.name for each in wasted),
            line=seen.line(dense=(*seen.report.request.dense, *(each.name for each in wasted))),
        )


def masked(seen: Seen) -> Iterator[Found]:
    arrived = seen.report.arrived
    if arrived is None:
        return
    yield from _masked(seen, arrived.masked, "torch.nn.utils.prune.remove", " In the pruned copy they are folded.")
    yield from _masked(seen, arrived.parametrized, "torch.nn.utils.parametrize.remove_parametrizations", "")


def _masked(seen: Seen, names: tuple[str, ...], remove: str, ours: str) -> Iterator[Found]:
    if names:
        layer, _, weight = names[0].rpartition(".")
        yield Found(
            f"Your model multiplies {some(names)} by masks before each pass.{ours}",
            "Fold them into the weights, one by one, before you time or export your model.",
            names,
            line=f'{remove}({seen.report.request.model}.get_submodule("{layer}"), "{weight}")',
        )


def _rules(seen: Seen, code: str) -> Iterator[Rule]:
    """Yield the row's rules of a code, and those under which its judge's kernels pay, each once."""
    if seen.row is None:
        return
    kernels = None if seen.judge is None else seen.judge.kernels
    rules = (*seen.row.rules, *(kernels.pays if kernels is not None else ()))
    yield from (rule for rule in dict.fromkeys(rules) if rule.code == code)


def _broken(seen: Seen, code: str) -> Iterator[tuple[Rule, tuple[str, ...]]]:
    for rule in _rules(seen, code):
        layers = tuple(layer.name for layer in seen.report.layers if _breaks(rule, seen, layer))
        if layers:
            yield rule, layers


def _breaks(rule: Rule, seen: Seen, layer: Layer) -> bool:
    """Say whether pruning made a layer break a rule; ignore layers that keep their channels when others lose some."""
    after = seen.facts(layer)
    before = type(after).of_weight(layer.kind, layer.shape)
    return not (isinstance(seen.pattern, Channel) and before.outputs == after.outputs) and not rule.holds(after)


def _sentence(said: str) -> str:
    return f"{said[:1].upper()}{said[1:]}."
