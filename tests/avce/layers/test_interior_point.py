"""The walk alone, without polish, ECOS or Newton: it comes as near as it says."""

from __future__ import annotations

import pytest
import torch

from avce.layers.interior_point import Batched
from avce.layers.kkt import Instance, polish
from avce.layers.program import build, declare
from tests.devices import DEVICES

from .cases import Drawn
from .programs import PROGRAMS


def instance_of(program, device: str = "cpu") -> Instance:
    case = program()
    declared = declare(case.variables, case.parameters, case.f, case.g, case.h)
    theta = [
        t if t.ndim > len(p.shape) else t.expand(3, *p.shape)
        for t, p in zip(case.draw(Drawn()), case.parameters, strict=True)
    ]
    return Instance(build(declared), [t.to(device) for t in theta])


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("device", DEVICES)
def test_the_walk_reaches_its_tolerance_and_newton_ends_it(program, device):
    instance = instance_of(program, device)
    point = Batched(instance.program).solve(instance, 1e-7)
    positive = instance.program.positive
    assert (point.x[:, positive] > 0).all()
    assert (point.lam > 0).all()
    polished, error = polish(instance, point)
    assert (error <= 1e-11).all()
    # The multipliers of a walk that stops at 1e-7 are worth about half its digits.
    torch.testing.assert_close(polished.x, point.x, atol=5e-3, rtol=1e-3)


def test_rows_do_not_see_each_other():
    instance = instance_of(PROGRAMS[0])
    whole = Batched(instance.program).solve(instance, 1e-9).x
    for row in range(3):
        alone = instance.rows(torch.tensor([row]))
        torch.testing.assert_close(Batched(alone.program).solve(alone, 1e-9).x[0], whole[row])
