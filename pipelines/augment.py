"""The random choices of an augmented picture, as a value of (seed, epoch, place)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_NUMBERS = 8  # random numbers kept per sample: two turns of Philox's counter


@dataclass(frozen=True)
class Augment:
    """What training does to an image; the defaults are the paper's.

    The paper lists colour jitter too, but calls it with torchvision's default arguments, which are
    the identity: hence the zeros. A strength s draws a factor from [max(0, 1 - s), 1 + s].
    Factors are applied as one affine map and are not clipped to [0, 255] in between.
    """

    flip: float = 0.5  # probability; a mirrored face keeps its valence and arousal
    crop: bool = True  # at a random place; False: the centre
    brightness: float = 0.0
    contrast: float = 0.0  # about mid-grey
    saturation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip {self.flip} is a probability; choose it in [0, 1]")
        for name in ("brightness", "contrast", "saturation"):
            if (strength := getattr(self, name)) < 0:
                raise ValueError(f"{name} {strength} is a strength; choose 0 (off) or more")


EVALUATION = Augment(flip=0.0, crop=False)


class Draws(NamedTuple):
    """The random numbers of some samples, first axis the sample."""

    crop: np.ndarray  # float32 (n, 2): x, y in [0, 1)
    flip: np.ndarray  # bool (n,)
    brightness: np.ndarray  # float32 (n,), a factor; also the next two
    contrast: np.ndarray
    saturation: np.ndarray


def draw(augment: Augment, seed: int, epoch: int, place: int, n: int) -> Draws:
    """The draws of `n` samples from `place` of the epoch on, the same however they are split up."""
    bits = np.random.Philox(key=[seed, epoch], counter=[place * (_NUMBERS // 4), 0, 0, 0])
    u = np.random.Generator(bits).random((n, _NUMBERS))
    crop = u[:, :2] if augment.crop else np.full((n, 2), 0.5)
    factors = [
        _factor(u[:, 3 + i], strength)
        for i, strength in enumerate((augment.brightness, augment.contrast, augment.saturation))
    ]
    return Draws(crop.astype(np.float32), u[:, 2] < augment.flip, *factors)


def _factor(u: np.ndarray, strength: float) -> np.ndarray:
    low = max(0.0, 1 - strength)
    return (low + u * (1 + strength - low)).astype(np.float32)
