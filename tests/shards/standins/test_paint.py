"""From strokes to a photograph: light, exposure, warmth and noise as a scene states them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shards.standins.face import ActionUnits, Identity, Scene, render

REST, PLAIN = ActionUnits(), Scene(noise=0.0, contrast=0.0)
PERSON = Identity.draw(np.random.default_rng(0)).bare()


def photo(units: ActionUnits = REST, person: Identity = PERSON, **scene: float) -> np.ndarray:
    return render(person, units, replace(PLAIN, **scene), size=128).image.astype(int)


@pytest.mark.parametrize("exposure", [0.5, 0.75, 1.25])
def test_exposure_multiplies_every_level_and_clips_at_white(exposure: float):
    expected = np.clip(exposure * photo() + 0.5, 0, 255).astype(int)
    np.testing.assert_array_equal(photo(exposure=exposure), expected)


def test_warm_light_adds_red_and_takes_blue():
    plain, warm = photo(), photo(warmth=0.1)
    np.testing.assert_array_equal(warm[..., 1], plain[..., 1])
    for channel, factor in ((0, 1.1), (2, 0.9)):
        expected = np.clip(factor * plain[..., channel] + 0.5, 0, 255).astype(int)
        np.testing.assert_array_equal(warm[..., channel], expected)


@pytest.mark.parametrize("noise", [4.0, 10.0])
def test_noise_has_the_deviation_it_is_told_and_is_grey(noise: float):
    clean, noisy = photo(exposure=0.5), photo(exposure=0.5, noise=noise)
    middle = (clean > 5 * noise).all(axis=2) & (clean < 255 - 5 * noise).all(axis=2)  # not clipped
    added = (noisy - clean)[middle]
    assert middle.mean() > 0.3
    assert added.std() == pytest.approx(noise, rel=0.1)  # rounded towards zero
    assert abs(added.mean()) < 0.2
    np.testing.assert_array_equal(added[:, 0], added[:, 2])


@pytest.mark.parametrize("light", [-1.0, 1.0])
def test_the_side_away_from_the_light_is_the_darker_one(light: float):
    lost = (photo(light=light) - photo(light=light, contrast=1.0)).mean(axis=(0, 2))
    near, far = (lost[:20], lost[-20:]) if light < 0 else (lost[-20:], lost[:20])
    assert far.mean() > near.mean() + 20


def test_lights_shine_behind_the_head_and_not_on_it():
    changed = np.abs(photo(lights=12, grain=3) - photo(grain=3)).max(axis=2)
    assert (changed[:40, :20] > 5).any()
    marks = render(PERSON, REST, PLAIN, size=128).landmarks
    (left, top), (right, low) = marks[17:].min(axis=0).astype(int), marks[17:].max(axis=0) + 1
    assert changed[top : int(low), left : int(right)].max() == 0


def test_a_face_at_rest_without_shadows_is_nearly_its_own_mirror():
    even = replace(PERSON, hair_style="bald", freckles=0.0, side=1, collar="round")
    seen = photo(person=even, light=0.0)[:, 20:-20]
    difference = np.abs(seen - seen[:, ::-1]).mean(axis=2)
    assert np.median(difference) <= 1 and difference.mean() < 6


def test_a_beard_covers_the_chin_and_not_the_eyes():
    plain, bearded = photo(), photo(person=replace(PERSON, beard="full"))
    marks = render(PERSON, REST, PLAIN, size=128).landmarks
    changed = np.abs(plain - bearded).max(axis=2)
    x, chin = marks[8].astype(int)
    assert changed[chin - 12 : chin, x - 8 : x + 8].mean() > 10
    assert changed[: int(marks[36:48, 1].max()) + 2].max() == 0


def test_closed_eyes_hide_the_iris():
    odd = replace(PERSON, iris=(0.0, 1.0, 0.0))
    marks = render(odd, REST, PLAIN, size=128).landmarks
    x, y = marks[36:42].mean(axis=0).round().astype(int)
    views = [
        photo(units, odd)[y - 3 : y + 4, x - 5 : x + 6] for units in (REST, replace(REST, au43=1.0))
    ]
    opened, closed = ((eye[..., 1] - eye[..., 0] > 60).sum() for eye in views)
    assert opened > 5 and closed == 0
