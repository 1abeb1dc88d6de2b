"""Weights by the density of labels, beside a slow writing of their definition in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avce.method.density import CELLS, HEAVIEST, plane_weights, weights_at

AXIS = st.floats(-1, 1, width=32)
LABELS = st.lists(st.tuples(AXIS, AXIS), min_size=1, max_size=60)


def place(value: float) -> int:
    return min(int((value + 1) * 10), 19)


def slowly(labels: list[tuple[float, float]]) -> list[float]:
    """The weight of each label: counts of cells, a window of 5 x 5, then c by halving."""
    cells = [(place(v), place(a)) for v, a in labels]
    density = []
    for i, j in cells:
        near = [
            math.exp(-((i - k) ** 2 + (j - m) ** 2) / (2 * 2.0**2))
            for k, m in cells
            if abs(i - k) <= 2 and abs(j - m) <= 2
        ]
        density.append(math.fsum(near))
    low, high = 0.0, HEAVIEST * max(density)
    for _ in range(200):
        c = (low + high) / 2
        mean = math.fsum(min(c / d, HEAVIEST) for d in density) / len(labels)
        low, high = (c, high) if mean < 1 else (low, c)
    return [min(high / d, HEAVIEST) for d in density]


@settings(max_examples=100, deadline=None)
@given(LABELS)
def test_weights_are_their_definition(labels):
    targets = torch.tensor(labels, dtype=torch.float64)
    found = weights_at(plane_weights(targets), targets)
    torch.testing.assert_close(found.tolist(), slowly(labels), atol=1e-9, rtol=0)  # 60 roundings
    assert float(found.mean()) == pytest.approx(1, abs=1e-12)
    assert found.min() > 0 and found.max() <= HEAVIEST


def test_the_rare_weigh_more_and_never_above_the_bound():
    """9,999 labels in one corner, one in the other: unbounded it would weigh 5,000."""
    labels = torch.full((10_000, 2), -0.95)
    labels[0] = 0.95
    found = weights_at(plane_weights(labels), labels)
    assert found[0] == HEAVIEST
    torch.testing.assert_close(found[1:], torch.full((9_999,), 9_990 / 9_999).double())


def test_a_label_of_its_own_cell_is_what_its_neighbours_smooth():
    """Two cells apart the kernel still reaches, exp(-1/2); three apart it does not."""
    for apart, density in ((2, 1 + math.exp(-0.5)), (3, 1.0)):
        labels = torch.tensor([[0.05, 0.05], [0.05, 0.05], [0.05 + apart / 10, 0.05]])
        two, one = (float(w) for w in weights_at(plane_weights(labels), labels)[1:])
        common = density + 1 if apart == 3 else 2 + math.exp(-0.5)
        rare = density if apart == 3 else 1 + 2 * math.exp(-0.5)
        assert two / one == pytest.approx(rare / common)


def test_equal_labels_weigh_one_and_far_cells_the_most():
    weights = plane_weights(torch.zeros(5, 2))
    assert weights.shape == (CELLS, CELLS) and weights[10, 10] == pytest.approx(1)
    assert weights[0, 0] == HEAVIEST


def test_the_ends_of_the_plane_belong_to_its_last_cells():
    weights = torch.arange(400.0).view(20, 20)
    ends = torch.tensor([(-1.0, -1.0), (1.0, 1.0), (1.0, -1.0), (0.0, 0.999)])
    assert weights_at(weights, ends).tolist() == [0, 399, 380, 219]
