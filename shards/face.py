"""Draw one face: a person, an expression and a scene become pixels, with everything true known.

The picture is built from anti-aliased vector paths with gradients, back to front, one function a
part. Nothing here decides what an expression means or where a lip lies: `shards.anatomy` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import skia

from shards.anatomy import (
    RGB,
    ActionUnits,
    Eye,
    Geometry,
    Identity,
    exaggerate,
    expression,
    geometry,
    label,
    mix,
    units_for,
    wanted_point,
)

__all__ = [
    "LEVELS",
    "ActionUnits",
    "Drawing",
    "Identity",
    "Scene",
    "expression",
    "label",
    "render",
    "units_for",
    "wanted_point",
]

LEVELS = ("easy", "normal", "hard")
MARGIN = 0.15  # of the face box's side, on each side of it: AffectNet's

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
_LINE = np.linspace(-1, 1, 15)


# ---------------------------------------------------------------- camera, light and background


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """How a face is shown: what a model must learn to ignore. Angles in radians."""

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
    backdrop: tuple[RGB, RGB] = ((0.72, 0.78, 0.83), (0.55, 0.62, 0.70))
    bokeh: int = 0  # blurred lights behind
    occluder: str | None = None  # hand, scarf, strand, mug
    blur: float = 0.0  # pixels
    noise: float = 0.0  # grey levels
    seed: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator, level: str = "normal") -> Scene:
        """A random scene of one of `LEVELS`."""
        if level not in LEVELS:
            raise ValueError(f"level {level!r} is none of {LEVELS}; choose one of them")
        ease, medium, hard = (level == name for name in LEVELS)
        turn = {"easy": 0.05, "normal": 0.28, "hard": 0.5}[level]
        hue = rng.uniform(0, 1)
        tone = rng.uniform(0.45, 0.9)
        far = tuple(tone * (0.8 + 0.2 * np.cos(2 * np.pi * (hue + k / 3))) for k in range(3))
        return cls(
            expressiveness={"easy": 1.2, "normal": 1.0, "hard": 0.9}[level],
            yaw=float(np.clip(rng.normal(), -2, 2) * turn / 1.6),
            pitch=float(np.clip(rng.normal(), -2, 2) * turn / 3.5),
            roll=float(np.clip(rng.normal(), -2, 2) * turn / 2.5),
            zoom=float(rng.uniform(0.97, 1.03) if ease else rng.uniform(0.9, 1.1)),
            shift=tuple((rng.normal(0, 0.008 if ease else 0.03, 2)).tolist()),
            gaze=tuple(rng.normal(0, 0.12 if ease else 0.35, 2).clip(-0.9, 0.9).tolist()),
            light=float(rng.uniform(-1, 1)),
            contrast=float(rng.uniform(0.15, 0.3) if ease else rng.uniform(0.2, 1.0)),
            exposure=float(
                1.0 if ease else rng.uniform(0.72, 1.15) if medium else rng.uniform(0.5, 1.25)
            ),
            warmth=float(0.0 if ease else rng.normal(0, 0.05 if medium else 0.1)),
            backdrop=(mix(far, WHITE, 0.25), mix(far, BLACK, 0.15)),
            bokeh=0 if ease else int(rng.integers(0, 9 if medium else 18)),
            occluder=cls._occluder(rng, {"easy": 0.0, "normal": 0.07, "hard": 0.35}[level]),
            blur=float(0.0 if ease else rng.uniform(0, 0.7 if medium else 1.8)),
            noise=float(1.5 if ease else rng.uniform(1, 6 if medium else 16)),
            seed=int(rng.integers(1 << 31)),
        )

    @staticmethod
    def _occluder(rng: np.random.Generator, chance: float) -> str | None:
        kind = str(rng.choice(["hand", "scarf", "strand", "mug"]))
        return kind if rng.random() < chance else None


class Drawing(NamedTuple):
    """A drawn face and all that is true of it; coordinates are pixels from the top left."""

    image: np.ndarray  # (size, size, 3) uint8 RGB
    bbox_xyxy: tuple[int, int, int, int]  # the square the face fills
    landmarks: np.ndarray  # (68, 2) float64, iBUG order
    valence: float
    arousal: float
    expression: int


@dataclass(frozen=True, slots=True)
class Camera:
    """Turns a head of ellipsoid depth and maps it into the picture."""

    yaw: float
    pitch: float
    matrix: np.ndarray  # (2, 3): turned face units -> pixels

    def turn(self, points: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        bulge = np.clip(1 - (x / 1.12) ** 2 - ((y - 0.1) / 1.75) ** 2, 0, 1)
        z = 0.75 * np.sqrt(bulge) + lift
        across = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        down = y * np.cos(self.pitch) + z * np.sin(self.pitch)
        return np.stack([across, down], axis=-1)

    def pixels(self, points: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
        return self.turn(points, lift) @ self.matrix[:, :2].T + self.matrix[:, 2]


_NOSE_LIFT = np.zeros(68)
_NOSE_LIFT[27:36] = (0.06, 0.14, 0.22, 0.28, 0.12, 0.16, 0.2, 0.16, 0.12)
_WIDEST = ActionUnits(au1=1, au2=1, au26=1, au25=1)


def _camera(person: Identity, scene: Scene, size: int) -> Camera:
    """Frame the square that the face fills at its widest expression, so that an expression alone
    never changes the scale."""
    widest = exaggerate(_WIDEST, scene.expressiveness)
    points = np.concatenate([geometry(person, widest).landmarks(), [[0.0, -0.75]]])
    lift = np.append(_NOSE_LIFT, 0.0)
    cos, sin = np.cos(scene.roll), np.sin(scene.roll)
    roll = np.array([[cos, -sin], [sin, cos]])
    flat = Camera(scene.yaw, scene.pitch, np.eye(2, 3)).turn(points, lift) @ roll.T
    low, high = flat.min(axis=0), flat.max(axis=0)
    side = 1.04 * float((high - low).max()) / scene.zoom
    scale = size / (1 + 2 * MARGIN) / side
    middle = size / 2 + np.array(scene.shift) * size / (1 + 2 * MARGIN)
    matrix = np.concatenate([scale * roll, (middle - scale * (low + high) / 2)[:, None]], axis=1)
    return Camera(scene.yaw, scene.pitch, matrix)


def face_box(size: int) -> tuple[int, int, int, int]:
    """The centred square with AffectNet's margin around it: size == width + 2 * left."""
    margin = round(size * MARGIN / (1 + 2 * MARGIN))
    return margin, margin, size - margin, size - margin


def render(person: Identity, units: ActionUnits, scene: Scene, size: int = 256) -> Drawing:
    """Draw the person with this expression; about 5 ms at 256 pixels."""
    acted = exaggerate(units, scene.expressiveness)
    face = geometry(person, acted)
    camera = _camera(person, scene, size)
    pixels = np.zeros((size, size, 4), np.uint8)
    surface = skia.Surface(pixels)
    canvas = surface.getCanvas()
    rng = np.random.default_rng([scene.seed, person.grain])
    _backdrop(canvas, scene, size, rng)
    (a, b, c), (d, e, f) = camera.matrix.tolist()
    canvas.concat(skia.Matrix.MakeAll(a, b, c, d, e, f, 0, 0, 1))
    _paint(Artist(canvas, camera, person, acted, face, scene))
    surface.flushAndSubmit()
    valence, arousal = label(units)
    return Drawing(
        _develop(pixels[..., :3], scene, rng),
        face_box(size),
        camera.pixels(face.landmarks(), _NOSE_LIFT),
        valence,
        arousal,
        expression(valence, arousal),
    )


def _develop(pixels: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Exposure, colour of the light, lens blur and sensor noise."""
    tint = scene.exposure * np.array([1 + scene.warmth, 1, 1 - scene.warmth])
    image = pixels.astype(np.float32) * tint.astype(np.float32)
    if scene.noise:
        grain = rng.standard_normal(image.shape[:2], dtype=np.float32)
        image += scene.noise * grain[..., None]
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------- pencils


def _argb(colour: RGB, alpha: float = 1.0) -> int:
    red, green, blue = (int(255 * min(max(v, 0.0), 1.0) + 0.5) for v in colour)
    return skia.ColorSetARGB(int(255 * min(max(alpha, 0.0), 1.0) + 0.5), red, green, blue)


def _curve(points: np.ndarray, closed: bool) -> skia.Path:
    """A smooth (Catmull-Rom) path through (n, 2) points."""
    if closed:
        around = np.concatenate([points[-1:], points, points[:2]])
    else:
        around = np.concatenate([points[:1], points, points[-1:]])
    start, end = around[1:-2], around[2:-1]
    first = (start + (end - around[:-3]) / 6).tolist()
    second = (end - (around[3:] - start) / 6).tolist()
    path = skia.Path()
    path.moveTo(*around[1].tolist())
    for (a, b), (c, d), (e, f) in zip(first, second, end.tolist(), strict=True):
        path.cubicTo(a, b, c, d, e, f)
    if closed:
        path.close()
    return path


@dataclass(frozen=True, slots=True)
class Artist:
    """Canvas, camera and sitter, with the few strokes every part is made of."""

    canvas: Any
    camera: Camera
    person: Identity
    units: ActionUnits
    face: Geometry
    scene: Scene

    def path(self, points: Any, lift: float = 0.0, closed: bool = True) -> skia.Path:
        return _curve(self.camera.turn(np.asarray(points, float), lift), closed)

    def fill(
        self, shape: Any, colour: RGB, alpha: float = 1.0, *, lift: float = 0.0, shader: Any = None
    ) -> None:
        path = shape if isinstance(shape, skia.Path) else self.path(shape, lift)
        paint = skia.Paint(AntiAlias=True, Color=_argb(colour, alpha))
        if shader is not None:
            paint.setShader(shader)
        self.canvas.drawPath(path, paint)

    def line(
        self, points: Any, width: float, colour: RGB, alpha: float = 1.0, *, lift: float = 0.0
    ) -> None:
        paint = skia.Paint(
            AntiAlias=True,
            Color=_argb(colour, alpha),
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width,
            StrokeCap=skia.Paint.kRound_Cap,
            StrokeJoin=skia.Paint.kRound_Join,
        )
        self.canvas.drawPath(self.path(points, lift, closed=False), paint)

    def crease(self, points: Any, depth: float, width: float = 0.02) -> None:
        """A fold of skin: a thin dark line in a wide soft one."""
        if depth > 0.03:
            self.line(points, 3.2 * width, self.shade(0.3), 0.22 * depth)
            self.line(points, width, self.shade(0.6), 0.75 * depth)

    def glow(
        self, at: tuple[float, float], radii: tuple[float, float], colour: RGB, alpha: float,
        lift: float = 0.0,
    ) -> None:  # fmt: skip
        """A soft ellipse that fades to nothing at its rim."""
        x, y = self.camera.turn(np.array(at, float), lift).tolist()
        stops = [_argb(colour, alpha), _argb(colour, 0.55 * alpha), _argb(colour, 0.0)]
        shader = skia.GradientShader.MakeRadial(skia.Point(0, 0), 1.0, stops, [0, 0.45, 1])
        self.canvas.save()
        self.canvas.translate(x, y)
        self.canvas.scale(*radii)
        self.canvas.drawCircle(0, 0, 1, skia.Paint(AntiAlias=True, Shader=shader))
        self.canvas.restore()

    @contextmanager
    def inside(self, shape: Any) -> Iterator[None]:
        path = shape if isinstance(shape, skia.Path) else self.path(shape)
        self.canvas.save()
        self.canvas.clipPath(path, True)
        yield
        self.canvas.restore()

    def shade(self, amount: float) -> RGB:
        """The skin in shadow: darker, and redder than a plain multiple."""
        red, green, blue = self.person.skin
        return mix(self.person.skin, (0.52 * red, 0.34 * green, 0.30 * blue), amount)

    def shine(self, amount: float) -> RGB:
        return mix(self.person.skin, (1.0, 0.95, 0.88), amount)

    def strands(self) -> np.random.Generator:
        """Randomness that belongs to the person and not to the picture."""
        return np.random.default_rng(self.person.grain)


def _ramp(start: Any, end: Any, colours: list[int], stops: list[float] | None = None) -> Any:
    return skia.GradientShader.MakeLinear([skia.Point(*start), skia.Point(*end)], colours, stops)


# ---------------------------------------------------------------- back to front


def _paint(artist: Artist) -> None:
    _hair_behind(artist)
    _neck(artist)
    _clothes(artist)
    _ears(artist)
    _skin(artist)
    _wrinkles(artist)
    _beard(artist)
    _mouth(artist)
    _nose(artist)
    for eye in artist.face.eyes:
        _eye(artist, eye)
    for side, brow in zip((-1, 1), artist.face.brows, strict=True):
        _brow(artist, side, brow)
    _hair(artist)
    _glasses(artist)
    _occluder(artist)


def _backdrop(canvas: Any, scene: Scene, size: int, rng: np.random.Generator) -> None:
    near, far = (_argb(colour) for colour in scene.backdrop)
    glow = skia.GradientShader.MakeRadial(
        skia.Point(0.5 * size, 0.35 * size), 0.9 * size, [near, far]
    )
    canvas.drawPaint(skia.Paint(Shader=glow))
    for _ in range(scene.bokeh):
        x, y, radius = rng.uniform(0, size), rng.uniform(0, size), size * rng.uniform(0.04, 0.2)
        colour = _argb(tuple(rng.uniform(0.2, 1, 3).tolist()), rng.uniform(0.1, 0.45))
        canvas.drawCircle(x, y, radius, skia.Paint(AntiAlias=True, Color=colour))


def _neck(artist: Artist) -> None:
    chin = artist.face.jaw[8, 1] - artist.face.drop
    wide = 0.5 * (0.5 + 0.5 * artist.person.jaw)
    shape = [(-wide, 0.8), (wide, 0.8), (wide + 0.02, chin + 0.25), (wide + 0.5, chin + 0.62),
             (0.0, chin + 0.9), (-wide - 0.5, chin + 0.62), (-wide - 0.02, chin + 0.25)]  # fmt: skip
    artist.fill(np.array(shape), artist.shade(0.28))
    chin = artist.face.jaw[8, 1]
    artist.glow((0.05, chin + 0.02), (0.75, 0.32), artist.shade(0.8), 0.75, lift=-0.3)


def _clothes(artist: Artist) -> None:
    base = artist.face.jaw[8, 1] - artist.face.drop + 0.42
    colour = artist.person.clothes
    dip = {"round": 0.28, "v": 0.62, "shirt": 0.45}[artist.person.collar]
    shape = [(-0.62, base - 0.06), (-0.38, base + 0.6 * dip), (0, base + dip), (0.38, base + 0.6 * dip),
             (0.62, base - 0.06), (1.5, base + 0.25), (2.3, base + 0.7), (2.6, 4.0), (-2.6, 4.0),
             (-2.3, base + 0.7), (-1.5, base + 0.25)]  # fmt: skip
    shader = _ramp(
        (0, base),
        (0, base + 0.9),
        [_argb(mix(colour, WHITE, 0.08)), _argb(mix(colour, BLACK, 0.3))],
    )
    artist.fill(np.array(shape), colour, shader=shader)
    rim = np.array(shape[:5])
    if artist.person.collar == "shirt":
        for side in (-1, 1):
            flap = [(side * 0.62, base - 0.1), (side * 0.06, base + dip), (side * 0.42, base + 0.62),
                    (side * 0.8, base + 0.1)]  # fmt: skip
            artist.fill(np.array(flap), mix(colour, WHITE, 0.25))
    else:
        artist.line(rim, 0.07, mix(colour, BLACK, 0.25))


def _ears(artist: Artist) -> None:
    size = artist.person.ears
    for side in (-1, 1):
        x = side * 1.0
        shape = [(x - side * 0.08, -0.16), (x + side * 0.1 * size, -0.22), (x + side * 0.19 * size, -0.08),
                 (x + side * 0.15 * size, 0.18), (x + side * 0.05, 0.4), (x - side * 0.08, 0.36)]  # fmt: skip
        artist.fill(np.array(shape), artist.shade(0.16), lift=-0.12)
        inner = [(x + side * 0.04, -0.1), (x + side * 0.13 * size, -0.1), (x + side * 0.08, 0.08),
                 (x + side * 0.05, 0.22)]  # fmt: skip
        artist.line(np.array(inner), 0.035, artist.shade(0.6), 0.6, lift=-0.12)
        if artist.person.earrings:
            artist.glow((x + side * 0.07, 0.45), (0.06, 0.06), (0.95, 0.8, 0.35), 1.0, lift=-0.1)


def _head(face: Geometry) -> np.ndarray:
    angles = np.linspace(0.12, 1, 12)[:-1] * np.pi
    angles = angles[angles < 0.9 * np.pi]
    top = np.stack([1.0 * np.cos(angles) ** 1, face.crown * np.sin(angles) ** 0.85], axis=-1)
    return np.concatenate([face.jaw, top])


def _skin(artist: Artist) -> None:
    face, person, scene = artist.face, artist.person, artist.scene
    head = artist.path(_head(face))
    lit = 0.35 * scene.light
    colours = [
        _argb(artist.shine(0.22)),
        _argb(person.skin),
        _argb(artist.shade(0.22 + 0.3 * scene.contrast)),
    ]
    shader = skia.GradientShader.MakeRadial(skia.Point(lit, -0.15), 1.75, colours, [0, 0.5, 1])
    artist.fill(head, person.skin, shader=shader)
    with artist.inside(head):
        _light(artist)
        _cheeks(artist)
        for side in (-1, 1):
            artist.glow((side * 0.42, -0.02), (0.36, 0.24), artist.shade(0.55), 0.3)
            artist.glow((side * 1.0, 0.95), (0.45, 0.75), artist.shade(0.6), 0.28)
        artist.glow((0.0, -0.62), (0.5, 0.26), artist.shine(0.6), 0.3)
        artist.glow((0.0, face.jaw[8, 1] - 0.2), (0.24, 0.16), artist.shine(0.5), 0.28)
        _freckles(artist)


def _light(artist: Artist) -> None:
    """The side away from the light falls into shadow."""
    scene = artist.scene
    side = -1.0 if scene.light > 0 else 1.0
    strength = scene.contrast * abs(scene.light)
    dark = artist.shade(1.0)
    shader = _ramp(
        (side * 1.05, 0), (-side * 0.4, 0), [_argb(dark, 0.75 * strength), _argb(dark, 0.0)]
    )
    artist.fill(_head(artist.face) * 1.1, dark, shader=shader)


def _cheeks(artist: Artist) -> None:
    person, units = artist.person, artist.units
    rosy = mix(person.skin, (0.88, 0.32, 0.30), 0.55)
    lift = 0.1 * max(units.au6, 0.6 * units.au12)
    for side in (-1, 1):
        artist.glow((side * 0.62, 0.52 - lift), (0.36, 0.28), rosy, 0.5 * person.blush)
        apple = 0.25 + 0.4 * units.au6 + 0.2 * units.au12
        artist.glow((side * 0.58, 0.40 - lift), (0.22, 0.14), artist.shine(0.7), 0.5 * apple)


def _freckles(artist: Artist) -> None:
    if artist.person.freckles:
        rng = artist.strands()
        for x, y in zip(rng.normal(0, 0.42, 34), rng.normal(0.38, 0.13, 34), strict=True):
            artist.glow((x, y), (0.028, 0.024), artist.shade(0.55), 0.6)


def _wrinkles(artist: Artist) -> None:
    face, units, age = artist.face, artist.units, artist.person.age
    mouth, line = face.mouth, np.linspace(0, 1, 6)[:, None]
    raised = max(units.au1, units.au2)
    for k, y in enumerate((-0.52, -0.64, -0.76)):
        x = np.linspace(-0.5, 0.5, 9) * (1 - 0.08 * k)
        arch = y - 0.12 * raised + 0.03 * np.cos(6 * x) + 0.05 * x**2
        depth = 0.8 * raised + 0.35 * max(age - 0.4, 0)
        artist.crease(np.stack([x, arch], axis=-1), depth * (1 - 0.2 * k), 0.016)
    for side in (-1, 1):
        frown = [(side * 0.075, -0.5), (side * 0.06, -0.36), (side * 0.085, -0.22)]
        artist.crease(frown, units.au4 + 0.2 * age * (age > 0.6), 0.028)
        fold = (1 - line) * (side * 0.24, 0.56) + line * (
            side * (mouth.half + 0.1),
            mouth.middle + mouth.corner + 0.02,
        )
        fold = fold + side * np.array([0.09, 0]) * np.sin(np.pi * line)
        depth = (
            0.75 * units.au12 + 0.6 * units.au9 + 0.5 * units.au10 + 0.3 * age + 0.25 * units.au20
        )
        artist.crease(fold, min(depth, 1.0), 0.022)
        outer = side * (face.eyes[1].half + 0.43 * artist.person.eye_gap)
        for k in (-1, 0, 1):
            foot = [(outer + side * 0.06, 0.01 + 0.05 * k), (outer + side * 0.2, 0.01 + 0.1 * k)]
            artist.crease(foot, 0.8 * units.au6 + 0.4 * max(age - 0.45, 0), 0.014)
        bag = face.eyes[(side + 1) // 2].lower(_LINE[3:-1]) + (0, 0.07)
        artist.crease(bag, 0.15 + 0.5 * age + 0.35 * units.au6, 0.014)
        for k in range(2):
            x = side * (0.1 + 0.05 * k)
            artist.crease([(x, 0.16 + 0.08 * k), (side * 0.02, 0.12 + 0.08 * k)], units.au9, 0.018)
        sag = [(side * (mouth.half + 0.05), mouth.middle + mouth.corner + 0.04),
               (side * (mouth.half + 0.09), mouth.middle + mouth.corner + 0.2)]  # fmt: skip
        artist.crease(sag, 0.8 * units.au15 + 0.2 * max(age - 0.5, 0), 0.02)


def _beard(artist: Artist) -> None:
    person, mouth = artist.person, artist.face.mouth
    if person.beard is None:
        return
    jaw = artist.face.jaw
    above = mouth.outer_top(_LINE)
    moustache = np.concatenate([above * (1.12, 1) + (0, 0.0), above[::-1] * (1.0, 1) - (0, 0.13)])
    alpha = 0.3 if person.beard == "stubble" else 0.88
    if person.beard in ("full", "stubble"):
        low = jaw[2:15]
        inner = [(0.8, 0.62), (0.55, mouth.middle - 0.1), (0, mouth.middle - 0.24), (-0.55, mouth.middle - 0.1),
                 (-0.8, 0.62)]  # fmt: skip
        grown = low * (1.0, 1.03) if person.beard == "full" else low
        artist.fill(np.concatenate([grown, np.array(inner)]), person.hair, alpha)
        return
    artist.fill(moustache, person.hair, alpha)
    if person.beard == "goatee":
        below = mouth.outer_bottom(_LINE) + (0, 0.04)
        tip = [(0.28, jaw[8, 1] - 0.05), (0, jaw[8, 1] + 0.05), (-0.28, jaw[8, 1] - 0.05)]
        artist.fill(np.concatenate([below[3:12], np.array(tip)]), person.hair, alpha)


def _mouth(artist: Artist) -> None:
    mouth, person = artist.face.mouth, artist.person
    top, bottom = mouth.inner_top(_LINE), mouth.inner_bottom(_LINE)
    artist.glow((0, mouth.middle + mouth.gap_down + 0.2), (0.3, 0.1), artist.shade(0.6), 0.45)
    if mouth.opening > 0.012:
        hole = np.concatenate([top, bottom[::-1]])
        artist.fill(hole, (0.23, 0.05, 0.06))
        with artist.inside(hole):
            _teeth_and_tongue(artist)
    _lip(artist, np.concatenate([mouth.outer_top(_LINE), top[::-1]]), 0.86, 0.98)
    _lip(artist, np.concatenate([bottom, mouth.outer_bottom(_LINE)[::-1]]), 1.06, 0.9)
    y = mouth.middle + mouth.gap_down + 0.45 * mouth.lower_lip
    artist.glow(
        (0.06 * artist.scene.light, y),
        (0.16, 0.035),
        mix(person.lip, WHITE, 0.75),
        0.55 + 0.3 * person.makeup,
    )
    if mouth.opening <= 0.03:
        artist.line((top + bottom) / 2, 0.022, mix(person.lip, (0.2, 0.03, 0.04), 0.7), 0.9)
    for side in (-1, 1):
        artist.glow(
            (side * (mouth.half + 0.01), mouth.middle + mouth.corner),
            (0.06, 0.05),
            artist.shade(0.9),
            0.7,
        )


def _lip(artist: Artist, shape: np.ndarray, upper: float, lower: float) -> None:
    lip = artist.person.lip
    first, last = (tuple(min(1.0, v * k) for v in lip) for k in (upper, lower))
    low, high = shape[:, 1].min(), shape[:, 1].max()
    artist.fill(shape, lip, shader=_ramp((0, low), (0, high + 0.01), [_argb(first), _argb(last)]))


def _teeth_and_tongue(artist: Artist) -> None:
    mouth = artist.face.mouth
    floor = mouth.middle + mouth.gap_down
    if mouth.gap_down > 0.1:
        artist.glow((0, floor + 0.02), (0.3, 0.17), (0.80, 0.36, 0.38), 1.0)
    top = mouth.inner_top(_LINE) * (0.94, 1)
    deep = min(0.12, 0.03 + 0.7 * mouth.opening)
    edge = top + np.stack([np.zeros(15), deep * np.clip(1 - _LINE**2, 0, 1) ** 0.4], axis=-1)
    artist.fill(np.concatenate([top - (0, 0.04), edge[::-1]]), (0.97, 0.95, 0.91))
    for x in np.linspace(-0.6, 0.6, 7):
        at = mouth.middle + mouth.corner * abs(x) ** 1.8 - mouth.gap_up
        artist.line(
            [(x * mouth.half, at - 0.05), (x * mouth.half, at + deep)], 0.007, (0.6, 0.5, 0.47), 0.4
        )


def _nose(artist: Artist) -> None:
    nose, units = artist.face.nose, artist.units
    tip, left, right = nose[3], nose[4], nose[8]
    away = 1 if artist.scene.light < 0 else -1
    bridge = [
        (away * 0.1, -0.12),
        (away * 0.075, 0.15),
        (away * 0.12, tip[1] - 0.12),
        (away * 0.15, tip[1]),
    ]
    artist.line(bridge, 0.1, artist.shade(0.5), 0.16, lift=0.1)
    artist.line(bridge, 0.04, artist.shade(0.6), 0.2, lift=0.1)
    artist.glow((0, tip[1] + 0.12), (0.24, 0.1), artist.shade(0.8), 0.55, lift=0.15)
    artist.line([(0, 0.0), (0, tip[1] - 0.15)], 0.07, artist.shine(0.8), 0.22, lift=0.16)
    artist.glow((0, tip[1] - 0.02), (0.13, 0.1), artist.shine(0.9), 0.6, lift=0.26)
    for side, wing in ((-1, left), (1, right)):
        x, y = wing
        ala = [
            (x * 0.86, y - 0.14),
            (x * 1.06, y - 0.06),
            (x * 1.02, y + 0.02),
            (x * 0.75, y + 0.035),
        ]
        artist.line(ala, 0.03, artist.shade(0.8), 0.75, lift=0.12)
        hole = np.array([(0.3, 0.03), (0.62, -0.015), (0.82, 0.015), (0.55, 0.055)])
        artist.fill(
            hole * (abs(x) * side, 1 + 0.6 * units.au9) + (0, y), artist.shade(1.25), 0.9, lift=0.16
        )


def _eye(artist: Artist, eye: Eye) -> None:
    person, units = artist.person, artist.units
    upper, lower = eye.upper(_LINE), eye.lower(_LINE)
    shape = np.concatenate([upper, lower[::-1]])
    openness = eye.upper_height + eye.lower_height
    artist.glow(eye.centre, (0.34, 0.2), artist.shade(0.5), 0.3)
    if openness > 0.012:
        artist.fill(shape, (0.97, 0.96, 0.95))
        with artist.inside(shape):
            _iris(artist, eye)
            artist.line(upper + (0, 0.03), 0.06, (0.25, 0.2, 0.25), 0.25)
    _lid(artist, eye, upper)
    artist.line(lower, 0.014, artist.shade(0.85), 0.75)
    lash = mix(person.hair, BLACK, 0.75)
    artist.line(upper, 0.03 + 0.012 * person.makeup, lash, 0.95)
    flick = upper[0] + np.array([[0, 0.0], [-eye.side * -0.05, -0.03 - 0.02 * person.makeup]])
    artist.line(flick, 0.022, lash, 0.4 + 0.6 * person.makeup)


def _iris(artist: Artist, eye: Eye) -> None:
    colour = artist.person.iris
    look_x, look_y = artist.scene.gaze
    x = eye.centre[0] + 0.07 * look_x
    y = eye.centre[1] - 0.03 + 0.03 * look_y
    at = artist.camera.turn(np.array([x, y])).tolist()
    radius = 0.122
    stops = [_argb(mix(colour, WHITE, 0.35)), _argb(colour), _argb(mix(colour, BLACK, 0.6))]
    shader = skia.GradientShader.MakeRadial(
        skia.Point(at[0], at[1] + 0.03), radius * 1.05, stops, [0.2, 0.7, 1]
    )
    artist.canvas.drawCircle(*at, radius, skia.Paint(AntiAlias=True, Shader=shader))
    artist.canvas.drawCircle(
        *at, 0.055, skia.Paint(AntiAlias=True, Color=_argb((0.03, 0.02, 0.03)))
    )
    spot = at[0] + 0.045 * np.sign(artist.scene.light or 1), at[1] - 0.045
    artist.canvas.drawCircle(*spot, 0.028, skia.Paint(AntiAlias=True, Color=_argb(WHITE, 0.95)))


def _lid(artist: Artist, eye: Eye, upper: np.ndarray) -> None:
    """The skin between crease and lashes: a band when open, the whole eye when shut."""
    shut = artist.units.au43
    gap = 0.055 * (1 - 0.6 * artist.units.au5)
    crease = eye.crease(_LINE, gap + 0.06 * shut)
    painted = mix(artist.shade(0.18), (0.45, 0.25, 0.35), 0.35 * artist.person.makeup)
    artist.fill(np.concatenate([crease, upper[::-1]]), painted, 0.9)
    artist.line(crease, 0.02, artist.shade(0.8), 0.7)


def _brow(artist: Artist, side: int, brow: np.ndarray) -> None:
    person = artist.person
    thick = 0.062 * person.brow_weight
    inward = brow if side > 0 else brow[::-1]  # from the nose outwards
    width = thick * np.array([0.75, 1.0, 0.95, 0.7, 0.12])[:, None] * (0, 1)
    colour = mix(person.hair, BLACK, 0.35)
    artist.fill(np.concatenate([inward - width, (inward + 0.8 * width)[::-1]]), colour, 0.82)
    rng = artist.strands()
    for t in np.linspace(0, 0.93, 16):
        k = t * 4
        at = inward[int(k)] * (1 - k % 1) + inward[min(int(k) + 1, 4)] * (k % 1)
        reach = thick * (1.0 - 0.5 * t)
        lean = np.array([side * (0.03 + 0.09 * t), -0.8 * reach * (1 - t)])
        low = at + (0, reach * rng.uniform(0.2, 0.7))
        artist.line([low, low + lean - (0, reach * 0.7)], 0.014, mix(colour, BLACK, 0.3), 0.6)


# ---------------------------------------------------------------- hair and things worn


def _hair_behind(artist: Artist) -> None:
    person, crown = artist.person, artist.face.crown
    style, dark = person.hair_style, mix(person.hair, BLACK, 0.35)
    if style == "bun":
        artist.fill(_ring((0, crown - 0.22), 0.42, 0.36), person.hair, lift=-0.5)
    if style in ("long", "wavy", "bob"):
        low = 1.05 if style == "bob" else 2.3
        wave = 0.09 if style == "wavy" else 0.02
        y = np.linspace(-0.4, low, 12)
        x = 1.2 + 0.18 * np.sin(np.linspace(0, 2.2, 12)) + wave * np.sin(np.linspace(0, 16, 12))
        right = np.stack([x, y], axis=-1)
        top = _ring((0, -0.3), 1.2, -crown - 0.1)[:0]
        cap = [(-0.75, crown * 0.9), (0, crown - 0.12), (0.75, crown * 0.9)]
        shape = np.concatenate([np.array(cap), top.reshape(-1, 2), right, (right * (-1, 1))[::-1]])
        artist.fill(shape, dark, lift=-0.35)
    if style == "curly":
        artist.fill(_bumps((0, -0.35), 1.42, 1.25, 15, 0.08), dark, lift=-0.3)


def _ring(centre: tuple[float, float], rx: float, ry: float, n: int = 16) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([centre[0] + rx * np.cos(angle), centre[1] + ry * np.sin(angle)], axis=-1)


def _bumps(
    centre: tuple[float, float], rx: float, ry: float, lobes: int, depth: float
) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 6 * lobes, endpoint=False)
    radius = 1 + depth * np.abs(np.sin(angle * lobes / 2))
    ring = np.stack([rx * np.cos(angle), ry * np.sin(angle)], axis=-1)
    return ring * radius[:, None] + centre


def _hair(artist: Artist) -> None:
    person, crown = artist.person, artist.face.crown
    if person.hair_style == "bald":
        artist.glow((0.25 * artist.scene.light, crown * 0.72), (0.5, 0.22), WHITE, 0.3)
        return
    outer, inner = _hairline(artist)
    shape = np.concatenate([outer, inner[::-1]])
    alpha = 0.75 if person.hair_style == "buzz" else 1.0
    bright, dark = mix(person.hair, WHITE, 0.16), mix(person.hair, BLACK, 0.35)
    colours = [_argb(c, alpha) for c in (person.hair, bright, dark)]
    artist.fill(
        shape,
        person.hair,
        lift=0.02,
        shader=_ramp((0, crown - 0.15), (0, 0.3), colours, [0, 0.35, 1]),
    )
    rng = artist.strands()
    for share in rng.uniform(0.04, 0.96, 18):
        first = int(rng.integers(0, 8))
        piece = slice(first, first + int(rng.integers(6, 12)))
        strand = (1 - share) * outer[piece] + share * inner[piece]
        colour = mix(person.hair, WHITE if rng.random() < 0.5 else BLACK, 0.3)
        artist.line(strand, 0.018, colour, 0.35 * alpha, lift=0.02)


def _hairline(artist: Artist) -> tuple[np.ndarray, np.ndarray]:
    """Outer and inner edge of the hair over the face, from the left temple to the right."""
    person, crown = artist.person, artist.face.crown
    t = np.linspace(0, 1, 19)
    angle = np.pi * (1 - t)
    style = person.hair_style
    volume = {
        "buzz": 0.02,
        "short": 0.1,
        "side": 0.16,
        "quiff": 0.2,
        "curly": 0.2,
        "bun": 0.06,
    }.get(style, 0.13)
    outer = np.stack(
        [(1.03 + 0.6 * volume) * np.cos(angle), (crown - volume) * np.sin(angle) ** 0.8], axis=-1
    )
    height = {"buzz": -0.92, "quiff": -0.95, "fringe": -0.42, "bun": -0.9}.get(style, -0.86)
    inner = np.stack([0.95 * np.cos(angle), height * np.sin(angle) ** 0.55], axis=-1)
    bottom = {"bob": 0.9, "long": 1.0, "wavy": 0.9, "fringe": 0.25}.get(style, 0.12)
    outer[[0, -1], 1], inner[[0, -1], 1] = bottom, bottom
    outer[[1, -2], 1] *= 0.8
    if style in ("side", "long", "wavy", "bob"):
        inner[:, 1] += 0.22 * np.sin(np.pi * t) * (t - 0.5) * 2 * person.side
    if style == "quiff":
        outer[6:13, 1] -= 0.16 * np.sin(np.linspace(0, np.pi, 7))
    if style == "curly":
        outer[1:-1] += 0.05 * artist.strands().normal(size=(17, 2))
    return outer, inner


def _glasses(artist: Artist) -> None:
    kind = artist.person.glasses
    if kind is None:
        return
    frame = (0.12, 0.1, 0.1) if kind == "square" else (0.55, 0.42, 0.22)
    for eye in artist.face.eyes:
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        power = 0.55 if kind == "square" else 1.0
        x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
        y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
        rim = np.stack([eye.centre[0] + 0.33 * x, 0.04 + 0.27 * y], axis=-1)
        artist.fill(rim, WHITE, 0.1, lift=0.12)
        artist.line(np.concatenate([rim, rim[:1]]), 0.045, frame, lift=0.12)
        arm = [(eye.centre[0] + eye.side * 0.33, -0.02), (eye.side * 1.04, -0.08)]
        artist.line(arm, 0.045, frame)
    left, right = (eye.centre[0] for eye in artist.face.eyes)
    artist.line([(left + 0.33, 0), (0, -0.05), (right - 0.33, 0)], 0.045, frame, lift=0.14)


def _occluder(artist: Artist) -> None:
    kind = artist.scene.occluder
    low = artist.face.jaw[8, 1]
    if kind == "scarf":
        shape = [
            (-1.5, 1.1),
            (-0.6, 1.2),
            (0, 1.16),
            (0.6, 1.2),
            (1.5, 1.1),
            (1.6, 2.4),
            (-1.6, 2.4),
        ]
        artist.fill(np.array(shape), mix(artist.person.clothes, (0.7, 0.2, 0.2), 0.5), lift=0.1)
    if kind == "hand":
        side = artist.person.side
        for k in range(4):
            root = np.array([side * (0.95 - 0.17 * k), low + 0.2])
            artist.line(
                [root, root + (side * -0.1, -0.45), root + (side * -0.16, -0.75)],
                0.17,
                artist.shade(0.15),
            )
            artist.line(
                [root + (side * 0.09, 0), root + (side * -0.03, -0.6)], 0.02, artist.shade(0.7), 0.6
            )
    if kind == "strand":
        side = artist.person.side
        for k in range(5):
            x = side * (0.15 + 0.1 * k)
            artist.line(
                [(x, -1.0), (x + side * 0.25, -0.3), (x + side * 0.3, 0.5)],
                0.05,
                artist.person.hair,
                0.9,
            )
    if kind == "mug":
        cup = [(-0.5, low - 0.3), (0.5, low - 0.3), (0.44, low + 0.9), (-0.44, low + 0.9)]
        artist.fill(np.array(cup), (0.85, 0.85, 0.82), lift=0.3)
