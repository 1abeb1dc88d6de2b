"""The camera by hand, and how hard a scene may be."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from shards.standins.anatomy import ActionUnits, geometry
from shards.standins.identity import Identity
from shards.standins.scene import LEVELS, MARGIN, Camera, Scene, camera_for, face_box

POINTS = np.array([(0.0, 0.1), (0.5, -0.4), (-0.5, -0.4), (1.12, 0.1)])
PERSON = Identity.draw(np.random.default_rng(0))


def test_a_frontal_camera_sees_what_is_there():
    plain = Camera(0.0, 0.0, np.array([(100.0, 0.0, 50.0), (0.0, 100.0, 60.0)]))
    np.testing.assert_allclose(plain.turn(POINTS), POINTS)
    np.testing.assert_allclose(plain.pixels(POINTS), 100 * POINTS + (50, 60))
    np.testing.assert_allclose(plain.turn(POINTS, 0.5), POINTS)  # height shows from the side only


@pytest.mark.parametrize("angle", [-0.3, 0.2, 0.4])
def test_a_turned_head_is_a_rotated_ellipsoid(angle: float):
    yawed, pitched = (Camera(*turn, np.eye(2, 3)) for turn in ((angle, 0.0), (0.0, angle)))
    tip = np.array([0.0, 0.1])  # the ellipsoid's nearest point, 0.75 before its middle
    expected = 0.75 * np.sin(angle)
    np.testing.assert_allclose(yawed.turn(tip), (expected, 0.1))
    np.testing.assert_allclose(pitched.turn(tip), (0.0, 0.1 * np.cos(angle) + expected))
    rim = np.array([1.12, 0.1])  # no depth there
    np.testing.assert_allclose(yawed.turn(rim), (1.12 * np.cos(angle), 0.1))
    lifted = yawed.turn(tip, 0.2) - yawed.turn(tip)
    np.testing.assert_allclose(lifted, (0.2 * np.sin(angle), 0))


def test_heads_turned_left_and_right_mirror_each_other():
    left, right = (Camera(yaw, 0.1, np.eye(2, 3)) for yaw in (-0.3, 0.3))
    np.testing.assert_allclose(left.turn(POINTS * (-1, 1)) * (-1, 1), right.turn(POINTS))


def test_a_face_box_has_its_margin_on_each_side():
    for size in (96, 112, 224, 300):
        left, top, right, bottom = face_box(size)
        assert left == top == size - right == size - bottom
        assert left == pytest.approx(MARGIN * (right - left), abs=1)


def test_a_roll_turns_the_picture_and_keeps_its_scale():
    marks = geometry(PERSON, ActionUnits()).landmarks()
    upright, rolled = (
        camera_for(PERSON, Scene(roll=roll, zoom=1.0), 200).matrix[:, :2] for roll in (0.0, 0.3)
    )
    assert upright[0, 1] == upright[1, 0] == 0 and upright[0, 0] == upright[1, 1] > 0
    assert np.arctan2(rolled[1, 0], rolled[0, 0]) == pytest.approx(0.3)
    assert np.linalg.det(rolled) > 0 and np.ptp(marks[:, 0]) * upright[0, 0] < 200


def test_shift_and_zoom_are_in_face_boxes():
    plain, shifted, zoomed = (
        camera_for(PERSON, scene, 200).matrix
        for scene in (Scene(), Scene(shift=(0.1, -0.2)), Scene(zoom=0.5))
    )
    left, _, right, _ = face_box(200)
    np.testing.assert_allclose((shifted - plain)[:, 2], np.array((0.1, -0.2)) * (right - left))
    np.testing.assert_allclose(zoomed[:, :2], 0.5 * plain[:, :2])


@pytest.mark.parametrize("level", LEVELS)
def test_scenes_stay_within_their_level(level: str):
    rng, spread = np.random.default_rng(1), LEVELS[level]
    scenes = [Scene.draw(rng, level) for _ in range(200)]
    assert max(abs(scene.yaw) for scene in scenes) <= 2 * spread.turn
    for name in ("zoom", "contrast", "exposure", "blur", "noise"):
        low, high = getattr(spread, name)
        assert all(low <= getattr(scene, name) <= high for scene in scenes)
    occluded = np.mean([scene.occluder is not None for scene in scenes])
    assert occluded == pytest.approx(spread.occluded, abs=0.1)
    assert len({astuple(scene) for scene in scenes}) == 200
    assert Scene.draw(np.random.default_rng(5), level) == Scene.draw(
        np.random.default_rng(5), level
    )


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="level 'silly' is none of easy, normal, hard"):
        Scene.draw(np.random.default_rng(0), "silly")


def test_one_point_turns_as_many_do_bit_for_bit():
    rng = np.random.default_rng(0)
    for yaw, pitch, x, y, lift in rng.uniform(-1.3, 1.3, (200, 5)).tolist():
        camera = Camera(yaw, pitch, np.eye(2, 3))
        assert camera.turn_one(x, y, lift) == tuple(camera.turn(np.array([x, y]), lift))
