"""The page of `%hwprune`'s options, made from the package's own table."""

from __future__ import annotations

from jupyter_hwprune.core.options import OPTIONS, RUN, SUBCOMMANDS, WORDS, ZOO, Option

from .markdown import code, table

INTRODUCTION = """# The magic's options

`%hwprune` prunes and measures; `%%hwprune` also trains, with the cell below it as the fine-tune step. `%hwprune?` shows
this text in a notebook, and Tab completes options and their values. Names and expressions are evaluated in your
namespace.
"""


def pages() -> dict[str, str]:
    rows = [(_flag(option), _help(option), _default(option), _forms(option)) for option in OPTIONS.values()]
    forms = {"%hwprune": "prune a model for a chip, and measure it there"}
    forms |= {f"%hwprune {row.name}": row.about for row in SUBCOMMANDS.values()}
    listed = "\n".join(f"{form:<20}# {about}" for form, about in forms.items())
    return {
        "options.md": "\n".join(
            [
                INTRODUCTION,
                f"## Forms\n\n{code(listed, 'ipython3')}\nAfter `%hwprune` comes {WORDS}.\n",
                "## Options\n",
                table(("option", "meaning", "default", "works with"), rows),
            ]
        )
    }


def _flag(option: Option) -> str:
    return f"`{option.flag}`" + ("" if option.default is False else f" *{option.name}*")


def _help(option: Option) -> str:
    return option.help.replace("*", r"\*").replace("<", r"\<")


def _default(option: Option) -> str:
    return f"`{option.default}`" if option.default else ""


def _forms(option: Option) -> str:
    others = [name for name in (RUN, ZOO, *SUBCOMMANDS) if name not in option.forms]
    if len(others) == 1:
        return f"all but {others[0]}"
    return ", ".join(f"`{form}`" if form == ZOO else form for form in option.forms)
