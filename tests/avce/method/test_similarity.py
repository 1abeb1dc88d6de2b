"""Angles: golden numbers, symmetries, and finite gradients where arccos has none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avce.method.similarity import ANGULAR, AUTHORS, POLAR, Similarity, angle

X = torch.tensor([(0.3, 0.4), (0.6, -0.2), (-0.1, 0.5)], dtype=torch.float64)
Y = torch.tensor([(0.4, 0.3), (0.5, 0.1), (0.2, 0.4)], dtype=torch.float64)
Z = torch.tensor([(-0.2, 0.1), (0.1, -0.4), (-0.3, -0.3)], dtype=torch.float64)


def close(got, wanted, atol=1e-7):
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=got.dtype), atol=atol, rtol=0)


def test_golden_numbers():
    close(angle(X, Y) / torch.pi, [0.0903345, 0.1652493, 0.2104166])
    close(angle(X, Z) / torch.pi, [0.5572491, 0.3196045, 0.6871670])
    close(POLAR(X, Y), [1.7096655, 1.5367078, 1.5394327])


@pytest.mark.parametrize("dim", [2, 3, 7])
def test_equals_arccos_where_arccos_is_sound(dim):
    torch.manual_seed(0)
    x, y = torch.randn(2, 500, dim, dtype=torch.float64)
    wanted = torch.arccos(torch.cosine_similarity(x, y, dim=-1, eps=0).clamp(-1, 1))
    close(angle(x, y), wanted, atol=1e-10)  # arccos loses digits near 0 and pi


def test_plane_and_space_forms_agree():
    flat = torch.cat([X, torch.zeros(3, 1, dtype=X.dtype)], 1)
    other = torch.cat([Z, torch.zeros(3, 1, dtype=X.dtype)], 1)
    close(angle(flat, other), angle(X, Z), atol=1e-14)


@pytest.mark.parametrize("dim", [2, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "case", ["parallel", "opposite", "left zero", "right zero", "both zero", "tiny"]
)
@pytest.mark.parametrize("similarity", [ANGULAR, POLAR, AUTHORS, Similarity(distance=True)])
def test_gradients_are_finite_everywhere(similarity, case, dtype, dim):
    x = torch.linspace(0.2, 0.7, dim, dtype=dtype)[None]
    pairs = {
        "parallel": (x, 2 * x),
        "opposite": (x, -x),
        "left zero": (0 * x, x),
        "right zero": (x, 0 * x),
        "both zero": (0 * x, 0 * x),
        "tiny": (1e-20 * x, 1e-20 * x.flip(-1)),
    }
    left, right = (side.clone().requires_grad_() for side in pairs[case])
    value = similarity(left, right)
    value.sum().backward()
    assert left.grad is not None and right.grad is not None
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(left.grad).all()) and bool(torch.isfinite(right.grad).all())


def test_values_at_the_ends():
    x = torch.tensor([[0.3, 0.4]])
    close(ANGULAR(x, 3 * x), [1.0])
    close(ANGULAR(x, -x), [0.0])
    close(ANGULAR(0 * x, x), [1.0])  # a zero vector has no direction: theta = 0 in the plane
    wide = torch.ones(1, 7)
    close(angle(0 * wide, wide), [torch.pi / 2])


def test_gradients_match_finite_differences():
    x, y = X.clone().requires_grad_(), Z.clone().requires_grad_()
    wide = torch.randn(2, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(POLAR, (x, y))
    assert torch.autograd.gradcheck(angle, tuple(side.requires_grad_() for side in wide))


coordinate = st.floats(-1, 1, allow_nan=False).filter(lambda c: c == 0 or abs(c) > 1e-3)
vector = st.tuples(coordinate, coordinate).filter(lambda v: v != (0, 0))


@given(u=vector, v=vector, w=vector, scale=st.floats(0.1, 10))
@settings(max_examples=100, deadline=None)
def test_it_is_a_metric_of_directions(u, v, w, scale):
    u, v, w = (torch.tensor([p], dtype=torch.float64) for p in (u, v, w))
    d = 1 - ANGULAR(u, v)
    assert 0 <= float(d) <= 1
    close(d, 1 - ANGULAR(v, u), atol=1e-12)
    close(d, 1 - ANGULAR(scale * u, v), atol=1e-12)
    # Lemma's stand-in: pulling f(u, v) and f(u, w) apart separates v from w
    gap = float((ANGULAR(u, v) - ANGULAR(u, w)).abs())
    assert float(1 - ANGULAR(v, w)) >= gap - 1e-12


def test_the_released_angle_stays_in_a_narrow_band():
    a = Similarity(angle="authors_halfcos")
    x = torch.tensor([[1.0, 0.0]])
    close(a(x, x), [11 / 12], atol=1e-6)
    close(a(x, -x), [5 / 6], atol=1e-6)


def test_sign_penalty_per_sample_and_broadcast():
    per_sample = Similarity(sign_weight=0.05)
    differ = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)  # valence signs of X and Z
    close(per_sample(X, Z), ANGULAR(X, Z) - 0.05 * differ)
    matrix = Similarity(sign_weight=0.05, broadcast=True)(X, Z)
    close(matrix, ANGULAR(X, Z)[:, None] - 0.05 * differ[None])
    zero = torch.zeros(1, 2)
    close(per_sample(zero, X[:1].float()), [0.95])  # an exact 0 counts as a mismatch
