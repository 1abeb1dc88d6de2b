"""Draws docs/faces.jpg, the contact sheet of the stand-in data: `python docs/faces.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the rooms need not be installed

from shards.standins.face import LEVELS, Identity, Scene, render, units_for, wanted_point  # noqa: E402

CELL, GAP, TEXT = 112, 24, 22  # pixels
AXIS = (-0.8, -0.4, 0.0, 0.4, 0.8)  # valence from left to right, arousal from the bottom up
LOWEST = -0.75  # the calmest that the label rule allows
SEEN = (400, 401, 403)  # the same three at each level
SITTER = 5
INK, PAPER = (60, 64, 72), (255, 255, 255)


def face(person: Identity, point: tuple[float, float], level: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    units = units_for(*point, rng)
    drawing = render(person, units, Scene.draw(rng, level), size=2 * CELL)
    return Image.fromarray(drawing.image).resize((CELL, CELL), Image.Resampling.LANCZOS)


def person_of(seed: int) -> Identity:
    return Identity.draw(np.random.default_rng(seed))


def plane(sheet: Image.Image, left: int, top: int, first: int, same: bool) -> None:
    """Five by five faces over valence and arousal, of one person or of twenty-five."""
    for row, arousal in enumerate(reversed(AXIS)):
        for column, valence in enumerate(AXIS):
            seed = first + 5 * row + column
            person = person_of(first if same else seed)
            point = (valence, max(arousal, LOWEST))
            drawn = face(person.bare() if same else person, point, "easy", seed)
            sheet.paste(drawn, (left + column * CELL, top + row * CELL))


def levels(sheet: Image.Image, left: int, top: int, write: ImageDraw.ImageDraw, font) -> None:
    for level in LEVELS:
        write.text((left, top - TEXT), f"level {level}", INK, font)
        for seed in SEEN:
            person = person_of(seed)
            point = wanted_point(np.random.default_rng(seed))
            sheet.paste(face(person, point, level, seed), (left, top))
            left += CELL
        left += GAP // 2 + CELL // 2


def main() -> None:
    width, height = 10 * CELL + GAP + 2 * TEXT, 6 * CELL + 3 * TEXT + 10
    sheet = Image.new("RGB", (width, height), PAPER)
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for left, first, same, title in (
        (TEXT, SITTER, True, "one person: valence to the right, arousal upwards"),
        (
            TEXT + 5 * CELL + GAP,
            200,
            False,
            "twenty-five people: valence to the right, arousal upwards",
        ),
    ):
        write.text((left, 3), title, INK, font)
        plane(sheet, left, TEXT, first, same)
    levels(sheet, TEXT, 5 * CELL + 2 * TEXT + 10, write, font)
    sheet.save(ROOT / "docs" / "faces.jpg", quality=74, optimize=True)


if __name__ == "__main__":
    main()
