"""Rows of a table as text by column, from any of the usual formats, with the number of each."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from shards.datasets import foreign

Rows = Iterator[tuple[int, dict[str, str]]]
_BLOCK = 4096  # rows at a time
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_NUMBERS = r"^[\[(]?{0}([;\s]+{0})*[\])]?$".format(r"[+-]?[0-9]*(,[0-9]+)?([eE][+-]?[0-9]+)?")
_FIELD = csv.field_size_limit()  # characters


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows by column, an empty cell where one has none, and the number of each."""

    numbers: np.ndarray  # int64 (n,)
    cells: dict[str, pa.Array]  # text

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, count: int) -> Block:
        """A few of its rows."""
        cells = {name: texts.slice(start, count) for name, texts in self.cells.items()}
        return Block(self.numbers[start : start + count], cells)

    def pointed(self) -> Block:
        """The same with a point for the comma of numbers, also where several stand in a cell."""
        return replace(self, cells={n: _pointed(texts) for n, texts in self.cells.items()})

    def rows(self) -> Rows:
        """One by one."""
        texts = zip(*(texts.to_pylist() for texts in self.cells.values()), strict=True)
        for number, row in zip(self.numbers.tolist(), texts, strict=True):
            yield number, dict(zip(self.cells, row, strict=True))


def blocks_of(root: Path, path: Path, encoding: str = "") -> Iterator[Block]:
    """The rows of `rows_of`, a few thousand at a time, read as columns where that can be."""
    suffix = path.suffix.lower()
    if FORMATS[suffix] is _separated:
        found = _separated_blocks(root, path, encoding)
    elif suffix in _BATCHES:
        found = _arrow_blocks(root, path)
    else:
        found = in_blocks(rows_of(root, path, encoding))
    for block in found:
        for start in range(0, len(block), _BLOCK):
            yield block.part(start, _BLOCK)


def has_commas(texts: Iterable[str]) -> bool:
    """Whether numbers are written 0,5, beyond doubt: none has a point, and not all may be
    thousands."""
    found = [text for text in texts if _COMMA.fullmatch(text.strip())]
    pointed = any("." in text for text in texts)
    return not pointed and any(not _THOUSANDS.fullmatch(text.strip()) for text in found)


def _pointed(texts: pa.Array) -> pa.Array:
    numbers = pc.match_substring_regex(texts, _NUMBERS)
    return pc.if_else(numbers, pc.replace_substring(texts, ",", "."), texts)


def in_blocks(rows: Rows) -> Iterator[Block]:
    """Rows as they come, together."""
    while chunk := list(islice(rows, _BLOCK)):
        names = dict.fromkeys(name for _, row in chunk for name in row)
        cells = {name: pa.array([row.get(name, "") for _, row in chunk]) for name in names}
        yield Block(np.array([number for number, _ in chunk], np.int64), cells)


def rows_of(root: Path, path: Path, encoding: str = "") -> Rows:
    """Each row with its number: the line of a text file, else counted from 1.

    Raises ValueError, naming file and row, for a format or a row that cannot be read.
    """
    return FORMATS[path.suffix.lower()](root, path, encoding)


def columns_of(root: Path, path: Path, encoding: str = "") -> list[str]:
    """The names of the columns: of the first row, or of all where each row names its own."""
    rows = rows_of(root, path, encoding)
    first = dict(next(rows, (0, {}))[1])
    for _, row in rows if path.suffix.lower() in _OWN_NAMES else ():
        first |= dict.fromkeys(row, "")
    if not first:
        raise ValueError(f"{path} has no rows; name the table of labels with --option labels=FILE")
    return list(first)


def _separated(root: Path, path: Path, encoding: str = "", start: int = 2) -> Rows:
    """From the line with the number `start` on."""
    lines = _lines(root, path, encoding)
    _, first = next(lines, (1, None))
    if first is None:
        return
    names, delimiter = _header(path, first)
    found = csv.reader((f"{line}\n" for n, line in lines if n >= start), delimiter=delimiter)
    try:
        for fields in found:
            number = found.line_num + start - 1
            if len(fields) == len(names):
                yield number, dict(zip(names, map(str.strip, fields), strict=True))
            elif fields:
                raise csv.Error(f"has {len(fields)} fields, not {len(names)} as line 1")
    except csv.Error as error:
        number = found.line_num + start - 1
        raise ValueError(f"{path}: line {number} {error}; mend the table") from None


def _separated_blocks(root: Path, path: Path, encoding: str) -> Iterator[Block]:
    """By the megabyte while the lines are plain; from the first block on that is not, by rows."""
    names, delimiter = [], ","
    for number, content in _told(foreign.blocks(root, path, foreign.LIST, encoding)):
        block = content
        if number == 1:
            line, _, block = content.partition(b"\n")
            names, delimiter = _header(path, line.decode())
            number = 2
        table = _plain(block, names, delimiter) if block else pa.table({})
        if table is None:
            yield from in_blocks(_separated(root, path, encoding, number))
            return
        cells = {name: texts.combine_chunks() for name, texts in zip(names, table, strict=False)}
        yield Block(np.arange(number, number + table.num_rows), cells)


def _plain(block: bytes, names: list[str], delimiter: str) -> pa.Table | None:
    """The cells of lines that every reader of CSV would cut alike; None where any is not so."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    lengths = np.diff(ends, prepend=-1)  # ends included
    if b"\0" in block or lengths.min() == 1 or lengths.max() > _FIELD:
        return None
    if not _quoted_as_fields(text, ord(delimiter)):
        return None
    try:
        found = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            pyarrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(block) + 1
            ),
            pyarrow.csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid:
        return None
    return found if found.num_rows == len(ends) else None


def _quoted_as_fields(text: np.ndarray, delimiter: int) -> bool:
    """Whether quotes stand around whole fields of a line alone."""
    quotes = np.flatnonzero(text == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    if len(opening) != len(closing):
        return False
    borders = np.array([delimiter, ord("\n")])
    before = np.isin(text[opening - 1], borders) | (opening == 0)
    lines = np.cumsum(text == ord("\n")) if len(quotes) else text
    return bool(
        before.all()
        and np.isin(text[closing + 1], borders).all()  # a block ends with a newline
        and (lines[opening] == lines[closing]).all()
    )


def _lines(root: Path, path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    return _told(foreign.numbered_lines(root, path, foreign.LIST, encoding))


def _told(lines: Iterator[Any]) -> Iterator[Any]:
    """What `foreign` reads; how an encoding is named is said to whom it is of use."""
    try:
        yield from lines
    except ValueError as error:
        asked = ", or name its encoding, as with --option encoding=cp1252"
        raise ValueError(f"{error}{asked * ('save the file as UTF-8' in str(error))}") from None


def _header(path: Path, line: str) -> tuple[list[str], str]:
    """The names of the columns, and what stands between them."""
    if not line.strip():
        raise ValueError(f"{path}: line 1 is empty; the names of the columns belong there")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=line.count)
    (header,) = csv.reader([line], delimiter=delimiter)
    names = [name.strip().lstrip("#").strip() for name in header]
    try:
        return _once(names), delimiter
    except ValueError as error:
        raise ValueError(f"{path}: line 1 {error}") from None


def _once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(
            f"names a column twice or not at all ({','.join(names)[:100]!r}); give each a name of "
            "its own (to_csv(index=False) keeps pandas from writing one without)"
        )
    return names


def _json_lines(root: Path, path: Path, encoding: str = "") -> Rows:
    for number, line in _lines(root, path, encoding):
        if not line.strip():
            continue
        try:
            yield number, _texts(foreign.json_text(line))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is no row ({error}); mend it") from None


def _row_groups(file: Any) -> Iterable[pa.RecordBatch]:
    return pq.ParquetFile(file).iter_batches()


def _record_batches(file: Any) -> Iterable[pa.RecordBatch]:
    """Of an IPC file, or of an IPC stream, as Hugging Face writes them."""
    if file.read(6) == b"ARROW1":
        opened = pa.ipc.open_file(file)
        return map(opened.get_batch, range(opened.num_record_batches))
    file.seek(0)
    return pa.ipc.open_stream(file)


def _arrow_rows(root: Path, path: Path, _: str = "") -> Rows:
    for block in _arrow_blocks(root, path):
        yield from block.rows()


def _arrow_blocks(root: Path, path: Path) -> Iterator[Block]:
    number = 0
    with foreign.opened(root, path, foreign.LIST) as file:
        try:
            for batch in _BATCHES[path.suffix.lower()](file):
                batch.validate(full=True)
                names = _once([str(name).strip() for name in batch.schema.names])
                cells = dict(zip(names, map(_column, names, batch.columns), strict=True))
                numbers = np.arange(number + 1, number + batch.num_rows + 1)
                number += batch.num_rows
                yield Block(numbers, cells)
        except (ValueError, OSError, pa.ArrowException) as error:
            raise ValueError(
                f"{path}: it cannot be read after row {number} ({str(error)[:200]}); write it again"
            ) from None


def _column(name: str, values: pa.Array) -> pa.Array:
    """The text of each value; raises ValueError for bytes, which are none."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return values.cast(pa.string()).fill_null("")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise ValueError(
            f"column {name!r} holds bytes; write images to files and their paths to the table, or "
            "leave the column out"
        )
    return pa.array(map(_text, values.to_pylist()), pa.string())


def _texts(row: dict[str, Any]) -> dict[str, str]:
    return {str(name).strip(): _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    """A value as CSV would have it; of an image cell its path, of another with names JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, dict) and "path" in value:
        return _text(value["path"])
    if isinstance(value, dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    if isinstance(value, list):
        return ";".join(map(_text, value))
    if isinstance(value, bytes):
        raise ValueError("a cell holds bytes; write images to files and their paths to the table")
    text = str(value)
    if not text.isascii() and text != text.encode(errors="ignore").decode():
        raise ValueError(f"{text[:60]!a} is half of a character and no text")
    return text


_OWN_NAMES = (".jsonl", ".ndjson")
_BATCHES: dict[str, Callable[[Any], Iterable[pa.RecordBatch]]] = {
    ".parquet": _row_groups,
    ".arrow": _record_batches,
    ".feather": _record_batches,
}
FORMATS: dict[str, Callable[[Path, Path, str], Rows]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    **dict.fromkeys(_BATCHES, _arrow_rows),
}
