"""A convex program declared with CVXPY, checked once, and its torch functions.

minimise f(x, theta)  subject to  g(x, theta) <= 0,  h(x, theta) = 0
"""

# CVXPY's expressions tell a type checker little of what they carry.
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from cvxpy.expressions.expression import Expression
from torch import Tensor

from .atoms import UnknownAtom, column_order, translate
from .smoothing import Lift
from .structure import Dependence, has_constant_hessian, has_constant_jacobian

Function = Callable[..., Any]
_UNDERSTOOD = {"nonneg", "nonpos", "pos", "neg", "bounds"}


@dataclass(frozen=True)
class Declaration:
    """What the user declared: each function called once with the CVXPY objects."""

    variables: list[cp.Variable]
    parameters: list[cp.Parameter]
    objective: Expression
    inequalities: list[Expression]
    equalities: list[Expression]

    @property
    def problem(self) -> cp.Problem:
        return _problem(self.objective, self.inequalities, self.equalities)


def declare(
    variables: Sequence[Any],
    parameters: Sequence[Any],
    objective: Function,
    inequalities: Sequence[Function],
    equalities: Sequence[Function],
) -> Declaration:
    """Call each function once and check that what comes back is a convex (DPP) program.

    Raises `ValueError` that names the part, its expression and the rule it breaks.
    """
    _check_leaves(variables, cp.Variable, "variables")
    _check_leaves(parameters, cp.Parameter, "parameters")
    if not parameters:
        raise ValueError(
            "parameters is empty, so the solution is one constant; solve the program with CVXPY"
        )
    leaves = [*variables, *parameters]
    declaration = Declaration(
        list(variables),
        list(parameters),
        _call(objective, leaves, "the objective"),
        [_call(g, leaves, f"inequality {i}") for i, g in enumerate(inequalities)],
        [_call(h, leaves, f"equality {i}") for i, h in enumerate(equalities)],
    )
    _check_convex(declaration)
    _check_membership(declaration)
    return declaration


def _check_leaves(leaves: Sequence[Any], wanted: type, name: str) -> None:
    for place, leaf in enumerate(leaves):
        if not isinstance(leaf, wanted):
            raise ValueError(
                f"{name}[{place}] is a {type(leaf).__name__}; declare it as cp.{wanted.__name__}"
            )
        if leaf.attributes.get("boolean") or leaf.attributes.get("integer"):
            raise ValueError(
                f"{name}[{place}] ({leaf}) is boolean or integer, which has no gradient; relax it "
                f"to an interval"
            )
        if any(leaf is other for other in leaves[:place]):
            raise ValueError(f"{name}[{place}] ({leaf}) stands there twice; name each once")


def _call(function: Function, leaves: Sequence[Any], part: str) -> Expression:
    try:
        result = function(*leaves)
    except AttributeError as error:
        if "sum_squared" in str(error):
            raise ValueError(
                f"{part} uses cp.sum_squared, which CVXPY does not have; write cp.sum_squares"
            ) from error
        raise
    if isinstance(result, cp.constraints.constraint.Constraint):
        raise ValueError(
            f"{part} returns the constraint {result}; return the expression on its left-hand side "
            f"(g for g <= 0, h for h == 0)"
        )
    if not isinstance(result, Expression):
        raise ValueError(f"{part} returns {result!r}; return a CVXPY expression")
    return result


def _check_convex(declared: Declaration) -> None:
    f = declared.objective
    if f.size != 1:
        raise ValueError(f"the objective {f} has shape {f.shape}; make it one number, as by cp.sum")
    _check_part(f, f.is_convex(), f.is_dcp(dpp=True), "the objective", "convex")
    for i, g in enumerate(declared.inequalities):
        _check_part(g, g.is_convex(), g.is_dcp(dpp=True), f"inequality {i}", "convex")
    for i, h in enumerate(declared.equalities):
        _check_part(h, h.is_affine(), h.is_dcp(dpp=True), f"equality {i}", "affine")


def _check_part(expression: Expression, shape: bool, dpp: bool, part: str, rule: str) -> None:
    if not shape or not expression.is_real():
        raise ValueError(
            f"{part} is {expression.curvature.lower()}, not {rule} (DCP), in its variables: "
            f"{expression}; rewrite it with the rules of disciplined convex programming"
        )
    if not dpp:
        raise ValueError(
            f"{part} is not affine in its parameters (DPP): {expression}; compute the product in "
            f"torch and pass it as one parameter"
        )


def _check_membership(declared: Declaration) -> None:
    parts = [declared.objective, *declared.inequalities, *declared.equalities]
    used = {leaf.id: leaf for part in parts for leaf in part.variables() + part.parameters()}
    known = {leaf.id for leaf in (*declared.variables, *declared.parameters)}
    strangers = [str(leaf) for key, leaf in used.items() if key not in known]
    if strangers:
        raise ValueError(
            f"the functions use {', '.join(strangers)}, which the layer was not given; add it to "
            f"variables or parameters"
        )
    idle = [str(variable) for variable in declared.variables if variable.id not in used]
    if idle:
        raise ValueError(
            f"no function uses the variable {', '.join(idle)}, so its solution is arbitrary; drop "
            f"it from variables"
        )


def _problem(
    objective: Expression, inequalities: list[Expression], equalities: list[Expression]
) -> cp.Problem:
    constraints: list[Any] = [g <= 0 for g in inequalities] + [h == 0 for h in equalities]
    return cp.Problem(cp.Minimize(objective), constraints)


class Bounds:
    """Inequalities that each hold one entry of the point: row k is coefficient k times an entry."""

    def __init__(self, entries: Tensor, coefficients: Tensor, size: int):
        self.entries, self.coefficients, self.size = entries, coefficients, size
        self.steep = coefficients.abs()
        every = torch.arange(size, device=entries.device)
        # One bound an entry, in order, as for p >= 0: nothing needs to be moved about.
        self.in_order = len(entries) == size and bool((entries == every).all())

    def to(self, device: torch.device) -> Bounds:
        return Bounds(self.entries.to(device), self.coefficients.to(device), self.size)

    def pick(self, x: Tensor) -> Tensor:
        """(b, size) -> (b, rows): the entry that each row holds."""
        # Not x[:, entries]: that splits over threads however small it is.
        return x if self.in_order else x.index_select(1, self.entries)

    def gather(self, rows: Tensor) -> Tensor:
        """(b, rows) -> (b, size): the rows summed up in the entries they hold."""
        if self.in_order:
            return rows
        blank = rows.new_zeros(rows.shape[0], self.size)
        return blank.index_add_(1, self.entries, rows)


@dataclass
class Program:
    """A declaration made smooth, with its torch functions and what is constant in them.

    Points are flat, (b, size), columns as in CVXPY. `hessian`, `jacobian` and `plane` are set where
    they are the same for every point and parameter; `bounds` where each inequality holds one entry.
    """

    parameters: list[cp.Parameter]
    columns: dict[int, tuple[int, int]]
    shapes: dict[int, tuple[int, ...]]
    size: int
    problem: cp.Problem
    f: Callable
    curved: Callable  # the terms of f that are not affine in the variables
    straight: Callable  # the others
    g: list[Callable]
    h: list[Callable]
    positive: Tensor  # (size,) bool: entries that the functions keep above zero
    diagonal: bool  # the Hessian of the Lagrangian has no other entries
    hessian: Tensor | None = None  # (size,) if diagonal, else (size, size)
    jacobian: Tensor | None = None  # (inequalities, size)
    plane: Tensor | None = None  # (equalities, size)
    bounds: Bounds | None = None
    one_signed: Tensor | None = None  # (equalities,) bool: rows of `plane` that sum positive terms
    sizes: tuple[int, int] = (0, 0)  # numbers of inequalities and equalities
    # Known without asking a device:
    guarded: bool = False  # whether any entry is positive
    sums: bool = False  # whether any equality is one-signed
    rises: bool | None = None  # whether a constant Hessian has a diagonal above zero
    copies: dict[torch.device, Program] = field(default_factory=dict)

    @property
    def simple(self) -> bool:
        """Whether a Newton step takes O(size), by a diagonal Hessian and bounds alone."""
        return self.diagonal and self.bounds is not None

    def values(self, x: Tensor, theta: Sequence[Tensor]) -> dict[int, Tensor]:
        found = {
            key: column_order(x[:, start:stop], self.shapes[key])
            for key, (start, stop) in self.columns.items()
        }
        return found | {p.id: t for p, t in zip(self.parameters, theta, strict=True)}

    def objective(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """(b,)"""
        return self._number(self.f, x, theta)

    def curved_part(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """(b,): the objective less `straight_part`, whose gradient no point changes."""
        return self._number(self.curved, x, theta)

    def straight_part(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """(b,)"""
        return self._number(self.straight, x, theta)

    def _number(self, function: Callable, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        return function(self.values(x, theta)).reshape(-1).expand(x.shape[0])

    def inequalities(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """(b, inequalities)"""
        return self._stack(self.g, x, theta)

    def equalities(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """(b, equalities)"""
        return self._stack(self.h, x, theta)

    def _stack(self, functions: list[Callable], x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        if not functions:
            return x.new_zeros(x.shape[0], 0)
        values = self.values(x, theta)
        parts = [function(values) for function in functions]
        parts = [part.reshape(part.shape[0], -1).expand(x.shape[0], -1) for part in parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def to(self, device: torch.device) -> Program:
        """The program with its constants on a device; made once a device."""
        if self.positive.device == device:
            return self
        if device not in self.copies:
            fixed = ("positive", "hessian", "jacobian", "plane", "one_signed")
            moved = {k: v.to(device) for k in fixed if (v := getattr(self, k)) is not None}
            bounds = self.bounds and self.bounds.to(device)
            self.copies[device] = Program(**{**vars(self), **moved, "bounds": bounds, "copies": {}})
        return self.copies[device]


def build(declared: Declaration) -> Program:
    """Translate a declaration; raises `UnknownAtom` where the table of atoms ends."""
    lift = Lift()
    inequalities = [g for v in declared.variables for g in _of_attributes(v, lift)]
    for g in declared.inequalities:
        if type(g).__name__ == "NegExpression" and isinstance(g.args[0], cp.Variable):
            lift.bounded.add(g.args[0].id)
    objective = lift(declared.objective)
    inequalities += [lift(g) for g in declared.inequalities]
    equalities = [lift(h) for h in declared.equalities]
    # The lists that the lift holds grow while it works: read them only now.
    inequalities += lift.inequalities
    equalities += lift.equalities
    variables = declared.variables + lift.variables
    columns, size = _columns(variables)
    program = Program(
        parameters=declared.parameters,
        columns=columns,
        shapes={v.id: v.shape for v in variables},
        size=size,
        problem=_problem(objective, inequalities, equalities),
        f=translate(objective),
        curved=_total([term for term in _terms(objective) if not term.is_affine()]),
        straight=_total([term for term in _terms(objective) if term.is_affine()]),
        g=[translate(g) for g in inequalities],
        h=[translate(h) for h in equalities],
        positive=_positive(columns, size, lift.positive),
        guarded=bool(lift.positive),
        diagonal=_is_diagonal(columns, size, [objective, *inequalities]),
        sizes=(sum(g.size for g in inequalities), sum(h.size for h in equalities)),
    )
    _fix_constants(program, objective, inequalities, equalities)
    return program


def _terms(expression: Expression) -> list[Expression]:
    return expression.args if type(expression).__name__ == "AddExpression" else [expression]


def _total(terms: list[Expression]) -> Callable:
    total = terms[0] if terms else cp.Constant(0)
    for term in terms[1:]:
        total = total + term
    return translate(total)


def _of_attributes(variable: cp.Variable, lift: Lift) -> list[Expression]:
    """The sign and bounds that a variable was declared with, as inequalities."""
    given = {key for key, value in variable.attributes.items() if value is not None and value}
    if given - _UNDERSTOOD:
        raise UnknownAtom(f"the attribute {', '.join(given - _UNDERSTOOD)} of {variable}")
    if given & {"nonneg", "pos"}:
        lift.bounded.add(variable.id)
        return [-variable]
    if given & {"nonpos", "neg"}:
        return [+variable]
    if "bounds" in given:
        low, high = (np.broadcast_to(b, variable.shape) for b in variable.attributes["bounds"])
        below, above = np.isfinite(low), np.isfinite(high)
        sides = [(below, low[below] - variable[below]), (above, variable[above] - high[above])]
        return [side for finite, side in sides if finite.any()]
    return []


def _columns(variables: list[cp.Variable]) -> tuple[dict[int, tuple[int, int]], int]:
    stops = np.cumsum([v.size for v in variables]).tolist()
    return {v.id: (s - v.size, s) for v, s in zip(variables, stops, strict=True)}, stops[-1]


def _positive(columns: dict[int, tuple[int, int]], size: int, ids: set[int]) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    for key in ids:
        mask[slice(*columns[key])] = True
    return mask


def _is_diagonal(
    columns: dict[int, tuple[int, int]], size: int, expressions: list[Expression]
) -> bool:
    dependence = Dependence(columns, size)
    seen = np.logical_or.reduce([dependence.hessian(e) for e in expressions])
    return not (seen & ~np.eye(size, dtype=bool)).any()


def _fix_constants(
    program: Program, f: Expression, g: list[Expression], h: list[Expression]
) -> None:
    """Evaluate once what no point and no parameter changes."""
    theta = [torch.ones(1, *p.shape, dtype=torch.float64) for p in program.parameters]
    x = torch.ones(1, program.size, dtype=torch.float64)
    straight = all(part.is_affine() for part in g)
    if straight and has_constant_hessian(f):
        slope = torch.func.jacrev(lambda y: program.objective(y, theta)[0])
        full = torch.func.jacrev(slope)(x)[0, :, 0]
        program.hessian = full.diagonal().clone() if program.diagonal else full
        program.rises = bool((full.diagonal() > 0).all())
    if all(has_constant_jacobian(part) for part in g):
        jacobian = torch.func.jacrev(lambda y: program.inequalities(y, theta)[0])(x)[:, 0]
        program.jacobian, program.bounds = jacobian, _bounds(jacobian)
    if all(has_constant_jacobian(part) for part in h):
        plane = torch.func.jacrev(lambda y: program.equalities(y, theta)[0])(x)[:, 0]
        program.plane, program.one_signed = plane, _one_signed(plane, program.positive)
        program.sums = bool(program.one_signed.any())


def _one_signed(plane: Tensor, positive: Tensor) -> Tensor:
    """Which rows sum positive entries with coefficients of one sign."""
    held = (plane[:, ~positive] == 0).all(1)
    return held & ((plane >= 0).all(1) | (plane <= 0).all(1))


def _bounds(jacobian: Tensor) -> Bounds | None:
    if not ((jacobian != 0).sum(1) == 1).all():
        return None
    entries = jacobian.abs().argmax(1) if len(jacobian) else torch.zeros(0, dtype=torch.long)
    return Bounds(entries, jacobian.gather(1, entries[:, None])[:, 0], jacobian.shape[1])
