"""Ctrl-C around solvers that install a handler of their own."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Give Ctrl-C back to whom it belonged: ECOS in two threads takes the handler for good.

    While the solver runs this thread, and those it starts, hold the signal back; it arrives when
    the block ends.
    """
    libc, kept = ctypes.CDLL(None), ctypes.create_string_buffer(512)
    libc.sigaction(signal.SIGINT, None, kept)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        libc.sigaction(signal.SIGINT, kept, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
