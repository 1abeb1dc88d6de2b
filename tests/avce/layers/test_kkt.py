"""The optimality conditions: every shortcut against automatic differentiation of the definition."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from avce.layers import OptLayer, kkt
from avce.layers.kkt import Instance, Point, polish, pull_back
from avce.layers.program import build, declare
from avce.layers.solve import Solver

from .cases import MAPS, rows, vjp

N, ROWS = 4, 3
FULL = np.random.default_rng(0).normal(size=(N, N))
OBJECTIVES = {
    "linear": lambda x, q, A: q @ x,
    "diagonal": lambda x, q, A: 0.5 * cp.sum_squares(x - 1) + q @ x,
    "dense": lambda x, q, A: cp.sum_squares(FULL @ x - q),
    "weighted": lambda x, q, A: cp.sum(cp.multiply(q, cp.square(x))),
    "rotated": lambda x, q, A: cp.sum_squares(A @ x - q),
    "entropy": lambda x, q, A: -cp.sum(cp.entr(x)) + q @ x,
    "log sum exp": lambda x, q, A: cp.log_sum_exp(x + q),
}
CONSTRAINTS = {
    "none": None,
    "bounds": lambda x, q, A: -x,
    "moving bounds": lambda x, q, A: x - q,
    "rows": lambda x, q, A: FULL[:2] @ x - 1,
    "moving rows": lambda x, q, A: A[:2] @ x - 1,
    "scaled bounds": lambda x, q, A: cp.multiply(q, x) - 1,
    "ball": lambda x, q, A: cp.sum_squares(x) - 1,
    "moving ball": lambda x, q, A: cp.norm(A @ x + q) - 1,
}
PLANES = {
    "none": None,
    "sum": lambda x, q, A: cp.sum(x) - q[0],
    "moving": lambda x, q, A: A[:2] @ x - 1,
    "scaled": lambda x, q, A: q[0] * x[1:3] - 1,
}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_slope_and_curvature_are_those_of_the_lagrangian(objective, constraint, plane):
    """A constant Hessian used to drop the multipliers of a matrix that holds a parameter."""
    g, h = CONSTRAINTS[constraint], PLANES[plane]
    program = build(
        declare(
            [cp.Variable(N)],
            [cp.Parameter(N, nonneg=True), cp.Parameter((N, N))],
            OBJECTIVES[objective],
            [g] if g else [],
            [h] if h else [],
        )
    )
    generator = torch.Generator().manual_seed(2)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.5  # noqa: E731
    instance = Instance(program, [draw(ROWS, N), draw(ROWS, N, N)])
    point = Point(*(draw(ROWS, size) for size in (program.size, *program.sizes)))

    x = point.x.clone().requires_grad_()
    inequalities = program.inequalities(x, instance.theta)
    equalities = program.equalities(x, instance.theta)
    lagrangian = program.objective(x, instance.theta).sum()
    lagrangian = lagrangian + (point.lam * inequalities).sum() + (point.nu * equalities).sum()
    (slope,) = torch.autograd.grad(lagrangian, x, create_graph=True)
    rows = [
        torch.autograd.grad(slope[:, i].sum(), x, retain_graph=True, materialize_grads=True)[0]
        if slope.requires_grad
        else torch.zeros_like(x)
        for i in range(program.size)
    ]
    local = instance.around(point)
    hessian = torch.diag_embed(local.hessian) if program.diagonal else local.hessian
    torch.testing.assert_close(local.slope, slope.detach())
    torch.testing.assert_close(hessian.expand(ROWS, -1, -1), torch.stack(rows, dim=1))
    torch.testing.assert_close(local.g, inequalities.detach())
    torch.testing.assert_close(local.h, equalities.detach())


def moving_rows(engine: str) -> OptLayer:
    return OptLayer(
        [cp.Variable(N)],
        [cp.Parameter((3, N)), cp.Parameter(3)],
        lambda x, G, h: 0.5 * cp.sum_squares(x - 1),
        [lambda x, G, h: G @ x - h],
        [],
        engine=engine,
    )


@pytest.mark.parametrize("engine", ["ecos", "batched"])
def test_a_parameter_in_a_matrix_has_both_terms_of_its_gradient(engine):
    """The multipliers' term, lam * dx, and the constraint's, dlam * x; 12 of 24 rows failed."""
    generator = torch.Generator().manual_seed(0)
    G = torch.randn(24, 3, N, generator=generator, dtype=torch.float64).requires_grad_()
    h = torch.rand(24, 3, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(moving_rows(engine), (G, h), atol=1e-6, fast_mode=True)


def test_one_active_row_by_hand():
    """Project 1 onto g.x <= b: x = 1 - g s with s = (g.1 - b) / g.g; dx/dg has s and ds/dg."""
    g = torch.tensor([[1.0, 2, 0, 0]], dtype=torch.float64, requires_grad=True)
    layer = OptLayer(
        [cp.Variable(N)],
        [cp.Parameter(N)],
        lambda x, g: 0.5 * cp.sum_squares(x - 1),
        [lambda x, g: g @ x - 0.5],
        [],
    )
    expected = 1 - g * ((g.sum() - 0.5) / g.square().sum())
    torch.testing.assert_close(layer(g), expected)
    weight = torch.tensor([[1.0, -2, 3, 5]], dtype=torch.float64)
    mine, theirs = (torch.autograd.grad(x, g, weight) for x in (layer(g), expected))
    torch.testing.assert_close(mine, theirs)


def test_polish_and_pull_back_meet_the_conditions():
    generator = torch.Generator().manual_seed(1)
    theta = [torch.randn(8, 3, N, generator=generator).double(), torch.ones(8, 3).double()]
    solver = Solver(build(moving_rows("batched").declared), "batched")
    instance = Instance(solver.program, theta)
    point, _ = solver.solve(instance)
    again, error = polish(instance, point)
    assert (error <= 1e-13).all()
    torch.testing.assert_close(again.x, point.x, atol=1e-12, rtol=0)
    nothing = pull_back(instance, point, torch.zeros_like(point.x))
    assert all(part is not None and not part.any() for part in nothing)


class _Waits(TorchDispatchMode):
    """Counts what would make the host wait for a device: numbers asked for, and counts of rows."""

    ASKING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in self.ASKING
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [8, 32, 200])
@pytest.mark.parametrize("name", ["sparse", "soft"])  # entmax has rows that Newton leaves to a walk
def test_a_device_is_waited_for_a_few_times_however_many_steps_it_takes(name, size, monkeypatch):
    """An update of the maps waited 34 times: each Newton step asked twice or more."""
    make, closed, _ = MAPS[name]
    layer, weight = make(size, "batched"), rows(8, size, 1, seed=1)
    expected = vjp(closed, rows(8, size, 1), weight)
    monkeypatch.setattr(kkt, "runs_ahead", lambda device: True)
    lists = []
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: lists.append(t) or t.numpy().tolist())
    with _Waits() as waits:
        found = vjp(layer, rows(8, size, 1), weight)
    assert waits.count + len(lists) <= 7
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
