"""A convex program as a layer: declared once with CVXPY, solved and differentiated in batches."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from .conic import Conic
    from .solve import Solver

logger = logging.getLogger(__name__)

_SLACK = 1e-10  # by which a parameter may miss its declared sign, as CVXPY takes it
_GRAIN = 32_000  # torch splits an operation over threads from 32,768 numbers on
ENGINES = ("auto", "ecos", "batched", "cvxpylayers")


class SolveError(ValueError):
    """Some rows of a batch have no solution; `rows` maps each reason to their indices."""

    def __init__(self, message: str, rows: dict[str, list[int]]):
        super().__init__(message)
        self.rows = rows


class OptLayer(nn.Module):
    """Solve  argmin_x f(x, theta)  s.t.  g(x, theta) <= 0,  h(x, theta) = 0  for a batch of theta.

    Each function takes the variables, then the parameters, and is called once, with CVXPY objects;
    it returns an expression. `forward` takes each parameter with a leading batch dimension, or
    without one where it is the same for all rows, and returns the solution of the one variable, or
    a tuple with that of each, with a batch dimension if a parameter had one. Work is in float64,
    results come back in the dtype and on the device of the input. Gradients are those of the
    active-set KKT system; the second derivative is not available.

    engine: "batched" takes the whole batch through Newton's method, where a step costs O(size), or
    an interior point method, in torch on any device; "ecos" solves row by row with ECOS; both
    polish to machine precision and hand each other what they cannot solve. "cvxpylayers" takes any
    convex atom. "auto" is "batched" where the atoms are known, else "cvxpylayers".

    on_error: "raise" a `SolveError` with the count and rows that are not finite, of another sign
    than declared (the program may not be convex there), infeasible, unbounded or failed; or give
    those rows "nan", with no gradient, and go on with the others.

    audit: the fraction of rows that are solved again by ECOS; the largest difference is logged and
    kept in `largest_difference`.

    Raises `ValueError` at once if the program is not convex (DCP), not affine in its parameters
    (DPP), or uses leaves it was not given.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        parameters: Sequence[Any],
        objective: Callable[..., Any],
        inequalities: Sequence[Callable[..., Any]],
        equalities: Sequence[Callable[..., Any]],
        *,
        engine: str = "auto",
        on_error: str = "raise",
        audit: float = 0.0,
    ):
        super().__init__()
        from .program import declare

        _check_choice("engine", engine, ENGINES)
        _check_choice("on_error", on_error, ("raise", "nan"))
        if not 0 <= audit <= 1:
            raise ValueError(f"audit is {audit}; it is a fraction of rows, from 0 to 1")
        self.declared = declare(variables, parameters, objective, inequalities, equalities)
        self.on_error = on_error
        self.audit = audit
        self.largest_difference = 0.0
        self._chance = torch.Generator().manual_seed(0)
        self.engine, self._solver = _choose(self.declared, engine)
        self._signs = [p.is_nonneg() - p.is_nonpos() for p in self.declared.parameters]

    def forward(self, *theta: Tensor) -> Tensor | tuple[Tensor, ...]:
        batch = self._check(theta)
        rows = 1 if batch is None else batch
        leaves = zip(theta, self.declared.parameters, strict=True)
        exact = [t.double().expand(rows, *p.shape) for t, p in leaves]
        solutions = self._forward(exact, rows) if rows else self._nothing(exact)
        dtype = functools.reduce(torch.promote_types, (t.dtype for t in theta))
        results = tuple(solution.to(dtype) for solution in solutions)
        if batch is None:
            results = tuple(result[0] for result in results)
        return results[0] if len(results) == 1 else results

    def extra_repr(self) -> str:
        return f"{self.declared.problem.objective}, engine={self.engine!r}"

    def __deepcopy__(self, memo: dict) -> OptLayer:
        """The program is shared: it never changes, and CVXPY's leaves must keep their identity."""
        return copy.copy(self)

    def _check(self, theta: Sequence[Tensor]) -> int | None:
        """The number of rows; None if no parameter has a batch dimension."""
        wanted = self.declared.parameters
        if len(theta) != len(wanted):
            raise ValueError(
                f"the layer has {len(wanted)} parameters but was called with {len(theta)}; pass "
                f"one tensor for each, in the order of `parameters`"
            )
        batch = None
        for parameter, t in zip(wanted, theta, strict=True):
            rows, data = t.shape[: t.ndim - len(parameter.shape)], parameter.shape
            if len(rows) > 1 or t.shape != (*rows, *data) or not t.is_floating_point():
                shape = ", ".join(map(str, ("batch", *data)))
                raise ValueError(
                    f"{parameter} takes floating numbers of shape ({shape}), or {data} "
                    f"for all rows, not {t.dtype} {tuple(t.shape)}"
                )
            if (rows and batch not in (None, rows[0])) or t.device != theta[0].device:
                raise ValueError(
                    f"{parameter} has shape {tuple(t.shape)} on {t.device}, but those before have "
                    f"{batch} rows on {theta[0].device}; give all the same"
                )
            batch = rows[0] if rows else batch
        return batch

    def _forward(self, theta: list[Tensor], batch: int) -> tuple[Tensor, ...]:
        verdicts = self._look(theta, batch)
        self._refuse(verdicts)
        if self.engine == "cvxpylayers":
            return self._forward_conic(theta, verdicts)
        flat, verdicts = self._solve(theta, verdicts)
        self._refuse(verdicts)
        if self.audit:
            self._compare(theta, flat.detach(), verdicts)
        return self._split(flat)

    def _look(self, theta: list[Tensor], batch: int) -> list[str]:
        """What the parameters of each row say before it is solved."""
        given = [t.detach().reshape(batch, -1) for t in theta]
        finite = torch.stack([t.isfinite().all(1) for t in given]).all(0)
        signs = [(s * t >= -_SLACK).all(1) for s, t in zip(self._signs, given, strict=True) if s]
        sound = torch.stack([finite, *signs]).all(0)
        if bool(sound.all()):
            return ["solved"] * batch
        each = zip(finite.tolist(), sound.tolist(), strict=True)
        return ["solved" if s else "wrong sign" if f else "not finite" for f, s in each]

    def _solve(self, theta: list[Tensor], verdicts: list[str]) -> tuple[Tensor, list[str]]:
        """Solve a batch in parts that torch computes on one thread.

        The operations are many and small: beside other work, two threads wait for each other four
        to nine times as long as one thread needs.
        """
        solver: Solver = self._solver  # pyright: ignore[reportAssignmentType]
        part = len(verdicts)
        if self.engine == "batched" and theta[0].device.type == "cpu":
            part = max(_GRAIN // max(solver.program.size, 1), 1)
        starts = range(0, len(verdicts), part)
        pieces = zip(*(t.split(part) for t in theta), strict=True)
        found: list[Any] = [
            _Solve.apply(self, verdicts[start : start + part], *piece)
            for start, piece in zip(starts, pieces, strict=True)
        ]
        flat = torch.cat([x for x, _ in found]) if len(found) > 1 else found[0][0]
        return flat, [verdict for _, said in found for verdict in said]

    def _forward_conic(self, theta: list[Tensor], verdicts: list[str]) -> tuple[Tensor, ...]:
        from diffcp import SolverError

        conic: Conic = self._solver  # pyright: ignore[reportAssignmentType]
        good = _places(verdicts, theta[0].device)
        kept = [t[good] for t in theta]
        try:
            found = conic.solve(kept) if len(good) else self._nothing(kept)
        except SolverError:
            for row, why in zip(good.tolist(), conic.fails(kept), strict=True):
                verdicts[row] = why or verdicts[row]
            self._refuse(verdicts)
            good = _places(verdicts, theta[0].device)
            found = self._nothing(theta)
            if len(good):
                found = conic.solve([t[good] for t in theta])
        return tuple(_spread(part, good, len(verdicts)) for part in found)

    def _nothing(self, theta: list[Tensor]) -> tuple[Tensor, ...]:
        """No rows, still joined to the graph."""
        tie = torch.stack([t[:0].sum() for t in theta]).sum()
        return tuple(tie + tie.new_zeros(0, *v.shape) for v in self.declared.variables)

    def _split(self, flat: Tensor) -> tuple[Tensor, ...]:
        from .atoms import column_order

        parts, start = [], 0
        for variable in self.declared.variables:
            part = flat[:, start : start + variable.size]
            parts.append(column_order(part, variable.shape))
            start += variable.size
        return tuple(parts)

    def _refuse(self, verdicts: list[str]) -> None:
        rows: dict[str, list[int]] = {}
        for row, verdict in enumerate(verdicts):
            rows.setdefault(verdict.partition(":")[0], []).append(row)
        rows.pop("solved", None)
        if not rows or self.on_error == "nan":
            return
        counts = "; ".join(
            f"{len(found)} of {len(verdicts)} rows {_SAID[why]} ({_listed(found, verdicts)})"
            for why, found in sorted(rows.items())
        )
        raise SolveError(f"{counts}; mend them or build the layer with on_error='nan'", rows)

    def _compare(self, theta: list[Tensor], flat: Tensor, verdicts: list[str]) -> None:
        good = _places(verdicts, flat.device)
        drawn = torch.rand(len(good), generator=self._chance) < self.audit
        rows = good[drawn.to(good.device)]
        if not len(rows):
            return
        solver: Solver = self._solver  # pyright: ignore[reportAssignmentType]
        again = solver.check([t.detach()[rows] for t in theta])
        difference = float((again - flat[rows]).abs().max())
        self.largest_difference = max(self.largest_difference, difference)
        logger.info("audit: %d rows solved again, largest difference %.1e", len(rows), difference)


_SAID = {
    "not finite": "hold NaN or infinite parameters",
    "wrong sign": "hold parameters of another sign than declared",
    "infeasible": "have no feasible point",
    "unbounded": "are unbounded below",
    "failed": "could not be solved by any engine",
}


class _Solve(torch.autograd.Function):
    """Forwards the solver, backwards one linear solve with the same KKT matrix."""

    @staticmethod
    def forward(ctx, layer: OptLayer, verdicts: list[str], *theta: Tensor):
        from .kkt import Instance

        solver: Solver = layer._solver  # pyright: ignore[reportAssignmentType]
        ctx.shapes, ctx.good = [t.shape for t in theta], None
        if all(verdict == "solved" for verdict in verdicts):
            ctx.instance = Instance(solver.program, theta)
            ctx.point, verdicts = solver.solve(ctx.instance)
            if all(verdict == "solved" for verdict in verdicts):
                return ctx.point.x.clone(), verdicts  # the context keeps its own: no cycle
        ctx.good = rows = _places(verdicts, theta[0].device)
        found = theta[0].new_zeros(0, solver.program.size)
        if len(rows):
            instance = Instance(solver.program, [t[rows] for t in theta])
            point, said = solver.solve(instance)
            solved = _places(said, rows.device)
            if len(solved):
                ctx.instance, ctx.point = instance.rows(solved), point.rows(solved)
            verdicts = list(verdicts)
            for row, verdict in zip(rows.tolist(), said, strict=True):
                verdicts[row] = verdict
            ctx.good, found = rows[solved], point.x[solved]
        return _spread(found, ctx.good, len(verdicts)), verdicts

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        from .kkt import pull_back

        if ctx.good is None:
            return None, None, *pull_back(ctx.instance, ctx.point, grad)
        zeros = [grad.new_zeros(shape) for shape in ctx.shapes]
        if len(ctx.good):
            parts = pull_back(ctx.instance, ctx.point, grad[ctx.good])
            for zero, part in zip(zeros, parts, strict=True):
                if part is not None:
                    zero[ctx.good] = part
        return None, None, *zeros


def _choose(declared, engine: str) -> tuple[str, Solver | Conic]:
    """The engine that a program will use, and the program made ready for it."""
    from .atoms import UnknownAtom

    if engine != "cvxpylayers":
        from .program import build
        from .solve import Solver

        try:
            program = build(declared)
        except UnknownAtom as reason:
            logger.warning("cvxpylayers will solve this program: we do not translate %s", reason)
        else:
            engine = "batched" if engine == "auto" else engine
            return engine, Solver(program, engine)
    from .conic import Conic

    return "cvxpylayers", Conic(declared)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def _places(verdicts: list[str], device: torch.device) -> Tensor:
    found = [i for i, verdict in enumerate(verdicts) if verdict == "solved"]
    return torch.tensor(found, dtype=torch.long, device=device)


def _spread(part: Tensor, rows: Tensor, batch: int) -> Tensor:
    """Rows put back in their places among NaN."""
    if len(rows) == batch:
        return part
    return part.new_full((batch, *part.shape[1:]), torch.nan).index_copy(0, rows, part)


def _listed(rows: list[int], verdicts: list[str]) -> str:
    shown = ", ".join(str(row) + "".join(verdicts[row].partition(":")[1:]) for row in rows[:8])
    more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
    return f"row{'s' * (len(rows) > 1)} {shown}{more}"
