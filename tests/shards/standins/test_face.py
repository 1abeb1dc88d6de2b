"""The drawn face: where its parts lie, and that it is painted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shards.standins.face import (
    LEVELS,
    ActionUnits,
    Identity,
    Scene,
    render,
    units_for,
)

REST = ActionUnits()
PLAIN = Scene(noise=0.0)


def person(seed: int = 0) -> Identity:
    return Identity.draw(np.random.default_rng(seed)).bare()


def test_landmarks_follow_the_ibug_order():
    marks = render(person(), REST, PLAIN).landmarks
    assert marks.shape == (68, 2)
    x, y = marks.T
    assert x[0] < x[8] < x[16] and y[8] == y.max()  # jaw, chin lowest
    assert (np.diff(x[17:27]) > 0).all()  # brows, left to right in the picture
    assert (np.diff(y[27:31]) > 0).all() and (np.diff(x[31:36]) > 0).all()  # nose
    for first in (36, 42):  # each eye: left corner, upper lid, right corner, lower lid
        assert x[first] < x[first + 1] < x[first + 2] < x[first + 3]
        assert y[first + 1] < y[first + 5] and y[first + 2] < y[first + 4]
    assert x[48] < x[51] < x[54] and y[51] < y[57] and y[62] <= y[66]


@pytest.mark.parametrize("point", [(-0.8, 0.6), (0.8, 0.7), (0.0, 0.9), (0.0, -0.7)])
@pytest.mark.parametrize("seed", range(2))
def test_an_easy_face_lies_in_its_box(point, seed):
    rng = np.random.default_rng(seed)
    drawn = render(person(seed), units_for(*point, rng), Scene.draw(rng, "easy"), size=200)
    left, top, right, bottom = drawn.bbox_xyxy
    assert right - left + 2 * left == 200 and left == top
    assert (drawn.landmarks >= (left, top)).all() and (drawn.landmarks <= (right, bottom)).all()


def test_units_move_the_parts_they_name():
    def marks(**units: float) -> np.ndarray:
        return render(person(), ActionUnits(**units), PLAIN).landmarks

    rest = marks()
    assert (marks(au12=1.0)[[48, 54], 1] < rest[[48, 54], 1] - 2).all()  # corners up
    assert (marks(au15=1.0)[[48, 54], 1] > rest[[48, 54], 1] + 2).all()  # corners down
    assert marks(au26=1.0)[8, 1] > rest[8, 1] + 5  # chin down
    assert (marks(au1=1.0)[[21, 22], 1] < rest[[21, 22], 1] - 5).all()  # inner brows up
    assert (marks(au4=1.0)[[21, 22], 1] > rest[[21, 22], 1] + 5).all()
    closed, wide = marks(au43=1.0), marks(au5=1.0)
    assert np.abs(closed[37] - closed[41])[1] < 2 < (rest[41] - rest[37])[1]
    assert (wide[41] - wide[37])[1] > (rest[41] - rest[37])[1] + 2


def test_an_expression_does_not_change_the_scale():
    calm = render(person(), REST, PLAIN).landmarks
    wide = render(person(), ActionUnits(au5=1.0, au25=1.0, au26=1.0), PLAIN).landmarks
    assert np.ptp(calm[:17, 0]) == pytest.approx(np.ptp(wide[:17, 0]), abs=1.0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_seed_paints_the_same_picture(level):
    def draw(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        sitter, scene = Identity.draw(rng), Scene.draw(rng, level)
        return render(sitter, units_for(0.3, 0.3, rng), scene, size=96).image

    first, other = draw(3), draw(4)
    assert first.dtype == np.uint8 and first.shape == (96, 96, 3) and first.std() > 15
    np.testing.assert_array_equal(first, draw(3))
    assert (first != other).mean() > 0.5


def test_a_smile_shows_in_the_pixels_round_the_mouth():
    rest, smile = (
        render(person(), units, PLAIN) for units in (REST, ActionUnits(au12=1.0, au25=0.8))
    )
    x, y = rest.landmarks[48:68].mean(axis=0).astype(int)
    changed = np.abs(rest.image.astype(int) - smile.image).mean(axis=2)
    assert changed[y - 20 : y + 20, x - 30 : x + 30].mean() > 10
    assert changed[:25].mean() < 1  # the top of the picture stays


def test_turning_the_head_moves_the_nose_over_the_cheeks():
    left, right = (render(person(), REST, replace(PLAIN, yaw=yaw)).landmarks for yaw in (-0.4, 0.4))
    middle = [(marks[0, 0] + marks[16, 0]) / 2 for marks in (left, right)]
    assert left[30, 0] < middle[0] - 10 and right[30, 0] > middle[1] + 10


@pytest.mark.parametrize("occluder", ["hand", "scarf", "strands", "mug"])
def test_occluders_cover_something(occluder):
    bare = render(person(), REST, PLAIN).image.astype(int)
    covered = render(person(), REST, replace(PLAIN, occluder=occluder)).image
    assert (np.abs(bare - covered).max(axis=2) > 20).mean() > 0.005


def test_every_hair_style_beard_and_pair_of_glasses_can_be_painted():
    from shards.standins.identity import HAIR_STYLES

    looks = [replace(person(), hair_style=style) for style in HAIR_STYLES]
    looks += [replace(looks[0], beard=kind) for kind in ("stubble", "moustache", "goatee", "full")]
    looks += [replace(looks[0], glasses=kind, earrings=True) for kind in ("round", "square")]
    seen = {render(look, REST, PLAIN, size=96).image.tobytes() for look in looks}
    assert len(seen) == len(looks)
