"""How labels.arrow keeps its rows small: words that repeat lie once, in the dictionary of their
column, and a column without any value is left out.

The file is mapped, so nothing in it is compressed. A row of Aff-Wild2 has 215 bytes so, and 382
with every word in every row. `kind_of` says what a column is for whoever reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.labels.schema import CODES, SCHEMA, kind_of

MOST = 1 << 16  # different words of a column; above, it stays as it is
_LEAST = 1024  # bytes that a dictionary has to save: it costs 300 itself
_REPEATING = (pa.string(), pa.map_(pa.string(), pa.string()))

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


class Packing:
    """What the columns of an index hold, learned from all its rows before the first is written."""

    def __init__(self) -> None:
        self._words: dict[str, Words] = {}
        self._valued = {field.name for field in SCHEMA if not field.nullable}

    def see(self, rows: pa.RecordBatch) -> None:
        """Learn from more rows."""
        for field, column in zip(rows.schema, rows.columns, strict=True):
            if field.name not in SCHEMA.names or column.null_count < len(column):
                self._valued.add(field.name)
            words = self._words.setdefault(field.name, Words(field.type))
            if field.type in _REPEATING and len(words.values) <= MOST:
                words.see(column)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns of the file: a dictionary where that takes fewer bytes."""
        fields = [field for field in schema if field.name in self._valued]
        kinds = [self._words[field.name].kind or field.type for field in fields]
        packed = (field.with_type(kind) for field, kind in zip(fields, kinds, strict=True))
        return pa.schema(packed, schema.metadata)

    def packed(self, rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """The rows as they lie in the file of this `schema`."""
        columns = [
            rows[field.name]
            if field.type == rows[field.name].type
            else self._words[field.name].coded(rows[field.name])
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)


class Words:
    """The different values of a column of words, in the order in which they were met."""

    def __init__(self, kind: pa.DataType, codes: pa.DataType = CODES[0]) -> None:
        self.values = pa.array([], kind)
        self._keys = pa.array([], pa.string())
        self._narrowest = codes
        self._rows = self._plain = 0

    def see(self, column: pa.Array) -> None:
        """Learn from more rows."""
        self._rows += len(column)
        self._plain += column.nbytes
        keys = _keys(column)
        new = keys.drop_null().unique()
        new = new.filter(pc.invert(pc.is_in(new, value_set=self._keys)))
        if len(new):
            first = column.take(pc.index_in(new, value_set=keys))
            self.values = pa.concat_arrays([self.values, first])
            self._keys = pa.concat_arrays([self._keys, new])

    @property
    def codes(self) -> pa.DataType:
        """Integers that can count the words."""
        fitting = (c for c in CODES if len(self._keys) <= 1 << (c.bit_width - 1))
        return max(self._narrowest, next(fitting), key=lambda kind: kind.bit_width)

    @property
    def kind(self) -> pa.DataType | None:
        """The dictionary that takes fewer bytes than a word in every row, if it does."""
        packed = self.values.nbytes + self._rows * self.codes.bit_width // 8 + _LEAST
        few = len(self._keys) <= MOST and packed < self._plain
        return pa.dictionary(self.codes, self.values.type) if few else None

    def coded(self, column: pa.Array) -> pa.DictionaryArray:
        """Rows of the column, by the numbers of their words."""
        return pa.DictionaryArray.from_arrays(self.numbers(column), self.values)

    def numbers(self, column: pa.Array) -> pa.Array:
        """Of each row the number of its word."""
        return pc.index_in(_keys(column), value_set=self._keys).cast(self.codes)


def _keys(column: pa.Array) -> pa.Array:
    """A word for each value, equal where the values are: of a map each key and each word of it with
    its length before it."""
    if pa.types.is_string(column.type):
        return column
    pairs = column.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])))
    parts = [part for field in pairs.flatten().flatten() for part in (_length(field), field)]
    said = pc.binary_join_element_wise(*parts, ":", null_handling="replace")
    return pc.binary_join(pa.ListArray.from_arrays(_ends(pairs), said, mask=column.is_null()), "")


def _length(words: pa.Array) -> pa.Array:
    return pc.binary_length(words).fill_null(-1).cast(pa.string())


def _ends(lists: pa.Array) -> pa.Array:
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def unpacked(table: pa.Table) -> pa.Table:
    """The table with the columns that were left out."""
    names = table.column_names
    if "sample_key" not in names or len({*names}) < len(names):
        return table  # nothing of ours
    fields = [f for f in SCHEMA if f.name in names or f.nullable]
    fields = [table.schema.field(f.name) if f.name in names else f for f in fields]
    fields += [field for field in table.schema if field.name not in SCHEMA.names]
    sizes = [len(chunk) for chunk in table["sample_key"].chunks]
    columns = [
        table[field.name]
        if field.name in names
        else pa.chunked_array(_nothing(field.type, sizes), field.type)
        for field in fields
    ]
    return pa.table(columns, schema=pa.schema(fields, table.schema.metadata))


def _nothing(kind: pa.DataType, sizes: list[int]) -> list[pa.Array]:
    """Nulls in chunks that share their memory."""
    nulls = pa.nulls(max(sizes, default=0), kind)
    return [nulls.slice(0, size) for size in sizes]


def plain(rows: Rows) -> Rows:
    """The same rows with every word in every row."""
    fields = [field.with_type(kind_of(field)) for field in rows.schema]
    columns = [decoded(rows[field.name], field.type) for field in fields]
    return type(rows).from_arrays(columns, schema=pa.schema(fields, rows.schema.metadata))


def decoded(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """A column as one of `kind`, which its dictionary holds."""
    if column.type == kind:
        return column
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], kind)
    return column.dictionary_decode()


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows, a column of words with one dictionary or none: as most of its rows have it."""
    if len(tables) == 1:
        return tables[0]
    columns = [
        _as_one([t[field.name] for t in tables], kind_of(field)) for field in tables[0].schema
    ]
    fields = zip(tables[0].schema, columns, strict=True)
    return pa.table(columns, schema=pa.schema([f.with_type(c.type) for f, c in fields]))


def _as_one(columns: list[pa.ChunkedArray], kind: pa.DataType) -> pa.ChunkedArray:
    coded = [column for column in columns if pa.types.is_dictionary(column.type)]
    if 2 * sum(map(len, coded)) < sum(map(len, columns)):
        chunks = [chunk for column in columns for chunk in decoded(column, kind).chunks]
        return pa.chunked_array(chunks, kind)
    widest = max((column.type.index_type for column in coded), key=lambda kind: kind.bit_width)
    words = Words(coded[0].type.value_type, widest)
    for column in columns:
        for known in _words_in(column):
            words.see(known)
    chunks = [chunk for column in columns for chunk in _recoded(column, words)]
    return pa.chunked_array(chunks, pa.dictionary(words.codes, words.values.type))


def _words_in(column: pa.ChunkedArray) -> list[pa.Array]:
    """What holds each word of a column of one index, whose chunks share one dictionary."""
    coded = pa.types.is_dictionary(column.type)
    return [chunk.dictionary for chunk in column.chunks[:1]] if coded else column.chunks


def _recoded(column: pa.ChunkedArray, words: Words) -> list[pa.Array]:
    if column.null_count == len(column):
        numbers = _nothing(words.codes, list(map(len, column.chunks)))
    elif pa.types.is_dictionary(column.type):
        new = words.numbers(column.chunks[0].dictionary)
        same = new.equals(pa.array(np.arange(len(new)), column.type.index_type))
        numbers = [c.indices if same else new.take(c.indices) for c in column.chunks]
    else:
        numbers = [words.numbers(chunk) for chunk in column.chunks]
    return [pa.DictionaryArray.from_arrays(codes, words.values) for codes in numbers]
