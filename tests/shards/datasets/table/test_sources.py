"""Which tables are found, and folders that are classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards import BuildOptions, Engine, LabelIndex, build
from shards.datasets import table
from shards.standins.layouts import write_video
from tests.shards.datasets.table.test_reader import pictures
from tests.shards.reading import assert_stops, read_tree
from tests.shards.trees import blob


def test_tables_lie_in_the_folders_of_their_splits(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        pictures(tmp_path, f"{split}/a.jpg")
        (tmp_path / split / "metadata.csv").write_text("file_name,person\na.jpg,anna\n")
    reading = read_tree(table, tmp_path)
    found = [(s.original_path, s.split, s.official_split) for s in reading.samples]
    assert found == [("train/a.jpg", "train", "train"), ("validation/a.jpg", "val", "val")]
    assert "anna is in train and val; scores will be too high" in reading.warnings


@pytest.mark.parametrize("split", [True, False])
def test_folders_may_be_classes(split: bool, tmp_path: Path) -> None:
    tops = ("train/", "test/") if split else ("",)
    for top in tops:
        pictures(tmp_path, f"{top}happy/1.png", f"{top}bored/1.jpg", f"{top}._happy/1.jpg")
    reading = read_tree(table, tmp_path)
    assert not reading.sentence
    found = {(s.original_path, s.expression, s.expression_raw) for s in reading.samples}
    assert found == {
        pair for t in tops for pair in ((f"{t}happy/1.png", 1, 1), (f"{t}bored/1.jpg", None, 0))
    }
    assert not split or {s.split for s in reading.samples} == {"train", "test"}


def test_an_empty_folder_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no metadata\.csv, labels\.csv .* --option labels=FILE"):
        read_tree(table, tmp_path)
    with pytest.raises(ValueError, match=r"labels=no\.csv: there is no"):
        read_tree(table, tmp_path, labels="no.csv")


def test_clips_below_a_class_are_read_and_stay_together(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"happy/clip{c}/{k}.jpg" for c in range(6) for k in range(3)))
    pictures(tmp_path, "sad/1.jpg", "sad/deep/er/2.png")
    write_video(tmp_path / "sad" / "b.avi", [blob(k, 64) for k in range(4)], 10)
    reading = read_tree(table, tmp_path)
    assert len(reading.samples) == 18 + 2 + 4 and not reading.skipped
    found = {s.original_path: (s.video_id, s.expression) for s in reading.samples}
    assert found["happy/clip0/1.jpg"] == ("happy/clip0", 1)
    assert found["sad/deep/er/2.png"] == ("sad/deep/er", 2) and found["sad/1.jpg"] == (None, 2)
    assert found["sad/b.avi"] == ("sad/b", 2)
    sides = {(s.video_id, s.split) for s in reading.samples if s.video_id}
    assert len(sides) == len({video for video, _ in sides})


def test_what_is_no_picture_is_counted_and_links_do_not_go_round(tmp_path: Path) -> None:
    pictures(tmp_path / "raw", "happy/1.jpg", "sad/1.jpg")
    (tmp_path / "raw/happy/notes.txt").write_text("seen twice")
    (tmp_path / "raw/happy/round").symlink_to(tmp_path / "raw/happy", target_is_directory=True)
    (tmp_path / "raw/words").mkdir()
    (tmp_path / "raw/words/read.me").write_text("no class")
    options = BuildOptions(engine=Engine("joblib", jobs=1))
    report = build("table", tmp_path / "raw", tmp_path / "out", options)
    assert report.rows == 2 and sum(report.findings.skipped.values()) == 1
    assert LabelIndex.open(tmp_path / "out").classes == ["happy", "sad"]


def test_a_split_given_for_some_is_not_dealt_for_all(tmp_path: Path) -> None:
    pictures(tmp_path, "train/happy/1.jpg", "val/happy/2.jpg", "extra/3.jpg")
    reading = read_tree(table, tmp_path)
    assert_stops(reading, "row 1: it has no split; write one, or pass --option split=")
    assert len(read_tree(table, tmp_path, split="image").samples) == 3


def test_a_table_among_pictures_is_no_class(tmp_path: Path) -> None:
    pictures(tmp_path, "data/a.jpg")
    (tmp_path / "data/metadata.csv").write_text("file_name,valence,arousal\na.jpg,0.5,-0.5\n")
    with pytest.raises(ValueError, match=r"name it with --option labels=data/metadata\.csv"):
        read_tree(table, tmp_path)
    assert [s.valence for s in read_tree(table, tmp_path, labels="data/metadata.csv").samples]
