"""How a picture came to be: a hand, a lens, a film, a file; what a model must learn to ignore."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

STYLES = ("plain", "shaded", "flat", "line", "painted")
_STYLE_SHARES = (0.2, 0.56, 0.08, 0.08, 0.08)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_CLOUDS = 512  # pixels a side of the one cloud that all textures are cut from
_ABOVE, _BELOW = 0.33, 0.035  # the brows and the chin; shares of the height between


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One way to make a picture of a drawn face."""

    style: str  # one of STYLES
    depth: float  # of the relief, 0 flat .. 1 as a head is
    lamp: tuple[float, float]  # across and down, where the light of the relief comes from
    ambient: float  # light that comes from everywhere, [0, 1]
    sockets: float  # how dark the eyes lie, [0, 1]
    texture: float  # unevenness of skin and walls
    gamma: float
    contrast: float  # about the mean
    tint: tuple[float, float, float]
    grey: bool
    side: int  # pixels that the picture had once; 0: as drawn
    quality: int  # of the JPEG it was once; 0: none
    box: tuple[float, float, float]  # a detector's slips: across, down, size; shares of the box

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        def spread(width: float) -> float:
            return float(np.exp(width * np.clip(rng.normal(), -2, 2)))

        angle, slant = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.8)
        red, green, blue = (spread(0.1) for _ in range(3))
        across, down, size = (rng.normal(size=3).clip(-2, 2) * (0.03, 0.03, 0.04)).tolist()
        return cls(
            style=str(rng.choice(STYLES, p=_STYLE_SHARES)),
            depth=float(rng.uniform(0.5, 1.3)),
            lamp=(float(slant * np.cos(angle)), float(slant * np.sin(angle) - 0.3)),
            ambient=float(rng.uniform(0.3, 0.8)),
            sockets=float(rng.uniform(0, 0.6)),
            texture=float(rng.uniform(0, 0.25)),
            gamma=spread(0.3),
            contrast=spread(0.25),
            tint=(red, green, blue),
            grey=bool(rng.random() < 0.45),
            side=int(rng.integers(40, 120)) if rng.random() < 0.5 else 0,
            quality=int(rng.integers(20, 80)) if rng.random() < 0.4 else 0,
            box=(across, down, size),
        )


@cache
def clouds() -> np.ndarray:
    """Smooth noise of all sizes, (512, 512) float32 about 0, most of it within 1."""
    rng = np.random.default_rng(0)
    whole = np.zeros((_CLOUDS, _CLOUDS), np.float32)
    for cells in (4, 8, 16, 32, 64, 128):
        rough = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
        whole += np.asarray(rough.resize((_CLOUDS, _CLOUDS), Image.Resampling.BICUBIC))
    return whole / (2 * whole.std())


def developed(
    pixels: np.ndarray, look: Look, light: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """The picture (size, size, 3) uint8 as this look has it; `light` (size, size) multiplies."""
    size = len(pixels)
    x, y = rng.integers(_CLOUDS - size, size=2)
    shade = 1 + look.texture * clouds()[y : y + size, x : x + size]
    if light is not None:
        shade *= light
    lit = np.clip(pixels * shade[..., None], 0, 255)
    return _filed(_filmed(_STYLED[look.style](lit), look), look)


def _filmed(lit: np.ndarray, look: Look) -> np.ndarray:
    """Grey or tinted, with the film's curve: (size, size) or (size, size, 3) uint8."""
    seen = lit @ _LUMA if look.grey else lit * np.array(look.tint, np.float32)
    middle = float(seen.mean())
    curve = np.arange(0, 513, dtype=np.float32)  # a tint may lead beyond white
    curve = 255 * (np.minimum(curve, 255) / 255) ** look.gamma
    middle = float(curve[int(min(middle, 255))])
    curve = np.clip(middle + look.contrast * (curve - middle), 0, 255).astype(np.uint8)
    return curve.take(np.minimum(seen, 512).astype(np.int16))


def _filed(picture: np.ndarray, look: Look) -> np.ndarray:
    """What a smaller picture and its file keep; (size, size, 3) again."""
    image, size = Image.fromarray(picture), len(picture)
    if look.side:
        image = image.resize((look.side, look.side), Image.Resampling.BOX)
    if look.quality:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=look.quality)
        image = Image.open(file)
    if look.side:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image.convert("RGB"))


def _as_it_is(lit: np.ndarray) -> np.ndarray:
    return lit


def _flat(lit: np.ndarray) -> np.ndarray:
    """Few tones, as a poster has them."""
    return (lit // 43) * 43 + 21


def _line(lit: np.ndarray) -> np.ndarray:
    """Dark lines on light paper: what is darker than its surroundings."""
    grey = Image.fromarray((lit @ _LUMA).astype(np.uint8))
    around = np.asarray(grey.filter(ImageFilter.GaussianBlur(4)), np.float32)
    drawn = np.clip(235 + 3.5 * (np.asarray(grey, np.float32) - around), 0, 255)
    return np.repeat(drawn[..., None], 3, axis=2)


def _painted(lit: np.ndarray) -> np.ndarray:
    """Dabs of one colour, as a broad brush leaves them."""
    picture, size = Image.fromarray(lit.astype(np.uint8)), len(lit)
    dabs = picture.reduce(2).filter(ImageFilter.MedianFilter(3))
    return np.asarray(dabs.resize((size, size), Image.Resampling.BILINEAR), np.float32)


_STYLED = {
    "plain": _as_it_is, "shaded": _as_it_is, "flat": _flat, "line": _line, "painted": _painted,
}  # fmt: skip


def detected_box(landmarks: np.ndarray, look: Look, size: int) -> tuple[int, int, int, int]:
    """The square round what RetinaFace calls a face, placed as inexactly as detectors place it.

    Its box reaches from jaw to jaw and, measured on 60 drawn faces (deviation 0.05), a third of the
    way from brows to chin above the brows; the square of its longer side is what `predict` cuts.
    """
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    low[1], high[1] = np.array([low[1], high[1]]) + (high[1] - low[1]) * np.array([-_ABOVE, _BELOW])
    side = float((high - low).max()) * (1 + look.box[2])
    middle = (low + high) / 2 + side * np.array(look.box[:2])
    left, top, right, bottom = np.concatenate([middle - side / 2, middle + side / 2]).clip(0, size)
    return round(left), round(top), round(right), round(bottom)
