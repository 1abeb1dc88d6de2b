"""Hair, glasses and what is held before a face: where they may lie and where never."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shards.standins.face import ActionUnits, Identity, Scene, render
from shards.standins.identity import HAIR_STYLES

PLAIN = Scene(noise=0.0)
PERSON = replace(Identity.draw(np.random.default_rng(0)).bare(), hair_style="bald", side=1)
SMILE = ActionUnits(au12=0.6, au25=0.5)
LOOK = render(PERSON, SMILE, PLAIN, size=160)


def changed(person: Identity, scene: Scene = PLAIN) -> np.ndarray:
    """(160, 160) how far each pixel lies from the same face with nothing on it."""
    image = render(person, SMILE, scene, size=160).image
    return np.abs(image.astype(int) - LOOK.image).max(axis=2)


def part(marks: slice, pad: int = 0) -> tuple[slice, slice]:
    """The box round some landmarks, as rows and columns."""
    left, top = (LOOK.landmarks[marks].min(axis=0) - pad).astype(int)
    right, low = (LOOK.landmarks[marks].max(axis=0) + 1 + pad).astype(int)
    return slice(top, low), slice(left, right)


EYES, MOUTH = slice(36, 48), slice(48, 68)


@pytest.mark.parametrize("style", [style for style in HAIR_STYLES if style != "bald"])
def test_hair_never_hangs_over_eyes_nose_and_mouth(style: str):
    seen = changed(replace(PERSON, hair_style=style))
    assert seen.max() > 30  # there is hair
    for marks in (EYES, slice(29, 36), MOUTH):
        assert seen[part(marks)].max() == 0, style


@pytest.mark.parametrize("style", [style for style in HAIR_STYLES if style != "bald"])
def test_hair_has_its_own_colour_and_a_side(style: str):
    red, blue = (
        render(replace(PERSON, hair_style=style, hair=colour), SMILE, PLAIN, size=160).image
        for colour in ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8))
    )
    strands = (red != blue).any(axis=2)
    tint = red[strands].astype(int).mean(axis=0) - blue[strands].astype(int).mean(axis=0)
    assert strands.mean() > 0.01 and tint[0] > 10 and tint[2] < -10


@pytest.mark.parametrize("style", ["side", "tail", "bob", "long"])
def test_a_parting_changes_sides_with_the_person(style: str):
    sides = [
        render(replace(PERSON, hair_style=style, side=side), SMILE, PLAIN, size=160).image
        for side in (-1, 1)
    ]
    assert (np.abs(sides[0].astype(int) - sides[1]).max(axis=2) > 20).mean() > 0.002


@pytest.mark.parametrize("kind", ["round", "square"])
def test_glasses_frame_both_eyes_and_leave_the_mouth(kind: str):
    seen = changed(replace(PERSON, glasses=kind))
    middle = int(LOOK.landmarks[27, 0])
    rows, columns = part(EYES, pad=6)
    left, right = seen[rows, columns.start : middle], seen[rows, middle : columns.stop]
    assert (left > 20).sum() > 20 and (right > 20).sum() > 20
    assert seen[part(MOUTH)].max() == 0


@pytest.mark.parametrize(
    ("occluder", "covered", "free"),
    [("mug", MOUTH, EYES), ("scarf", slice(7, 10), EYES), ("strands", EYES, slice(57, 58))],
)
def test_what_is_held_before_a_face_covers_its_part_alone(
    occluder: str, covered: slice, free: slice
):
    seen = changed(PERSON, replace(PLAIN, occluder=occluder))
    assert seen[part(covered, pad=2)].max() > 30
    assert seen[part(free)].max() == 0


def test_a_hand_lies_on_the_side_of_the_person():
    hands = [
        changed(replace(PERSON, side=side), replace(PLAIN, occluder="hand")) for side in (-1, 1)
    ]
    left, right = ((hand[:, :60] > 10).sum() - (hand[:, -60:] > 10).sum() for hand in hands)
    assert left > 0 > right
