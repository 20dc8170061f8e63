"""Work in a thread of its own; any thread can read its progress or cancel it."""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from ..core.interrupts import AGAIN_S, spare
from ..toolchains.process import Progress, waiting
from .progress import further
from .turns import Cancelled, Turns

PATIENCE_S = 0.3  # for cancelled work to reach a place where it checks for that, or to hear an interrupt


class Background:
    """`work` takes turns with the cells, see `turns`; it ends with a `value` or an `error`.

    `loop` is the event loop of the kernel's main thread. `phase`, `detail` and `step` say how far the work is.
    """

    def __init__(self, loop: Any, work: Callable[[Progress], Any]) -> None:
        self._work = work
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hwprune", daemon=True)
        self._turns = Turns(loop, self._cancelled, self._thread)
        self._start = time.monotonic()
        self._cancelled_at: float | None = None
        self._next_interrupt: float = 0.0
        self.phase, self.detail = "prune", ""
        self.step: int | None = 0
        self.value: Any = None
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """End the work, or what it can spare of it: then it goes on to its end with the answer that it has."""
        if self._cancelled_at is None and spare(self._thread.ident):
            return
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self._next_interrupt = self._cancelled_at + PATIENCE_S
        self._cancelled.set()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def waits(self) -> bool:
        """Whether it waits for a cell to end."""
        return self._turns.waits

    def outcome(self, timeout_s: float) -> Literal["done", "failed", "cancelled"] | None:
        """Wait that long for the work to end; return how it ended, or None if it still runs.

        Cancelled work counts as ended once its worker has ended and its turn is over: its thread may have to wait for a
        cell after that, to restore the state of the process.
        """
        self._thread.join(timeout_s)
        if self._cancelled_at is not None:
            if not self._thread.is_alive() or self.waits:
                return "cancelled"
            if self._turns.turn is not None and time.monotonic() > self._next_interrupt:
                self._interrupt()
            return None
        if self._thread.is_alive():
            return None
        return "done" if self.error is None else "failed"

    def _interrupt(self) -> None:
        """Raise Cancelled wherever the thread is, in torch or in the user's code, as Ctrl-C does in the main thread.

        Not while a worker runs: the thread checks often then, and cleaning up after an interrupt needs a turn. Again
        where it went unheard: Python drops what is raised in a finaliser or in a callback of C code.
        """
        self._next_interrupt = time.monotonic() + AGAIN_S
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(Cancelled))

    def _run(self) -> None:
        waiting.set(self._turns.given)
        try:
            with self._turns.taken():
                self.value = self._work(self._progress)
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - the user's own code may raise anything
            self.error = error

    def _progress(self, phase: str, detail: str) -> None:
        self.phase, self.detail, self.step = phase, detail, further(self.step, phase)
        self._turns.pause()
