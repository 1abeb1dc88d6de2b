"""Signals as a question: asked once, stopped at once the second time, given back at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


ORPHAN = """
import os, time
from avce.training.stopping import StopSignals
begun, begin = os.pipe()
if os.fork():
    os.read(begun, 1)
    os._exit(0)
launcher = os.getppid()
with StopSignals(forgiving=False, launched=LAUNCHED) as signals:
    before = signals.asked
    os.write(begin, b"!")
    while os.getppid() == launcher:
        time.sleep(0.01)
    print(before, signals.asked)
"""


@pytest.mark.parametrize("launched", [True, False])
def test_a_launcher_that_has_gone_asks_to_stop_and_a_shell_does_not(launched: bool):
    command = [sys.executable, "-c", ORPHAN.replace("LAUNCHED", str(launched))]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout.split() == ["False", str(launched)]
