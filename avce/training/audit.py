"""`Audit`: the closed forms train, ECOS certifies each batch behind them.

What SparseMax and SoftMax took and gave in a step is copied, and all rows of it (or a share) are
solved again beside the training. The step never waits: a batch for which there is no place is left
out, and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avce.layers import SimplexMap
from avce.ranks import Ranks
from avce.training.certifier import Certifier
from avce.training.record import Audited

# Of an entry of p in float32, whose threshold is a sum of up to 32 rounded numbers: 1e-7 is usual.
TOLERANCE = 1e-5
_PLACES = 256  # batches of one map that may wait: 4 MB of 64 rows each


class _Job(NamedTuple):
    """What one map took and gave in one step, on the host once `copied` has happened."""

    step: int
    map: str
    z: Tensor
    p: Tensor
    names: Tensor | None  # rows of the label index
    drawn: Tensor  # (b,) bool
    copied: torch.cuda.Event | None


class Audit:
    """What is certified of a training, from `open` to `close`.

    Counts are this rank's own until `meet` adds those of the others. `before` is what an earlier
    session of the run had counted; what waited then is left out.
    """

    def __init__(
        self, layers: Sequence[SimplexMap], share: float, ranks: Ranks, before: Audited | None
    ) -> None:
        self.layers, self.share, self.ranks = layers, share if layers else 0.0, ranks
        self.before, self.others = before, Audited()
        self.own = Audited() + (before if before and ranks.leads else Audited())
        self.names: Tensor | None = None
        self.jobs: deque[_Job] = deque()
        self.changed = threading.Condition()  # guards the jobs, the counts and `ended`
        self.ended = self.told = False
        self.certifier: Certifier | None = None
        self._chance = torch.Generator().manual_seed(0)
        self._leave_out()

    # ------------------------------------------------------------------ beginning and ending

    def open(self) -> None:
        """Start the certifier, and have the layers hand over what they do."""
        if not self.share:
            return
        self.certifier = Certifier()
        self.server = threading.Thread(target=self._serve, args=(self.certifier,), daemon=True)
        self.server.start()
        for layer in self.layers:
            layer.sink = self.take

    def drain(self, patience: float, given_up: Callable[[], bool] = lambda: False) -> float:
        """Wait until all is certified, for `patience` seconds, or until `given_up`; how long."""
        start = time.monotonic()
        with self.changed:
            while self.own.waiting and time.monotonic() < start + patience and not given_up():
                self.changed.wait(timeout=0.1)
        return time.monotonic() - start

    def close(self) -> Audited | None:
        """End the certifier; what still waits is left out. What is known then, as `total`."""
        for layer in self.layers:
            layer.sink = None
        self._end()
        if self.certifier is not None:
            self.certifier.end()
            self.server.join()
            self.certifier.close()
        return self.total

    def _end(self, warning: str | None = None) -> None:
        with self.changed:
            if not self.ended:
                self.own.warning = self.own.warning or warning
            self.ended = True
            self._leave_out()
            self.changed.notify_all()

    def _leave_out(self) -> None:
        self.jobs.clear()
        self.own.left_out += self.own.waiting
        self.own.waiting = 0

    # ------------------------------------------------------------------ the step's side

    def at(self, step: int, names: Tensor | None) -> None:
        """The step whose batch comes next, and which rows of the label index it holds."""
        self.own.step, self.names = step, names

    def take(self, layer: SimplexMap, z: Tensor, p: Tensor) -> None:
        """Copy the rows of a map for the certifier, or leave them out where too many wait."""
        drawn = torch.rand(len(z), generator=self._chance) < self.share
        count = int(drawn.sum())
        full = self.ended or len(self.jobs) >= _PLACES
        job = None if full or not count else self._job(layer, z, p, drawn)
        with self.changed:
            if job is None or self.ended:
                self.own.left_out += count
            else:
                self.jobs.append(job)
                self.own.waiting += count
                self.changed.notify_all()

    def _job(self, layer: SimplexMap, z: Tensor, p: Tensor, drawn: Tensor) -> _Job:
        names = None if self.names is None or len(self.names) != len(z) else _on_host(self.names)
        z, p, copied = _on_host(z), _on_host(p), torch.cuda.Event() if z.is_cuda else None
        if copied is not None:
            copied.record()
        return _Job(self.own.step, type(layer).__name__, z, p, names, drawn, copied)

    # ------------------------------------------------------------------ the certifier's side

    def _serve(self, certifier: Certifier) -> None:
        try:
            while (job := self._next()) is not None:
                if job.copied is not None:
                    job.copied.synchronize()
                z, p = (x.numpy()[job.drawn.numpy()] for x in (job.z, job.p))
                self._count(job, certifier.distances(job.map, z, p))
        except OSError:  # by `close`, or by somebody else
            self._end(
                f"audit: its process ended near step {self.own.step}, and the rows after are left "
                "out; `python -m avce.training.certifier $$ < /dev/null` may show why"
            )

    def _next(self) -> _Job | None:
        with self.changed:
            while not self.jobs and not self.ended:
                self.changed.wait()
            return None if self.ended else self.jobs.popleft()

    def _count(self, job: _Job, apart: np.ndarray) -> None:
        known = apart[~np.isnan(apart)]
        with self.changed:
            if self.ended:
                return
            self.own.waiting -= len(apart)
            self.own.rows += len(known)
            self.own.left_out += len(apart) - len(known)
            if len(known):
                largest = float(known.max())
                self.own.largest_difference = max(self.own.largest_difference or 0.0, largest)
                if largest > TOLERANCE and not self.own.warning:
                    self.own.warning = _warning(job, int(np.nanargmax(apart)), largest)
            self.changed.notify_all()

    # ------------------------------------------------------------------ what is told

    @property
    def total(self) -> Audited | None:
        """This rank's counts and what it last heard of the others'; None without an audit."""
        with self.changed:
            return self.own + self.others if self.share else self.before

    def meet(self) -> Audited | None:
        """The counts of all ranks, who all ask."""
        if self.share:
            with self.changed:
                mine = self.own.model_dump()
            found = self.ranks.gathered(mine)
            found.remove(mine)  # equal ones are worth the same, whoever said them
            self.others = sum(map(Audited.model_validate, found), Audited())
        return self.total

    def gauges(self) -> dict[str, Any]:
        """For a record of the log; all ranks ask."""
        if not self.share or (total := self.meet()) is None:
            return {}
        named = {"audit": "largest_difference", "audit_rows": "rows", "audit_left_out": "left_out"}
        return {name: getattr(total, field) for name, field in named.items()}

    def news(self) -> str | None:
        """The warning, once."""
        found = None if self.told else self.total
        self.told = self.told or bool(found and found.warning)
        return found.warning if found else None


def _warning(job: _Job, place: int, difference: float) -> str:
    row = int(job.drawn.nonzero()[place])
    named = "" if job.names is None else f" (row {int(job.names[row])} of the index)"
    return (
        f"audit: in step {job.step} {job.map} gave row {row} of the batch{named} {difference:.1e} "
        f"away from ECOS's solution, more than {TOLERANCE:.0e}; train with layers=batched, and "
        "report z of that row"
    )


def _on_host(x: Tensor) -> Tensor:
    """A copy; of a GPU's numbers into pinned memory, which nobody waits for."""
    if not x.is_cuda:
        return x.clone()
    return torch.empty_like(x, device="cpu", pin_memory=True).copy_(x, non_blocking=True)
