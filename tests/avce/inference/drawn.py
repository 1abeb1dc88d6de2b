"""Pictures, films and a finder of faces for the tests of prediction."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from avce import RECIPES
from avce.config import with_settings
from avce.inference.video import Film

SIZE = 64
CONFIG = with_settings(RECIPES["demo"], [f"image_size={SIZE}"])


def picture(number: int = 0, height: int = 96, width: int = 96) -> np.ndarray:
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def film(path: Path, n: int = 12, size: tuple[int, int] = (96, 128)) -> Path:
    made = Film(path, Fraction(10))
    for number in range(n):
        made.add(picture(number, *size))
    made.close()
    return path


def in_the_middle(found: np.ndarray) -> np.ndarray:
    """A finder of one face, drifting by its brightness."""
    x = float(found.mean()) / 50
    return np.array([[20 + x, 20, 70 + x, 80, 0.99]], np.float32)
