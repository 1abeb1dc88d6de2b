"""How a drawn face is shown: pose, light, background and camera, by level of difficulty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from shards.standins.anatomy import ActionUnits, exaggerate, geometry
from shards.standins.identity import RGB, Identity, mix
from shards.standins.wild.looks import Look

MARGIN = 0.15  # of the face box's side, on each side of it: AffectNet's
OCCLUDERS = ("hand", "scarf", "strands", "mug")

_BACKDROPS = (
    (0.56, 0.72, 0.82), (0.86, 0.76, 0.62), (0.50, 0.68, 0.60), (0.78, 0.60, 0.66),
    (0.46, 0.54, 0.74), (0.90, 0.82, 0.66), (0.38, 0.56, 0.60), (0.84, 0.64, 0.54),
    (0.68, 0.74, 0.56), (0.42, 0.42, 0.56),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Ranges of the nuisances: (low, high), or a spread about zero."""

    expressiveness: float
    turn: float  # yaw spread in radians; pitch and roll follow it
    zoom: tuple[float, float]
    shift: float
    gaze: float
    contrast: tuple[float, float]
    exposure: tuple[float, float]
    warmth: float
    lights: int  # blurred lights behind, at most
    occluded: float  # probability
    blur: tuple[float, float]  # pixels
    noise: tuple[float, float]  # grey levels
    looks: bool = False  # each picture has a `Look` of its own


LEVELS = {
    "easy": Level(
        expressiveness=1.2, turn=0.03, zoom=(0.98, 1.02), shift=0.006, gaze=0.1,
        contrast=(0.15, 0.3), exposure=(1.0, 1.0), warmth=0.0, lights=0, occluded=0.0,
        blur=(0.0, 0.0), noise=(1.0, 2.0),
    ),
    "normal": Level(
        expressiveness=1.0, turn=0.17, zoom=(0.92, 1.06), shift=0.025, gaze=0.35,
        contrast=(0.2, 0.8), exposure=(0.75, 1.12), warmth=0.05, lights=8, occluded=0.06,
        blur=(0.0, 0.7), noise=(1.0, 5.0),
    ),
    "hard": Level(
        expressiveness=0.9, turn=0.3, zoom=(0.85, 1.1), shift=0.05, gaze=0.5,
        contrast=(0.2, 1.0), exposure=(0.5, 1.25), warmth=0.1, lights=16, occluded=0.3,
        blur=(0.0, 1.8), noise=(2.0, 14.0),
    ),
    "wild": Level(
        expressiveness=1.0, turn=0.2, zoom=(0.85, 1.15), shift=0.04, gaze=0.4,
        contrast=(0.0, 0.8), exposure=(0.7, 1.15), warmth=0.0, lights=12, occluded=0.06,
        blur=(0.0, 0.5), noise=(0.0, 6.0), looks=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One way to show a face: what a model must learn to ignore. Angles in radians."""

    expressiveness: float = 1.0  # how strongly the action units move the drawing
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)  # in face boxes; moves the face in the picture
    gaze: tuple[float, float] = (0.0, 0.0)
    light: float = -0.5  # where it comes from, -1 left .. 1 right
    contrast: float = 0.25  # of light and shadow, [0, 1]
    exposure: float = 1.0
    warmth: float = 0.0
    backdrop: RGB = _BACKDROPS[0]
    lights: int = 0
    occluder: str | None = None  # one of OCCLUDERS
    blur: float = 0.0
    noise: float = 1.0
    grain: int = 0  # seeds lights and noise
    look: Look | None = None  # how the picture came to be; None: a clean drawing

    @classmethod
    def draw(cls, rng: np.random.Generator, level: str = "normal") -> Scene:
        """A random scene of one of `LEVELS`."""
        if level not in LEVELS:
            raise ValueError(f"level {level!r} is none of {', '.join(LEVELS)}; choose one of them")
        spread = LEVELS[level]

        def about_zero(size: float) -> float:
            return float(size * np.clip(rng.normal(), -2, 2))

        first, second = rng.integers(len(_BACKDROPS), size=2)
        scene = cls(
            expressiveness=spread.expressiveness,
            yaw=about_zero(spread.turn),
            pitch=about_zero(0.45 * spread.turn),
            roll=about_zero(0.6 * spread.turn),
            zoom=float(rng.uniform(*spread.zoom)),
            shift=(about_zero(spread.shift), about_zero(spread.shift)),
            gaze=(about_zero(spread.gaze), about_zero(0.6 * spread.gaze)),
            light=float(rng.uniform(-1, 1)),
            contrast=float(rng.uniform(*spread.contrast)),
            exposure=float(rng.uniform(*spread.exposure)),
            warmth=about_zero(spread.warmth),
            backdrop=mix(_BACKDROPS[first], _BACKDROPS[second], float(rng.random())),
            lights=int(rng.integers(spread.lights + 1)),
            occluder=str(rng.choice(OCCLUDERS)) if rng.random() < spread.occluded else None,
            blur=float(rng.uniform(*spread.blur)),
            noise=float(rng.uniform(*spread.noise)),
            grain=int(rng.integers(1 << 31)),
        )
        return replace(scene, look=Look.draw(rng)) if spread.looks else scene


@dataclass(frozen=True)
class Camera:
    """Turns a head of ellipsoid depth and maps it into the picture.

    `lift` is height above the ellipsoid, in face units; ears and hair behind lie below it.
    """

    yaw: float
    pitch: float
    matrix: np.ndarray  # (2, 3): turned face units to pixels

    def turn(self, points: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
        """(n, 2) face units, frontal, to (n, 2) face units as seen."""
        x, y = points[..., 0], points[..., 1]
        across, down = x / 1.12, (y - 0.1) / 1.75
        depth = 0.75 * np.sqrt(np.maximum(1 - across * across - down * down, 0)) + lift
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = self._bearings
        seen = np.empty(points.shape)
        seen[..., 0] = x * cos_yaw + depth * sin_yaw
        seen[..., 1] = y * cos_pitch + depth * sin_pitch
        return seen

    def turn_one(
        self, x: float | int, y: float | int, lift: float | int = 0.0
    ) -> tuple[float, float]:
        """`turn` of one point, without numpy's overhead and bit for bit the same."""
        across, down = x / 1.12, (y - 0.1) / 1.75
        depth = 0.75 * math.sqrt(max(1 - across * across - down * down, 0.0)) + lift
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = self._bearings
        return x * cos_yaw + depth * sin_yaw, y * cos_pitch + depth * sin_pitch

    @cached_property
    def _bearings(self) -> tuple[float, ...]:
        """Cosine and sine of yaw, then of pitch."""
        turns = self.yaw, self.pitch
        return tuple(float(wave(turn)) for turn in turns for wave in (np.cos, np.sin))

    def pixels(self, points: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
        return self.turn(points, lift) @ self.matrix[:, :2].T + self.matrix[:, 2]


LANDMARK_LIFT = np.zeros(68)
LANDMARK_LIFT[27:36] = (0.06, 0.14, 0.22, 0.28, 0.12, 0.16, 0.2, 0.16, 0.12)  # the nose stands out
_WIDEST = ActionUnits(au1=1.0, au2=1.0, au25=1.0, au26=1.0)
_FOREHEAD = (0.0, -0.92)  # a face box reaches well above the brows


def camera_for(person: Identity, scene: Scene, size: int) -> Camera:
    """Frame the square that this face fills at its widest expression, so that an expression alone
    never changes the scale."""
    widest = geometry(person, exaggerate(_WIDEST, scene.expressiveness)).landmarks()
    points = np.concatenate([widest, [_FOREHEAD]])
    cos, sin = np.cos(scene.roll), np.sin(scene.roll)
    roll = np.array([[cos, -sin], [sin, cos]])
    turned = Camera(scene.yaw, scene.pitch, np.eye(2, 3))
    seen = turned.turn(points, np.append(LANDMARK_LIFT, 0.0)) @ roll.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    left, _, right, _ = face_box(size)
    side = right - left
    scale = side / (1.03 * float((high - low).max())) * scene.zoom
    middle = size / 2 + np.array(scene.shift) * side - scale * (low + high) / 2
    return Camera(scene.yaw, scene.pitch, np.concatenate([scale * roll, middle[:, None]], axis=1))


def face_box(size: int) -> tuple[int, int, int, int]:
    """The centred square with AffectNet's margin around it: size == width + 2 * left."""
    margin = round(size * MARGIN / (1 + 2 * MARGIN))
    return margin, margin, size - margin, size - margin
