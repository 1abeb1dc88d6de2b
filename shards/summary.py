"""What an index holds, as plain values for a table or for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from shards.index import LabelIndex
from shards.labels.schema import kind_of
from shards.sample import EXPRESSIONS

_CELLS = 20  # of the histogram, along each axis


def facts_of(index: LabelIndex) -> dict[str, Any]:
    """Rows, shards, digest, counts per split, data set and class, ranges and the plane.

    `plane[a][v]` counts rows by arousal and valence in 20 x 20 equal cells of [-1, 1].
    """
    columns = (index.table[axis] for axis in ("valence", "arousal"))  # null in the same rows
    valence, arousal = (column.drop_null().to_numpy() for column in columns)
    return {
        "rows": len(index),
        "shards": len(index.tars),
        "digest": index.digest,
        "folders": [str(folder) for folder in index.folders],
        "splits": index.counts("split"),
        "datasets": index.counts("dataset"),
        "expressions": {EXPRESSIONS[code]: n for code, n in index.counts("expression").items()},
        "classes": _own_classes(index),
        "extra": {name: str(kind_of(index.table.schema.field(name))) for name in index.extra},
        "labelled": len(valence),
        "valence": _range(valence),
        "arousal": _range(arousal),
        "plane": _plane(np.stack([valence, arousal]).T).tolist(),
    }


def _own_classes(index: LabelIndex) -> dict[str, int]:
    """Rows of each class of a vocabulary of one's own."""
    names = index.classes
    rows = index.counts("expression_raw") if names else {}
    return {f"{code} {name}": rows.get(code, 0) for code, name in enumerate(names)}


def _plane(targets: np.ndarray) -> np.ndarray:
    """Counts by cell; 1 belongs to the last one, as in `np.histogram2d` at a tenth of its time."""
    across, up = (((values + 1) * (_CELLS / 2)).astype(np.int16) for values in targets.T)
    places = np.minimum(up, _CELLS - 1) * _CELLS + np.minimum(across, _CELLS - 1)
    return np.bincount(places, minlength=_CELLS**2).reshape(_CELLS, _CELLS)


def _range(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean(dtype=np.float64)),
        "std": float(values.std(dtype=np.float64)),
    }
