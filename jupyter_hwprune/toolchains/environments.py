"""Environments of their own for toolchains that cannot share the kernel's."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .process import CACHE


def python_of(name: str) -> Path:
    """Return the interpreter of an environment; raises InputError where there is none."""
    python = CACHE / "environments" / name / "bin" / "python"
    if not python.exists():
        raise InputError(f"{name} has no environment here. Make it: %hwprune setup {name}.")
    return python
