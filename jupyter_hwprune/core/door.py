"""One door for every failure: what is not an error of ours leaves a public function as one, with its cause."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .errors import HwpruneError, PruneError, first_line

P = ParamSpec("P")
R = TypeVar("R")
YOURS = ("finetune", "progress")  # the caller's own functions, whose errors are the caller's to see


def one_door(function: Callable[P, R]) -> Callable[P, R]:
    """Turn any exception that is not ours into a PruneError, which names the phase that `progress` told of last.

    Errors of the caller's `finetune` and `progress` pass as they are, and so does what is no Exception, such as an
    interrupt.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        phase: list[str] = []
        theirs: list[BaseException] = []
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:  # a wrong call, which Python itself words best
            return function(*args, **kwargs)
        given.apply_defaults()
        watched = {name: given.arguments[name] for name in YOURS if callable(given.arguments.get(name))}
        given.arguments.update({name: _watched(own, theirs) for name, own in watched.items()})
        if "progress" in watched:
            given.arguments["progress"] = _noted(given.arguments["progress"], phase)
        try:
            return function(*given.args, **given.kwargs)
        except HwpruneError:
            raise
        except Exception as error:
            if any(error is each for each in theirs):
                raise
            where = f"in the phase {phase[0]}" if phase else "before its first phase"
            raise PruneError(
                f"{function.__name__} stopped {where} at an error that it has no better words for: "
                f"{first_line(error)}. Your model is unchanged. Another --pattern or --toolchain may avoid it; the "
                "whole traceback is in this error's __cause__, and worth a report."
            ) from error

    return guarded


def _watched(own: Callable[..., Any], theirs: list[BaseException]) -> Callable[..., Any]:
    @functools.wraps(own)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return own(*args, **kwargs)
        except Exception as error:
            theirs.append(error)
            raise

    return call


def _noted(progress: Callable[[str, str], Any], phase: list[str]) -> Callable[[str, str], Any]:
    def tell(name: str, detail: str) -> Any:
        phase[:] = [f"{name} ({detail})" if detail else name]
        return progress(name, detail)

    return tell
