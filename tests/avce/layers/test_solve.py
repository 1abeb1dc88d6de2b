"""Certified solutions: generic programs by every engine, and the rows that have none."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from avce.layers import OptLayer, SoftMax, SolveError, softmax, sparsemax
from avce.layers.kkt import Instance

from .cases import ENGINES, MAPS, joined, rows, vjp

# cvxpylayers 1.2 calls np.array on tensors, which NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("name", ["sparse", "soft"])
def test_newton_arrives_from_afar(name):
    """Why ECOS may stop at two digits, and why `batched` needs no walk for these programs."""
    make, closed, tolerance = MAPS[name]
    solver = make(32, "batched").layer._solver
    for scale in (1e-2, 1, 30, 1e3):
        z = rows(500, 32, scale)
        point, error, _ = solver._by_newton(Instance(solver.program, [z]), 0.0)
        assert (error <= 1e-9).all()
        torch.testing.assert_close(point.x, closed(z), atol=tolerance, rtol=0)


def test_large_batches_are_solved_in_parts():
    """1,000 rows of 32 are a part: the third part holds the bad row."""
    z, weight = rows(2500, 32, 1), rows(2500, 32, 1, seed=1)
    z[2400, 3] = torch.nan
    p, grad = vjp(SoftMax(32, "batched", on_error="nan"), z, weight)
    expected, expected_grad = vjp(softmax, z, weight)
    good = ~expected.isnan().any(1)
    assert p.isnan().any(1).nonzero().tolist() == [[2400]]
    torch.testing.assert_close(p[good], expected[good], atol=1e-12, rtol=0)
    torch.testing.assert_close(grad[good], expected_grad[good], atol=1e-12, rtol=0)
    with pytest.raises(SolveError, match=r"\(row 2400\)"):
        SoftMax(32, "batched")(z)


def quadratic(n=5):
    """A dense QP with general inequalities and an equality."""
    rng = np.random.default_rng(0)
    root, sides, line = rng.normal(size=(n, n)), rng.normal(size=(4, n)), rng.normal(size=(2, n))
    x, q, b = cp.Variable(n), cp.Parameter(n), cp.Parameter(4)
    return OptLayerArguments(
        [x],
        [q, b],
        lambda x, q, b: cp.sum_squares(root @ x) + 0.1 * cp.sum_squares(x) + q @ x,
        [lambda x, q, b: sides @ x - b],
        [lambda x, q, b: line @ x - 0.3],
        lambda t: [t(3, n), t(3, 4).abs() + 0.5],
    )


class OptLayerArguments:
    def __init__(self, variables, parameters, f, g, h, draw):
        self.arguments = (variables, parameters, f, g, h)
        self.draw = draw

    def layer(self, **options) -> OptLayer:
        return OptLayer(*self.arguments, **options)

    def theta(self) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        return [t.requires_grad_() for t in self.draw(make)]


def ball():
    x, y = cp.Variable(4), cp.Parameter(4)
    return OptLayerArguments(
        [x],
        [y],
        lambda x, y: cp.sum_squares(x - y),
        [lambda x, y: cp.sum_squares(x) - 1],
        [],
        lambda t: [t(4, 4) * torch.tensor([[0.1], [1], [3], [10]])],
    )


def norm_ball():
    x, y = cp.Variable(4), cp.Parameter(4)
    return OptLayerArguments(
        [x],
        [y],
        lambda x, y: cp.sum_squares(x - y),
        [lambda x, y: cp.norm(x) - 1],
        [],
        lambda t: [t(3, 4) * 3],
    )


def capped_entropy():
    p, z, cap = cp.Variable(6), cp.Parameter(6), cp.Parameter(6)
    return OptLayerArguments(
        [p],
        [z, cap],
        lambda p, z, cap: -p @ z - cp.sum(cp.entr(p)),
        [lambda p, z, cap: p - cap],
        [lambda p, z, cap: cp.sum(p) - 1],
        lambda t: [t(3, 6), 0.25 + 0.05 * t(3, 6).abs()],
    )


def scaled_variable():
    """Two parameters, one of which multiplies the variable."""
    x, y, a = cp.Variable(3), cp.Parameter(5), cp.Parameter((5, 3))
    return OptLayerArguments(
        [x],
        [y, a],
        lambda x, y, a: cp.sum_squares(a @ x - y) + 0.1 * cp.sum_squares(x),
        [lambda x, y, a: x - 0.3],
        [],
        lambda t: [t(3, 5), t(3, 5, 3)],
    )


def logistic():
    x, y = cp.Variable(3), cp.Parameter(3)
    return OptLayerArguments(
        [x],
        [y],
        lambda x, y: cp.sum(cp.logistic(-2 * x)) + 0.5 * cp.sum_squares(x - y),
        [lambda x, y: cp.sum(x) - 0.5],
        [],
        lambda t: [t(4, 3)],
    )


def no_inequality():
    x, y = cp.Variable(4), cp.Parameter(4)
    return OptLayerArguments(
        [x],
        [y],
        lambda x, y: cp.log_sum_exp(x) + cp.sum_squares(x - y),
        [],
        [lambda x, y: x[0] - x[3] - 0.5],
        lambda t: [t(3, 4)],
    )


def lasso():
    """Kinks: some entries of the solution stay at zero."""
    x, y = cp.Variable(5), cp.Parameter(5)
    return OptLayerArguments(
        [x],
        [y],
        lambda x, y: 0.5 * cp.sum_squares(x - y) + 0.7 * cp.norm1(x) + cp.max(x),
        [],
        [],
        lambda t: [t(4, 5) * 2],
    )


def log_barrier():
    """A logarithm of an affine expression, a matrix variable, two variables."""
    x, s, y = cp.Variable((2, 3)), cp.Variable(), cp.Parameter((2, 3))
    return OptLayerArguments(
        [x, s],
        [y],
        lambda x, s, y: cp.sum_squares(x - y) - cp.sum(cp.log(2 * x[0] + 3)) + cp.exp(s) - s,
        [lambda x, s, y: cp.sum(x, axis=1) - s],
        [lambda x, s, y: x[1, 0] - x[0, 2]],
        lambda t: [t(3, 2, 3)],
    )


def entmax():
    p, z = cp.Variable(5, nonneg=True), cp.Parameter(5)
    return OptLayerArguments(
        [p],
        [z],
        lambda p, z: -p @ z + cp.sum(cp.power(p, 1.5)) / 0.75,
        [],
        [lambda p, z: cp.sum(p) - 1],
        lambda t: [t(4, 5)],
    )


def vertex():
    """A linear program with one solution: its gradient in the bounds is not zero."""
    x, b = cp.Variable(2), cp.Parameter(2)
    return OptLayerArguments(
        [x],
        [b],
        lambda x, b: -x[0] - 2 * x[1],
        [lambda x, b: x - b, lambda x, b: cp.sum(x) - 1.5 * b[0], lambda x, b: -x],
        [],
        lambda t: [1 + 0.1 * t(3, 2)],
    )


PROGRAMS = [
    quadratic,
    ball,
    norm_ball,
    capped_entropy,
    scaled_variable,
    logistic,
    no_inequality,
    lasso,
    log_barrier,
    entmax,
    vertex,
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_of_generic_programs(program, engine):
    task = program()
    layer = task.layer(engine=engine)
    assert layer.engine == engine
    assert torch.autograd.gradcheck(
        lambda *theta: joined(layer(*theta)),
        task.theta(),
        eps=1e-6,
        atol=1e-5,
        rtol=1e-4,
        fast_mode=True,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_engines_agree_with_cvxpy(program):
    task = program()
    with torch.no_grad():
        theta = task.theta()
        ours = [joined(task.layer(engine=engine)(*theta)) for engine in ENGINES]
    torch.testing.assert_close(ours[0], ours[1], atol=1e-8, rtol=1e-8)
    variables, parameters, *_ = task.arguments
    problem = task.layer().declared.problem
    for parameter, value in zip(parameters, theta, strict=True):
        parameter.value = value[0].detach().numpy()
    problem.solve(solver=cp.CLARABEL)
    theirs = np.concatenate([np.ravel(v.value) for v in variables])
    np.testing.assert_allclose(ours[0][0].numpy(), theirs, atol=1e-4)  # Clarabel stops at 1e-8


def floor(engine: str, on_error: str = "raise") -> OptLayer:
    """Infeasible where the parameter is positive: x >= y and x <= 0."""
    return OptLayer(
        [cp.Variable(2)],
        [cp.Parameter(2)],
        lambda x, y: cp.sum_squares(x - 1),
        [lambda x, y: y - x, lambda x, y: x],
        [],
        engine=engine,
        on_error=on_error,
    )


BAD = torch.tensor([[-1.0, -1], [1, -1], [torch.nan, 0], [-2, -1], [0, torch.inf]])


@pytest.mark.parametrize("engine", [*ENGINES, "cvxpylayers"])
def test_bad_rows_are_counted_and_named(engine):
    with pytest.raises(SolveError, match=r"2 of 5 rows hold NaN or infinite .*rows 2, 4") as caught:
        floor(engine)(BAD)
    assert caught.value.rows == {"not finite": [2, 4]}
    with pytest.raises(SolveError, match=r"1 of 3 rows have no feasible point \(row 1\)"):
        floor(engine)(BAD[[0, 1, 3]])


@pytest.mark.parametrize("engine", [*ENGINES, "cvxpylayers"])
def test_bad_rows_can_be_left_as_nan(engine):
    y = BAD.clone().requires_grad_()
    x = floor(engine, "nan")(y)
    assert x.isnan().any(1).tolist() == [False, True, True, False, True]
    x.nansum().backward()
    assert y.grad is not None and y.grad.isfinite().all()
    assert not floor(engine, "nan")(BAD[1:3]).isfinite().any()


@pytest.mark.parametrize("engine", [*ENGINES, "cvxpylayers"])
def test_unbounded_rows_are_named(engine):
    layer = OptLayer(
        [cp.Variable(2)],
        [cp.Parameter(2)],
        lambda x, c: c @ x,
        [lambda x, c: -x, lambda x, c: 0.2 - cp.sum(x)],
        [],
        engine=engine,
    )
    with pytest.raises(SolveError, match=r"1 of 2 rows are unbounded below \(row 1\)"):
        layer(torch.tensor([[1.0, 2], [-1, 2]]))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_that_fails_says_by_how_much(engine):
    """Far out on a log-sum-exp the numbers overflow: rows 0 and 2 are told, row 1 is not."""
    layer = OptLayer(
        [cp.Variable(2)],
        [cp.Parameter(2)],
        lambda x, y: cp.sum(cp.exp(x)) + cp.sum_squares(x) + y @ x,
        [],
        [],
        engine=engine,
    )
    y = torch.tensor([[-1e200, 0], [1, 2], [0, -1e150]], dtype=torch.float64)
    with pytest.raises(
        SolveError, match=r"rows 0: KKT residual .*, 2: KKT .* up to 1e\+150"
    ) as told:
        layer(y)
    assert told.value.rows == {"failed": [0, 2]}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("unit", "far"), [(1e-6, 5.0), (1e-12, 5.0), (1e8, 5.0), (1, 1e9), (1, 1e15)]
)
def test_neither_units_nor_idle_bounds_excuse_a_residual(unit, far, engine):
    """Judged against the largest parameter, or against 1, x was off by 0.07 and called solved."""

    def solved(unit: float, far: float) -> tuple[torch.Tensor, torch.Tensor]:
        layer = OptLayer(
            [cp.Variable(4)],
            [cp.Parameter(4), cp.Parameter()],
            lambda x, y, far: unit * (cp.log_sum_exp(3 * x + y) + cp.sum(cp.exp(x))),
            [lambda x, y, far: x - far],
            [lambda x, y, far: cp.sum(x) - 1],
            engine=engine,
        )
        far_off = torch.tensor(far, dtype=torch.float64)
        return vjp(lambda y: layer(y, far_off), rows(3, 4, 1), rows(3, 4, 1, seed=1))

    torch.testing.assert_close(solved(unit, far), solved(1.0, 5.0), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_digits_that_cancel_are_not_called_a_solution(engine):
    """Seen from 1e13 the simplex is a point: no residual is left, and no digit of x either."""
    layer = OptLayer(
        [cp.Variable(3)],
        [cp.Parameter(3)],
        lambda p, z: cp.sum_squares(p - z),
        [lambda p, z: -p],
        [lambda p, z: cp.sum(p) - 1],
        engine=engine,
    )
    z = rows(4, 3, 0.3)
    torch.testing.assert_close(layer(z + 1e6), sparsemax(z), atol=1e-9, rtol=0)
    with pytest.raises(SolveError, match="4 of 4 rows could not be solved"):
        layer(z + 1e13)
