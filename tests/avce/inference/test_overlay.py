"""Faces and feelings drawn on a film."""

from __future__ import annotations

import numpy as np
import pytest

from avce.inference.overlay import HISTORY, TAIL, Overlay

SIZES = [(48, 64), (96, 128), (128, 96), (240, 320), (480, 640), (1280, 720), (1080, 1920)]


def mark(box=(40.0, 60.0, 140.0, 180.0), track=0, preds=(0.5, 0.2)):
    return box, track, np.float32(preds)


def coloured(drawn: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture has about this colour."""
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return (np.abs(drawn.astype(int) - wanted) < 40).all(-1)


def test_the_overlay_marks_face_and_feeling():
    dark = np.zeros((240, 320, 3), np.uint8)
    overlay = Overlay()
    for valence in (-0.5, 0.5):
        drawn = overlay.drawn(dark, [mark(preds=(valence, 0.2))])
    assert drawn.shape == dark.shape and not dark.any()
    assert drawn[60, 90].any() and drawn[200, 280].any()  # the box, the circle
    assert [said[1] for said in overlay.past[0]] == [-0.5, 0.5]


@pytest.mark.parametrize("size", SIZES)
def test_the_numbers_are_whole_and_readable_at_any_size(size):
    """Of a whole picture they stand above left: 7 pixels high or a sixtieth, and not cut off."""
    height, width = size
    dark = np.zeros((height, width, 3), np.uint8)
    drawn = Overlay().drawn(dark, [mark(None, preds=(-0.87, -0.48))], 0.0)
    ink = np.argwhere(coloured(drawn[: height // 3], "#ffb000"))
    assert np.ptp(ink[:, 0]) + 1 >= max(7, min(size) / 60)
    assert ink.min() >= 1 and ink[:, 1].max() < width - 1
    corner = (0.6 * width, 0.0, 1.0 * width, 0.4 * height)  # its name has room below only
    drawn = Overlay().drawn(dark, [mark(corner)], 0.0)
    assert drawn.shape == dark.shape


def test_names_do_not_cover_each_other():
    dark = np.zeros((480, 640, 3), np.uint8)
    boxes = [(100.0 + 90 * n, 100.0 + n, 180.0 + 90 * n, 260.0 + n) for n in range(3)]
    drawn = Overlay().drawn(dark, [mark(b, track) for track, b in enumerate(boxes)], 0.0)
    alone = [Overlay().drawn(dark, [mark(b, n)], 0.0) for n, b in enumerate(boxes)]
    for colour, one in zip(("#ffb000", "#4db8ff", "#7ddc5a"), alone, strict=True):
        ink, wanted = (coloured(picture[:350], colour).sum() for picture in (drawn, one))
        assert ink > 0.95 * wanted  # each name is wider than its box; the ground of one may touch


def test_the_past_is_counted_in_seconds_and_outlives_a_missed_frame():
    dark = np.zeros((480, 640, 3), np.uint8)
    overlay = Overlay()
    for time in np.arange(0, 2, 0.1):
        overlay.drawn(dark, [mark()], float(time))
    missed = overlay.drawn(dark, [], 2.0)
    assert coloured(missed[360:, 500:], "#ffb000").sum() > 10  # still in the circle, hollow
    assert len(overlay.past[0]) == 20
    gone = overlay.drawn(dark, [], 2.0 + TAIL)
    assert not coloured(gone[360:, 500:], "#ffb000").any()
    assert coloured(gone[360:, :400], "#ffb000").any()  # but in the lines
    overlay.drawn(dark, [], 2.0 + HISTORY)
    assert not overlay.past


def test_a_line_breaks_where_a_face_was_not_seen():
    dark = np.zeros((480, 640, 3), np.uint8)
    overlay = Overlay()
    for time in [*np.arange(0, 3, 0.1), *np.arange(6, 10, 0.1)]:
        drawn = overlay.drawn(dark, [mark()], float(time))
    columns = coloured(drawn[360:470, 80:365], "#ffb000").any(0)
    seen = np.flatnonzero(columns)
    gap = np.diff(seen).max() / 285  # of ten seconds
    assert 0.25 < gap < 0.35
    assert seen.max() > 280  # up to now


def test_each_track_has_its_own_past():
    overlay = Overlay()
    dark = np.zeros((240, 320, 3), np.uint8)
    for time in (0.0, 0.1):
        overlay.drawn(dark, [mark(track=3), mark(track=8, preds=(-1.5, 2.0))], time)
    assert set(overlay.past) == {3, 8}
    assert overlay.past[8][-1][1:] == (-1.0, 1.0)  # on the rim of the plane
