"""Rows of a table as text by column, from any of the usual formats, with the number of each."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.datasets import foreign

Rows = Iterator[tuple[int, dict[str, str]]]


def rows_of(root: Path, path: Path) -> Rows:
    """Each row with its number: the line of a text file, else counted from 1.

    Raises ValueError, naming file and row, for a format or a row that cannot be read.
    """
    return FORMATS[path.suffix.lower()](root, path)


def columns_of(root: Path, path: Path) -> list[str]:
    """The names of the columns: of the first row, or of all where each row names its own."""
    rows = rows_of(root, path)
    first = dict(next(rows, (0, {}))[1])
    for _, row in rows if path.suffix.lower() in _OWN_NAMES else ():
        first |= dict.fromkeys(row, "")
    if not first:
        raise ValueError(f"{path} has no rows; name the table of labels with --option labels=FILE")
    return list(first)


def _separated(root: Path, path: Path) -> Rows:
    lines = foreign.numbered_lines(root, path, foreign.LIST)
    first = next(lines, (1, ""))[1]
    found = csv.reader((f"{line}\n" for _, line in lines), delimiter=_delimiter(path, first))
    (header,) = csv.reader([first], delimiter=_delimiter(path, first))
    names = [name.strip().lstrip("#").strip() for name in header]
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"{path}: line 1 names a column twice or not at all ({first[:100]!r})")
    try:
        for fields in found:
            number = found.line_num + 1
            if len(fields) == len(names):
                yield number, dict(zip(names, map(str.strip, fields), strict=True))
            elif fields:
                raise csv.Error(f"has {len(fields)} fields, not {len(names)} as line 1")
    except csv.Error as error:
        raise ValueError(f"{path}: line {found.line_num + 1} {error}; mend the table") from None


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=header.count)


def _json_lines(root: Path, path: Path) -> Rows:
    for number, line in foreign.numbered_lines(root, path, foreign.LIST):
        if not line.strip():
            continue
        try:
            yield number, _texts(foreign.json_text(line))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is no row ({error}); mend it") from None


def _parquet(root: Path, path: Path) -> Rows:
    return _arrow_rows(root, path, lambda file: pq.ParquetFile(file).iter_batches())


def _arrow(root: Path, path: Path) -> Rows:
    return _arrow_rows(root, path, _record_batches)


def _record_batches(file: Any) -> Iterable[pa.RecordBatch]:
    """Of an IPC file, or of an IPC stream, as Hugging Face writes them."""
    if file.read(6) == b"ARROW1":
        opened = pa.ipc.open_file(file)
        return map(opened.get_batch, range(opened.num_record_batches))
    file.seek(0)
    return pa.ipc.open_stream(file)


def _arrow_rows(root: Path, path: Path, batches: Callable[[Any], Iterable[pa.RecordBatch]]) -> Rows:
    number = 0
    with foreign.opened(root, path, foreign.LIST) as file:
        try:
            for batch in batches(file):
                batch.validate(full=True)
                for row in batch.to_pylist():
                    number += 1
                    yield number, _texts(row)
        except (ValueError, OSError, pa.ArrowException) as error:
            raise ValueError(
                f"{path}: it cannot be read after row {number} ({str(error)[:200]}); write it again"
            ) from None


def _texts(row: dict[str, Any]) -> dict[str, str]:
    return {str(name).strip(): _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    """A value as CSV would have it; of an image cell its path."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, dict):
        return _text(value.get("path"))
    if isinstance(value, list):
        return ";".join(map(_text, value))
    if isinstance(value, bytes):
        raise ValueError("a cell holds bytes; write images to files and their paths to the table")
    return str(value)


_OWN_NAMES = (".jsonl", ".ndjson")
FORMATS: dict[str, Callable[[Path, Path], Rows]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
