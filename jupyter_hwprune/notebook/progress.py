"""One line that updates itself, in a notebook and in a terminal."""

import sys
import time
from dataclasses import asdict, dataclass
from html import escape
from types import TracebackType
from typing import Any, Literal, Self

from ..core.interrupts import unbroken

MIME_TYPE = "application/vnd.hwprune.progress+json"
# The steps of a run, and the phases in each. A search measures many plans in its own step; the dense model in other
# runtimes is timed before and after the candidates, which is no step of its own.
STEPS = (
    ("prune", "find", "search", "train"),
    ("export", "quantise"),
    ("compile", "load", "baseline"),
    ("check",),
    ("profile", "count"),
    ("measure", "confirm", "rate", "runtimes", "meter", "hotspots", "peak", "score"),
)
EVERY_S = 0.2
TERMINAL_WIDTH = 100


@dataclass(frozen=True)
class Progress:
    """How far a run is, as data for the lab extension.

    `phase` is find, prune, export, compile, load, check, profile, measure, or another of the form's own; `step` is the
    place in STEPS of the furthest one so far, None where there was none of these. `summary` says how the run ended.
    """

    state: Literal["running", "done", "stopped"]
    phase: str
    detail: str
    elapsed_s: float
    summary: str | None = None
    step: int | None = None
    version: int = 1


def further(step: int | None, phase: str) -> int | None:
    """Return the furthest step so far: runs come back to earlier phases for each of their models and rounds."""
    place = next((at for at, phases in enumerate(STEPS) if phase in phases), None)
    return step if place is None or (step is not None and step > place) else place


class Interrupted(KeyboardInterrupt):
    """The user's own interrupt, which IPython shows as one line without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return ["KeyboardInterrupt: stopped; the worker has ended and nothing was changed."]


class ProgressLine:
    """Call it with a phase and a detail, and `done` at the end; otherwise it says in which phase the run stopped.

    Raises Interrupted for a KeyboardInterrupt.
    """

    def __init__(self, shell: Any) -> None:
        self._in_notebook = hasattr(shell, "kernel")
        self._handle: Any = None
        self._start = time.monotonic()
        self._next = 0.0
        self._phase = self._detail = ""
        self._step: int | None = None
        self._said = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None and self._said:
            how = "interrupted" if issubclass(kind, KeyboardInterrupt) else "stopped"
            with unbroken():
                self._say("stopped", f"{how} in phase {self._phase}", " after {:.0f} s")
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted from None

    def __call__(self, phase: str, detail: str) -> None:
        now = time.monotonic()
        self._step = further(self._step, phase)
        if phase != self._phase or now >= self._next:
            self._phase, self._detail, self._next = phase, detail, now + EVERY_S
            self._say("running", f"{phase} ({detail})", ", {:.0f} s")

    def done(self, summary: str) -> None:
        self._say("done", summary, " ({:.0f} s)")

    def _say(self, state: Literal["running", "done", "stopped"], words: str, time_taken: str) -> None:
        self._said, elapsed_s = True, time.monotonic() - self._start
        line = f"hwprune: {words}{time_taken.format(elapsed_s)}"
        if self._in_notebook:
            from IPython.display import display

            summary = None if state == "running" else words
            progress = Progress(state, self._phase, self._detail, round(elapsed_s, 1), summary, self._step)
            data = {"text/plain": line, "text/html": f"<div>{escape(line)}</div>", MIME_TYPE: asdict(progress)}
            if self._handle is None:
                self._handle = display(data, raw=True, display_id=True)
            else:
                self._handle.update(data, raw=True)
        elif state != "running":
            print(f"\r{line:<{TERMINAL_WIDTH}}", flush=True)
        elif sys.stdout.isatty():
            print(f"\r{line[:TERMINAL_WIDTH]:<{TERMINAL_WIDTH}}", end="", flush=True)
