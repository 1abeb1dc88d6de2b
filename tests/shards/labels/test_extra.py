"""Columns of one's own: typed, null where missing, in the digest; others are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import LabelIndex, Sample, repair, write_shards
from shards.labels.extra import (
    KINDS,
    LONGEST,
    MOST,
    Kinds,
    aligned,
    column_of,
    extended,
    fields_of,
    fits,
    joined,
    note,
    wrong_name,
)
from shards.labels.schema import FORMAT, SCHEMA, WIDER, metadata_of, with_metadata
from shards.where import condition
from tests.shards.building.test_tars import items

EXTRAS: list[dict[str, Any] | None] = [
    {"age": 31, "sex": "female", "pose": 0.25, "glasses": True},
    {"age": None, "sex": "male"},
    None,
    {"age": 7, "pose": 2, "glasses": False},
]


def written(folder: Path, extras: list[Any], dataset: str = "mine", **options: Any) -> LabelIndex:
    pairs = [
        (dataclasses.replace(sample, extra=extra, dataset=dataset), content)
        for (sample, content), extra in zip(items(len(extras)), extras, strict=True)
    ]
    return write_shards(pairs, folder, samples_per_shard=2, **options)


def test_they_come_back_by_name_and_kind_and_null_where_missing(tmp_path: Path) -> None:
    index = written(tmp_path, EXTRAS)
    assert index.extra == ["age", "sex", "pose", "glasses"]
    kinds = [str(index.table.schema.field(name).type) for name in index.extra]
    assert kinds == ["int64", "string", "double", "bool"]
    assert index.table["age"].to_pylist() == [31, None, None, 7]
    assert index.table["sex"].to_pylist() == ["female", "male", None, None]
    assert index.table["pose"].to_pylist() == [0.25, None, None, 2.0]
    assert index.table["glasses"].to_pylist() == [True, None, None, False]
    assert index.verify() == [] and index.metadata["format"] == WIDER
    assert index.counts("dataset") == {"mine": 4}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age > 7", [0]),
        ("not age > 7", [3]),  # a missing value meets no comparison
        ("sex in ['male', 'x']", [1]),
        ("glasses", [0]),
        ("pose == 0.25 or age is None", [0, 1, 2]),
        ("dataset == 'mine' and age < 10", [3]),
    ],
)
def test_conditions_see_them(text: str, rows: list[int], tmp_path: Path) -> None:
    index = written(tmp_path, EXTRAS)
    assert index.where(filter=condition(text, index.table.schema)).rows.tolist() == rows
    with pytest.raises(ValueError, match=r"there is no column 'hat', but .*glasses"):
        condition("hat == 1", index.table.schema)


def test_an_index_without_any_is_of_the_old_format(tmp_path: Path) -> None:
    plain = write_shards(items(), tmp_path)
    assert plain.metadata["format"] == FORMAT and plain.extra == []
    assert plain.table.schema.equals(SCHEMA)


def test_the_digest_holds_values_names_and_kinds(tmp_path: Path) -> None:
    seen = {
        written(tmp_path / str(k), [extra]).digest
        for k, extra in enumerate(
            [None, {"age": 1}, {"age": 2}, {"age": 1.0}, {"years": 1}, {"age": None}]
        )
    }
    assert len(seen) == 6
    again = {written(tmp_path / "again", [{"age": 1}], "mine").digest}
    assert again < seen


def rewrite(path: Path, change: Any) -> None:
    table = LabelIndex.open(path.parent).table
    facts = metadata_of(pa.ipc.open_file(pa.memory_map(str(path))).schema)
    table, facts = change(table, facts)
    schema = with_metadata(table.schema, facts)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as file:
        file.write_table(pa.table(table.columns, schema=schema).combine_chunks())
    path.unlink()
    path.write_bytes(sink.getvalue())


def test_a_changed_value_is_found_by_verify(tmp_path: Path) -> None:
    index = written(tmp_path, EXTRAS)
    place = index.table.schema.get_field_index("age")
    other = pa.array([31, None, None, 8])
    rewrite(
        tmp_path / "labels.arrow",
        lambda table, facts: (table.set_column(place, table.schema.field("age"), other), facts),
    )
    assert any("are not those that were written" in p for p in LabelIndex.open(tmp_path).verify())


@pytest.mark.parametrize(
    ("name", "column", "version"),
    [
        ("valence_pred", pa.nulls(4, pa.float64()), WIDER),
        ("class", pa.nulls(4, pa.string()), WIDER),
        ("a b", pa.nulls(4, pa.string()), WIDER),
        ("ages", pa.nulls(4, pa.int8()), WIDER),
        ("ages", pa.nulls(4, pa.list_(pa.int64())), WIDER),
        ("ages", pa.nulls(4, pa.int64()), FORMAT),  # which has none
        ("ages", pa.nulls(4, pa.int64()), 2),
    ],
)
def test_columns_that_nobody_writes_are_refused(
    name: str, column: pa.Array, version: int, tmp_path: Path
) -> None:
    written(tmp_path, EXTRAS)
    rewrite(
        tmp_path / "labels.arrow",
        lambda table, facts: (
            table.append_column(pa.field(name, column.type), column),
            facts | {"format": version},
        ),
    )
    with pytest.raises(ValueError, match="has another schema than"):
        LabelIndex.open(tmp_path)


def test_folders_with_other_columns_open_as_one(tmp_path: Path) -> None:
    one = written(tmp_path / "a", [{"age": 1, "hat": "x"}, None], "first")
    other = written(tmp_path / "b", [{"age": 1.5, "hat": 3, "tall": True}], "second")
    plain = write_shards(items(2), tmp_path / "c")
    both = LabelIndex.open([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert both.table["age"].to_pylist() == [1.0, None, 1.5, None, None]
    assert both.table["hat"].to_pylist() == ["x", None, "3", None, None]
    assert both.table["tall"].to_pylist() == [None, None, True, None, None]
    assert both.counts("dataset") == {"first": 2, "second": 1, "affectnet": 2}
    assert both.verify() == []
    assert len({one.digest, other.digest, plain.digest, both.digest}) == 4


@pytest.mark.parametrize("with_json", [True, False])
def test_repair_keeps_them(with_json: bool, tmp_path: Path) -> None:
    before = written(tmp_path, EXTRAS, with_json=with_json).digest
    path = tmp_path / "labels.arrow"
    if with_json:
        path.unlink()
    else:
        (tmp_path / "00000.idx").unlink()
    repair(tmp_path)
    after = LabelIndex.open(tmp_path)
    assert after.table["age"].to_pylist() == [31, None, None, 7]
    assert after.counts("dataset") == {"mine": 4}
    assert after.verify() == []
    assert with_json or after.digest == before  # what the sources were like stands in no JSON


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"valence": 1}, "'valence': that is the name of a column of every index"),
        ({"row": 1}, "'row': that is the name"),
        ({"class": 1}, "'class': a name is a letter"),
        ({"_a": 1}, "'_a': a name is a letter"),
        ({"a" * 64: 1}, "a name is a letter"),
        ({"ä": 1}, "a name is a letter"),
        ({"a": float("nan")}, "a: nan is no finite number"),
        ({"a": float("inf")}, "a: inf is no finite number"),
        ({"a": 2**63}, "is no finite number"),
        ({"a": [1]}, r"a: \[1\] is no finite number, truth value or word"),
        ({"a": "x" * (LONGEST + 1)}, f"word of at most {LONGEST} characters"),
        ({f"a{k}": 1 for k in range(MOST + 1)}, f"there are {MOST} at most"),
    ],
)
def test_what_cannot_be_a_column_is_one_sentence(extra: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        note({}, extra)


values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9)
values |= st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(values, max_size=8))
def test_any_values_have_one_kind_and_lose_nothing(found: list[Any]) -> None:
    kinds: Kinds = {}
    for value in found:
        note(kinds, {"a": value})
    for field in fields_of(kinds):
        back = column_of(found, field.type).to_pylist()
        assert [value is None for value in back] == [value is None for value in found]
        if len({type(value) for value in found} - {type(None)}) == 1:
            assert back == found


@given(st.lists(st.sampled_from([None, *KINDS]), max_size=6).flatmap(st.permutations))
def test_the_kind_of_many_does_not_depend_on_their_order(kinds: list[pa.DataType | None]) -> None:
    def over(some: list[pa.DataType | None]) -> pa.DataType | None:
        found = None
        for kind in some:
            found = joined(found, kind)
        return found

    assert over(kinds) == over(sorted(kinds, key=str))


def test_rows_that_agree_are_left_as_they_are() -> None:
    table = pa.table({"a": [1]})
    assert aligned([table, table])[0] is table
    assert fits(extended([pa.field("a", pa.int64())])) and fits(SCHEMA)
    assert wrong_name("age") is None


def test_a_sample_carries_them() -> None:
    sample = Sample(
        key="a", original_path="a.jpg", dataset="mine", variant="v", split="train", extra={"a": 1}
    )
    assert sample.extra == {"a": 1}
