"""Columns that are nothing else: their kinds over all rows, their names, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards import BuildOptions, Engine, LabelIndex, build
from shards.datasets import table
from shards.datasets.table.kept import Kept, names_for
from shards.labels.extra import LONGEST, MOST, note, wrong_name
from shards.summary import facts_of
from shards.where import condition
from tests.shards.datasets.table.test_reader import details, pictures
from tests.shards.reading import read_tree


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "-2", "", "NA"], "int", [1, -2, None, None]),
        (["1", "2.5", "1e3", ".5"], "float", [1.0, 2.5, 1000.0, 0.5]),
        (["True", "false", "none"], "bool", [True, False, None]),
        (["007", "8"], "string", ["007", "8"]),  # a name, not a number
        (["1", "true"], "string", ["1", "true"]),
        (["3", "x", "None"], "string", ["3", "x", "None"]),  # a word beside words
        (["9" * 30, "1"], "string", ["9" * 30, "1"]),  # no index holds it as a number
        (["1e999", "inf"], "string", ["1e999", "inf"]),
        (["1_0", "٣"], "string", ["1_0", "٣"]),
        (["", "nan"], "string", [None, None]),
    ],
)
def test_a_column_has_the_kind_of_all_its_rows(texts: list, kind: str, values: list) -> None:
    kept = Kept()
    for text in texts:
        kept.look({"c": text})
    assert kept.listed == {"c": kind}
    found = [kept.of({"c": text}) for text in texts]
    assert found == [{"c": value} for value in values]
    assert [type(row["c"]) for row in found] == [type(value) for value in values]
    for row in found:
        note({}, row)  # an index takes it


def test_every_column_gets_a_name_that_an_index_can_have() -> None:
    columns = ["age", "Age group", "gender", "3d", "class", "a b", "a-b", "größe", "valence_pred"]
    columns += ["x" * 80, "x" * 79]
    names = names_for(columns)
    assert names["age"] == "age" and names["Age group"] == "Age_group"
    assert names["gender"] == "table_gender" and names["a b"] == "a_b" and names["a-b"] == "a_b__2"
    assert len(set(names.values())) == len(columns)
    assert not [name for name in names.values() if wrong_name(name)]


def test_what_an_index_cannot_hold_is_left_out_and_said() -> None:
    kept = Kept()
    kept.look({"caption": "short"} | {f"c{k}": "1" for k in range(MOST)})
    kept.look({"caption": "x" * (LONGEST + 1)})
    assert kept.left_out.keys() == {f"c{MOST - 1}", "caption"}
    assert kept.of({"caption": "short", "c0": "1", f"c{MOST - 1}": "1"}) == {"c0": 1}


def rooted(root: Path) -> Path:
    pictures(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "labels.csv").write_text(
        "path,valence,arousal,age,site,gender,glasses,pose\n"
        "a.jpg,.1,.2,31,Linz,f,true,0.5\nb.jpg,.1,.2,,Graz,m,false,\nc.jpg,.1,.2,7,,,,2\n"
    )
    return root


def test_they_are_read_said_and_listed(tmp_path: Path) -> None:
    reading = read_tree(table, rooted(tmp_path), dataset="mine")
    extras = [dict(s.extra or {}) for s in reading.samples]
    assert extras[0] == {
        "age": 31, "site": "Linz", "table_gender": "f", "glasses": True, "pose": 0.5,
    }  # fmt: skip
    assert extras[2]["site"] is None and extras[2]["pose"] == 2.0
    assert {s.dataset for s in reading.samples} == {"mine"}
    assert details(reading, "kept columns") == [
        "kept for --where and --by: 'age' (int), 'site' (string), 'gender' as table_gender "
        "(string), 'glasses' (bool), 'pose' (float)"
    ]


def test_they_reach_the_index_and_its_conditions(tmp_path: Path) -> None:
    rooted(tmp_path / "raw")
    options = BuildOptions(engine=Engine("joblib", jobs=1), reader={"dataset": "mine"})
    build("table", tmp_path / "raw", tmp_path / "out", options)
    index = LabelIndex.open(tmp_path / "out")
    chosen = index.where(filter=condition("age > 10 and site == 'Linz'", index.table.schema))
    assert list(chosen.column("sample_key")) == ["t_a"]
    facts = facts_of(index)
    assert facts["datasets"] == {"mine": 3}
    assert facts["extra"] == {
        "age": "int64", "site": "string", "table_gender": "string", "glasses": "bool",
        "pose": "double",
    }  # fmt: skip


def test_tables_of_two_splits_agree_on_a_kind(tmp_path: Path) -> None:
    for split, text in (("train", "1"), ("test", "1.5")):
        pictures(tmp_path, f"{split}/a.jpg")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,dose\na.jpg,{text}\n")
    extras = [s.extra for s in read_tree(table, tmp_path).samples]
    assert {(e or {})["dose"] for e in extras} == {1.0, 1.5}


@pytest.mark.parametrize("name", ["affectnet", "Mine", "a" * 40, 7])
def test_a_name_of_ones_own_is_a_name(name: str | int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset=.*a name is a letter a-z"):
        read_tree(table, rooted(tmp_path), dataset=name)


def test_a_role_may_be_taken_from_a_column(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,some free text\n")
    (sample,) = read_tree(table, tmp_path, columns="expression:").samples
    assert sample.expression_raw is None and sample.extra == {"label": "some free text"}
