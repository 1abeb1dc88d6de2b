"""Draw one face: a person, an expression and a scene become pixels, with everything true known.

    rng = np.random.default_rng(0)
    person, scene = Identity.draw(rng), Scene.draw(rng, "normal")
    drawing = render(person, units_for(0.6, 0.3, rng), scene, size=256)

The parts: `identity` (who), `anatomy` (which muscles, what it means, where it lies), `scene`
(camera and light), `paint` (pixels).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shards.standins.anatomy import (
    ActionUnits,
    exaggerate,
    expression,
    geometry,
    label,
    units_for,
    wanted_point,
)
from shards.standins.identity import Identity
from shards.standins.paint import paint
from shards.standins.scene import LANDMARK_LIFT, LEVELS, Scene, camera_for, face_box
from shards.standins.wild.emotions import draw_emotion
from shards.standins.wild.looks import detected_box

__all__ = [
    "LEVELS",
    "Acting",
    "ActionUnits",
    "Drawing",
    "Identity",
    "Scene",
    "acting_in",
    "expression",
    "label",
    "render",
    "units_for",
    "wanted_point",
]


class Drawing(NamedTuple):
    """A drawn face and all that is true of it; coordinates are pixels from the top left."""

    image: np.ndarray  # (size, size, 3) uint8 RGB
    bbox_xyxy: tuple[int, int, int, int]  # the square that the face fills
    landmarks: np.ndarray  # (68, 2) float64, iBUG order
    valence: float
    arousal: float
    expression: int


class Acting(NamedTuple):
    """What the muscles do, and what it means."""

    units: ActionUnits
    valence: float
    arousal: float


def acting_in(scene: Scene, rng: np.random.Generator) -> Acting:
    """A random expression: a basic emotion where pictures look wild, else a point of the plane."""
    if scene.look is not None:
        return Acting(*draw_emotion(rng))
    units = units_for(*wanted_point(rng), rng)
    return Acting(units, *label(units))


def render(
    person: Identity, expressed: ActionUnits | Acting, scene: Scene, size: int = 256
) -> Drawing:
    """Draw the person with this expression. The label is what it means, or `label` of bare units,
    however strongly the scene lets them be acted."""
    if isinstance(expressed, ActionUnits):
        expressed = Acting(expressed, *label(expressed))
    units, valence, arousal = expressed
    acted = exaggerate(units, scene.expressiveness)
    face = geometry(person, acted)
    camera = camera_for(person, scene, size)
    landmarks = camera.pixels(face.landmarks(), LANDMARK_LIFT)
    look = scene.look
    return Drawing(
        paint(person, acted, face, scene, camera, size),
        face_box(size) if look is None else detected_box(landmarks, look, size),
        landmarks,
        valence,
        arousal,
        expression(valence, arousal),
    )
