"""Frames of a film or a camera, one at a time, and where they come from.

What cannot be read is told to `Skipped` and never raised: what was read before it counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avce.scores.sheet import printable
from shards.films import FilmReader
from shards.films import FilmWriter as Film  # noqa: F401 (a film is written from here too)
from shards.image import Unreadable

_EXAMPLES = 5
_CAMERA = "/dev/video"
_OTHER = "neither a picture nor a film"


class Frame(NamedTuple):
    """A picture and where it comes from."""

    picture: np.ndarray  # uint8 (H, W, 3), RGB
    source: str
    number: int | None = None  # of the frame in its video; None for a still image
    time: float | None = None  # seconds
    rate: Fraction | None = None  # frames per second of the video

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

    def add(self, reason: str, place: str) -> None:
        """Remember one."""
        self.counts[reason] += 1
        self._show(reason, place)

    def pass_over(self, place: str) -> None:
        """Remember a file that nobody would take for a picture or a film."""
        self.others += 1
        self._show(_OTHER, place)

    def _show(self, reason: str, place: str) -> None:
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


def video_frames(path: Path | str, skipped: Skipped) -> Iterator[Frame]:
    """The frames of a film file in their order, past damage, as far as it decodes."""
    seen, name = 0, printable(str(path))
    try:
        with FilmReader(path) as film:
            for frame in _frames(film, name):
                seen += 1
                yield frame
    except Unreadable as error:
        skipped.add(error.reason, f"{name} after {seen:,} frames" if seen else name)
        return
    if film.damaged or not seen:
        place = f"{name} after {film.cut:,} frames; {film.damaged:,} damaged, {seen:,} read"
        skipped.add("video cut off or damaged", place)


def camera_frames(number: int) -> Iterator[Frame]:
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
        yield from _frames(film, device)


def _frames(film: FilmReader, name: str) -> Iterator[Frame]:
    for picture, number, time in film.pictures():
        yield Frame(picture, name, number, time, film.rate)
