"""What a drawn face is made of: what its muscles do, what that means, where everything lies.

Numbers only; `face.py` paints them. Lengths are in face units: the eyes lie at y = 0, half a face
is about 1 wide, y grows downwards and x to the right of the picture.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np

from shards.standins.identity import HAIR_STYLES as HAIR_STYLES
from shards.standins.identity import Identity

# ---------------------------------------------------------------- action units and their meaning


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """Intensities in [0, 1] of the FACS action units that the label rule knows."""

    au1: float = 0.0  # inner brow raiser
    au2: float = 0.0  # outer brow raiser
    au4: float = 0.0  # brow lowerer
    au5: float = 0.0  # upper lid raiser
    au6: float = 0.0  # cheek raiser
    au9: float = 0.0  # nose wrinkler
    au10: float = 0.0  # upper lip raiser
    au12: float = 0.0  # lip corner puller
    au15: float = 0.0  # lip corner depressor
    au17: float = 0.0  # chin raiser
    au20: float = 0.0  # lip stretcher
    au23: float = 0.0  # lip tightener
    au25: float = 0.0  # lips part
    au26: float = 0.0  # jaw drop
    au43: float = 0.0  # eyes closed


NAMES = tuple(field.name for field in fields(ActionUnits))
_AU6, _AU12 = NAMES.index("au6"), NAMES.index("au12")


def _weights(**by_name: float) -> np.ndarray:
    return np.array([by_name.get(name, 0.0) for name in NAMES])


# Design constants of the stand-in and no science: the literature confirms only the signs of AU4
# and AU12 on valence (Zhang et al. 2024, Sci Rep 14:19563).
_VALENCE = _weights(
    au12=0.8, au4=-0.5, au15=-0.5, au9=-0.4, au10=-0.3, au17=-0.2, au20=-0.2, au23=-0.2, au1=-0.1
)
_AROUSAL = _weights(
    au5=0.5, au26=0.5, au2=0.3, au20=0.3, au25=0.25, au1=0.2, au9=0.2, au12=0.2, au4=0.15,
    au43=-0.7, au15=-0.2,
)  # fmt: skip
_SMILING_EYES = 0.3  # valence of AU6 times AU12
_GAIN, _REST = 1.2, np.array([0.0, -0.1])  # a face at rest is a little calm

# How readily a face uses each unit to reach a point: the visible ones do most of the work.
_READINESS = _weights(
    au1=0.6, au2=0.9, au4=1.5, au5=1.2, au6=1.0, au9=0.5, au10=0.4, au12=1.6, au15=1.5,
    au17=0.3, au20=0.25, au23=0.3, au25=0.8, au26=1.2, au43=1.5,
)  # fmt: skip
_STEPS = 30


def _drive(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rule before its tanh, (2,), and its derivative by the units, (2, 15)."""
    slope = np.stack([_VALENCE, _AROUSAL])
    drive = slope @ units
    drive[0] += _SMILING_EYES * units[_AU6] * units[_AU12]
    slope[0, _AU6] += _SMILING_EYES * units[_AU12]
    slope[0, _AU12] += _SMILING_EYES * units[_AU6]
    return drive, slope


def label(units: ActionUnits) -> tuple[float, float]:
    """Valence and arousal in (-1, 1) of a face that holds these units: the stand-in's only rule."""
    drive, _ = _drive(np.array(astuple(units)))
    valence, arousal = np.tanh(_GAIN * drive + _REST)
    return float(valence), float(arousal)


def units_for(valence: float, arousal: float, rng: np.random.Generator) -> ActionUnits:
    """Random action units whose label lies near the wanted point.

    A few units start slightly active, then damped Newton steps on the rule, each unit moving by
    its readiness times a random ease and kept in [0, 1]: many faces share one label. A point the
    rule cannot reach gives the nearest face found; ask `label` for what it became.
    """
    wanted = np.clip([valence, arousal], -0.98, 0.98)
    goal = (np.arctanh(wanted) - _REST) / _GAIN
    units = rng.uniform(0, 0.3, len(NAMES)) * (rng.random(len(NAMES)) < 0.2)
    ease = _READINESS * rng.gamma(2.5, 0.4, len(NAMES))
    for _ in range(_STEPS):
        drive, slope = _drive(units)
        if np.abs(goal - drive).max() < 1e-3:
            break
        push = slope * ease
        step = np.linalg.solve(push @ slope.T + 1e-6 * np.eye(2), goal - drive)
        units = np.clip(units + push.T @ step, 0, 1)
    return ActionUnits(*units.tolist())


_PROTOTYPES = np.array(
    [
        (0.0, 0.0),  # neutral
        (0.65, 0.15),  # happy
        (-0.6, -0.35),  # sad
        (0.2, 0.75),  # surprise
        (-0.2, 0.8),  # fear
        (-0.75, 0.3),  # disgust
        (-0.55, 0.6),  # anger
        (-0.5, 0.0),  # contempt
    ]
)


def expression(valence: float, arousal: float) -> int:
    """AffectNet's code 0..7 of the nearest prototype in the plane (a convention of ours)."""
    return int(np.argmin(((_PROTOTYPES - (valence, arousal)) ** 2).sum(axis=1)))


def wanted_point(rng: np.random.Generator) -> tuple[float, float]:
    """A point in the unit disc: many near neutral, a happy lobe, an upset one, the rest spread."""
    while True:
        kind = rng.random()
        if kind < 0.15:
            point = rng.normal((0.0, 0.0), 0.12)
        elif kind < 0.37:
            point = rng.normal((0.65, 0.15), 0.2)
        elif kind < 0.5:
            point = rng.normal((-0.5, 0.4), 0.22)
        else:
            point = rng.uniform(-1, 1, 2)
        if np.hypot(*point) <= 0.97:
            return float(point[0]), float(point[1])


# ---------------------------------------------------------------- where everything lies


def _bow(x: np.ndarray, power: float = 1.0) -> np.ndarray:
    """1 in the middle, 0 at x = -1 and 1."""
    return np.clip(1 - x * x, 0, 1) ** power


@dataclass(frozen=True, slots=True)
class Eye:
    """One eye; `side` -1 is at the left of the picture. Lids are given at x in [-1, 1], where -1
    is the outer corner."""

    side: int
    centre: tuple[float, float]
    half: float  # half width
    tilt: float
    upper_height: float  # above the corners; negative when the lid has come down past them
    lower_height: float

    def _lid(self, x: np.ndarray, height: np.ndarray) -> np.ndarray:
        out = self.centre[0] - self.side * self.half * x
        return np.stack([out, self.centre[1] + self.tilt * x + height], axis=-1)

    def upper(self, x: np.ndarray) -> np.ndarray:
        lean = 1 + 0.12 * x  # highest a little inside of the middle
        return self._lid(x, -self.upper_height * _bow(x, 0.7) * lean)

    def lower(self, x: np.ndarray) -> np.ndarray:
        return self._lid(x, self.lower_height * _bow(x, 0.8) * (1 - 0.15 * x))

    def crease(self, x: np.ndarray, gap: float) -> np.ndarray:
        rest = max(self.upper_height, 0.05)
        return self._lid(x, -(rest + gap) * _bow(x, 0.55))


@dataclass(frozen=True, slots=True)
class Mouth:
    """Two lips over x in [-1, 1]; the corners lie at -1 and 1."""

    middle: float  # y of the closed mouth's middle
    half: float  # half width
    corner: float  # y of the corners below `middle`; negative in a smile
    raised: float  # the upper lip's lift
    gap_up: float
    gap_down: float
    upper_lip: float  # thickness
    lower_lip: float

    def _line(self, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        bend = self.corner * np.abs(x) ** 1.8
        return np.stack([self.half * x, self.middle + bend + dy], axis=-1)

    def inner_top(self, x: np.ndarray) -> np.ndarray:
        return self._line(x, -(self.gap_up + self.raised) * _bow(x, 0.8) * (np.abs(x) < 1))

    def inner_bottom(self, x: np.ndarray) -> np.ndarray:
        return self._line(x, self.gap_down * _bow(x, 0.8))

    def outer_top(self, x: np.ndarray) -> np.ndarray:
        cupid = (
            1
            - 0.22 * np.exp(-((x / 0.13) ** 2))
            + 0.12 * np.exp(-(((np.abs(x) - 0.25) / 0.2) ** 2))
        )
        rise = self.upper_lip * _bow(x, 0.9) * cupid
        return self._line(x, -(self.gap_up + self.raised) * _bow(x, 0.8) - rise)

    def outer_bottom(self, x: np.ndarray) -> np.ndarray:
        return self._line(x, self.gap_down * _bow(x, 0.8) + self.lower_lip * _bow(x, 0.75))

    @property
    def opening(self) -> float:
        return self.gap_up + self.gap_down + self.raised


@dataclass(frozen=True, slots=True)
class Geometry:
    """A person with an expression, frontal, before the camera: (n, 2) arrays in face units."""

    eyes: tuple[Eye, Eye]
    brows: tuple[np.ndarray, np.ndarray]  # five points each, left to right in the picture
    nose: np.ndarray  # nine points, landmarks 27..35
    mouth: Mouth
    jaw: np.ndarray  # seventeen points, landmarks 0..16
    drop: float  # how far the jaw has fallen
    crown: float  # y of the top of the skull

    def landmarks(self) -> np.ndarray:
        """(68, 2) in the iBUG order."""
        lid, mouth = np.array([-1 / 3, 1 / 3]), self.mouth
        left, right = self.eyes
        corner = np.array([-1.0]), np.array([1.0])
        return np.concatenate(
            [
                self.jaw,
                *self.brows,
                self.nose,
                left.upper(corner[0]), left.upper(lid), left.upper(corner[1]),
                left.lower(-lid),
                right.upper(corner[1]), right.upper(-lid), right.upper(corner[0]),
                right.lower(lid),
                mouth.outer_top(np.array([-1, -0.6, -0.22, 0, 0.22, 0.6, 1])),
                mouth.outer_bottom(np.array([0.6, 0.25, 0, -0.25, -0.6])),
                mouth.inner_top(np.array([-0.88, -0.3, 0, 0.3, 0.88])),
                mouth.inner_bottom(np.array([0.3, 0, -0.3])),
            ]
        )  # fmt: skip


_JAW = np.array(
    [
        (1.0, 0.0), (1.0, 0.24), (0.975, 0.48), (0.92, 0.72), (0.83, 0.95), (0.69, 1.14),
        (0.50, 1.29), (0.26, 1.385), (0.0, 1.42),
    ]
)  # fmt: skip


def _jaw(person: Identity, drop: float) -> np.ndarray:
    depth = np.clip(_JAW[:, 1] / 1.42, 0, 1)
    wide = _JAW[:, 0] * (1 + (person.jaw - 1) * np.sin(np.pi * depth) ** 0.7)
    wide *= 1 + (person.chin - 1) * 0.6 * np.exp(-(((depth - 0.93) / 0.12) ** 2))
    low = _JAW[:, 1] * person.length + drop * depth**2.2
    half = np.stack([wide * (1 - 0.1 * drop * depth), low], axis=-1)
    mirrored = half * (-1, 1)
    return np.concatenate([mirrored, half[-2::-1]])


def _brow(person: Identity, units: ActionUnits, side: int) -> np.ndarray:
    across = np.linspace(0, 1, 5)  # 0 at the nose
    inner, outer = (1 - across) ** 1.3, across
    x = 0.165 + 0.53 * across - 0.07 * units.au4 * inner
    y = -0.335 * person.brow_height - 0.07 * person.brow_arch * np.sin(np.pi * across**1.4)
    y = y + 0.04 * across
    y = y - units.au1 * 0.17 * inner - units.au2 * 0.17 * outer * (1.25 - 0.4 * across)
    y = y + units.au4 * (0.15 * inner + 0.05) + units.au9 * 0.06 * inner + units.au6 * 0.02
    y = y + units.au43 * 0.03
    brow = np.stack([side * x * person.eye_gap**0.5, y], axis=-1)
    return brow[::-1] if side < 0 else brow


def _eye(person: Identity, units: ActionUnits, side: int) -> Eye:
    size = person.eye_size
    squint = 0.30 * units.au6 + 0.12 * units.au9 + 0.10 * units.au4 + 0.08 * units.au12
    opened = 0.135 * size * (1 + 0.75 * units.au5) * (1 - 0.55 * squint)
    lower = 0.075 * size * (1 + 0.25 * units.au5) * (1 - 1.5 * squint)
    shut, shut_at = min(units.au43, 1.0), 0.035 * size  # a closed lid rests below the corners
    lower = lower + (shut_at - lower) * shut
    upper = opened + (-shut_at - opened) * shut
    centre = (side * 0.43 * person.eye_gap, 0.0)
    return Eye(side, centre, 0.205 * size**0.6, person.eye_tilt, float(upper), float(lower))


def _nose(person: Identity, units: ActionUnits) -> np.ndarray:
    tip = 0.60 * person.nose_length * person.length - 0.04 * units.au9
    bridge = np.stack([np.zeros(4), np.linspace(0.0, tip, 4)], axis=-1)
    wide = 0.185 * person.nose_width * (1 + 0.22 * units.au9 + 0.08 * units.au12)
    x = np.array([-1, -0.5, 0, 0.5, 1]) * wide
    y = tip + np.array([0.06, 0.10, 0.125, 0.10, 0.06])
    y = y - (0.045 * units.au9 + 0.03 * units.au10) * np.array([1.2, 0.8, 0.3, 0.8, 1.2])
    return np.concatenate([bridge, np.stack([x, y], axis=-1)])


def _mouth(person: Identity, units: ActionUnits) -> Mouth:
    tight = 1 - 0.45 * units.au23
    thin = tight * (1 - 0.15 * units.au12) * (1 - 0.2 * units.au20)
    parted = 0.055 * units.au25 + 0.03 * units.au12 * units.au25
    stretch = 0.13 * units.au12 + 0.12 * units.au20 - 0.05 * units.au23 - 0.02 * units.au15
    return Mouth(
        middle=0.955 * person.length - 0.03 * units.au17,
        half=0.345 * person.mouth_width + stretch - 0.06 * units.au26 * (1 - units.au20),
        corner=-0.19 * units.au12 + 0.125 * units.au15 + 0.03 * units.au20 + 0.06 * units.au26,
        raised=0.075 * units.au10 + 0.03 * units.au9 - 0.02 * units.au12,
        gap_up=0.6 * parted + 0.05 * units.au26 + 0.02 * units.au12,
        gap_down=parted + 0.27 * units.au26 - 0.035 * units.au17 * (1 - units.au26),
        upper_lip=0.085 * person.lips * thin,
        lower_lip=0.115 * person.lips * thin * (1 + 0.25 * units.au17),
    )


def exaggerate(units: ActionUnits, factor: float) -> ActionUnits:
    """The same expression acted more or less strongly (its label stays that of `units`)."""
    return ActionUnits(*(factor * value for value in astuple(units)))


def geometry(person: Identity, units: ActionUnits) -> Geometry:
    """Where everything lies on this person with this expression."""
    drop = 0.25 * units.au26 + 0.03 * units.au25 - 0.025 * units.au17
    return Geometry(
        eyes=(_eye(person, units, -1), _eye(person, units, 1)),
        brows=(_brow(person, units, -1), _brow(person, units, 1)),
        nose=_nose(person, units),
        mouth=_mouth(person, units),
        jaw=_jaw(person, drop),
        drop=drop,
        crown=-1.30 * person.length**0.5,
    )
