"""`Overlay`: faces, the valence-arousal circle and what was before, drawn on the frames of a film.

Text is as high as a thirtieth of the picture, never less than 11 pixels; where the picture is too
narrow for it words are left out, then the history, never the numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#ffb000", "#4db8ff", "#7ddc5a", "#ff7ab6", "#b79bff", "#ff6e4a")  # one a track
HISTORY, TAIL, GAP = 10.0, 1.5, 0.5  # seconds: of the lines, in the circle, that break a line
_ROWS = (("V", "pleasant", "unpleasant"), ("A", "excited", "calm"))  # 1 and -1 of each
_DARK, _FAINT = (0, 0, 0, 170), (255, 255, 255, 120)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rect = tuple[float, float, float, float]
Mark = tuple[Rect | None, int, np.ndarray]  # box, track, (2,)
Said = tuple[float, float, float]  # seconds, valence, arousal


class Overlay:
    """Draws frame after frame, and remembers what was said of each track for `HISTORY` seconds."""

    def __init__(self) -> None:
        self.past: dict[int, deque[Said]] = {}
        self.now = 0.0

    def drawn(
        self, picture: UInt8[np.ndarray, "h w 3"], marks: Sequence[Mark], time: float | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """`picture` with a box a face, the circumplex below right and the past below left.

        `time` are the film's seconds; without them 25 frames are one.
        """
        self.now = self.now + 1 / 25 if time is None else time
        self._remember(marks)
        canvas = _Canvas(picture)
        for box, track, preds in marks:
            canvas.name(box, track, preds)
        circle, history = canvas.circle(), canvas.history()
        self._circumplex(canvas, circle, {track for _, track, _ in marks})
        if history:
            self._lines(canvas, history)
        canvas.put_names([circle, history] if history else [circle])
        return np.asarray(canvas.image)

    def _remember(self, marks: Sequence[Mark]) -> None:
        for _, track, preds in marks:
            valence, arousal = (float(x) for x in preds[:2].clip(-1, 1))
            self.past.setdefault(track, deque()).append((self.now, valence, arousal))
        for said in self.past.values():
            while said and said[0][0] < self.now - HISTORY:
                said.popleft()
        self.past = {track: said for track, said in self.past.items() if said}

    def _circumplex(self, canvas: _Canvas, panel: Rect, present: set[int]) -> None:
        """Where each face is now and was a moment ago; hollow where it is not seen now."""
        left, top, right, bottom = panel
        half, x, y = (right - left) / 2, (left + right) / 2, (top + bottom) / 2
        draw = canvas.panel(panel)
        draw.ellipse((left + 2, top + 2, right - 2, bottom - 2), outline="white")
        draw.line((left, y, right, y), fill=_FAINT)
        draw.line((x, top, x, bottom), fill=_FAINT)
        if half > 20:
            draw.text((right - 3, y), "V", fill="white", font=canvas.small, anchor="rb")
            draw.text((x + 3, top + 2), "A", fill="white", font=canvas.small, anchor="lt")
        for track, said in self.past.items():
            places = [(t, x + v * half, y - a * half) for t, v, a in said if t >= self.now - TAIL]
            if places:
                for one in _unbroken(places):
                    draw.line(one, fill=_colour(track), width=canvas.stroke)
                fill = _colour(track) if track in present else None
                outline = "white" if fill else _colour(track)
                draw.circle(places[-1][1:], max(3, half / 14), fill, outline, canvas.stroke // 2)

    def _lines(self, canvas: _Canvas, panel: Rect) -> None:
        """Valence and arousal over the last seconds, one line a face, beside what they mean."""
        words, top, right, bottom = panel
        draw, half, left = canvas.panel(panel), (bottom - top) / 4, words + canvas.words
        for axis, (letter, high, low) in enumerate(_ROWS):
            y = top + half * (1 + 2 * axis)
            draw.line((left, y, right, y), fill=_FAINT)
            for track, said in self.past.items():
                places = [
                    (t, right - (self.now - t) / HISTORY * (right - left), y - both[axis] * half)
                    for t, *both in said
                ]
                for one in _unbroken(places):
                    draw.line(one, fill=_colour(track), width=canvas.stroke, joint="curve")
            for text, at, anchor in (
                (f"{letter} {high}", y - half + 2, "lt"),
                (f"{HISTORY:.0f} s", y, "lm"),
                (low, y + half - 2, "lb"),
            ):
                draw.text((words + 3, at), text, fill="white", font=canvas.small, anchor=anchor)
        draw.line((words, top + 2 * half, right, top + 2 * half), fill="white")


def _unbroken(places: list[tuple[float, float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Parts in which a face was seen without a gap: (seconds, x, y) to [(x, y), ...]."""
    part = [places[0][1:]]
    for before, after in pairwise(places):
        if after[0] - before[0] > GAP:
            yield part
            part = []
        part.append(after[1:])
    yield part


class _Canvas:
    """A picture being drawn on, and how large things are on it."""

    def __init__(self, picture: np.ndarray) -> None:
        self.image = Image.fromarray(picture)
        self.draw = ImageDraw.Draw(self.image, "RGBA")
        short = min(self.image.size)
        self.stroke = max(2, short // 240)
        self.side = float(max(short // 4, min(64, short // 2)))  # of the circle
        self.margin = 8.0 if short > 160 else 2.0
        self.font = ImageFont.load_default(max(11, short // 30))
        self.small = ImageFont.load_default(max(10, int(self.side) // 10))
        self.waiting: list[tuple[Rect | None, str, str]] = []

    def circle(self) -> Rect:
        """Where the circumplex lies."""
        right, bottom = self.image.width - self.margin, self.image.height - self.margin
        return right - self.side, bottom - self.side, right, bottom

    def history(self) -> Rect | None:
        """Where the lines lie, beside the circle; None where there is no room for them."""
        left, top, _, bottom = self.circle()
        width = min(3.0 * self.side, left - 2 * self.margin)
        roomy = width > self.words + self.side
        return (self.margin, top, self.margin + width, bottom) if roomy else None

    @property
    def words(self) -> float:
        """Wide enough for every word beside the lines."""
        longest = max((word for row in _ROWS for word in row), key=len)
        return self.draw.textlength(longest, self.small) + 6

    def panel(self, place: Rect) -> ImageDraw.ImageDraw:
        """A dark ground to draw on."""
        self.draw.rectangle(place, fill=_DARK)
        return self.draw

    def name(self, box: Rect | None, track: int, preds: np.ndarray) -> None:
        """A box; its numbers wait until all boxes are drawn."""
        colour = _colour(track)
        if box is not None:
            self.draw.rectangle(box, outline=colour, width=self.stroke)
        v, a = preds[:2].tolist()
        forms = (f"#{track}  V {v:+.2f}  A {a:+.2f}", f"V{v:+.1f} A{a:+.1f}", f"{v:+.1f} {a:+.1f}")
        room = self.image.width - 2 * self.margin
        fit = (form for form in forms if self.draw.textlength(form, self.font) <= room)
        self.waiting.append((box, next(fit, forms[-1]), colour))

    def put_names(self, taken: list[Rect]) -> None:
        """The numbers of each box: above, below or in it, where nothing is written yet."""
        for box, text, colour in self.waiting:
            places = [self._framed(text, *corner) for corner in self._corners(box, text)]
            free = (p for p in places if not any(_meet(p, other) for other in taken))
            place = next(free, places[0])
            taken.append(place)
            self.draw.rectangle(place, fill=_DARK)
            self.draw.text((place[0] + 2, place[1] + 2), text, colour, self.font, anchor="lt")

    def _corners(self, box: Rect | None, text: str) -> list[tuple[float, float]]:
        if box is None:
            return [(self.margin, self.margin)]
        left, top, _, bottom = box
        high = self._framed(text, 0.0, 0.0)[3] + self.stroke
        return [(left, top - high), (left, bottom + self.stroke), (left, top + self.stroke)]

    def _framed(self, text: str, left: float, top: float) -> Rect:
        """Where a text lies that begins there, or as near as the picture has room."""
        _, _, width, height = self.draw.textbbox((4, 4), text, font=self.font, anchor="lt")
        left = max(0.0, min(left, float(self.image.width - width)))
        top = max(0.0, min(top, float(self.image.height - height)))
        return left, top, float(left + width), float(top + height)


def _colour(track: int) -> str:
    return COLOURS[track % len(COLOURS)]


def _meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
