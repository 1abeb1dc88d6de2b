"""Paint a face: geometry becomes pixels, back to front, one function a part.

Nothing here decides where a lip lies (`anatomy.py`) or how a head is turned (`scene.py`).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from shards.standins.anatomy import ActionUnits, Eye, Geometry
from shards.standins.canvas import (
    BLACK,
    WHITE,
    Artist,
    Canvas,
    argb,
    down,
    linear,
    moved,
    radial,
    tapered,
)
from shards.standins.hair import paint_glasses, paint_hair, paint_hair_behind, paint_occluder
from shards.standins.identity import Identity, mix
from shards.standins.scene import Camera, Scene
from shards.standins.wild.looks import developed
from shards.standins.wild.relief import light_on

_X = np.linspace(-1, 1, 13)  # along a lid or a lip
_SIDES = (-1, 1)
_MIRROR = np.array([[-1, 1], [1, 1]])[:, None, :]  # a right curve to both: (2, n, 2)


def paint(
    person: Identity, units: ActionUnits, face: Geometry, scene: Scene, camera: Camera, size: int
) -> np.ndarray:
    """The picture, (size, size, 3) uint8 RGB."""
    rng = np.random.default_rng([scene.grain, person.grain])
    canvas = Canvas(size, scene.blur)
    _backdrop(canvas, scene, rng)
    with canvas.mapped(camera.matrix):
        _portrait(Artist(canvas.skia, camera, person, units, face, scene))
    _shadow_side(canvas, scene)
    pixels = canvas.finish()
    if (look := scene.look) is not None:
        light = None if look.style == "plain" else light_on(face, units, camera, look, size)
        pixels = developed(pixels, look, light, rng)
    return _develop(pixels, scene, rng)


def _portrait(artist: Artist) -> None:
    paint_hair_behind(artist)
    _neck(artist)
    _clothes(artist)
    _ears(artist)
    _skin(artist)
    _cheeks(artist)
    _wrinkles(artist)
    _folds(artist)
    _beard(artist)
    _mouth(artist)
    _nose(artist)
    for eye, brow in zip(artist.face.eyes, artist.face.brows, strict=True):
        _eye(artist, eye)
        _brow(artist, eye.side, brow)
    paint_hair(artist)
    paint_glasses(artist)
    paint_occluder(artist)


# ---------------------------------------------------------------- around the head


def _backdrop(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    size = canvas.size
    tones = [argb(mix(scene.backdrop, WHITE, 0.3)), argb(mix(scene.backdrop, BLACK, 0.22))]
    canvas.flood(radial(((0.5 + 0.25 * scene.light) * size, 0.3 * size), size, tones))
    for _ in range(scene.lights):
        x, y, radius = (size * rng.uniform([0, 0, 0.03], [1, 1, 0.14])).tolist()
        red, green, blue = rng.uniform(0.1, 1, 3).tolist()
        colour = mix(scene.backdrop, (red, green, blue), 0.6)
        canvas.disc(x, y, radius, argb(colour, rng.uniform(0.15, 0.5)))


def _shadow_side(canvas: Canvas, scene: Scene) -> None:
    """The side away from the light falls into shadow."""
    size = canvas.size
    strength = 0.75 * scene.contrast * min(abs(scene.light) + 0.25, 1.0)
    dark, lit = (size, 0.35 * size) if scene.light < 0 else (0, 0.65 * size)
    night = (0.10, 0.05, 0.10)
    canvas.flood(
        linear((dark, 0.6 * size), (lit, 0.4 * size), argb(night, strength), argb(night, 0))
    )


@cache
def _grain() -> np.ndarray:
    """Standard noise to cut pieces from: fresh noise would cost as much as all the painting."""
    return np.random.default_rng(0).standard_normal((1024, 1024), np.float32)


def _develop(pixels: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Colour of the light, exposure and sensor noise."""
    size = len(pixels)
    x, y = rng.integers(1024 - size, size=2)
    noise = (scene.noise * _grain()[y : y + size, x : x + size]).astype(np.int16)
    tint = scene.exposure * np.array([1 + scene.warmth, 1, 1 - scene.warmth])
    levels = np.clip(np.arange(256)[:, None] * tint + 0.5, 0, 255).astype(np.int16)
    image = np.empty(pixels.shape, np.uint8)
    for channel in range(3):
        exposed = levels[:, channel].take(pixels[..., channel])
        exposed += noise
        image[..., channel] = exposed.clip(0, 255)
    return image


def _neck(artist: Artist) -> None:
    chin, low = artist.face.jaw[8, 1], artist.face.jaw[8, 1] - artist.face.drop
    wide = 0.28 + 0.28 * artist.person.jaw
    right = [(wide, 0.7), (wide - 0.02, low + 0.1), (wide + 0.12, low + 0.38), (1.3, low + 0.62)]
    shape = [*right, (1.3, low + 1.4), *((-x, y) for x, y in [(1.3, low + 1.4), *right[::-1]])]
    artist.fill(shape, artist.shade(0.3), lift=-0.1)
    with artist.inside(shape, lift=-0.1):
        artist.glow(0.0, chin - 0.02, (0.85, 0.45), artist.shade(1.0), 0.8, lift=-0.3)
    tendons = [
        [(s * 0.3, low + 0.22), (s * 0.2, low + 0.45), (s * 0.07, low + 0.62)] for s in _SIDES
    ]
    artist.folds(tendons, 0.25, 0.03)


def _clothes(artist: Artist) -> None:
    low = artist.face.jaw[8, 1] - artist.face.drop + 0.36
    colour, collar = artist.person.clothes, artist.person.collar
    dip = {"round": 0.3, "v": 0.7, "shirt": 0.5}[collar]
    bow = 0.75 if collar == "round" else 0.5
    neckline = [
        (-0.72, low),
        (-0.42, low + bow * dip),
        (0, low + dip),
        (0.42, low + bow * dip),
        (0.72, low),
    ]
    shoulder = [(1.3, low + 0.13), (1.95, low + 0.4), (2.3, low + 1.0), (2.4, 4.0)]
    shape = [*neckline, *shoulder, *((-x, y) for x, y in shoulder[::-1])]
    light, dark = argb(mix(colour, WHITE, 0.12)), argb(mix(colour, BLACK, 0.35))
    artist.fill(shape, colour, lift=-0.1, shader=down(low, low + 0.9, light, dark))
    artist.line(neckline, 0.05, mix(colour, BLACK, 0.35), 0.8, lift=-0.1)
    if collar == "shirt":
        for side in _SIDES:
            flap = [(side * 0.7, low - 0.1), (side * 0.38, low + 0.22), (side * 0.04, low + dip),
                    (side * 0.34, low + 0.72), (side * 0.78, low + 0.2)]  # fmt: skip
            artist.fill(flap, mix(colour, WHITE, 0.3), lift=-0.08)
            artist.line(flap[2:], 0.02, mix(colour, BLACK, 0.3), 0.6, lift=-0.08)
    else:
        artist.line(
            moved(np.array(neckline), 0, 0.05), 0.035, mix(colour, WHITE, 0.3), 0.7, lift=-0.1
        )


def _ears(artist: Artist) -> None:
    size = artist.person.ears
    for side in _SIDES:
        rim = np.array([(-0.08, -0.14), (0.07, -0.2), (0.15, -0.08), (0.13, 0.12), (0.05, 0.3),
                        (-0.04, 0.38), (-0.1, 0.3)])  # fmt: skip
        shape = rim * (side * size, size) + (side * 0.99, 0.02)
        artist.fill(shape, artist.shade(0.12), lift=-0.08)
        artist.line(shape[:6] * (0.985, 1) + (0, 0.02), 0.03, artist.shade(0.7), 0.35, lift=-0.08)
        artist.glow(side * 1.02, 0.08, (0.08, 0.16), artist.shade(1.0), 0.7, lift=-0.08)
        if artist.person.earrings:
            artist.dot(side * 1.04, 0.44 * size, 0.045, (0.85, 0.66, 0.25))
            artist.dot(side * 1.03, 0.43 * size, 0.018, (1.0, 0.95, 0.75))


# ---------------------------------------------------------------- skin


def _head(face: Geometry) -> np.ndarray:
    """The outline: jaw from left to right, then back over the skull."""
    angle = np.linspace(0.1, 0.9, 11) * np.pi
    skull = np.stack([1.01 * np.cos(angle), face.crown * np.sin(angle) ** 0.85], axis=-1)
    return np.concatenate([face.jaw, skull])


def _skin(artist: Artist) -> None:
    face, scene = artist.face, artist.scene
    head = artist.path(_head(face))
    rim = artist.shade(0.3 + 0.4 * scene.contrast)
    stops = [argb(artist.shine(0.25)), argb(artist.person.skin), argb(rim)]
    shader = radial((0.4 * scene.light, -0.1), 1.7, stops, [0, 0.5, 1])
    artist.fill(head, artist.person.skin, shader=shader)
    with artist.inside(head):
        for side in _SIDES:
            artist.glow(side * 0.43, -0.06, (0.38, 0.24), artist.shade(0.7), 0.3)
            artist.glow(side * 1.02, 0.85, (0.42, 0.7), artist.shade(0.8), 0.3)
            artist.glow(side * 1.02, -0.45, (0.3, 0.5), artist.shade(0.8), 0.25)
        artist.glow(0.25 * scene.light, -0.6, (0.55, 0.26), artist.shine(0.7), 0.35)
        artist.glow(0.0, face.jaw[8, 1] - 0.15, (0.22, 0.13), artist.shine(0.6), 0.3)
        artist.glow(0.0, face.jaw[8, 1] + 0.02, (0.6, 0.12), artist.shade(0.8), 0.35)
        if artist.person.hair_style != "bald":
            artist.glow(0.0, -0.98, (1.1, 0.36), artist.shade(1.0), 0.5)


def _cheeks(artist: Artist) -> None:
    person, units = artist.person, artist.units
    raised = 0.12 * max(units.au6, 0.6 * units.au12)
    rosy = mix(artist.shade(0.15), (0.90, 0.30, 0.30), 0.45)
    apple = 0.25 + 0.45 * units.au6 + 0.3 * units.au12
    for side in _SIDES:
        artist.glow(side * 0.62, 0.50 - raised, (0.38, 0.30), rosy, 0.42 * person.blush)
        artist.glow(side * 0.57, 0.38 - raised, (0.24, 0.14), artist.shine(0.75), 0.5 * apple)
    if person.freckles:
        rng = artist.strands()
        for x, y in rng.normal((0, 0.36), (0.4, 0.11), (30, 2)).tolist():
            artist.dot(x, y, 0.013, artist.shade(0.7), 0.45)


def _wrinkles(artist: Artist) -> None:
    """Lines of the upper face: brows raised or knit, a wrinkled nose, eyes that smile, age."""
    face, units, age = artist.face, artist.units, artist.person.age
    raised, old = max(units.au1, units.au2), max(age - 0.45, 0.0)
    x = np.linspace(-0.5, 0.5, 9)
    for row, y in enumerate((-0.57, -0.68, -0.79)):
        wave = y - 0.09 * raised + 0.06 * x**2 + 0.015 * np.cos(7 * x + row)
        line = np.stack([x * (1 - 0.1 * row), wave], axis=-1)
        artist.folds([line], 0.75 * raised + 0.7 * old, 0.02)
    frown = [[(s * 0.075, -0.5), (s * 0.058, -0.36), (s * 0.085, -0.2)] for s in _SIDES]
    artist.folds(frown, 1.1 * units.au4 + 0.3 * old, 0.036)
    bunny = np.array(
        [[(0.13, 0.17), (0.07, 0.13), (0, 0.15)], [(0.16, 0.25), (0.07, 0.21), (0, 0.23)]]
    )
    bunny = np.concatenate([bunny, bunny * (-1, 1)])
    artist.folds(bunny, 0.9 * units.au9, 0.022)
    feet, bags = [], []
    for eye in face.eyes:
        corner = eye.upper(np.array([-1.0]))[0]
        for k in (-1, 0, 1):
            start = moved(corner, eye.side * 0.07, 0.035 * k + 0.01)
            foot = np.array([(0, 0), (0.08 * eye.side, 0.03 * k), (0.15 * eye.side, 0.075 * k)])
            feet.append(start + foot)
        bags.append(moved(eye.lower(_X[2:-2]), 0, 0.075))
    artist.folds(feet, 0.95 * units.au6 + 0.8 * old, 0.018)
    artist.folds(bags, 0.12 + 0.4 * age + 0.45 * units.au6, 0.018)


def _folds(artist: Artist) -> None:
    """Lines of the lower face: beside nose and mouth, and the chin's dimples."""
    face, units, age = artist.face, artist.units, artist.person.age
    mouth, old = face.mouth, max(age - 0.5, 0.0)
    t = np.linspace(0, 1, 7)[:, None]
    end = np.array([mouth.half + 0.1, mouth.middle + mouth.corner + 0.03])
    start = np.array([face.nose[8, 0] + 0.06, face.nose[8, 1] - 0.08])
    fold = start + (end - start) * t + np.array([0.05, -0.03]) * np.sin(np.pi * t)
    depth = 0.8 * units.au12 + 0.6 * units.au9 + 0.5 * units.au10 + 0.25 * units.au20 + 0.8 * old
    artist.folds([fold, fold * (-1, 1)], min(depth, 1.0), 0.03)
    sag = np.array([(0.05, 0.05), (0.09, 0.13), (0.08, 0.22)])
    sag = moved(sag, mouth.half, mouth.middle + mouth.corner)
    artist.folds([sag, sag * (-1, 1)], 0.9 * units.au15 + 0.5 * old, 0.028)
    if units.au17 > 0.1:
        low = face.jaw[8, 1] - 0.24
        for x in (-0.12, 0.0, 0.12):
            artist.glow(x, low + 0.03 * abs(x), (0.06, 0.05), artist.shade(0.9), 0.6 * units.au17)


def _beard(artist: Artist) -> None:
    kind, face = artist.person.beard, artist.face
    if kind is None:
        return
    mouth, chin, under = face.mouth, face.jaw[8, 1], face.nose[6, 1] + 0.045
    top = moved(mouth.outer_top(_X) * (1.15, 1), 0, 0.01)
    shapes = [np.concatenate([top, np.linspace((0.3, under), (-0.3, under), 5)])]
    if kind in ("full", "stubble"):
        edge = np.array([(0.9, 0.45), (0.78, 0.78), (mouth.half + 0.14, mouth.middle - 0.06)])
        below = moved(mouth.outer_bottom(_X[-2:0:-1]), 0, 0.09)
        jaw = face.jaw[2:15] * (1.0, 1.045 if kind == "full" else 1.0)
        shapes.append(np.concatenate([jaw, edge, below, edge[::-1] * (-1, 1)]))
    if kind == "goatee":
        below = moved(mouth.outer_bottom(_X[3:-3]), 0, 0.07)
        tip = [(0.27, chin - 0.1), (0.16, chin + 0.05), (-0.16, chin + 0.05), (-0.27, chin - 0.1)]
        shapes.append(np.concatenate([below, tip]))
    for shape in shapes:
        _grown(artist, shape, thin=kind == "stubble")


def _grown(artist: Artist, shape: np.ndarray, thin: bool) -> None:
    """An area of beard: a soft ground with lighter and darker bristles."""
    hair = artist.person.hair
    colour, alpha = (mix(hair, artist.shade(0.8), 0.4), 0.32) if thin else (hair, 0.93)
    rng = artist.strands()
    low, high = shape.min(axis=0), shape.max(axis=0)
    tones = argb(mix(colour, WHITE, 0.08), alpha), argb(mix(colour, BLACK, 0.3), alpha)
    artist.fill(shape, colour, shader=down(low[1], high[1], *tones))
    with artist.inside(shape):
        for tone in (mix(colour, WHITE, 0.25), mix(colour, BLACK, 0.5)):
            roots = rng.uniform(low, high, (60, 2))
            tips = moved(roots * (1.03, 1), 0, 0.09)
            artist.line(np.stack([roots, tips], axis=1), 0.012, tone, 0.5 * alpha)


# ---------------------------------------------------------------- mouth and nose


def _mouth(artist: Artist) -> None:
    mouth, person = artist.face.mouth, artist.person
    top, bottom = mouth.inner_top(_X), mouth.inner_bottom(_X)
    under = mouth.middle + mouth.gap_down + mouth.lower_lip
    artist.glow(0, under + 0.05, (0.3, 0.085), artist.shade(0.9), 0.5)
    ridge = [(0.05, artist.face.nose[6, 1] + 0.05), (0.06, mouth.outer_top(_X)[6, 1] - 0.02)]
    philtrum = ridge * _MIRROR
    artist.line(philtrum, 0.03, artist.shade(0.5), 0.25)
    if mouth.opening > 0.012:
        hole = np.concatenate([top, bottom[::-1]])
        artist.fill(hole, (0.22, 0.05, 0.06))
        with artist.inside(hole):
            _teeth_and_tongue(artist)
    _lip(artist, np.concatenate([mouth.outer_top(_X), top[::-1]]), 0.08, 0.3)
    _lip(artist, np.concatenate([bottom, mouth.outer_bottom(_X)[::-1]]), -0.08, 0.14)
    gloss = mix(person.lip, WHITE, 0.7)
    y = mouth.middle + mouth.gap_down + 0.42 * mouth.lower_lip
    artist.glow(
        0.08 * artist.scene.light, y, (0.5 * mouth.half, 0.04), gloss, 0.5 + 0.3 * person.makeup
    )
    artist.line(moved(mouth.outer_top(_X[4:9]), 0, -0.008), 0.014, artist.shine(0.6), 0.4)
    if mouth.opening <= 0.03:
        artist.fill(tapered((top + bottom) / 2, 0.04), mix(person.lip, (0.16, 0.02, 0.03), 0.75))
    for side in _SIDES:
        corner = mouth.middle + mouth.corner
        artist.glow(side * (mouth.half + 0.01), corner, (0.07, 0.055), artist.shade(1.2), 0.75)


def _lip(artist: Artist, shape: np.ndarray, above: float, below: float) -> None:
    """One lip, darkened towards black by `above` and `below` at its edges; minus lightens."""
    lip = artist.person.lip
    first, last = (mix(lip, BLACK if k > 0 else WHITE, abs(k)) for k in (above, below))
    low, high = shape[:, 1].min(), shape[:, 1].max()
    artist.fill(shape, lip, shader=down(low, high + 0.01, argb(first), argb(last)))


def _teeth_and_tongue(artist: Artist) -> None:
    mouth, units = artist.face.mouth, artist.units
    floor = mouth.middle + mouth.gap_down
    if mouth.gap_down > 0.1:
        artist.glow(0, floor + 0.05, (0.75 * mouth.half, 0.2), (0.84, 0.36, 0.38), 1.0)
        artist.line([(0, floor - 0.06), (0, floor + 0.02)], 0.02, (0.55, 0.16, 0.2), 0.5)
    shown = min(0.3 + max(units.au12, units.au10, units.au9, 0.8 * units.au20), 1.0)
    deep = min(0.13 * shown, 0.03 + 0.75 * mouth.opening)
    top = mouth.inner_top(_X) * (0.95, 1)
    edge = top + np.stack([0 * _X, deep * np.clip(1 - _X**2, 0, 1) ** 0.4], axis=-1)
    teeth = np.concatenate([moved(top, 0, -0.05), edge[::-1]])
    high = mouth.middle - mouth.gap_up - mouth.raised
    white, grey = argb((0.93, 0.91, 0.87)), argb((1.0, 0.99, 0.96))
    artist.fill(teeth, WHITE, shader=down(high, high + deep, white, grey))
    x = np.array([-0.72, -0.5, -0.26, 0, 0.26, 0.5, 0.72])
    roots = mouth.inner_top(x) * (0.95, 1)
    tips = roots + np.stack([0 * x, deep * (1 - x**2) ** 0.4], axis=-1)
    artist.line(np.stack([roots, tips], axis=1), 0.008, (0.55, 0.45, 0.42), 0.4)
    artist.line(moved(top, 0, 0.01), 0.035, (0.25, 0.06, 0.08), 0.3)


def _nose(artist: Artist) -> None:
    nose, units, scene = artist.face.nose, artist.units, artist.scene
    tip, low, wide = nose[3, 1], nose[8, 1], nose[8, 0]
    away = 1 if scene.light < 0 else -1
    for side, depth in ((away, 0.3 + 0.3 * scene.contrast), (-away, 0.14)):
        x = side * np.array([0.16, 0.085, 0.1, 0.16])
        flank = np.stack([x, [-0.16, 0.05, 0.5 * tip, tip]], axis=-1)
        artist.line(flank, 0.11, artist.shade(0.8), 0.35 * depth, lift=0.06)
        artist.line(flank, 0.05, artist.shade(0.9), 0.4 * depth, lift=0.06)
    artist.glow(0, tip + 0.13, (wide * 1.4, 0.1), artist.shade(1.1), 0.6, lift=0.14)
    for side in _SIDES:
        artist.glow(side * 0.8 * wide, low - 0.05, (0.11, 0.1), artist.shine(0.3), 0.5, lift=0.13)
    artist.glow(0, 0.45 * tip, (0.055, 0.42 * tip), artist.shine(0.9), 0.4, lift=0.14)
    artist.glow(0.03 * scene.light, tip - 0.03, (0.13, 0.1), artist.shine(1.0), 0.6, lift=0.24)
    wing = np.array([(0.86, -0.13), (1.03, -0.1), (1.09, -0.03), (1.0, 0.025)]) * (wide, 1)
    wings = moved(wing, 0, low) * _MIRROR
    artist.line(wings, 0.05, artist.shade(0.9), 0.18, lift=0.12)
    artist.fill(tapered(wings, 0.026), artist.shade(1.1), 0.6, lift=0.12)
    hole = np.array([(0.26, 0.035), (0.55, -0.008), (0.8, 0.01), (0.54, 0.045)])
    holes = moved(hole * (wide, 1 + 0.6 * units.au9), 0, low + 0.01) * _MIRROR
    artist.fill(holes, mix(artist.shade(1.4), (0.15, 0.04, 0.04), 0.5), 0.85, lift=0.15)


# ---------------------------------------------------------------- eyes and brows


def _eye(artist: Artist, eye: Eye) -> None:
    upper, lower = eye.upper(_X), eye.lower(_X)
    lash = mix(mix(artist.person.hair, BLACK, 0.8), artist.shade(1.0), 0.15)
    if eye.upper_height + eye.lower_height > 0.012:
        shape = artist.path(np.concatenate([upper, lower[::-1]]))
        artist.fill(shape, (0.97, 0.96, 0.95))
        with artist.inside(shape):
            _iris(artist, eye)
            artist.line(moved(upper, 0, 0.02), 0.07, (0.2, 0.12, 0.15), 0.28)
            x, y = upper[-1].tolist()
            artist.glow(x, y, (0.06, 0.05), (0.86, 0.5, 0.48), 0.9)
    _lid(artist, eye, upper)
    artist.line(lower, 0.03, artist.shine(0.5), 0.35)
    artist.line(lower, 0.014, artist.shade(1.1), 0.6)
    makeup = artist.person.makeup
    artist.fill(tapered(np.concatenate([upper[:1], upper]), 0.05 + 0.015 * makeup), lash, 0.95)
    x = np.linspace(-1, 0.1, 6)
    reach = (0.035 + 0.03 * makeup) * np.linspace(1, 0.5, 6)
    fall = 0.5 if artist.units.au43 > 0.7 else -0.8  # lashes of a shut eye point down
    roots = eye.upper(x)
    tips = roots + np.stack([-0.8 * reach * x * eye.side, fall * reach], axis=-1)
    artist.line(np.stack([roots, tips], axis=1), 0.014, lash, 0.5 + 0.5 * makeup)


def _iris(artist: Artist, eye: Eye) -> None:
    colour, (right, down) = artist.person.iris, artist.scene.gaze
    x, y = eye.centre[0] + 0.07 * right, eye.centre[1] - 0.025 + 0.03 * down
    artist.ball(x, y, 0.118, [mix(colour, WHITE, 0.45), colour, mix(colour, BLACK, 0.7)])
    artist.dot(x, y, 0.052, (0.03, 0.02, 0.03))
    lit = 0.045 if artist.scene.light > 0 else -0.045
    artist.dot(x + lit, y - 0.045, 0.03, WHITE, 0.95)
    artist.dot(x - lit, y + 0.05, 0.014, WHITE, 0.5)


def _lid(artist: Artist, eye: Eye, upper: np.ndarray) -> None:
    """The skin between crease and lashes: a band over an open eye, all of a shut one."""
    shut = min(artist.units.au43, 1.0)
    crease = eye.crease(_X, 0.055 * (1 - 0.6 * min(artist.units.au5, 1.0)) + 0.03 * shut)
    tone = mix(artist.shade(0.35), (0.42, 0.22, 0.34), 0.4 * artist.person.makeup)
    middle = mix(artist.shine(0.1), tone, 0.4)
    high, low = float(crease[:, 1].min()), float(upper[:, 1].max())
    shader = down(high, low, argb(tone, 0.9), argb(middle, 0.95), argb(tone, 0.9))
    artist.fill(np.concatenate([crease, upper[::-1]]), tone, shader=shader)
    artist.fill(tapered(crease, 0.028), artist.shade(1.1), 0.7 - 0.25 * shut)


def _brow(artist: Artist, side: int, brow: np.ndarray) -> None:
    person = artist.person
    thick = 0.06 * person.brow_weight
    outward = brow if side > 0 else brow[::-1]  # from the nose
    width = thick * np.array([0.7, 1.0, 0.95, 0.7, 0.1])[:, None] * (0, 1)
    colour = mix(mix(person.hair, BLACK, 0.4), artist.shade(1.0), 0.15)
    artist.fill(np.concatenate([outward - width, (outward + 0.8 * width)[::-1]]), colour, 0.78)
    rng = artist.strands()
    t = np.linspace(0, 0.95, 20)
    roots = np.stack([np.interp(4 * t, range(5), outward[:, k]) for k in (0, 1)], axis=-1)
    reach = thick * (1 - 0.6 * t)
    roots[:, 1] += reach * rng.uniform(-0.2, 0.8, 20)
    tips = roots + np.stack([side * (0.02 + 0.07 * t), -1.1 * reach * (1 - 0.9 * t)], axis=-1)
    artist.line(np.stack([roots, tips], axis=1), 0.013, mix(colour, BLACK, 0.35), 0.75)
