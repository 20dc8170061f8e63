"""Find or evaluate the model, the input and the score in the user's namespace, without changing it."""

import ast
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError, first_line

PREFERRED_INPUTS = ("example_input", "example", "inputs", "x")


def models(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the modules with parameters by name, each once; loss functions are modules without parameters."""
    if "torch" not in sys.modules:
        return {}
    from torch import nn

    found: dict[str, Any] = {}
    for name, value in _own(namespace):
        is_model = isinstance(value, nn.Module) and next(value.parameters(), None) is not None
        if is_model and not any(value is other for other in found.values()):
            found[name] = value
    return found


def tensors(namespace: Mapping[str, Any]) -> dict[str, Any]:
    if "torch" not in sys.modules:
        return {}
    import torch

    found = {name: value for name, value in _own(namespace) if isinstance(value, torch.Tensor)}
    return {name: value for name, value in found.items() if not isinstance(value, torch.nn.Parameter)}


def find_model(namespace: Mapping[str, Any], text: str | None) -> tuple[str, Any]:
    """Return the model and its name: the one named by `text`, the namespace's only one, or the one called `model`.

    Raises InputError if there is none, or several.
    """
    if text is not None:
        from torch import nn

        value = evaluate(namespace, text, "the model")
        if not isinstance(value, nn.Module):
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
        return text, evaluate(namespace, text, "the example input")
    import torch

    own = dict(_own(namespace))
    for name in PREFERRED_INPUTS:
        value = own.get(name)
        first = value[0] if isinstance(value, (tuple, list)) and value else value
        if isinstance(first, (torch.Tensor, dict)):
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
    return own if isinstance(own, (str, Path)) else Path(text)


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
    except SyntaxError as error:
        raise InputError(f"--eval {text} is not a Python expression ({error.msg}).") from None
    if model_name not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
        raise InputError(
            f"--eval {text} does not contain {model_name}, so it would score the dense model twice. Write an "
            "expression with the model's name, such as accuracy(net), or the name of a function of the model."
        )
    score.__name__ = text
    return score


def evaluate(namespace: Mapping[str, Any], text: str, what: str) -> Any:
    """Evaluate an expression on a copy of the namespace, so that even `:=` changes nothing in the user's."""
    if text in namespace:
        return namespace[text]
    try:
        return eval(text, dict(namespace))  # noqa: S307 - the user's own expression
    except NameError:
        raise InputError(f"{text}, named as {what}, does not exist here.") from None
    except Exception as error:
        raise InputError(f"{text}, given as {what}, could not be evaluated: {first_line(error)}.") from error


def _own(namespace: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in list(namespace.items()) if not name.startswith("_")]


def _there_are(kind: str, found: Mapping[str, Any]) -> str:
    return f"The {kind} here are: {', '.join(found)}." if found else f"There are no {kind} here."
