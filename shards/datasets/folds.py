"""Folds where the owners publish none: deterministic, and no person or video is in two."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

FOLDS = 5


def deal_groups(sizes: Mapping[str, int], folds: int = FOLDS) -> dict[str, int]:
    """Fold of each group: the largest first, each to the fold that is smallest so far.

    Deterministic: equal groups go by name, equal folds by number. What scikit-learn's GroupKFold
    does, without its dependence on the order of the samples.
    """
    filled = [0] * folds
    dealt = {}
    for name, size in sorted(sizes.items(), key=lambda group: (-group[1], group[0])):
        dealt[name] = filled.index(min(filled))
        filled[dealt[name]] += size
    return dealt


def fold_by_hash(video_id: str) -> int:
    """Fold 0..4 of a video: the same on every machine, whatever other videos there are."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") % FOLDS


def split_of_fold(fold: int) -> str:
    """The project's split: fold 0 is held out."""
    return "val" if fold == 0 else "train"
