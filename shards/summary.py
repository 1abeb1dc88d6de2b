"""What an index holds, as plain values for a table or for JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from shards.index import LabelIndex
from shards.sample import EXPRESSIONS

_CELLS = 20  # of the histogram, along each axis


def facts_of(index: LabelIndex) -> dict[str, Any]:
    """Rows, shards, digest, counts per split, data set and class, ranges and the plane.

    `plane[a][v]` counts rows by arousal and valence in 20 x 20 equal cells of [-1, 1].
    """
    labelled = index.where(va_valid=True)
    targets = labelled.targets().astype(np.float64)
    classes = index.where(expression=list(range(len(EXPRESSIONS)))).column("expression")
    plane, _, _ = np.histogram2d(
        targets[:, 1], targets[:, 0], bins=_CELLS, range=((-1, 1), (-1, 1))
    )
    return {
        "rows": len(index),
        "shards": len(index.tars),
        "digest": index.digest,
        "folders": [str(folder) for folder in index.folders],
        "splits": index.splits,
        "datasets": dict(Counter(index.table["dataset"].to_pylist())),
        "expressions": {EXPRESSIONS[c]: int(n) for c, n in zip(*_counts(classes), strict=True)},
        "labelled": len(labelled),
        "valence": _range(targets[:, 0]),
        "arousal": _range(targets[:, 1]),
        "plane": plane.astype(int).tolist(),
    }


def _counts(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(codes.astype(int), return_counts=True)


def _range(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
    }
