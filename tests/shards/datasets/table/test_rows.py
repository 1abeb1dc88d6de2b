"""The same rows from every format, and a sentence with file and row for what is no row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.datasets.table.rows import columns_of, rows_of

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
