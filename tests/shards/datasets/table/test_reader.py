"""Anyone's table: the same samples from every shape, splits that keep people apart, refusals."""

from __future__ import annotations

import csv
import json
import shutil
from inspect import signature
from pathlib import Path

import pytest
from PIL import Image

from avce.commands.options import Reading as Asked
from shards import BuildOptions, Engine, LabelIndex, build
from shards.datasets import table
from shards.findings import Findings
from shards.standins.layouts import draw_table, write_video
from shards.standins.oddities import HARMLESS, STOPPING
from tests.shards.reading import Reading, assert_stops, read_tree, spoiled
from tests.shards.trees import blob

N = 24


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "table"
    draw_table(root, N, level="easy")
    return root


def labels(reading: Reading) -> list[tuple]:
    return [
        (s.key, s.valence, s.arousal, s.expression, s.subject_id, s.split, s.bbox_xyxy)
        for s in reading.samples
    ]


def details(reading: Reading, name: str) -> list[str]:
    return [c["detail"] for c in reading.findings.checks if c["check"] == name]


def pictures(root: Path, *paths: str) -> None:
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blob(number)).save(root / path)


def test_what_is_in_the_table_is_in_the_samples(clean: Path) -> None:
    reading = read_tree(table, clean)
    assert not reading.sentence and len(reading.samples) == N
    fields = (clean / "labels.csv").read_text().splitlines()[1].split(",")
    first = reading.samples[0]
    assert first.original_path == fields[0] and first.key == "t_images_00000"
    assert [first.valence, first.arousal] == pytest.approx([float(x) for x in fields[1:3]])
    assert first.subject_id == fields[4] and first.expression is not None
    assert "valence from 'valence'" in details(reading, "columns")[0]
    assert len(details(reading, "example")) == 5


def test_a_subject_is_on_one_side_of_a_dealt_split(clean: Path) -> None:
    for seed in (0, 1):
        samples = read_tree(table, clean, split_seed=seed).samples
        sides = {(s.subject_id, s.split) for s in samples}
        assert len(sides) == len({s.subject_id for s in samples})
    assert {s.split for s in read_tree(table, clean).samples} == {"train", "val"}


def test_every_harmless_oddity_is_read_around(clean: Path, tmp_path: Path) -> None:
    plain = labels(read_tree(table, clean))
    for name in HARMLESS["table"]:
        odd = read_tree(table, spoiled(clean, tmp_path / name, "table", name))
        assert not odd.sentence, name
        if name == "empty_labels":
            assert [s.valence for s in odd.samples[:3]] == [None, None, plain[2][1]]
        else:
            assert labels(odd) == plain, name


STOPS = {
    "scale_of_nine": r"labels\.csv: row 2: (valence|arousal) '.*': .* is outside -1\.\.1",
    "two_labels": "",
    "no_path": "",
    "missing_image": "1 images of 24 rows are missing",
    "row_twice": r"labels\.csv: row 26: images/00023\.jpg is listed twice",
    "backslashes": r"row 2: path '.*00000\.jpg': it names no file .* write folders with '/'",
    "cut_row": "",
}


def test_each_stopping_oddity_has_its_sentence() -> None:
    assert STOPS.keys() == STOPPING["table"].keys()


@pytest.mark.parametrize(("oddity", "sentence"), [s for s in STOPS.items() if s[1]])
def test_it_stops_before_the_first_sample(
    oddity: str, sentence: str, clean: Path, tmp_path: Path
) -> None:
    assert_stops(read_tree(table, spoiled(clean, tmp_path, "table", oddity)), sentence)


@pytest.mark.parametrize(
    ("oddity", "sentence"),
    [
        ("two_labels", "columns 'expression' and 'label' may both hold expression"),
        ("no_path", r"labels\.csv has the columns where, valence"),
        ("cut_row", r"labels\.csv: line 25 has \d fields, not 9"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(
    oddity: str, sentence: str, clean: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_tree(table, spoiled(clean, tmp_path, "table", oddity))


def test_another_scale_gives_the_same_labels(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "table", "scale_of_nine")
    samples = read_tree(table, root, range="1..9").samples
    expected = [s.valence for s in read_tree(table, clean).samples]
    assert [s.valence for s in samples] == pytest.approx(expected, abs=1e-4)  # 4 decimals
    assert samples[0].valence_raw == pytest.approx(5 + 4 * (expected[0] or 0), abs=1e-4)


def test_a_table_of_hugging_face_gives_the_same(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "table")
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["file_name"] = row.pop("path")
        row |= {axis: float(row[axis]) for axis in ("valence", "arousal")}
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "labels.csv").unlink()
    assert labels(read_tree(table, root)) == labels(read_tree(table, clean))


def test_rows_of_a_film_are_frames_times_or_intervals(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", [blob(k, 64) for k in range(20)], 10)
    assert _film_rows(tmp_path, "frame", "3") == [3]
    assert _film_rows(tmp_path, "time", "0.5") == [5]
    assert _film_rows(tmp_path, "start,end", "0.45,0.8") == [5, 6, 7]
    assert _film_rows(tmp_path, "start,end", "1.8,9") == [18, 19]  # the film ends
    (tmp_path / "labels.csv").write_text("path,valence,arousal\na.avi,0,0\n")
    assert_stops(read_tree(table, tmp_path), "a.avi is a film; say which frame, time, or start")


def _film_rows(root: Path, header: str, line: str) -> list[int | None]:
    (root / "labels.csv").write_text(f"path,valence,arousal,{header}\na.avi,0.1,-0.2,{line}\n")
    samples = read_tree(table, root).samples
    assert {(s.video_id, s.fps, s.valence) for s in samples} == {("a", 10.0, 0.1)}
    return [s.frame_index for s in samples]


def test_two_faces_of_a_picture_are_two_samples(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "labels.csv").write_text("path,x,y,w,h\na.jpg,1,1,9,9\na.jpg,20,1,9,9\n")
    samples = read_tree(table, tmp_path).samples
    assert [(s.key, s.bbox_xyxy) for s in samples] == [
        ("t_a", (1, 1, 10, 10)),
        ("t_a_2", (20, 1, 29, 10)),
    ]


def test_a_long_name_becomes_a_key(tmp_path: Path) -> None:
    paths = [f"{'x' * 120}/{k}.jpg" for k in range(2)]
    pictures(tmp_path, *paths)
    (tmp_path / "labels.csv").write_text("\n".join(["path", *paths]))
    keys = [s.key for s in read_tree(table, tmp_path).samples]
    assert len(set(keys)) == 2 and max(map(len, keys)) <= 92


def test_nothing_negative_is_wondered_at(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "labels.csv").write_text("path,valence,arousal\na.jpg,0.2,0.9\n")
    assert "is the scale 0..1? then pass range=0..1" in read_tree(table, tmp_path).warnings


def test_a_table_becomes_shards(clean: Path, tmp_path: Path) -> None:
    tars = []

    def heard(check: dict) -> None:
        tars.extend((tmp_path / "out").rglob("*.tar") if "facts" in check else [])

    options = BuildOptions(engine=Engine("joblib", jobs=1))
    report = build("table", clean, tmp_path / "out", options, heard=heard)
    assert not tars  # all is said before anything is written
    assert report.complete and report.rows == N
    index = LabelIndex.open(tmp_path / "out")
    assert not index.verify()
    assert index.table["dataset"].to_pylist() == ["table"] * N
    shutil.rmtree(tmp_path / "out")


def test_the_order_of_rows_changes_no_split(clean: Path, tmp_path: Path) -> None:
    before = {s.original_path: s.split for s in read_tree(table, clean, split_seed=3).samples}
    root = spoiled(clean, tmp_path, "table")
    header, *rows = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text("\n".join([header, *reversed(rows)]))
    again = {s.original_path: s.split for s in read_tree(table, root, split_seed=3).samples}
    assert again == before and set(before.values()) == {"train", "val"}


def test_the_same_picture_in_two_splits_is_said(tmp_path: Path) -> None:
    pictures(tmp_path / "raw", "a.png", "b.png", "c.png")
    shutil.copy(tmp_path / "raw/a.png", tmp_path / "raw/again.png")
    rows = "a.png,train\nb.png,train\nc.png,val\nagain.png,val\n"
    (tmp_path / "raw/labels.csv").write_text(f"path,split\n{rows}")
    options = BuildOptions(engine=Engine("joblib", jobs=1))
    report = build("table", tmp_path / "raw", tmp_path / "out", options)
    (leak,) = [c for c in report.findings.checks if c["check"] == "images in several splits"]
    assert leak["outcome"] == "warn" and "1 images stand in more than one split" in leak["detail"]
    assert "t_a (train)" in leak["detail"] and "t_again (val)" in leak["detail"]


def test_options_go_by_the_names_of_the_reader_and_are_refused_as_typed(clean: Path) -> None:
    known = list(signature(table.read).parameters)
    assert known[:3] == ["root", "findings", "allow_count"]
    assert known[3:9] == ["labels", "columns", "range", "null", "classes", "split"]
    for option, sentence in {
        "split=person": "split=person: choose one of given, subject, video, image",
        "split=1": "split=1: choose one of",
        "split_seed=one": "split_seed=one: write a whole number",
        "labels=1": "labels=1: a table ends in",
        "range=1": "range",
    }.items():
        asked = Asked(option=[option]).values(table.read)
        with pytest.raises(ValueError, match=sentence):
            next(table.read(clean, Findings(), **asked))
