"""Pictures from anywhere: files, folders, globs, films, cameras, as frames in order.

What a file is its content says. Of folders and globs hidden files (with AppleDouble's `._`) are
passed over, a file that is met twice is read once, and what is left out is told to `Skipped`.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from avce.inference.video import (
    WHOLE,
    Frame,
    Part,
    Skipped,
    camera_frames,
    expected_frames,
    video_frames,
)
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
    *(".jp2", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_FILMS = (
    *(".avi", ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".wmv", ".asf", ".flv", ".ogv"),
)


Place = Callable[[int], Iterator[Frame]]  # its frames behind the first n


class _File(NamedTuple):
    """A file to read; `named` by itself, not met in a folder or by a pattern."""

    path: str
    named: bool


class Reading:
    """The frames of several places, one after the other, once; they can begin in the middle.

    `at` is how far they are: of the places this one, of its frames so many. `after` is where they
    begin. `total` is about how many there will be, 0 where nobody knows.
    """

    def __init__(self, places: Sequence[Place], expected: Sequence[int] = ()) -> None:
        self.places, self.expected = places, list(expected) or [0] * len(places)
        self.at, self.after = (0, 0), (0, 0)
        self.total = sum(self.expected)

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> Reading:
        """Any frames, as those of one place."""
        if isinstance(frames, Reading):
            return frames
        return cls([lambda after: islice(iter(frames), after, None)])

    def __iter__(self) -> Iterator[Frame]:
        first, done = self.after
        for number in range(first, len(self.places)):
            for frame in self.places[number](done):
                done += 1
                self.at = (number, done)
                yield frame
            if self.total:
                self.total += done - self.expected[number]
            done = 0
        self.at = (len(self.places), 0)


def reading_of(sources: Sequence[str | Path], skipped: Skipped, part: Part = WHOLE) -> Reading:
    """Pictures, folders, globs, films and webcam numbers, one source after the other.

    Missing sources are refused at once; files that cannot be read are skipped. `part` says which
    frames of films are looked at.
    """
    files = _once((file for source in sources for file in _files(str(source), skipped)), skipped)
    places = [partial(_frames, file, skipped, part) for file in files]
    return Reading(places, [_expected_frames(file, part) for file in files])


def frames_of(sources: Sequence[str | Path], skipped: Skipped) -> Iterator[Frame]:
    """Every frame of `reading_of`, in order."""
    return iter(reading_of(sources, skipped))


def checksum_of(source: str | Path) -> str | None:
    """What a source was: a file by its bytes, more files by their names, sizes and times.

    Those that are called pictures or films, so that a result may lie beside them.
    """
    path = Path(source)
    if path.is_file():
        with open(path, "rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    found = hashlib.sha256()
    for file in _files(str(source), Skipped()):
        if _is_camera(file):
            return None
        if not _expected(file.path) or not Path(file.path).exists():
            continue
        facts = Path(file.path).stat()
        found.update(
            f"{file.path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return f"listing:{found.hexdigest()}"


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


def _is_film(file: _File, kind: str | None) -> bool:
    return kind == "film" or (not kind and file.path.lower().endswith(_FILMS))


def _is_camera(file: _File) -> bool:
    return file.path.isdigit() and not Path(file.path).exists()


def _expected_frames(file: _File, part: Part) -> int:
    """About how many, at a glance; a picture is believed to be one by its name."""
    if _is_camera(file) or file.path.lower().endswith(_IMAGES):
        return 0 if _is_camera(file) else 1
    kind = _kind(file.path)
    if _is_film(file, kind):
        return expected_frames(file.path, part)
    return 1 if kind else 0


def _frames(file: _File, skipped: Skipped, part: Part, after: int) -> Iterator[Frame]:
    path, kind = Path(file.path), _kind(file.path)
    if _is_camera(file):
        yield from camera_frames(int(file.path), part)
    elif path.exists() and not path.is_file():
        skipped.add("not a regular file", printable(file.path))
    elif _is_film(file, kind):
        yield from video_frames(path, skipped, part, after)
    elif after:
        return  # a picture has one
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
