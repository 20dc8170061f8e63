"""Turn a worker's answer into parts of a report: times, estimates, energy, counters, each with its evidence."""

import statistics
from collections.abc import Mapping
from typing import Any

from ..report import (
    Counters,
    Energy,
    EnergyOf,
    Estimated,
    Evidence,
    Footprint,
    Hotspot,
    Hotspots,
    Launch,
    Memory,
    OutputCheck,
    PeakMemory,
    Samples,
    Timed,
)
from ..toolchains.manifest import Meter
from ..toolchains.process import Failure
from .job import AGAIN, CONTROL, DENSE
from .judge import between, clock_for, on_clock, rounded, typical_ms

MOST_FUNCTIONS = 20


def samples_of(result: Mapping[str, Any], name: str) -> Samples:
    each = result["samples"][name]
    return Samples(tuple(each["wall_ms"]), tuple(each["cpu_ms"]))


def errors_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the largest error of each case's outputs; none if they were not checked."""
    return {case: max(errors, default=0.0) for case, errors in result.get("errors", {}).items()}


def check_of(result: Mapping[str, Any], name: str, tolerance: float, reference: str) -> OutputCheck | None:
    errors = errors_of(result)
    dense = max((errors[case] for case in (DENSE, CONTROL) if case in errors), default=None)
    return None if dense is None else OutputCheck(dense, errors[name], tolerance, reference)


def timed_of(result: Mapping[str, Any], name: str, threads: int, label: str) -> Timed:
    """Compare dense with the case called `name`, on the clock that suits the device and the machine."""
    on_host = result["device"]["kind"] == "cpu"
    clock = clock_for(threads, on_host=on_host, cpu_clock_step_s=result["cpu_clock_step_s"])
    dense, control, pruned = (samples_of(result, case) for case in (DENSE, CONTROL, name))
    again = samples_of(result, name + AGAIN) if name + AGAIN in result["samples"] else None
    rounds = tuple(result["rounds"])
    denses, pruneds = [dense, control], [pruned] if again is None else [pruned, again]
    of_dense, of_pruned = ([on_clock(each, clock) for each in copies] for copies in (denses, pruneds))
    return Timed(
        Evidence("measured", device=result["machine"]["cpu"] if on_host else label),
        clock,
        dense,
        control,
        pruned,
        typical_ms(denses[: len(pruneds)], clock, rounds),
        typical_ms(pruneds, clock, rounds),
        between(of_dense, of_pruned, of_dense, rounds),
        pruned_again=again,
        rounds=rounds,
        interrupted=result.get("interrupted"),
        dense_launch=_launch(result["facts"][DENSE]),
        pruned_launch=_launch(result["facts"][name]),
    )


def estimate_of(
    estimates: Mapping[str, Any], name: str, evidence: Evidence, good_to: float | None = None
) -> Estimated | None:
    dense, pruned = estimates[DENSE], estimates[name]
    if dense is None or pruned is None:
        return None
    return Estimated(
        evidence,
        dense["unit"],
        dense["total"],
        pruned["total"],
        clock_mhz=dense.get("clock_mhz"),
        good_to=good_to,
        dense_utilization=dense.get("utilization"),
        pruned_utilization=pruned.get("utilization"),
    )


def footprint_of(result: Mapping[str, Any], name: str) -> Footprint | None:
    dense, pruned = (result["bytes"][case] for case in (DENSE, name))
    if dense is None or pruned is None:
        return None
    return Footprint(dense, pruned, *(memory_of(result["memories"][case]) for case in (DENSE, name)))


def peak_memory_of(result: Mapping[str, Any], name: str) -> PeakMemory | None:
    """Return what dense and the case called `name` take as deployed; None unless both are known."""
    peaks = result.get("peaks", {})
    return PeakMemory(peaks[DENSE], peaks[name]) if {DENSE, name} <= peaks.keys() else None


def memory_of(said: Mapping[str, int] | None) -> Memory | None:
    return Memory(**said) if said else None


def counters_of(result: dict[str, Any] | Failure) -> tuple[Evidence, dict[str, Counters]]:
    if isinstance(result, Failure):
        return Evidence("unavailable", reason=result.reason, cure="`%hwprune doctor` checks the toolchain"), {}
    found = result["counted"]
    if "layers" not in found:
        return Evidence("unavailable", reason=found["reason"], cure=found["cure"]), {}
    layers = {name: Counters(sparse, dense) for name, (sparse, dense) in found["layers"].items()}
    return Evidence("measured", device=found["device"]), layers


def hotspots_of(result: dict[str, Any] | Failure, name: str) -> Hotspots:
    """Return the functions of dense and of the case called `name`, each one's time divided by the model's runs."""
    if isinstance(result, Failure):
        return Hotspots(Evidence("unavailable", reason=result.reason, cure="`%hwprune doctor` checks the profiler"))
    found = result["hotspots"]
    if "tasks" not in found:
        return Hotspots(Evidence("unavailable", reason=found["reason"], cure=found["cure"]))
    times: dict[tuple[str, str], dict[str, float]] = {}
    for case, rows in found["tasks"].items():
        for function, module, seconds in rows:
            own = times.setdefault((function, module), {})
            own[case] = own.get(case, 0.0) + seconds * 1e3 / found["runs"][case]
    known = [
        Hotspot(*place, *(own.get(case) and rounded(own[case]) for case in (DENSE, name)))
        for place, own in times.items()
    ]
    known.sort(key=lambda each: max(each.dense_ms or 0.0, each.pruned_ms or 0.0), reverse=True)
    return Hotspots(Evidence("measured", device=found["device"]), tuple(known[:MOST_FUNCTIONS]))


def energy_of(found: Mapping[str, Any] | None, name: str, label: str, meter: Meter) -> Energy | None:
    if found is None:
        return None
    if "unavailable" in found:
        return Energy(Evidence("unavailable", reason=found["unavailable"], cure=meter.cure), None, None, None)
    idle_mw = found["idle_mw"]
    dense, pruned = (_energy_of(found["windows"][case], idle_mw) for case in (DENSE, name))
    return Energy(Evidence("measured", device=f"{label}, {meter.name}"), idle_mw, dense, pruned)


def _energy_of(windows: list[dict[str, float]], idle_mw: float) -> EnergyOf:
    seconds, runs = sum(w["s"] for w in windows), int(sum(w["runs"] for w in windows))
    total = sum(w["mj"] for w in windows)
    return EnergyOf(
        total_mj=total / runs,
        above_idle_mj=(total - idle_mw * seconds) / runs,
        average_mw=total / seconds,
        windows_mj=tuple(w["mj"] / w["runs"] for w in windows),
        window_s=statistics.fmean(w["s"] for w in windows),
        runs=runs,
    )


def _launch(facts: Mapping[str, Any] | None) -> Launch | None:
    return Launch(facts["way"], facts["eager_ms"]) if facts else None
