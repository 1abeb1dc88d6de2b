"""The plane of valence and arousal in words: where names of emotions lie on it."""

from __future__ import annotations

import math

NAMED = {  # where people put words, after Russell 1980 and Paltoglou & Thelwall 2013
    "excited": (0.62, 0.68),
    "happy": (0.82, 0.35),
    "content": (0.78, -0.22),
    "relaxed": (0.62, -0.58),
    "sleepy": (0.08, -0.86),
    "bored": (-0.50, -0.66),
    "sad": (-0.78, -0.32),
    "distressed": (-0.80, 0.30),
    "angry": (-0.58, 0.68),
    "afraid": (-0.22, 0.84),
    "surprised": (0.22, 0.88),
}


def angle_of(valence: float, arousal: float) -> float:
    """Degrees from pleasant (0) by aroused (90) and unpleasant (180): [0, 360)."""
    return math.degrees(math.atan2(arousal, valence)) % 360 % 360  # -1e-20 % 360 is 360


def intensity_of(valence: float, arousal: float) -> float:
    """How far from neutral, which is 0; the corners of the plane are at 1.41."""
    return math.hypot(valence, arousal)


def nearest_word(valence: float, arousal: float) -> str:
    """The named emotion that lies nearest on the plane; none of them is neutral."""
    return min(NAMED, key=lambda word: math.dist(NAMED[word], (valence, arousal)))
