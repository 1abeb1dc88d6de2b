"""What the network sees of a stored picture: where the crop lies and how colours are scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255  # ImageNet, RGB


STD = np.array([0.229, 0.224, 0.225], np.float32) * 255


CROP = 224 / 256  # of the stored side; the rest is the room in which training crops move


@dataclass(frozen=True)
class Geometry:
    """How a stored image becomes `size` x `size` pixels.

    `stored` is the side all stored images share, or None where they differ. Then each is resized
    (shorter side to size * 256 / 224) before the crop, the dear way.
    """

    size: int
    stored: int | None

    @property
    def crop(self) -> int:
        """Side in pixels of what is cut out of the stored (or resized) image."""
        if self.stored is None or self.stored == self.size:
            return self.size
        crop = round(self.stored * CROP)
        return self.size if abs(crop - self.size) <= 1 else crop  # not a resize by one pixel

    @property
    def room(self) -> int | None:
        """Pixels by which the crop can move, None where it depends on the image."""
        return None if self.stored is None else self.stored - self.crop


def geometry(width: np.ndarray, height: np.ndarray, size: int) -> Geometry:
    """The cheapest way from images of these sizes to `size`; stored size == size is untouched."""
    sides = {int(f(side)) for side in (width, height) for f in (np.min, np.max)}
    return Geometry(size, sides.pop() if len(sides) == 1 else None)


def central(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle of a stored picture, uint8 (H, W, 3), as evaluation sees it: `size` x `size`.

    What the DALI graph of `pipelines.decode` makes of that picture alone, to one grey level: a
    picture of that size is untouched, of another square the middle 7/8 are taken, of any other the
    shorter side becomes size * 8/7 first. Both resample in floats and round once.
    """
    height, width = picture.shape[:2]
    shape = geometry(np.array([width]), np.array([height]), size)
    if shape.stored is None:
        scale = round(size / CROP) / min(height, width)
        return _resampled(picture, scale, size)
    middle = picture[_middle(height, shape.crop), _middle(width, shape.crop)]
    return middle if shape.crop == size else _resampled(middle, size / shape.crop, size)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 3) to float32 (n, 3, h, w) by ImageNet's mean and deviation."""
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(0, 3, 1, 2))


def _middle(side: int, wanted: int) -> slice:
    first = (side - wanted + 1) // 2
    return slice(first, first + wanted)


def _resampled(picture: np.ndarray, scale: float, size: int) -> np.ndarray:
    """The middle `size` x `size` of the picture at another scale."""
    for _ in range(2):  # rows become columns, twice
        picture = _along(picture, scale, size).swapaxes(0, 1)
    return np.floor(picture + 0.5).astype(np.uint8)


def _along(picture: np.ndarray, scale: float, size: int) -> np.ndarray:
    """(H, ...) to float32 (size, ...): linear, by a triangle as wide as a target pixel at least."""
    side, reach = len(picture), max(1 / scale, 1.0)
    whole = max(int(side * scale + 0.5), 1)
    place = np.arange(whole)[_middle(whole, size)] + 0.5 - whole / 2
    at = side / 2 + place / scale  # centres of the target's pixels in the source
    near = np.ceil(at - reach - 0.5).astype(int)[:, None] + np.arange(int(2 * reach) + 2)
    weights = np.maximum(1 - np.abs(near + 0.5 - at[:, None]) / reach, 0)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    near, shape = near.clip(0, side - 1), (-1, *[1] * (picture.ndim - 1))
    found = np.zeros((size, *picture.shape[1:]), np.float32)
    for j, w in zip(near.T, weights.T, strict=True):
        found += picture[j] * w.reshape(shape)
    return found
