"""Tracks follow faces that move, and let go of those that leave."""

from __future__ import annotations

import numpy as np
import pytest

from avce.inference.tracks import Tracker
from shards.finder import overlap

LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)


def boxes(*given: tuple[float, ...]) -> np.ndarray:
    return np.array(given, np.float64).reshape(-1, 4)


def moved(box: tuple[float, ...], by: float) -> tuple[float, ...]:
    return (box[0] + by, box[1], box[2] + by, box[3])


def test_overlap_is_intersection_over_union():
    found = overlap(boxes(LEFT), boxes(LEFT, moved(LEFT, 5), RIGHT))
    assert found[0] == pytest.approx([1, 1 / 3, 0])


def test_faces_keep_their_numbers_in_any_order():
    track = Tracker()
    assert track(boxes(LEFT, RIGHT)) == [0, 1]
    assert track(boxes(moved(RIGHT, 1), moved(LEFT, 2))) == [1, 0]
    assert track(boxes(moved(LEFT, 4))) == [0]
    assert track(boxes(RIGHT, LEFT, (90.0, 0.0, 99.0, 9.0))) == [1, 0, 2]


def test_a_face_away_too_long_returns_as_a_new_one():
    track = Tracker(patience=2)
    track(boxes(LEFT))
    track(boxes())
    assert track(boxes(LEFT)) == [0]
    for _ in range(3):
        track(boxes())
    assert track(boxes(LEFT)) == [1]


def test_a_face_is_met_where_it_was_going():
    """Steps of a whole side: boxes of two frames do not even touch."""
    track = Tracker()
    assert {track(boxes(moved(LEFT, 4 * n + n * n / 2)))[0] for n in range(10)} == {0}


def test_two_that_cross_while_one_is_hidden_keep_their_numbers():
    track = Tracker()
    for n in range(30):
        one, other = moved(LEFT, 5.0 * n), moved(LEFT, 150 - 5.0 * n)
        hidden = abs(one[0] - other[0]) < 10
        found = track(boxes(one) if hidden else boxes(one, other))
        assert found == ([0] if hidden else [0, 1])
