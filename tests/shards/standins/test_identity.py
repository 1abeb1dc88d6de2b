"""Who is drawn: colours that mix, ranges that hold, the same person for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from shards.standins.identity import HAIR_STYLES, Identity, mix


def drawn(count: int = 400) -> list[Identity]:
    rng = np.random.default_rng(0)
    return [Identity.draw(rng) for _ in range(count)]


def test_colours_mix_along_a_straight_line():
    a, b = (0.2, 0.4, 1.0), (0.6, 0.0, 0.5)
    assert mix(a, b, 0.0) == a and mix(a, b, 1.0) == pytest.approx(b)
    assert mix(a, b, 0.25) == pytest.approx((0.3, 0.3, 0.875))
    assert mix(a, b, 0.3) == pytest.approx(mix(b, a, 0.7))


def test_the_same_seed_is_the_same_person():
    same, again, other = (Identity.draw(np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert same == again != other


def test_people_differ_within_what_a_face_can_be():
    people = drawn()
    assert {one.hair_style for one in people} == set(HAIR_STYLES)
    assert {one.beard for one in people} == {None, "stubble", "moustache", "goatee", "full"}
    assert {one.side for one in people} == {-1, 1}
    for one in people:
        colours = np.array([one.skin, one.hair, one.iris, one.lip, one.clothes])
        assert colours.min() >= 0 and colours.max() <= 1
        assert 0.9 < one.length < 1.1 and 0 <= one.age <= 1 and 0 <= one.makeup <= 1


def test_every_colour_of_skin_is_drawn():
    light = np.array([one.skin for one in drawn()]).mean(axis=1)
    assert light.min() < 0.3 and light.max() > 0.8


def test_a_bare_face_keeps_who_it_is():
    for one in drawn():
        bare = one.bare()
        assert bare.beard is bare.glasses is None and bare.hair_style != "fringe"
        assert (bare.skin, bare.jaw, bare.grain) == (one.skin, one.jaw, one.grain)
