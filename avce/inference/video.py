"""Videos in and out: frames of a file or a camera one at a time, and a film written frame by frame.

What cannot be read is told to `Skipped` and never raised: what was read before it counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError

VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".ts")
_EXAMPLES = 5
_SLACK = 1.0  # seconds by which a container's duration may exceed its pictures (sound is longer)


class Frame(NamedTuple):
    """A picture and where it comes from."""

    picture: np.ndarray  # uint8 (H, W, 3), RGB
    source: str
    number: int | None = None  # of the frame in its video; None for a still image
    time: float | None = None  # seconds
    rate: Fraction | None = None  # frames per second of the video

    @property
    def place(self) -> str:
        """For people."""
        return self.source if self.number is None else f"{self.source} frame {self.number}"


@dataclass
class Skipped:
    """What was left out and why: counts, and a few examples of each reason."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Remember one."""
        self.counts[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES:
            shown.append(place)

    def lines(self) -> list[str]:
        """One sentence a reason, the most frequent first."""
        return [
            f"{reason}: {n:,}, such as {', '.join(self.examples[reason])}"
            for reason, n in self.counts.most_common()
        ]


def video_frames(path: Path | str, skipped: Skipped) -> Iterator[Frame]:
    """The frames of a video file in their order, as far as it decodes."""
    seen, expected = 0, None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                skipped.add("no pictures in this file", str(path))
                return
            expected = _expected(container)
            for frame in _decoded(container, str(path)):
                seen += 1
                yield frame
    except FFmpegError:
        reason = "video cut off or damaged" if seen else "not a readable video"
        skipped.add(reason, f"{path} after {seen:,} frames" if seen else str(path))
        return
    if expected is not None and seen < expected:
        skipped.add("video cut off or damaged", f"{path} after {seen:,} of {expected:,} frames")


def camera_frames(number: int) -> Iterator[Frame]:
    """The pictures of a webcam until interrupted. Raises OSError where it cannot be opened."""
    device = f"/dev/video{number}"
    try:
        container = av.open(device, format="v4l2")
    except (FFmpegError, ValueError) as error:
        raise OSError(
            f"camera {number} ({device}) cannot be opened ({error}); see which there are with "
            "`ls /dev/video*`"
        ) from error
    with container:
        yield from _decoded(container, device)


def _decoded(container: Any, source: str) -> Iterator[Frame]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = stream.average_rate and Fraction(stream.average_rate)
    for number, frame in enumerate(container.decode(stream)):
        picture = frame.to_ndarray(format="rgb24")
        yield Frame(picture, source, number, frame.time, rate)


def _expected(container: Any) -> int | None:
    """How many frames there are at least, as the header tells; None where it does not."""
    stream = container.streams.video[0]
    if stream.frames:
        return stream.frames
    if container.duration and stream.average_rate:
        seconds = container.duration / av.time_base - _SLACK
        return max(0, int(seconds * stream.average_rate))
    return None


class Film:
    """An H.264 video in the making, at `path` only once `close` was called."""

    def __init__(self, path: Path, rate: Fraction | None) -> None:
        self.path, self.part = path, path.with_name(f"{path.name}.part{path.suffix}")
        self.rate = rate or Fraction(25)
        self._container: Any = None
        self._stream: Any = None

    def add(self, picture: np.ndarray) -> None:
        """Append a picture, uint8 (H, W, 3); all have the size of the first."""
        if self._container is None:
            self._begin(picture)
        height, width = self._stream.height, self._stream.width  # even, as H.264 wants them
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(picture[:height, :width]), format="rgb24"
        )
        self._mux(frame)

    def _begin(self, picture: np.ndarray) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self.part), "w")
        self._stream = self._container.add_stream("libx264", rate=self.rate)
        self._stream.height, self._stream.width = (side // 2 * 2 for side in picture.shape[:2])
        self._stream.pix_fmt = "yuv420p"

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame; None: what the encoder still holds."""
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file; without a picture there is none."""
        if self._container is not None:
            self._mux(None)
            self._container.close()
            self.part.replace(self.path)
