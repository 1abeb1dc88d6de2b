"""Optimisation layers: every engine against closed forms, finite differences and each other."""

from __future__ import annotations

import copy
import logging

import cvxpy as cp
import numpy as np
import pytest
import torch

from avce.layers import OptLayer, SoftMax, SolveError, SparseMax, softmax, sparsemax
from avce.layers.kkt import Instance

ENGINES = ("ecos", "batched")
# cvxpylayers 1.2 calls np.array on tensors, which NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
MAPS = {"sparse": (SparseMax, sparsemax, 1e-8), "soft": (SoftMax, softmax, 1e-7)}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Matrices this small only wait for each other in two threads, above all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(batch: int, d: int, scale: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, d, generator=generator, dtype=torch.float64) * scale


def vjp(layer, z: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = z.clone().requires_grad_()
    p = layer(z)
    (grad,) = torch.autograd.grad(p, z, weight)
    return p.detach(), grad


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("d", [2, 4, 32, 128])
@pytest.mark.parametrize("name", MAPS)
def test_engines_agree_with_the_closed_forms(name, d, engine):
    make, closed, tolerance = MAPS[name]
    layer = make(d, engine)
    for scale in (1e-2, 1, 30, 1e3):
        z, weight = rows(16, d, scale), rows(16, d, 1, seed=1)
        p, grad = vjp(layer, z, weight)
        expected, expected_grad = vjp(closed, z, weight)
        torch.testing.assert_close(p, expected, atol=tolerance, rtol=0)
        torch.testing.assert_close(grad, expected_grad, atol=1e-6, rtol=0)
        assert (p >= 0).all()
        assert (p.sum(1) - 1).abs().max() <= 1e-12


@pytest.mark.parametrize("name", MAPS)
def test_cvxpylayers_agrees_where_it_is_right(name):
    make, closed, _ = MAPS[name]
    z, weight = rows(8, 6, 0.5), rows(8, 6, 1, seed=1)
    p, grad = vjp(make(6, "cvxpylayers"), z, weight)
    expected, expected_grad = vjp(closed, z, weight)
    torch.testing.assert_close(p, expected, atol=1e-6, rtol=0)  # SCS stops at 1e-9 of its own
    torch.testing.assert_close(grad, expected_grad, atol=1e-4, rtol=0)


TIES = torch.tensor([[1.0, 0, 0], [0.5, 0.5, -0.5], [0, 0, 0], [2, 1, 1], [0.75, 0.25, -0.25]])


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_have_the_derivative_of_the_closed_form(engine):
    z, weight = TIES.double(), rows(len(TIES), 3, 1)
    p, grad = vjp(SparseMax(3, engine), z, weight)
    expected, expected_grad = vjp(sparsemax, z, weight)
    torch.testing.assert_close(p, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(grad, expected_grad, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_thousands_of_ordinary_rows_solve(name, engine):
    """The benchmark does 100,000; here 2,000 a scale keep the suite short."""
    make, closed, tolerance = MAPS[name]
    layer = make(32, engine)
    for scale in (1.0, 10.0):
        z = rows(2000, 32, scale, seed=7)
        torch.testing.assert_close(layer(z), closed(z), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", MAPS)
def test_newton_arrives_from_afar(name):
    """Why ECOS may stop at two digits, and why `batched` needs no walk for these programs."""
    make, closed, tolerance = MAPS[name]
    solver = make(32, "batched").layer._solver
    for scale in (1e-2, 1, 30, 1e3):
        z = rows(500, 32, scale)
        point, left, _ = solver._by_newton(Instance(solver.program, [z]), 0.0)
        assert not left.any()
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


def joined(solution) -> torch.Tensor:
    parts = solution if isinstance(solution, tuple) else (solution,)
    return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)


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


@pytest.mark.parametrize("name", MAPS)
def test_gradcheck_of_the_maps(name):
    make, _, _ = MAPS[name]
    for engine in ENGINES:
        z = rows(3, 5, 1, seed=4).requires_grad_()
        assert torch.autograd.gradcheck(make(5, engine), z, eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_listing_one_works_as_printed(engine):
    z, x = cp.Variable(32), cp.Parameter(32)
    f = lambda z, x: cp.sum_squares(z - x)  # noqa: E731
    g = lambda z, x: -z  # noqa: E731
    h = lambda z, x: cp.sum(z) - 1  # noqa: E731
    SP = OptLayer([z], [x], f, [g], [h], engine=engine)
    w, y = cp.Variable(32), cp.Parameter(32)
    fs = lambda w, y: -w @ y - cp.sum(cp.entr(w))  # noqa: E731
    hs = lambda w, y: cp.sum(w) - 1  # noqa: E731
    SM = OptLayer([w], [y], fs, [], [hs], engine=engine)
    feat = torch.randn(4, 32)
    torch.testing.assert_close(SP(feat), sparsemax(feat))
    torch.testing.assert_close(SM(feat), softmax(feat))


def test_each_function_is_called_once():
    calls = []

    def f(p, z):
        calls.append(type(p))
        return cp.sum_squares(p - z)

    layer = OptLayer([cp.Variable(3)], [cp.Parameter(3)], f, [], [])
    layer(torch.zeros(2, 3))
    layer(torch.zeros(2, 3))
    assert calls == [cp.Variable]


@pytest.mark.parametrize("engine", [*ENGINES, "cvxpylayers", "closed"])
def test_what_comes_in_comes_back(engine):
    layer = SparseMax(4, engine)
    z = torch.randn(4, 3, requires_grad=True).t()[:, [0, 2, 1, 3]]
    p = layer(z)
    assert p.dtype == torch.float32
    torch.testing.assert_close(p, sparsemax(z), atol=1e-5, rtol=0)
    assert layer(z[:1]).shape == (1, 4)
    assert layer(z[:0]).shape == (0, 4)
    assert layer(z.reshape(3, 1, 4)).shape == (3, 1, 4)
    with torch.no_grad():
        assert not layer(z).requires_grad
    with torch.inference_mode():
        layer(z)


@pytest.mark.parametrize("engine", ENGINES)
def test_double_use_in_one_graph(engine):
    layer = SparseMax(4, engine)
    z = rows(3, 4, 1).requires_grad_()
    twice = layer(layer(z) * 3)
    expected = sparsemax(sparsemax(z) * 3)
    weight = rows(3, 4, 1, seed=2)
    torch.testing.assert_close(
        torch.autograd.grad(twice, z, weight), torch.autograd.grad(expected, z, weight)
    )


def test_a_result_changed_in_place_does_not_harm_the_gradient():
    z = rows(3, 4, 1).requires_grad_()
    p = SparseMax(4, "batched")(z)
    (grad,) = torch.autograd.grad(p.mul_(2).sum(), z)
    torch.testing.assert_close(grad, torch.zeros_like(z), atol=1e-12, rtol=0)


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


def one_function(f, g=(), h=(), **options):
    return OptLayer([cp.Variable(3)], [cp.Parameter(3)], f, list(g), list(h), **options)


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
        (lambda: OptLayer([3], [], lambda x: x, [], []), "declare it as cp.Variable"),
        (lambda: SparseMax(4, "scs"), "engine is 'scs'"),
    ],
)
def test_a_wrong_declaration_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_wrong_calls_are_refused():
    layer = one_function(lambda x, y: cp.sum_squares(x - y))
    with pytest.raises(ValueError, match="has 1 parameters but was called with 2"):
        layer(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"shape \(batch, 3\)"):
        layer(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="floating"):
        layer(torch.zeros(2, 3, dtype=torch.long))


def test_an_unknown_atom_goes_to_cvxpylayers(caplog):
    with caplog.at_level(logging.WARNING):
        layer = one_function(lambda x, y: cp.sum_largest(x, 2) + cp.sum_squares(x - y))
    assert layer.engine == "cvxpylayers"
    assert "the atom sum_largest" in caplog.text
    y = rows(2, 3, 1).requires_grad_()
    layer(y).sum().backward()
    assert y.grad is not None and y.grad.isfinite().all()


@pytest.mark.parametrize("engine", ["closed", "batched"])
def test_the_audit_solves_rows_again(engine, caplog):
    layer = SparseMax(4, engine, audit=1.0)
    with caplog.at_level(logging.INFO, logger="avce.layers"):
        layer(rows(5, 4, 1))
    assert "5 rows" in caplog.text
    assert 0 <= layer.largest_difference < 1e-9


def test_a_layer_can_be_copied():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), SparseMax(4, "batched"))
    z = torch.randn(2, 3)
    torch.testing.assert_close(copy.deepcopy(model)(z), model(z))


def test_precision_does_not_depend_on_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        layer = SoftMax(4, "batched")
    finally:
        torch.set_default_dtype(torch.float32)
    z = rows(3, 4, 1)
    torch.testing.assert_close(layer(z), softmax(z), atol=1e-12, rtol=0)
