"""`Tracker`: which face of this frame is which of the last, by how far their boxes overlap."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from shards.finder import overlap


class Tracker:
    """Numbers faces through a video: the pair that overlaps most is matched first.

    A face unseen for more than `patience` frames is forgotten; if it returns it is a new one.
    """

    def __init__(self, least: float = 0.3, patience: int = 15) -> None:
        self.least, self.patience = least, patience
        self.boxes, self.missed = np.zeros((0, 4)), np.zeros(0, np.int64)
        self.names = np.zeros(0, np.int64)
        self._next = 0

    def __call__(self, boxes: Float[np.ndarray, "n 4"]) -> list[int]:
        """The track of each box of the next frame."""
        found = np.full(len(boxes), -1)
        scores = overlap(np.asarray(boxes, np.float64), self.boxes)
        self.missed += 1
        while scores.size and scores.max() >= self.least:
            i, j = np.unravel_index(scores.argmax(), scores.shape)
            found[i] = self.names[j]
            self.boxes[j], self.missed[j] = boxes[i], 0
            scores[i], scores[:, j] = -1, -1
        self._begin(boxes, found)
        self._forget()
        return found.tolist()

    def _begin(self, boxes: np.ndarray, found: np.ndarray) -> None:
        new = np.flatnonzero(found < 0)
        found[new] = self._next + np.arange(len(new))
        self._next += len(new)
        self.boxes = np.concatenate([self.boxes, boxes[new]])
        self.names = np.concatenate([self.names, found[new]])
        self.missed = np.concatenate([self.missed, np.zeros(len(new), np.int64)])

    def _forget(self) -> None:
        kept = self.missed <= self.patience
        self.boxes, self.names, self.missed = self.boxes[kept], self.names[kept], self.missed[kept]
