"""Columns that a data set brings along: words, numbers or truth values, null where it has none.

They follow the columns of `SCHEMA` in the index, under their own names; a row that lacks one is
null there.
"""

from __future__ import annotations

import json
import keyword
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from shards.labels.schema import SCHEMA, kind_of

MOST = 64  # columns
LONGEST = 1000  # characters of a word
_KIND_OF = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
KINDS = tuple(_KIND_OF.values())
_NUMBERS = (pa.int64(), pa.float64())
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_TAKEN = {  # by the index, by conditions on it, and by tables of predictions
    *SCHEMA.names, "source", "row", "part", "logits",
    *(f"{name}_pred" for name in ("valence", "arousal", "expression")),
}  # fmt: skip

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)
Kinds = dict[str, pa.DataType | None]  # None: of null alone so far


def wrong_name(name: str) -> str | None:
    """Why a column cannot be called so; None where it can."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        return "a name is a letter, then up to 62 letters, digits or '_', and no word of Python"
    return "that is the name of a column of every index" if name in _TAKEN else None


def extra_in(schema: pa.Schema) -> list[pa.Field]:
    """The columns of a schema that not every index has."""
    return [field for field in schema if field.name not in SCHEMA.names]


def extended(fields: Iterable[pa.Field]) -> pa.Schema:
    """`SCHEMA` followed by extra columns."""
    return pa.schema([*SCHEMA, *fields])


def fits(schema: pa.Schema) -> bool:
    """Whether a schema is `SCHEMA`, perhaps followed by columns that a data set may bring."""
    extra = extra_in(schema)
    return (
        schema.equals(extended(extra))
        and len({field.name for field in extra}) == len(extra) <= MOST
        and all(field.nullable and field.type in KINDS for field in extra)
        and not any(wrong_name(field.name) for field in extra)
    )


def joined(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """The kind that holds both: numbers become floats, all else words; None is of null alone."""
    if one is None or other is None or one == other:
        return one or other
    return pa.float64() if one in _NUMBERS and other in _NUMBERS else pa.string()


def note(kinds: Kinds, extra: Mapping[str, Any]) -> None:
    """Let `kinds` hold one more sample too. Raises ValueError for a name or a value that cannot
    be, and for too many."""
    for name, value in extra.items():
        kind = _kind_of(name, value)
        if name not in kinds:
            if why := wrong_name(name):
                raise ValueError(f"extra column {name!r}: {why}; call it otherwise in its reader")
            if len(kinds) == MOST:
                raise ValueError(f"extra column {name}: there are {MOST} at most; leave some out")
        elif kinds[name] is kind:
            continue
        kinds[name] = joined(kinds.get(name), kind)


def _kind_of(name: str, value: Any) -> pa.DataType | None:
    if value is None:
        return None
    kind = _KIND_OF.get(type(value))
    if (
        kind is None
        or (type(value) is float and not math.isfinite(value))
        or (type(value) is int and not -(2**63) <= value < 2**63)
        or (type(value) is str and len(value) > LONGEST)
    ):
        raise ValueError(
            f"extra column {name}: {value!r:.60} is no finite number, truth value or word of at "
            f"most {LONGEST} characters; convert it in its reader, or make it None"
        )
    return kind


def fields_of(kinds: Mapping[str, pa.DataType | None]) -> list[pa.Field]:
    """Columns of these kinds, in the order in which they were met."""
    return [pa.field(name, kind or pa.string()) for name, kind in kinds.items()]


def column_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values of a sample's `extra` as a column."""
    if kind == pa.string():
        values = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    elif kind == pa.float64():
        values = [v if v is None else float(v) for v in values]
    return pa.array(values, kind)


def with_columns(
    rows: Rows,
    extras: Sequence[Mapping[str, Any] | None],
    kinds: Mapping[str, pa.DataType | None],
) -> Rows:
    """`rows` followed by the extra columns of their samples."""
    fields = fields_of(kinds)
    columns = [column_of([(e or {}).get(f.name) for e in extras], f.type) for f in fields]
    return _with(rows, dict(zip(fields, columns, strict=True)))


def aligned(tables: Sequence[Rows]) -> list[Rows]:
    """The same tables with the same extra columns: null where one has them not, of the kind that
    holds all."""
    kinds: Kinds = {}
    for table in tables:
        for field in extra_in(table.schema):
            kinds[field.name] = joined(kinds.get(field.name), kind_of(field))
    wanted = fields_of(kinds)
    return [table if _said(table.schema) == wanted else _cast(table, wanted) for table in tables]


def _said(schema: pa.Schema) -> list[pa.Field]:
    return [field.with_type(kind_of(field)) for field in extra_in(schema)]


def _cast(table: Rows, wanted: list[pa.Field]) -> Rows:
    have, said = table.schema.names, _said(table.schema)
    columns = {}
    for field in wanted:
        if field in said:  # as it lies
            columns[table.schema.field(field.name)] = table[field.name]
        elif field.name in have:
            columns[field] = pc.cast(table[field.name], field.type)
        else:
            columns[field] = pa.nulls(table.num_rows, field.type)
    return _with(table.select([n for n in have if n not in {f.name for f in wanted}]), columns)


def _with(rows: Rows, columns: Mapping[pa.Field, Any]) -> Rows:
    schema = pa.schema([*rows.schema, *columns], rows.schema.metadata)
    return type(rows).from_arrays([*rows.columns, *columns.values()], schema=schema)
