"""One line that updates itself, in a notebook and in a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from html import escape
from types import TracebackType
from typing import Any, Self

EVERY_S = 0.2
TERMINAL_WIDTH = 100


class Interrupted(KeyboardInterrupt):
    """The user's own interrupt, which IPython shows as one line: they know what they pressed."""

    def _render_traceback_(self) -> list[str]:
        return ["KeyboardInterrupt: stopped as asked; the worker has ended and nothing was changed."]


@contextlib.contextmanager
def without_traceback() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


class ProgressLine:
    """Call it with a phase and a detail; leave it with `done`, or it says in which phase the run stopped."""

    def __init__(self, shell: Any) -> None:
        self._in_notebook = hasattr(shell, "kernel")
        self._handle: Any = None
        self._start = time.monotonic()
        self._next = 0.0
        self._phase = ""
        self._said: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None and self._said is not None:
            stopped = "interrupted" if kind is Interrupted else "stopped"
            self._say(f"hwprune: {stopped} in phase {self._phase} after {self._elapsed()}", last=True)

    def __call__(self, phase: str, detail: str) -> None:
        now = time.monotonic()
        if phase != self._phase or now >= self._next:
            self._phase, self._next = phase, now + EVERY_S
            self._say(f"hwprune: {phase} ({detail}), {self._elapsed()}")

    def done(self, summary: str) -> None:
        self._say(f"hwprune: {summary} ({self._elapsed()})", last=True)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._start:.0f} s"

    def _say(self, line: str, *, last: bool = False) -> None:
        self._said = line
        if self._in_notebook:
            from IPython.display import display

            data = {"text/plain": line, "text/html": f"<div>{escape(line)}</div>"}
            if self._handle is None:
                self._handle = display(data, raw=True, display_id=True)
            else:
                self._handle.update(data, raw=True)
        elif last:
            print(f"\r{line:<{TERMINAL_WIDTH}}", flush=True)
        elif sys.stdout.isatty():
            print(f"\r{line[:TERMINAL_WIDTH]:<{TERMINAL_WIDTH}}", end="", flush=True)
