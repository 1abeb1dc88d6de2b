"""What is drawn equally often: classes, cells of the plane, or the values of a column."""

from __future__ import annotations

import numpy as np

from pipelines.order import Groups
from shards import EXPRESSIONS, Selection


def grouped(selection: Selection, balance: str) -> Groups | None:
    """The groups that `balance` asks for: none, the cells of "plane:N" (of N x N equal ones those
    that hold a label), or the values of a column of words, whole numbers or truth values.

    Rows without a value are in no group. Raises ValueError where there is no such column, it holds
    something else, or no row has a value.
    """
    if balance == "none":
        return None
    column, _, cells = balance.partition(":")
    words, codes = _cells(selection, int(cells)) if cells else _values(selection, column)
    return Groups.of(f"balance={balance}", words, codes)


def _cells(selection: Selection, n: int) -> tuple[list[str], np.ndarray]:
    """Cells by valence, then arousal; the upper ends belong to the last."""
    at = np.stack([selection.column(axis) for axis in ("valence", "arousal")]).astype(np.float64)
    place = np.clip(np.floor((at + 1) * n / 2), 0, n - 1)
    codes = np.nan_to_num(place[0] * n + place[1], nan=-1).astype(np.int64)
    low = np.arange(n) * 2 / n - 1
    return [f"from valence {v:+.2f}, arousal {a:+.2f}" for v in low for a in low], codes


def _values(selection: Selection, name: str) -> tuple[list[str], np.ndarray]:
    values, codes = selection.coded(name)
    named = {"expression": EXPRESSIONS, "expression_raw": selection.index.classes}.get(name, ())
    return [named[v] if named and 0 <= v < len(named) else str(v) for v in values], codes
