"""Ctrl-C around solvers that install a handler of their own."""

from __future__ import annotations

import ctypes
import importlib
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Give Ctrl-C back to whom it belonged: ECOS in two threads takes the handler for good.

    While the solver runs this thread, and those it starts, hold the signal back; it arrives when
    this thread waits in `interrupted_before`, or when the block ends.
    """
    libc, kept = ctypes.CDLL(None), ctypes.create_string_buffer(512)
    libc.sigaction(signal.SIGINT, None, kept)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        libc.sigaction(signal.SIGINT, kept, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Wanted(ctypes.Structure):
    """C's pollfd."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def interrupted_before(descriptor: int) -> bool:
    """Wait until a descriptor can be read; whether Ctrl-C came first. Within `interrupts_kept`.

    Only the main thread can tell: it lets nothing but SIGINT in while it waits, and the kernel
    prefers it, so that a wait cut short means Ctrl-C, whose handler ever was installed. ECOS's flag
    alone may be lowered by the next solve before anyone has seen it.
    """
    if threading.current_thread() is not threading.main_thread():
        select.select([descriptor], [], [])
        return False
    libc, mask = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.sigfillset(mask)
    libc.sigdelset(mask, signal.SIGINT)
    wanted = _Wanted(descriptor, select.POLLIN, 0)
    return libc.ppoll(ctypes.byref(wanted), ctypes.c_ulong(1), None, mask) < 0


class EcosFlag:
    """The flag that ECOS's own handler raises.

    Each solve lowers it first, so that a Ctrl-C between two solves may be lost: look before each.
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
