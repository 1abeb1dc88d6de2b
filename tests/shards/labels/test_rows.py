"""Rows and samples say the same."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shards.findings import Findings
from shards.labels.rows import PLANNED, InRows, lists_of, planned_rows, rows_like, samples_of, sound
from shards.sample import Sample

FULL = Sample(
    key="k",
    original_path="a/b.jpg",
    dataset="affwild2",
    variant="abaw5",
    split="train",
    split_by_task={"au": "train", "va": "val"},
    bbox_xyxy=(1.0, 2.0, 3.0, 4.0),
    landmarks=tuple(float(k) for k in range(136)),
    action_units=(0,) * 12,
    valence=0.5,
    arousal=-0.25,
    quality=("no_box",),
)
SIZES = {"source_bytes": pa.array([3, 4]), "source_time": pa.array([5, 6])}


def test_samples_become_rows_and_samples_again():
    bare = Sample(key="b", original_path="b.jpg", dataset="table", variant="v", split="val")
    assert list(samples_of(planned_rows([FULL, bare]))) == [FULL, bare]


def test_rows_like_a_sample_differ_in_the_columns_given():
    valence = pa.array([0.1, None])  # float64: what readers give is what callers get
    rows = rows_like(FULL, 2, {**SIZES, "valence": valence, "arousal": valence})
    first, second = samples_of(rows)
    assert (first.valence, second.valence) == (0.1, None)
    assert first.landmarks == second.landmarks == FULL.landmarks
    assert rows.schema.names == [*PLANNED.names, "source_bytes", "source_time"]


def test_a_row_that_begins_with_nan_is_a_null_list():
    lists = lists_of(np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]]))
    lists.validate(full=True)
    assert lists.to_pylist() == [[1, 2], None, [3, 4]]
    assert lists_of(np.zeros((0, 4))).to_pylist() == []
    assert lists_of(np.full((2, 4), np.nan)).to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("column", "values"),
    [("sample_key", ["a.b", "c"]), ("bbox_xyxy", [[1.0, 2.0, 1.0, 4.0], None])],
)
def test_unsound_rows_are_those_that_make_no_sample(column: str, values: list[Any]):
    rows = rows_like(FULL, 2, {**SIZES, column: pa.array(values)})
    assert sound(rows).tolist() == [False, True]
    with pytest.raises(ValueError, match=r"a key is 1 to 92 letters|is empty; boxes are"):
        list(samples_of(rows))


def test_a_reader_of_rows_gives_samples_unless_a_check_fails():
    @InRows
    def read(root: Path, findings: Findings, *, fail: bool = False) -> Iterator[pa.RecordBatch]:
        yield rows_like(FULL, 2, SIZES)
        findings.check("last", not fail, "said when all was read")

    assert list(signature(read).parameters) == ["root", "findings", "fail"]
    fine, failed = Findings(), Findings()
    assert list(read(Path(), fine)) == [FULL, FULL] and len(fine.checks) == 1
    assert list(read(Path(), failed, fail=True)) == [] and failed.failed
    (rows,) = read.rows(Path(), Findings())
    assert rows.num_rows == 2
