"""The lines of AffectNet's lists of 2017, a few thousand at a time.

Lines that look as all but a handful of the release do are read as columns, 20 times as fast; a
block with any other line is read line by line, which alone decides what is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from shards.datasets import foreign
from shards.datasets.annotations import ROUNDING

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
SENTINEL = -2.0
_NAMES = (
    "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
    "none", "uncertain", "no-face",
)  # fmt: skip
_POINTS = 136
_FIRST = re.compile(r"[0-9]+[/\\][0-9a-fA-F]+\.")  # of a list without header
_CODE = re.compile(r"([0-9]|10)(\.0*)?")  # pandas writes 3.0
_PATH = re.compile(r"(?!\.)[^/\\\0]+(/(?!\.)[^/\\\0]+)*")
_PLAIN_PATH = r"^[0-9A-Za-z_-]+/[0-9A-Za-z_-]+\.[0-9A-Za-z]+$"
_WORDS = ("subDirectory_filePath", "facial_landmarks", "expression")
_TYPES = {name: pa.string() if name in _WORDS else pa.float64() for name in COLUMNS}


class Rows(NamedTuple):
    """The good rows of a block, and what is wrong with the others."""

    lines: np.ndarray  # int (n,), numbers from 1
    paths: list[str]
    boxes: np.ndarray  # (n, 4): left, top, right, bottom; NaN for the row whose box is NULL
    landmarks: np.ndarray  # (n, 136)
    codes: np.ndarray  # int (n,), 0..10
    va: np.ndarray  # (n, 2)
    problems: list[tuple[int, str]]  # of refused lines
    late: list[tuple[int, str]]  # the same, only said where nothing else is wrong


class Row(NamedTuple):
    """One line of a list, checked."""

    path: str
    box: tuple[float, float, float, float] | None  # left, top, right, bottom
    landmarks: str  # 136 numbers joined by ';'
    code: int  # 0..10
    valence: float
    arousal: float


def read(root: Path, path: Path) -> Iterator[Rows]:
    """All rows of a list. Raises ValueError naming the file where its header has other columns."""
    for number, block, order in _blocks(root, path):
        plain = None if order else _at_once(block, number)
        yield plain or _one_by_one(path, block, number, order)


def first_paths(root: Path, path: Path, count: int) -> list[str]:
    """What the first lines name, whether rightly or not."""
    found = (
        _ordered(text.split(","), order)[0]
        for number, block, order in _blocks(root, path)
        for _, text in foreign.numbered(block, path, number)
        if text.strip()
    )
    return list(islice(found, count))


def _blocks(root: Path, path: Path) -> Iterator[tuple[int, bytes, list[int] | None]]:
    """Number of its first line, whole lines, and the places of `COLUMNS` in each."""
    order = None
    for number, block in foreign.blocks(root, path, foreign.LIST):
        if number == 1:
            line, _, rest = block.partition(b"\n")
            fields = line.decode(errors="replace").split(",")
            if not _FIRST.match(fields[0]):
                order, number, block = _order(path, fields), 2, rest
        yield number, block, order


def _ordered(fields: list[str], order: list[int] | None) -> list[str]:
    return [fields[k] for k in order] if order and len(fields) == 9 else fields


def _order(path: Path, header: list[str]) -> list[int] | None:
    """Positions of `COLUMNS` in a header; None where they stand in the usual order."""
    names = [name.strip().strip("#").strip() for name in header]
    if sorted(names) != sorted(COLUMNS):
        raise ValueError(
            f"{path}: line 1 has the columns {','.join(names)[:200]!r}, not {','.join(COLUMNS)}; "
            "this is no list of the release of 2017, restore it from there"
        )
    order = [names.index(name) for name in COLUMNS]
    return None if order == list(range(9)) else order


def _at_once(block: bytes, number: int) -> Rows | None:
    """A block of the plainest lines alone; None where there is any other."""
    try:
        table = csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(column_names=COLUMNS, use_threads=False, block_size=len(block) + 1),
            csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=_TYPES, null_values=[]),
        ).combine_chunks()
        points = pc.split_pattern(table["facial_landmarks"], ";").combine_chunks()
        flat = points.flatten().cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    words = pa.array([str(code) for code in range(11)])
    codes = pc.call_function("index_in", [table["expression"]], pc.SetLookupOptions(words))
    boxes, va = _numbers(table, COLUMNS[1:5]), _numbers(table, COLUMNS[7:])
    plain = (
        table.num_rows == block.count(b"\n") > 0
        and codes.null_count == 0
        and pc.all(pc.equal(pc.list_value_length(points), _POINTS)).as_py()
        and pc.all(pc.match_substring_regex(table[COLUMNS[0]], _PLAIN_PATH)).as_py()
        and all((np.abs(each) <= foreign.FAR).all() for each in (boxes, flat, va))  # NaN fails too
        and (boxes[:, 2:] > 0).all()
        and ((np.abs(va) <= 1 + ROUNDING).all(axis=1) | (va == SENTINEL).any(axis=1)).all()
    )
    if not plain:
        return None
    boxes[:, 2:] += boxes[:, :2]
    lines = np.arange(number, number + len(codes))
    paths, landmarks = table[COLUMNS[0]].to_pylist(), flat.reshape(-1, _POINTS)
    return Rows(lines, paths, boxes, landmarks, codes.to_numpy(), va, [], [])


def _numbers(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def _one_by_one(path: Path, block: bytes, number: int, order: list[int] | None) -> Rows:
    rows: list[tuple[int, Row, tuple[float, ...]]] = []
    problems: list[tuple[int, str]] = []
    late: list[tuple[int, str]] = []
    for line, text in foreign.numbered(block, path, number):
        if not text.strip():
            continue
        try:
            row = parse(_ordered(text.split(","), order))
        except ValueError as error:
            problems.append((line, str(error)))
            continue
        try:
            rows.append((line, row, foreign.numbers(row.landmarks, ";")))
        except ValueError as error:
            late.append((line, str(error)))
    nowhere = (math.nan,) * 4
    return Rows(
        np.array([line for line, _, _ in rows], np.int64),
        [row.path for _, row, _ in rows],
        np.array([row.box or nowhere for _, row, _ in rows]).reshape(-1, 4),
        np.array([points for _, _, points in rows]).reshape(-1, _POINTS),
        np.array([row.code for _, row, _ in rows], np.int64),
        np.array([(row.valence, row.arousal) for _, row, _ in rows]).reshape(-1, 2),
        problems,
        late,
    )


def parse(fields: list[str]) -> Row:
    """One row; raises ValueError with the reason where a field is wrong."""
    if len(fields) != 9:
        raise ValueError(f"has {len(fields)} fields, not 9")
    path, *box, landmarks, expression, valence, arousal = fields
    if not _PATH.fullmatch(path):
        raise ValueError(f"names {path[:100]!r}, not <folder>/<file> below the images")
    if landmarks.count(";") != 135:
        raise ValueError(f"has {landmarks.count(';') + 1} landmark numbers, not 136")
    try:
        va = foreign.number(valence), foreign.number(arousal)
    except ValueError:
        va = (math.nan, math.nan)
    row = Row(path, _box(box), landmarks, _code(expression), *va)
    if SENTINEL not in va and not max(map(abs, va)) <= 1 + ROUNDING:
        raise ValueError(f"has valence {valence}, arousal {arousal}, neither -2 nor in [-1, 1]")
    return row


def _box(fields: list[str]) -> tuple[float, float, float, float] | None:
    """Corners from x, y, width, height; None for the row whose box is NULL."""
    try:
        x, y, width, height = map(foreign.number, fields)  # one NULL makes pandas write "134.0"
    except ValueError:
        if "NULL" in (text.strip().upper() for text in fields):
            return None
        raise ValueError(f"has a face box {fields} that is no number of pixels") from None
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _code(text: str) -> int:
    """0..10 from a number or, as in one copy of the automatic list, a name."""
    word = text.strip().lower()
    if word in _NAMES:
        return _NAMES.index(word)
    if not _CODE.fullmatch(word):
        raise ValueError(f"has expression {text[:60]}, not 0 to 10")
    return int(float(word))
