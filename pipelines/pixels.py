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
