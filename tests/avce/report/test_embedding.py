"""What t-SNE is believed to show: quadrants, their purity, neutral faces in the middle."""

from __future__ import annotations

import numpy as np
import pytest

from avce.report import embedding, figures

RNG = np.random.default_rng(0)
TARGET = np.clip(RNG.normal(0, 0.5, (60, 2)), -1, 1)


def test_quadrants_and_purity():
    corners = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    assert embedding.quadrant(corners).tolist() == [0, 1, 2, 3]
    target = np.repeat(corners, 15, axis=0)
    assert embedding.purity(target + RNG.normal(0, 0.01, (60, 2)), target) == 1.0


def test_an_embedding_of_the_plane_itself_has_neutral_in_the_middle():
    found = embedding.embed(TARGET @ RNG.normal(0, 1, (2, 8)), TARGET)
    assert found.points.shape == (60, 2) and found.spearman > 0.4
    assert found.purity > found.chance + 0.2
    with pytest.raises(ValueError, match="too few"):
        embedding.embed(TARGET[:9], TARGET[:9])


def test_a_collapsed_z_is_drawn_and_ends_no_process():
    """A network that says the same of every face; from a PCA of it t-SNE ends by a signal."""
    found = embedding.embed(np.ones((40, 8), np.float32), TARGET[:40])
    assert np.isfinite(found.points).all()
    assert figures.tsne(found, TARGET[:40]).get_size_inches()[1] > 1
