"""Angles against the complex plane, words where they were put."""

from __future__ import annotations

import cmath
import math

import pytest

from avce.scores.circumplex import NAMED, angle_of, intensity_of, nearest_word


@pytest.mark.parametrize("point", [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (0.3, -0.4)])
def test_angle_and_intensity_are_polar_coordinates(point):
    back = cmath.rect(intensity_of(*point), math.radians(angle_of(*point)))
    assert back == pytest.approx(complex(*point), abs=1e-12) and 0 <= angle_of(*point) < 360


def test_an_angle_below_zero_by_rounding_is_no_whole_turn():
    assert angle_of(1.0, -1e-20) == 0


def test_the_nearest_word_is_the_word_of_its_place():
    assert all(nearest_word(*place) == word for word, place in NAMED.items())
    assert nearest_word(0.9, 0.4) == "happy" and nearest_word(-1.0, -0.3) == "sad"
