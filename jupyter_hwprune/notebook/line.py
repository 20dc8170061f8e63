"""The `%hwprune` line that says what a form says: only what differs from the defaults, in the order of `%hwprune?`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields

from .asked import SUBCOMMANDS


@dataclass(frozen=True)
class Filled:
    """A form's fields as text, in that order; '' is for what depends on the target, or is not asked for."""

    model: str = ""
    input: str = ""
    target: str = "cpu"
    pattern: str = ""
    sparsity: str = ""
    importance: str = "magnitude"
    calib: str = ""
    allocation: str = "uniform"
    toolchain: str = ""
    threads: str = "1"
    eval: str = ""
    variable: str = ""


DEFAULTS = Filled()


def magic_line(filled: Filled) -> str:
    words = ["%hwprune"]
    for field in fields(filled):
        value = _one_line(getattr(filled, field.name))
        if value in ("", getattr(DEFAULTS, field.name)):
            continue
        if field.name == "model":
            words.append(shlex.quote(f"({value})" if value in SUBCOMMANDS or value.startswith("-") else value))
            continue
        option = "-o" if field.name == "variable" else f"--{field.name}"
        # a value that begins with a dash would be taken for an option of its own
        words += [f"{option}={shlex.quote(value)}"] if value.startswith("-") else [option, shlex.quote(value)]
    return " ".join(words)


def _one_line(value: str) -> str:
    """Join the lines of a value: a line magic ends with its line."""
    return " ".join(part for line in value.splitlines() if (part := line.strip()))
