"""Rewrite a program so that every function in it is smooth where the iterates are.

Kinks become epigraphs (abs(a) turns into t with a <= t and -a <= t), and what an atom demands to be
positive becomes a variable of its own (log(a) turns into log(u) with u == a). Newton's method then
meets only smooth functions and plain bounds, and the solution is the same.
"""

# CVXPY's expressions tell a type checker little of what they carry.
# pyright: reportAttributeAccessIssue=false, reportReturnType=false

from __future__ import annotations

import cvxpy as cp
import numpy as np
from cvxpy.expressions.expression import Expression

from .atoms import kind

_POSITIVE = {"entr": (0,), "log": (0,), "kl_div": (0, 1), "rel_entr": (0, 1), "GeoMean": (0,)}
_UPPER = {"abs", "norm1", "norm_inf", "max", "maximum"}
_LOWER = {"min", "minimum"}


class Lift:
    """Collects the variables and constraints that the rewriting adds."""

    def __init__(self) -> None:
        self.variables: list[cp.Variable] = []
        self.inequalities: list[Expression] = []
        self.equalities: list[Expression] = []
        self.positive: set[int] = set()  # ids of variables that stay above zero by themselves
        self.bounded: set[int] = set()  # ids of variables already held at or above zero

    def __call__(self, expression: Expression) -> Expression:
        """The smooth form of an expression, equal to it at the optimum."""
        if not expression.variables() or not expression.args:
            return expression
        name = kind(expression)
        arguments = [self(argument) for argument in expression.args]
        if name in _UPPER | _LOWER:
            return self._without_kink(expression, arguments)
        if name == "log1p":
            return cp.log(self._above_zero(1 + arguments[0]))
        for place in self._positive_places(expression):
            arguments[place] = self._above_zero(arguments[place])
        if self._ends_at_zero(expression):
            self._hold(arguments[0])
        same = all(a is b for a, b in zip(arguments, expression.args, strict=True))
        return expression if same else expression.copy(arguments)

    def _positive_places(self, expression: Expression) -> tuple[int, ...]:
        name = kind(expression)
        if name == "Power" and float(expression.p_used) < 1:
            return (0,)
        if name == "quad_over_lin" and expression.args[1].variables():
            return (1,)
        places = _POSITIVE.get(name, ())
        return tuple(place for place in places if expression.args[place].variables())

    @staticmethod
    def _ends_at_zero(expression: Expression) -> bool:
        """Whether an atom is defined, and may have its optimum, at zero but not below."""
        name = kind(expression)
        power = float(expression.p_used) if name == "Power" else 0
        return name == "xexp" or (power > 1 and power % 2 != 0)

    def _above_zero(self, argument: Expression) -> Expression:
        if not argument.variables():
            return argument
        if isinstance(argument, cp.Variable):
            self.positive.add(argument.id)
            return argument
        inner = self._new(argument.shape)
        self.positive.add(inner.id)
        if argument.is_affine():
            self.equalities.append(inner - argument)
        else:  # concave, under an atom that grows with it
            self.inequalities.append(inner - argument)
        return inner

    def _without_kink(self, expression: Expression, arguments: list[Expression]) -> Expression:
        name, axis = kind(expression), getattr(expression, "axis", None)
        if name == "norm1":
            edge = bound = self._new(arguments[0].shape)
        else:
            edge = self._new(expression.shape)
            bound = edge if axis is None else _along(edge, arguments[0].shape, axis)
        if name in _LOWER:
            self.inequalities += [bound - argument for argument in arguments]
            return edge
        self.inequalities += [argument - bound for argument in arguments]
        if name in ("abs", "norm1", "norm_inf"):
            self.inequalities.append(-arguments[0] - bound)
        return cp.sum(edge, axis, expression.keepdims) if name == "norm1" else edge

    def _hold(self, argument: Expression) -> None:
        if isinstance(argument, cp.Variable) and argument.id in self.bounded | self.positive:
            return
        self.inequalities.append(-argument)

    def _new(self, shape: tuple[int, ...]) -> cp.Variable:
        self.variables.append(cp.Variable(shape))
        return self.variables[-1]


def _along(edge: Expression, shape: tuple[int, ...], axis: int | tuple[int, ...]) -> Expression:
    """What an atom gives along an axis, laid beside the argument of that shape."""
    folded = {place % len(shape) for place in np.atleast_1d(axis)}
    kept = tuple(1 if place in folded else length for place, length in enumerate(shape))
    return cp.reshape(edge, kept, order="C")
