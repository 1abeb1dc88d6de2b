"""Open labels.arrow: whoever wrote it, its rows are in range and point into their tars, or a
sentence says why not. What costs by the byte of a label or an image waits for `verify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.labels.extra import fits
from shards.labels.packing import unpacked
from shards.labels.schema import (
    BLOCK,
    FORMAT,
    LABELS,
    LENGTHS,
    SCHEMA,
    TAR,
    VOCABULARY,
    WIDE,
    WIDER,
    kind_of,
    metadata_of,
    row_offset,
)
from shards.sample import EXPRESSIONS, ROUNDING, is_dataset

_AT_ONCE = 1 << 16  # rows that are checked
_CODES = {"expression": len(EXPRESSIONS) - 1, "expression_compound": 11, "fold": 127}


def open_table(place: Path) -> pa.Table:
    """The checked rows of a shard folder, or of its labels.arrow, memory-mapped.

    Raises FileNotFoundError where there is none, ValueError where it is cut, of another schema,
    or holds what no writer wrote. 420,000 rows are checked in 40 ms.
    """
    path = place / LABELS if place.suffix != ".arrow" else place
    table = read_table(path)
    for problem in _problems(table, metadata_of(table.schema)):
        raise _refusal(path, problem)
    return table


def read_table(path: Path) -> pa.Table:
    """The rows of a labels.arrow that can be looked at, whatever they say."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, and it is written last: write the shards "
            "(`python cli.py shard NAME`), or let an interrupted run finish"
        )
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        table.validate(full=True)  # else a wild offset ends the process where it is first used
        facts = metadata_of(table.schema)
    except Exception:  # a damaged file makes Arrow raise whatever it meets
        raise _refusal(path, "is cut or no Arrow file") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("format", 1), int):
        raise _refusal(path, "has other metadata than shards write")
    if (version := facts.get("format", 1)) > WIDER:
        raise ValueError(f"{path} was written by a newer version of shards; update this one")
    table = unpacked(table) if version >= FORMAT else _as_now(table)
    said = pa.schema([field.with_type(kind_of(field)) for field in table.schema])
    right = fits(said) if version in WIDE else said.equals(SCHEMA)
    if not right or "digest" not in facts:
        raise _refusal(path, "has another schema than this version of shards writes")
    return table


def _refusal(path: Path, problem: str) -> ValueError:
    return ValueError(
        f"{path} {problem}; write the shards again, or let `python cli.py inspect "
        f"{path.parent} --repair` try to mend it"
    )


def _as_now(table: pa.Table) -> pa.Table:
    """Rows of format 1, whose lists had fixed lengths and whose images no checksum."""
    if "ahash" not in table.schema.names or "crc" in table.schema.names:
        return table
    place = SCHEMA.get_field_index("crc")
    crc = pa.nulls(table.num_rows, pa.uint32())
    table = table.drop_columns("ahash").add_column(place, SCHEMA.field("crc"), crc)
    for number, field in enumerate(table.schema):
        if pa.types.is_fixed_size_list(field.type) and field.name in LENGTHS:
            wanted = SCHEMA.field(field.name)
            table = table.set_column(number, wanted, table[number].cast(wanted.type))
    return table


def _problems(table: pa.Table, facts: dict[str, Any]) -> Iterator[str]:
    """What is wrong, cheapest first; each check relies on those before it."""
    tars: Any = facts.get("tars")
    if not isinstance(tars, dict) or not all(map(_is_tar, tars.items())):
        yield "names a tar that is none: NNNNN.tar, with its samples, size and sha256"
    if sum(tar["samples"] for tar in tars.values()) != table.num_rows:
        yield f"has {table.num_rows:,} rows and its tars another number"
    for field in SCHEMA:
        if not field.nullable and table[field.name].null_count:
            yield f"has rows without {field.name}"
    yield from _of_words(table, list(tars), own=facts.get("format", 1) in WIDE)
    for first, some, rows in _parts(table, list(tars.values())):
        yield from _of_places(rows, first, some)
        yield from _of_labels(rows)


def _is_tar(item: tuple[str, Any]) -> bool:
    name, facts = item
    return (
        bool(TAR.fullmatch(name))  # it is joined to a folder: nothing absolute, no way up
        and isinstance(facts, dict)
        and all(isinstance(facts.get(key), int) and facts[key] > 0 for key in ("samples", "size"))
        and isinstance(facts.get("sha256"), str)
    )


def _of_words(table: pa.Table, tars: list[str], *, own: bool) -> Iterator[str]:
    for name, words in (*VOCABULARY.items(), ("shard", tars)):
        for chunk in table[name].chunks[:1]:  # a file has one dictionary for a column
            found = chunk.dictionary.to_pylist()
            others = {*found} - {*words}
            if own and name == "dataset":
                others -= {*filter(is_dataset, others)}
            if len({*found}) < len(found) or others:
                yield f"has a {name} that is none of {', '.join(map(str, words[:8]))}"
            if name == "shard" and found != tars:
                yield "names other tars in its rows than in its metadata"
    for name, words in _dictionaries(table):
        twice = pa.types.is_string(words.type) and len(words.unique()) < len(words)
        if twice or words.null_count:
            yield f"has a {name} under two numbers, or none under one"
    if not set(table["extension"].unique().to_pylist()) <= {"jpg", "png"}:
        yield "has images that are neither jpg nor png"


def _dictionaries(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    for name in table.column_names:
        for chunk in table[name].chunks[:1]:
            if isinstance(chunk, pa.DictionaryArray):
                yield name, chunk.dictionary


def _parts(table: pa.Table, tars: list[Any]) -> Iterator[tuple[int, list[Any], pa.Table]]:
    """The number of a tar, it and some after it, and their rows: as many as leave what is computed
    of them small."""
    ends = np.cumsum([0, *(tar["samples"] for tar in tars)])
    first = 0
    while first < len(tars):
        last = int(np.searchsorted(ends, ends[first] + _AT_ONCE, side="right")) - 1
        last = max(last, first + 1)
        yield first, tars[first:last], table.slice(ends[first], ends[last] - ends[first])
        first = last


def _of_places(table: pa.Table, number: int, tars: list[Any]) -> Iterator[str]:
    """Of rows of these tars, the first of which is `number`."""
    counts, whole = (np.array([tar[key] for tar in tars], np.int64) for key in ("samples", "size"))
    first = np.cumsum(counts) - counts  # row of each tar
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in table["shard"].chunks])
    turns = np.flatnonzero(np.diff(codes)) + 1
    if not np.array_equal(codes[first], number + np.arange(len(first))) or not np.array_equal(
        turns, first[1:]
    ):
        yield "has rows in another order than its tars"
    offset, size = (table[name].to_numpy() for name in ("shard_offset", "image_size"))
    if (offset & (BLOCK - 1)).any() or offset.min() < BLOCK or size.min() < 1:
        yield "places images where no tar has any"
    if max(offset.max(), size.max()) > whole.max():  # far enough behind for sums to overflow
        yield "places images behind the end of their tar"
    ends = row_offset(offset, size)
    if (np.maximum.reduceat(ends, first) > whole).any():
        yield "places images behind the end of their tar"
    if not np.isin(np.flatnonzero(offset[1:] < ends[:-1]) + 1, first).all():
        yield "places images over one another"
    if min(pc.min(table["width"]).as_py(), pc.min(table["height"]).as_py()) < 1:
        yield "has images without a pixel"


def _of_labels(table: pa.Table) -> Iterator[str]:
    for axis in ("valence", "arousal"):
        if not _all(pc.less_equal(pc.abs(table[axis]), 1 + ROUNDING)):  # NaN fails too
            yield f"has {axis} outside [-1, 1]"
        if not _all(pc.equal(table["va_valid"], table[axis].is_valid())):
            yield f"has va_valid that disagrees with {axis}"
    for name, most in _CODES.items():
        found = pc.min_max(table[name]).as_py()
        if found["min"] is not None and not 0 <= found["min"] <= found["max"] <= most:
            yield f"has {name} outside 0 to {most}"
    for name, length in LENGTHS.items():
        column = table[name]
        some = column.null_count < len(column)
        if some and not _all(pc.equal(pc.list_value_length(column), length)):
            yield f"has {name} of other than {length} numbers"


def _all(truths: pa.ChunkedArray) -> bool:
    return pc.all(truths, min_count=0).as_py()
