"""What a result says of a frame, in each layout."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from avce.inference.predictor import Face
from avce.inference.rows import POINTS, Columns, Form, Smoother, crop_name
from avce.inference.sinks import sink_for
from avce.inference.stream import predict_to
from avce.inference.video import Frame

from .drawn import CONFIG, picture

POINTS_AT = [float(k) for k in range(10)]


def face(valence: float = 0.0, arousal: float = 0.0, track: int | None = 0) -> Face:
    return Face((1, 2, 3, 4), 0.9, track, np.array([valence, arousal], np.float32), POINTS_AT)


def frame(number: int | None = 0, time: float | None = 0.0, reason: str | None = None) -> Frame:
    return Frame(picture(), "film.mp4", number, time, reason=reason)


def test_a_frame_without_a_face_has_a_row_with_the_reason():
    (row,) = Columns(CONFIG, Form()).rows(frame(7, 0.7, "no face found"), [])
    told = {name: value for name, value in row.items() if value is not None}
    assert told == {"source": "film.mp4", "frame": 7, "time_s": 0.7, "reason": "no face found"}


def test_landmarks_and_the_plane_are_columns():
    columns = Columns(CONFIG, Form(all_columns=True))
    (row,) = columns.rows(frame(), [face(0.3, 0.4)])
    assert [row[f"{point}_{axis}"] for point in POINTS for axis in "xy"] == POINTS_AT
    assert row["intensity"] == pytest.approx(0.5) and row["emotion"] == "excited"
    assert row["angle"] == pytest.approx(math.degrees(math.atan2(4, 3)))
    assert list(row) == columns.schema.names and row["reason"] is None


def test_wide_lays_faces_side_by_side():
    columns = Columns(CONFIG, Form(wide=True))
    two, none = (
        columns.wide(frame(), faces, 2) for faces in ([face(0.25), face(-0.25, track=1)], [])
    )
    assert (two["faces"], two["valence_0"], two["valence_1"], two["track_1"]) == (2, 0.25, -0.25, 1)
    assert list(two) == list(none) and none["faces"] == 0 and none["valence_0"] is None


def test_smoothing_is_the_causal_filter_of_each_track():
    """Of a step from 0 to 1, after t seconds 1 - exp(-t / seconds); a track of its own each."""
    smoother = Smoother(0.5)
    said = [
        smoother(frame(k, t), [face(float(t > 0)), face(0.5, track=1), face(1.0, track=None)])
        for k, t in enumerate([0.0, 0.25, 1.0])
    ]
    firsts = [faces[0].smooth[0] for faces in said]
    assert firsts == pytest.approx([0, 1 - math.exp(-0.5), 1 - math.exp(-2)], abs=1e-12)
    assert {faces[1].smooth[0] for faces in said} == {0.5}
    assert said[2][2].smooth is None  # no past
    other = Frame(picture(), "other.mp4", 0, 0.0)
    assert smoother(other, [face(0.7)])[0].smooth[0] == pytest.approx(0.7, abs=1e-7)


def test_crops_of_two_folders_do_not_replace_each_other():
    names = {crop_name(Frame(picture(), f"{folder}/a.jpg"), 0) for folder in "xy"}
    assert len(names) == 2 and all(name.startswith("a-") for name in names)


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".arrow", ".parquet"])
def test_every_layout_says_the_same(predictor, tmp_path: Path, kind: str):
    def find(pixels: np.ndarray) -> np.ndarray:
        seen = np.array([[10, 10, 60, 60, 0.99, *POINTS_AT]], np.float32)
        return seen[: int(pixels[0, 0, 0] != 0)]

    black = np.zeros((96, 96, 3), np.uint8)
    shown = [Frame(picture(1), "a.png"), Frame(black, "b.png"), Frame(picture(2), "c.png")]
    form = Form(all_columns=True)
    sink = sink_for(tmp_path / f"o{kind}", CONFIG, {"run": "r"}, form)
    assert predict_to(sink, predictor, shown, find=find).faces == 2
    path = tmp_path / f"o{kind}"
    if kind == ".csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
    elif kind == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    elif kind == ".arrow":
        rows = pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()
    else:
        rows = parquet.read_table(path).to_pylist()
    assert [row["source"] for row in rows] == ["a.png", "b.png", "c.png"]
    assert [row["reason"] or None for row in rows] == [None, "no face found", None]
    assert list(rows[0]) == Columns(CONFIG, form).schema.names
    wanted = predictor([picture(1)[10:60, 10:60]])  # only that numbers are there: crops have margin
    assert len(wanted) == 1 and rows[0]["emotion"] and abs(float(rows[0]["valence"])) <= 1.5
    assert float(rows[0]["left_eye_y"]) == 1.0 and not rows[1]["left_eye_y"]
