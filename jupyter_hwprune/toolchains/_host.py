"""The machine that a worker runs on: its CPU as a device, and the facts that are recorded with every measurement."""

from __future__ import annotations

import os
import platform
from typing import Any

MAKERS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # as Windows and macOS call them
SHOWN = (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("amx_tile", "AMX"))
FAST_INT8 = (  # products of 8-bit integers that add up in 32 bits, in one instruction; x86, then Arm
    *(("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX VNNI"), ("amx_int8", "AMX")),
    *(("asimddp", "dot product"), ("i8mm", "I8MM")),
)


def architecture() -> str:
    """Return this machine's architecture by the name that Linux and compilers have for it."""
    name = platform.machine().lower()
    return ARCHITECTURES.get(name, name)


def cpu() -> dict[str, Any]:
    """Return the host's CPU as a device of the contract; the most specific of its identities comes first."""
    own = architecture()
    vendor = _facts().get("vendor_id", "") or platform.processor()
    maker = next((MAKERS[name] for name in MAKERS if name in vendor), None)
    identities = [f"{own} {maker}"] if maker else []
    return {"kind": "cpu", "identities": identities + [own], "label": cpu_name()}


def machine() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "system": platform.system() + " " + platform.release(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def fast_int8() -> list[str] | None:
    """Return the CPU's instructions for fast int8 products; None if the system does not list instructions."""
    facts = _facts()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return [shown for flag, shown in FAST_INT8 if flag in flags] if flags else None


def cpu_name() -> str:
    facts = _facts()
    flags = facts.get("flags", "").split()
    wide = ", ".join(shown for flag, shown in SHOWN if flag in flags)
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({wide})" if wide else name


def _facts() -> dict[str, str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = [line.partition(":") for line in file]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in pairs}
