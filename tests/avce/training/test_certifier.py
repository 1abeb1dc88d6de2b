"""The certifier is a real process: it answers, it ends with its parent, it hears no signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from avce.layers import SimplexMap, SoftMax, SparseMax
from avce.training.certifier import Certifier

ROOT = Path(__file__).parents[3]

# A parent that has a child of its own, which inherits the pipes and outlives it.
PARENT = """
import os, time
from avce.training.certifier import Certifier
certifier = Certifier()
child = os.fork()
if child:
    print(certifier.process.pid, child, flush=True)
time.sleep(600)
"""


@pytest.fixture
def certifier() -> Iterator[Certifier]:
    made = Certifier()
    yield made
    made.end()
    made.close()


def within(seconds: float, found: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        time.sleep(0.05)
    return found()


def is_gone(pid: int) -> bool:
    """Ended: no such process, or one that only waits for somebody to read its exit code."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_it_answers_as_the_map_itself_does_and_hears_no_signal(certifier):
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z[2, 1] = torch.nan
    layers: tuple[SimplexMap, ...] = (SparseMax(4), SoftMax(4))
    for layer in layers:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(certifier.process.pid, number)
        p = layer(z)
        p[4, 0] += 0.25
        p[5] = torch.nan
        found = certifier.distances(type(layer).__name__, z.numpy(), p.numpy())
        np.testing.assert_array_equal(found, layer.distances(z, p))
        assert found[4] == pytest.approx(0.25, abs=1e-9) and found[5] == 1 and np.isnan(found[2])
        assert found[[0, 1, 3]].max() < 1e-12


def test_one_that_was_killed_answers_nobody(certifier):
    certifier.process.kill()
    with pytest.raises(OSError):
        certifier.distances("SparseMax", np.zeros((1, 4)), np.zeros((1, 4)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent(number):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid, child = map(int, parent.stdout.readline().split())
        try:
            assert not is_gone(pid)
            parent.send_signal(number)
            assert parent.wait() == -number
            assert within(30, lambda: is_gone(pid))
        finally:
            os.kill(child, signal.SIGKILL)  # it holds our end of `stdout` too
