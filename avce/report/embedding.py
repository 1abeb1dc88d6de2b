"""Where samples lie in the plane that t-SNE finds for z, and how pure its regions are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Embedding(NamedTuple):
    """z in two dimensions, and two numbers for what one believes to see there."""

    points: np.ndarray  # (n, 2)
    spearman: float  # of intensity with distance to the centroid; positive: neutral in the middle
    purity: float  # mean share of the 10 nearest neighbours in the same quadrant
    chance: float  # purity of randomly placed points


def embed(
    z: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n 2"], seed: int = 0
) -> Embedding:
    """t-SNE of z (perplexity 30 or a third of the samples, PCA start), not standardised.

    Raises ValueError below 10 samples, where neighbours say nothing.
    """
    from scipy.stats import rankdata
    from sklearn.manifold import TSNE

    if len(z) < 10:
        raise ValueError(f"{len(z)} samples are too few for an embedding; give 10 or more")
    perplexity = min(30.0, (len(z) - 1) / 3)
    start = "pca" if np.ptp(z, axis=0).any() else "random"  # a z that is one point has no axes
    points = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(z)
    distance = np.linalg.norm(points - points.mean(0), axis=1)
    ranks = rankdata([np.linalg.norm(target, axis=1), distance], axis=1)
    spearman = np.corrcoef(ranks)[0, 1]
    shares = np.bincount(quadrant(target), minlength=4) / len(target)
    return Embedding(points, float(spearman), purity(points, target), float((shares**2).sum()))


def quadrant(target: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
    """0 pleasant and lively, 1 unpleasant and lively, 2 unpleasant, calm, 3 pleasant, calm."""
    left, low = target[:, 0] < 0, target[:, 1] < 0
    return np.where(low, np.where(left, 2, 3), np.where(left, 1, 0))


def purity(
    points: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n 2"], neighbours: int = 10
) -> float:
    """The mean share of each point's nearest neighbours that lie in its emotional quadrant."""
    from sklearn.neighbors import NearestNeighbors

    near = min(neighbours, len(points) - 1)
    _, found = NearestNeighbors(n_neighbors=near).fit(points).kneighbors()
    codes = quadrant(target)
    return float((codes[found] == codes[:, None]).mean())
