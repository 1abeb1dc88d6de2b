"""`Certifier`: a process beside the training, which holds what the maps gave against ECOS.

A thread there would take the interpreter from the step (small operations 1.4 times as long; beside
a process 1.0), and ECOS's handler of Ctrl-C from all of the training.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import torch

from avce.layers import SimplexMap, simplex

_ROOT = Path(__file__).parents[2]
_PAUSE = 1.0  # seconds between two looks after the parent


class Certifier:
    """The process of this very source tree, from here to `close`.

    It hears neither Ctrl-C nor SIGTERM, which are the training's to answer; it ends with its input,
    and with its parent, however that ends. Its priority falls only within the session, by which
    Linux groups processes, so it stays in ours; in a process group of its own a terminal's signals
    do not reach it.
    """

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        deaf = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, deaf)  # inherited
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "avce.training.certifier", str(os.getpid())],
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def distances(self, kind: str, z: np.ndarray, p: np.ndarray) -> np.ndarray:
        """`SimplexMap.distances` of the map of that name, in float64. OSError once it has ended."""
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None and answers is not None
        asked.write(json.dumps([kind, *z.shape]).encode() + b"\n")
        asked.write(z.astype(np.float64).tobytes() + p.astype(np.float64).tobytes())
        asked.flush()
        return _numbers(answers, len(z))

    def end(self) -> None:
        """Whoever waits for an answer gets an OSError."""
        self.process.kill()  # it holds nothing that its parent does not
        self.process.wait()

    def close(self) -> None:
        """Close the pipes too, which nobody may read any more."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was not flushed has nowhere to go
                pipe.close()


def _numbers(pipe: IO[bytes], count: int) -> np.ndarray:
    found = pipe.read(8 * count)
    if len(found) < 8 * count:
        raise BrokenPipeError("the other end is closed")
    return np.frombuffer(found)


# ---------------------------------------------------------------------------------- over there


def _answer(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Solve rows until nobody asks any more."""
    torch.set_num_threads(1)
    maps: dict[tuple[str, int], SimplexMap] = {}
    _map(maps, "SparseMax", 32).distances(torch.zeros(1, 32), torch.zeros(1, 32))  # loads CVXPY
    os.nice(19)  # from here on the step comes first
    while header := asked.readline():
        kind, rows, dim = json.loads(header)
        z, p = (torch.tensor(_numbers(asked, rows * dim)).view(rows, dim) for _ in range(2))
        answers.write(_map(maps, kind, dim).distances(z, p).numpy().tobytes())
        answers.flush()


def _map(maps: dict[tuple[str, int], SimplexMap], kind: str, dim: int) -> SimplexMap:
    if (kind, dim) not in maps:
        maps[kind, dim] = getattr(simplex, kind)(dim)
    return maps[kind, dim]


def main(parent: int) -> None:
    """Answer in a thread: the main one is where ECOS would listen for Ctrl-C."""
    work = threading.Thread(target=_answer, args=(sys.stdin.buffer, sys.stdout.buffer), daemon=True)
    work.start()
    while work.is_alive() and os.getppid() == parent:  # others may hold our input open
        work.join(_PAUSE)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
