"""One door for every failure: what is not an error of ours leaves a public function as one, with its cause."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from .errors import HwpruneError, first_line

P = ParamSpec("P")
R = TypeVar("R")
YOURS = ("finetune", "progress")  # the caller's own functions, whose errors are the caller's to see


def one_door(kind: type[HwpruneError]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Turn any exception that is not ours into a `kind`, which names the phase that `progress` told of last.

    Errors of the caller's `finetune` and `progress` pass as they are, and so does what is no Exception, such as an
    interrupt.
    """
    return functools.partial(_guarded, kind)


def _guarded(kind: type[HwpruneError], function: Callable[P, R]) -> Callable[P, R]:
    signature = inspect.signature(function)
    takes = signature.parameters

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
            where = f" in the phase {phase[0]}" if phase else " before its first phase" if "progress" in takes else ""
            raise kind(
                f"{function.__qualname__} stopped{where} with an unexpected error: "
                f"{first_line(error)}. {_advice(takes)}The whole traceback is in this error's __cause__, and worth a "
                "report."
            ) from error

    return guarded


def _advice(takes: Mapping[str, object]) -> str:
    """Say what stays as it is and what may help, by the parameters of the function."""
    said = "Your model is unchanged. " if "model" in takes else ""
    others = [f"--{name}" for name in ("pattern", "toolchain") if name in takes]
    return said + (f"Another {' or '.join(others)} may avoid it. " if others else "")


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
