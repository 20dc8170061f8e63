"""No interrupt is lost: not in a finaliser, not by a library that catches everything, not while cleaning up."""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from jupyter_hwprune.core import interrupts
from jupyter_hwprune.core.interrupts import heard, spare, spared, unbroken, users_code

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Held:
    pass


@pytest.fixture(autouse=True)
def same_handler_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(interrupts, "AGAIN_S", 0.05)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not [thread for thread in threading.enumerate() if thread.name == "hwprune-interrupts"]
    signal.signal(signal.SIGINT, before)


def press() -> None:
    _thread.interrupt_main()


def lose_one() -> None:
    """Interrupt where Python drops the exception: in the callback of a weak reference."""
    thing = Held()
    reference = weakref.ref(thing, lambda _: press())
    del thing
    assert reference() is None


def work(seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


def test_python_loses_an_interrupt_in_a_callback_and_we_do_not() -> None:
    lose_one()
    time.sleep(0.01)  # nothing was raised

    @heard()
    def run() -> None:
        lose_one()
        work()

    with pytest.raises(KeyboardInterrupt):
        run()


def test_an_interrupt_that_a_library_catches_comes_again() -> None:
    caught: list[int] = []

    @heard()
    def run() -> None:
        while len(caught) < 3:
            with contextlib.suppress(BaseException):
                try:
                    press()
                    work()
                finally:
                    caught.append(1)
        work()

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(caught) == 3


def test_an_interrupt_that_a_library_turned_into_another_error_is_still_one() -> None:
    @heard()
    def run() -> None:
        try:
            press()
            work()
        except BaseException as error:
            raise RuntimeError("lost a child") from error

    with pytest.raises(KeyboardInterrupt) as raised:
        run()
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_one_that_was_lost_at_the_very_end_is_raised_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), heard():
        lose_one()


def test_cleaning_up_is_not_broken_off_by_a_second_press() -> None:
    cleaned = []

    @heard()
    def run() -> None:
        try:
            press()
            work()
        finally:
            with unbroken():
                press()
                time.sleep(0.2)  # several repeats
                cleaned.append(1)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert cleaned


def test_the_first_press_ends_only_what_can_be_spared_and_the_second_all() -> None:
    said = []

    @heard()
    def run() -> None:
        with spared() as stop:
            press()
            assert stop.wait(1)
            said.append("spared")
        work(0.2)  # several repeats, if it was one to repeat
        said.append("went on")
        with spared() as stop:
            press()
            assert stop.wait(1)
            press()
            work()
        said.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert said == ["spared", "went on"]
    assert not spare(threading.get_ident())


def test_an_error_without_an_interrupt_passes_and_nothing_is_raised_without_one() -> None:
    with pytest.raises(ZeroDivisionError), heard():
        _ = 1 / 0
    with heard(), heard(), unbroken(), users_code():
        pass


def test_the_users_own_code_may_catch_an_interrupt_and_go_on() -> None:
    stopped_early = False
    with heard():
        with users_code():
            try:
                press()
                work()
            except KeyboardInterrupt:
                stopped_early = True
        work(0.2)
    assert stopped_early


def test_a_cell_that_awaits_asks_for_its_end_and_the_work_ends_too() -> None:
    asked = []

    @heard()
    def run() -> None:
        press()
        work()

    signal.signal(signal.SIGINT, lambda *_: asked.append(1))
    with pytest.raises(KeyboardInterrupt):
        run()
    assert asked
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_another_thread_nothing_changes() -> None:
    found = []

    def run() -> None:
        with heard(), unbroken(), users_code():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
