"""Videos of a selection and films of nobody's, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from avce.inference.predictor import Predictor
from avce.inference.video import Frame
from avce.report import course, figures
from avce.report.trained_run import TrainedRun, pixels_of
from tests.avce.faces import faces
from tests.avce.report.runs import SMALL, trained, two_runs


@pytest.fixture(scope="module")
def two() -> list[TrainedRun]:
    return two_runs()


def test_a_video_of_the_selection_has_its_chosen_frames(two):
    picture = course.fluctuation(two, "clip1", [6, 21])
    assert picture.numbers["avce"]["frames"] == 12
    assert set(picture.numbers["avce"]["ccc"]) == {"valence", "arousal"}
    with figures.theme("light"):
        texts = [text.get_text() for axes in picture.draw().axes for text in axes.texts]
    assert texts == ["frame 6", "frame 21"]


def test_what_the_selection_does_not_hold_is_said(two):
    with pytest.raises(ValueError, match="frame 7 of clip0 is not in the selection"):
        course.fluctuation(two, "clip0", [7])
    with pytest.raises(ValueError, match="no video 'clip9'; there are clip0"):
        course.fluctuation(two, "clip9")
    with pytest.raises(ValueError, match="give a video file"):
        course.fluctuation([trained("loose", 0, video=False)])


def test_peaks_are_the_most_emotional_of_each_part():
    target = np.zeros((8, 2))
    target[[1, 3, 4, 7]] = 0.5
    along = course.Course("v", 10 * np.arange(8), {}, target)
    assert course.peaks(along) == [10, 30, 40, 70]


def film() -> list[Frame]:
    image, _, _ = faces(6)
    return [Frame(p, "film.mp4", i) for i, p in enumerate(pixels_of(image))]


def test_a_film_needs_no_labels(two):
    predictors = {e.name: Predictor(e.method, SMALL) for e in two}
    picture = course.fluctuation_of_film(predictors, film, None, [1, 4])
    assert picture.name == "video-film"
    with figures.theme("dark"):
        assert len(picture.draw().axes) == 3


def test_a_face_that_comes_and_goes_leaves_gaps(two):
    predictors = {"avce": Predictor(two[0].method, SMALL)}
    calls = iter(range(100))

    def find(picture: np.ndarray) -> np.ndarray:
        there = next(calls) % 6 != 2
        return np.array([[8, 8, 56, 56, 0.99]] if there else np.zeros((0, 5)), np.float32)

    picture = course.fluctuation_of_film(predictors, film, find)
    with figures.theme("light"):
        line = next(a for a in picture.draw().axes if a.lines).lines[0]
    assert np.isnan(np.asarray(line.get_ydata(), float)).sum() == 1
    with pytest.raises(ValueError, match=r"frame 2 of film\.mp4 shows no face"):
        course.fluctuation_of_film(predictors, film, find, [2])
    with pytest.raises(ValueError, match="no face was found"):
        course.fluctuation_of_film(predictors, film, lambda p: np.zeros((0, 5), np.float32))
