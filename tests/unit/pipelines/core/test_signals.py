"""SIGTERM becomes `Terminated` in the block, and only there."""

import signal
import threading

import pytest

from pipelines.core.signals import Terminated, terminated_cleanly


def test_sigterm_raises_and_the_former_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminated_cleanly():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_that_a_library_makes_of_sigterm_is_still_terminated() -> None:
    def library() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    with pytest.raises(Terminated), terminated_cleanly():
        library()


def test_ctrl_c_stays_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, terminated_cleanly():
        raise KeyboardInterrupt
    assert type(caught.value) is KeyboardInterrupt


def test_nothing_changes_in_another_thread() -> None:
    before, inside = signal.getsignal(signal.SIGTERM), []

    def block() -> None:
        with terminated_cleanly():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert inside == [before]
