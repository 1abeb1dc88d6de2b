"""Label-distribution smoothing: on the plane, an error weighs more where labels are rare."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

CELLS = 20  # along each axis of the plane: a tenth wide, as people rate
REACH, SIGMA = 2, 2.0  # of the kernel, in cells: 5 wide, as published
HEAVIEST = 10.0


def plane_weights(labels: Float[Tensor, "n 2"]) -> Float[Tensor, "20 20"]:
    """For each cell of the plane 1 / the smoothed density of `labels`, which are in [-1, 1].

    Yang et al., ICML 2021 ("Delving into Deep Imbalanced Regression"), on two axes: counts by cell
    are smoothed by a Gaussian on each axis, cut off after 2 cells and at the plane's border, and
    inverted. The mean weight of a label is 1 and none is above 10: the weights are w = min(c / d,
    10), c being the one number that makes them so. A cell that no label is near has 10. float64.
    """
    cell = _cells(labels.double())
    counts = torch.bincount(cell, minlength=CELLS**2).view(CELLS, CELLS).double()
    away = torch.arange(CELLS, dtype=torch.float64)
    away = (away[:, None] - away).abs()
    kernel = torch.exp(-(away**2) / (2 * SIGMA**2)) * (away <= REACH)
    inverse = 1 / (kernel @ counts @ kernel)
    return (_scale(inverse.flatten(), counts.flatten()) * inverse).clamp(max=HEAVIEST)


def _scale(inverse: Tensor, counts: Tensor) -> float:
    """c such that min(c * inverse, HEAVIEST) has mean 1 over `counts`: with the heaviest cells at
    the bound, as few of them as let the next one stay below it."""
    order = inverse[counts > 0].argsort(descending=True)
    n, w = counts[counts > 0][order], inverse[counts > 0][order]
    bound = HEAVIEST * (n.cumsum(0) - n)  # of all cells before each
    rest = (n * w).flip(0).cumsum(0).flip(0)  # of each and all behind it
    scale = (n.sum() - bound) / rest
    return float(scale[scale * w <= HEAVIEST][0])


def weights_at(
    weights: Float[Tensor, "20 20"], labels: Float[Tensor, "n 2"]
) -> Float[Tensor, " n"]:
    """The weight of each label."""
    return weights.flatten()[_cells(labels)]


def _cells(labels: Tensor) -> Tensor:
    """By valence, then arousal; 1 belongs to the last cell of its axis."""
    valence, arousal = ((labels + 1) * (CELLS / 2)).long().clamp(0, CELLS - 1).unbind(-1)
    return valence * CELLS + arousal
