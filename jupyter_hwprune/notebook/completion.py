"""Tab completion for `%hwprune`: options, their values, and the namespace's models and tensors."""

from __future__ import annotations

from typing import Any

from .namespace import models, tensors

PATTERNS = ("2:4", "16x16", "128x128", "channel", "channel/8", "unstructured")


def complete(shell: Any, event: Any) -> list[str]:
    """Return the candidates for the word at the cursor, as IPython's `complete_command` hook asks for them."""
    from ..target import ALIASES, TARGETS
    from .magics import SUBCOMMANDS, HwpruneMagics

    before = event.line[: len(event.line) - len(event.symbol)].split()
    previous = before[-1] if before else ""
    names = [target.name for target in TARGETS]
    stacks = {stack.toolchain for target in TARGETS for stack in target.stacks}
    namespace = shell.user_ns
    values: dict[str, list[str]] = {
        "--target": [*names, *ALIASES],
        "doctor": [*names, *ALIASES],
        "--pattern": list(PATTERNS),
        "--toolchain": sorted(stacks),
        "--allocation": ["uniform", "global"],
        "--input": list(tensors(namespace)),
        "--eval": [name for name, value in namespace.items() if callable(value) and not name.startswith("_")],
    }
    if previous in values:
        candidates = values[previous]
    else:
        options = [flag for action in HwpruneMagics.hwprune.parser._actions for flag in action.option_strings]  # noqa: SLF001
        candidates = options if event.symbol.startswith("-") else [*models(namespace), *SUBCOMMANDS, *options]
    return [candidate for candidate in candidates if candidate.startswith(event.symbol)]
