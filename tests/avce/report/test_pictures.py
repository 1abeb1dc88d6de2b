"""The pictures of runs, and numbers that are what they say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from avce.report import figures, pictures
from avce.report.trained_run import TrainedRun
from tests.avce.report.runs import COUNT, trained, two_runs
from tests.avce.scores.verdicts import class_table

LOG = [{"step": 1, "losses": {"mse": 0.4}}]


@pytest.fixture(scope="module")
def two() -> list[TrainedRun]:
    return two_runs()


def test_maps_of_r_and_h_come_with_their_checks(two, tmp_path):
    picture = pictures.activation(two, shown=2, checked=5)
    assert set(picture.numbers) == {"avce (R)", "avce (H)", "plain/er (R)"}
    r = picture.numbers["avce (R)"]
    assert max(r["completeness_gap"].values()) < 1e-4  # float32 sums
    assert all(0 <= share <= 1 for share in r["deletion_won"].values())
    assert "deletion_won" not in picture.numbers["avce (H)"]
    files = [path for _, paths in pictures.saved([picture], tmp_path) for path in paths]
    assert [path.name for path in files] == ["activation-maps.png", "activation-maps.svg"]
    assert all(path.stat().st_size > 1000 for path in files)


def test_grad_cam_has_no_completeness(two):
    numbers = pictures.activation(two[1:], "grad-cam", shown=1, checked=3).numbers
    assert "completeness_gap" not in numbers["plain/er (R)"]


def test_z_of_every_sample_is_embedded(two):
    picture = pictures.neighbours(two[0], lambda row: b"torn")
    assert picture.numbers["samples"] == COUNT
    assert -1 <= picture.numbers["spearman_intensity_distance"] <= 1
    with figures.theme("light"):
        assert picture.draw().axes


def test_a_stratified_draw_takes_as_much_of_each_video(two):
    taken = pictures.stratified(two[0].table, 8)
    videos = two[0].table["video_id"].take(pa.array(taken)).to_pylist()
    assert sorted(videos) == ["clip0"] * 4 + ["clip1"] * 4
    assert pictures.stratified(two[0].table, 1000).tolist() == list(range(COUNT))
    assert len(pictures.stratified(trained("loose", 0, video=False).table, 5)) == 5


def test_classes_have_their_confusions():
    drawn = pictures.said({"discrete": class_table()}, ["happy", "sad"])
    assert [picture.name for picture in drawn] == ["confusion-discrete"]


def test_honest_predictions_have_slope_one(two):
    table = two[0].table.set_column(
        two[0].table.column_names.index("valence_pred"), "valence_pred", two[0].table["valence"]
    )
    slopes = pictures.said({"a": table})[-1].numbers["slope"]["a"]
    assert slopes["valence"] == pytest.approx(1)


def test_a_constant_prediction_has_no_slope(two):
    at = two[0].table.column_names.index("valence_pred")
    same = pa.array(np.full(COUNT, 0.1, np.float32))
    slopes = pictures.said({"a": two[0].table.set_column(at, "valence_pred", same)})[-1].numbers
    assert slopes["slope"]["a"]["valence"] is None and slopes["slope"]["a"]["arousal"] is not None


def test_two_pictures_of_one_name_are_both_kept(tmp_path):
    drawn = [*pictures.training({"a b": LOG}), *pictures.training({"a-b": LOG})]
    stems = [paths[0].name for _, paths in pictures.saved(drawn, tmp_path)]
    assert stems == ["training.png", "training-2.png"]
