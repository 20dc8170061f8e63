"""What a line asks for: its words parsed as a shell would, and made into the arguments of `hwprune`."""

from __future__ import annotations

import keyword
import shlex
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError

from .namespace import evaluate, find_input, find_model, find_recipe, scorer

SUBCOMMANDS = ("targets", "doctor", "setup", "simulate", "merge", "panel")


def parse(parser: Any, line: str) -> Namespace | None:
    """Parse what follows `%hwprune`; None when only help was wanted."""
    try:
        words = shlex.split(line.strip().removesuffix(";"))
    except ValueError as error:
        raise UsageError(f"The line cannot be read: {error}. Check its quotes: %hwprune {line}") from None
    if {"-h", "--help"} & set(words):
        print(parser.format_help())
        return None
    options: Namespace = parser.parse_args(words)
    if options.variable and (not options.variable.isidentifier() or keyword.iskeyword(options.variable)):
        raise UsageError(f"-o {options.variable}: that is no name for a variable")
    return options


def arguments(namespace: Mapping[str, Any], options: Namespace) -> dict[str, Any]:
    """Return the arguments of `hwprune` that the options mean in the user's namespace."""
    name, model = find_model(namespace, options.words[0] if options.words else None)
    input_name, example = find_input(namespace, options.input)
    return {
        "model": model,
        "example": example,
        "pattern": options.pattern,
        "sparsity": options.sparsity,
        "importance": options.importance,
        "allocation": options.allocation,
        "dense": options.dense or (),
        "permute": options.permute,
        "dtype": options.dtype,
        "keep_all": options.keep_all,
        "score": None if options.eval is None else scorer(namespace, options.eval, name),
        "schedule": options.schedule,
        "steps": options.steps,
        "recipe": None if options.recipe is None else find_recipe(namespace, options.recipe),
        "calib": None if options.calib is None else evaluate(namespace, options.calib, "the calibration inputs"),
        "name": name,
        "input_name": input_name,
        "recipe_name": options.recipe,
        "calib_name": options.calib,
        **judge(options),
    }


def judge(options: Namespace) -> dict[str, Any]:
    """Return who is to judge and how, as every form takes it that compiles something."""
    return {
        "target": options.target,
        "toolchain": options.toolchain,
        "threads": options.threads,
        "batch": options.batch,
        "timeout_s": options.timeout,
    }
