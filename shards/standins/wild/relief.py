"""Light on a head that stands out: what a flat drawing lacks most beside a photograph."""

from __future__ import annotations

import numpy as np
from PIL import Image

from shards.standins.anatomy import ActionUnits, Geometry
from shards.standins.scene import Camera
from shards.standins.wild.looks import Look

_STEP = 2  # pixels between the points where the light is computed


def light_on(
    face: Geometry, units: ActionUnits, camera: Camera, look: Look, size: int
) -> np.ndarray:
    """(size, size) float32 by which the picture is multiplied: Lambert's law on a head of ellipsoid
    depth with bumps, and the darkness in which eyes lie."""
    x, y, depth = _places(camera, size)
    bumps = _bumps(face, units)
    height = depth + look.depth * _stacked(bumps, x, y)
    pixel = 1 / np.hypot(*camera.matrix[:, 0])
    down, across = np.gradient(height, _STEP * pixel)
    lamp = np.array([*look.lamp, 1.0]) / np.sqrt(1 + look.lamp[0] ** 2 + look.lamp[1] ** 2)
    facing = (lamp[2] - lamp[0] * across - lamp[1] * down) / np.sqrt(1 + across**2 + down**2)
    light = look.ambient + (1 - look.ambient) * np.clip(facing, 0, 1) * 1.25
    inside = np.clip(2.2 * depth - 0.25, 0, 1)  # hair and wall are none of it
    light = 1 + (light - 1) * inside
    eyes = np.array([[1.0, face.eyes[1].centre[0], face.eyes[1].centre[1], 0.26, 0.17]])
    light = light * (1 - look.sockets * _stacked(eyes, x, y))
    grown = Image.fromarray(light.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(grown)


def _places(camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face units of every second pixel, x and y as they lie frontal, and the depth there."""
    at = np.arange(0, size, _STEP, dtype=np.float32) + _STEP / 2
    across, down = np.meshgrid(at - camera.matrix[0, 2], at - camera.matrix[1, 2])
    (a, b), (c, d) = np.linalg.inv(camera.matrix[:, :2]).astype(np.float32)
    seen_x, seen_y = a * across + b * down, c * across + d * down
    x, y, depth = seen_x, seen_y, np.zeros_like(seen_x)
    for _ in range(2):  # the turned ellipsoid, by fixed point
        depth = 0.75 * np.sqrt(np.maximum(1 - (x / 1.12) ** 2 - ((y - 0.1) / 1.75) ** 2, 0))
        x = (seen_x - depth * np.sin(camera.yaw)) / np.cos(camera.yaw)
        y = (seen_y - depth * np.sin(camera.pitch)) / np.cos(camera.pitch)
    return x.astype(np.float32), y.astype(np.float32), depth.astype(np.float32)


def _bumps(face: Geometry, units: ActionUnits) -> np.ndarray:
    """(k, 5): height, centre |x| and y, widths, in face units; the same on both sides."""
    tip, mouth, chin = face.nose[3, 1], face.mouth, float(face.jaw[8, 1])
    brow, gap = float(face.brows[1][1:4, 1].mean()), face.eyes[1].centre[0]
    raised = max(units.au6, 0.6 * units.au12)
    corner = mouth.middle + mouth.corner
    return np.array(
        [
            (0.20, 0.0, 0.55 * tip, 0.10, 0.30), (0.16, 0.0, tip, 0.14, 0.11),
            (0.07, face.nose[8, 0] * 0.85, tip + 0.06, 0.07, 0.07),
            (0.09, gap * 0.85, brow, 0.26, 0.09), (-0.05 * units.au4, 0.05, brow, 0.05, 0.12),
            (-0.15, gap * 0.9, 0.0, 0.20, 0.13), (0.05, gap, 0.0, 0.12, 0.09),
            (0.09 + 0.13 * raised, 0.56, 0.42 - 0.1 * raised, 0.24, 0.19),
            (-0.10 * units.au12, mouth.half + 0.12, 0.5 * (tip + corner) + 0.05, 0.06, 0.16),
            (0.09, 0.0, mouth.middle, 0.36, 0.24),
            (0.05, 0.0, mouth.outer_top(np.zeros(1))[0, 1] + 0.04, 0.24, 0.05),
            (0.06, 0.0, mouth.outer_bottom(np.zeros(1))[0, 1] - 0.05, 0.20, 0.06),
            (-0.07, 0.0, mouth.outer_bottom(np.zeros(1))[0, 1] + 0.08, 0.24, 0.06),
            (0.13, 0.0, chin - 0.14, 0.24, 0.14), (-0.07, 0.95, -0.3, 0.2, 0.4),
        ]
    )  # fmt: skip


def _stacked(bumps: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The sum of Gaussian bumps."""
    high, middle, level, wide, tall = bumps.astype(np.float32).T[..., None, None]
    return (high * np.exp(-(((np.abs(x) - middle) / wide) ** 2) - ((y - level) / tall) ** 2)).sum(0)
