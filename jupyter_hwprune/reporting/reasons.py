"""Explain the verdict in plain sentences, each based on a number in the report."""

from collections.abc import Iterator

from ..choose.choice import Choice
from ..core.errors import counted
from ..core.pattern import Channel, Depth, Unstructured
from ..measure.candidates import Findings
from ..pruning import Pruned
from ..report import Comparison, Totals, best_baseline, deciding
from ..report.words.facts import some
from ..report.words.verdict import named

FAR_OFF = 0.15  # of the largest value, for an int8 model's outputs
LAUNCH_BOUND = 1.3
MANY_DEPTHWISE = 4  # at least one layer in four


def explain(choice: Choice, found: Findings, pruned: Pruned, calib: str | None = None) -> tuple[str, ...]:
    """Explain what was found; `calib` is the user's name of the calibration inputs, None if there are none."""
    return (
        *_quantised(choice, found, calib),
        *int8_and_pruning(found),
        *_fastest_runtime(choice, found),
        *_kernels(choice, found),
        *_advice(choice, found),
        *_by_name(choice),
        *_returned(choice, pruned),
        *_counters(found),
        *_launches(found),
        *_arithmetic(choice, found, pruned.totals),
        *choice.remarks,
        *found.remarks,
    )


def _quantised(choice: Choice, found: Findings, calib: str | None) -> Iterator[str]:
    """Say what a chip that only knows integers was quantised with."""
    if found.calibration_rows is not None:
        said = f"{choice.judge.toolchain} quantised both models to {choice.dtype}"
        rows = counted(found.calibration_rows, "row")
        if calib is not None:
            yield f"{said} with ranges from {rows} of {calib}."
        else:
            yield f"{said} with ranges from the example alone ({rows}); --calib gives it inputs like your data's."


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
        chip = "this CPU has no VNNI or AMX instructions, from which int8 gets its speed"
        if corners.fast_int8 is None:
            chip = "it is not known whether this CPU has instructions for it"
        elif corners.fast_int8:
            them = ", ".join(corners.fast_int8)
            chip = f"this CPU has instructions for it ({them}), but this model gives them too little work"
        dense, small = corners.rows[0].file_bytes, dense_int8.file_bytes
        smaller = dense is not None and small is not None and small < dense
        yield f"int8 alone saves no time here: {chip}.{' Its files are smaller.' if smaller else ''}"
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
    return (*_kernels(choice, found), *_by_name(choice), *choice.remarks)


def _kernels(choice: Choice, found: Findings) -> Iterator[str]:
    """Say how many kernels that ran profit from the zeros, if any does."""
    told = [layer.used for layer in found.layers if layer.used is not None]
    if isinstance(choice.pattern, Channel) or not any(told):
        return
    layers, untold = len(found.layers), len(found.layers) - len(told)
    more = f"; for {untold} more, kernel names and utilisation do not show it" if untold else ""
    ran = "ran" if found.timed else "compiled"
    yield f"{choice.judge.toolchain} {ran} a sparse kernel for {sum(told)} of {layers} pruned layers{more}."


def _by_name(choice: Choice) -> Iterator[str]:
    """Name the toolchain that skips these zeros, and why it was not taken by itself; fewer channels need none."""
    if isinstance(choice.pattern, Channel):
        return
    for judge in choice.target.judges:
        patterns = {type(offer.pattern) for offer in judge.offers}
        if judge.by_name and judge.toolchain != choice.judge.toolchain and type(choice.pattern) in patterns:
            said = f"{judge.toolchain} has kernels for {choice.pattern}, and is used only when named: {judge.by_name}"
            yield f"{said} (--toolchain {judge.toolchain})."


def _advice(choice: Choice, found: Findings) -> Iterator[str]:
    """Advise whole channels if single zeros, which need a special runtime, do not pay."""
    if not choice.judge.against or not isinstance(choice.pattern, Unstructured):
        return
    rival = best_baseline(found.baselines)
    instead = next(judge for judge in choice.target.judges if judge.toolchain in choice.judge.against)
    toolchain = rival.toolchain if rival is not None else instead.toolchain
    line = f"--target {choice.target.name}:{toolchain} --pattern {instead.offers[0].pattern}"
    if deciding(found.measurement, found.baselines).verdict in {"slower", "no measurable gain"}:
        yield f"Not advised for this model at this batch: remove whole channels instead ({line}), or enlarge --batch."


def _returned(choice: Choice, pruned: Pruned) -> Iterator[str]:
    """Name the layers that gained nothing and are dense again."""
    if pruned.returned:
        of = len(pruned.returned) + len(pruned.layers)
        said = f"{counted(len(pruned.returned), 'layer')} of {of} gained nothing by {choice.pattern}"
        yield f"{said} and got dense weights back: {some([layer.name for layer in pruned.returned])}."


def _counters(found: Findings) -> Iterator[str]:
    """Compare the kernels' names with the hardware counters; sparse by name alone is a mistake of its own."""
    both = [layer for layer in found.layers if layer.used is not None and layer.counters is not None]
    better = [layer.name for layer in both if layer.counters and not layer.used and layer.counters.sparse > 0]
    if better:
        yield f"The hardware counters saw sparse operations in {some(better)}, whose kernels' names do not say so."
    elif both and all(layer.counters and layer.used == (layer.counters.sparse > 0) for layer in both):
        yield f"The hardware counters agree with the kernels' names in all {len(both)} layers."


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
