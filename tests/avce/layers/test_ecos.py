"""ECOS alone: data and answers are CVXPY's own, row by row; Ctrl-C during and after a batch."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import cvxpy as cp
import numpy as np
import pytest

from avce.layers.ecos import INFEASIBLE, SOLVED, UNBOUNDED, Ecos
from avce.layers.kkt import Instance
from avce.layers.program import build, declare

from .cases import rows
from .programs import PROGRAMS
from .test_interior_point import instance_of


@pytest.mark.parametrize("program", PROGRAMS)
def test_points_and_multipliers_are_cvxpys(program):
    """Primal within ECOS's tolerance of the smooth program's optimum; dual by its slope."""
    instance = instance_of(program)
    point, verdicts = Ecos(instance.program).solve(instance, 1e-9)
    assert verdicts == [SOLVED] * 3
    local = instance.around(point)
    positive = instance.program.positive
    slope = local.slope[:, ~positive].abs() / (1 + instance.scale[:, None])
    assert not slope.numel() or slope.max() <= 1e-3  # multipliers keep a third of the digits
    assert (local.g <= 1e-6).all()
    assert (local.h.abs() <= 1e-6).all()
    assert (point.lam >= -1e-6).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same(threads):
    p, z = cp.Variable(4), cp.Parameter(4)
    simplex = [lambda p, z: cp.sum(p) - 1]
    declared = declare([p], [z], lambda p, z: cp.sum_squares(p - z), [lambda p, z: -p], simplex)
    program = build(declared)
    instance = Instance(program, [rows(7, 4, 1)])
    mine = Ecos(program, threads).solve(instance, 1e-9)[0].x
    one = Ecos(program, 1).solve(instance, 1e-9)[0].x
    assert np.array_equal(mine.numpy(), one.numpy())


def test_what_has_no_solution_is_told():
    x, c = cp.Variable(2), cp.Parameter(2)
    program = build(declare([x], [c], lambda x, c: c @ x, [lambda x, c: -x], []))
    down = Instance(program, [rows(1, 2, 1).abs() * -1])
    assert Ecos(program).solve(down, 1e-9)[1] == [UNBOUNDED]
    away = declare(
        [x], [c], lambda x, c: cp.sum_squares(x), [lambda x, c: x - c, lambda x, c: 1 - x], []
    )
    nowhere = Instance(build(away), [rows(1, 2, 1) * 0])
    assert Ecos(nowhere.program).solve(nowhere, 1e-9)[1] == [INFEASIBLE]


SOURCE = """
import time, torch
from avce.layers import SoftMax
layer = SoftMax(64, "ecos")
layer(torch.randn(8, 64))                     # ECOS in two threads has touched the handler
z = torch.randn(256, 64)
print("ready", flush=True)
try:
    for _ in range(400):
        layer(z)
except KeyboardInterrupt:
    try:
        print("interrupted", flush=True)
        time.sleep(30)                        # and again, with no solver running
    except KeyboardInterrupt:
        print("again", flush=True)
"""


def test_ctrl_c_stops_a_batch_and_python_afterwards():
    process = subprocess.Popen([sys.executable, "-c", SOURCE], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "again\n"
    assert process.returncode == 0
