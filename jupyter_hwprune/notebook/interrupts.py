"""Let a cancel reach a run in the background while the kernel's main thread is busy with a cell."""

import functools
import signal
import threading
from collections.abc import Callable
from typing import Any


def hear_at_once(button: Any, act: Callable[[], None]) -> bool:
    """Call `act` on a click, even while a cell runs; return whether this kernel makes that possible.

    All messages arrive in ipykernel's channel thread, which (since 7.4) asks a comm which loop gets its messages: by
    default the loop that last sent on it, which for a widget is the main thread's, where the message would wait.
    """
    route = getattr(button.comm, "_reply_subshell_for", None)
    if route is None:
        return False

    def hear(data: Any, subshell: Any) -> Any:
        content = data.get("content") if isinstance(data, dict) else None
        if isinstance(content, dict) and content.get("event") == "click":
            act()
        return route(data, subshell)

    button.comm._reply_subshell_for = hear  # noqa: SLF001 - there is no public hook
    return True


class Interrupts:
    """From `start` to `stop`, which any thread may call, an interrupt of the kernel also calls `heard`.

    ipykernel still does what it did: it ignores an interrupt between cells, raises KeyboardInterrupt within one, and
    cancels one that awaits. Each cell sets a signal handler of its own and restores the previous one at its end.
    """

    def __init__(self, shell: Any) -> None:
        self._loop = shell.kernel.io_loop
        self._heard: Callable[[], None] | None = None
        shell.events.register("pre_execute", self._place_handler)
        shell.events.register("post_execute", self._place_handler_soon)

    def start(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._place_handler_soon()

    def stop(self) -> None:
        self._heard = None
        self._place_handler_soon()

    def _place_handler_soon(self) -> None:
        self._loop.add_callback(self._place_handler)

    def _place_handler(self) -> None:
        """Put our handler before the current one, or take it away."""
        if threading.current_thread() is not threading.main_thread():
            return  # a cell in a subshell, where no signal arrives
        handler = signal.getsignal(signal.SIGINT)
        if isinstance(handler, functools.partial) and handler.func == self._hear:
            if self._heard is None:
                signal.signal(signal.SIGINT, handler.args[0])
        elif self._heard is not None:
            signal.signal(signal.SIGINT, functools.partial(self._hear, handler))

    def _hear(self, before: Any, number: int, frame: Any) -> None:
        if self._heard is not None:
            self._heard()
        if callable(before):
            before(number, frame)
