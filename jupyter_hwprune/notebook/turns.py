"""Take turns with the user's cells: a run in its own thread has the process to itself between two cells.

Random numbers, torch's tracer and warning filters belong to the whole process. What a run changes in them for a moment
would hit a cell that runs at the same time (an export in another thread breaks a training loop). So the kernel's main
thread waits while a run prunes or exports, and the state of the user's random numbers is saved and restored. While a
worker process runs, none of this is needed, and cells run beside it.
"""

import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

TURN_S = 0.2  # after this long the cells get a turn, as soon as the run can pause
CELLS_S = 0.02  # time for a cell to start, which then runs to its end


class Cancelled(BaseException):
    """Ends the run; a BaseException, so that no `except Exception` catches it."""


@dataclass
class Turn:
    begun: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    until: float = 0.0
    gradients: bool = True
    device: Any = None


class Turns:
    """The turns of the run in `thread`, until `cancelled`; `loop` is the event loop of the kernel's main thread."""

    def __init__(self, loop: Any, cancelled: threading.Event, thread: threading.Thread) -> None:
        self._loop, self._cancelled, self._thread = loop, cancelled, thread
        self.turn: Turn | None = None
        self._own = contextlib.ExitStack()
        self.waits = False

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take turns from here on, with torch in the same modes as in the main thread."""
        try:
            turn = self._take()
            if torch := sys.modules.get("torch"):
                torch.set_grad_enabled(turn.gradients)
                torch.set_default_device(turn.device)
            self.still_wanted()
            yield
        finally:
            self._give()

    @contextlib.contextmanager
    def given(self) -> Iterator[Callable[[], None]]:
        """Leave the process to the cells, for `toolchains.process.waiting`. Raises Cancelled."""
        try:
            self._give()
            yield self.still_wanted
        finally:
            self._take()  # after a cancel too: the run still has to restore the state of the process
        self.still_wanted()

    def pause(self) -> None:
        """Give the cells a turn when it is time. Raises Cancelled."""
        self.still_wanted()
        if self.turn is not None and time.monotonic() > self.turn.until:
            with self.given():
                time.sleep(CELLS_S)

    def still_wanted(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def _take(self) -> Turn:
        if self.turn is not None and not self.turn.over.is_set():
            return self.turn  # the run was cancelled while it gave its turn away
        turn, self.waits = Turn(), True
        self._loop.add_callback(self._stand_still, turn)
        turn.begun.wait()
        turn.until = time.monotonic() + TURN_S
        self.turn, self.waits = turn, False
        return turn

    def _give(self) -> None:
        if self.turn is not None:
            self.turn.over.set()
            self.turn = None

    def _stand_still(self, turn: Turn) -> None:
        """Wait in the main thread while the run has its turn."""
        theirs = shared_state()
        if torch := sys.modules.get("torch"):
            turn.gradients, turn.device = torch.is_grad_enabled(), torch.get_default_device()
        self._own.close()
        out: Any = Others(sys.stdout, self._thread)
        err: Any = Others(sys.stderr, self._thread)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                turn.begun.set()
                while not turn.over.wait(TURN_S) and self._thread.is_alive():
                    pass
        finally:
            self._own = shared_state()
            theirs.close()


class Others:
    """A stream that drops the output of one thread, which would appear under a cell that did not write it."""

    def __init__(self, stream: Any, mute: threading.Thread) -> None:
        self._stream, self._mute = stream, mute

    def write(self, text: str) -> Any:
        return len(text) if threading.current_thread() is self._mute else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def shared_state() -> contextlib.ExitStack:
    """Keep the state that all code of the process shares: random numbers, a switch of torch; closing puts it back."""
    kept = contextlib.ExitStack()
    kept.callback(random.setstate, random.getstate())
    if numpy := sys.modules.get("numpy"):
        kept.callback(numpy.random.set_state, numpy.random.get_state())
    if torch := sys.modules.get("torch"):
        kept.callback(torch.set_rng_state, torch.get_rng_state())
        kept.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        if torch.cuda.is_initialized():
            kept.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    return kept
