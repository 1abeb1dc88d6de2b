"""Random convex programs, and a verdict on what the engines make of one.

    python -m tests.avce.layers.random_programs [COUNT] [FIRST_SEED]

prints how many were solved, wrong (none may be) and refused, by reason. A program has up to six
variables and six constraints; its parameters stand anywhere, in matrices too. What is compared: the
engines with each other, the optimality conditions of the declared program in float64, and the
gradient with central differences.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from typing import NamedTuple

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from avce.layers import OptLayer, SolveError

from .cases import ENGINES, joined

ROWS = 2
STEP = 1e-5
VALUE, SLOPE = 1e-7, 1e-3  # largest differences, against 1 + size


class Task(NamedTuple):
    variables: list[cp.Variable]
    parameters: list[cp.Parameter]
    objective: cp.Expression
    inequalities: list[cp.Expression]
    equalities: list[cp.Expression]
    theta: list[Tensor]

    def layer(self, engine: str) -> OptLayer:
        return OptLayer(
            self.variables,
            self.parameters,
            lambda *_: self.objective,
            [lambda *_, g=g: g for g in self.inequalities],
            [lambda *_, h=h: h for h in self.equalities],
            engine=engine,
        )


class Draw:
    """Grows one program; every number and shape follows from the seed."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.parameters: list[cp.Parameter] = []
        self.theta: list[Tensor] = []
        count = int(self.rng.integers(1, 7))
        self.positive = bool(self.rng.random() < 0.3)  # entropies need x >= 0
        self.variables, self.inside = [], []
        for _ in range(count):
            shape = [(), (1,), (2,), (3,), (2, 2), (1, 1)][self.rng.integers(6)]
            self.variables.append(cp.Variable(shape))
            point = self.rng.normal(size=(ROWS, *shape))
            self.inside.append(np.abs(point) + 0.2 if self.positive else point)

    def numbers(self, shape: tuple[int, ...], positive: bool = False):
        """A constant, or a parameter that is the same for all rows or has its own in each."""
        kind = self.rng.integers(4)
        rows = self.rng.normal(size=(ROWS if kind > 1 else 1, *shape))
        rows = np.abs(rows) + 0.3 if positive else rows
        if kind == 0:
            return rows[0], np.repeat(rows, ROWS, 0)
        leaf = cp.Parameter(shape, nonneg=positive)
        self.parameters.append(leaf)
        self.theta.append(torch.as_tensor(rows if kind > 1 else rows[0]))
        return leaf, np.broadcast_to(rows, (ROWS, *shape))

    def affine(self, height: int) -> tuple[cp.Expression, np.ndarray]:
        """A vector sum of matrices times variables, and what it is inside the feasible set."""
        total, value = 0, np.zeros((ROWS, height))
        chosen = self.rng.random(len(self.variables)) < 0.6
        chosen[self.rng.integers(len(chosen))] = True
        if sum(v.size for v, used in zip(self.variables, chosen, strict=True) if used) <= height:
            chosen[:] = True
        for variable, point, used in zip(self.variables, self.inside, chosen, strict=True):
            if not used:
                continue
            matrix, rows = self.numbers((height, variable.size))
            flat = np.stack([np.ravel(row, "F") for row in point])
            total = total + matrix @ cp.vec(variable, order="F")
            value = value + np.einsum("bij,bj->bi", rows, flat)
        return total, value

    def shifted(self, height: int) -> cp.Expression:
        return self.affine(height)[0] + self.numbers((height,))[0]

    def term(self) -> cp.Expression:
        height = int(self.rng.integers(1, 4))
        kinds = ["squares", "linear", "norm", "lse", "norm1", "max", "logistic", "huber"]
        kind = kinds[self.rng.integers(len(kinds))]
        inner = self.shifted(height)
        weight = self.numbers((), positive=True)[0] if self.rng.random() < 0.5 else 1.0
        term = {
            "squares": cp.sum_squares,
            "linear": cp.sum,
            "norm": cp.norm,
            "lse": cp.log_sum_exp,
            "norm1": cp.norm1,
            "max": cp.max,
            "logistic": lambda e: cp.sum(cp.logistic(e)),
            "huber": lambda e: cp.sum(cp.huber(e)),
        }[kind](inner)
        scaled = weight * term
        return scaled if scaled.is_dcp(dpp=True) else term

    def objective(self) -> cp.Expression:
        terms = [self.term() for _ in range(self.rng.integers(0, 3))]
        drift = self.bound(self.rng.normal(size=(ROWS, self.variables[0].size)))
        terms.append(drift @ cp.vec(self.variables[0], order="F"))
        for variable in self.variables:  # strictly convex: one solution
            if self.positive and self.rng.random() < 0.5:
                terms.append(-cp.sum(cp.entr(variable)))
            else:
                terms.append(cp.sum_squares(variable - self.numbers(variable.shape)[0]))
        return sum(terms[1:], terms[0])

    def inequality(self) -> cp.Expression:
        height = int(self.rng.integers(1, 4))
        room = self.rng.random() * 0.5
        if self.rng.random() < 0.6:
            left, value = self.affine(height)
            return left - self.bound(value + room)
        left, value = self.affine(height)
        if self.rng.random() < 0.5:
            return cp.norm(left) - self.bound(np.linalg.norm(value, axis=1) + room + 0.1)
        total = np.log(np.exp(value).sum(1))
        return cp.log_sum_exp(left) - self.bound(total + room + 0.1)

    def bound(self, rows: np.ndarray) -> cp.Parameter:
        leaf = cp.Parameter(rows.shape[1:])
        self.parameters.append(leaf)
        self.theta.append(torch.from_numpy(np.ascontiguousarray(rows)))
        return leaf

    def task(self) -> Task:
        objective = self.objective()
        inequalities = [self.inequality() for _ in range(self.rng.integers(0, 5))]
        if self.positive:
            inequalities += [-variable for variable in self.variables[:2]]
        free = sum(v.size for v in self.variables)
        equalities = []
        if free > 2 and self.rng.random() < 0.5:
            left, value = self.affine(int(self.rng.integers(1, 3)))
            equalities.append(left - self.bound(value))
        parts = [objective, *inequalities, *equalities]
        used = {p.id for part in parts for p in part.parameters()}
        kept = [i for i, p in enumerate(self.parameters) if p.id in used]
        return Task(
            self.variables,
            [self.parameters[i] for i in kept],
            objective,
            inequalities,
            equalities,
            [self.theta[i] for i in kept],
        )


def verdict(seed: int) -> str:
    """solved; wrong, refused (by an engine at least) or no slope (at a kink of x), and why."""
    task = Draw(seed).task()
    solutions, slopes = {}, {}
    direction, weight = _directions(task, seed)
    layers = {engine: task.layer(engine) for engine in ENGINES}
    for engine, layer in layers.items():
        if layer.engine != engine:
            return "refused: an atom outside the table"
        theta = [t.clone().requires_grad_() for t in task.theta]
        try:
            x = joined(layer(*theta))
        except SolveError as error:
            return f"refused: {engine}, {', '.join(error.rows)}"
        solutions[engine] = x.detach()
        found = torch.autograd.grad((x * weight[: x.shape[1]]).sum(), theta, allow_unused=True)
        pairs = zip(found, direction, strict=True)
        slopes[engine] = float(sum((g * d).sum() for g, d in pairs if g is not None))
    x, again = (solutions[engine] for engine in ENGINES)
    if not _near(x, again, VALUE):
        return f"wrong: the engines differ by {float((x - again).abs().max()):.0e}"
    layer = layers["batched"]
    return _against_cvxpy(task, layer.declared.problem, x) or _against_differences(
        layer, task.theta, slopes, direction, weight
    )


def _directions(task: Task, seed: int) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    pairs = zip(task.parameters, task.theta, strict=True)
    return [1 + 0 * t if p.is_nonneg() else draw(t.shape) for p, t in pairs], draw((64,))


def _near(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool(((a - b).abs() <= tolerance * (1 + b.abs())).all())


def _against_cvxpy(task: Task, problem: cp.Problem, x: Tensor) -> str:
    """Feasible, and no worse than what Clarabel finds, in CVXPY's own evaluation of each row."""
    for row in range(len(x)):
        for parameter, t in zip(task.parameters, task.theta, strict=True):
            parameter.value = (t[row] if t.ndim > len(parameter.shape) else t).numpy()
        problem.solve(solver=cp.CLARABEL)
        theirs, start = problem.value, 0
        for variable in task.variables:
            part = x[row, start : start + variable.size].numpy().reshape(variable.shape)
            variable.value, start = part, start + variable.size
        size = 1 + abs(theirs)
        over = max((float(np.max(g.value)) for g in task.inequalities), default=0.0)
        off = max((float(np.abs(h.value).max()) for h in task.equalities), default=0.0)
        if max(over, off) > 1e-8:
            return f"wrong: a constraint is missed by {max(over, off):.0e}"
        if problem.objective.value - theirs > 1e-6 * size:  # Clarabel stops at 1e-8
            return f"wrong: {problem.objective.value - theirs:.0e} above the optimum"
    return ""


def _against_differences(
    layer: OptLayer,
    theta: list[Tensor],
    slopes: dict[str, float],
    direction: list[Tensor],
    weight: Tensor,
) -> str:
    """Central differences; two steps that disagree tell a kink, where no slope is right."""

    def at(step: float) -> float:
        moved = [t + step * d for t, d in zip(theta, direction, strict=True)]
        x = joined(layer(*moved))
        return float((x * weight[: x.shape[1]]).sum())

    try:
        wide, close = ((at(s) - at(-s)) / (2 * s) for s in (STEP, STEP / 10))
    except SolveError:
        return "no slope: a neighbour has no solution"
    if abs(wide - close) > SLOPE * (1 + abs(close)):
        return "no slope: differences disagree"
    for engine, slope in slopes.items():
        if abs(slope - close) > SLOPE * (1 + abs(close)):
            return f"wrong: the slope by {engine} is {slope:.6g}, by differences {close:.6g}"
    return "solved"


def main(count: int = 2000, first: int = 0) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    told: Counter[str] = Counter()
    for seed in range(first, first + count):
        said = verdict(seed)
        told[said if said.startswith("refused") else said.partition(":")[0]] += 1
        if said.startswith("wrong"):
            print(f"seed {seed}: {said}", flush=True)
    print(f"{count} programs: {told.pop('solved', 0)} solved, {told.get('wrong', 0)} wrong")
    for said, number in told.most_common():
        print(f"  {number} {said}")
    return int(told["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
