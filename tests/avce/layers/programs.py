"""Programs that people put into layers, ready to be declared for any engine."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from .cases import Case

V, P = cp.Variable, cp.Parameter


def least_squares():
    f = lambda x, A, b: cp.sum_squares(A @ x - b)  # noqa: E731
    return Case([V(3)], [P((5, 3)), P(5)], f, [], [], lambda d: [d.normal(5, 3), d.normal(5)])


def least_squares_shared_matrix():
    return least_squares()._replace(draw=lambda d: [d.normal(5, 3, rows=None), d.normal(5)])


def least_squares_shared_side():
    return least_squares()._replace(draw=lambda d: [d.normal(5, 3), d.normal(5, rows=None)])


def ridge():
    return Case(
        [V(3)],
        [P((5, 3)), P(5), P(nonneg=True)],
        lambda x, A, b, weight: cp.sum_squares(A @ x - b) + weight * cp.sum_squares(x),
        [],
        [],
        lambda d: [d.normal(5, 3), d.normal(5), d.positive()],
    )


def least_absolute():
    """The first example of cvxpylayers: a one-norm with its matrix as parameter."""
    f = lambda x, A, b: cp.pnorm(A @ x - b, p=1)  # noqa: E731
    g = [lambda x, A, b: -x]
    return Case([V(2)], [P((3, 2)), P(3)], f, g, [], lambda d: [d.normal(3, 2), d.normal(3)])


def chebyshev():
    f = lambda x, A, b: cp.norm_inf(A @ x - b)  # noqa: E731
    draw = lambda d: [d.normal(5, 2), d.normal(5)]  # noqa: E731
    return Case([V(2)], [P((5, 2)), P(5)], f, [], [], draw, alone=True)


def relu():
    f = lambda x, y: cp.sum_squares(x - y)  # noqa: E731
    return Case([V(4)], [P(4)], f, [lambda x, y: -x], [], lambda d: [d.normal(4)])


def leaky_box():
    return Case(
        [V(4)],
        [P(4), P(), P((1,))],
        lambda x, y, low, high: cp.sum_squares(x - y),
        [lambda x, y, low, high: low - x, lambda x, y, low, high: x - high],
        [],
        lambda d: [2 * d.normal(4), -d.positive(), d.positive(1)],
    )


def sigmoid():
    return Case(
        [V(4)],
        [P(4)],
        lambda x, y: -x @ y - cp.sum(cp.entr(x)) - cp.sum(cp.entr(1 - x)),
        [],
        [],
        lambda d: [d.normal(4)],
        alone=True,
    )


def sparse_max():
    f = lambda x, y: cp.sum_squares(x - y)  # noqa: E731
    h = [lambda x, y: cp.sum(x) - 1]
    return Case([V(5)], [P(5)], f, [lambda x, y: -x], h, lambda d: [d.normal(5)])


def soft_max():
    f = lambda x, y: -x @ y - cp.sum(cp.entr(x))  # noqa: E731
    h = [lambda x, y: cp.sum(x) - 1]
    return Case([V(5)], [P(5)], f, [], h, lambda d: [d.normal(5)], alone=True)


def constrained_soft_max():
    return Case(
        [V(5)],
        [P(5), P(5)],
        lambda x, y, cap: -x @ y - cp.sum(cp.entr(x)),
        [lambda x, y, cap: x - cap],
        [lambda x, y, cap: cp.sum(x) - 1],
        lambda d: [d.normal(5), 0.25 + 0.1 * d.positive(5)],
        alone=True,
    )


def constrained_sparse_max():
    return Case(
        [V(5)],
        [P(5), P(5)],
        lambda x, y, cap: cp.sum_squares(x - y),
        [lambda x, y, cap: -x, lambda x, y, cap: x - cap],
        [lambda x, y, cap: cp.sum(x) - 1],
        lambda d: [d.normal(5), 0.25 + 0.1 * d.positive(5)],
    )


def top_k():
    """The limited multi-label map: entropies of both sides, two entries on."""
    f = lambda x, y: -x @ y - cp.sum(cp.entr(x)) - cp.sum(cp.entr(1 - x))  # noqa: E731
    h = [lambda x, y: cp.sum(x) - 2]
    return Case([V(5)], [P(5)], f, [], h, lambda d: [d.normal(5)], alone=True)


def quadratic_program():
    """Everything a parameter but the Hessian; the fault of the missing multipliers."""
    return Case(
        [V(4)],
        [P(4), P((3, 4)), P(3), P((1, 4)), P(1)],
        lambda x, q, G, h, A, b: 0.5 * cp.sum_squares(x) + q @ x,
        [lambda x, q, G, h, A, b: G @ x - h],
        [lambda x, q, G, h, A, b: A @ x - b],
        lambda d: [d.normal(4), d.normal(3, 4), d.positive(3), d.normal(1, 4), d.normal(1)],
    )


def quadratic_program_with_root():
    return Case(
        [V(3)],
        [P((3, 3)), P(3), P((2, 3)), P(2)],
        lambda x, R, q, G, h: 0.5 * cp.sum_squares(R @ x) + 0.1 * cp.sum_squares(x) + q @ x,
        [lambda x, R, q, G, h: G @ x - h],
        [],
        lambda d: [d.normal(3, 3), d.normal(3), d.normal(2, 3), d.positive(2)],
    )


def projection_onto_a_polytope():
    return Case(
        [V(3)],
        [P(3), P((4, 3)), P(4)],
        lambda x, y, A, b: cp.sum_squares(x - y),
        [lambda x, y, A, b: A @ x - b],
        [],
        lambda d: [2 * d.normal(3), d.normal(4, 3), d.positive(4)],
    )


def projection_onto_an_ellipsoid():
    return Case(
        [V(3)],
        [P(3), P((3, 3))],
        lambda x, y, A: cp.sum_squares(x - y),
        [lambda x, y, A: cp.norm(A @ x) - 1],
        [],
        lambda d: [2 * d.normal(3), d.normal(3, 3) + 2 * torch.eye(3)],
    )


def second_order_cone():
    return Case(
        [V(3)],
        [P((3, 3)), P(3), P((2, 3)), P(2), P(3), P()],
        lambda x, R, q, A, b, c, s: 0.5 * cp.sum_squares(R @ x) + cp.sum_squares(x) + q @ x,
        [lambda x, R, q, A, b, c, s: cp.norm(A @ x + b) - c @ x - s],
        [],
        lambda d: [
            d.normal(3, 3),
            3 * d.normal(3),
            d.normal(2, 3),
            0.1 * d.normal(2),
            0.1 * d.normal(3),
            d.positive(),
        ],
    )


def norm_objective():
    f = lambda x, A, b: cp.norm(A @ x - b) + 0.1 * cp.sum_squares(x)  # noqa: E731
    return Case([V(3)], [P((5, 3)), P(5)], f, [], [], lambda d: [d.normal(5, 3), d.normal(5)])


def linear_program():
    return Case(
        [V(3)],
        [P(3), P((4, 3)), P(4)],
        lambda x, c, A, b: c @ x,
        [lambda x, c, A, b: A @ x - b, lambda x, c, A, b: -x],
        [],
        lambda d: [-d.positive(3), d.positive(4, 3), d.positive(4)],
    )


def log_sum_exp():
    return Case(
        [V(3)],
        [P((4, 3)), P(4)],
        lambda x, A, b: cp.log_sum_exp(A @ x + b) + 0.1 * cp.sum_squares(x),
        [],
        [],
        lambda d: [d.normal(4, 3), d.normal(4)],
        alone=True,
    )


def logistic_regression():
    """Two variables, the data a parameter, a scalar weight."""
    labels = np.array([[1.0], [0], [1], [1], [0], [0]])
    return Case(
        [V((2, 1)), V((1, 1))],
        [P((6, 2)), P(nonneg=True)],
        lambda a, c, X, weight: (
            -cp.sum(cp.multiply(labels, X @ a + c) - cp.logistic(X @ a + c)) / 6
            + weight * cp.sum_squares(a)
            + 0.1 * cp.sum_squares(c)
        ),
        [],
        [],
        lambda d: [d.normal(6, 2), d.positive()],
        alone=True,
    )


def sparse_logistic_regression():
    return Case(
        [V(3)],
        [P((6, 3)), P(nonneg=True)],
        lambda a, X, weight: (
            cp.sum(cp.logistic(X @ a)) / 6 + 0.01 * cp.norm1(a) + weight * cp.sum_squares(a)
        ),
        [],
        [],
        lambda d: [d.normal(6, 3), d.positive()],
        alone=True,
    )


def most_entropy():
    return Case(
        [V(5)],
        [P((2, 5)), P(2), P((2, 5)), P(2)],
        lambda x, A, b, F, g: -cp.sum(cp.entr(x)),
        [lambda x, A, b, F, g: F @ x - g],
        [lambda x, A, b, F, g: A @ x - b],
        lambda d: _feasible(d.normal(2, 5), d.positive(5), d.normal(2, 5), d.positive(2)),
        alone=True,
    )


def _feasible(A: Tensor, x: Tensor, F: Tensor, room: Tensor) -> list[Tensor]:
    side = lambda matrix: (matrix @ x[..., None])[..., 0]  # noqa: E731
    return [A, side(A), F, side(F) + 0.1 * room]


def lasso():
    return Case(
        [V(4)],
        [P((6, 4)), P(6), P(nonneg=True)],
        lambda x, A, b, weight: 0.5 * cp.sum_squares(A @ x - b) + weight * cp.norm1(x),
        [],
        [],
        lambda d: [d.normal(6, 4), 2 * d.normal(6), d.positive()],
    )


def denoising():
    """Total variation of a signal."""
    return Case(
        [V(6)],
        [P(6), P(nonneg=True)],
        lambda x, y, weight: cp.sum_squares(x - y) + weight * cp.tv(x),
        [],
        [],
        lambda d: [2 * d.normal(6), 0.5 * d.positive()],
    )


def equality():
    f = lambda x, A, b: cp.sum_squares(x)  # noqa: E731
    h = [lambda x, A, b: A @ x - b]
    return Case([V(4)], [P((2, 4)), P(2)], f, [], h, lambda d: [d.normal(2, 4), d.normal(2)])


def sudoku_like():
    """OptNet's layer: a small curvature, an equality that is learned, bounds."""
    return Case(
        [V(4)],
        [P(4), P((2, 4))],
        lambda x, p, A: 0.05 * cp.sum_squares(x) - p @ x,
        [lambda x, p, A: -x],
        [lambda x, p, A: A @ x - cp.sum(A, axis=1) * 0.5],
        lambda d: [d.normal(4), d.positive(2, 4)],
    )


def portfolio():
    return Case(
        [V(4)],
        [P(4), P((3, 4)), P(4, nonneg=True), P(nonneg=True)],
        lambda w, mean, root, spread, risk: (
            -mean @ w
            + cp.sum_squares(root @ w)
            + cp.sum(cp.multiply(spread, cp.square(w)))
            + 0.1 * risk * cp.norm1(w - 0.25)
        ),
        [lambda w, mean, root, spread, risk: -w],
        [lambda w, mean, root, spread, risk: cp.sum(w) - 1],
        lambda d: [0.3 * d.normal(4), d.normal(3, 4), d.positive(4), d.positive()],
    )


def control():
    """One step of model predictive control: next state and input; `ahead` is A x, made in torch."""
    return Case(
        [V(2), V(1)],
        [P((2, 1)), P(2), P((2, 2))],
        lambda x, u, B, ahead, root: cp.sum_squares(root @ x) + cp.sum_squares(u),
        [lambda x, u, B, ahead, root: cp.norm(u) - 0.4],
        [lambda x, u, B, ahead, root: x - ahead - B @ u],
        lambda d: [d.normal(2, 1), 2 * d.normal(2), d.normal(2, 2) + torch.eye(2)],
    )


def allocation():
    """Water filling: logarithms of affine expressions under a budget."""
    return Case(
        [V(4)],
        [P(4, nonneg=True), P(nonneg=True)],
        lambda x, noise, power: -cp.sum(cp.log(noise + x)),
        [lambda x, noise, power: -x],
        [lambda x, noise, power: cp.sum(x) - power],
        lambda d: [d.positive(4), d.positive()],
        alone=True,
    )


def transport():
    """Entropic transport: a matrix variable with row and column sums."""
    return Case(
        [V((3, 3))],
        [P((3, 3)), P(3)],
        lambda X, cost, mass: cp.sum(cp.multiply(cost, X)) - 0.5 * cp.sum(cp.entr(X)),
        [],
        [
            lambda X, cost, mass: cp.sum(X, axis=1) - mass,
            lambda X, cost, mass: cp.sum(X, axis=0)[:2] - cp.sum(mass) / 3,
        ],
        lambda d: [d.normal(3, 3), d.positive(3)],
        alone=True,
    )


def monotone():
    f = lambda x, y: cp.sum_squares(x - y)  # noqa: E731
    return Case([V(5)], [P(5)], f, [lambda x, y: -cp.diff(x)], [], lambda d: [d.normal(5)])


def shared_parameter():
    """One parameter in the objective, an inequality and an equality."""
    return Case(
        [V(3), V()],
        [P((3, 3)), P((1, 1))],
        lambda x, s, A, r: cp.sum_squares(A @ x - 1) + cp.sum_squares(x) + (s - r) ** 2,
        [lambda x, s, A, r: A[0] @ x - s],
        [lambda x, s, A, r: cp.sum(A @ x) - r],
        lambda d: [d.normal(3, 3), d.normal(1, 1)],
    )


def largest_entry():
    """Kinks along the axes of a matrix."""
    return Case(
        [V((2, 3))],
        [P((2, 3))],
        lambda X, Y: (
            cp.sum_squares(X - Y)
            + cp.sum(cp.max(X, axis=1))
            - cp.sum(cp.min(X, axis=0, keepdims=True))
            + cp.sum_squares(cp.norm(X, 1, axis=0))
            + cp.sum(cp.norm(X, "inf", axis=1))
        ),
        [],
        [],
        lambda d: [2 * d.normal(2, 3)],
    )


def huber_fit():
    f = lambda x, A, b: cp.sum(cp.huber(A @ x - b, 1)) + 0.1 * cp.sum_squares(x)  # noqa: E731
    return Case([V(3)], [P((5, 3)), P(5)], f, [], [], lambda d: [d.normal(5, 3), 2 * d.normal(5)])


PROGRAMS = [
    least_squares,
    least_squares_shared_matrix,
    least_squares_shared_side,
    ridge,
    least_absolute,
    chebyshev,
    relu,
    leaky_box,
    sigmoid,
    sparse_max,
    soft_max,
    constrained_soft_max,
    constrained_sparse_max,
    top_k,
    quadratic_program,
    quadratic_program_with_root,
    projection_onto_a_polytope,
    projection_onto_an_ellipsoid,
    second_order_cone,
    norm_objective,
    linear_program,
    log_sum_exp,
    logistic_regression,
    sparse_logistic_regression,
    most_entropy,
    lasso,
    denoising,
    equality,
    sudoku_like,
    portfolio,
    control,
    allocation,
    transport,
    monotone,
    shared_parameter,
    largest_entry,
    huber_fit,
]
