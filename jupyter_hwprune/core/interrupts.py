"""Hear every interrupt of the main thread.

Python drops a KeyboardInterrupt that is raised in a finaliser or in a callback of C code, where no caller could catch
it ("Exception ignored in ..."), and importing and exporting a model run thousands of those. Some libraries also catch
whatever is raised. So an interrupt is raised again until the work has ended.
"""

from __future__ import annotations

import _thread
import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

AGAIN_S = 0.5  # longer than cleaning up takes, and short enough that the user does not press again


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Raise an interrupt again and again until this context ends, and always as a KeyboardInterrupt.

    The handler that was there before is called first each time. Does nothing within another such context, in another
    thread, where no signal arrives, or where interrupts are ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or _Hearing.now is not None or not callable(before):
        yield
        return
    hearing = _Hearing(before)
    try:
        with hearing:
            yield
    except Exception as error:
        if hearing.pressed:  # a library caught the interrupt, and failed for it
            raise KeyboardInterrupt from error
        raise
    if hearing.pressed:
        raise KeyboardInterrupt


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Let no interrupt break off what cleans up: it is heard when this context has ended."""
    hearing = _Hearing.now if threading.current_thread() is threading.main_thread() else None
    if hearing is None:
        yield
        return
    hearing.held += 1
    try:
        yield
    finally:
        hearing.held -= 1


@contextlib.contextmanager
def spared() -> Iterator[threading.Event]:
    """Let the first interrupt or cancel set this event, and end nothing: what stands within stops by itself.

    For work that has an answer already, and only makes it surer. The next one ends all, as anywhere else. Where nobody
    hears interrupts, the first one ends all too.
    """
    stop = threading.Event()
    _spared[threading.get_ident()] = stop
    try:
        yield stop
    finally:
        del _spared[threading.get_ident()]


def spare(thread: int | None) -> bool:
    """Stop only what the thread with this number can spare; False if that is nothing, or was stopped before."""
    stop = _spared.get(thread)
    if stop is None or stop.is_set():
        return False
    stop.set()
    return True


_spared: dict[int | None, threading.Event] = {}


@contextlib.contextmanager
def users_code() -> Iterator[None]:
    """Call the user's own code, which may catch an interrupt and go on, as if there was no `heard` around it."""
    hearing = _Hearing.now if threading.current_thread() is threading.main_thread() else None
    if hearing is None or signal.getsignal(signal.SIGINT) != hearing.hear:
        yield
        return
    signal.signal(signal.SIGINT, hearing.before)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, hearing.hear)


class _Hearing:
    """The handler between `__enter__` and `__exit__`, and a thread that repeats an interrupt once one has come."""

    now: _Hearing | None = None

    def __init__(self, before: Any) -> None:
        self.before = before
        self.pressed = False
        self.held = 0
        self._said: queue.SimpleQueue[bool] = queue.SimpleQueue()  # a handler may put into it at any moment
        self._thread = threading.Thread(target=self._repeat, name="hwprune-interrupts", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        _Hearing.now = self
        signal.signal(signal.SIGINT, self.hear)

    def __exit__(self, *_: object) -> None:
        self.held += 1
        self._said.put(False)
        self._thread.join()
        _Hearing.now = None
        if signal.getsignal(signal.SIGINT) == self.hear:
            signal.signal(signal.SIGINT, self.before)

    def hear(self, number: int, frame: Any) -> None:
        if not self.pressed and spare(threading.main_thread().ident):
            return
        self.pressed = True
        self._said.put(True)
        if not self.held:
            self.before(number, frame)
            raise KeyboardInterrupt  # the handler of a cell that awaits only asks for its end

    def _repeat(self) -> None:
        if not self._said.get():
            return
        while True:
            try:
                if not self._said.get(timeout=AGAIN_S):
                    return
            except queue.Empty:
                _thread.interrupt_main()
