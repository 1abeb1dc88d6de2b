"""ECOS on a batch: the conic form is made once, filled for all rows at once, solved row by row.

CVXPY needs longer to fill the parameters of one row in than ECOS needs to solve it; the map from
parameters to conic data is affine, so that here one sparse product fills the whole batch.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import select
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat

import cvxpy as cp
import ecos
import numpy as np
import torch
from cvxpy.expressions.expression import Expression
from scipy import sparse

from .atoms import column_order
from .kkt import Instance, Point
from .program import Program

SOLVED, INFEASIBLE, UNBOUNDED, FAILED = "solved", "infeasible", "unbounded", "failed"
_VERDICT = {0: SOLVED, 10: SOLVED, 1: INFEASIBLE, 2: UNBOUNDED, 11: INFEASIBLE, 12: UNBOUNDED}
_INTERRUPTED = -4


class _Constraints:
    """Some rows of the conic constraints, matrix and right side, affine in the parameters."""

    def __init__(self, table: sparse.csr_matrix, height: int, rows: range, size: int):
        flat = np.flatnonzero(np.diff(table.indptr))  # entry r + height * column of [matrix | b]
        row, column = flat % height, flat // height
        ours = (row >= rows.start) & (row < rows.stop)
        inside = ours & (column < size)
        self.shape = (len(rows), size)
        self.indices = row[inside].astype(np.int64) - rows.start
        self.indptr = np.searchsorted(column[inside], np.arange(size + 1)).astype(np.int64)
        self.entries = -table[flat[inside]]
        self.side = table[np.arange(rows.start, rows.stop) + height * size]

    def fill(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Matrix entries (b or 1, entries) and right sides (b, rows)."""
        if self.entries[:, :-1].nnz == 0:
            theta, whole = theta[:, :1], theta
        else:
            whole = theta
        entries = np.ascontiguousarray((self.entries @ theta).T)
        return entries, np.ascontiguousarray((self.side @ whole).T)

    def matrix(self, entries: np.ndarray) -> sparse.csc_matrix:
        blank = sparse.csc_matrix(self.shape)
        blank.data, blank.indices, blank.indptr = entries, self.indices, self.indptr
        return blank


class Ecos:
    """Solves instances of one program with ECOS; safe to pickle and to fork before first use."""

    def __init__(self, program: Program, threads: int | None = None):
        self.program = program
        self.threads = threads or min(len(os.sched_getaffinity(0)), 8)
        self._canonicalise()

    def _canonicalise(self) -> None:
        program = self.program
        self.parameters = list(program.parameters)
        problem = program.problem
        # The part of a quadratic objective that the parameters move goes into the linear cost:
        # faster, ten times more accurate, and no false claims of infeasibility at large values.
        self.linear = program.hessian is not None
        if self.linear:
            problem = self._with_linear_cost(problem)
        data, chain, inverse = problem.get_problem_data(cp.ECOS)
        conic = data["param_prob"]
        self.dims = {
            "l": conic.cone_dims.nonneg,
            "q": conic.cone_dims.soc,
            "e": conic.cone_dims.exp,
        }
        self.split = int(conic.cone_dims.zero)
        self._read_maps(conic)
        self._find_answers(problem, chain, inverse)

    def _with_linear_cost(self, problem: cp.Problem) -> cp.Problem:
        size, hessian = self.program.size, self.program.hessian
        assert hessian is not None
        self.cost = cp.Parameter(size)
        variables = {v.id: v for v in problem.variables()}
        parts = [cp.vec(variables[key], order="F") for key in self.program.columns]
        x = cp.hstack(parts) if len(parts) > 1 else parts[0]
        return cp.Problem(cp.Minimize(_square(x, hessian) + self.cost @ x), problem.constraints)

    def _read_maps(self, conic) -> None:
        """Columns of the maps in our order of the parameters, the constant part last."""
        ours = [*self.parameters, *([self.cost] if self.linear else [])]
        self.used = [p.id in conic.param_id_to_col for p in ours]
        order = [
            conic.param_id_to_col[p.id] + np.arange(p.size)
            for p, used in zip(ours, self.used, strict=True)
            if used
        ]
        order = np.concatenate([*order, [conic.total_param_size]]).astype(int)
        self.size = conic.x.size
        self.c = sparse.csr_matrix(conic.q)[: self.size][:, order]
        table = sparse.csr_matrix(conic.A)[:, order]
        rows = table.shape[0] // (self.size + 1)
        self.equalities = _Constraints(table, rows, range(self.split), self.size)
        self.cones = _Constraints(table, rows, range(self.split, rows), self.size)

    def _find_answers(self, problem: cp.Problem, chain, inverse) -> None:
        """Learn where CVXPY reads variables and multipliers, by inverting counted answers."""
        rows = self.cones.shape[0]
        counted = {
            "x": np.arange(1.0, self.size + 1),
            "y": np.arange(1.0, self.split + 1),
            "z": np.arange(1.0, rows + 1) + self.split,
            "s": np.ones(rows),
            "info": {"exitFlag": 0, "pcost": 0.0, "iter": 0, "timing": {"tsolve": 0, "tsetup": 0}},
        }
        problem.unpack_results(counted, chain, inverse)
        variables = {v.id: v for v in problem.variables()}
        x = [np.ravel(np.asarray(variables[key].value), "F") for key in self.program.columns]
        self.at_x = np.concatenate(x).round().astype(int) - 1
        duals = [np.ravel(np.asarray(c.dual_value)) for c in problem.constraints]
        places = np.concatenate(duals).round().astype(int) if duals else np.zeros(0, int)
        self.at_dual, self.dual_sign = np.abs(places) - 1, np.sign(places)

    def solve(
        self, instance: Instance, tolerance: float, iterations: int = 100
    ) -> tuple[Point, list[str]]:
        """A point of each row, as good as the tolerance, and what ECOS says about it.

        Raises `KeyboardInterrupt` when Ctrl-C meets a running solve.
        """
        settings = {
            "abstol": tolerance,
            "reltol": tolerance,
            "feastol": tolerance,
            "max_iters": iterations,
            "verbose": False,
        }
        answers = self._run(self._tasks(instance), settings)
        return self._unpack(instance, answers)

    def _tasks(self, instance: Instance) -> list[tuple]:
        """The arguments of `ecos.solve`, one tuple for each row."""
        theta = self._theta(instance)
        cost = np.ascontiguousarray((self.c @ theta).T)
        G, h = _repeated(self.cones, theta)
        A, b = _repeated(self.equalities, theta)
        return list(zip(cost, G, h, repeat(self.dims), A, b, strict=False))

    def _theta(self, instance: Instance) -> np.ndarray:
        """(parameters + 1, b): every parameter column by column, the cost, a row of ones."""
        parts = [t.cpu() for t in instance.theta] + ([instance.linear.cpu()] if self.linear else [])
        flat = [
            column_order(t, (t[0].numel(),)) for t, u in zip(parts, self.used, strict=True) if u
        ]
        ones = torch.ones(instance.batch, 1, dtype=torch.float64)
        return torch.cat([*flat, ones], dim=1).T.contiguous().numpy()

    def _run(self, tasks: list[tuple], settings: dict) -> list[dict]:
        answers: list[dict] = [{}] * len(tasks)
        halt = threading.Event()

        def work(start: int) -> None:
            for row in range(start, len(tasks), self.threads):
                if flag.raised():
                    halt.set()
                if halt.is_set():
                    return
                answers[row] = ecos.solve(*tasks[row], **settings)
                if answers[row]["info"]["exitFlag"] == _INTERRUPTED:
                    halt.set()

        with interrupts_kept():
            flag = EcosFlag()
            with _counter() as over, ThreadPoolExecutor(self.threads) as pool:
                works = [pool.submit(work, start) for start in range(self.threads)]
                for each in works:
                    each.add_done_callback(lambda _: os.eventfd_write(over, 1))
                _halt_on_interrupt(over, len(works), halt)
            stopped = halt.is_set() or flag.raised()
        if stopped:
            raise KeyboardInterrupt
        for each in works:
            each.result()  # raises what a worker raised
        return answers

    def _unpack(self, instance: Instance, answers: list[dict]) -> tuple[Point, list[str]]:
        primal = np.stack([answer["x"] for answer in answers])[:, self.at_x]
        parts = [np.concatenate([a["y"], a["z"]]) for a in answers]
        dual = np.stack(parts)[:, self.at_dual] * self.dual_sign
        x, dual = (torch.from_numpy(part).to(instance.device) for part in (primal, dual))
        split = self.program.sizes[0]
        verdicts = [_VERDICT.get(a["info"]["exitFlag"], FAILED) for a in answers]
        return Point(x, dual[:, :split], dual[:, split:]), verdicts


@contextmanager
def _counter() -> Iterator[int]:
    """A descriptor that can be read once it has been written to."""
    descriptor = os.eventfd(0)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _halt_on_interrupt(over: int, workers: int, halt: threading.Event) -> None:
    """Wait until all workers have counted themselves off, or tell them to stop."""
    finished = 0
    try:
        while finished < workers and not interrupted_before(over):
            finished += os.eventfd_read(over)
    finally:
        if finished < workers:
            halt.set()


def _repeated(constraints: _Constraints, theta: np.ndarray) -> tuple[Iterable, Iterable]:
    """One matrix and one right side a row; the matrix is shared where no parameter touches it."""
    if not constraints.shape[0]:
        return repeat(None), repeat(None)
    entries, sides = constraints.fill(theta)
    matrices = [constraints.matrix(row) for row in entries]
    return (repeat(matrices[0]) if len(matrices) == 1 else matrices), sides


def _square(x: Expression, hessian: torch.Tensor) -> Expression:
    """x^T H x / 2 as a sum of squares."""
    if not hessian.any():
        return cp.Constant(0)
    if hessian.ndim == 1:
        return cp.sum_squares(cp.multiply((hessian / 2).sqrt().numpy(), x))
    values, vectors = torch.linalg.eigh(hessian / 2)
    kept = values > 1e-14 * values.max()
    return cp.sum_squares((values[kept].sqrt()[:, None] * vectors.T[kept]).numpy() @ x)


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Give Ctrl-C back to whom it belonged: ECOS in two threads takes the handler for good.

    While the solver runs this thread, and those it starts, hold the signal back; it arrives when
    this thread waits in `interrupted_before`, or when the block ends.
    """
    libc, kept = ctypes.CDLL(None), ctypes.create_string_buffer(512)
    libc.sigaction(signal.SIGINT, None, kept)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        libc.sigaction(signal.SIGINT, kept, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Wanted(ctypes.Structure):
    """C's pollfd."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def interrupted_before(descriptor: int) -> bool:
    """Wait until a descriptor can be read; whether Ctrl-C came first. Within `interrupts_kept`.

    Only the main thread can tell: it lets nothing but SIGINT in while it waits, and the kernel
    prefers it, so that a wait cut short means Ctrl-C, whose handler ever was installed. ECOS's flag
    alone may be lowered by the next solve before anyone has seen it.
    """
    if threading.current_thread() is not threading.main_thread():
        select.select([descriptor], [], [])
        return False
    libc, mask = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.sigfillset(mask)
    libc.sigdelset(mask, signal.SIGINT)
    wanted = _Wanted(descriptor, select.POLLIN, 0)
    return libc.ppoll(ctypes.byref(wanted), ctypes.c_ulong(1), None, mask) < 0


class EcosFlag:
    """The flag that ECOS's own handler raises.

    Each solve lowers it first, so that a Ctrl-C between two solves may be lost: look before each.
    A build of ECOS without handler has no flag and needs none.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(importlib.import_module("_ecos").__file__)
        self._check = getattr(library, "check_ctrlc", lambda: 0)
        if hasattr(library, "init_ctrlc"):  # lowers a flag of before; call within interrupts_kept
            library.init_ctrlc()
            library.remove_ctrlc()

    def raised(self) -> bool:
        return bool(self._check())
