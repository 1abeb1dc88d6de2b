"""Films of a drawn person: smooth, inside the picture, labelled frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from shards.standins.anatomy import ActionUnits, label
from shards.standins.face import Scene, render
from shards.standins.identity import Identity
from shards.standins.motion import film, on_wall


def test_a_film_is_the_same_for_the_same_seed_and_moves_smoothly():
    first, again = (list(film([3, 1], 12, "easy", (200, 160))) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    points = np.array([(frame.face.valence, frame.face.arousal) for frame in first])
    assert np.ptp(points, axis=0).max() > 0.02  # an emotion that moves
    assert np.abs(np.diff(points, axis=0)).max() < 0.3  # and never jumps
    centres = np.array([frame.face.landmarks.mean(axis=0) for frame in first])
    assert np.abs(np.diff(centres, axis=0)).max() < 10  # pixels


def test_every_face_lies_in_its_picture_and_where_it_is_said_to():
    for frame in film([5], 8, "normal", (220, 180)):
        left, top, right, bottom = frame.face.bbox_xyxy
        assert frame.image.shape == (180, 220, 3)
        assert 0 <= left < right <= 220 and 0 <= top < bottom <= 180
        marks = frame.face.landmarks
        assert (marks[27:] > (left, top)).all() and (marks[27:] < (right, bottom)).all()


def test_the_face_alone_is_112_pixels_as_aligned_crops_are():
    (frame,) = film([5], 1, "easy", None)
    assert frame.image.shape == (112, 112, 3) and frame.image is frame.face.image


def test_one_sitter_may_sit_for_several_films():
    sitter = Identity.draw(np.random.default_rng(9))
    films = [next(film([seed], 1, "easy", None, sitter)) for seed in (1, 2)]
    assert (films[0].image != films[1].image).any()


@pytest.mark.parametrize(("x", "y"), [(-1.0, -1.0), (0.0, 0.0), (1.0, 0.5)])
def test_a_face_on_a_wall_takes_its_place_and_its_truth_along(x: float, y: float):
    person = Identity.draw(np.random.default_rng(0))
    face = render(person, ActionUnits(au12=0.5), Scene(noise=0.0), size=64)
    wall = np.array([10, 20, 30], np.uint8)
    hung = on_wall(face, wall, (164, 114), x, y)
    left, top = round(100 * (0.5 + 0.4 * x)), round(50 * (0.5 + 0.4 * y))
    np.testing.assert_array_equal(hung.image[top : top + 64, left : left + 64], face.image)
    outside = np.ones((114, 164), bool)
    outside[top : top + 64, left : left + 64] = False
    assert (hung.image[outside] == wall).all()
    np.testing.assert_allclose(hung.face.landmarks - face.landmarks, np.tile((left, top), (68, 1)))
    shift = np.subtract(hung.face.bbox_xyxy, face.bbox_xyxy)
    assert shift.tolist() == [left, top, left, top]
    assert (hung.face.valence, hung.face.arousal) == label(ActionUnits(au12=0.5))
