"""The CPU's profilers on this machine, found by their files; nothing is started."""

import shutil
from pathlib import Path

from ..toolchains import _sampling
from .meters import MeterHere

PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
COUNTERS = Path("/sys/bus/event_source/devices")
MOST_PARANOID = 2  # at which a user may still count the events of their own processes


class ProfilerHere(MeterHere):
    """A profiler, with the same fields as MeterHere."""


def profilers(paranoid: Path = PARANOID, counters: Path = COUNTERS) -> tuple[ProfilerHere, ...]:
    """Look for the vendor's profiler and for Linux perf, whose switch and counters are the two files' paths."""
    return ProfilerHere(_sampling.NAME, *_sampling.here()), _perf(paranoid, counters)


def _perf(paranoid: Path, counters: Path) -> ProfilerHere:
    about = "no run uses it; `perf stat` and `perf record` are for a folder of `run.export`"
    if shutil.which("perf") is None:
        return ProfilerHere(
            "perf", found=False, said=f"not here; {about}", cure="your system's package linux-perf or linux-tools"
        )
    if not [*counters.glob("cpu"), *counters.glob("cpu_*"), *counters.glob("armv8*")]:
        said = "this machine shows programs no hardware counters, as most virtual machines"
        return ProfilerHere("perf", found=False, said=f"{said}: it counts software events only; {about}")
    try:
        level = int(paranoid.read_text())
    except (OSError, ValueError):
        return ProfilerHere(
            "perf", found=False, said=f"whether the system allows hardware counters is not known; {about}"
        )
    if level > MOST_PARANOID:
        cure = f"sudo sysctl -w kernel.perf_event_paranoid={MOST_PARANOID}"
        said = f"perf_event_paranoid is {level}, which allows no counters; {about}"
        return ProfilerHere("perf", found=False, said=said, cure=cure)
    return ProfilerHere(
        "perf", found=True, said=f"hardware counters are allowed (perf_event_paranoid {level}); {about}"
    )
