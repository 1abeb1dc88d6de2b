"""Signals as a question: asked once, stopped at once the second time, given back at the end."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from avce.training.stopping import StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_loop_goes_on(number: signal.Signals):
    with StopSignals(forgiving=False) as signals:
        assert not signals.asked
        os.kill(os.getpid(), number)
        assert signals.asked


def test_a_second_interrupt_stops_at_once_and_a_second_termination_does_not():
    with StopSignals(forgiving=False):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_a_launcher_repeats_is_forgiven():
    with StopSignals(forgiving=True) as signals:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.asked


def test_handlers_are_given_back_also_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(ValueError, match="mine"), StopSignals(forgiving=False):
        assert signal.getsignal(signal.SIGTERM) != before[0]
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_outside_of_the_main_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with StopSignals(forgiving=False) as signals:
            seen.append((signal.getsignal(signal.SIGTERM), signals.asked))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
