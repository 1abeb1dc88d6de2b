"""What muscles mean and where they move things: the written rule, symmetry, ranges."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.standins.anatomy import (
    ActionUnits,
    exaggerate,
    expression,
    geometry,
    label,
    units_for,
    wanted_point,
)
from shards.standins.identity import Identity

REST = ActionUnits()
PAIRS = [  # landmarks that a mirror swaps, in the iBUG order
    *((k, 16 - k) for k in range(8)), *((17 + k, 26 - k) for k in range(5)), (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
]  # fmt: skip


def person(seed: int = 0) -> Identity:
    return Identity.draw(np.random.default_rng(seed))


@pytest.mark.parametrize("unit, sign", [("au12", 1), ("au4", -1), ("au15", -1), ("au9", -1)])
def test_a_unit_moves_valence(unit, sign):
    assert sign * (label(replace(REST, **{unit: 1.0}))[0] - label(REST)[0]) > 0.1


@pytest.mark.parametrize("unit, sign", [("au5", 1), ("au26", 1), ("au2", 1), ("au43", -1)])
def test_a_unit_moves_arousal(unit, sign):
    assert sign * (label(replace(REST, **{unit: 1.0}))[1] - label(REST)[1]) > 0.1


def test_the_rule_is_the_written_one():
    units = ActionUnits(au1=0.1, au4=0.3, au6=0.5, au12=0.8, au26=0.4, au43=0.2)
    valence = np.tanh(1.2 * (0.8 * 0.8 + 0.3 * 0.5 * 0.8 - 0.5 * 0.3 - 0.1 * 0.1))
    arousal = np.tanh(1.2 * (0.5 * 0.4 + 0.2 * 0.1 + 0.2 * 0.8 + 0.15 * 0.3 - 0.7 * 0.2) - 0.1)
    assert label(units) == pytest.approx((valence, arousal), abs=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=12)
def test_units_reach_the_points_that_are_wanted(seed):
    rng = np.random.default_rng(seed)
    points = np.array([wanted_point(rng) for _ in range(25)])
    reached = np.array([label(units_for(*point, rng)) for point in points])
    assert (np.hypot(*points.T) <= 1).all()
    assert (np.abs(reached) < 1).all()
    # the calm rim of the disc is out of the rule's reach, so a mean and no bound for each
    assert np.hypot(*(reached - points).T).mean() < 0.06


def test_units_stay_in_their_range_and_vary():
    rng = np.random.default_rng(1)
    many = [units_for(0.4, 0.2, rng) for _ in range(50)]
    values = np.array([[getattr(units, name) for name in units.__slots__] for units in many])
    assert values.min() >= 0 and values.max() <= 1
    assert len(set(map(tuple, values.round(3)))) == 50
    labels = [label(units) for units in many]
    np.testing.assert_allclose(labels, [(0.4, 0.2)] * 50, atol=0.02)


def test_expressions_are_the_canonical_codes():
    plane = {expression(v, a) for v in np.linspace(-1, 1, 21) for a in np.linspace(-1, 1, 21)}
    assert plane == set(range(8))
    assert expression(0.0, 0.0) == 0 and expression(0.7, 0.2) == 1 and expression(-0.6, -0.4) == 2


@pytest.mark.parametrize("seed", range(4))
def test_a_face_is_its_own_mirror_image(seed: int):
    rng = np.random.default_rng(seed)
    marks = geometry(person(seed), units_for(*wanted_point(rng), rng)).landmarks()
    left, right = np.array(PAIRS).T
    np.testing.assert_allclose(marks[left] * (-1, 1), marks[right], atol=1e-9)
    np.testing.assert_allclose(marks[[8, 27, 33, 51, 57, 62, 66], 0], 0, atol=1e-9)


def test_a_closed_eye_has_its_lids_together_and_an_open_one_apart():
    across = np.linspace(-1, 1, 9)
    for units, least, most in ((replace(REST, au43=1.0), -1e-9, 0.02), (REST, 0.1, 0.4)):
        eye = geometry(person(), units).eyes[0]
        gap = eye.lower(across)[:, 1] - eye.upper(across)[:, 1]
        assert least <= gap[4] <= most
        np.testing.assert_allclose(gap[[0, -1]], 0, atol=1e-9)  # the corners always meet


def test_the_jaw_falls_with_the_chin_and_leaves_the_ears_where_they_are():
    calm, fallen = (geometry(person(), units) for units in (REST, replace(REST, au26=1.0)))
    assert fallen.drop == pytest.approx(calm.drop + 0.25)
    fall = fallen.jaw[:, 1] - calm.jaw[:, 1]
    assert fall[8] == pytest.approx(0.25) and fall[0] == fall[16] == 0
    assert (np.diff(fall[:9]) >= 0).all() and fallen.mouth.opening > calm.mouth.opening


def test_acting_more_strongly_scales_every_unit():
    units = ActionUnits(au4=0.2, au12=0.5)
    assert astuple(exaggerate(units, 1.2)) == pytest.approx([1.2 * x for x in astuple(units)])
