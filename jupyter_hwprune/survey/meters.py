"""Find the energy meters that a program may read on this machine, by their files; nothing is started."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/sys/class")
SENSORS = ("power", "energy")


@dataclass(frozen=True)
class MeterHere:
    """A kind of energy meter: whether it can be read here, what was found, and the cure if there is one."""

    name: str
    found: bool
    said: str
    cure: str | None = None


def meters(system: Path = SYSTEM) -> tuple[MeterHere, ...]:
    """Look for the CPU's own counters (RAPL) and for the sensors of boards such as a Jetson (hwmon).

    GPU counters are reported by their toolchains. `system` is the folder of the system's device classes.
    """
    return (
        _meter("RAPL", "energy counters of the CPU", system.glob("powercap/*-rapl*/energy_uj")),
        _meter("hwmon", "power sensors", (path for kind in SENSORS for path in system.glob(f"hwmon/*/{kind}*_input"))),
    )


def _meter(name: str, about: str, paths: Iterable[Path]) -> MeterHere:
    files = sorted(paths)
    if not files:
        return MeterHere(name, found=False, said=f"no {about} here; virtual machines seldom have any")
    readable = [path for path in files if os.access(path, os.R_OK)]
    if readable:
        return MeterHere(name, found=True, said=f"{about}: {', '.join(map(str, readable[:4]))}")
    cure = f"sudo chmod a+r {files[0].parent.parent}/*/{files[0].name}"
    return MeterHere(name, found=False, said=f"{about} are there, but only root may read them", cure=cure)
