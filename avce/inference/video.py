"""Frames of a film or a camera, one at a time, and where they come from.

What cannot be read is told to `Skipped` and never raised: what was read before it counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avce.scores.sheet import printable
from shards.films import FilmReader, Shot
from shards.films import FilmWriter as Film  # noqa: F401 (a film is written from here too)
from shards.image import Unreadable

_EXAMPLES = 5
_CAMERA = "/dev/video"
_OTHER = "neither a picture nor a film"
UNSEEN = np.zeros((0, 0, 3), np.uint8)  # the picture of a frame that was looked at before


class Frame(NamedTuple):
    """A picture and where it comes from."""

    picture: np.ndarray  # uint8 (H, W, 3), RGB
    source: str
    number: int | None = None  # of the frame in its video; None for a still image
    time: float | None = None  # seconds
    rate: Fraction | None = None  # frames per second of the video
    reason: str | None = None  # why it shows no face

    @property
    def live(self) -> bool:
        """Of a camera, whose film is whole wherever it is stopped."""
        return self.source.startswith(_CAMERA)

    @property
    def place(self) -> str:
        """For people."""
        return self.source if self.number is None else f"{self.source} frame {self.number}"


@dataclass
class Skipped:
    """What was left out and why: counts, a few examples of each reason, all of it in `listing`."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    others: int = 0  # files that are neither pictures nor films, nor are called so
    listing: Callable[[tuple[str, str]], object] | None = None  # is told (reason, place)
    fresh: list[tuple[str, str]] = field(default_factory=list)  # since somebody took them

    def add(self, reason: str, place: str) -> None:
        """Remember one."""
        if reason == _OTHER:
            return self.pass_over(place)
        self.counts[reason] += 1
        self._show(reason, place)

    def taken(self) -> list[tuple[str, str]]:
        """What was added since the last time."""
        taken, self.fresh = self.fresh, []
        return taken

    def pass_over(self, place: str) -> None:
        """Remember a file that nobody would take for a picture or a film."""
        self.others += 1
        self._show(_OTHER, place)

    def _show(self, reason: str, place: str) -> None:
        self.fresh.append((reason, place))
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES:
            shown.append(place)
        if self.listing:
            self.listing((reason, place))

    def lines(self) -> list[str]:
        """One sentence a reason, the most frequent first."""
        other = [(_OTHER, self.others)] if self.others else []
        return [
            f"{reason}: {n:,}, such as {', '.join(self.examples[reason])}"
            for reason, n in [*self.counts.most_common(), *other]
        ]


@dataclass(frozen=True)
class Part:
    """Which frames of a film are looked at: from `start` to before `end` seconds, and of those
    every `stride`-th, or the first of each 1/`fps` of a second."""

    stride: int = 1
    fps: float | None = None
    start: float = 0.0
    end: float | None = None

    def of(self, shots: Iterable[Shot]) -> Iterator[Shot]:
        """Those among all frames; a frame that damage has cost is stood for by the next.

        Raises Unreadable where times are asked for of a film that has none.
        """
        timed = self.fps is not None or self.start > 0 or self.end is not None
        first = last = None
        for shot in shots:
            if timed and shot.time is None:
                raise Unreadable("no clock, so --start, --end and --fps choose nothing")
            time = shot.time or 0.0
            if self.end is not None and time >= self.end:
                return
            if time < self.start:
                continue
            first = shot.number if first is None else first
            turn = (shot.number - first) // self.stride
            if self.fps is not None:
                turn = int((time - self.start) * self.fps + 1e-6)  # clocks have rounded ticks
            if turn != last:
                last = turn
                yield shot

    def expected(self, seconds: float | None, rate: Fraction | None) -> int:
        """About how many frames that will be, of a film that long; 1 where nobody knows."""
        if not seconds or not rate:
            return 1
        span = min(seconds, self.end or seconds) - self.start
        return max(1, round(span * min(self.fps or float(rate), float(rate)) / self.stride))


WHOLE = Part()


def video_frames(
    path: Path | str, skipped: Skipped, part: Part = WHOLE, after: int = 0
) -> Iterator[Frame]:
    """The frames of a film file in their order, past damage, as far as it decodes.

    The first `after` of them are passed over, which costs no more than decoding them.
    """
    seen, name = after, printable(str(path))
    try:
        with FilmReader(path) as film:
            for frame in _frames(film, name, part, after):
                seen += 1
                yield frame
            if film.others:
                skipped.add("only the first of several video streams is read", name)
            if film.bright:
                skipped.add("high dynamic range, read without tone mapping", name)
    except Unreadable as error:
        skipped.add(error.reason, f"{name} after {seen:,} frames" if seen else name)
        return
    if film.damaged or not film.decoded:
        place = f"{name} after {film.cut:,} frames; {film.damaged:,} damaged, {seen:,} read"
        skipped.add("video cut off or damaged", place)
    elif not seen:
        skipped.add("no frame from --start to --end", name)


def expected_frames(path: Path | str, part: Part) -> int:
    """About how many frames `video_frames` will give, by what the film's header says."""
    try:
        with FilmReader(path) as film:
            return part.expected(film.seconds, film.rate)
    except Unreadable:
        return 1


def camera_frames(number: int, part: Part = WHOLE) -> Iterator[Frame]:
    """The pictures of a webcam until interrupted. Raises OSError where it cannot be opened."""
    device = f"{_CAMERA}{number}"
    try:
        film = FilmReader(device, device="v4l2")
    except (Unreadable, ValueError) as error:
        raise OSError(
            f"camera {number} ({device}) cannot be opened ({error}); see which there are with "
            "`ls /dev/video*`"
        ) from error
    with film:
        yield from _frames(film, device, part)


def _frames(film: FilmReader, name: str, part: Part, after: int = 0) -> Iterator[Frame]:
    for shot in islice(part.of(film.shots()), after, None):
        yield Frame(film.picture(shot.frame), name, shot.number, shot.time, film.rate)
