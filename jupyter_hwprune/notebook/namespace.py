"""Find or evaluate the model, the input and the score in the user's namespace, without changing it."""

import ast
import builtins
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from ..core.errors import InputError, first_line
from ..core.nearest import did_you_mean
from ..core.options import SUBCOMMANDS

T = TypeVar("T")
PREFERRED_INPUTS = ("example_input", "example", "inputs", "x")


def models(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the modules with parameters by name, each once; loss functions are modules without parameters."""
    if "torch" not in sys.modules:
        return {}
    found: dict[str, Any] = {}
    for name, value in _own(namespace):
        if _has_parameters(value) and not any(value is other for other in found.values()):
            found[name] = value
    return found


def tensors(namespace: Mapping[str, Any]) -> dict[str, Any]:
    if "torch" not in sys.modules:
        return {}
    import torch

    found = {name: value for name, value in _own(namespace) if is_a(value, torch.Tensor)}
    return {name: value for name, value in found.items() if not isinstance(value, torch.nn.Parameter)}


def is_a(value: Any, kind: type[T]) -> TypeGuard[T]:
    """Say whether a value is of a kind; one that cannot say its own class, as an unbound proxy, is of none."""
    try:
        return isinstance(value, kind)
    except Exception:  # noqa: BLE001 - anything may stand in a namespace
        return False


def _has_parameters(value: Any) -> bool:
    from torch import nn

    try:
        return isinstance(value, nn.Module) and next(value.parameters(), None) is not None
    except Exception:  # noqa: BLE001 - a module whose __init__ failed half-way raises here
        return False


def find_model(namespace: Mapping[str, Any], text: str | None) -> tuple[str, Any]:
    """Return the model and its name: the one named by `text`, the namespace's only one, or the one called `model`.

    Raises InputError if there is none, or several.
    """
    if text is not None:
        from torch import nn

        value = evaluate(namespace, text, "the model", (*models(namespace), *SUBCOMMANDS))
        if not is_a(value, nn.Module):
            raise InputError(
                f"{text} is a {type(value).__name__}, not a torch nn.Module. {_there_are('models', models(namespace))}"
            )
        return text, value
    found = models(namespace)
    if "model" in found:
        return "model", found["model"]
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        raise InputError(
            f"There are several models here: {', '.join(found)}. Name one, e.g. %hwprune {next(iter(found))}."
        )
    raise InputError("There is no model here: no torch nn.Module with parameters. Make one, or name it: %hwprune net.")


def find_input(namespace: Mapping[str, Any], text: str | None) -> tuple[str, Any]:
    """Return the example input and its name: the one named by `text`, a tensor of a usual name, or the only tensor."""
    if text is not None:
        return text, evaluate(namespace, text, "the example input", tensors(namespace))
    import torch

    own = dict(_own(namespace))
    for name in PREFERRED_INPUTS:
        value = own.get(name)
        first = next(iter(value), None) if is_a(value, tuple) or is_a(value, list) else value
        if is_a(first, torch.Tensor) or is_a(first, dict):
            return name, value
    found = tensors(namespace)
    if len(found) == 1:
        return next(iter(found.items()))
    raise InputError(
        f"The example input is not clear. {_there_are('tensors', found)} Name the model's input, e.g. --input x."
    )


def find_recipe(namespace: Mapping[str, Any], text: str) -> str | Path:
    """Return the recipe: the value of the variable of that name, or else the path of a file."""
    own = namespace.get(text)
    return own if is_a(own, str) or is_a(own, Path) else Path(text)


def scorer(namespace: Mapping[str, Any], text: str, model_name: str) -> Callable[[Any], float]:
    """Turn `text` into a score: it names a function of the model, or is an expression with the model's name."""
    if text in namespace and callable(namespace[text]):
        function: Callable[[Any], float] = namespace[text]
        return function

    def score(model: Any) -> float:
        value: float = eval(text, dict(namespace) | {model_name: model})  # noqa: S307 - the user's own expression
        return value

    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last three: NUL bytes, deep brackets
        said = error.msg if isinstance(error, SyntaxError) else first_line(error)
        raise InputError(f"--eval {text} is not a Python expression ({said}).") from None
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    own = {node.id for node in names if not isinstance(node.ctx, ast.Load)}  # of a comprehension, or by :=
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} | {model_name, *dir(builtins)}
    missing = next((node.id for node in names if node.id not in own and node.id not in namespace), None)
    if missing is not None:
        near = did_you_mean(missing, [name for name, value in _own(namespace) if callable(value)])
        raise InputError(f"--eval {text} cannot be a score: {missing} does not exist here.{near}")
    if model_name not in {node.id for node in names}:
        raise InputError(
            f"--eval {text} does not contain {model_name}, so it would score the dense model twice. Write an "
            "expression with the model's name, such as accuracy(net), or the name of a function of the model."
        )
    score.__name__ = text
    return score


def evaluate(namespace: Mapping[str, Any], text: str, what: str, likely: Collection[str]) -> Any:
    """Evaluate an expression on a copy of the namespace, so that even `:=` changes nothing in the user's.

    A name that does not exist is held against the `likely` ones first.
    """
    if text in namespace:
        return namespace[text]
    try:
        return eval(text, dict(namespace))  # noqa: S307 - the user's own expression
    except NameError as error:
        if error.name == text:
            near = did_you_mean(text, likely) or did_you_mean(text, dict(_own(namespace)))
            raise InputError(f"{text}, named as {what}, does not exist here.{near}") from None
        near = did_you_mean(error.name or "", dict(_own(namespace)))
        raise InputError(f"{text}, given as {what}, could not be evaluated: {error}.{near}") from error
    except Exception as error:
        raise InputError(f"{text}, given as {what}, could not be evaluated: {first_line(error)}.") from error


def _own(namespace: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in list(namespace.items()) if not name.startswith("_")]


def _there_are(kind: str, found: Mapping[str, Any]) -> str:
    return f"The {kind} here are: {', '.join(found)}." if found else f"There are no {kind} here."
