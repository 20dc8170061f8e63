"""The options of `%hwprune` in one table, and the function that writes the magic's line from them.

The parser, the checks of each form, tab completion, both panels and the documentation use these rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from .pattern import NOTATIONS, USUAL

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

Kind = Literal[
    "target", "target:toolchain", "toolchain", "environment", "dtype", "model", "tensor", "score", "recipe", "report",
    "layer", "mistake", "threads", "folder", "file"
]  # fmt: skip

Importance = Literal["magnitude", "activation", "second-order", "taylor"]
Solver = Literal["quick", "full", "best"]
Allocation = Literal["uniform", "global", "sensitivity", "sensitivity:score", "mixed"]
Schedule = Literal["one-shot", "iterative", "cubic"]

AUTO = "auto"  # an importance
RUN, ZOO, FROM = "a run", "--zoo", "--from"  # the forms without a word of their own
WITHOUT_A_MODEL = {"zoo": ZOO, "from": FROM}  # the forms that an option makes, by its name
COMPILES = (RUN, ZOO, "simulate", "advise")


@dataclass(frozen=True)
class Subcommand:
    """A form of the magic named by its first word; `fewest` to `most` words follow, of the kind `completes`."""

    name: str
    about: str
    takes: str = "no word"
    fewest: int = 0
    most: int = 0
    completes: Kind | None = None


@dataclass(frozen=True)
class Option:
    """One option under its Python name; `parameter` is the functions' name for it, "" if they do not take it.

    A default of False marks a flag without a value, () an option that can be repeated. `choices` are all the values it
    takes, or examples if it is `open`; `completes` names what Tab looks for instead, and `examples` are what it offers
    of numbers and the like. `forms` are the forms of the magic that take it. The panels show a field for each option
    that has a `label`.
    """

    name: str
    help: str
    type: type = str
    default: Any = None
    choices: tuple[str, ...] = ()
    open: bool = False
    completes: Kind | None = None
    examples: tuple[str, ...] = ()
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
        Subcommand("targets", "list the chips, and what this machine can do for each"),
        Subcommand(
            "doctor", "check what works here, and how to fix the rest", "one target", most=1, completes="target"
        ),
        Subcommand("setup", "install a toolchain's environment", "one toolchain", most=1, completes="environment"),
        Subcommand(
            "advise", "measure what pruning would gain, before training", "one model", most=1, completes="model"
        ),
        Subcommand("simulate", "time the dense model with simulated sparsity", "one model", most=1, completes="model"),
        Subcommand("merge", "join two reports", "two runs, reports, or report files", 2, 2, completes="report"),
        Subcommand("panel", "show a form that writes the line"),
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
        forms=(RUN, "simulate", "advise"),
        parameter="example",
        label="Example input",
    ),
    Option(
        "target",
        "the chip by its name in `%hwprune targets`, chip:toolchain, or a module with a TARGET; advise takes several, "
        "with commas, or all that can be measured here",
        default="cpu",
        completes="target:toolchain",
        forms=(*COMPILES, FROM),
        label="Target",
    ),
    Option(
        "pattern",
        NOTATIONS,
        choices=USUAL,
        open=True,
        label="Pattern",
        forms=(RUN, FROM),
    ),
    Option(
        "sparsity",
        "the share to remove, above 0 and below 1",
        type=float,
        label="Sparsity",
        examples=("0.5", "0.75", "0.9"),
        forms=(RUN, FROM),
    ),
    Option(
        "importance",
        "how weights or channels are ranked: magnitude, second-order (which also corrects the remaining weights); for "
        "single weights also activation (Wanda), for channels taylor; auto: second-order for channels removed at once, "
        "if there is --calib and it takes seconds, else magnitude",
        default=AUTO,
        choices=(AUTO, *get_args(Importance)),
        label="Importance",
        forms=(RUN, FROM),
    ),
    Option(
        "solver",
        "with --importance second-order for zeros: how long each layer's mask is searched; quick: one sweep; full: a "
        "second sweep and a fit of the weights that stay; best: also a search by splitting, some ten times as long",
        default="full",
        choices=get_args(Solver),
        forms=(RUN, FROM),
    ),
    Option(
        "tune_blocks",
        "after pruning, train the weights left in each block for this many steps to reproduce the dense block's output "
        "on --calib, without labels",
        type=int,
        examples=("100", "300"),
    ),
    Option(
        "calib",
        "calibration inputs, to rank by, for BatchNorm's statistics, to --tune-blocks or --recover with, or for a "
        "--recipe: a tensor, a "
        "list or a DataLoader (default: --input)",
        completes="tensor",
        forms=(RUN, "advise", FROM),
        label="Calibrate with",
        placeholder="the example input",
    ),
    Option(
        "allocation",
        "uniform: the same share from each layer; global: all layers ranked together; sensitivity or "
        "sensitivity:score: shares set by first pruning each layer alone; mixed: the same, by an exact knapsack",
        default="uniform",
        choices=get_args(Allocation),
        label="Allocation",
        forms=(RUN, FROM),
    ),
    Option(
        "dense",
        "a layer to leave unpruned, by name or wildcard ('layers.0.*'); repeatable",
        default=(),
        completes="layer",
        forms=(RUN, FROM),
    ),
    Option("permute", "reorder input channels first, so that n:m or blocks lose less", default=False),
    Option("recipe", "a SparseML recipe to prune by: a file, or a variable that holds its text", completes="recipe"),
    Option(
        "toolchain",
        "the toolchain that compiles and measures (default: the target's first that works here and has kernels for the "
        "model's layers); all: compare all of the target's that run here",
        completes="toolchain",
        forms=COMPILES,
        label="Toolchain",
        placeholder="the first that works here",
    ),
    Option(
        "tune_kernels",
        "seconds for a toolchain that tunes to try schedules of both models' kernels on this machine, before they are "
        "timed; the schedules it finds are kept, so no kernel is tuned twice",
        type=float,
        examples=("60", "300"),
    ),
    Option(
        "rpc",
        "HOST:PORT of a board that the toolchain's own server runs on, or of a tracker of such boards: the compiled "
        "models are sent there, checked and timed",
        examples=("192.168.1.20:9090",),
    ),
    Option("rpc_key", "the key of the board that the tracker at --rpc is asked for"),
    Option(
        "dtype",
        "on a GPU the data type of both models: bfloat16, float16, int8 or float8 (default: the target's); on a CPU "
        "int8: dense and pruned are also quantised with --calib, and all four are timed in turn",
        completes="dtype",
        label="Data type",
        placeholder="the model's own",
    ),
    Option(
        "int8_error",
        "with --dtype int8 on a CPU: how far the int8 models' outputs may be from those in float, as a share of their "
        "largest value; leaves layers in float until they are that close",
        type=float,
        examples=("0.05", "0.1"),
    ),
    Option(
        "config",
        "a part of the chip's configuration, where it has several: `%hwprune doctor TARGET` lists them; repeatable",
        default=(),
        forms=(RUN, "advise"),
    ),
    Option("keep_all", "keep layers pruned even if they gain nothing, as long as they run", default=False),
    Option(
        "keep_statistics",
        "keep the dense model's running statistics of BatchNorm instead of estimating new ones on --calib",
        default=False,
    ),
    Option(
        "threads",
        "threads for the compiled models",
        type=int,
        default=1,
        forms=COMPILES,
        label="Threads",
        completes="threads",
    ),
    Option(
        "batch",
        "the batch size to compile and measure with (default: the input's)",
        type=int,
        forms=COMPILES,
        examples=("1", "8", "32"),
    ),
    Option(
        "eval",
        "a score, higher is better: a function of the model, or an expression that uses its name",
        completes="score",
        parameter="score",
        label="Score",
        placeholder="none; accuracy(net)",
    ),
    Option(
        "latency_ms",
        "search for the plan that loses least in at most this many milliseconds a batch; the search sets the sparsity",
        type=float,
        label="Goal: milliseconds",
        placeholder="none",
        examples=("1", "5", "20"),
    ),
    Option(
        "speedup",
        "search for the plan that loses least and is at least this many times faster than dense",
        type=float,
        label="Goal: times faster",
        placeholder="none; 2",
        examples=("1.5", "2", "3"),
    ),
    Option(
        "energy_mj",
        "search within this many millijoules a batch, on a chip with an energy meter",
        type=float,
        examples=("1", "5", "20"),
    ),
    Option(
        "power_mw",
        "search within this many milliwatts on average, on a chip with an energy meter",
        type=float,
        examples=("500", "1000", "5000"),
    ),
    Option("size_mb", "search within this many megabytes of compiled files", type=float, examples=("1", "5", "20")),
    Option(
        "max_drop",
        "search for the fastest plan whose score falls by no more than this",
        type=float,
        label="Goal: largest drop",
        placeholder="none; 0.01",
        examples=("0.005", "0.01", "0.02"),
    ),
    Option(
        "schedule",
        "with a cell or --recover: how the sparsity grows over the steps: one-shot, iterative or cubic",
        default="one-shot",
        choices=get_args(Schedule),
    ),
    Option(
        "steps",
        "with a cell or --recover: the number of pruning steps; training follows each",
        type=int,
        default=1,
        examples=("3", "5", "10"),
    ),
    Option(
        "recover",
        "without a cell: train the pruned copy for this many steps to reproduce the dense model's outputs on --calib, "
        "without labels",
        type=int,
        label="Recovery steps",
        placeholder="none; 200 steps",
        examples=("200", "500"),
    ),
    Option(
        "require",
        'what the run must reach, such as "speedup>=1.3, drop<=0.01" or "verdict==faster"; if it does not, the call '
        "fails with the figures, and the run is kept",
        examples=("speedup>=1.3", "drop<=0.01", "verdict==faster"),
    ),
    Option(
        "ignore",
        "the code of a mistake to leave out of the report (HWP113); repeatable",
        default=(),
        forms=(RUN, ZOO, FROM),
        completes="mistake",
    ),
    Option(
        "zoo",
        "instead of a model: a SparseZoo folder, a zoo: stub, or the YAML file of an analysis",
        completes="folder",
        forms=(ZOO,),
        parameter="source",
    ),
    Option(
        "from",
        "instead of a model: the folder of a transformers model, larger than memory, whose blocks are pruned one after "
        "the other on --calib, and written to --out; the same line goes on where it was ended",
        completes="folder",
        forms=(FROM,),
        parameter="source",
    ),
    Option("out", "with --from: the new folder of the pruned model", completes="folder", forms=(FROM,)),
    Option(
        "timeout",
        "the most seconds that the toolchain may take",
        type=float,
        default=1800,
        forms=COMPILES,
        parameter="timeout_s",
        examples=("600", "1800", "7200"),
    ),
    Option("fresh", "measure again what an earlier call on this machine measured", default=False, forms=("advise",)),
    Option("smoke", "have each toolchain compile and run a small model", default=False, forms=("doctor",)),
    Option("accept_licence", "accept the licence; without this, it is shown", default=False, forms=("setup",)),
    Option("remove", "remove the environment", default=False, forms=("setup",), parameter="remove_it"),
    Option("python", "the Python interpreter to make the environment with", forms=("setup",), completes="file"),
    Option(
        "variable",
        "also keep the result in this variable",
        forms=(RUN, ZOO, FROM, *(name for name in SUBCOMMANDS if name != "panel")),
        parameter="",
        label="Keep as",
        placeholder="no variable",
        examples=("run",),
    ),
)
OPTIONS = {row.name: row for row in _ROWS}

MODEL = "model"  # a field of the panels that is the line's first word, not an option
FIELDS = (MODEL, *(name for name, option in OPTIONS.items() if option.label))
DEFAULTS = {name: str(OPTIONS[name].default or "") if name in OPTIONS else "" for name in FIELDS}


def parameters(form: str) -> dict[str, str]:
    """Return the parameters of the function behind a form, each with the name of its option."""
    return {row.parameter or row.name: row.name for row in _ROWS if form in row.forms and row.parameter != ""}


def keywords(parsed: Namespace, form: str) -> dict[str, Any]:
    """Return a form's options as keyword arguments of its function; names and expressions stay as typed."""
    return {parameter: getattr(parsed, name) for parameter, name in parameters(form).items()}


def add_to(parser: ArgumentParser, option: Option, *, lead: str = "") -> None:
    """Add the option to an argparse parser, with `lead` before its help."""
    default = f" (default {option.default})" if option.default else ""
    said = f"{lead}{option.help}{default}".replace("%", "%%")
    if option.default is False:
        parser.add_argument(option.flag, dest=option.name, help=said, action="store_true")
    elif option.default == ():
        parser.add_argument(option.flag, dest=option.name, help=said, action="append", default=[])
    else:
        parser.add_argument(option.flag, dest=option.name, help=said, type=option.type, default=option.default)


def magic_line(asked: Mapping[str, Any], *, cell: bool = False) -> str:
    """Return the magic's line for a model and options: those that differ from their defaults, in the help's order."""
    words = ["%%hwprune" if cell else "%hwprune"]
    model = _text(asked.get(MODEL))
    if model:  # in brackets where the parser would take it for a subcommand or an option
        words.append(shlex.quote(f"({model})" if model in SUBCOMMANDS or model.startswith("-") else model))
    for option in OPTIONS.values():
        words += _said(option, asked.get(option.name))
    return " ".join(words)


def _said(option: Option, value: Any) -> list[str]:
    if option.default is False:
        return [option.flag] if value else []
    given = [_text(each) for each in (value or () if option.default == () else [value])]
    said = [text for text in given if text not in ("", str(option.default or ""))]
    # in one word where the value begins with a dash: argparse would take it for an option
    return [f"{option.flag}{'=' if text.startswith('-') else ' '}{shlex.quote(text)}" for text in said]


def _text(value: Any) -> str:
    """Return a value as typed, on one line: a line magic ends at the first line break."""
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return " ".join(part for line in text.splitlines() if (part := line.strip()))
