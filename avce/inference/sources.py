"""Pictures from anywhere: files, folders, globs, videos, cameras, as frames in order."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from avce.inference.video import VIDEOS, Frame, Skipped, camera_frames, video_frames
from shards.image import NO_PICTURE, Unreadable, decode

_WORDS = {
    NO_PICTURE: "not an image",
    **dict.fromkeys(("truncated", "does not decode", "broken header"), "image cut off or damaged"),
}
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def frames_of(sources: Sequence[str | Path], skipped: Skipped) -> Iterator[Frame]:
    """Frames of images, folders, globs, videos and webcam numbers, one source after the other.

    Missing sources are refused before the first frame; files that cannot be read are skipped.
    """
    files = [file for source in sources for file in _files(str(source))]
    return (frame for file in files for frame in _frames(file, skipped))


def _files(source: str) -> list[str]:
    """The files of a source; a camera stays its number."""
    path = Path(source)
    if source.isdigit() and not path.exists():
        return [source]
    if path.is_dir():
        known = (*IMAGES, *VIDEOS)
        found = [str(p) for p in sorted(path.rglob("*")) if p.suffix.lower() in known]
        if not found:
            raise FileNotFoundError(
                f"{source} holds no image or video ({', '.join(known)}); give another folder"
            )
        return found
    if path.exists():
        return [source]
    found = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (a pattern may be absolute)
    if not found:
        raise FileNotFoundError(
            f"{source} does not exist; give an image, a folder, a glob, a video or a camera number"
        )
    return found


def _frames(file: str, skipped: Skipped) -> Iterator[Frame]:
    if file.isdigit() and not Path(file).exists():
        return camera_frames(int(file))
    if Path(file).suffix.lower() in VIDEOS:
        return video_frames(file, skipped)
    return encoded_frames(_contents([file], skipped), skipped)


def _contents(files: Iterable[str], skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            yield file, Path(file).read_bytes()
        except OSError as error:
            skipped.add(f"not readable ({error.strerror})", file)


def encoded_frames(images: Iterable[tuple[str, bytes]], skipped: Skipped) -> Iterator[Frame]:
    """Frames of (name, encoded image), upright as their camera was held."""
    for name, content in images:
        try:
            picture, remarks = decode(content, upright=True)
        except Unreadable as error:
            skipped.add(_WORDS.get(error.reason, error.reason), name)
        else:
            if "first_of_several" in remarks:
                skipped.add("only the first picture of several is read", name)
            yield Frame(picture, name)
