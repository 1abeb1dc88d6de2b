"""How many frames a video has, without decoding it where that is certain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards import foreign
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
    """Count the frames of the first video stream of `path`.

    Every packet is one frame where each has a time and a body and their number is what the header
    says; then counting packets (reading the file, no decoding) is exact. Otherwise it is decoded.

    Raises ValueError naming the file when it cannot be opened or holds no video.
    """
    import av  # here, so that only those who have videos wait for it
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate, aspect = stream.average_rate, stream.sample_aspect_ratio
            frames = _count_packets(container.demux(stream), stream.frames)
        if frames is None:
            frames = _count_decoded(path)
    except (FFmpegError, IndexError) as error:
        raise ValueError(
            f"{path} cannot be read as a video ({error}); copy it again from the release"
        ) from None
    return VideoFacts(frames, float(rate) if rate else None, float(aspect) if aspect else None)


def _count_packets(packets: Iterable[Any], promised: int) -> int | None:
    """Packets of a stream, or None where packets and frames may not be one to one."""
    count = 0
    for packet in packets:
        if packet.size == 0 and packet.pts is None and packet.dts is None:
            continue  # the flush at the end of the file
        if packet.size == 0 or packet.is_corrupt or packet.is_discard:
            return None
        count += 1
    return count if count == promised else None


def _count_decoded(path: Path) -> int:
    import av
    from av.error import InvalidDataError

    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        try:
            for _ in container.decode(video=0):
                count += 1
        except InvalidDataError:
            pass  # a video cut short: what came before is all there is
    return count
