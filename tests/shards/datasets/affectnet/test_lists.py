"""Lines read as columns are what lines read one by one are, or are left to those."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from shards.datasets.affectnet import lists
from shards.datasets.affectnet.lists import COLUMNS, Rows

POINTS = ";".join(f"{k}.{k % 10}5" for k in range(136))
LINE = f"12/0a1b.jpg,20,20,184,184.5,{POINTS},3,-0.0123457,0.5"
ODD = {
    "a box that is NULL": LINE.replace("20,20,184,184.5", "NULL,NULL,-1,-1"),
    "an empty box": LINE.replace("184,", "0,"),
    "a class of pandas": LINE.replace(",3,", ",3.0,"),
    "a class by name": LINE.replace(",3,", ",Surprise,"),
    "blanks around numbers": LINE.replace("20,20", " 20,20 "),
    "a plus": LINE.replace("0.5", "+.5"),
    "another path": LINE.replace("0a1b", "a b"),
    "a quote": LINE.replace("12/", '"12/'),
    "no line": "",
}
WRONG = {
    "inf": LINE.replace("0.5", "inf"),
    "nan": LINE.replace("0.5", "nan"),
    "nothing": LINE.replace("-0.0123457", ""),
    "too far": LINE.replace("184,", "1e308,"),
    "out of range": LINE.replace("-0.0123457", "1.5"),
    "a class 11": LINE.replace(",3,", ",11,"),
    "few points": LINE.replace(";1.15", ""),
    "a comma for a semicolon": LINE.replace(";1.15", ",1.15"),
    "a way out": LINE.replace("12/", "../"),
}


def block(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def slow(content: bytes) -> Rows:
    return lists._one_by_one(Path("list.csv"), content, 7, None)


def assert_equal(one: Rows, other: Rows) -> None:
    assert (one.paths, one.problems, one.late) == (other.paths, other.problems, other.late)
    for name in ("lines", "boxes", "landmarks", "codes", "va"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_plain_lines_are_read_at_once_to_the_last_bit():
    rng = Random(0)
    numbers = [f"{rng.uniform(-1, 1):.{digits}g}" for digits in range(1, 18) for _ in range(20)]
    lines = [
        LINE.replace("0.5", number).replace(";7.75;", f";{number};").replace(",3,", f",{k % 11},")
        for k, number in enumerate(numbers)
    ]
    lines += [LINE.replace("-0.0123457", "-2"), LINE.replace("0.5", "-2.000000")]
    found = lists._at_once(block(*lines), 7)
    assert found is not None and found.lines.tolist() == list(range(7, 7 + len(lines)))
    assert_equal(found, slow(block(*lines)))


@pytest.mark.parametrize("odd", [*ODD, *WRONG])
def test_a_block_with_another_line_is_left_to_the_slow_way(odd: str):
    content = block(LINE, (ODD | WRONG)[odd], LINE)
    assert lists._at_once(content, 7) is None or odd in ("blanks around numbers", "a plus")
    found = slow(content)
    assert len(found.paths) == 3 - (odd in WRONG) - (odd == "no line")
    assert [line for line, _ in [*found.problems, *found.late]] == [8] * (odd in WRONG)


def test_whatever_a_line_holds_both_ways_agree():
    rng, agreed = Random(1), 0
    for _ in range(3000):
        content = bytearray(block(LINE, LINE))
        place = rng.choice([*range(30), *range(len(content) - 40, len(content)), 500])
        content[place] = rng.choice(b"0123456789.,;-+eE _\n\"'/xNaif\t")
        found = lists._at_once(bytes(content), 7)
        if found is not None:
            assert_equal(found, slow(bytes(content)))
            agreed += 1
    assert 300 < agreed < 2700


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_text_file_has_the_same_lines(newline: str, encoding: str, tmp_path: Path):
    path = tmp_path / "list.csv"
    lines = [",".join(COLUMNS), *[LINE.replace("12/", f"{k}/") for k in range(9000)]]
    path.write_bytes((newline.join(lines) + newline).encode(encoding))
    found = list(lists.read(tmp_path, path))
    assert len(found) > 1  # 9 MB
    assert [p for rows in found for p in rows.paths] == [f"{k}/0a1b.jpg" for k in range(9000)]
    assert [n for rows in found for n in rows.lines] == list(range(2, 9002))
    assert lists.first_paths(tmp_path, path, 3) == [f"{k}/0a1b.jpg" for k in range(3)]
