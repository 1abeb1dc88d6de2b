"""cvxpylayers behind our interface."""

from __future__ import annotations

import logging

import cvxpy as cp
import pytest
import torch

from .cases import MAPS, one_function, rows, vjp

# cvxpylayers 1.2 calls np.array on tensors, which NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("name", MAPS)
def test_cvxpylayers_agrees_where_it_is_right(name):
    make, closed, _ = MAPS[name]
    z, weight = rows(8, 6, 0.5), rows(8, 6, 1, seed=1)
    p, grad = vjp(make(6, "cvxpylayers"), z, weight)
    expected, expected_grad = vjp(closed, z, weight)
    torch.testing.assert_close(p, expected, atol=1e-6, rtol=0)  # SCS stops at 1e-9 of its own
    torch.testing.assert_close(grad, expected_grad, atol=1e-4, rtol=0)


def test_an_unknown_atom_goes_to_cvxpylayers(caplog):
    with caplog.at_level(logging.WARNING):
        layer = one_function(lambda x, y: cp.sum_largest(x, 2) + cp.sum_squares(x - y))
    assert layer.engine == "cvxpylayers"
    assert "the atom sum_largest" in caplog.text
    y = rows(2, 3, 1).requires_grad_()
    layer(y).sum().backward()
    assert y.grad is not None and y.grad.isfinite().all()
