"""Declarations: what is called, checked and refused."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch

from avce.layers import OptLayer, SparseMax

from .cases import one_function

X, Y = cp.Variable(2), cp.Parameter(2)


def test_each_function_is_called_once():
    calls = []

    def f(p, z):
        calls.append(type(p))
        return cp.sum_squares(p - z)

    layer = OptLayer([cp.Variable(3)], [cp.Parameter(3)], f, [], [])
    layer(torch.zeros(2, 3))
    layer(torch.zeros(2, 3))
    assert calls == [cp.Variable]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: one_function(lambda x, y: -cp.sum_squares(x)), "the objective is concave"),
        (
            lambda: one_function(lambda x, y: cp.sum(x), [lambda x, y: 1 - cp.norm(x)]),
            "inequality 0 is concave, not convex",
        ),
        (
            lambda: one_function(lambda x, y: cp.sum_squares(x), h=[lambda x, y: cp.norm(x) - 1]),
            "equality 0 is convex, not affine",
        ),
        (
            lambda: one_function(lambda x, y: cp.sum_squares(cp.multiply(y, cp.multiply(y, x)))),
            "not affine in its parameters",
        ),
        (lambda: one_function(lambda x, y: cp.sum_squared(x)), "write cp.sum_squares"),
        (lambda: one_function(lambda x, y: x), "make it one number"),
        (
            lambda: one_function(lambda x, y: cp.sum(x), [lambda x, y: x >= 0]),
            "return the expression on its left-hand side",
        ),
        (lambda: one_function(lambda x, y: 3.0), "return a CVXPY expression"),
        (lambda: one_function(lambda x, y: cp.sum(y)), "no function uses the variable"),
        (
            lambda: one_function(lambda x, y: cp.sum_squares(x - cp.Parameter(3))),
            "which the layer was not given",
        ),
        (lambda: one_function(lambda x, y: cp.sum_squares(x), engine="scs"), "engine is 'scs'"),
        (
            lambda: OptLayer([cp.Variable(2, boolean=True)], [], lambda x: cp.sum(x), [], []),
            "boolean or integer",
        ),
        (lambda: OptLayer([X, X], [Y], lambda x, z, y: x - y, [], []), "stands there twice"),
        (lambda: OptLayer([X], [Y, Y], lambda x, y, z: x - y, [], []), "stands there twice"),
        (lambda: OptLayer([3], [], lambda x: x, [], []), "declare it as cp.Variable"),
        (lambda: SparseMax(4, "scs"), "engine is 'scs'"),
    ],
)
def test_a_wrong_declaration_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
