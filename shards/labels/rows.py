"""Many samples at once: what is known before an image is read, as columns.

A reader of millions yields batches instead of `Sample`s: a `Sample` costs 10 us to make and to take
apart, a row of a batch a tenth. Both become the columns `PLANNED`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import fields
from functools import update_wrapper
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.findings import Findings
from shards.labels.schema import SCHEMA, encoded
from shards.sample import Sample

_FIELDS = [field.name for field in fields(Sample) if field.name != "extra"]
_COLUMNS = ["sample_key" if name == "key" else name for name in _FIELDS]
PLANNED = pa.schema([SCHEMA.field(name) for name in _COLUMNS])
_WIDER = {pa.float32(): pa.float64(), pa.list_(pa.float32()): pa.list_(pa.float64())}
_EXACT = pa.schema([field.with_type(_WIDER.get(field.type, field.type)) for field in PLANNED])
workers: ContextVar[Callable[..., Iterator[Any]]] = ContextVar("workers", default=map)
SOURCE = ("source_bytes", "source_time")  # of the file behind a row: int64, bytes and nanoseconds


def planned_rows(samples: Sequence[Sample], *, exact: bool = False) -> pa.RecordBatch:
    """The columns that are known before an image is read; `exact` keeps float64.

    Raises ValueError where a reader put a value of the wrong type into a field.
    """
    arrays = []
    schema = _EXACT if exact else PLANNED
    for name, column in zip(_FIELDS, schema, strict=True):
        values = list(map(attrgetter(name), samples))
        if name in ("dataset", "split"):
            arrays.append(encoded(name, values, values if name == "dataset" else ()))
            continue
        if name == "split_by_task":
            values = [v and sorted(v.items()) for v in values]
        try:
            arrays.append(pa.array(values, column.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError) as error:
            raise ValueError(
                f"{name} of a sample from {samples[0].key} on is no {column.type}: {error}; "
                "its reader must convert it"
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def rows_like(sample: Sample, count: int, columns: dict[str, Any]) -> pa.RecordBatch:
    """`count` rows that say what `sample` says but for these columns, the two of `SOURCE` and those
    of one's own among them; float64 stays, and is made float32 where it is written."""
    again = pa.array(np.zeros(count, np.int64))
    rows = dict.fromkeys((*PLANNED.names, *SOURCE)) | columns
    for field, one in zip(PLANNED, planned_rows([sample]), strict=True):
        if field.name not in columns:
            null = one.null_count == 1
            rows[field.name] = pa.nulls(count, field.type) if null else one.take(again)
    return pa.RecordBatch.from_arrays(list(rows.values()), list(rows))


def lists_of(values: np.ndarray) -> pa.ListArray:
    """Each row of (n, k) as a list; null where it begins with NaN."""
    n, width = values.shape
    null = np.isnan(values[:, 0])
    ends = np.cumsum(np.where(null, 0, width), dtype=np.int32)
    starts = pa.array(np.concatenate([np.zeros(1, np.int32), ends]))
    lists = pa.ListArray.from_arrays(
        starts, pa.array((values[~null] if null.any() else values).ravel())
    )
    return pa.ListArray.from_buffers(
        lists.type, n, [_bits(~null), lists.buffers()[1]], children=[lists.values]
    )


def _bits(valid: np.ndarray) -> pa.Buffer | None:
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


def sound(rows: pa.RecordBatch) -> np.ndarray:
    """Which rows are samples as they should be, of what a reader of batches may get wrong: their
    keys and boxes. `samples_of` says what is wrong with the others."""
    keys = pc.match_substring_regex(rows["sample_key"], "^[A-Za-z0-9_-]{1,92}$").to_numpy(False)
    given = rows["bbox_xyxy"].is_valid().to_numpy(False)
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (len(rows), 1))
    boxes[given] = rows["bbox_xyxy"].flatten().to_numpy(False).reshape(-1, 4)
    return keys & (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])


def samples_of(rows: pa.RecordBatch) -> Iterator[Sample]:
    """The rows one by one."""
    own = own_columns(rows)
    for row in rows.select([*PLANNED.names, *own]).to_pylist():
        extra = {name: row.pop(name) for name in own}
        values: dict[str, Any] = dict(zip(_FIELDS, row.values(), strict=True))
        values["extra"] = extra or None
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = dict(value) if name == "split_by_task" else tuple(value)
        yield Sample(**values)


def own_columns(rows: pa.RecordBatch) -> list[str]:
    """The columns of a reader's batch that not every data set has."""
    return [name for name in rows.schema.names if name not in PLANNED.names and name not in SOURCE]


class InRows:
    """A reader that yields batches, as one that yields samples.

    `rows` checks while it reads, so what it gave counts for nothing if a check failed by its end;
    called as every reader is, nothing is yielded then.
    """

    def __init__(self, rows: Callable[..., Iterator[pa.RecordBatch]]) -> None:
        self.rows = rows
        update_wrapper(self, rows)

    def __call__(self, root: Path, findings: Findings, **options: Any) -> Iterator[Sample]:
        for _ in self.rows(root, findings, **options):
            pass
        if not findings.failed:
            for rows in self.rows(root, Findings(), **options):
                yield from samples_of(rows)
