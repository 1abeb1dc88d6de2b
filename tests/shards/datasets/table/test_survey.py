"""What a pass over the rows says before the first sample, and which rows stop it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shards.datasets import table
from shards.standins.layouts import write_video
from tests.shards.datasets.table.test_reader import details, pictures
from tests.shards.reading import Reading, assert_stops, read_tree
from tests.shards.trees import blob


def of_pictures(root: Path, text: str, **options: Any) -> Reading:
    pictures(root, *(f"{name}.jpg" for name in "abcdef"))
    (root / "labels.csv").write_text(text)
    return read_tree(table, root, **options)


def of_a_film(root: Path, text: str, **options: Any) -> Reading:
    write_video(root / "a.avi", [blob(k, 64) for k in range(20)], 10)
    (root / "labels.csv").write_text(text)
    return read_tree(table, root, **options)


def facts(reading: Reading, name: str) -> list[dict[str, Any]]:
    return [c["facts"] for c in reading.findings.checks if c["check"] == name]


def test_it_says_what_it_understood(tmp_path: Path) -> None:
    reading = of_pictures(
        tmp_path,
        "img,v,a,emotion,person,age\na.jpg,5,9,joy,anna,31\nb.jpg,1,5,bored,bert,\n"
        "c.jpg,9,1,joy,anna,4\n",
        range="1..9",
    )
    assert facts(reading, "columns")[0]["roles"] == {
        "path": "img", "valence": "v", "arousal": "a", "expression": "emotion", "subject": "person",
    }  # fmt: skip
    assert facts(reading, "kept columns") == [{"age": "int"}]
    assert facts(reading, "range") == [
        {
            axis: {"found": [1, 9], "scale": [1, 9], "becomes": [-1, 1]}
            for axis in ("valence", "arousal")
        }
    ]
    assert facts(reading, "classes") == [
        {
            "classes": [
                {"name": "bored", "code": 0, "expression": None, "rows": 1},
                {"name": "joy", "code": 1, "expression": 1, "rows": 2},
            ],
            "names": ["bored", "joy"],
        }
    ]
    (splits,) = facts(reading, "splits")
    assert splits["by"] == "subject" and sum(splits["rows"].values()) == 3
    assert len(facts(reading, "example")) == 3


def test_a_row_without_its_split_stops(tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, "path,split\na.jpg,train\nb.jpg,\nc.jpg,val\n")
    assert_stops(reading, r"labels\.csv: row 3: it has no split; write one, or pass")
    dealt = read_tree(table, tmp_path, split="image")
    assert len(dealt.samples) == 3
    fewer = read_tree(table, tmp_path, allow_count=True)
    assert [s.split for s in fewer.samples] == ["train", "val"]
    assert fewer.skipped == {"row that cannot be used": 1}


def test_a_fold_without_split_is_one(tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, "path,fold,person\na.jpg,0,x\nb.jpg,3,y\n")
    assert [(s.split, s.fold) for s in reading.samples] == [("val", 0), ("train", 3)]


def test_one_axis_of_a_row_is_said(tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, "path,valence,arousal\na.jpg,0.5,\nb.jpg,-0.5,0.1\n")
    assert [s.valence for s in reading.samples] == [None, -0.5]
    assert reading.samples[0].valence_raw == 0.5
    assert "1 rows have one of valence and arousal" in reading.warnings


@pytest.mark.parametrize(
    ("rows", "split"),
    [
        ("a.jpg,train,anna,\nb.jpg,val,anna,", "subject anna is in train and val"),
        ("a.jpg,train,,v1\nb.jpg,test,,v1", "film v1 is in test and train"),
        ("a.jpg,train,12.0,\nb.jpg,val,12,", "subject 12 is in train and val"),
    ],
)
def test_leaks_across_splits_are_said(rows: str, split: str, tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, f"path,split,person,video\n{rows}\nc.jpg,train,bert,v2\n")
    assert f"{split}; scores will be too high" in reading.warnings
    assert len(reading.samples) == 3


def test_a_picture_with_faces_in_two_splits_is_said(tmp_path: Path) -> None:
    rows = "a.jpg,train,1,1,9,9\na.jpg,val,20,1,9,9"
    reading = of_pictures(tmp_path, f"path,split,x,y,w,h\n{rows}\n")
    assert "picture a.jpg is in train and val" in reading.warnings


def test_dealing_by_less_than_the_subject_is_said(tmp_path: Path) -> None:
    rows = "".join(f"{name}.jpg,anna\n" for name in "abcdef")
    reading = of_pictures(tmp_path, f"path,person\n{rows}", split="image")
    assert {s.split for s in reading.samples} == {"train", "val"}
    assert "subject anna is in train and val" in reading.warnings
    assert "is in train and val" not in read_tree(table, tmp_path).warnings


def test_rows_without_subject_are_counted(tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, "path,person\na.jpg,x\nb.jpg,\nc.jpg,\n")
    assert "2 rows have no subject" in reading.warnings


def test_intervals_of_one_face_do_not_overlap(tmp_path: Path) -> None:
    text = "path,start,end\na.avi,0,0.5\na.avi,1,1.5\na.avi,0.4,0.7\n"
    reading = of_a_film(tmp_path, text)
    assert_stops(reading, "row 4: its interval overlaps another of a.avi")
    boxed = "path,start,end,x,y,w,h\na.avi,0,0.5,0,0,20,20\na.avi,0.4,0.7,30,0,20,20\n"
    assert len(of_a_film(tmp_path, boxed).samples) == 5 + 3
    touching = "path,start,end\na.avi,0.5,1\na.avi,0,0.5\n"
    assert [s.frame_index for s in of_a_film(tmp_path, touching).samples] == [
        *range(5, 10),
        *range(5),
    ]


def test_a_frame_has_one_row(tmp_path: Path) -> None:
    text = "path,time,valence,arousal\na.avi,0.50,0.1,0.1\na.avi,0.52,0.9,0.9\na.avi,0.6,0,0\n"
    reading = of_a_film(tmp_path, text)
    assert [(s.frame_index, s.valence) for s in reading.samples] == [(5, 0.1), (6, 0.0)]
    assert reading.skipped == {"another row is about the same frame": 1}
    assert len(read_tree(table, tmp_path).samples) == 2  # again in the same process


def test_films_of_one_name_are_two(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "a.avi", [blob(1, 64)] * 3, 10)
    (tmp_path / "labels.csv").write_text("path,frame\nx/a.avi,0\ny/a.avi,0\n")
    assert {s.video_id for s in read_tree(table, tmp_path).samples} == {"x/a", "y/a"}


def test_many_words_are_no_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    rows = "".join(f"a.jpg,word{k},{k},0,9999,9\n" for k in range(1100))
    (tmp_path / "labels.csv").write_text(f"path,label,left,top,right,bottom\n{rows}")
    assert_stops(read_tree(table, tmp_path), r"more than 1,000 different words; .* columns=express")
    assert len(read_tree(table, tmp_path, columns="expression:").samples) == 1100


def test_keys_that_the_first_line_lacks_are_columns(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    lines = '{"path": "a.jpg"}\n{"path": "b.jpg", "valence": 0.5, "arousal": -0.5, "age": 3}\n'
    (tmp_path / "labels.jsonl").write_text(lines)
    reading = read_tree(table, tmp_path)
    assert [(s.valence, s.extra) for s in reading.samples] == [
        (None, {"age": None}),
        (0.5, {"age": 3}),
    ]
    assert details(reading, "kept columns") == ["kept for --where and --by: 'age' (int)"]


def test_a_film_may_be_labelled_as_a_whole_where_that_is_said(tmp_path: Path) -> None:
    text = "path,valence,arousal\na.avi,0.5,-0.5\n"
    stopped = of_a_film(tmp_path, text)
    assert_stops(stopped, "a.avi is a film; say which frame, .* or pass --option films=whole")
    whole = read_tree(table, tmp_path, films="whole")
    assert [s.frame_index for s in whole.samples] == list(range(20)) and not whole.skipped
    with pytest.raises(ValueError, match="films=some: write whole, or leave it out"):
        read_tree(table, tmp_path, films="some")


def test_pictures_keep_their_time(tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, "path,time,frame\na.jpg,2.5,7\nb.jpg,,\n")
    assert [(s.timestamp_s, s.frame_index) for s in reading.samples] == [(2.5, 7), (None, None)]


def test_a_picture_has_no_frames(tmp_path: Path) -> None:
    """Of an animation the first is read: two labels of two frames would be of the same pixels."""
    Image.new("L", (40, 40)).save(
        tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", (40, 40), 9)]
    )
    rows = "a.gif,0,0.5,0.5\na.gif,1,-0.5,-0.5\n"
    (tmp_path / "labels.csv").write_text(f"path,frame,valence,arousal\n{rows}")
    assert_stops(read_tree(table, tmp_path), "row 3: a.gif is listed twice; keep one row")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, "path\na.jpg\n" + "".join(f"gone{k}.jpg\n" for k in range(9)))
    assert_stops(reading, "9 images of 10 rows are missing, as .*/gone0.jpg, .*/gone4.jpg; restore")


def test_pictures_of_one_name_are_two(tmp_path: Path) -> None:
    for split in ("train", "val"):
        pictures(tmp_path, f"{split}/1.jpg")
        (tmp_path / split / "metadata.csv").write_text("file_name\n1.jpg\n")
    assert not read_tree(table, tmp_path).warnings


def test_nobody_to_validate_on_is_said(tmp_path: Path) -> None:
    reading = of_pictures(tmp_path, "path,fold\na.jpg,1\nb.jpg,2\n")
    assert "no row is for validation" in reading.warnings
    assert "where folds count from 1, train with --fold 1" in reading.warnings


def test_a_few_columns_too_many_are_named(tmp_path: Path) -> None:
    names = ",".join(f"k{k}" for k in range(300))
    reading = of_pictures(tmp_path, f"path,{names}\na.jpg,{',' * 299}\nb.jpg,{',' * 299}\n")
    said = [one for one in details(reading, "kept columns") if "left out" in one or "more" in one]
    assert len(said) == 21 and said[-1] == "216 more problems of this kind"
