"""Pictures that are nearly the same on two sides of a split: another quality, size or brightness.

Scores on them are of memory. A picture becomes 9 x 8 grey cells, and 64 bits that say where a cell
is brighter than its left neighbour (the difference hash of Krawetz 2013, here of cells in units of
their deviation, so that flat parts are no noise and brightness and contrast say nothing). Two
pictures are alike where at most `BITS` bits differ and their cells correlate by `ALIKE`. At most
three of 64 bits lie in at most three of four words of 16, so only pictures that share a word are
compared: bits by the bucket, never each with each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shards.image import cells

if TYPE_CHECKING:
    from shards.index import LabelIndex

BITS = 3  # of 64 that may differ; four words of 16 find no more
ALIKE = 0.99  # the least correlation; re-encoded, resized and brightened ones have .997 and more
_WORDS = BITS + 1
_CELLS = (8, 9)  # rows, columns
_STEP = 0.05  # deviations that a cell must be brighter by
_FLAT = 1.0  # grey levels; a picture of less deviation looks like any other
_CHUNK = 1024  # pictures read at a time
_PAIRS = 2**20  # compared at a time


class Alike(NamedTuple):
    """Two pictures, of a lower and a higher row, in two splits."""

    rows: tuple[int, int]
    bits: int  # that differ
    correlation: float


class Looks(NamedTuple):
    """What pictures look like from afar."""

    bits: np.ndarray  # uint64 (n,)
    cells: np.ndarray  # float16 (n, 72): mean 0, length 1
    flat: np.ndarray  # bool (n,), of those without any structure


def alike(index: LabelIndex, progress: Callable[[int, int], None] = lambda *_: None) -> list[Alike]:
    """Pictures of different splits that are nearly the same, those most alike first.

    Every picture is read once (half a millisecond and 160 bytes of memory each).
    """
    if len(index.splits) < 2:
        return []
    looks = looks_of(index, progress)
    _, splits = index.where().coded("split")
    pairs = near(looks, splits)
    bits = np.bitwise_count(looks.bits[pairs[:, 0]] ^ looks.bits[pairs[:, 1]])
    sides = (looks.cells[pairs[:, side]].astype(np.float32) for side in (0, 1))
    products = np.einsum("ij,ij->i", *sides)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -products, bits))
    return [
        Alike((int(pairs[k, 0]), int(pairs[k, 1])), int(bits[k]), float(products[k]))
        for k in order
        if products[k] >= ALIKE
    ]


def looks_of(index: LabelIndex, progress: Callable[[int, int], None]) -> Looks:
    """Of every picture, in the order of the rows."""
    found: list[np.ndarray] = []
    with ThreadPoolExecutor() as threads:  # decoding holds no lock
        for first in range(0, len(index), _CHUNK):
            rows = range(first, min(first + _CHUNK, len(index)))
            found += threads.map(lambda row: cells(index.read(row), *_CELLS), rows)
            progress(rows.stop, len(index))
    return looked_at(np.array(found, np.float32).reshape(-1, *_CELLS))


def looked_at(grey: np.ndarray) -> Looks:
    """The looks of cells (n, 8, 9)."""
    spread = grey.std(axis=(1, 2))
    steps = np.diff(grey, axis=2) > _STEP * np.maximum(spread, _FLAT)[:, None, None]
    bits = np.packbits(steps.reshape(len(grey), -1), axis=1).view(np.uint64)[:, 0]
    plain = (grey - grey.mean(axis=(1, 2), keepdims=True)).reshape(len(grey), -1)
    length = np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), _FLAT)
    return Looks(bits, (plain / length).astype(np.float16), spread < _FLAT)


def near(looks: Looks, splits: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) of rows in different splits of which at most `BITS` bits differ."""
    words = looks.bits[:, None].view(np.uint16)
    rows = np.flatnonzero(~looks.flat)
    found = [np.zeros((0, 2), np.int64)]
    for word in range(_WORDS):
        for first, second in _sharing(words[rows, word], splits[rows]):
            pair = np.stack([rows[first], rows[second]], axis=1)
            differ = looks.bits[pair[:, 0]] ^ looks.bits[pair[:, 1]]
            found.append(pair[np.bitwise_count(differ) <= BITS])
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs, axis=0)


def _sharing(words: np.ndarray, splits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places in different splits with the same word, some at a time."""
    order = np.lexsort((splits, words))
    keys = words[order].astype(np.int64) * (int(splits.max(initial=0)) + 1) + splits[order]
    ends = np.searchsorted(words[order], words[order], side="right")  # of the same word
    starts = np.searchsorted(keys, keys, side="right")  # of its later splits
    counts = ends - starts
    if not counts.any():
        return
    cuts = np.searchsorted(np.cumsum(counts), np.arange(0, counts.sum(), _PAIRS), side="left")
    for low, high in zip(cuts, [*cuts[1:], len(order)], strict=True):
        some = counts[low:high]
        first = np.repeat(np.arange(low, high), some)
        within = np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
        yield order[first], order[starts[first] + within]


def told(index: LabelIndex, pairs: list[Alike], most: int = 10_000) -> dict[str, Any]:
    """How many, by which threshold, and the first of them by key and split, for JSON."""
    names = index.table.select(["sample_key", "split"])
    shown = [
        {
            "keys": [names["sample_key"][row].as_py() for row in pair.rows],
            "splits": [names["split"][row].as_py() for row in pair.rows],
            "bits": pair.bits,
            "correlation": round(pair.correlation, 4),
        }
        for pair in pairs[:most]
    ]
    images = len({row for pair in pairs for row in pair.rows})
    threshold = {"bits": BITS, "of": 64, "correlation": ALIKE}
    return {"pairs": len(pairs), "images": images, "threshold": threshold, "nearest": shown}
