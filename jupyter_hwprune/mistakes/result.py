"""Mistakes of the result: what ran, what was measured, and what the numbers do not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..core.errors import counted
from ..core.pattern import Channel, Depth
from ..report import CLIFF, Curve, Layer
from ..report.words.facts import some
from ..report.words.numbers import milliseconds, share
from ..report.words.scores import fell
from ..report.words.verdict import interval
from .seen import Found, Seen, is_depthwise

STEEP = 4  # times as steep after the knee as before it
UNSEEN = 0.15  # a gain that a measurement should not miss


def on_paper(seen: Seen) -> Iterator[Found]:
    told = [*seen.told()]
    if not told or any(layer.used for layer in told) or not seen.makes_zeros or seen.has_kernels:
        return
    which = _which(told, seen)
    yield Found(
        f"{seen.report.request.toolchain} {_ran(seen)} dense kernels for {which} pruned layers: they multiply every "
        f"zero, so {seen.pattern} saves no time.",
        "Use a pattern that it has kernels for" + (f": --pattern {seen.offered[0]}." if seen.offered else "."),
        tuple(layer.name for layer in told),
    )


def not_engaged(seen: Seen) -> Iterator[Found]:
    """Name layers that ran dense, though there are sparse kernels for the pattern; depthwise ones are said apart."""
    if not seen.makes_zeros or not seen.has_kernels:
        return
    dense = [layer for layer in seen.told() if not layer.used and not is_depthwise(layer)]
    if dense:
        kernels: dict[str, list[str]] = {}
        for layer in dense:
            kernels.setdefault(layer.pruned_kernel or "a dense kernel", []).append(layer.name)
        by = "; ".join(f"{some(names)} with {kernel}" for kernel, names in kernels.items())
        every = len(dense) == len([*seen.told()])
        saves = ", so they multiply every zero" if every else ""
        yield Found(
            f"{seen.report.request.toolchain} has sparse kernels for {seen.pattern}, and {_ran(seen)} dense ones for "
            f"{_which(dense, seen)} pruned layers{saves}: {by}.",
            "Check their shapes and data type against the chip's rules (`%hwprune doctor "
            f"{seen.report.request.target}`), or leave them whole with --dense.",
            tuple(layer.name for layer in dense),
        )
    counted_dense = [layer.name for layer in seen.told() if layer.used and layer.counters and not layer.counters.sparse]
    if counted_dense:
        yield Found(
            f"The hardware counters contradict the kernels' names in {some(counted_dense)}: trust the counters, which "
            "saw no sparse operation.",
            "Check that the weights reach the kernel compressed, and look at the kernel in the vendor's profiler.",
            tuple(counted_dense),
        )


def _ran(seen: Seen) -> str:
    return "compiled" if seen.report.measurement.kind == "estimated" else "ran"


def _which(layers: list[Layer], seen: Seen) -> str:
    every = len(seen.report.layers)
    return f"all {every}" if len(layers) == every else f"{len(layers)} of {every}"


def slower(seen: Seen) -> Iterator[Found]:
    smaller = isinstance(seen.pattern, (Channel, Depth))
    names = [each.name for each in seen.report.layers if each.speed.verdict == "slower" and (smaller or each.used)]
    if not names:
        return
    how = "after its channels went" if smaller else "with the sparse kernel than with the dense one"
    what, tried = f"{counted(len(names), 'layer')} slower {how}: {some(names)}.", seen.report.tried
    if tried is None:
        fix = f"Leave {'it' if len(names) == 1 else 'them'} whole; a run with that shows if the whole model gains."
        yield Found(what, fix, tuple(names), line=seen.line(dense=(*seen.report.request.dense, *names[:2])))
        return
    options = " ".join(f"--dense {name}" for name in tried.layers)
    helps = tried.gain.verdict == "faster"
    yield Found(
        what,
        f"Tried: {options} {'gives' if helps else 'does not help: it gives'} {_times(tried.speed.speedup)} "
        f"{'instead of' if helps else 'and'} {_times(tried.without.speedup)}{' without' * (not helps)}, timed in turn.",
        tuple(names),
        line=seen.line(dense=(*seen.report.request.dense, *tried.layers)) if helps else None,
    )


def cliff(seen: Seen) -> Iterator[Found]:
    scores, fastest = seen.report.scores, seen.report.fastest
    if scores is not None:
        of_fastest = scores.pruned if fastest is None or fastest.score is None else fastest.score
        after = next((each for each in (scores.pruned, of_fastest) if scores.is_cliff(each)), None)
        said = None if after is None else fell(replace(scores, pruned=after), trained=seen.report.request.trained)
        if said is not None:
            what, fix = said
            corrected = seen.corrected()
            if corrected is not None:
                fix = f"Correct the weights that stay, by inputs (--importance second-order, --calib). {fix}"
            yield Found(what, fix, line=corrected)
        return  # the score itself says whether a layer's knee mattered
    if seen.report.request.trained:  # the scan was of the model before
        return
    past = {curve.layer: far for curve in _curves(seen) if (far := _past_the_knee(seen, curve)) is not None}
    if past:
        yield Found(
            f"{counted(len(past), 'layer')} lost more than the knee of the sensitivity scan: "
            + "; ".join([f"{name} {far}" for name, far in past.items()][:3])
            + ".",
            "Remove less there (--sparsity, --dense), or train, and give a score with --eval.",
            tuple(past),
        )


def _curves(seen: Seen) -> tuple[Curve, ...]:
    scan = seen.report.sensitivity
    return scan.curves if scan is not None and scan.measure == "output error" else ()


def _past_the_knee(seen: Seen, curve: Curve) -> str | None:
    """Say how far a layer's share is past the knee: the point furthest below the chord from nothing to that share."""
    chosen = next((layer.sparsity for layer in seen.report.layers if layer.name == curve.layer), 0.0)
    points = [(at.sparsity, at.error) for at in curve.points if at.error is not None and at.sparsity <= chosen + 1e-9]
    if len(points) < 2:
        return None
    *before, (width, error) = points
    share_there, error_there = max(before, key=lambda each: error * each[0] / width - each[1])
    slope, slope_after = error_there / share_there, (error - error_there) / (width - share_there)
    if error <= CLIFF or slope_after <= STEEP * slope:
        return None
    return f"{share(chosen)}, knee at {share(share_there)}"


def noisy(seen: Seen) -> Iterator[Found]:
    speed, machine = seen.report.deciding, seen.report.machine
    if speed.verdict != "no measurable gain" or speed.high is None or speed.noise_floor is None:
        return
    if max(speed.high - 1, speed.noise_floor) < UNSEEN:
        return
    busy = machine is not None and machine.load_1min is not None and machine.load_1min > machine.cores
    load = f" The machine was busy: load {machine.load_1min:.1f} on {machine.cores} cores." if machine and busy else ""
    yield Found(
        f"The speed-up is {speed.speedup:.2f}x ({interval(speed)}), so a gain of {share(UNSEEN)} could have been "
        f"missed.{load}",
        "Measure on a quiet machine, or with a larger --batch.",
    )


def fell_back(seen: Seen) -> Iterator[Found]:
    elsewhere: dict[str, list[str]] = {}
    for layer in seen.report.layers:
        if layer.ran_on is not None:
            elsewhere.setdefault(layer.ran_on, []).append(layer.name)
    for where, names in elsewhere.items():
        yield Found(
            f"{counted(len(names), 'layer')} ran on {where} and not on {seen.report.request.device}: {some(names)}.",
            "Replace what the chip does not take, or choose another toolchain; `%hwprune doctor "
            f"{seen.report.request.target}` shows the chip's rules.",
            tuple(names),
        )


def something_else_buys_more(seen: Seen) -> Iterator[Found]:
    corners, timed, rival = seen.report.corners, seen.report.timed, seen.report.rival
    if corners is not None and corners.rows:
        _, pruned, int8, _ = corners.rows
        bought, alone = int8.speed.speedup, pruned.speed.speedup
        if int8.speed.verdict == "faster" and bought and bought > (alone or 0) and corners.on_int8.verdict != "faster":
            yield Found(
                f"int8 alone buys {bought:.2f}x, this pruning alone {_times(alone)}, and on top of int8 nothing that "
                "could be measured.",
                "Deploy the dense int8 model, or remove more.",
            )
    if timed is not None and rival is not None and rival.dense_ms is not None and rival.dense_ms <= timed.pruned_ms:
        yield Found(
            f"The dense model takes {milliseconds(rival.dense_ms)} with {rival.toolchain}, the pruned one "
            f"{milliseconds(timed.pruned_ms)} with {seen.report.request.toolchain}.",
            f"Take {rival.toolchain}, and prune for that.",
            line=_for_rival(seen, rival.toolchain),
        )


def _for_rival(seen: Seen, toolchain: str) -> str | None:
    judges = () if seen.row is None else seen.row.judges
    offers = next((each.offers for each in judges if each.toolchain == toolchain), ())
    return seen.line_of(offers[0].pattern, target=f"{seen.report.request.target}:{toolchain}") if offers else None


def _times(speedup: float | None) -> str:
    return "an unmeasured amount" if speedup is None else f"{speedup:.2f}x"


def weak_evidence(seen: Seen) -> Iterator[Found]:
    report, row = seen.report, seen.row
    evidence = report.measurement.evidence
    if evidence.kind == "compiled":
        yield Found(
            f"The models were compiled for {report.chip}, but not timed: smaller files and sparsity are no speed-up.",
            "Run the same line where the chip is.",
            line=seen.line(),
        )
    elif report.timed is None or row is None or not row.identities or not report.identities:
        return
    elif not {*row.identities} & {*report.identities}:
        yield Found(
            f"Measured on {evidence.device}, which runs the same instructions, but is not a chip by {row.maker}.",
            f"Measure on {row.chip} before you rely on the number.",
            line=seen.line(),
        )


def weak_baseline(seen: Seen) -> Iterator[Found]:
    timed, rival = seen.report.timed, seen.report.rival
    if timed is None or rival is None or rival.dense_ms is None or rival.speed.speedup is None:
        return
    if timed.pruned_ms < rival.dense_ms < timed.dense_ms / (1 + (timed.comparison.noise_floor or 0)):
        yield Found(
            f"Against dense with {seen.report.request.toolchain} ({milliseconds(timed.dense_ms)}) the pruned model is "
            f"{_times(timed.comparison.speedup)}; dense with {rival.toolchain} takes {milliseconds(rival.dense_ms)}, "
            f"and against that it is {rival.speed.speedup:.2f}x.",
            f"Claim the number against {rival.toolchain}, which is this report's verdict.",
        )
