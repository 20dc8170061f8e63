"""The page of what `%hwprune` takes, of the magic's own parser."""

from __future__ import annotations

import argparse
from typing import Any

from jupyter_hwprune.notebook.asked import SUBCOMMANDS
from jupyter_hwprune.notebook.magics import OWN_OPTIONS, SHARED_OPTIONS, ZOO_OPTIONS, HwpruneMagics

from .markdown import code, table

INTRODUCTION = """# The magic's options

`%hwprune` prunes and proves; `%%hwprune` trains along, its cell being the fine-tune step. `%hwprune?` shows this
text in a notebook, Tab completes options and what follows them. Names and expressions are evaluated in your namespace.
"""


def pages() -> dict[str, str]:
    parser: Any = HwpruneMagics.hwprune.parser
    words, *options = [action for action in parser._actions if action.dest != "help"]  # noqa: SLF001 - it has no public list
    rows = [(_flags(option), _help(option), _default(option), ", ".join(_forms(option))) for option in options]
    forms = "\n".join(f"%hwprune {command}" for command in ("", *SUBCOMMANDS))
    return {
        "options.md": "\n".join(
            [
                INTRODUCTION,
                f"## Forms\n\n{code(forms, 'ipython3')}\nThe words after it: {_help(words)}.\n",
                "## Options\n",
                table(("option", "what it says", "default", "taken by"), rows),
            ]
        )
    }


def _flags(option: argparse.Action) -> str:
    flags = [f"`{flag}`" for flag in option.option_strings]
    takes = option.nargs != 0
    return " ".join(flags) + (f" *{option.dest}*" if takes else "")


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%").replace("*", r"\*").replace("<", r"\<")


def _default(option: argparse.Action) -> str:
    return "" if option.default in {None, False} else f"`{option.default}`"


def _forms(option: argparse.Action) -> list[str]:
    """Return the forms that take an option; one that belongs to other forms only is not a run's."""
    flags = set(option.option_strings)
    if option.dest == "variable":
        return ["all"]
    owners = [name for name, own in OWN_OPTIONS.items() if flags & own]
    shared = [name for name, own in SHARED_OPTIONS.items() if flags & own]
    zoo = ["`--zoo`"] if flags & ZOO_OPTIONS and not owners and option.dest != "zoo" else []
    return owners or ["a run", *shared, *zoo]
