"""The pencils: an artist before a canvas, with the few strokes that every part is made of.

The only file that knows skia, the library of anti-aliased paths and gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import skia

from shards.standins.anatomy import ActionUnits, Geometry
from shards.standins.identity import RGB, Identity, mix
from shards.standins.scene import Camera, Scene

Number = float | int
WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


class Canvas:
    """A square picture in the making; everything is drawn through a lens that may blur."""

    def __init__(self, size: int, blur: Number) -> None:
        self.size = size
        self.pixels = np.zeros((size, size, 4), np.uint8)
        self._surface = skia.Surface(self.pixels)
        self.skia = self._surface.getCanvas()
        if blur > 0.2:  # pixels; less cannot be seen
            lens = skia.Paint(ImageFilter=skia.ImageFilters.Blur(blur, blur))
            self.skia.saveLayer(None, lens)

    def flood(self, shader: Any) -> None:
        self.skia.drawPaint(skia.Paint(Shader=shader))

    def disc(self, x: Number, y: Number, radius: Number, colour: int) -> None:
        self.skia.drawCircle(x, y, radius, skia.Paint(AntiAlias=True, Color=colour))

    @contextmanager
    def mapped(self, matrix: np.ndarray) -> Iterator[None]:
        """Draw in other units: `matrix` (2, 3) takes them to pixels."""
        (a, b, c), (d, e, f) = matrix.tolist()
        self.skia.save()
        self.skia.concat(skia.Matrix.MakeAll(a, b, c, d, e, f, 0, 0, 1))
        yield
        self.skia.restore()

    def finish(self) -> np.ndarray:
        """(size, size, 3) uint8 RGB, a view."""
        self.skia.restoreToCount(1)
        self._surface.flushAndSubmit()
        return self.pixels[..., :3]


def argb(colour: Iterable[Number], alpha: Number = 1.0) -> int:
    red, green, blue = colour
    return _byte(alpha) << 24 | _byte(red) << 16 | _byte(green) << 8 | _byte(blue)


def _byte(share: Number) -> int:
    return 0 if share <= 0 else 255 if share >= 1 else int(255 * share + 0.5)


def linear(start: Sequence[Number], end: Sequence[Number], *colours: int) -> Any:
    """A gradient from one point to another."""
    return skia.GradientShader.MakeLinear([skia.Point(*start), skia.Point(*end)], colours)


def down(start: Number, end: Number, *colours: int) -> Any:
    """A gradient down the face, from y = start to y = end."""
    return linear((0, start), (0, end), *colours)


def radial(
    centre: Sequence[Number],
    radius: Number,
    colours: list[int],
    stops: Sequence[Number] | None = None,
) -> Any:
    return skia.GradientShader.MakeRadial(skia.Point(*centre), radius, colours, stops)


def moved(points: Any, across: Number, down: Number) -> np.ndarray:
    return np.asarray(points, float) + np.array([across, down])


def tapered(curves: np.ndarray, width: Number) -> np.ndarray:
    """Outlines of strokes, (..., n, 2), thick in the middle and thin at both ends."""
    along = np.empty_like(curves)  # numpy.gradient, in a third of its time
    along[..., 1:-1, :] = (curves[..., 2:, :] - curves[..., :-2, :]) / 2
    along[..., 0, :] = curves[..., 1, :] - curves[..., 0, :]
    along[..., -1, :] = curves[..., -1, :] - curves[..., -2, :]
    normal = along[..., ::-1] * (-1, 1)
    normal /= np.sqrt(np.square(normal).sum(axis=-1, keepdims=True)) + 1e-9
    thick = 0.15 + np.sin(np.linspace(0.05, 0.95, curves.shape[-2]) * np.pi)
    half = 0.5 * width * thick[:, None] * normal
    return np.concatenate([curves + half, (curves - half)[..., ::-1, :]], axis=-2)


def _smooth(curves: np.ndarray, closed: bool) -> Any:
    """One path of smooth (Catmull-Rom) curves through the points, (k, n, 2)."""
    k, n, _ = curves.shape  # written into place: concatenating costs as much as all the rest
    around = np.empty((k, n + 2 + closed, 2))
    around[:, 1 : n + 1] = curves
    around[:, 0] = curves[:, -1 if closed else 0]
    around[:, n + 1 :] = curves[:, :2] if closed else curves[:, -1:]
    bend = (around[:, 2:] - around[:, :-2]) / 6
    end = around[:, 2:-1]
    controls = np.empty((k, n - 1 + closed, 6))
    controls[..., :2] = around[:, 1:-2] + bend[:, :-1]
    controls[..., 2:4] = end - bend[:, 1:]
    controls[..., 4:] = end
    path = skia.Path()
    for begin, numbers in zip(curves[:, 0].tolist(), controls.tolist(), strict=True):
        path.moveTo(*begin)
        for six in numbers:
            path.cubicTo(*six)
        if closed:
            path.close()
    return path


@dataclass(frozen=True, slots=True)
class Artist:
    """Canvas, camera and sitter.

    Points are in face units; the camera turns them, the canvas maps them to pixels. A shape is a
    closed curve (n, 2), or several (k, n, 2), or a path made by `path`.
    """

    canvas: Any
    camera: Camera
    person: Identity
    units: ActionUnits
    face: Geometry
    scene: Scene

    def path(self, points: Any, lift: Number = 0.0, closed: bool = True) -> Any:
        seen = self.camera.turn(np.asarray(points, float), lift)
        return _smooth(seen if seen.ndim == 3 else seen[None], closed)

    def fill(
        self,
        shape: Any,
        colour: RGB,
        alpha: Number = 1.0,
        *,
        lift: Number = 0.0,
        shader: Any = None,
    ) -> None:
        path = shape if isinstance(shape, skia.Path) else self.path(shape, lift)
        brush = skia.Paint(AntiAlias=True, Color=argb(colour, alpha))
        if shader is not None:
            brush.setShader(shader)
        self.canvas.drawPath(path, brush)

    def line(
        self, curves: Any, width: Number, colour: RGB, alpha: Number = 1.0, lift: Number = 0.0
    ) -> None:
        """A round-ended stroke along (n, 2) points, or several of one colour, (k, n, 2)."""
        brush = skia.Paint(
            AntiAlias=True,
            Color=argb(colour, alpha),
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width,
            StrokeCap=skia.Paint.kRound_Cap,
            StrokeJoin=skia.Paint.kRound_Join,
        )
        self.canvas.drawPath(self.path(curves, lift, closed=False), brush)

    def folds(self, curves: Any, depth: Number, width: Number = 0.02) -> None:
        """Folds of skin, (k, n, 2): dark lines, thin at both ends, in a wide soft shadow."""
        if depth > 0.04:
            self.line(curves, 3.5 * width, self.shade(0.5), 0.16 * depth)
            outlines = tapered(np.asarray(curves, float), width)
            self.fill(outlines, self.shade(0.95), min(0.75 * depth, 0.8))

    def glow(
        self, x: Number, y: Number, radii: tuple[Number, Number], colour: RGB, alpha: Number,
        lift: Number = 0.0,
    ) -> None:  # fmt: skip
        """A soft ellipse that fades to nothing at its rim."""
        at = self.camera.turn_one(x, y, lift)
        fading = [argb(colour, alpha), argb(colour, 0.5 * alpha), argb(colour, 0.0)]
        self.canvas.save()
        self.canvas.translate(*at)
        self.canvas.scale(*radii)
        self.canvas.drawCircle(0, 0, 1, skia.Paint(Shader=radial((0, 0), 1.0, fading, [0, 0.5, 1])))
        self.canvas.restore()

    def dot(
        self,
        x: Number,
        y: Number,
        radius: Number,
        colour: RGB,
        alpha: Number = 1.0,
        lift: Number = 0.0,
    ) -> None:
        at = self.camera.turn_one(x, y, lift)
        self.canvas.drawCircle(*at, radius, skia.Paint(AntiAlias=True, Color=argb(colour, alpha)))

    def ball(self, x: Number, y: Number, radius: Number, colours: list[RGB]) -> None:
        """A disc shaded from its lower middle to its rim by three colours."""
        right, low = self.camera.turn_one(x, y)
        tones = [argb(colour) for colour in colours]
        shader = radial((right, low + radius / 3), 1.1 * radius, tones, [0.15, 0.65, 1])
        self.canvas.drawCircle(right, low, radius, skia.Paint(AntiAlias=True, Shader=shader))

    @contextmanager
    def inside(self, shape: Any, lift: Number = 0.0) -> Iterator[None]:
        """Only what falls inside the shape is drawn."""
        path = shape if isinstance(shape, skia.Path) else self.path(shape, lift)
        self.canvas.save()
        self.canvas.clipPath(path, True)
        yield
        self.canvas.restore()

    def shade(self, amount: Number) -> RGB:
        """The skin in shadow: darker, and redder than a plain multiple."""
        red, green, blue = self.person.skin
        return mix(self.person.skin, (0.55 * red, 0.36 * green, 0.32 * blue), amount)

    def shine(self, amount: Number) -> RGB:
        return mix(self.person.skin, (1.0, 0.95, 0.88), amount)

    def strands(self) -> np.random.Generator:
        """Randomness that belongs to the person and not to the picture."""
        return np.random.default_rng(self.person.grain)
