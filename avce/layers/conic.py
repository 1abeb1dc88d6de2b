"""cvxpylayers behind our interface, for programs whose atoms we do not translate.

It differentiates the cone program itself, so that any convex atom will do. It is slower, its
solutions carry SCS's tolerance, and on exponential cones its gradient is wrong at large values.
"""

from __future__ import annotations

import diffcp
import torch
from cvxpy.error import SolverError
from cvxpylayers.torch import CvxpyLayer  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor

from .ecos import interrupts_kept
from .program import Declaration

_SETTINGS = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 50_000}
# diffcp opens a pool of threads for each batch and never closes it; one job opens none.
_SERIAL = {"n_jobs_forward": 1}
_SERIAL_WITH_GRADIENT = {"n_jobs_forward": 1, "n_jobs_backward": 1}


class Conic:
    """Solves a declaration with SCS and differentiates it through its cone program."""

    def __init__(self, declared: Declaration):
        problem, known = declared.problem, declared.parameters
        used = {parameter.id for parameter in problem.parameters()}
        self._used = [place for place, parameter in enumerate(known) if parameter.id in used]
        try:
            self.layer = CvxpyLayer(
                problem,
                parameters=[known[place] for place in self._used],
                variables=declared.variables,
            )
        except SolverError as error:
            raise ValueError(
                f"cvxpylayers cannot take this program ({error}); choose another engine"
            ) from error

    def solve(self, theta: list[Tensor]) -> tuple[Tensor, ...]:
        """The solutions, in autograd's graph; raises `diffcp.SolverError` where one row fails."""
        graph = torch.is_grad_enabled() and any(t.requires_grad for t in theta)
        jobs = _SERIAL_WITH_GRADIENT if graph else _SERIAL
        with interrupts_kept():
            used = [theta[place] for place in self._used]
            return self.layer(*used, solver_args={**_SETTINGS, **jobs})

    def fails(self, theta: list[Tensor]) -> list[str]:
        """Why each row fails alone; empty strings for those that do not."""
        return [self._verdict([t[i : i + 1] for t in theta]) for i in range(theta[0].shape[0])]

    def _verdict(self, theta: list[Tensor]) -> str:
        try:
            with torch.no_grad():
                self.solve(theta)
        except diffcp.SolverError as error:
            reason = str(error).lower()
            return next((v for v in ("infeasible", "unbounded") if v in reason), "failed")
        return ""
