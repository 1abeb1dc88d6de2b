"""Batches for as many epochs as are asked for, from any place in them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any


class Feed:
    """`train` behind one face: where it stands, whether it can say so itself or not."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.length = len(batches)
        if not self.length:
            raise ValueError("train has no batches; is the batch size larger than the data set?")
        self.skip = 0
        self.waited = 0.0

    def __iter__(self) -> Iterator[Any]:
        """Batches of one epoch from the current position; adds up the time spent waiting."""
        skip, self.skip = self.skip, 0
        source = iter(self.batches)
        if skip:
            source = itertools.islice(source, skip, None)
        while True:
            start = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def state(self) -> dict[str, Any]:
        """The position as its own loader tells it; empty when it cannot."""
        return dict(self.batches.state_dict()) if hasattr(self.batches, "state_dict") else {}

    def go_to(self, step: int, state: dict[str, Any]) -> None:
        """Make the next batch the one that follows iteration `step`."""
        if hasattr(self.batches, "load_state_dict"):
            self.batches.load_state_dict(state)
        else:
            self.skip = step % self.length
