"""Batches for as many epochs as are asked for, from any place in them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """This rank's part of a global batch."""

    image: Tensor  # (b, 3, h, w)
    target: Tensor  # (b, 2) valence and arousal, or (b,) class codes
    row: Tensor | None = None  # (b,) int64, in the label index
    mask: Tensor | None = None  # (b,) bool, False where a sample is padding

    def on(self, device: torch.device, *, channels_last: bool) -> Batch:
        """Image and target on `device`; from pinned memory the copy does not block."""
        image, target = (x.to(device, non_blocking=True) for x in self[:2])
        if channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return self._replace(image=image, target=target)

    def tensors(self) -> dict[str, Tensor]:
        """Name to tensor, of those that are there."""
        return {name: x for name, x in self._asdict().items() if x is not None}


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
        """Batches of one epoch from the current position; adds up the host's time in waiting."""
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


def first_of(batches: Any, count: int) -> Generator[Any]:
    """The first `count` batches; a loader left in the middle is put back where it was."""
    place = batches.state_dict() if hasattr(batches, "state_dict") else None
    try:
        if count >= len(batches):
            yield from batches
            place = None
        else:
            yield from itertools.islice(batches, count)
    finally:
        if place is not None:
            batches.load_state_dict(place)
