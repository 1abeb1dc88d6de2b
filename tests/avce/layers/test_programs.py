"""Programs that people put into layers: both engines against CVXPY, cvxpylayers and differences."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from avce.layers import OptLayer, softmax, sparsemax

from .cases import ENGINES, ROWS, Drawn, joined
from .programs import PROGRAMS, relu, sigmoid, soft_max, sparse_max

# cvxpylayers 1.2 calls np.array on tensors, which NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def gradients(layer: OptLayer, theta: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    theta = [t.clone().requires_grad_() for t in theta]
    x = joined(layer(*theta))
    weight = Drawn().normal(x.shape[1])
    return x.detach(), list(torch.autograd.grad(x, theta, weight))


@pytest.mark.parametrize("program", PROGRAMS)
def test_both_engines_give_cvxpys_solution(program):
    case = program()
    theta = case.draw(Drawn())
    with torch.no_grad():
        ecos, batched = (joined(case.layer(engine)(*theta)) for engine in ENGINES)
    torch.testing.assert_close(ecos, batched, atol=1e-8, rtol=1e-8)
    problem = case.layer("batched").declared.problem
    for row in range(ROWS):
        for parameter, t in zip(case.parameters, theta, strict=True):
            parameter.value = (t[row] if t.ndim > len(parameter.shape) else t).numpy()
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
        theirs = np.concatenate([np.ravel(v.value) for v in case.variables])
        np.testing.assert_allclose(batched[row].numpy(), theirs, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_are_those_of_finite_differences(program, engine):
    case = program()
    layer = case.layer(engine)
    assert layer.engine == engine
    theta = [t.clone().requires_grad_() for t in case.draw(Drawn())]
    assert torch.autograd.gradcheck(
        lambda *t: joined(layer(*t)), theta, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("program", [p for p in PROGRAMS if not p().alone])
def test_gradients_are_cvxpylayers_where_it_is_right(program):
    case = program()
    theta = case.draw(Drawn())
    x, mine = gradients(case.layer("batched"), theta)
    again, theirs = gradients(case.layer("cvxpylayers"), theta)
    torch.testing.assert_close(x, again, atol=1e-5, rtol=1e-5)  # SCS stops at 1e-9 of its own
    for ours, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-3, rtol=1e-3)


def test_relu_sigmoid_and_the_maps_have_their_closed_forms():
    for program, closed in (
        (relu, torch.relu),
        (sigmoid, torch.sigmoid),
        (sparse_max, sparsemax),
        (soft_max, softmax),
    ):
        case = program()
        theta = case.draw(Drawn())
        for engine in ENGINES:
            torch.testing.assert_close(case.layer(engine)(*theta), closed(theta[0]))
