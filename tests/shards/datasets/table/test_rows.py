"""The same rows from every format, and a sentence with file and row for what is no row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.datasets import table
from shards.datasets.table.rows import columns_of, rows_of
from tests.shards.datasets.table.test_reader import details, pictures
from tests.shards.reading import assert_stops, read_tree

TABLE = {"path": ["a.jpg", "b, c.jpg"], "valence": [0.5, None], "marks": [[1.0, 2.0], [3.0, 4.0]]}
ROWS = [
    {"path": "a.jpg", "valence": "0.5", "marks": "1.0;2.0"},
    {"path": "b, c.jpg", "valence": "", "marks": "3.0;4.0"},
]


def write(folder: Path, kind: str) -> Path:
    path, table = folder / f"t.{kind}", pa.table(TABLE)
    if kind == "csv":
        path.write_text('#path, valence ,marks\na.jpg,0.5,1.0;2.0\n\n"b, c.jpg",,3.0;4.0')
    elif kind == "tsv":
        path.write_text("path\tvalence\tmarks\na.jpg\t0.5\t1.0;2.0\nb, c.jpg\t\t3.0;4.0\n")
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    elif kind == "parquet":
        pq.write_table(table, path, row_group_size=1)
    else:
        new = pa.ipc.new_file if kind == "feather" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as sink:
            sink.write_table(table)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "arrow", "feather"])
def test_every_format_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind)
    assert [row for _, row in rows_of(tmp_path, path)] == ROWS
    assert columns_of(tmp_path, path) == list(TABLE)
    numbers = [number for number, _ in rows_of(tmp_path, path)]
    assert numbers == ([2, 4] if kind == "csv" else [2, 3] if kind == "tsv" else [1, 2])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "path,v\nx", r"a\.csv: line 2 has 1 fields, not 2 as line 1"),
        ("a.csv", "path,path\nx,y", r"a\.csv: line 1 names a column twice"),
        ("a.csv", "path,\nx,y", r"a\.csv: line 1 names a column twice or not at all"),
        ("a.csv", "path\n" + "x" * 200_000, r"a\.csv: line 2 field larger than field limit"),
        ("a.csv", "\n\npath\nx", r"a\.csv: line 1 is empty; the names of the columns belong there"),
        ("a.csv", "", r"a\.csv: line 1 names a column|a\.csv has no rows"),
        ("a.jsonl", '{"path": "a"}\n{"path": ', r"a\.jsonl: line 2 is no row"),
        ("a.jsonl", '{"path": NaN}', r"a\.jsonl: line 1 is no row \(NaN is no number\)"),
        ("a.jsonl", '{"a": 1, "a": 2}', r"line 1 is no row \(the key 'a' stands there twice\)"),
        ("a.jsonl", "[1]", r"a\.jsonl: line 1 is no row \(it holds a list"),
        ("a.parquet", "PAR1 no", r"a\.parquet: it cannot be read after row 0"),
        ("a.arrow", "ARROW1 no", r"a\.arrow: it cannot be read after row 0"),
        ("a.feather", "", r"a\.feather: it cannot be read after row 0|has no rows"),
    ],
)
def test_what_is_no_row_is_named(name: str, content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        columns_of(tmp_path, path)
        list(rows_of(tmp_path, path))


def test_a_table_in_another_encoding_is_read_where_it_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, "größe.jpg")
    text = "path;valence;arousal;Ort\ngröße.jpg;0,5;-0,25;Köln\n"
    (tmp_path / "labels.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(ValueError, match=r"line 2 is no UTF-8 text; .* --option encoding=cp1252"):
        read_tree(table, tmp_path)
    for wrong in ("enigma", "base64"):
        with pytest.raises(ValueError, match=f"encoding={wrong}: no text is encoded so"):
            read_tree(table, tmp_path, encoding=wrong)
    reading = read_tree(table, tmp_path, encoding="cp1252")
    (sample,) = reading.samples
    assert (sample.original_path, sample.valence, sample.arousal) == ("größe.jpg", 0.5, -0.25)
    assert sample.extra == {"Ort": "Köln"}
    assert "numbers with a comma, 0,5 is a half" in details(reading, "columns")[0]


def test_a_comma_is_decimal_where_nothing_else_can_be_meant(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    table_of = 'path;valence;arousal;bbox_xyxy;age\na.jpg;{};0;"1,5;2;30;40";7,5\nb.jpg;{};1;;8\n'
    (tmp_path / "labels.csv").write_text(table_of.format("-0,5", "1"))
    first, second = read_tree(table, tmp_path).samples
    assert (first.valence, first.bbox_xyxy) == (-0.5, (1.5, 2, 30, 40))
    assert [s.extra for s in (first, second)] == [{"age": 7.5}, {"age": 8.0}]
    (tmp_path / "labels.csv").write_text(table_of.format("-0,5", "0.5"))
    assert_stops(read_tree(table, tmp_path), "valence '-0,5': more than one number stands there")
    (tmp_path / "labels.csv").write_text(table_of.format("1,000", "900"))
    asked = {"range": "-1000..1000"}
    assert_stops(read_tree(table, tmp_path, **asked), "valence '1,000': more than one number")
    assert read_tree(table, tmp_path, decimal=",", **asked).samples[0].valence == 0.001
    with pytest.raises(ValueError, match="decimal=;: write , or"):
        read_tree(table, tmp_path, decimal=";")


def test_a_column_of_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": ["a.jpg"], "thumb": [b"1"]}), path)
    with pytest.raises(ValueError, match=r"column 'thumb' holds bytes; .* or leave the column out"):
        list(rows_of(tmp_path, path))


def test_nothing_of_a_parquet_file_is_lost_in_silence(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    image, values = pa.array([{"bytes": None, "path": "a.jpg"}]), pa.array([0.5])
    named = {"image": image, "valence": values, "arousal": values}
    pq.write_table(pa.table({**named, "pose": [{"yaw": 3}]}), tmp_path / "labels.parquet")
    (sample,) = read_tree(table, tmp_path).samples
    assert sample.original_path == "a.jpg" and sample.extra == {"pose": '{"yaw": 3}'}
    twice = pa.Table.from_arrays([image, values, values, values], [*named, " valence"])
    pq.write_table(twice, tmp_path / "labels.parquet")
    with pytest.raises(ValueError, match=r"labels\.parquet: .*names a column twice or not at all"):
        read_tree(table, tmp_path)


def test_a_name_that_no_file_can_have_is_missing(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "labels.csv").write_text(f"path\na.jpg\n{'x' * 300}.jpg\n")
    assert_stops(read_tree(table, tmp_path), "1 images of 2 rows are missing")
