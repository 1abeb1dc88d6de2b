"""The pencils: colours as numbers, strokes where they are told, clips that hold."""

from __future__ import annotations

import numpy as np
import pytest

from shards.standins.anatomy import ActionUnits, geometry
from shards.standins.canvas import BLACK, WHITE, Artist, Canvas, argb, down, linear, moved, tapered
from shards.standins.identity import Identity
from shards.standins.scene import Camera, Scene

TO_PIXELS = np.array([(10.0, 0.0, 50.0), (0.0, 10.0, 50.0)])  # ten pixels a face unit
SQUARE = np.array([(-2, -2), (2, -2), (2, 2), (-2, 2)])


def drawn(stroke, *, blur: float = 0.0) -> np.ndarray:
    """(100, 100) brightness of what `stroke(artist)` leaves on black."""
    person, canvas = Identity.draw(np.random.default_rng(0)), Canvas(100, blur)
    face = geometry(person, ActionUnits())
    camera = Camera(0.0, 0.0, TO_PIXELS)
    artist = Artist(canvas.skia, camera, person, ActionUnits(), face, Scene())
    canvas.flood(linear((0, 0), (1, 0), argb(BLACK), argb(BLACK)))
    with canvas.mapped(TO_PIXELS):
        stroke(artist)
    return canvas.finish().astype(int).mean(axis=2)


def test_a_colour_is_four_bytes_clipped_and_rounded():
    assert argb((1.0, 0.5, 0.0)) == 0xFF_FF_80_00
    assert argb((2.0, -1.0, 0.2), 0.5) == 0x80_FF_00_33


def test_moving_adds_and_leaves_the_points_alone():
    points = np.zeros((3, 2))
    np.testing.assert_array_equal(moved(points, 1, -2), [(1, -2)] * 3)
    assert not points.any()


def test_a_tapered_stroke_is_thick_in_the_middle_and_closes_on_itself():
    curve = np.stack([np.linspace(0, 1, 11), np.zeros(11)], axis=-1)
    outline = tapered(curve, 0.2)
    above, below = outline[:11, 1], outline[:10:-1, 1]
    np.testing.assert_allclose(above, -below)
    assert np.abs(above).argmax() == 5
    np.testing.assert_allclose(np.ptp(above), 0.1 * (1 - np.sin(0.05 * np.pi)), rtol=0.01)


def test_a_dot_covers_its_circle_in_pixels():
    seen = drawn(lambda artist: artist.dot(1, -1, 1.5, WHITE))
    assert seen.sum() / 255 == pytest.approx(np.pi * 15**2, rel=0.01)
    assert seen[40, 60] == 255 and seen[40, 60 - 17] == 0 and seen[40 + 17, 60] == 0


def test_a_fill_covers_its_shape_and_half_transparent_shows_half():
    solid, half = (drawn(lambda artist, a=a: artist.fill(SQUARE, WHITE, a)) for a in (1.0, 0.5))
    assert solid[50, 50] == 255 and solid[5, 5] == 0
    assert half[50, 50] == pytest.approx(128, abs=1)


def test_a_line_is_as_wide_as_it_is_told():
    seen = drawn(lambda artist: artist.line([(-3, 0), (0, 0), (3, 0)], 1.0, WHITE))
    assert seen[:, 50].sum() / 255 == pytest.approx(10, abs=0.1)


def test_nothing_is_drawn_outside_of_a_clip():
    def stroke(artist: Artist) -> None:
        with artist.inside(SQUARE):
            artist.dot(0, 0, 5, WHITE)

    seen = drawn(stroke)
    assert seen[50, 50] == 255 and seen[50, 90] == 0
    everything = drawn(lambda artist: artist.dot(0, 0, 5, WHITE))
    assert everything[50, 90] == 255


def test_a_glow_fades_to_its_rim_and_a_blur_keeps_the_light():
    glow = drawn(lambda artist: artist.glow(0, 0, (3, 2), WHITE, 0.8))
    assert (np.diff(glow[50, 50:80]) <= 0).all() and glow[50, 81:].sum() == 0
    assert glow[:, 50].sum() < glow[50].sum()  # an ellipse, wider than high
    sharp, soft = (
        drawn(lambda artist: artist.dot(0, 0, 1, WHITE), blur=blur) for blur in (0.0, 2.0)
    )
    assert soft.max() <= sharp.max() and soft.sum() == pytest.approx(sharp.sum(), rel=0.02)
    assert (soft > 0).sum() > (sharp > 0).sum()


def test_a_gradient_runs_from_its_first_colour_to_its_last():
    shader = down(-2, 2, argb(BLACK), argb(WHITE))
    seen = drawn(lambda artist: artist.fill(SQUARE, WHITE, shader=shader))
    assert (np.diff(seen[31:69, 50]) >= 0).all() and seen[50, 50] == pytest.approx(127, abs=5)


def test_skin_in_shadow_is_darker_and_redder_and_strands_belong_to_the_person():
    def look(artist: Artist) -> None:
        skin, shade, shine = artist.person.skin, artist.shade(0.5), artist.shine(0.5)
        assert all(a < b < c for a, b, c in zip(shade, skin, shine, strict=True))
        assert shade[0] / shade[2] > skin[0] / skin[2]
        assert artist.shade(0.0) == artist.shine(0.0) == skin
        assert artist.strands().random() == artist.strands().random()

    drawn(look)
