"""What is read off the expression tree, against many points and parameters."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from avce.layers.atoms import translate
from avce.layers.structure import Dependence, has_constant_hessian, has_constant_jacobian

N = 4
X, Q, A, S = cp.Variable(N), cp.Parameter(N, nonneg=True), cp.Parameter((N, N)), cp.Parameter()
FULL = np.random.default_rng(3).normal(size=(N, N))
# expression, constant Jacobian, constant Hessian, diagonal Hessian
KNOWN = {
    "sum": (cp.sum(X) - Q, True, True, True),
    "numbers": (FULL @ X + A @ Q, True, True, True),
    "moving matrix": (A @ X, False, True, True),
    "moving scale": (cp.multiply(Q, X), False, True, True),
    "moving scalar": (S * X, False, True, True),
    "moving and stacked": (cp.hstack([X, S * X[:2]]), False, True, True),
    "moving and picked": ((A @ X)[1:3], False, True, True),
    "over a number": ((FULL @ X) / 3, True, True, True),
    "squares": (cp.sum_squares(X - Q), False, True, True),
    "rotated squares": (cp.sum_squares(FULL @ X - Q), False, True, False),
    "moving squares": (cp.sum_squares(A @ X), False, False, False),
    "weighted squares": (cp.sum(cp.multiply(Q, cp.square(X))), False, False, True),
    "scaled squares": (cp.sum_squares(cp.multiply(Q, X)), False, False, True),
    "form": (cp.quad_form(X, FULL @ FULL.T), False, True, False),
    "over a variable": (cp.quad_over_lin(X[:2], X[3]), False, False, False),
    "cubes": (cp.sum(cp.power(X, 3)), False, False, True),
    "entropy": (cp.sum(cp.entr(X)), False, False, True),
    "huber": (cp.sum(cp.huber(X)), False, False, True),
    "norm": (cp.norm(X), False, False, False),
    "log sum exp": (cp.log_sum_exp(X), False, False, False),
}


def derivative(expression, order: int, seed: int) -> torch.Tensor:
    """The Jacobian, or the Hessian of the sum, in X at a drawn point and drawn parameters."""
    generator = torch.Generator().manual_seed(seed)
    leaves = {*expression.variables(), *expression.parameters()}
    values = {
        leaf.id: torch.rand(1, *leaf.shape, generator=generator).double() + 0.5
        for leaf in sorted(leaves, key=lambda leaf: leaf.id)
    }
    function = translate(expression)

    def at(x: torch.Tensor) -> torch.Tensor:
        value = function(values | {X.id: x[None]})
        return value.sum() if order == 2 else value.reshape(-1)

    slope = torch.func.jacrev(at)
    return (torch.func.jacrev(slope) if order == 2 else slope)(values[X.id][0])


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_called_constant_is_constant(name):
    expression, jacobian, hessian, _ = KNOWN[name]
    assert has_constant_jacobian(expression) == jacobian
    assert has_constant_hessian(expression) == hessian
    for constant, order in ((jacobian, 1), (hessian, 2)):
        first, second = (derivative(expression, order, seed) for seed in (1, 2))
        assert torch.allclose(first, second) >= constant


@pytest.mark.parametrize("name", KNOWN)
def test_dependence_misses_no_entry(name):
    expression, _, _, diagonal = KNOWN[name]
    dependence = Dependence({X.id: (0, N)}, N)
    seen = dependence.hessian(expression)
    assert (not (seen & ~np.eye(N, dtype=bool)).any()) == diagonal
    assert not (derivative(expression, 2, 1) != 0).numpy()[~seen].any()
    sight = dependence.gradient(expression)
    assert not (derivative(expression, 1, 1) != 0).numpy()[~sight].any()
