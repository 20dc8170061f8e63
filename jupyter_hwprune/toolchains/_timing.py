"""Profile, time and meter several compiled cases in turn, so that drift of the machine affects all of them equally."""

from __future__ import annotations

import gc
import math
import os
import random
import time
from typing import Any


def profile(toolchain: Any, request: dict[str, Any], inputs: dict[str, Any], settings_of: Any, say: Any) -> Any:
    """Profile all cases in turn, so that drift of the machine affects all of them equally.

    The first round fills caches and arenas and is left out, unless the profiler warms up by itself. If a round takes
    long, because the profiler compiles in each, only as many rounds run as a comparison needs.
    """
    say("profile", "compiling with the profiler on")
    profiled = {}
    for case in request["cases"]:
        if not case["profiled"]:
            continue
        folder = os.path.join(request["folder"], "profile-" + case["name"])
        os.makedirs(folder, exist_ok=True)
        profiled[case["name"]] = toolchain.profile(case["model"], inputs, settings_of(request, case), folder)
    start, rounds, limits = time.perf_counter(), 0, request["effort"]
    cold = max(getattr(case, "cold_runs", 1) for case in profiled.values())
    at_least = limits["min_profile_rounds"]
    while rounds < at_least or (rounds < limits["max_rounds"] and time.perf_counter() - start < limits["profile_s"]):
        for name in _turn(list(profiled), rounds):
            profiled[name].run()
        rounds += 1
        if time.perf_counter() - start > limits["slow_profile_round_s"]:
            at_least = min(at_least, limits["slow_profile_rounds"] + cold)
        say("profile", f"round {rounds} of at most {limits['max_rounds']}")
    kernels = {name: case.kernels() for name, case in profiled.items()}
    for rows in kernels.values():
        for row in rows:
            if row["us"] is None:
                continue
            times, rest = divmod(len(row["us"]), rounds)  # how often the kernel ran in each round
            if rest:
                raise RuntimeError(f"{row['kernel']} has {len(row['us'])} samples in {rounds} rounds")
            row["us"] = [sum(row["us"][i * times : (i + 1) * times]) for i in range(cold, rounds)]
    return kernels


def measure(
    cases: dict[str, Any], request: dict[str, Any], clock: str, say: Any
) -> tuple[dict[str, dict[str, list[float]]], bool]:
    """Time all cases in turn, one block of calls each per round; each block starts with a call that is not counted.

    That first call brings the case's own weights back into the caches, so no case gains from the one that ran before.
    Where all calls take LONG_S, it is left out. Measuring ends early where nothing is left to be found out, on the
    `clock` that decides; also returns whether so.
    """
    limits, clear = request["effort"], False
    say("measure", "warming up")
    for case in cases.values():
        case.run()
        case.finish()
    seconds = {name: _seconds(case) for name, case in cases.items()}
    calls = {name: _calls_in(limits["block_s"], each) for name, each in seconds.items()}
    long = min(seconds.values()) >= LONG_S
    samples: dict[str, dict[str, list[float]]] = {name: {"wall_ms": [], "cpu_ms": []} for name in cases}
    gc.collect()
    gc.disable()
    end, rounds = time.perf_counter() + limits["measure_s"], 0
    while rounds < limits["min_rounds"] or (rounds < limits["max_rounds"] and time.perf_counter() < end):
        for name in _turn(list(cases), rounds):
            case, count = cases[name], calls[name]
            if not long:
                case.run()
                case.finish()
            wall, cpu = _block(case, count)
            samples[name]["wall_ms"].append(round(wall / count * 1e3, 7))
            samples[name]["cpu_ms"].append(round(cpu / count * 1e3, 7))
        rounds += 1
        say("measure", f"round {rounds} of at most {limits['max_rounds']}")
        if rounds >= limits["clear_rounds"]:
            times = {name: each[clock] for name, each in samples.items()}
            clear = _is_clear(times, request["dense"], request["control"])
            if clear:
                break
    return samples, clear


LONG_S = 0.1
"""Caches hold tens of megabytes, which memory gives back in a few milliseconds: a small part of such a call, and one
that every case pays alike, so that no gain is made of it."""
CLEAR_RATIO = 1.2
CLEAR_NOISE = 4.5  # times the difference of two compilations of one model in a round
OUTLIERS = 7  # of so many rounds, one may be disturbed


def _is_clear(times: dict[str, list[float]], dense: str, control: str) -> bool:
    """Say whether every case is far from the dense one, to the same side in every round.

    Far is CLEAR_RATIO at least. By the sign test, a case whose median ratio is no larger exceeds it in each of n rounds
    with a chance of 2^-n at most, and has to do so again in every later round: 1/128 for 7 rounds, however noisy they
    are. That holds for independent rounds, so far is also a multiple of what two copies of one model differ by, the
    largest in OUTLIERS rounds left out: one disturbed round says nothing of the others. In normal noise that is no
    smaller than three times the largest difference of 7 rounds.
    """
    if control not in times or len(times) < 3 or min(map(min, times.values())) <= 0:
        return False
    others = [name for name in times if name != dense]
    ratios = {name: [math.log(a / b) for a, b in zip(times[dense], times[name])] for name in others}
    noise = sorted(map(abs, ratios.pop(control)))
    far = max(CLEAR_NOISE * noise[-1 - len(noise) // OUTLIERS], math.log(CLEAR_RATIO))
    return all(min(each) > far or max(each) < -far for each in ratios.values())


def energy(toolchain: Any, cases: dict[str, Any], meter: dict[str, float], say: Any) -> dict[str, Any]:
    """Read the device's energy counter around windows of runs, all cases in turn, and around an idle one.

    The counter moves in steps, so a window begins and ends at a step, and is as long as the meter needs. If the meter
    is missing or does not answer, the result says so; a case that fails raises.
    """
    say("energy", "the idle device")
    for case in cases.values():
        case.finish()
    try:
        counter = toolchain.meter()
        time.sleep(meter["idle_s"])
        idle_mj, idle_s, _ = _window(counter, lambda: time.sleep(0.001), meter["window_s"])
    except Exception as error:  # noqa: BLE001 - no meter, or one that does not answer: the result says so
        return {"unavailable": str(error) or type(error).__name__}
    windows = {name: [] for name in cases}  # type: dict[str, list[dict[str, float]]]
    try:
        for number in range(ENERGY_WINDOWS):
            for name in _turn(list(windows), number):
                say("energy", f"{name}, window {number + 1}")
                calls = _calls_in(0.01, _seconds(cases[name]))

                def block(case: Any = cases[name], calls: int = calls) -> None:
                    for _ in range(calls):
                        case.run()
                    case.finish()

                spent, seconds, blocks = _window(counter, block, meter["window_s"])
                windows[name].append({"mj": spent, "s": seconds, "runs": blocks * calls})
    except MeterError as error:
        return {"unavailable": str(error)}
    return {"idle_mw": idle_mj / idle_s, "windows": windows}


ENERGY_WINDOWS = 2


class MeterError(RuntimeError):
    """The counter did not answer, or stood still."""


def _seconds(case: Any) -> float:
    """Return the time of one run."""
    return _block(case, 1)[0]


def _block(case: Any, count: int) -> tuple[float, float]:
    """Return the wall time of so many runs, by the clock of the machine they run on, and this process's CPU time."""
    own = getattr(case, "seconds", None)
    run, finish = case.run, case.finish
    wall, cpu = time.perf_counter(), time.process_time()
    if own is not None:
        elsewhere = own(count)
        return elsewhere, time.process_time() - cpu
    for _ in range(count):
        run()
    finish()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return wall, cpu


def _calls_in(seconds: float, one: float) -> int:
    """Return how many runs take about so long, by the time of one."""
    return max(1, min(10000, round(seconds / max(one, 1e-7))))


def _window(meter: Any, block: Any, at_least_s: float) -> tuple[float, float, int]:
    """Run blocks between two steps of the counter, `at_least_s` apart; return millijoules, seconds, blocks."""
    begin = _next_step(meter, block)[:2]
    blocks = 0
    while time.perf_counter() - begin[1] < at_least_s:
        block()
        blocks += 1
    energy, end, more = _next_step(meter, block)
    return energy - begin[0], end - begin[1], blocks + more


def _next_step(meter: Any, block: Any) -> tuple[float, float, int]:
    """Run blocks until the counter moves; return its new reading, the time, and the number of blocks."""
    before, start, blocks = _read(meter), time.perf_counter(), 0
    while True:
        block()
        blocks += 1
        now = _read(meter)
        if now != before:
            return now, time.perf_counter(), blocks
        if time.perf_counter() - start > 5:
            raise MeterError("the energy counter does not move")


def _read(meter: Any) -> float:
    try:
        return float(meter.read_mj())
    except Exception as error:
        raise MeterError(str(error) or type(error).__name__) from error


def _turn(names: list[str], number: int) -> list[str]:
    """Return the cases in a different order for each round, the same orders in every run."""
    return random.Random(number).sample(names, len(names))  # noqa: S311 - an order, not a secret
