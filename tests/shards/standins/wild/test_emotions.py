"""A label of level wild is a published place of emotions, and the muscles show it."""

from dataclasses import asdict

import numpy as np
import pytest

from shards.standins.anatomy import label
from shards.standins.wild.emotions import EMOTIONS, draw_emotion, draw_person


def test_the_shares_are_a_distribution_and_the_places_lie_in_the_disc():
    assert sum(e.share for e in EMOTIONS.values()) == pytest.approx(1)
    assert all(np.hypot(e.valence, e.arousal) < 1 for e in EMOTIONS.values())


def test_a_label_is_a_mixture_of_places_and_units_stay_in_their_range():
    rng = np.random.default_rng(0)
    drawn = [draw_emotion(rng) for _ in range(2000)]
    points = np.array([(valence, arousal) for _, valence, arousal in drawn])
    places = np.array([(e.valence, e.arousal) for e in EMOTIONS.values()])
    assert (points >= places.min(0) - 1e-9).all() and (points <= places.max(0) + 1e-9).all()
    assert all(0 <= unit <= 1 for units, _, _ in drawn for unit in asdict(units).values())
    assert 0.15 < (np.abs(points).sum(1) < 0.05).mean() < 0.4  # many faces show nothing


def test_the_smile_carries_valence_and_an_open_mouth_arousal():
    """Zhang et al. 2024 confirm the signs of AU4 and AU12 on valence; the rest is the design."""
    rng = np.random.default_rng(1)
    drawn = [draw_emotion(rng) for _ in range(3000)]
    seen = np.array([(u.au12, u.au4, u.au25, u.au26, v, a) for u, v, a in drawn]).T
    smile, frown, parted, dropped, *_ = np.corrcoef(seen)
    assert smile[4] > 0.6 and frown[4] < -0.4
    assert parted[5] > 0.5 and dropped[5] > 0.4
    agreed = np.corrcoef([label(u)[0] for u, _, _ in drawn], [v for _, v, _ in drawn])[0, 1]
    assert agreed > 0.8  # both rules of this project mean the same by pleasure


def test_people_differ_more_than_elsewhere():
    rng = np.random.default_rng(2)
    people = [draw_person(rng) for _ in range(300)]
    assert np.std([who.mouth_width for who in people]) > 0.08  # Identity.draw: 0.05
    assert 0.4 < min(who.eye_size for who in people) < max(who.eye_size for who in people) < 1.3
