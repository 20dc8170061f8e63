"""The most memory that this process took for a while, by the counter that Linux keeps and sets back on request."""

from __future__ import annotations

from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # both in proc(5)


def now_bytes() -> int | None:
    """Return what the process takes now, in RAM; None where the system does not say."""
    return _field("VmRSS")


def begin_peak() -> bool:
    """Set the counter of the peak back to what is taken now; return whether that worked."""
    try:
        RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    return _field("VmHWM")


def _field(name: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
