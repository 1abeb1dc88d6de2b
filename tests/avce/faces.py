"""Drawn faces for tests: a few, small, always the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from shards.standins.face import Scene, render, units_for, wanted_point
from shards.standins.identity import Identity

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@cache
def faces(n: int = 16, size: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, 3, size, size) normalised images, (n, 2) labels and (n,) expressions 0..6."""
    rng = np.random.default_rng(7)
    drawings = [
        render(
            Identity.draw(rng), units_for(*wanted_point(rng), rng), Scene.draw(rng, "easy"), size
        )
        for _ in range(n)
    ]
    pixels = torch.stack([torch.from_numpy(d.image[..., :3].copy()) for d in drawings])
    image = (pixels.permute(0, 3, 1, 2) / 255 - _channel(MEAN)) / _channel(STD)
    target = torch.tensor([(d.valence, d.arousal) for d in drawings], dtype=torch.float32)
    codes = torch.tensor([min(d.expression, 6) for d in drawings])
    return image, target, codes


def _channel(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
