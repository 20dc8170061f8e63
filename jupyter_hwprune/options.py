"""The options of `%hwprune` in one table, and the line that asks for something by them.

The parser, what each form refuses, tab completion, both panels and the documentation are made of these rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

Kind = Literal["target", "target:toolchain", "toolchain", "environment", "dtype", "tensor", "score", "recipe", "folder"]

RUN, ZOO = "a run", "--zoo"  # the forms of the magic that no word names
COMPILES = (RUN, ZOO, "simulate")


@dataclass(frozen=True)
class Subcommand:
    """A form of the magic that its first word names; from `fewest` to `most` words follow, `completes` says which."""

    name: str
    takes: str = "no word"
    fewest: int = 0
    most: int = 0
    completes: Kind | None = None


@dataclass(frozen=True)
class Option:
    """One option, by its name in Python; `parameter` is what the functions call it, "" where they do not take it.

    A default of False is that of a flag without a value, and () that of an option that can be given several times.
    `choices` are all it takes, or examples where it is `open`; `completes` is what to look for instead. `forms` are the
    forms of the magic that take it. The panels have a field for it where there is a `label`.
    """

    name: str
    help: str
    type: type = str
    default: Any = None
    choices: tuple[str, ...] = ()
    open: bool = False
    completes: Kind | None = None
    forms: tuple[str, ...] = (RUN,)
    parameter: str | None = None
    label: str = ""
    placeholder: str = ""

    @property
    def flag(self) -> str:
        return "-o" if self.name == "variable" else f"--{self.name.replace('_', '-')}"


SUBCOMMANDS = {
    row.name: row
    for row in (
        Subcommand("targets"),
        Subcommand("doctor", "one target", most=1, completes="target"),
        Subcommand("setup", "one toolchain", most=1, completes="environment"),
        Subcommand("simulate", "one model", most=1),
        Subcommand("merge", "two runs, reports, or files of reports", fewest=2, most=2),
        Subcommand("panel"),
    )
}
WORDS = "the model (a name or an expression); or " + "; ".join(
    f"`{row.name}`" + (f" and {row.takes}" if row.most else "") for row in SUBCOMMANDS.values()
)

_ROWS = (
    Option(
        "input",
        "the model's example input: a name or an expression",
        completes="tensor",
        forms=(RUN, "simulate"),
        parameter="example",
        label="Example input",
    ),
    Option(
        "target",
        "the chip, as `%hwprune targets` lists them, or chip:toolchain",
        default="cpu",
        completes="target:toolchain",
        forms=COMPILES,
        label="Target",
    ),
    Option(
        "pattern",
        "2:4 (any n:m), 16x16 (any AxB), channel, channel/8, unstructured",
        choices=("2:4", "16x16", "128x128", "channel", "channel/8", "unstructured"),
        open=True,
        label="Pattern",
    ),
    Option("sparsity", "the share to remove, above 0 and below 1", type=float, label="Sparsity"),
    Option(
        "importance",
        "what is kept: magnitude, activation (Wanda), second-order (mends what stays); for channels also taylor",
        default="magnitude",
        choices=("magnitude", "activation", "second-order", "taylor"),
        label="Importance",
    ),
    Option(
        "calib",
        "inputs to rank by, or for a --recipe: a tensor, a list, a DataLoader (default: --input)",
        completes="tensor",
        label="Calibrate with",
        placeholder="the example input",
    ),
    Option(
        "allocation",
        "uniform: the same share of each layer; global: ranked together; sensitivity, or sensitivity:score: by a scan "
        "of each layer alone",
        default="uniform",
        choices=("uniform", "global", "sensitivity", "sensitivity:score"),
        label="Allocation",
    ),
    Option("dense", "a layer to leave alone, by name or wildcard ('layers.0.*'); repeatable", default=()),
    Option("permute", "let input channels change places, so that n:m or blocks keep more", default=False),
    Option(
        "recipe", "a SparseML recipe that prunes: a file, or the name of a variable with its text", completes="recipe"
    ),
    Option(
        "toolchain",
        "who compiles and judges, instead of the target's first",
        completes="toolchain",
        forms=COMPILES,
        label="Toolchain",
        placeholder="the first that works here",
    ),
    Option(
        "dtype",
        "what a GPU runs both models in: bfloat16, float16, int8, float8 (default: the target's)",
        completes="dtype",
    ),
    Option("keep_all", "leave also those layers pruned that gain nothing, if they run at all", default=False),
    Option("threads", "threads of the compiled model", type=int, default=1, forms=COMPILES, label="Threads"),
    Option("batch", "rows of the input (default: as the example has)", type=int, forms=COMPILES),
    Option(
        "eval",
        "a score, higher is better: a function of the model, or an expression with its name",
        completes="score",
        parameter="score",
        label="Score",
        placeholder="none; accuracy(net), for example",
    ),
    Option(
        "schedule",
        "with a cell: one-shot, iterative or cubic, how the share grows",
        default="one-shot",
        choices=("one-shot", "iterative", "cubic"),
    ),
    Option("steps", "with a cell: how many times to prune, and to run it after", type=int, default=1),
    Option(
        "zoo",
        "instead of a model: a SparseZoo folder, a zoo: stub, or the YAML of an analysis",
        completes="folder",
        forms=(ZOO,),
        parameter="source",
    ),
    Option(
        "timeout", "seconds the toolchain may take", type=float, default=1800, forms=COMPILES, parameter="timeout_s"
    ),
    Option("smoke", "have each toolchain compile and run a small model", default=False, forms=("doctor",)),
    Option("accept_licence", "accept the licence that the line shows without it", default=False, forms=("setup",)),
    Option("remove", "remove the environment", default=False, forms=("setup",), parameter="remove_it"),
    Option("python", "the interpreter to make the environment of", forms=("setup",)),
    Option(
        "variable",
        "also keep the result in this variable",
        forms=(RUN, ZOO, *(name for name in SUBCOMMANDS if name != "panel")),
        parameter="",
        label="Keep as",
        placeholder="no variable",
    ),
)
OPTIONS = {row.name: row for row in _ROWS}

MODEL = "model"  # the field of the panels that is no option but the line's first word
FIELDS = (MODEL, *(name for name, option in OPTIONS.items() if option.label))
DEFAULTS = {name: str(OPTIONS[name].default or "") if name in OPTIONS else "" for name in FIELDS}


def parameters(form: str) -> dict[str, str]:
    """Return what the function behind a form calls the options that it takes, each with the option's name."""
    taken = [row for row in _ROWS if form in row.forms and row.parameter != ""]
    return {row.parameter or row.name: row.name for row in taken}


def keywords(parsed: Namespace, form: str) -> dict[str, Any]:
    """Return the options that a form takes as keywords of its function, names and expressions as they were typed."""
    return {parameter: getattr(parsed, name) for parameter, name in parameters(form).items()}


def add_to(parser: ArgumentParser, option: Option, *, lead: str = "") -> None:
    """Have an argparse parser take the option, its help after `lead`."""
    default = f" (default {option.default})" if option.default else ""
    said = f"{lead}{option.help}{default}".replace("%", "%%")
    if option.default is False:
        parser.add_argument(option.flag, dest=option.name, help=said, action="store_true")
    elif option.default == ():
        parser.add_argument(option.flag, dest=option.name, help=said, action="append", default=[])
    else:
        parser.add_argument(option.flag, dest=option.name, help=said, type=option.type, default=option.default)


def magic_line(asked: Mapping[str, Any], *, cell: bool = False) -> str:
    """Return the line that asks for the model and the options named: what differs from the defaults, as in the help."""
    words = ["%%hwprune" if cell else "%hwprune"]
    model = _text(asked.get(MODEL))
    if model:  # one called as a form of the magic, or that begins as an option does, would be taken for that
        words.append(shlex.quote(f"({model})" if model in SUBCOMMANDS or model.startswith("-") else model))
    for option in OPTIONS.values():
        words += _said(option, asked.get(option.name))
    return " ".join(words)


def _said(option: Option, value: Any) -> list[str]:
    if option.default is False:
        return [option.flag] if value else []
    given = [_text(each) for each in (value or () if option.default == () else [value])]
    said = [text for text in given if text not in ("", str(option.default or ""))]
    return [word for text in said for word in _with_value(option, text)]


def _with_value(option: Option, text: str) -> list[str]:
    """Join what begins with a dash to its option: it would be taken for one of its own."""
    return [f"{option.flag}={shlex.quote(text)}"] if text.startswith("-") else [option.flag, shlex.quote(text)]


def _text(value: Any) -> str:
    """Return a value as it is typed, in one line: a line magic ends with its line."""
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return " ".join(part for line in text.splitlines() if (part := line.strip()))
