"""`StopSignals`: SIGTERM and Ctrl-C as a question that a loop asks when it can afford to stop."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any


class StopSignals:
    """Turns SIGTERM and Ctrl-C into a question the loop asks after each step.

    A second Ctrl-C stops at once, except with `forgiving`: a launcher repeats what the terminal
    has already sent. Outside the main thread signals cannot be caught, and nothing changes.
    """

    def __init__(self, *, forgiving: bool) -> None:
        self.asked = False
        self.asked_at = 0.0
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
        if not self.asked:
            self.asked, self.asked_at = True, time.monotonic()

    @property
    def overdue(self) -> bool:
        """Whether who asked has waited half a second: too long for what could be done again."""
        return self.asked and time.monotonic() - self.asked_at > 0.5
