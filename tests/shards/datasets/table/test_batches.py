"""Samples of many rows at once, and of odd ones among them, are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards.datasets import table
from tests.shards.datasets.table.test_reader import pictures
from tests.shards.reading import assert_stops, read_tree


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_odd_rows_among_many_change_no_other(suffix: str, tmp_path: Path) -> None:
    """`+0.5` is read row by row and 0.5 at once, and both are the same samples."""
    paths = [f"{k:04d}.jpg" for k in range(300)]
    pictures(tmp_path, *paths[:5])
    for path in paths[5:]:
        (tmp_path / path).hardlink_to(tmp_path / paths[0])
    seen = []
    for sign in ("", "+"):
        values = [f"{sign if k % 97 == 0 else ''}{k / 400}" for k in range(300)]
        people = ["" if k % 13 == 0 else f"p{k % 50}" for k in range(300)]
        if suffix == "csv":
            rows = zip(paths, values, values, people, range(300), strict=True)
            text = "path,valence,arousal,person,x,y,w,h,age\n"
            text += "".join(f"{p},{v},{a},{s},{k},0,9,9,{k}\n" for p, v, a, s, k in rows)
        else:
            text = "".join(
                f'{{"path": "{p}", "valence": "{v}", "arousal": "{v}", "label": "happy"}}\n'
                for p, v in zip(paths, values, strict=True)
            )
        (tmp_path / f"labels.{suffix}").write_text(text)
        reading = read_tree(table, tmp_path)
        assert not reading.sentence and len(reading.samples) == 300
        seen.append((reading.samples, [c["detail"] for c in reading.findings.checks]))
    assert seen[0] == seen[1]


def test_every_wrong_row_among_many_is_named(tmp_path: Path) -> None:
    paths = [f"{k:04d}.jpg" for k in range(600)]
    pictures(tmp_path, *paths[:1])
    for path in paths[1:]:
        (tmp_path / path).hardlink_to(tmp_path / paths[0])
    rows = [f"{path},0,0" for path in paths]
    rows[5], rows[300], rows[599] = "0005.jpg,7,0", "0007.jpg,0,0", "gone.jpg,0,0"
    (tmp_path / "labels.csv").write_text("\n".join(["path,valence,arousal", *rows]))
    reading = read_tree(table, tmp_path)
    assert_stops(reading, r"row 7: valence '7': 7 is outside -1\.\.1")
    assert_stops(reading, r"row 302: 0007\.jpg is listed twice")
    assert_stops(reading, r"1 images of 600 rows are missing")
    fewer = read_tree(table, tmp_path, allow_count=True)
    assert len(fewer.samples) == 597
    assert fewer.skipped == {"row that cannot be used": 2, "image is missing": 1}


def test_names_without_suffix_or_alike_become_keys_of_their_own(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a_2.jpg", "v1.5/b", "v1.5/c"):
        pictures(tmp_path, "one.jpg")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).hardlink_to(tmp_path / "one.jpg")
    (tmp_path / "labels.csv").write_text("path\na.jpg\na.png\na_2.jpg\nv1.5/b\nv1.5/c\n")
    keys = [sample.key for sample in read_tree(table, tmp_path).samples]
    assert keys == ["t_a", "t_a_2", "t_a_2_2", "t_v1-5_b", "t_v1-5_c"]
