"""`Tracker`: which face of this frame is which of the last, by where it was going."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from shards.finder import overlap


class Tracker:
    """Numbers faces through a video: the pair that overlaps most is matched first.

    Each face is looked for where its last two places lead, and boxes reach half a side further on
    each side (Yang et al. 2023, who call it buffered), so that it is met when it moves fast. A face
    unseen for more than `patience` frames is forgotten; if it returns it is a new one.
    docs/benchmarks.md has it beside ByteTrack.
    """

    def __init__(self, least: float = 0.3, patience: int = 15, reach: float = 0.5) -> None:
        self.least, self.patience, self.reach = least, patience, reach
        self.boxes, self.missed = np.zeros((0, 4)), np.zeros(0, np.int64)
        self.steps = np.zeros((0, 4))  # pixels a frame, of each side
        self.names = np.zeros(0, np.int64)
        self._next = 0

    def __call__(self, boxes: Float[np.ndarray, "n 4"]) -> list[int]:
        """The track of each box of the next frame."""
        found = np.full(len(boxes), -1)
        boxes = np.asarray(boxes, np.float64)
        self.boxes, self.missed = self.boxes + self.steps, self.missed + 1
        scores = overlap(self._grown(boxes), self._grown(self.boxes))
        while scores.size and scores.max() >= self.least:
            i, j = np.unravel_index(scores.argmax(), scores.shape)
            found[i] = self.names[j]
            self.steps[j] += (boxes[i] - self.boxes[j]) / (2 * self.missed[j])
            self.boxes[j], self.missed[j] = boxes[i], 0
            scores[i], scores[:, j] = -1, -1
        self._begin(boxes, found)
        self._forget()
        return found.tolist()

    def _grown(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        further = self.reach * (boxes[:, 2:] - boxes[:, :2])
        return np.hstack([boxes[:, :2] - further, boxes[:, 2:] + further])

    def _begin(self, boxes: np.ndarray, found: np.ndarray) -> None:
        new = np.flatnonzero(found < 0)
        found[new] = self._next + np.arange(len(new))
        self._next += len(new)
        self.boxes = np.concatenate([self.boxes, boxes[new]])
        self.steps = np.concatenate([self.steps, np.zeros((len(new), 4))])
        self.names = np.concatenate([self.names, found[new]])
        self.missed = np.concatenate([self.missed, np.zeros(len(new), np.int64)])

    def _forget(self) -> None:
        kept = self.missed <= self.patience
        self.boxes, self.steps = self.boxes[kept], self.steps[kept]
        self.names, self.missed = self.names[kept], self.missed[kept]
