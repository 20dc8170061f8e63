"""Tab completion for `%hwprune`: options, their values, and the namespace's models and tensors."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any, get_args

from .namespace import models, tensors

PATTERNS = ("2:4", "16x16", "128x128", "channel", "channel/8", "unstructured")


def complete(shell: Any, event: Any) -> list[str]:
    """Return the candidates for the word at the cursor, as IPython's `complete_command` hook asks for them."""
    from .asked import SUBCOMMANDS
    from .magics import HwpruneMagics

    words = event.line.split()
    typed = "" if event.line[-1:].isspace() else words.pop()  # the symbol is its end only: `:` and `=` part words too
    option = words[-1] if words else ""
    if typed.startswith("--") and "=" in typed:
        option, _, typed = typed.partition("=")
    candidates = _folders(typed) if option == "--zoo" else _values(shell, option)
    if candidates is None:
        options = [flag for action in HwpruneMagics.hwprune.parser._actions for flag in action.option_strings]  # noqa: SLF001
        candidates = options if typed.startswith("-") else [*models(shell.user_ns), *SUBCOMMANDS, *options]
    there = len(typed) - len(event.symbol)
    return [candidate[there:] for candidate in candidates if candidate.startswith(typed)]


def _folders(typed: str) -> list[str]:
    """Return the folders, and the files of an analysis, that begin as what is typed does."""
    before, _, begun = typed.rpartition("/")
    there = sorted(Path(f"{before}/" if "/" in typed else ".").expanduser().glob(f"{glob.escape(begun)}*"))
    prefix = f"{before}/" if "/" in typed else ""
    return [f"{prefix}{path.name}/" for path in there if path.is_dir()] + [
        f"{prefix}{path.name}" for path in there if path.suffix in {".yaml", ".yml"}
    ]


def _values(shell: Any, option: str) -> list[str] | None:
    """Return what can follow an option; None where it is no option that takes a value."""
    from ..choice import Allocation, Importance
    from ..target import ALIASES, TARGETS
    from ..toolchains import environments

    names = [*(target.name for target in TARGETS), *ALIASES]
    own = {name: value for name, value in shell.user_ns.items() if name not in shell.user_ns_hidden}
    match option:
        case "--target":
            return names + [f"{target.name}:{judge.toolchain}" for target in TARGETS for judge in target.judges]
        case "doctor":
            return names
        case "setup":
            return environments.names()
        case "--pattern":
            return list(PATTERNS)
        case "--toolchain":
            return sorted({judge.toolchain for target in TARGETS for judge in target.judges})
        case "--dtype":
            return sorted({dtype for target in TARGETS for judge in target.judges for dtype in judge.dtypes})
        case "--schedule":
            return ["one-shot", "iterative", "cubic"]
        case "--allocation":
            return list(get_args(Allocation))
        case "--importance":
            return list(get_args(Importance))
        case "--recipe":
            return [name for name, value in own.items() if isinstance(value, str) and "\n" in value]
        case "--input" | "--calib":
            return list(tensors(own))
        case "--eval":
            return [name for name, value in own.items() if callable(value) and not name.startswith("_")]
        case "-o" | "--threads" | "--batch" | "--sparsity" | "--steps" | "--timeout":
            return []
    return None
