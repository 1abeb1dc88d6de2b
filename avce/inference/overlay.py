"""`Overlay`: boxes and the valence-arousal circle drawn on the frames of a video."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#ffb000", "#4db8ff", "#7ddc5a", "#ff7ab6", "#b79bff", "#ff6e4a")  # one a track
_TAIL = 25  # frames of the past shown in the circle

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Mark = tuple[tuple[float, float, float, float] | None, int, np.ndarray]  # box, track, (2,)


class Overlay:
    """Draws frame after frame, and remembers where each track was in the circle."""

    def __init__(self) -> None:
        self.tails: dict[int, deque[tuple[float, float]]] = {}

    def drawn(
        self, picture: UInt8[np.ndarray, "h w 3"], marks: Sequence[Mark]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """`picture` with a box a face and the circumplex in the corner below right."""
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image, "RGBA")
        side = max(64, min(image.size) // 4)
        font = ImageFont.load_default(max(10, side // 9))
        self._remember(marks)
        for box, track, preds in marks:
            numbers = f"#{track}  V {preds[0]:+.2f}  A {preds[1]:+.2f}"
            _name(draw, box, numbers, _colour(track), font)
        self._circumplex(draw, (image.width - side - 8, image.height - side - 8), side, font)
        return np.asarray(image)

    def _remember(self, marks: Sequence[Mark]) -> None:
        present = {track for _, track, _ in marks}
        self.tails = {track: tail for track, tail in self.tails.items() if track in present}
        for _, track, preds in marks:
            tail = self.tails.setdefault(track, deque(maxlen=_TAIL))
            tail.append((float(preds[0].clip(-1, 1)), float(preds[1].clip(-1, 1))))

    def _circumplex(
        self, draw: ImageDraw.ImageDraw, corner: tuple[int, int], side: int, font: Font
    ) -> None:
        left, top = corner
        half = side / 2
        x, y = left + half, top + half
        draw.rectangle((left, top, left + side, top + side), fill=(0, 0, 0, 150))
        draw.ellipse((left + 2, top + 2, left + side - 2, top + side - 2), outline="white")
        draw.line((left, y, left + side, y), fill=(255, 255, 255, 120))
        draw.line((x, top, x, top + side), fill=(255, 255, 255, 120))
        draw.text((left + side - 3, y), "V", fill="white", font=font, anchor="rb")
        draw.text((x + 3, top + 2), "A", fill="white", font=font, anchor="lt")
        for track, tail in self.tails.items():
            points = [(x + v * half, y - a * half) for v, a in tail]
            if len(points) > 1:
                draw.line(points, fill=_colour(track), width=2)
            draw.circle(points[-1], max(3, side / 30), fill=_colour(track), outline="white")


def _colour(track: int) -> str:
    return COLOURS[track % len(COLOURS)]


def _name(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float] | None,
    text: str,
    colour: str,
    font: Font,
) -> None:
    """A box with its numbers above; of a whole picture the numbers only."""
    left, top = 4.0, 4.0
    if box is not None:
        draw.rectangle(box, outline=colour, width=2)
        _, _, width, height = draw.textbbox((0, 0), text, font=font)
        left = max(0.0, min(box[0], draw.im.size[0] - width))
        top = max(0.0, box[1] - height - 2)
    draw.rectangle(draw.textbbox((left, top), text, font=font), fill=(0, 0, 0, 170))
    draw.text((left, top), text, fill=colour, font=font)
