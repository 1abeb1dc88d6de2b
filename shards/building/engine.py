"""Run tasks over cores with joblib, or over machines with Dask: the only door to both."""

from __future__ import annotations

import itertools
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Engine:
    """Where tasks run. `jobs`: processes here, default all cores. `address`: a Dask scheduler."""

    kind: str = "joblib"  # or dask
    jobs: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("joblib", "dask"):
            raise ValueError(f"engine {self.kind!r} is neither joblib nor dask")
        if self.kind == "dask" and not self.address:
            raise ValueError("engine dask needs --address tcp://host:port of its scheduler")

    def run(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results as they come, in any order; few tasks are in memory at a time.

        Raises OSError where a worker process was killed.
        """
        if self.kind == "dask":
            yield from self._run_on_dask(work, tasks)
            return
        parallel = joblib.Parallel(
            n_jobs=self.jobs or -1,
            return_as="generator_unordered",
            initializer=_end_with,
            initargs=(os.getpid(),),
        )
        try:
            results: Any = parallel(joblib.delayed(work)(task) for task in tasks)
            yield from results
        except TerminatedWorkerError:
            raise OSError(
                "a worker process was killed, as a rule for lack of memory; run the same command "
                "again with fewer --jobs: finished shards are kept"
            ) from None

    def in_order(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results in the order of the tasks, by processes here, where Dask does the rest too."""
        numbered = Engine(jobs=self.jobs).run(partial(_kept, work), enumerate(tasks))
        waiting: dict[int, Result] = {}
        following = 0
        for number, result in numbered:
            waiting[number] = result
            while following in waiting:
                yield waiting.pop(following)
                following += 1

    def _run_on_dask(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """A task whose worker dies is given to another one; tasks are safe to repeat."""
        try:
            from distributed import Client, as_completed
        except ImportError:
            raise ValueError("engine dask is an extra: pip install avce[dask]") from None
        with Client(self.address, timeout="20s") as client:
            cores: Any = client.ncores()
            window = 2 * max(sum(cores.values()), 1)
            stream = (client.submit(work, task, pure=False) for task in tasks)
            running = as_completed(itertools.islice(stream, window))
            for future in running:
                yield future.result()
                for following in itertools.islice(stream, 1):
                    running.add(following)


def _kept(work: Callable[[Task], Result], task: tuple[int, Task]) -> tuple[int, Result]:
    return task[0], work(task[1])


def _end_with(parent: int) -> None:
    """Let this worker end when its parent does, however that ends: it would go on writing."""
    if os.getpid() != parent:
        threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()


def _wait_for_end(parent: int) -> None:
    try:
        process = os.pidfd_open(parent)
    except (AttributeError, OSError):  # not Linux, or it has ended
        while os.getppid() == parent:
            time.sleep(0.1)
    else:
        select.select([process], [], [])
    os._exit(1)
