"""Oddities of tables of labels: the shapes in which people keep the same rows."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from shards.standins.oddities.switches import edit, register

_table = register("table")
_table_stops = register("table", stops=True)

Rows = list[dict[str, str]]


def _path(root: Path) -> Path:
    return root / "labels.csv"


def _read(root: Path) -> Rows:
    with _path(root).open(newline="") as file:
        return list(csv.DictReader(file))


def _change(root: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Rewrite every row."""
    rows = [change(row) for row in _read(root)]
    with _path(root).open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


@_table
def _capital_header(root: Path) -> None:
    """The header has capitals and spaces around: the same columns."""
    edit(_path(root), lambda lines: [lines[0].upper().replace(",", " , "), *lines[1:]])


@_table
def _empty_labels(root: Path) -> None:
    """Valence of a row is empty and arousal of another NA: both axes become null."""
    edit(
        _path(root),
        lambda lines: [
            *lines[:1],
            *(
                ",".join([path, *values, rest])
                for line, values in zip(lines[1:3], (["", "0.1"], ["0.1", "NA"]), strict=True)
                for path, _, _, rest in [line.split(",", 3)]
            ),
            *lines[3:],
        ],
    )


@_table
def _semicolons(root: Path) -> None:
    """Columns are separated by semicolons: read."""
    edit(_path(root), lambda lines: (line.replace(",", ";") for line in lines))


@_table
def _stray_files(root: Path) -> None:
    """`._labels.csv` and Thumbs.db are passed over."""
    for name in ("._labels.csv", "Thumbs.db"):
        (root / name).write_bytes(b"\0stray")


@_table_stops
def _scale_of_nine(root: Path) -> None:
    """Labels run from 1 to 9: the row and the value are named."""

    def change(row: dict[str, str]) -> dict[str, str]:
        scaled = {axis: f"{5 + 4 * float(row[axis]):.4f}" for axis in ("valence", "arousal")}
        return row | scaled

    _change(root, change)


@_table_stops
def _two_labels(root: Path) -> None:
    """Columns `expression` and `label` may both be meant: both are named."""
    _change(root, lambda row: row | {"label": row["expression"]})


@_table_stops
def _no_path(root: Path) -> None:
    """No column is called path: the columns are listed."""
    edit(_path(root), lambda lines: [lines[0].replace("path", "where"), *lines[1:]])


@_table_stops
def _missing_image(root: Path) -> None:
    """An image is missing: their number is given."""
    min(root.glob("images/*.jpg")).unlink()


@_table_stops
def _row_twice(root: Path) -> None:
    """A row stands there twice: it is named."""
    edit(_path(root), lambda lines: [*lines, lines[-1]])


@_table_stops
def _backslashes(root: Path) -> None:
    """Paths are written as Windows writes them: the row is named."""
    edit(_path(root), lambda lines: (line.replace("/", "\\") for line in lines))


@_table_stops
def _cut_row(root: Path) -> None:
    """The last row is cut: line and fields are named."""
    edit(_path(root), lambda lines: [*lines[:-1], lines[-1][:30]])
