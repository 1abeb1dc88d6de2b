"""Train what a table still misses, one process a run, beside other sweeps of the same table.

A run is claimed by a lock on a file next to it. So sweeps started on several GPUs, or on several
machines over a shared disk, divide a table among them, and a killed one leaves nothing to tidy.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from avce.paper.published import Row, Table
from avce.paper.tables import finished, missing, run_folder
from avce.training.stopping import StopSignals

_ROOT = str(Path(__file__).parents[2])  # of the rooms, which need not be installed
_LOOK_EVERY = 0.1  # seconds between looks at a training process and at our own signals

Start = Callable[[Row, int, Path], Sequence[str]]  # the command that trains a row and seed


@dataclass
class Swept:
    """How a sweep ended: runs that broke off, runs that other sweeps hold, whether it was asked
    to stop."""

    failed: list[Path] = field(default_factory=list)
    elsewhere: list[Path] = field(default_factory=list)
    stopped: bool = False


def sweep(table: Table, seeds: Sequence[int], root: Path, start: Start) -> Swept:
    """Run `start(row, seed, folder)` for every row and seed without a finished run, in order.

    SIGTERM and Ctrl-C are passed on to the training in progress, which saves and ends; no further
    one is begun. A training that breaks off does not keep the others from theirs; one that could
    not even begin (wrong shards, a wrong setting) would fail in every row, and is a ValueError.
    """
    found = Swept()
    with StopSignals(forgiving=True) as stop:
        for row, seed in missing(table, seeds, root):
            run = run_folder(table, row, seed, root)
            with claimed(run) as lock:
                if lock is None:
                    found.elsewhere.append(run)
                    continue
                if finished(run):  # by another sweep, since this one began
                    continue
                status = run_through(start(row, seed, run), lock, stop)
            if stop.asked or (status == 0 and not finished(run)):  # it was stopped, we or it alone
                found.stopped = True
                break
            if status:
                _refuse_unbegun(run)
                found.failed.append(run)
    return found


def _refuse_unbegun(run: Path) -> None:
    if not (run / "run.json").exists():
        raise ValueError(
            f"{run} could not begin, and its own message says why; mend that and run the same "
            "sweep again"
        )


@contextmanager
def claimed(run: Path) -> Iterator[int | None]:
    """The descriptor of a lock that makes `run` ours, or None while somebody else holds it.

    The lock lives as long as any process that was handed the descriptor: a training whose sweep
    was killed keeps its run until it ends.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    with (run.parent / f".{run.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def run_through(command: Sequence[str], lock: int, stop: StopSignals) -> int:
    """The exit status of a command that ends early, by SIGTERM, once `stop` is asked."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([_ROOT, *sys.path])}
    process = subprocess.Popen(command, pass_fds=[lock], env=environment)
    told = False
    while (status := process.poll()) is None:
        if stop.asked and not told:
            process.terminate()
            told = True
        time.sleep(_LOOK_EVERY)
    return status
