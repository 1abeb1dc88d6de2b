"""Ctrl-C around solvers that install a handler of their own."""

from __future__ import annotations

import ctypes
import importlib
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


class EcosFlag:
    """The flag that ECOS's own handler raises.

    Each solve lowers it first, so that a Ctrl-C between two solves would be lost: look before each.
    A build of ECOS without handler has no flag and needs none.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(importlib.import_module("_ecos").__file__)
        self._check = getattr(library, "check_ctrlc", lambda: 0)
        if hasattr(library, "init_ctrlc"):  # lowers a flag of before; call within interrupts_kept
            library.init_ctrlc()
            library.remove_ctrlc()

    def raised(self) -> bool:
        return bool(self._check())
