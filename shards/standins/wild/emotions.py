"""What faces show where people are photographed: basic emotions, their muscles, their place.

The other levels walk the whole plane by a linear rule of action units. Here a face shows a basic
emotion, often none, by the units that FACS ties to it, and its label is the emotion's published
place in the plane times how strongly it is shown.
"""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import NamedTuple

import numpy as np

from shards.standins.anatomy import NAMES, ActionUnits
from shards.standins.identity import Identity


class Emotion(NamedTuple):
    """A basic emotion: pleasure and arousal of its word by Russell & Mehrabian 1977, the units of
    EMFACS (Friesen & Ekman 1983), and how often a photograph shows it (a choice of ours)."""

    share: float
    valence: float
    arousal: float
    units: ActionUnits


EMOTIONS = {
    "neutral": Emotion(0.30, 0.0, 0.0, ActionUnits()),
    "happy": Emotion(0.30, 0.81, 0.51, ActionUnits(au6=0.8, au12=1.0, au25=0.9, au26=0.25)),
    "surprised": Emotion(
        0.12, 0.40, 0.67, ActionUnits(au1=0.9, au2=0.9, au5=0.8, au25=0.8, au26=0.8)
    ),
    "angry": Emotion(
        0.09, -0.51, 0.59, ActionUnits(au4=1.0, au5=0.4, au10=0.3, au17=0.3, au23=0.7, au25=0.4)
    ),
    "sad": Emotion(
        0.08, -0.63, -0.27, ActionUnits(au1=0.7, au4=0.5, au15=0.9, au17=0.5, au43=0.15)
    ),
    "fearful": Emotion(
        0.06, -0.64, 0.60,
        ActionUnits(au1=0.8, au2=0.6, au4=0.6, au5=0.8, au20=0.7, au25=0.7, au26=0.4),
    ),
    "disgusted": Emotion(
        0.05, -0.60, 0.35, ActionUnits(au4=0.4, au9=0.9, au10=0.7, au17=0.3, au25=0.3)
    ),
}  # fmt: skip
_SHARES = np.array([emotion.share for emotion in EMOTIONS.values()])
_PLACES = np.array([(emotion.valence, emotion.arousal) for emotion in EMOTIONS.values()])
_UNITS = np.array([astuple(emotion.units) for emotion in EMOTIONS.values()])
_PARTED, _SHUT = NAMES.index("au25"), NAMES.index("au43")


def draw_emotion(rng: np.random.Generator) -> tuple[ActionUnits, float, float]:
    """Action units, valence and arousal: one emotion, sometimes blended with a weaker one, and on
    top what means nothing: a blink, tired lids, muscles that are never quite at rest."""
    first, second = rng.choice(len(_SHARES), size=2, p=_SHARES)
    shown = np.zeros(len(_SHARES))
    shown[second] = 0.4 * rng.random() * (rng.random() < 0.3)
    shown[first] = rng.beta(2.0, 1.5)
    shown /= max(1.0, shown.sum())
    units = shown @ _UNITS * rng.uniform(0.6, 1.2, len(NAMES))
    units *= rng.random(len(NAMES)) > 0.1
    units[_PARTED] *= shown.max() > rng.uniform(0.1, 0.8)  # a faint smile keeps the lips closed
    units += rng.uniform(0, 0.2, len(NAMES)) * (rng.random(len(NAMES)) < 0.15)
    lids = rng.random()
    units[_SHUT] += 1.0 if lids < 0.05 else 0.4 * rng.random() * (lids < 0.25)
    valence, arousal = (shown @ _PLACES).tolist()
    return ActionUnits(*np.clip(units, 0, 1).tolist()), valence, arousal


_SHAPES = (
    "length", "jaw", "chin", "eye_gap", "brow_height", "brow_weight", "nose_width", "nose_length",
    "mouth_width", "lips", "ears",
)  # fmt: skip


def draw_person(rng: np.random.Generator) -> Identity:
    """A person whose features vary as widely as people's do, with eyes of a photograph's size."""
    person = Identity.draw(rng)
    wider = np.exp(0.08 * rng.normal(size=len(_SHAPES)).clip(-2, 2)).tolist()
    shapes = {name: getattr(person, name) * k for name, k in zip(_SHAPES, wider, strict=True)}
    shapes["length"] *= 1.06
    eye_size = person.eye_size * float(rng.uniform(0.6, 1.0))
    return replace(person, **shapes, eye_size=eye_size)
