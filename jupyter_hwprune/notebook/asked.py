"""Parse a line of the magic as a shell would, check it against its form, and turn it into arguments."""

import inspect
import keyword
import re
import shlex
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping
from typing import Any, NoReturn

from IPython.core.error import UsageError

from ..core.nearest import did_you_mean
from ..core.options import FROM, OPTIONS, RUN, SUBCOMMANDS, WITHOUT_A_MODEL, ZOO, Subcommand, add_to, keywords
from .namespace import evaluate, find_input, find_model, find_recipe, scorer, tensors

INSTEAD = {ZOO: "measures a model that is pruned already", FROM: "reads a model from files, and measures no time"}


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise UsageError, with the option that a misspelt one is most like."""
        unknown = re.match(r"unrecognized arguments: .*?(--?[^\s=]+)", message)
        flags = [option.flag for option in OPTIONS.values()]
        raise UsageError(f"{message}.{did_you_mean(unknown[1], flags)}" if unknown else message)

    def format_help(self) -> str:
        """Return the forms of the magic first, then what it does, and the options."""
        forms = {"%hwprune [MODEL] [OPTIONS]": "prune a copy of a model for a chip, and measure it there"}
        forms["%%hwprune [MODEL] [OPTIONS]"] = "the same, with the cell below as its fine-tune step"
        forms |= {f"%hwprune {row.name}{_words_of(row)}": row.about for row in SUBCOMMANDS.values()}
        width = max(map(len, forms))
        lines = [f"  {form:<{width}}  {about}" for form, about in forms.items()]
        model = "MODEL is a name or an expression; without one, the only model here is taken."
        return "\n".join([*lines, "", model, "", super().format_help()])


def _words_of(row: Subcommand) -> str:
    word = (row.completes or "").partition(":")[0].upper()
    word = "TOOLCHAIN" if word == "ENVIRONMENT" else word
    return f" {word}" * row.fewest or (f" [{word}]" if row.most else "")


def _parser() -> Any:
    parser = _Parser("hwprune", usage=SUPPRESS, add_help=False, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help=SUPPRESS)
    for option in OPTIONS.values():
        elsewhere = not {RUN, ZOO, FROM} & set(option.forms)
        add_to(parser, option, lead=f"{' and '.join(option.forms)}: " if elsewhere else "")
    return parser


PARSER = _parser()


def takes_options(magic: Any) -> Any:
    """Attach the parser to a magic and use its help as docstring, as IPython's own `magic_arguments` does."""
    PARSER.description = inspect.getdoc(magic)
    magic.parser, magic.__doc__ = PARSER, PARSER.format_help()
    return magic


def parse(line: str) -> Namespace | None:
    """Parse what follows `%hwprune`; None if the line only asked for help."""
    try:
        words = shlex.split(line.strip().removesuffix(";"))
    except ValueError as error:
        raise UsageError(f"The line cannot be read: {error}. Check its quotes: %hwprune {line}") from None
    if {"-h", "--help"} & set(words):
        print(PARSER.format_help())
        return None
    options: Namespace = PARSER.parse_args(words)
    if options.variable and (not options.variable.isidentifier() or keyword.iskeyword(options.variable)):
        raise UsageError(f"-o {options.variable}: this is not a valid variable name")
    return options


def form_of(options: Namespace, *, cell: bool) -> str:
    """Return the form of the magic that a line uses; raises UsageError for options that the form does not take."""
    first = options.words[0] if options.words else ""
    named = [form for name, form in WITHOUT_A_MODEL.items() if getattr(options, name) is not None]
    form = first if first in SUBCOMMANDS else named[0] if named else RUN
    if cell and form != RUN:
        raise UsageError(f"%%hwprune prunes a model and trains it with its cell; {form} takes no cell: use %hwprune")
    given = [option for option in OPTIONS.values() if getattr(options, option.name) != PARSER.get_default(option.name)]
    elsewhere = [option for option in given if form not in option.forms]
    refused = sorted(option.flag for option in elsewhere)
    if form == RUN:
        if refused:
            owners = dict.fromkeys(owner for option in elsewhere for owner in option.forms)
            raise UsageError(f"{', '.join(refused)} works with %hwprune {' or '.join(owners)} only")
        if len(options.words) > 1:
            raise UsageError(
                f"%hwprune takes one model, and here are {len(options.words)}: {' '.join(options.words)}. Put an "
                "expression with spaces in quotes"
            )
    elif form not in INSTEAD:
        _check_subcommand(form, len(options.words) - 1, refused)
    elif options.words or refused:
        surplus = ", ".join(["a model"] * bool(options.words) + refused[::-1])
        raise UsageError(f"{form} {INSTEAD[form]}: remove {surplus}. It takes {', '.join(_taken_by(form))}")
    return form


def _check_subcommand(form: str, words: int, refused: list[str]) -> None:
    if form == "panel" and "-o" in refused:
        raise UsageError("%hwprune panel takes no -o: name the variable in the form, under Keep as")
    if refused:
        but = " and ".join(_taken_by(form))
        raise UsageError(f"%hwprune {form} takes no option{f' but {but}' if but else ''}: remove {', '.join(refused)}")
    row = SUBCOMMANDS[form]
    if not row.fewest <= words <= row.most:
        raise UsageError(f"%hwprune {form} takes {row.takes} after it")


def _taken_by(form: str) -> list[str]:
    flags = [option.flag for option in OPTIONS.values() if form in option.forms]
    return sorted(flags, key=lambda flag: (flag.startswith("--"), flag))


def arguments(namespace: Mapping[str, Any], options: Namespace) -> dict[str, Any]:
    """Return the arguments of `hwprune`, with names and expressions looked up in the user's namespace."""
    name, model = find_model(namespace, options.words[0] if options.words else None)
    input_name, example = find_input(namespace, options.input)
    return keywords(options, RUN) | {
        "model": model,
        "example": example,
        "score": None if options.eval is None else scorer(namespace, options.eval, name),
        "recipe": None if options.recipe is None else find_recipe(namespace, options.recipe),
        "calib": find_calib(namespace, options),
        "name": name,
        "input_name": input_name,
        "recipe_name": options.recipe,
        "calib_name": options.calib,
    }


def find_calib(namespace: Mapping[str, Any], options: Namespace) -> Any:
    if options.calib is None:
        return None
    return evaluate(namespace, options.calib, "the calibration inputs", tensors(namespace))
