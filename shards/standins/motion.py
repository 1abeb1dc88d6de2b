"""One drawn person whose emotion and head move smoothly, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shards.standins.face import Drawing, Identity, Scene, render, units_for

FACE = 128  # pixels of a drawn face's side, unless a layout asks for another


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a film: the picture, and the face as it lies in the whole picture."""

    image: np.ndarray  # (height, width, 3) uint8 RGB
    face: Drawing  # box and landmarks moved to the picture's pixels


def film(
    seed: Sequence[int],
    frames: int,
    level: str,
    size: tuple[int, int] | None,
    sitter: Identity | None = None,
) -> Iterator[Frame]:
    """One person whose emotion and head move smoothly; `size` (width, height) of the picture, or
    None for the face alone at 112 pixels, as Aff-Wild2's aligned crops are."""
    rng = np.random.default_rng(seed)
    person = Identity.draw(rng) if sitter is None else sitter
    scene = replace(Scene.draw(rng, level), noise=0.0)
    path, sway = _wander(rng, frames, 2, reach=0.85), _wander(rng, frames, 3, reach=1.0)
    ease = int(rng.integers(1 << 31))
    wall = rng.integers(60, 200, 3).astype(np.uint8)
    for (valence, arousal), (x, y, turn) in zip(path, sway, strict=True):
        units = units_for(valence, arousal, np.random.default_rng(ease))
        turned = replace(scene, yaw=scene.yaw + 0.15 * turn)
        face = render(person, units, turned, size=FACE if size else 112)
        yield on_wall(face, wall, size, x, y) if size else Frame(face.image, face)


def _wander(rng: np.random.Generator, frames: int, width: int, reach: float) -> np.ndarray:
    """(frames, width) smooth paths inside the ball of radius `reach`: slow sines."""
    time = np.arange(frames)[:, None, None] / 30
    rate, phase = rng.uniform(0.5, 2.5, (3, width)), rng.uniform(0, 2 * np.pi, (3, width))
    path = np.sin(rate * time + phase).sum(axis=1)
    norm = np.linalg.norm(path, axis=1, keepdims=True)
    return reach * path * np.tanh(norm) / np.maximum(norm, 1e-9)


def on_wall(face: Drawing, wall: np.ndarray, size: tuple[int, int], x: float, y: float) -> Frame:
    """Hang the face in a larger picture; x and y in [-1, 1] say where."""
    width, height = size
    side = face.image.shape[0]
    left = round((width - side) * (0.5 + 0.4 * x))
    top = round((height - side) * (0.5 + 0.4 * y))
    image = np.tile(wall, (height, width, 1))
    image[top : top + side, left : left + side] = face.image
    x0, y0, x1, y1 = face.bbox_xyxy
    box = (x0 + left, y0 + top, x1 + left, y1 + top)
    landmarks = face.landmarks + np.array([left, top])
    return Frame(image, face._replace(bbox_xyxy=box, landmarks=landmarks))
