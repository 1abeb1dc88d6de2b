"""Pictures from anywhere: files, folders, globs, films, cameras, as frames in order.

What a file is its content says. Of folders and globs hidden files (with AppleDouble's `._`) are
passed over, a file that is met twice is read once, and what is left out is told to `Skipped`.
"""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from avce.inference.video import Frame, Skipped, camera_frames, video_frames
from avce.scores.sheet import printable
from shards.films import HEAD, is_film
from shards.image import NO_PICTURE, Unreadable, decode, sniff
from shards.labels.schema import LABELS

_WORDS = {
    NO_PICTURE: "not an image",
    **dict.fromkeys(("truncated", "does not decode", "broken header"), "image cut off or damaged"),
}
# Files so called are expected to be pictures or films: it is said when they are not.
_IMAGES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", ".heic", ".heif"),
    ".jp2",
)
_FILMS = (
    *(".avi", ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".wmv", ".asf", ".flv", ".ogv"),
)


class _File(NamedTuple):
    """A file to read; `named` by itself, not met in a folder or by a pattern."""

    path: str
    named: bool


def frames_of(sources: Sequence[str | Path], skipped: Skipped) -> Iterator[Frame]:
    """Frames of pictures, folders, globs, films and webcam numbers, one source after the other.

    Missing sources are refused before the first frame; files that cannot be read are skipped.
    """
    files = _once((file for source in sources for file in _files(str(source), skipped)), skipped)
    return (frame for file in files for frame in _frames(file, skipped))


def source_files(sources: Sequence[str | Path]) -> list[Path]:
    """Every file that `frames_of` would look at."""
    return [Path(file.path) for source in sources for file in _files(str(source), Skipped())]


def _files(source: str, skipped: Skipped) -> list[_File]:
    """The files of a source; a camera stays its number."""
    path = Path(source)
    if path.is_dir():
        found = [_File(file, False) for file in sorted(_below(source, skipped))]
        if not any(_expected(file.path) or _kind(file.path) for file in found):
            if any(path.glob("*.tar")):
                raise FileNotFoundError(
                    f"{source} holds tars without their {LABELS}; bring it back, or let `python "
                    f"cli.py inspect {shlex.quote(source)} --repair` write it, if it can"
                )
            raise FileNotFoundError(
                f"{source} holds no image or video, whatever its files are called; give another "
                "folder"
            )
        return found
    if path.exists() or source.isdigit():
        return [_File(source, True)]
    found = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (a pattern may be absolute)
    if not found:
        raise FileNotFoundError(
            f"{source} does not exist; give an image, a folder, a glob, a video or a camera number"
        )
    return [_File(file, False) for file in found if not Path(file).is_dir()]


def _below(folder: str, skipped: Skipped) -> Iterator[str]:
    def lost(error: OSError) -> None:
        skipped.add(f"folder not readable ({error.strerror})", printable(str(error.filename)))

    for place, inside, names in os.walk(folder, onerror=lost):
        inside[:] = [name for name in inside if not name.startswith(".")]
        yield from (f"{place}{os.sep}{name}" for name in names if not name.startswith("."))


def _once(files: Iterable[_File], skipped: Skipped) -> list[_File]:
    seen: dict[object, _File] = {}
    for file in files:
        try:
            facts = Path(file.path).stat()
        except OSError:  # a camera's number, a link to nothing
            seen[file.path] = file
            continue
        if seen.setdefault((facts.st_dev, facts.st_ino), file) is not file:
            skipped.add("the same file again", printable(file.path))
    return list(seen.values())


def _expected(file: str) -> bool:
    return file.lower().endswith((*_IMAGES, *_FILMS))


def _kind(file: str) -> str | None:
    """ "picture" or "film", by content; None for neither, and for what is no regular file."""
    if not Path(file).is_file():
        return None
    try:
        with open(file, "rb") as opened:
            head = opened.read(HEAD)
    except OSError:
        return None
    try:
        return "picture" if sniff(head) else None
    except Unreadable:
        return "film" if is_film(head) else None


def _frames(file: _File, skipped: Skipped) -> Iterator[Frame]:
    path, kind = Path(file.path), _kind(file.path)
    if file.path.isdigit() and not path.exists():
        yield from camera_frames(int(file.path))
    elif path.exists() and not path.is_file():
        skipped.add("not a regular file", printable(file.path))
    elif kind == "film" or (not kind and file.path.lower().endswith(_FILMS)):
        yield from video_frames(path, skipped)
    elif kind or file.named or _expected(file.path):
        yield from encoded_frames(_content(file.path, skipped), skipped)
    else:
        skipped.pass_over(printable(file.path))


def _content(file: str, skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    name = printable(file)
    try:
        yield name, Path(file).read_bytes()
    except OSError as error:
        skipped.add(f"not readable ({error.strerror})", name)


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
