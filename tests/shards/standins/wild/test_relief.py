"""Light falls where Lambert's law puts it."""

from dataclasses import replace

import numpy as np

from shards.standins.anatomy import ActionUnits, geometry
from shards.standins.identity import Identity
from shards.standins.scene import Scene, camera_for
from shards.standins.wild.looks import Look
from shards.standins.wild.relief import light_on

RNG = np.random.default_rng(0)
WHO, LOOK = Identity.draw(RNG), replace(Look.draw(RNG), sockets=0.0, ambient=0.2, depth=1.0)


def lit(across: float, down: float, units: ActionUnits | None = None, **changed) -> np.ndarray:
    units = units or ActionUnits()
    camera = camera_for(WHO, Scene(), 128)
    look = replace(LOOK, lamp=(across, down), **changed)
    return light_on(geometry(WHO, units), units, camera, look, 128)


def test_the_side_of_the_lamp_is_the_brighter_one():
    left, right = lit(-0.7, 0.0), lit(0.7, 0.0)
    cheeks = np.s_[60:90, 35:50], np.s_[60:90, 78:93]
    assert left[cheeks[0]].mean() > left[cheeks[1]].mean() + 0.1
    assert np.abs(left - right[:, ::-1]).max() < 0.02  # the head is the same on both sides


def test_the_wall_is_not_the_heads_business_and_sockets_darken():
    assert np.allclose(lit(0.5, -0.3)[:8, :8], 1)
    darker = lit(0.0, -0.3, sockets=0.5) / lit(0.0, -0.3)
    assert 0.4 < darker[40:80].min() < 0.6 and darker[95:].min() > 0.95


def test_a_smile_moves_the_light_of_the_cheeks():
    change = np.abs(lit(0.3, -0.4, ActionUnits(au6=1.0, au12=1.0)) - lit(0.3, -0.4))
    assert change[60:100].max() > 0.1 > change[:40].max()
