"""What a look does to a picture, one property at a time."""

from dataclasses import replace

import numpy as np
import pytest

from shards.standins.face import Identity, Scene, acting_in, render
from shards.standins.wild.looks import STYLES, Look, clouds, detected_box, developed

PLAIN = replace(
    Look.draw(np.random.default_rng(0)),
    style="plain", texture=0.0, gamma=1.0, contrast=1.0, tint=(1.0, 1.0, 1.0), grey=False,
    side=0, quality=0, box=(0.0, 0.0, 0.0),
)  # fmt: skip


def picture(size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(20, 230, (size, size, 3)).astype(np.uint8)


def seen(light: np.ndarray | None = None, **changed) -> np.ndarray:
    return developed(picture(), replace(PLAIN, **changed), light, np.random.default_rng(1))


def test_a_look_without_effect_changes_nothing():
    assert np.abs(seen().astype(int) - picture()).max() <= 1  # the curve rounds down


def test_grey_is_grey_and_keeps_the_luma():
    grey = seen(grey=True)
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 0] - picture() @ [0.299, 0.587, 0.114]).max() <= 1.01


def test_light_multiplies():
    half = seen(light=np.full((64, 64), 0.5, np.float32))
    assert np.abs(half - picture() / 2).max() <= 1.01


def test_contrast_keeps_the_mean_and_gamma_the_ends():
    assert seen(contrast=0.5).std() == pytest.approx(picture().std() / 2, rel=0.03)
    assert seen(contrast=0.5).mean() == pytest.approx(picture().mean(), abs=1.5)
    assert seen(gamma=2.0).mean() < picture().mean() < seen(gamma=0.5).mean()


def test_a_small_picture_is_a_blurred_one():
    fine = [np.abs(np.diff(seen(side=s).astype(int), axis=1)).mean() for s in (0, 40, 16)]
    assert fine[0] > 2 * fine[1] > 4 * fine[2] / 2


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_a_picture(style):
    found = seen(style=style, quality=40)
    assert found.shape == (64, 64, 3) and found.dtype == np.uint8 and found.std() > 3


def test_clouds_are_one_piece_of_noise():
    assert clouds().shape == (512, 512) and clouds().std() == pytest.approx(0.5, rel=1e-3)


def test_the_box_follows_the_face_and_slips_as_told():
    landmarks = np.array([(40.0, 30.0), (60.0, 80.0)])
    left, top, right, bottom = detected_box(landmarks, PLAIN, 128)
    assert right - left == pytest.approx(1.365 * 50, abs=1) == bottom - top
    assert (left + right) / 2 == pytest.approx(50, abs=1) and bottom == pytest.approx(82, abs=1)
    slipped = detected_box(landmarks, replace(PLAIN, box=(0.1, 0.0, 0.2)), 128)
    assert slipped[2] - slipped[0] == pytest.approx(1.2 * 1.365 * 50, abs=1)
    assert slipped[0] + slipped[2] > left + right


def test_a_wild_picture_holds_its_box_and_is_the_same_again():
    for seed in range(6):
        first, again = (
            render(Identity.draw(rng), acting_in(scene, rng), scene, size=120)
            for rng in (np.random.default_rng(seed), np.random.default_rng(seed))
            for scene in (Scene.draw(rng, "wild"),)
        )
        assert np.array_equal(first.image, again.image)
        left, top, right, bottom = first.bbox_xyxy
        assert 0 <= left < right <= 120 and 0 <= top < bottom <= 120
