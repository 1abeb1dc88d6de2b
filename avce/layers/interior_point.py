"""An interior point method that walks with the whole batch at once, on any device.

Primal-dual with Mehrotra's predictor and corrector. Inequalities get slacks; entries that must stay
positive (under an entropy or a logarithm) get a barrier of their own, which vanishes at the
solution. It stops early: the polish takes a rough point to machine precision in a few steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .kkt import Instance, Local, Point
from .program import Program

_BACKTRACKS = 12


class _State(NamedTuple):
    """Where the walk stands: the point, and slacks and positive entries with their multipliers."""

    point: Point
    slack: Tensor  # (b, inequalities)
    guard: Tensor  # (b, size): multipliers that keep the positive entries positive, else 0

    def after(self, step: _State, length: Tensor) -> _State:
        reach = length[:, None]
        moved = Point(*(a + reach * b for a, b in zip(self.point, step.point, strict=True)))
        return _State(moved, self.slack + reach * step.slack, self.guard + reach * step.guard)


class Batched:
    """Solves instances of one program together."""

    def __init__(self, program: Program):
        self.program = program

    def solve(self, instance: Instance, tolerance: float, iterations: int = 60) -> Point:
        """A point of each row; rows that reached the tolerance are close to their solution."""
        walk = _Walk(instance)
        state, local = walk.start()
        for _ in range(iterations):
            if bool((walk.error(state, local) <= tolerance).all()):
                break
            state, local = walk.advance(state, local)
        return state.point


class _Walk:
    def __init__(self, instance: Instance):
        self.instance = instance
        self.program = instance.program
        self.positive = self.program.positive
        self.guarded = self.program.guarded
        self.count = self.program.sizes[0] + int(self.positive.sum())

    def start(self) -> tuple[_State, Local]:
        instance, point = self.instance, self.instance.origin()
        point = point._replace(lam=torch.ones_like(point.lam))
        local = instance.around(point)
        size = local.slope.abs().amax(1, keepdim=True).clamp(min=1)
        point = point._replace(lam=point.lam * size)
        guard = torch.where(self.positive, size, 0.0)
        state = _State(point, (-local.g).clamp(min=1), guard)
        return state, instance.around(point)

    def gap(self, state: _State) -> Tensor:
        """Mean complementarity of each row, (b,)."""
        total = (state.point.lam * state.slack).sum(1)
        if self.guarded:
            total = total + (state.guard * state.point.x).sum(1)
        return total / max(self.count, 1)

    def error(self, state: _State, local: Local) -> Tensor:
        scale = 1 + self.instance.scale
        slope = (local.slope - state.guard) * self._weight(state)
        parts = [slope, local.g + state.slack, local.h]
        worst = [part.abs().amax(1) for part in parts if part.shape[1]]
        return torch.stack([*worst, self.gap(state)]).amax(0) / scale

    def _weight(self, state: _State) -> Tensor:
        """A positive entry counts by its size: its slope may be far off where it hardly exists."""
        return torch.where(self.positive, state.point.x.clamp(max=1), 1.0)

    def advance(self, state: _State, local: Local) -> tuple[_State, Local]:
        solve = self._factor(state, local)
        gap = self.gap(state)
        plain = state.point.lam * state.slack, state.guard * state.point.x
        if not self.count:
            step, goal = solve(*plain), gap
        else:
            guess = solve(*plain)
            ahead = self.gap(state.after(guess, self._reach(state, guess, 1.0)))
            goal = gap * (ahead / gap).clamp(0, 1) ** 3
            step = solve(
                plain[0] + guess.point.lam * guess.slack - goal[:, None],
                torch.where(
                    self.positive, plain[1] + guess.guard * guess.point.x - goal[:, None], 0.0
                ),
            )
        reach = self._reach(state, step, 0.99)
        if self.instance.quadratic:
            moved = state.after(step, reach)
            return moved, self.instance.around(moved.point)
        return self._backtrack(state, local, step, reach, goal)

    def _reach(self, state: _State, step: _State, fraction: float) -> Tensor:
        """How far each row can walk before a slack, a multiplier or a positive entry ends."""
        shrink = [-step.slack / state.slack, -step.point.lam / state.point.lam]
        if self.guarded:
            shrink += [
                torch.where(self.positive, -step.point.x / state.point.x, 0.0),
                torch.where(self.positive, -step.guard / state.guard, 0.0),
            ]
        worst = torch.cat(shrink, dim=1)
        if not worst.shape[1]:
            return worst.new_ones(worst.shape[0])
        return (fraction / worst.amax(1).clamp(min=1e-300)).clamp(max=1)

    def _backtrack(
        self, state: _State, local: Local, step: _State, reach: Tensor, goal: Tensor
    ) -> tuple[_State, Local]:
        """Shorten the step of the rows whose residual would grow."""
        weight = self._weight(state)
        before = self._merit(state, local, goal, weight)
        for _ in range(_BACKTRACKS):
            moved = state.after(step, reach)
            around = self.instance.around(moved.point)
            worse = ~(
                self._merit(moved, around, goal, weight) <= (1 - 0.01 * reach) * before + 1e-28
            )
            if not bool(worse.any()):
                break
            reach = torch.where(worse, reach / 2, reach)
        else:
            moved = state.after(step, reach)
            around = self.instance.around(moved.point)
        return moved, around

    def _merit(self, state: _State, local: Local, goal: Tensor, weight: Tensor) -> Tensor:
        pairs = state.point.lam * state.slack - goal[:, None]
        total = ((local.slope - state.guard) * weight).square().sum(1) + pairs.square().sum(1)
        total = total + (local.g + state.slack).square().sum(1) + local.h.square().sum(1)
        if self.guarded:
            held = torch.where(self.positive, state.guard * state.point.x - goal[:, None], 0.0)
            total = total + held.square().sum(1)
        return total

    def _factor(self, state: _State, local: Local):
        """Eliminate slacks and multipliers; what is left is H + G^T W G, and the equalities."""
        x, lam, _ = state.point
        weight = lam / state.slack
        room = torch.where(self.positive, x, 1.0)
        reduce = _diagonal if self.program.simple else _full
        solve = reduce(self.instance, local, weight, state.guard / room)
        gap = local.g + state.slack

        def direction(pairs: Tensor, held: Tensor) -> _State:
            """The step that brings lam * slack and guard * x down by the given amounts."""
            force = (lam * gap - pairs) / state.slack
            right = state.guard - local.slope - held / room
            right = right - self.instance.pull_inequalities(force, local.jacobian)
            dx, dnu = solve(right, -local.h)
            moved = self._push(local, dx)
            dlam = force + weight * moved
            dguard = torch.where(self.positive, -(held + state.guard * dx) / room, 0.0)
            return _State(Point(dx, dlam, dnu), -gap - moved, dguard)

        return direction

    def _push(self, local: Local, dx: Tensor) -> Tensor:
        """jacobian dx, (b, inequalities)."""
        if self.program.bounds is not None:
            return self.program.bounds.pick(dx) * self.program.bounds.coefficients
        return (local.jacobian @ dx[..., None])[..., 0]


def _diagonal(instance: Instance, local: Local, weight: Tensor, barrier: Tensor):
    bounds = instance.program.bounds
    assert bounds is not None
    diagonal = local.hessian + barrier + bounds.gather(weight * bounds.coefficients**2)
    inverse = 1 / diagonal.clamp(min=1e-14)
    plane = local.plane
    if plane.shape[:2] == (1, 1):
        row = plane[0, 0]
        schur = (inverse * row) @ row

        def solve_one(right: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            start = inverse * right
            nu = ((start @ row)[:, None] - target) / schur[:, None]
            return start - inverse * (nu * row), nu

        return solve_one
    wide = plane.expand(inverse.shape[0], -1, -1)
    return _with_equalities(wide, lambda columns: inverse[..., None] * columns)


def _full(instance: Instance, local: Local, weight: Tensor, barrier: Tensor):
    hessian = torch.diag_embed(local.hessian) if instance.program.diagonal else local.hessian
    jacobian = local.jacobian.expand(weight.shape[0], -1, -1)
    matrix = hessian + torch.diag_embed(barrier) + jacobian.mT @ (weight[..., None] * jacobian)
    plane = local.plane.expand(weight.shape[0], -1, -1)
    # Where the curvature vanishes (a linear objective) the equalities hold the direction.
    matrix = matrix + plane.mT @ plane
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    diagonal += 1e-13 * diagonal.abs().amax(1, keepdim=True).clamp(min=1e-10)
    factor, _ = torch.linalg.cholesky_ex(matrix)
    inner = _with_equalities(plane, lambda columns: torch.cholesky_solve(columns, factor))

    def solve(right: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return inner(right + (plane.mT @ target[..., None])[..., 0], target)

    return solve


def _with_equalities(plane: Tensor, invert):
    """Solve [[M, A^T], [A, 0]] given how to apply the inverse of M to columns."""
    if not plane.shape[1]:
        return lambda right, target: (invert(right[..., None])[..., 0], target)
    spread = invert(plane.mT)
    schur = plane @ spread
    schur.diagonal(dim1=1, dim2=2).add_(1e-14 * schur.abs().amax((1, 2)).clamp(min=1e-280)[:, None])

    def solve(right: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        start = invert(right[..., None])[..., 0]
        missing = (plane @ start[..., None])[..., 0] - target
        nu = torch.linalg.solve_ex(schur, missing[..., None])[0][..., 0]
        return start - (spread @ nu[..., None])[..., 0], nu

    return solve
