"""`StopSignals`: SIGTERM and Ctrl-C as a question that a loop asks when it can afford to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any


class StopSignals:
    """Turns SIGTERM and Ctrl-C into a question the loop asks after each step.

    A second Ctrl-C stops at once, except with `forgiving`: a launcher repeats what the terminal
    has already sent. Outside the main thread signals cannot be caught, and nothing changes.
    `launched`: that the parent, a launcher, has ended asks the same; `accelerate launch` of one
    process passes no signal on.
    """

    def __init__(self, *, forgiving: bool, launched: bool = False) -> None:
        self.asked_at: float | None = None
        self.parent = os.getppid() if launched else None
        self.forgiving = forgiving
        self.before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT and not self.forgiving:
            raise KeyboardInterrupt
        self.asked_at = self.asked_at or time.monotonic()

    @property
    def asked(self) -> bool:
        """Whether anybody wants the loop to stop."""
        if self.asked_at is None and self.parent not in (None, os.getppid()):
            self.asked_at = time.monotonic()
        return self.asked_at is not None

    @property
    def overdue(self) -> bool:
        """Whether who asked has waited half a second: too long for what could be done again."""
        return self.asked and time.monotonic() - (self.asked_at or 0.0) > 0.5
