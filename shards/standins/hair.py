"""Hair, and things worn or held before a face."""

from __future__ import annotations

import numpy as np

from shards.standins.canvas import BLACK, WHITE, Artist, argb, down, moved, tapered
from shards.standins.identity import RGB, mix

_SIDES = (-1, 1)


# Outer and inner edge of the hair round the face from the left ear to the right one, for a crown
# at -1.3: x, y pairs. A `side` parting is mirrored by Identity.side.
_CLOSE = (
    (-1.0, 0.12), (-1.06, -0.3), (-1.03, -0.72), (-0.86, -1.12),
    (-0.48, -1.37), (0.0, -1.44), (0.48, -1.37), (0.86, -1.12),
    (1.03, -0.72), (1.06, -0.3), (1.0, 0.12),
)  # fmt: skip
_FULL = (
    (-1.02, 0.15), (-1.13, -0.3), (-1.12, -0.78), (-0.95, -1.22),
    (-0.55, -1.5), (0.0, -1.58), (0.55, -1.5), (0.95, -1.22),
    (1.12, -0.78), (1.13, -0.3), (1.02, 0.15),
)  # fmt: skip
_RISEN = (
    (-1.0, 0.1), (-1.05, -0.3), (-1.0, -0.72), (-0.85, -1.2),
    (-0.55, -1.6), (0.05, -1.78), (0.6, -1.66), (0.9, -1.25),
    (1.02, -0.72), (1.05, -0.3), (1.0, 0.1),
)  # fmt: skip
_CURTAIN = (
    (-0.98, 1.15), (-1.17, 0.4), (-1.2, -0.4), (-1.02, -1.12),
    (-0.55, -1.46), (0.1, -1.52), (0.6, -1.44), (1.03, -1.12),
    (1.2, -0.4), (1.17, 0.4), (0.98, 1.15),
)  # fmt: skip
_ROUND = (
    (-0.95, 0.12), (-0.945, -0.2), (-0.93, -0.48), (-0.8, -0.72),
    (-0.42, -0.9), (0.0, -0.93), (0.42, -0.9), (0.8, -0.72),
    (0.93, -0.48), (0.945, -0.2), (0.95, 0.12),
)  # fmt: skip
_PARTED = (
    (-0.95, 0.12), (-0.95, -0.2), (-0.93, -0.42), (-0.8, -0.6),
    (-0.42, -0.72), (0.05, -0.86), (0.42, -1.02), (0.72, -0.84),
    (0.92, -0.52), (0.945, -0.2), (0.95, 0.12),
)  # fmt: skip
_CURTAINED = (
    (-0.86, 1.12), (-0.95, 0.4), (-0.94, -0.1), (-0.86, -0.5),
    (-0.5, -0.8), (0.12, -1.06), (0.5, -0.86), (0.86, -0.5),
    (0.94, -0.1), (0.95, 0.4), (0.86, 1.12),
)  # fmt: skip
_FRINGED = (
    (-0.95, 0.2), (-0.945, -0.1), (-0.92, -0.32), (-0.7, -0.42),
    (-0.36, -0.38), (0.0, -0.42), (0.36, -0.38), (0.7, -0.42),
    (0.92, -0.32), (0.945, -0.1), (0.95, 0.2),
)  # fmt: skip
_EDGES = {
    "short": (_CLOSE, _ROUND), "buzz": (_CLOSE, _ROUND), "side": (_FULL, _PARTED),
    "quiff": (_RISEN, _ROUND), "bob": (_CURTAIN, _CURTAINED), "long": (_CURTAIN, _CURTAINED),
    "wavy": (_CURTAIN, _CURTAINED), "tail": (_CLOSE, _ROUND), "fringe": (_FULL, _FRINGED),
    "curly": (_FULL, _ROUND),
}  # fmt: skip


def paint_hair_behind(artist: Artist) -> None:
    style, hair = artist.person.hair_style, artist.person.hair
    if style == "tail":
        tail = [
            (0.7, -0.9),
            (1.2, -0.75),
            (1.42, -0.1),
            (1.36, 0.7),
            (1.12, 1.3),
            (1.0, 0.4),
            (0.9, -0.2),
        ]
        artist.fill(np.array(tail) * (artist.person.side, 1), mix(hair, BLACK, 0.3), lift=-0.3)
        lock = np.array([(1.0, -0.75), (1.22, -0.1), (1.22, 0.6), (1.12, 1.2)])
        locks = np.stack([moved(lock, k, 0) for k in (-0.07, 0.0, 0.07)]) * (artist.person.side, 1)
        artist.line(locks, 0.03, mix(hair, WHITE, 0.15), 0.4, lift=-0.3)
    if style in ("bob", "long", "wavy"):
        _falling(artist, low=1.22 if style == "bob" else 2.4, wave=0.07 * (style == "wavy"))
    if style == "curly":
        angle = np.linspace(1.24, -0.24, 11) * np.pi
        outer = np.stack([1.36 * np.cos(angle), -0.35 - 1.2 * np.sin(angle)], axis=-1)
        _curls(artist, outer, 0.5 * outer, mix(hair, BLACK, 0.35))


def _falling(artist: Artist, low: float, wave: float) -> None:
    """Hair that hangs behind the shoulders."""
    hair, t = artist.person.hair, np.linspace(0, 1, 14)
    x = 0.95 + 0.36 * np.sin(2.2 * t) + wave * np.sin(15 * t)
    right = np.stack([x, -0.8 + (low + 0.8) * t], axis=-1)
    right[-1, 0] -= 0.2  # tips turn inwards
    artist.fill(
        np.concatenate([right, (right * (-1, 1))[::-1]]), mix(hair, BLACK, 0.45), lift=-0.35
    )
    locks = [right * (side * share, 1) for side in _SIDES for share in (0.95, 0.88, 0.8)]
    artist.line(locks, 0.03, mix(hair, WHITE, 0.1), 0.35, lift=-0.35)


def paint_hair(artist: Artist) -> None:
    person, crown = artist.person, artist.face.crown
    if person.hair_style == "bald":
        artist.glow(0.3 * artist.scene.light, 0.74 * crown, (0.42, 0.17), WHITE, 0.4)
        return
    mirror = np.array([person.side, crown / -1.3])
    outer, inner = (np.array(edge) * mirror for edge in _EDGES[person.hair_style])
    if person.hair_style == "curly":
        _curls(artist, outer, inner, person.hair)
        return
    alpha = 0.6 if person.hair_style == "buzz" else 1.0
    tones = ((BLACK, 0.12), (WHITE, 0.1), (BLACK, 0.4))
    stops = (argb(mix(person.hair, tone, share), alpha) for tone, share in tones)
    shape = np.concatenate([outer, inner[::-1]])
    artist.fill(shape, person.hair, lift=0.03, shader=down(1.2 * crown, 0.25, *stops))
    _combed(artist, outer, inner, alpha)


def _combed(artist: Artist, outer: np.ndarray, inner: np.ndarray, alpha: float) -> None:
    """Strands and a band of shine that run between the two edges."""
    person, rng = artist.person, artist.strands()
    for tone, width in ((WHITE, 0.016), (BLACK, 0.02)):
        shares, firsts = rng.uniform(0.03, 0.97, 10), rng.integers(0, 6, 10)
        strands = [
            (outer + share * (inner - outer))[first : first + 6]
            for share, first in zip(shares, firsts, strict=True)
        ]
        artist.line(strands, width, mix(person.hair, tone, 0.35), 0.4 * alpha, lift=0.03)
    middle = (0.5 * outer + 0.5 * inner)[3:8]
    for width in (0.2, 0.1):
        artist.line(middle, width, mix(person.hair, WHITE, 0.5), 0.07 * alpha, lift=0.03)
    if person.hair_style != "fringe":  # a soft hairline
        artist.line(moved(inner[2:-2], 0, -0.01), 0.05, person.hair, 0.3 * alpha, lift=0.03)


def _curls(artist: Artist, outer: np.ndarray, inner: np.ndarray, colour: RGB) -> None:
    """A bumpy mass between two edges, full of little rings."""
    rng, t = artist.strands(), np.linspace(0, 10, 73)
    edge, rim = (
        np.stack([np.interp(t, range(11), curve[:, k]) for k in (0, 1)], axis=-1)
        for curve in (outer, inner)
    )
    edge *= 1 + 0.05 * np.abs(np.sin(2 * t))[:, None]
    rim[:, 1] -= 0.035 * np.abs(np.sin(2.5 * t))
    stops = [argb(mix(colour, tone, share)) for tone, share in ((WHITE, 0.1), (BLACK, 0.3))]
    artist.fill(
        np.concatenate([edge, rim[::-1]]), colour, lift=0.02, shader=down(-1.4, 0.2, *stops)
    )
    for tone in (WHITE, BLACK):
        at, share = rng.integers(2, 71, 45), rng.uniform(0.06, 0.94, (45, 1))
        turn = np.linspace(0, 4.4, 6) + rng.uniform(0, 6, (45, 1))
        size = rng.uniform(0.035, 0.08, (45, 1))
        ring = np.stack([size * np.cos(turn), size * np.sin(turn)], axis=-1)
        middle = edge[at] + share * (rim[at] - edge[at])
        artist.line(ring + middle[:, None], 0.022, mix(colour, tone, 0.4), 0.35, lift=0.02)


def paint_glasses(artist: Artist) -> None:
    kind = artist.person.glasses
    if kind is None:
        return
    frame = (0.10, 0.09, 0.10) if kind == "square" else (0.52, 0.38, 0.20)
    power = 0.5 if kind == "square" else 1.0
    angle = np.linspace(0, 2 * np.pi, 25)
    wave = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    rim = np.sign(wave) * np.abs(wave) ** power * (0.33, 0.26)
    (left, _), (right, _) = (eye.centre for eye in artist.face.eyes)
    rims = [moved(rim, left, 0.05), moved(rim, right, 0.05)]
    for shape in rims:
        artist.fill(shape[:-1], WHITE, 0.08, lift=0.14)
    gleams = [[(x - 0.18, 0.12), (x - 0.06, -0.1)] for x in (left, right)]
    artist.line(gleams, 0.05, WHITE, 0.18, lift=0.14)
    bridge = [(left + 0.32, 0.0), (0, -0.05), (right - 0.32, 0.0)]
    arms = [[(left - 0.32, -0.02), (-1.02, -0.06)], [(right + 0.32, -0.02), (1.02, -0.06)]]
    artist.line(arms, 0.045, frame)
    artist.line(rims, 0.045, frame, lift=0.14)
    artist.line(bridge, 0.045, frame, lift=0.14)


def paint_occluder(artist: Artist) -> None:
    paint_it = {"hand": _hand, "scarf": _scarf, "strands": _loose_strands, "mug": _mug}
    if artist.scene.occluder is not None:
        paint_it[artist.scene.occluder](artist)


def _hand(artist: Artist) -> None:
    side, low = artist.person.side, artist.face.jaw[8, 1]
    palm = [(0.3, 0.25), (1.12, 0.25), (1.3, 0.9), (1.2, 1.6), (0.6, 1.6), (0.3, 0.8)]
    artist.fill(moved(palm, 0, low) * (side, 1), artist.shade(0.2), lift=0.1)
    for k in range(4):
        finger = np.array(
            [(0, 0.1), (-side * 0.1, -0.5), (-side * 0.16, -0.85 + 0.07 * abs(k - 1))]
        )
        finger = moved(finger, side * (1.02 - 0.2 * k), low + 0.35)
        artist.line(finger, 0.21, artist.shade(0.7), lift=0.1)
        artist.line(finger, 0.18, artist.shade(0.08), lift=0.1)
        x, y = finger[2].tolist()
        artist.glow(x, y, (0.07, 0.09), artist.shine(0.6), 0.7, lift=0.1)


def _scarf(artist: Artist) -> None:
    colour = mix(artist.person.clothes, (0.75, 0.25, 0.2), 0.5)
    edge = np.array([(-1.2, 1.0), (-0.7, 1.16), (0, 1.1), (0.7, 1.18), (1.2, 1.0)])
    artist.fill(np.concatenate([edge, [(1.5, 2.6), (-1.5, 2.6)]]), colour, lift=0.06)
    artist.line(
        [moved(edge * (0.95, 1), 0, d) for d in (0.16, 0.36, 0.58)],
        0.06,
        mix(colour, BLACK, 0.3),
        0.6,
    )


def _loose_strands(artist: Artist) -> None:
    side, crown, hair = artist.person.side, artist.face.crown, artist.person.hair
    fall = np.array([(0.05, 0.78 * crown), (0.22, -0.6), (0.36, -0.1), (0.34, 0.35), (0.24, 0.7)])
    spread = np.array([(0.1, 0), (0.6, 0), (1, 0), (1, 0), (0.6, 0)])
    for k, tone in enumerate((BLACK, hair, hair, WHITE, hair)):
        lock = (fall + (0.09 * k - 0.1) * spread) * (side, 1)
        artist.fill(tapered(lock, 0.1), mix(hair, tone, 0.15), lift=0.1)


def _mug(artist: Artist) -> None:
    low = artist.face.mouth.middle + 0.1
    cup = [(-0.48, low), (0.0, low + 0.07), (0.48, low), (0.44, low + 2), (-0.44, low + 2)]
    colour = mix(artist.scene.backdrop, WHITE, 0.6)
    artist.fill(cup, colour, lift=0.3)
    artist.line(
        [(-0.48, low), (0, low + 0.07), (0.48, low)], 0.05, mix(colour, BLACK, 0.2), lift=0.3
    )
