"""The smooth form of a program has the same optimum, and no kink where Newton walks."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from avce.layers.atoms import kind
from avce.layers.smoothing import Lift

KINKS = {"abs", "norm1", "norm_inf", "max", "maximum", "min", "minimum"}
X, Y = cp.Variable((2, 3)), cp.Variable(3)
TARGET = np.array([[1.0, -2, 0.5], [-0.3, 0.8, 2]])
EXPRESSIONS = {
    "abs": cp.sum(cp.abs(X)),
    "norm1": cp.norm1(X),
    "norm1 along": cp.sum_squares(cp.norm(X, 1, axis=1)),
    "norm1 along, kept": cp.sum_squares(cp.norm(X, 1, axis=0, keepdims=True)),
    "norm_inf": cp.norm_inf(X),
    "norm_inf along": cp.sum(cp.norm(X, "inf", axis=0)),
    "max": cp.max(X),
    "max along": cp.sum_squares(cp.pos(cp.max(X, axis=1))),
    "max along, kept": cp.sum(cp.max(X, axis=-1, keepdims=True)),
    "max along both": cp.max(X, axis=(0, 1)),
    "min along": -cp.sum(cp.min(X, axis=0)),
    "maximum": cp.sum(cp.maximum(X, 0.5, -X)),
    "maximum of shapes": cp.sum(cp.maximum(X, Y[None, :], Y[0])),
    "minimum": -cp.sum(cp.minimum(X, 1)),
    "log": -cp.sum(cp.log(X + 3)),
    "log of concave": -cp.log(cp.sum(cp.sqrt(X + 3))),
    "log1p": -cp.sum(cp.log1p(X + 3)),
    "sqrt": -cp.sum(cp.sqrt(X + 3)),
    "entropy": -cp.sum(cp.entr(X + 3)),
    "geo mean": -cp.geo_mean(cp.vec(X, order="F") + 3),
    "quad over": cp.quad_over_lin(X, Y[0] + 3),
    "power": cp.sum(cp.power(X + 3, 1.5)),
    "nested": cp.sum_squares(cp.maximum(cp.abs(X) - 0.2, 0)),
}


def atoms(expression) -> set[str]:
    return {kind(expression)}.union(*(atoms(argument) for argument in expression.args))


@pytest.mark.filterwarnings("ignore:geo_mean is being approximated:UserWarning")
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_lifted_program_has_the_same_optimum(name):
    near = cp.sum_squares(X - TARGET) + cp.sum_squares(Y - 1)
    plain = cp.Problem(cp.Minimize(near + EXPRESSIONS[name]))
    plain.solve(solver=cp.CLARABEL)
    expected, point = plain.value, X.value
    lift = Lift()
    objective = lift(near + EXPRESSIONS[name])
    assert not KINKS & atoms(objective).union(*(atoms(g) for g in lift.inequalities))
    rules = [g <= 0 for g in lift.inequalities] + [h == 0 for h in lift.equalities]
    lifted = cp.Problem(cp.Minimize(objective), rules)
    assert lifted.is_dcp()
    lifted.solve(solver=cp.CLARABEL)
    np.testing.assert_allclose(lifted.value, expected, rtol=1e-5)  # both stop at 1e-8
    np.testing.assert_allclose(X.value, point, atol=1e-3)
    assert all((v.value > 0).all() for v in lift.variables if v.id in lift.positive)
