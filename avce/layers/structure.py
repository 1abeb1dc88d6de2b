"""What can be known of a program's derivatives before any number is seen.

A diagonal Hessian and bounds turn the linear system of one Newton step from O(n^3) into O(n), and a
derivative that never changes is computed once. Both are read off the expression tree, never
guessed from samples.
"""

# CVXPY's expressions tell a type checker little of what they carry.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import numpy as np
import torch
from cvxpy.expressions.expression import Expression

from .atoms import AFFINE, ELEMENTWISE, PRODUCTS, column_order, kind, local_function, translate


def has_constant_jacobian(expression: Expression) -> bool:
    """Whether an affine expression multiplies its variables by numbers only."""
    if not expression.variables():
        return True
    if not expression.is_affine():
        return False
    if kind(expression) in PRODUCTS and expression.parameters():
        return _one_side_is_plain(expression)
    return all(has_constant_jacobian(argument) for argument in expression.args)


def _one_side_is_plain(expression: Expression) -> bool:
    left, right = expression.args
    fixed, moving = (left, right) if right.variables() else (right, left)
    return not fixed.parameters() and has_constant_jacobian(moving)


def has_constant_hessian(expression: Expression) -> bool:
    """Whether an expression is quadratic with a matrix that no parameter touches."""
    if expression.is_affine():
        return True
    name = kind(expression)
    if name in PRODUCTS or name == "DivExpression":
        left, right = expression.args
        fixed, moving = (left, right) if right.variables() else (right, left)
        return not fixed.parameters() and has_constant_hessian(moving)
    if name in AFFINE:
        return all(has_constant_hessian(argument) for argument in expression.args)
    return _is_square(expression) and has_constant_jacobian(expression.args[0])


def _is_square(expression: Expression) -> bool:
    name = kind(expression)
    if name == "Power":
        return float(expression.p_used) == 2
    return (
        name in ("quad_over_lin", "QuadForm")
        and expression.args[1].is_constant()
        and not (expression.args[1].parameters())
    )


class Dependence:
    """Which entries of the variables each entry of an expression, and its curvature, can see."""

    def __init__(self, columns: dict[int, tuple[int, int]], size: int):
        self.columns = columns
        self.size = size

    def gradient(self, expression: Expression) -> np.ndarray:
        """(entries of the expression, size) bool; entries in row-major order."""
        if not expression.variables():
            return np.zeros((expression.size, self.size), bool)
        if not expression.args:
            return self._selector(expression)
        inner = [self.gradient(argument) for argument in expression.args]
        name = kind(expression)
        if name in AFFINE:
            return self._through_affine(expression, inner)
        if name in ELEMENTWISE:
            return np.logical_or.reduce([np.broadcast_to(d, inner[0].shape) for d in inner])
        anything = np.logical_or.reduce([d.any(0) for d in inner])
        return np.broadcast_to(anything, (expression.size, self.size))

    def hessian(self, expression: Expression) -> np.ndarray:
        """(size, size) bool."""
        seen = np.zeros((self.size, self.size), bool)
        if expression.is_affine():
            return seen
        for argument in expression.args:
            seen |= self.hessian(argument)
        name = kind(expression)
        if name in ELEMENTWISE or (name == "quad_over_lin" and _is_square(expression)):
            for argument in expression.args[: 1 if name == "quad_over_lin" else None]:
                each = self.gradient(argument).astype(float)
                seen |= each.T @ each > 0
        elif name not in AFFINE:
            whole = self.gradient(expression).any(0)
            seen |= np.outer(whole, whole)
        return seen

    def _selector(self, variable: Expression) -> np.ndarray:
        start, stop = self.columns[variable.id]
        places = torch.arange(start, stop)[None].double()
        order = column_order(places, variable.shape).reshape(-1).long()
        dependence = np.zeros((variable.size, self.size), bool)
        dependence[np.arange(variable.size), order.numpy()] = True
        return dependence

    def _through_affine(self, expression: Expression, inner: list[np.ndarray]) -> np.ndarray:
        """An affine atom mixes entries the same way wherever it stands: ask torch once."""
        values = _random_values(expression)
        arguments = [translate(argument)(values) for argument in expression.args]
        function = local_function(expression)
        seen = np.zeros((expression.size, self.size), bool)
        for place, below in enumerate(inner):
            if below.any():
                mixing = _jacobian(function, arguments, place).reshape(expression.size, -1)
                seen |= (mixing != 0).numpy().astype(float) @ below.astype(float) > 0
        return seen


def _jacobian(function, arguments: list[torch.Tensor], place: int) -> torch.Tensor:
    def at(argument: torch.Tensor) -> torch.Tensor:
        return function(*arguments[:place], argument, *arguments[place + 1 :])

    return torch.func.jacrev(at)(arguments[place])


def _random_values(expression: Expression) -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    leaves = [*expression.variables(), *expression.parameters()]
    return {
        leaf.id: torch.rand(1, *leaf.shape, generator=generator, dtype=torch.float64) + 0.5
        for leaf in leaves
    }
