"""From a batch of parameters to certified solutions: solve roughly, polish, retry what is left."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .ecos import FAILED, SOLVED, Ecos
from .interior_point import Batched
from .kkt import Instance, Point, polish
from .program import Program

_ACCEPTED = 1e-9  # relative KKT residual; a polished row is near 1e-15
_ROUGH = 1e-4
_ROUGH_SIMPLE = 1e-2  # where Newton comes from far at O(size) a step
_TIGHT = 1e-9
_TIGHTEST = 1e-12  # entmax's entries of 1e-10: a curvature of 1e5, so Newton must start near
_NEWTON_STEPS = 16  # the simplex maps need 2 to 10, up to 512 entries

# The points, their KKT residuals, and what the engine says of each.
Attempt = Callable[[Instance, float], tuple[Point, Tensor, list[str]]]


class Solver:
    """One program and the engine that solves it; ECOS is made ready when first needed."""

    def __init__(self, program: Program, engine: str):
        self.program = program
        self.batched = Batched(program)
        self._ecos = Ecos(program) if engine == "ecos" else None
        self.engine = engine

    @property
    def ecos(self) -> Ecos:
        if self._ecos is None:
            self._ecos = Ecos(self.program)
        return self._ecos

    def solve(self, instance: Instance) -> tuple[Point, list[str]]:
        """A polished point and a verdict for each row: solved, infeasible, unbounded or failed.

        A row counts as solved if its KKT residual says so, whatever the engine said on the way; a
        failed one says by how much it missed. The walk over the batch comes first or last, ECOS
        the other way round, so that the few rows one of them cannot do go to the other.
        """
        attempts = self._attempts()
        point, error, verdicts = attempts[0][0](instance, attempts[0][1])
        for attempt, tolerance in attempts[1:]:
            rows = (~(error <= _ACCEPTED)).nonzero()[:, 0]
            if not len(rows):
                break
            again, left, said = attempt(instance.rows(rows), tolerance)
            for whole, part in zip((*point, error), (*again, left), strict=True):
                whole[rows] = part
            for row, verdict in zip(rows.tolist(), said, strict=True):
                verdicts[row] = verdict if verdict != FAILED else verdicts[row]
        sizes = torch.stack([error, instance.scale]).tolist()
        return point, [_judged(*each) for each in zip(verdicts, *sizes, strict=True)]

    def _attempts(self) -> list[tuple[Attempt, float]]:
        if self.engine == "batched":
            walks = [(self._by_walk, _ROUGH), (self._by_walk, _TIGHT), (self._by_ecos, _TIGHT)]
            first = [(self._by_newton, _TIGHT)] if self.program.simple else []
            return [*first, *walks, (self._by_walk, _TIGHTEST)]
        rough = _ROUGH_SIMPLE if self.program.simple else _ROUGH
        tries = [(self._by_ecos, rough), (self._by_ecos, _TIGHT)]
        return [*tries, (self._by_walk, _TIGHT), (self._by_walk, _TIGHTEST)]

    def check(self, theta: list[Tensor]) -> Tensor:
        """ECOS's own answer, polished, for rows that another route has solved."""
        return self._by_ecos(Instance(self.program, theta), _TIGHT)[0].x

    def _by_ecos(self, instance: Instance, tolerance: float) -> tuple[Point, Tensor, list[str]]:
        rough, verdicts = self.ecos.solve(instance, tolerance)
        above = rough.x.clamp(min=1e-12)
        rough = rough._replace(x=torch.where(instance.program.positive, above, rough.x))
        return *polish(instance, rough), verdicts

    def _by_newton(self, instance: Instance, _: float) -> tuple[Point, Tensor, list[str]]:
        """No engine: where a Newton step costs next to nothing, it may well arrive alone."""
        point, error = polish(instance, instance.origin(), _NEWTON_STEPS)
        return point, error, [FAILED] * instance.batch

    def _by_walk(self, instance: Instance, tolerance: float) -> tuple[Point, Tensor, list[str]]:
        rough = self.batched.solve(instance, tolerance)
        return *polish(instance, rough), [FAILED] * instance.batch


def _judged(verdict: str, error: float, scale: float) -> str:
    if error <= _ACCEPTED:
        return SOLVED
    if verdict not in (SOLVED, FAILED):
        return verdict
    return f"{FAILED}: KKT residual {error:.0e} above {_ACCEPTED:.0e}, parameters up to {scale:.0e}"
