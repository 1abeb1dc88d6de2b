"""The optimality conditions of a batch of programs: their derivatives, Newton steps and gradient.

Equation (4) of the paper, with complementarity written as lambda - max(0, lambda + g) instead of
lambda * g: the matrix then stays regular at ties.

    grad_x L = 0,   lambda = max(0, lambda + g),   h = 0,    L = f + lambda.g + nu.h
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .program import Program

_LOG2E = 1.4426950408889634
TINY = 1e-300  # what a positive entry is kept above: its logarithm must exist
_HUGE = 1e300
_EPSILON = 2.2e-16
_DOUBT, _LOST = 1e-9, 1e-6
_BLIND, _APART = 2, 4  # steps before the first look at the residuals, and apart on a device
TIE = 1e-12  # a constraint this close to its bound counts as active, as in the closed form


def runs_ahead(device: torch.device) -> bool:
    """Whether the host queues work there, so that each number it asks for is a wait."""
    return device.type != "cpu"


class Point(NamedTuple):
    """A primal and dual point of each program in the batch."""

    x: Tensor  # (b, size)
    lam: Tensor  # (b, inequalities)
    nu: Tensor  # (b, equalities)

    def rows(self, chosen: Tensor) -> Point:
        return Point(*(part[chosen] for part in self))


class Local(NamedTuple):
    """The program around a point: values, slopes and curvature."""

    slope: Tensor  # (b, size): gradient of the Lagrangian in x
    hessian: Tensor  # (b or 1, size) if the program is diagonal, else (b or 1, size, size)
    g: Tensor  # (b, inequalities)
    jacobian: Tensor  # (b or 1, inequalities, size)
    h: Tensor  # (b, equalities)
    plane: Tensor  # (b or 1, equalities, size)


def _gradient(outputs: Tensor, x: Tensor, graph: bool = False) -> Tensor:
    if not outputs.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(
        outputs.sum(), x, create_graph=graph, retain_graph=True, allow_unused=True
    )
    return torch.zeros_like(x) if slope is None else slope


def _jacobian(outputs: Tensor, x: Tensor) -> Tensor:
    """(b, outputs, size) of outputs (b, outputs) that depend on their own row of x only."""
    if not outputs.requires_grad or not outputs.shape[1]:
        return x.new_zeros(x.shape[0], outputs.shape[1], x.shape[1])
    columns = [_gradient(outputs[:, i], x) for i in range(outputs.shape[1])]
    return torch.stack(columns, dim=1)


class Instance:
    """A program with its parameters filled in for a batch; all tensors float64."""

    def __init__(self, program: Program, theta: Sequence[Tensor]):
        self.theta = [t.detach() for t in theta]
        self.batch = self.theta[0].shape[0]
        self.device = self.theta[0].device
        self.program = program.to(self.device)
        self.quadratic = program.hessian is not None
        self.ahead = runs_ahead(self.device)
        self._rises = program.rises
        self._fix_offsets()
        # How large the numbers are that a row was given, (b,).
        self.scale = torch.stack([t.reshape(self.batch, -1).abs().amax(1) for t in self.theta])
        self.scale = self.scale.amax(0)

    def _fix_offsets(self) -> None:
        """What the affine parts are at zero, so that a later point costs one product."""
        program, zero = (
            self.program,
            torch.zeros(self.batch, self.program.size, dtype=torch.float64, device=self.device),
        )
        function = program.straight_part if program.hessian is None else program.objective
        with torch.enable_grad():
            x = zero.clone().requires_grad_()
            self.linear = _gradient(function(x, self.theta), x)
        if program.jacobian is not None:
            self.g0 = program.inequalities(zero, self.theta)
        if program.plane is not None:
            self.h0 = program.equalities(zero, self.theta)
        self.pull = self.linear.abs()

    def origin(self) -> Point:
        """A point to start from when nothing is known; off zero where norms have no slope."""
        (k, m), positive = self.program.sizes, self.program.positive
        blank = {"dtype": torch.float64, "device": self.device}
        x = torch.zeros(self.batch, self.program.size, **blank) + 1e-2 * (not self.quadratic)
        x = torch.where(positive, 1.0, x)
        return Point(x, x.new_zeros(self.batch, k), x.new_zeros(self.batch, m))

    def looks(self, taken: int) -> bool:
        """Whether to ask for the residuals after so many Newton steps: a look costs half a step."""
        since = taken - _BLIND
        return since >= 0 and (not self.ahead or since % _APART == 0)

    def rises(self, hessian: Tensor) -> bool:
        """Whether a diagonal Hessian is above zero; asked once where asking is a wait."""
        if self._rises is None or not (self.quadratic or self.ahead):
            self._rises = bool((hessian > 0).all())
        return self._rises

    def rows(self, chosen: Tensor) -> Instance:
        return Instance(self.program, [t[chosen] for t in self.theta])

    def inequalities(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """g and its Jacobian."""
        return self._constraints(x, self.program.jacobian, "g0", self.program.inequalities)

    def around(self, point: Point, inequalities: tuple[Tensor, Tensor] | None = None) -> Local:
        """Everything one Newton step needs; g and its Jacobian are taken over where known."""
        program, (x, lam, nu) = self.program, point
        g, jacobian = inequalities or self.inequalities(x)
        h, plane = self._constraints(x, program.plane, "h0", program.equalities)
        if program.hessian is not None:
            hessian = program.hessian[None]
            slope = x * hessian if program.diagonal else x @ hessian[0]
        else:
            slope, hessian = self._curved(x, lam)
        slope = slope + self.linear + _pulled(nu, plane)
        if program.hessian is not None or program.jacobian is not None:
            slope = slope + self.pull_inequalities(lam, jacobian)
        return Local(slope, hessian, g, jacobian, h, plane)

    def _constraints(self, x: Tensor, fixed: Tensor | None, offset: str, function):
        if fixed is not None:
            bounds = self.program.bounds if offset == "g0" else None
            moved = bounds.pick(x) * bounds.coefficients if bounds else x @ fixed.T
            return getattr(self, offset) + moved, fixed[None]
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = function(x, self.theta)
            return value.detach(), _jacobian(value, x)

    def _curved(self, x: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and Hessian of the curved part of f, and of lam.g where g has no fixed Jacobian."""
        program = self.program
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            total = program.curved_part(x, self.theta)
            if program.jacobian is None:
                total = total + (lam * program.inequalities(x, self.theta)).sum(1)
            slope = _gradient(total, x, graph=True)
            second = _gradient(slope, x) if program.diagonal else _jacobian(slope, x)
        return slope.detach(), second

    def pull_inequalities(self, lam: Tensor, jacobian: Tensor) -> Tensor:
        """jacobian^T lam, (b, size)."""
        if self.program.bounds is not None:
            return self.program.bounds.gather(lam * self.program.bounds.coefficients)
        return _pulled(lam, jacobian)


def _pulled(force: Tensor, jacobian: Tensor) -> Tensor:
    """jacobian^T force, (b, size), of forces (b, k) and Jacobians (b or 1, k, size)."""
    if jacobian.shape[0] == 1:
        return force @ jacobian[0]
    return torch.einsum("bk,bkn->bn", force, jacobian)


@dataclass
class Step:
    """A solution of the active-set system, the direction of x and of the multipliers."""

    x: Tensor
    lam: Tensor
    nu: Tensor


def solve_active(
    instance: Instance, local: Local, active: Tensor, r1: Tensor, r2: Tensor, r3: Tensor
) -> Step:
    """Solve the KKT matrix of the active constraints, the same forwards and backwards.

    [ H    G_a^T  A^T ] [x  ]   [r1]
    [ G_a  0      0   ] [lam] = [r2]      rows of inactive constraints: lam = 0
    [ A    0      0   ] [nu ]   [r3]
    """
    program = instance.program
    if program.simple and instance.rises(local.hessian):
        return _solve_bounds(instance, local, active, r1, r2, r3)
    return _solve_dense(instance, local, active, r1, r2, r3)


def _solve_bounds(
    instance: Instance, local: Local, active: Tensor, r1: Tensor, r2: Tensor, r3: Tensor
) -> Step:
    """O(size): active bounds fix entries, the rest is a diagonal, a few equalities couple them."""
    bounds = instance.program.bounds
    assert bounds is not None
    zero = torch.zeros_like(r1)
    weight = active.to(r1.dtype)
    held, count = weight / bounds.coefficients, bounds.gather(weight)
    many = count.clamp(min=1)
    fixed = bounds.gather(held * r2) / many
    inverse = torch.where(count > 0, zero, 1 / local.hessian)
    start = fixed + inverse * r1
    plane = local.plane
    if not plane.shape[1]:
        nu, pulled = r3, zero
    elif plane.shape[:2] == (1, 1):  # one equality, the same for all rows: a division
        row = plane[0, 0]
        schur = (inverse * row) @ row
        nu = ((start @ row)[:, None] - r3) / torch.where(schur == 0, 1.0, schur)[:, None]
        pulled = nu * row
    else:
        schur = torch.einsum("bkn,bn,bln->bkl", *_batched(plane, inverse))
        residual = (plane @ start[..., None])[..., 0] - r3
        nu = _solve_matrix(schur, residual)
        pulled = torch.einsum("bkn,bk->bn", plane.expand(len(nu), -1, -1), nu)
    x = start - inverse * pulled
    stress = (r1 - local.hessian * x - pulled) / many
    return Step(x, held * bounds.pick(stress), nu)


def _batched(plane: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    full = plane.expand(inverse.shape[0], -1, -1)
    return full, inverse, full


def _solve_dense(
    instance: Instance, local: Local, active: Tensor, r1: Tensor, r2: Tensor, r3: Tensor
) -> Step:
    batch, n = r1.shape
    k, m = active.shape[1], r3.shape[1]
    hessian = torch.diag_embed(local.hessian) if instance.program.diagonal else local.hessian
    # An objective times 1e-12 asks for multipliers as small: both are brought back to size.
    steepest = hessian.diagonal(dim1=-2, dim2=-1).abs().amax(1)[:, None].expand(batch, 1)
    unit = torch.where(steepest > 0, steepest.clamp(max=1), 1.0)
    hessian = hessian / unit[..., None]
    # Entries near zero have a curvature up to 1/x: scaled to one, or they drown the others.
    scale = hessian.diagonal(dim1=-2, dim2=-1).clamp(min=1).rsqrt().expand(batch, n)
    matrix = r1.new_zeros(batch, n + k + m, n + k + m)
    matrix[:, :n, :n] = hessian * scale[:, :, None] * scale[:, None, :]
    rows = local.jacobian * active[..., None] * scale[:, None, :]
    matrix[:, n : n + k, :n] = rows
    matrix[:, :n, n : n + k] = rows.mT
    matrix[:, n + k :, :n] = local.plane * scale[:, None, :]
    matrix[:, :n, n + k :] = (local.plane * scale[:, None, :]).mT
    matrix.diagonal(dim1=1, dim2=2)[:, n : n + k] = (~active).to(r1.dtype)
    answer = _solve_matrix(matrix, torch.cat([r1 / unit * scale, r2 * active, r3], dim=1))
    forces = answer[:, n:] * unit
    return Step(answer[:, :n] * scale, forces[:, :k] * active, forces[:, k:])


def _solve_matrix(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve each system; a singular one (repeated constraints) by least squares."""
    answer, info = torch.linalg.solve_ex(matrix, right[..., None])
    answer = answer[..., 0]
    size = right.abs().amax(1) + 1e-300
    error = (torch.einsum("bij,bj->bi", matrix, answer) - right).abs().amax(1)
    bad = (info != 0) | ~(error <= 1e-6 * size)
    bad &= torch.isfinite(matrix).all(2).all(1) & torch.isfinite(right).all(1)
    if bad.any():
        inverse = torch.linalg.pinv(matrix[bad], rtol=1e-13, hermitian=True)
        answer[bad] = torch.einsum("bij,bj->bi", inverse, right[bad])
    return answer


def polish(instance: Instance, point: Point, steps: int = 10) -> tuple[Point, Tensor]:
    """Semismooth Newton steps from a rough solution to machine precision.

    Returns the point and, for each row, the size of its KKT residual against the terms it adds up:
    at most 1e-12 where the polish came through, larger (or NaN) where it did not, or where
    rounding leaves x fewer than six digits.
    """
    before, taken = torch.full((instance.batch,), torch.inf, device=instance.device), 0
    while True:
        local, active, point = _settle(instance, point)
        if taken == steps or instance.looks(taken):
            sizes = _sizes(instance, local, point)
            error = _relative_error(local, active, sizes)
            done = (error <= 1e-13) | ((error >= before) & (error <= 1e-11)) | error.isnan()
            if taken == steps or bool(done.all()):
                return point, torch.maximum(error, _lost(instance, local, active, sizes))
            before = error
        point, taken = _newton(instance, local, active, point), taken + 1


def _settle(instance: Instance, point: Point) -> tuple[Local, Tensor, Point]:
    """Drop the multipliers of inactive constraints and look around."""
    bent = instance.inequalities(point.x)
    active = point.lam + bent[0] > 0
    point = point._replace(lam=torch.where(active, point.lam, 0.0))
    return instance.around(point, bent), active, point


class _Sizes(NamedTuple):
    """How large the terms are that the conditions of each row add up."""

    reach: Tensor  # (b, size): 1 + |x|
    bent: Tensor  # (b, size): what the curvature makes of it
    pulled: Tensor  # (b, size): the constant slope and the multipliers' forces
    g: Tensor  # (b, inequalities)
    h: Tensor  # (b, equalities)


def _sizes(instance: Instance, local: Local, point: Point) -> _Sizes:
    program, reach, lam = instance.program, 1 + point.x.abs(), point.lam.abs()
    curvature, plane = local.hessian.abs(), local.plane.abs()
    bent = curvature * reach if program.diagonal else _times(curvature, reach)
    pulled = instance.pull + _pulled(point.nu.abs(), plane)
    if program.bounds is not None:
        steep = program.bounds.steep
        pulled, g = pulled + program.bounds.gather(lam * steep), program.bounds.pick(reach) * steep
    else:
        jacobian = local.jacobian.abs()
        pulled, g = pulled + _pulled(lam, jacobian), _times(jacobian, reach)
    return _Sizes(reach, bent, pulled, g, _times(plane, reach))


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x[..., None])[..., 0]


def _relative_error(local: Local, active: Tensor, sizes: _Sizes) -> Tensor:
    """The largest residual of each row, each against the terms that it is the sum of.

    Not against the parameters: a bound of 1e12 that never binds, or an objective times 1e-12, would
    excuse a slope that is far off.
    """
    kept = torch.where(active, local.g.abs(), local.g.clamp(min=0))
    parts = [
        local.slope.abs() / (sizes.bent + sizes.pulled).clamp(min=TINY),
        kept / sizes.g.clamp(min=TINY),
        local.h.abs() / sizes.h.clamp(min=TINY),
    ]
    return torch.stack([_largest(part) for part in parts]).amax(0)


def _lost(instance: Instance, local: Local, active: Tensor, sizes: _Sizes) -> Tensor:
    """How far rounding alone may have moved x, where that is too far to call the row solved.

    Large terms that cancel leave no residual and no digits: so rounding errors of either sign are
    sent through the KKT matrix. Where the curvature outweighs them there is nothing to ask.
    """
    noise = _EPSILON * sizes.pulled
    if bool((noise <= _DOUBT * sizes.bent).all()):
        return torch.zeros_like(noise[:, 0])
    signs = 1 - 2 * (torch.arange(noise.shape[1], device=noise.device) % 2)
    nothing = torch.zeros_like(local.g), torch.zeros_like(local.h)
    moved = solve_active(instance, local, active, noise * signs, *nothing).x.abs() / sizes.reach
    return _largest(torch.where(moved > _LOST, moved, 0.0))


def _largest(values: Tensor) -> Tensor:
    return values.amax(1) if values.shape[1] else values.new_zeros(values.shape[0])


def _newton(instance: Instance, local: Local, active: Tensor, point: Point) -> Point:
    missing = _missing(instance, local.h)
    step = solve_active(instance, local, active, -local.slope, -local.g, missing)
    return Point(move(instance, point.x, step.x), point.lam + step.lam, point.nu + step.nu)


def _missing(instance: Instance, h: Tensor) -> Tensor:
    """What the equalities ask of a step: -h, but s log(b / s) where s = b sums positive terms.

    Both agree to first order. In logs an entropy's conditions are linear in log x, so that Newton
    arrives from anywhere; the plain sum takes a step for each factor of e.
    """
    summed = instance.program.one_signed
    if not instance.program.sums or summed is None:
        return -h
    total = -instance.h0
    ratio = 1 + h / total
    known = summed & (ratio > 0) & ratio.isfinite()
    return torch.where(known, -total * ratio * torch.where(known, ratio, 1.0).log(), -h)


def move(instance: Instance, x: Tensor, step: Tensor) -> Tensor:
    """x + step; entries that must stay positive move by a factor, which agrees to first order."""
    if not instance.program.guarded:
        return x + step
    # exp2, as torch's exp splits over threads from 2,048 numbers on.
    factor = ((step / x).clamp(-700, 700) * _LOG2E).exp2()
    grown = (x * factor).clamp(TINY, _HUGE)
    return torch.where(instance.program.positive, grown, x + step)


def pull_back(instance: Instance, point: Point, grad: Tensor) -> list[Tensor | None]:
    """The vector-Jacobian product of the solution: one solve, then -(dG/dtheta)^T of it."""
    local = instance.around(point)
    active = (point.lam + local.g > 0) | (local.g > -TIE)
    nothing = torch.zeros_like(local.g), torch.zeros_like(local.h)
    adjoint = solve_active(instance, local, active, grad, *nothing)
    with torch.enable_grad():
        theta = [t.detach().requires_grad_() for t in instance.theta]
        x = point.x.detach().requires_grad_()
        program = instance.program
        g, h = program.inequalities(x, theta), program.equalities(x, theta)
        lagrangian = program.objective(x, theta) + (point.lam * g).sum(1) + (point.nu * h).sum(1)
        slope = _gradient(lagrangian, x, graph=True)
        total = (adjoint.x * slope).sum() + (adjoint.lam * g).sum() + (adjoint.nu * h).sum()
        grads = torch.autograd.grad(total, theta, allow_unused=True)
    return [None if part is None else -part for part in grads]
