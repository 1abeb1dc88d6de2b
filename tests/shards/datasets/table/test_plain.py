"""Many rows at once say what each says by itself, or nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.datasets.table.columns import ROLES, Row, Scale, parse
from shards.datasets.table.plain import Columns, at_once
from shards.datasets.table.rows import Block, blocks_of, in_blocks, rows_of

NUMBER = st.sampled_from(
    [
        "0.5",
        "-.25",
        "1",
        "1e-1",
        "+0.5",
        "-2",
        "-2.0",
        "",
        "NaN",
        " 7 ",
        "0x1",
        "inf",
        "1_0",
        "\u0661",
    ]
)
WORDS = st.sampled_from(["happy", "Happy", "-2", "none", "", " sad ", "3.0", "é", "ẞ"])
IDS = st.sampled_from(["anna", "12.0", "12", "012.00", "1.10", "none", " 7.0 "])
PATHS = st.sampled_from(
    ["a.jpg", "x/a.jpg", "./a.jpg", "a", "/a.jpg", "x//a", "x/../a", "x\\a.jpg", "", "a.mp4", "x/"]
)
BOXES = st.sampled_from(
    [
        "",
        "1,2,4,6",
        "[1 2 4 6]",
        "(1; 2; 4; 6)",
        "[[1, 2], [4, 6]]",
        "[]",
        "1 2 3",
        "4 4 1 1",
        "0 0 1 1",
    ]
)
SPLITS = st.sampled_from(["train", "Validation", "", "dev", "none", "other"])
CELLS = {
    **dict.fromkeys(ROLES, NUMBER),
    "path": PATHS,
    "expression": WORDS,
    "split": SPLITS,
    "subject": IDS,
    "video": IDS,
    "box": BOXES,
    "box_xywh": BOXES,
    "landmarks": st.sampled_from(["", ";".join(map(str, range(136))), "1;2", "0 " * 136]),
    "age": WORDS,
}
SHAPES = [
    ["path", "valence", "arousal", "expression", "split", "fold", "age"],
    ["path", "left", "top", "right", "bottom", "subject", "video"],
    ["path", "x", "y", "w", "h", "box", "landmarks"],
    ["path", "time", "start", "end", "frame", "box_xywh"],
]
ROWS = st.sampled_from(SHAPES).flatmap(
    lambda names: st.lists(st.fixed_dictionaries({n: CELLS[n] for n in names}), min_size=1)
)


def in_rows(columns: Columns) -> list[Row]:
    """The rows of columns one by one."""
    arrays: dict[str, Any] = columns._asdict()
    lists = {
        name: value.tolist() if isinstance(value, np.ndarray) else value.to_pylist()
        for name, value in arrays.items()
        if name != "others" and value is not None
    }
    found = []
    for k in range(len(columns.path)):
        own = {name: texts[k].as_py() for name, texts in columns.others.items()}
        values = {name: _plain(cells[k]) for name, cells in lists.items()}
        start, end = values.pop("start"), values.pop("end")
        seconds = None if start is None else (start, end)
        found.append(Row(**{"landmarks": None, **values}, seconds=seconds, others=own))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return None if math.isnan(value[0]) else tuple(value)
    return None if isinstance(value, float) and math.isnan(value) else value


@settings(deadline=None, max_examples=150)
@given(ROWS, st.sampled_from([Scale.of("-1..1", ""), Scale.of("-10..10,0..9", "-2,happy")]))
def test_rows_at_once_are_the_rows_one_by_one(rows: list[dict[str, str]], scale: Scale) -> None:
    roles = {name: name for name in rows[0] if name in ROLES}
    others = {"age": "kept"} if "age" in rows[0] else {}
    (block,) = in_blocks(iter(enumerate(rows)))
    found = at_once(block, roles, scale, others)
    if found is not None:
        assert in_rows(found) == [parse(row, roles, scale, others) for row in rows]


def test_usual_rows_are_plain() -> None:
    rows = [{"path": f"x/{k}.jpg", "v": "0.25", "a": "", "bb": "1,2,30,40"} for k in range(9)]
    (block,) = in_blocks(iter(enumerate(rows)))
    roles = {"path": "path", "valence": "v", "arousal": "a", "box": "bb"}
    assert at_once(block, roles, Scale.of("-1..1", ""), {}) is not None


@pytest.mark.parametrize(
    "text",
    [
        "path,v\na,1\nb,2\n",
        'path,v\n"a, b",1\n"c","2"\n',
        'path,v\na "b" c,1\n',
        'path,v\n"a ""b""",1\n',
        'path,v\n\n\na,1\n\nb,2',
        'path,v\n"a\nb",1\nc,2\n',
        'path,v\n"a,1\nc,2\n',
        'path,v\n "a,b\n',
        "path,v\r\na,1\r\nb,2\r\n",
        "\ufeffpath;v\na;1,5\n",
        "path\tv\na\t1\n",
    ],
)  # fmt: skip
def test_lines_read_as_columns_are_those_read_one_by_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    blocks = (row for block in blocks_of(tmp_path, path) for row in block.rows())
    assert outcome(blocks) == outcome(rows_of(tmp_path, path))


def outcome(rows: Iterator) -> list | str:
    try:
        return list(rows)
    except ValueError as error:
        return str(error)


def test_a_quoted_line_across_blocks_stays_whole(tmp_path: Path) -> None:
    path, lines = tmp_path / "a.csv", [f"{k},{'x' * 90}" for k in range(50_000)]
    for k in range(43_000, 45_000):  # a block ends among them, after 4 MiB
        lines[k] = f'{k},"{"x" * 45}\n{"x" * 45}"'
    path.write_text("\n".join(["path,v", *lines]))
    found = [row for block in blocks_of(tmp_path, path) for row in block.rows()]
    assert found == list(rows_of(tmp_path, path)) and len(found) == 50_000


def test_a_block_is_cut_where_one_says() -> None:
    (block,) = in_blocks(iter([(k, {"path": str(k)}) for k in range(10)]))
    assert [number for number, _ in block.part(8, 5).rows()] == [8, 9]
    assert isinstance(block, Block) and len(block.part(0, 0)) == 0
