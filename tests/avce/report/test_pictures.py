"""The gallery: pictures of runs, and numbers that are what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from avce.inference.predictor import Predictor, normalised
from avce.inference.video import Frame
from avce.method.build import build_method
from avce.recipes import RECIPES
from avce.report import embedding, figures
from avce.report import pictures as gallery
from avce.report.pictures import Exhibit
from avce.scores.predictions import over_the_plane, pair_of, predict_table
from tests.avce.faces import faces
from tests.avce.scores.verdicts import class_table, video_table

SMALL = replace(RECIPES["demo"], image_size=64)
COUNT = 24


def labels(video: bool) -> pa.Table:
    frames = pa.array([3 * (i % 12) for i in range(COUNT)], pa.int32())
    names = pa.array([f"clip{i // 12}" if video else None for i in range(COUNT)], pa.string())
    keys = pa.array([f"k{i}" for i in range(COUNT)])
    return pa.table({"sample_key": keys, "video_id": names, "frame_index": frames})


def exhibit(name: str, seed: int, video: bool = True, **settings: object) -> Exhibit:
    torch.manual_seed(seed)
    method = build_method(replace(SMALL, **settings)).eval()
    image, target, _ = faces(COUNT)

    def images(rows: np.ndarray) -> list[tuple[torch.Tensor, ...]]:
        chosen = torch.as_tensor(np.sort(rows))  # as a loader may: in an order of its own
        parts = chosen.split(7)
        return [(image[p], target[p], p, torch.ones(len(p), dtype=torch.bool)) for p in parts]

    table = predict_table(method, images(np.arange(COUNT)), labels(video))
    return Exhibit(name, method, table, images)


@pytest.fixture(scope="module")
def two() -> list[Exhibit]:
    return [exhibit("avce", 0), exhibit("plain/er", 1, formula="none", discriminative_weight=0.0)]


def test_rows_come_in_the_order_asked_for(two):
    rows = np.array([9, 2, 17])
    stack = gallery.stack_of(two[0], rows)
    image, target, _ = faces(COUNT)
    torch.testing.assert_close(stack.image, image[[9, 2, 17]])
    np.testing.assert_array_equal(stack.target, target[[9, 2, 17]].numpy())


def test_normalised_images_become_pictures_again():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    image = normalised(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    np.testing.assert_array_equal(gallery.pixels_of(image), pixels)


def test_maps_of_r_and_h_come_with_their_checks(two, tmp_path):
    picture = gallery.activation(two, shown=2, checked=5)
    assert set(picture.numbers) == {"avce (R)", "avce (H)", "plain/er (R)"}
    r = picture.numbers["avce (R)"]
    assert max(r["completeness_gap"].values()) < 1e-4  # float32 sums
    assert all(0 <= share <= 1 for share in r["deletion_won"].values())
    assert "deletion_won" not in picture.numbers["avce (H)"]
    files = [path for _, paths in gallery.saved([picture], tmp_path) for path in paths]
    assert [path.name for path in files] == ["activation-maps.png", "activation-maps.svg"]
    assert all(path.stat().st_size > 1000 for path in files)


def test_grad_cam_has_no_completeness(two):
    numbers = gallery.activation(two[1:], "grad-cam", shown=1, checked=3).numbers
    assert "completeness_gap" not in numbers["plain/er (R)"]


def test_z_of_every_sample_is_embedded(two):
    picture = gallery.neighbours(two[0], lambda row: b"torn")
    assert picture.numbers["samples"] == COUNT
    assert -1 <= picture.numbers["spearman_intensity_distance"] <= 1
    with figures.theme("light"):
        assert picture.draw().axes


def test_a_stratified_draw_takes_as_much_of_each_video(two):
    taken = gallery.stratified(two[0].table, 8)
    videos = two[0].table["video_id"].take(pa.array(taken)).to_pylist()
    assert sorted(videos) == ["clip0"] * 4 + ["clip1"] * 4
    assert gallery.stratified(two[0].table, 1000).tolist() == list(range(COUNT))
    assert len(gallery.stratified(exhibit("loose", 0, video=False).table, 5)) == 5


def test_a_video_of_the_selection_has_its_chosen_frames(two):
    picture = gallery.fluctuation(two, "clip1", [6, 21])
    assert picture.numbers["avce"]["frames"] == 12
    assert set(picture.numbers["avce"]["ccc"]) == {"valence", "arousal"}
    with figures.theme("light"):
        texts = [text.get_text() for axes in picture.draw().axes for text in axes.texts]
    assert texts == ["frame 6", "frame 21"]


def test_what_the_selection_does_not_hold_is_said(two):
    with pytest.raises(ValueError, match="frame 7 of clip0 is not in the selection"):
        gallery.fluctuation(two, "clip0", [7])
    with pytest.raises(ValueError, match="no video 'clip9'; there are clip0"):
        gallery.fluctuation(two, "clip9")
    with pytest.raises(ValueError, match="give a video file"):
        gallery.fluctuation([exhibit("loose", 0, video=False)])


def test_peaks_are_the_most_emotional_of_each_part():
    target = np.zeros((8, 2))
    target[[1, 3, 4, 7]] = 0.5
    course = gallery.Course("v", 10 * np.arange(8), {}, target)
    assert gallery.peaks(course) == [10, 30, 40, 70]


def film() -> list[Frame]:
    image, _, _ = faces(6)
    return [Frame(p, "film.mp4", i) for i, p in enumerate(gallery.pixels_of(image))]


def test_a_film_needs_no_labels(two):
    predictors = {e.name: Predictor(e.method, SMALL) for e in two}
    picture = gallery.fluctuation_of_film(predictors, film, None, [1, 4])
    assert picture.name == "video-film"
    with figures.theme("dark"):
        assert len(picture.draw().axes) == 3


def test_a_face_that_comes_and_goes_leaves_gaps(two):
    predictors = {"avce": Predictor(two[0].method, SMALL)}
    calls = iter(range(100))

    def find(picture: np.ndarray) -> np.ndarray:
        there = next(calls) % 6 != 2
        return np.array([[8, 8, 56, 56, 0.99]] if there else np.zeros((0, 5)), np.float32)

    picture = gallery.fluctuation_of_film(predictors, film, find)
    with figures.theme("light"):
        line = next(a for a in picture.draw().axes if a.lines).lines[0]
    assert np.isnan(np.asarray(line.get_ydata(), float)).sum() == 1
    with pytest.raises(ValueError, match=r"frame 2 of film\.mp4 shows no face"):
        gallery.fluctuation_of_film(predictors, film, find, [2])
    with pytest.raises(ValueError, match="no face was found"):
        gallery.fluctuation_of_film(predictors, film, lambda p: np.zeros((0, 5), np.float32))


def test_classes_have_their_confusions():
    pictures = gallery.said({"discrete": class_table()}, ["happy", "sad"])
    assert [picture.name for picture in pictures] == ["confusion-discrete"]


def test_honest_predictions_have_slope_one(two):
    table = two[0].table.set_column(
        two[0].table.column_names.index("valence_pred"), "valence_pred", two[0].table["valence"]
    )
    slopes = gallery.said({"a": table})[-1].numbers["slope"]["a"]
    assert slopes["valence"] == pytest.approx(1)


def test_the_first_few_are_from_all_over_the_plane():
    table = video_table(videos=40, frames=30)
    first = over_the_plane(table, seed=0)[:24]
    target = pair_of(table.take(pa.array(first))).target.numpy()
    assert set(embedding.quadrant(target)) == {0, 1, 2, 3}
    cells = np.unique(np.floor((target + 1) * 8), axis=0)
    assert len(cells) == 24  # no cell of the plane twice while another waits
