"""How many frames a video has, without decoding it where that is certain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shards.datasets import foreign
from shards.image import Unreadable
from shards.sample import VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a reader must know of a video before it can pair labels with frames."""

    frames: int  # in native decode order, no frame repeated or dropped
    fps: float | None  # mean rate
    pixel_aspect: float | None  # width of a pixel over its height


def videos_by_id(folder: Path) -> dict[str, Path]:
    """Videos of a folder by file name without suffix; none where there is no such folder.

    Raises ValueError when one id comes in two containers: labels fit only one of them.
    """
    videos: dict[str, Path] = {}
    for path in (folder / name for name in foreign.names(folder)):
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        if path.stem in videos:
            raise ValueError(
                f"{folder} holds {videos[path.stem].name} and {path.name}; keep the one of the "
                "release, a re-encoded copy has other frames"
            )
        videos[path.stem] = path
    return videos


def video_facts(path: Path) -> VideoFacts:
    """How many frames a film has, as sharding will find them.

    Raises ValueError naming the file when it cannot be opened or holds no video.
    """
    from shards.films import frame_count  # here, so that only those who have videos wait for it

    with _named(path):
        return VideoFacts(*frame_count(path))


def frame_times(path: Path) -> list[float]:
    """When each of those frames is shown, in seconds.

    Raises ValueError naming the file when it cannot be opened or does not say.
    """
    from shards import films

    with _named(path):
        found = films.frame_times(path)
    times = [time for time in found if time is not None]
    if len(times) < len(found):
        raise ValueError(f"{path} does not say when its frames are shown; label them by number")
    return times


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except Unreadable as error:
        raise ValueError(
            f"{path} cannot be read as a video ({error}); copy it again from the release"
        ) from None
