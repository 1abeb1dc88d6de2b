"""Faces and feelings drawn on a film."""

from __future__ import annotations

import numpy as np

from avce.inference.overlay import Overlay


def test_the_overlay_marks_face_and_feeling():
    dark = np.zeros((240, 320, 3), np.uint8)
    overlay = Overlay()
    for valence in (-0.5, 0.5):
        marks = [((40.0, 60.0, 140.0, 180.0), 0, np.float32([valence, 0.2]))]
        drawn = overlay.drawn(dark, marks)
    assert drawn.shape == dark.shape and not dark.any()
    assert drawn[60, 90].any() and drawn[200, 280].any()  # the box, the circle
    assert len(overlay.tails[0]) == 2
