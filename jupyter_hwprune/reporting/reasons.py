"""Explain the verdict in plain sentences, each based on a number in the report."""

import math
from collections.abc import Iterator, Sequence

from ..choose.choice import Choice
from ..core.errors import counted
from ..core.pattern import NM, Block, Channel, Depth, Pattern, Unstructured
from ..core.rules import LayerFacts, Rule
from ..measure.candidates import Findings
from ..measure.rating import served
from ..pruning import Pruned
from ..report import Comparison, Layer, Returned, Scores, Totals, best_baseline, deciding
from ..report.words.facts import some
from ..report.words.verdict import named

FAR_OFF = 0.15  # of the largest value, for an int8 model's outputs
LAUNCH_BOUND = 1.3
MANY_DEPTHWISE = 4  # at least one layer in four


def explain(choice: Choice, found: Findings, pruned: Pruned) -> tuple[str, ...]:
    return (
        *int8_and_pruning(found),
        *_fastest_runtime(choice, found),
        *_kernels(choice, found),
        *_dense_among_sparse(choice, found),
        *_slower_sparse(choice, found),
        *_advice(choice, found),
        *_by_name(choice),
        *_returned(choice, pruned),
        *_counters(found),
        *_seldom_pays(choice, pruned),
        *_launches(found),
        *_arithmetic(choice, found, pruned.totals),
        *_rules(choice, found),
        *choice.remarks,
    )


def int8_and_pruning(found: Findings) -> Iterator[str]:
    """Say what int8 and pruning bought, each alone and on top of the other, and where int8 buys nothing."""
    corners = found.corners
    if corners is None or not corners.rows:
        return
    _, pruned, dense_int8, both = corners.rows
    fastest = min(corners.rows, key=lambda each: each.ms)
    yield (
        f"The fastest of the four is {named(fastest)}. int8 alone buys {_bought(dense_int8.speed)}, pruning alone "
        f"{_bought(pruned.speed)}, both {_bought(both.speed)}; on top of int8, pruning buys {_bought(corners.on_int8)}."
    )
    if dense_int8.speed.verdict in {"slower", "no measurable gain"}:
        chip = "this CPU has no VNNI or AMX instructions, which its gain comes from"
        if corners.fast_int8 is None:
            chip = "whether this CPU has instructions for it is not known"
        elif corners.fast_int8:
            chip = f"this CPU has them ({', '.join(corners.fast_int8)}), but this model has too little for them to do"
        dense, small = corners.rows[0].file_bytes, dense_int8.file_bytes
        smaller = dense is not None and small is not None and small < dense
        yield f"int8 buys no time by itself here: {chip}.{' Its files are smaller.' if smaller else ''}"
    off = [
        f"{named(each)} {each.error:.0%}" for each in corners.rows if each.error is not None and each.error > FAR_OFF
    ]
    if off:
        yield (
            f"int8 outputs are far from torch's, as a share of the largest value: {' and '.join(off)}. Give "
            "more inputs like those of your data with --calib, and judge by a score (--eval)."
        )
    if both.score is not None and pruned.score is not None and both.score < pruned.score:
        yield f"int8 lowered the pruned model's score from {pruned.score:.4g} to {both.score:.4g}, as compiled."


def _fastest_runtime(choice: Choice, found: Findings) -> Iterator[str]:
    """Say which runtime to deploy, where it is another than that of the layers and the files."""
    runtimes, own = found.runtimes, choice.judge.toolchain
    if runtimes is None or runtimes.fastest_pruned.toolchain == own:
        return
    fastest = runtimes.fastest_pruned
    ahead = f"{runtimes.rows[0].pruned_ms / fastest.pruned_ms:.2f}x as fast with {fastest.toolchain} as with {own}"
    yield (
        f"The pruned model is {ahead}, whose layers and files these are. --toolchain {fastest.toolchain} gives those "
        "of the fastest."
    )


def _bought(speed: Comparison) -> str:
    return {"no measurable gain": "nothing measurable", "not measured": "an unmeasured amount"}.get(
        speed.verdict, f"{speed.speedup or 0:.2f}x"
    )


def explain_written(choice: Choice, found: Findings) -> tuple[str, ...]:
    """Explain the kernels of a model that arrived already pruned; there is no other pattern to advise."""
    return (*_kernels(choice, found), *_dense_among_sparse(choice, found), *_by_name(choice), *choice.remarks)


def fall(scores: Scores | None, *, trained: bool = False) -> tuple[str, ...]:
    """Say by how much the score fell, if it did, and warn if that is more than a tenth of its size."""
    if scores is None or scores.pruned >= scores.dense:
        return ()
    cliff = scores.is_cliff(scores.pruned)
    said = f"{'An accuracy cliff: the' if cliff else 'The'} score fell from {scores.dense:.4g} to {scores.pruned:.4g}"
    when, cure = " without training", "Train the pruned copy with its zeros held, or remove less."
    if trained:
        when, cure = ", even after training", "Train longer, prune in more --steps, or remove less."
    return (f"{said}{when}, {_size_of_fall(scores.dense, scores.pruned)}. {cure}",)


def _size_of_fall(dense: float, pruned: float) -> str:
    """Measure a fall by what the score's range allows: as far as 1 for a share, from zero down for a negated loss."""
    by = f"by {dense - pruned:.2g}"
    if dense < 0:
        return f"{by}, {pruned / dense:.3g} times as far below zero"
    if dense <= 1 and pruned >= 0:
        far = f"its distance from 1 rose from {1 - dense:.2g} to {1 - pruned:.2g}"
        return f"{by}: {far}" + (f", {(1 - pruned) / (1 - dense):.3g} times" if dense < 1 else "")
    return f"{by}, {(dense - pruned) / dense:.0%} of it" if dense else by


def _kernels(choice: Choice, found: Findings) -> Iterator[str]:
    """Say whether the kernels that ran profit from the zeros."""
    told = [layer.used for layer in found.layers if layer.used is not None]
    if isinstance(choice.pattern, Channel) or not told:
        return
    layers, toolchain, untold = len(found.layers), choice.judge.toolchain, len(found.layers) - len(told)
    if not any(told):
        which = f"the {len(told)} of {layers} reported" if untold else f"all {layers}"
        said = f"{toolchain} ran dense kernels for {which} pruned layers"
        yield f"{said}: they multiply every zero, so {choice.pattern} saves no time."
        return
    more = f"; for {untold} more, kernel names and utilisation do not show it" if untold else ""
    yield f"{toolchain} ran a sparse kernel for {sum(told)} of {layers} pruned layers{more}."


def _dense_among_sparse(choice: Choice, found: Findings) -> Iterator[str]:
    """Name the layers that ran a dense kernel while others ran a sparse one."""
    offered = {offer.pattern for offer in choice.judge.offers}
    if choice.pattern in offered and any(layer.used for layer in found.layers):
        kernels: dict[str, list[str]] = {}
        for layer in found.layers:
            if layer.used is False:
                kernels.setdefault(layer.pruned_kernel or "", []).append(layer.name)
        yield from (f"Still dense: {some(names)}, with {kernel}." for kernel, names in kernels.items())


def _slower_sparse(choice: Choice, found: Findings) -> Iterator[str]:
    """Name the layers that a sparse kernel made slower."""
    slower = [layer.name for layer in found.layers if layer.used and layer.speed.verdict == "slower"]
    if slower and not isinstance(choice.pattern, Channel):
        yield f"Slower with the sparse kernel than with the dense one: {some(slower)}. {_leave_whole(slower)}"


def _by_name(choice: Choice) -> Iterator[str]:
    """Name the toolchain that skips these zeros, and why it was not taken by itself."""
    for judge in choice.target.judges:
        patterns = {type(offer.pattern) for offer in judge.offers}
        if judge.by_name and judge.toolchain != choice.judge.toolchain and type(choice.pattern) in patterns:
            said = f"{judge.toolchain} has kernels for {choice.pattern}, and is taken only by name: {judge.by_name}"
            yield f"{said} (--toolchain {judge.toolchain})."


def _advice(choice: Choice, found: Findings) -> Iterator[str]:
    """Advise whole channels if single zeros, which need a special runtime, do not pay or are unlikely to."""
    if not choice.judge.against or not isinstance(choice.pattern, Unstructured):
        return
    rival = best_baseline(found.baselines)
    instead = next(judge for judge in choice.target.judges if judge.toolchain in choice.judge.against)
    toolchain = rival.toolchain if rival is not None else instead.toolchain
    line = f"--target {choice.target.name}:{toolchain} --pattern {instead.offers[0].pattern}"
    depthwise = sum(len(layer.shape) > 2 and layer.shape[1] == 1 for layer in found.layers)
    if deciding(found.measurement, found.baselines).verdict in {"slower", "no measurable gain"}:
        yield f"Not advised for this model at this batch: remove whole channels instead ({line}), or enlarge --batch."
    elif depthwise * MANY_DEPTHWISE >= len(found.layers):
        said = f"{counted(depthwise, 'layer')} of {len(found.layers)} are depthwise, which {choice.judge.toolchain}"
        yield f"{said} runs dense: such networks gain least from zeros. Compare whole channels: {line}."


def _returned(choice: Choice, pruned: Pruned) -> Iterator[str]:
    """Name the layers that gained nothing and are dense again."""
    if pruned.returned:
        of = len(pruned.returned) + len(pruned.layers)
        said = f"{counted(len(pruned.returned), 'layer')} of {of} gained nothing by {choice.pattern}"
        yield f"{said} and got dense weights back: {some([layer.name for layer in pruned.returned])}."


def _counters(found: Findings) -> Iterator[str]:
    """Compare the kernels' names with the hardware counters."""
    both = [layer for layer in found.layers if layer.used is not None and layer.counters is not None]
    wrong = [layer.name for layer in both if layer.counters and layer.used != (layer.counters.sparse > 0)]
    if wrong:
        yield f"The hardware counters contradict the kernels' names in {some(wrong)}: trust the counters."
    elif both:
        yield f"The hardware counters agree with the kernels' names in all {len(both)} layers."


def _seldom_pays(choice: Choice, pruned: Pruned) -> Iterator[str]:
    """Warn of layers whose sparse kernels seldom gain; this is known before measuring."""
    if choice.judge.kernels is None:
        return
    names = served(pruned.layers, choice)
    rows = {each.name: each.macs and each.macs // math.prod(each.shape) for each in pruned.layers}
    layers: list[Layer | Returned] = [each for each in pruned.layers if each.name in names]
    layers += pruned.returned
    facts = [
        LayerFacts.of_weight(each.kind, each.shape).given(rows=each.rows or rows.get(each.name), pattern=choice.pattern)
        for each in layers
    ]
    for rule in choice.judge.kernels.pays:
        broken = [each for each in facts if not rule.holds(each)]
        if broken:
            smallest = min(broken, key=lambda each: each.rows or 0)
            of = f"{counted(len(broken), 'layer')} of {len(facts)}"
            yield f"{of} multiply {rule.broken(smallest)}: {rule.says}."


def _launches(found: Findings) -> Iterator[str]:
    """Give the cost of launching kernels one by one from Python, which can hide the gain of a kernel."""
    timed = found.timed
    launch = timed and timed.pruned_launch
    if timed and launch and launch.eager_ms is not None and launch.eager_ms >= LAUNCH_BOUND * timed.pruned_ms:
        times = launch.eager_ms / timed.pruned_ms
        said = f"Launched kernel by kernel, the model takes {times:.1f}x as long, and launches hide the kernels' gain"
        yield f"{said}. Launch it as it was timed here, by {launch.way}."


def _arithmetic(choice: Choice, found: Findings, totals: Totals) -> Iterator[str]:
    """Compare the measured gain with the arithmetic that removed channels or blocks save."""
    speedup = found.timed and found.timed.comparison.speedup
    if isinstance(choice.pattern, (Channel, Depth)) and speedup is not None and totals.macs and totals.pruned_macs:
        where = " in float32" if found.corners is not None else ""
        yield f"{totals.macs / totals.pruned_macs:.1f}x fewer multiply-accumulates gave {speedup:.2f}x in time{where}."
        slower = [layer.name for layer in found.layers if layer.speed.verdict == "slower"]
        if slower:
            yield f"{counted(len(slower), 'layer')} came out slower, {some(slower)}. {_leave_whole(slower)}"


def _leave_whole(names: Sequence[str]) -> str:
    """Give the option that leaves these layers unpruned; only a run with it says what the whole model gains."""
    options = " ".join(f"--dense {name}" for name in names[:2] if name)
    return (
        f"{options or '--dense'} leaves {'it' if len(names) == 1 else 'them'} whole; a run with that shows if it pays."
    )


def _rules(choice: Choice, found: Findings) -> Iterator[str]:
    """Check the pattern and the pruned layers against the target's rules."""
    target, pattern = choice.target, choice.pattern
    offered = [offer.pattern for offer in choice.judge.offers]
    if isinstance(pattern, Unstructured) and pattern not in offered:
        yield f"On {target.chip}, {choice.judge.toolchain} skips no single weights; use --pattern {offered[0]}."
        return
    if isinstance(pattern, (NM, Block)) and all(isinstance(each, Channel) for each in offered):
        yield f"{target.chip} gains nothing from {pattern}; remove whole channels: --pattern {offered[0]}."
        return
    if isinstance(pattern, Block) and target.finding is not None:
        yield target.finding
    for rule in target.rules:
        broken = [layer.name for layer in found.layers if _breaks(rule, layer, pattern)]
        if broken:
            verb = "breaks" if len(broken) == 1 else "break"
            cure = f"; use --pattern {offered[0]}" if pattern not in offered else ""
            yield f"{counted(len(broken), 'layer')} {verb} a rule of this chip, {some(broken)}: {rule.says}{cure}."


def _breaks(rule: Rule, layer: Layer, pattern: Pattern) -> bool:
    """Say whether pruning made a layer break a rule; ignore layers that keep their channels when others lose some."""
    before, after = (LayerFacts.of_weight(layer.kind, shape) for shape in (layer.shape, layer.pruned_shape))
    if isinstance(pattern, Channel) and before.outputs == after.outputs:
        return False
    return not rule.holds(after.given(rows=layer.rows, pattern=pattern))
