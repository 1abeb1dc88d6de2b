"""Files that others wrote (images, lists, JSON, `.npy`, `.pts`, cards): opened in one way.

Only regular files are opened, so that a pipe or a device cannot hang a run; only below the root
that the user named, after links are resolved; only up to a size that fits their kind. Whatever a
file holds, the outcome is its content or one ValueError that names the file, and the line where
there are lines. A missing file is FileNotFoundError, as everywhere.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import csv

KIB, MIB, GIB = 2**10, 2**20, 2**30
IMAGE, FILM, LIST, TEXT, JSON, ARRAY, POINTS = (
    256 * MIB, 256 * GIB, 4 * GIB, 256 * MIB, 64 * MIB, MIB, 256 * KIB,
)  # fmt: skip  # bytes of the largest file of a kind: far above any that was ever released
FAR = 1e6  # pixels; no coordinate of a picture lies beyond

_LINE = MIB  # characters; a row of AffectNet has a thousand
_BLOCK = 4 * MIB
_SMALL = 4 * KIB
_PLAINLY = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW  # no link, no pipe
_NUMBERS = re.compile(r"[0-9eE+.\-\s,;]*", re.ASCII)  # float() takes 1_0, inf and Arabic digits too
_SHORT = re.compile(r"[+-]?[0-9]{1,6}(?:\.[0-9]{0,17})?")  # of those, most: a third of the time
_NO_MARKS = bytes({*range(256)} - {*b",\n\r"})
_STRAYS = ("thumbs.db", "desktop.ini", "__macosx")
_BOMS = {
    b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip
BROKEN = (ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


# ---------------------------------------------------------------- what is opened


class Refused(ValueError):
    """A file that is not opened; `reason` is the few words its skips are counted under."""

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def stray(name: str) -> bool:
    """Whether a system left the file there: `.DS_Store`, `._*`, `Thumbs.db`, `desktop.ini`."""
    return name.startswith(".") or name.casefold() in _STRAYS


def names(folder: Path, suffix: str = "") -> list[str]:
    """Sorted names in a folder, without strays; none where there is no such folder."""
    found = [name for name in listed(folder) if not stray(name)]
    return sorted(name for name in found if not suffix or name.casefold().endswith(suffix))


def listed(folder: Path) -> list[str]:
    """All names in a folder as the system tells them; none where there is no such folder."""
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  a million names


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without strays."""
    return [path for name in names(folder) if (path := folder / name).is_dir()]


def check(root: Path, path: Path, limit: int) -> None:
    """Raise Refused unless `path` is a regular file of at most `limit` bytes below `root`."""
    _check_facts(path, path.stat(), limit)
    folder = (path.resolve() if path.is_symlink() else path).parent
    if not is_below(root, folder):
        raise Refused(
            f"{path} leads to {path.resolve()}, outside {root}; put the file itself there "
            "(only a folder directly below the root may be a link to another disk)",
            "leads out of the root",
        )


def _check_facts(path: Path, facts: os.stat_result, limit: int) -> None:
    kind = stat.S_IFMT(facts.st_mode)
    if kind != stat.S_IFREG:
        raise Refused(
            f"{path} is {_KINDS.get(kind, 'no file')}, and only regular files are read; remove it "
            "or put the file of the release there",
            "no regular file",
        )
    if facts.st_size > limit:
        raise Refused(
            f"{path} has {facts.st_size:,} bytes, and files of its kind have at most {limit:,}; "
            "restore it from the release",
            "file too large",
        )


@lru_cache(maxsize=4096)
def is_below(root: Path, folder: Path | str) -> bool:
    """Whether a folder lies below the root, or below a folder that the root itself links to."""
    place = Path(folder).resolve()
    return place.is_relative_to(root.resolve()) or any(
        place.is_relative_to(path.resolve()) for path in folders(root) if path.is_symlink()
    )


@contextmanager
def opened(root: Path, path: Path, limit: int) -> Iterator[BinaryIO]:
    """A file for reading, checked before and after it is opened, which never waits."""
    check(root, path, limit)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check_facts(path, os.fstat(file.fileno()), limit)
        yield file


def content(root: Path, path: Path, limit: int = IMAGE) -> bytes:
    """All bytes of a file."""
    text = str(path)
    folder = os.path.dirname(text)  # noqa: PTH120  a Path for every image takes longer
    plain = plain_content(text, limit) if is_below(root, folder) else None
    if plain is not None:
        return plain
    with opened(root, path, limit) as file:
        return file.read(os.fstat(file.fileno()).st_size)  # read(limit) would reserve it all


def plain_content(path: str, limit: int) -> bytes | None:
    """All bytes of a file that is neither a link nor odd, in four system calls; None for others,
    for which `content` has a sentence. That its folder lies below the root is the caller's word."""
    try:
        file = os.open(path, _PLAINLY)
    except OSError:
        return None
    try:
        facts = os.fstat(file)
        fine = stat.S_ISREG(facts.st_mode) and facts.st_size <= limit
        found = os.read(file, facts.st_size) if fine else None
        return found if found is not None and len(found) == facts.st_size else None
    finally:
        os.close(file)


def small_content(path: str) -> bytes | None:
    """The same of a file below 4 KiB, in three calls: what cannot be read from a place in it (a
    pipe, a folder) or is longer is None."""
    try:
        file = os.open(path, _PLAINLY)
    except OSError:
        return None
    try:
        found = os.pread(file, _SMALL, 0)
        return found if len(found) < _SMALL else None
    except OSError:
        return None
    finally:
        os.close(file)


# ---------------------------------------------------------------- text


def numbered_lines(
    root: Path, path: Path, limit: int = TEXT, encoding: str = ""
) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, without their ends: UTF-8, UTF-16 or 32 that says so, or in
    the encoding that is named.

    Raises ValueError naming file and line for another encoding or a line without end.
    """
    with opened(root, path, limit) as file:
        encoding = encoding or _encoding(file.read(4))
        file.seek(0)
        yield from _numbered(file, encoding, path, 1)


def numbered(block: bytes, path: Path, first: int) -> Iterator[tuple[int, str]]:
    """The same of a block of `blocks` whose first line has the number `first`."""
    return _numbered(io.BytesIO(block), "utf-8", path, first)


def blocks(root: Path, path: Path, limit: int, encoding: str = "") -> Iterator[tuple[int, bytes]]:
    """The lines of a file by the megabyte, for those who read them as columns: UTF-8 without mark,
    each ended by a newline, behind the number of the first."""
    with opened(root, path, limit) as file:
        encoding = encoding or _encoding(file.read(4))
        file.seek(0)
        if encoding != "utf-8-sig":
            found = (f"{line}\n".encode() for _, line in _numbered(file, encoding, path, 1))
            pieces = iter(lambda: b"".join(islice(found, 4096)), b"")
        else:
            pieces = _whole_lines(file)
        number = 1
        for piece in pieces:
            yield number, piece
            number += piece.count(b"\n")


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    rest = file.read(3).removeprefix(b"\xef\xbb\xbf")
    while piece := file.read(_BLOCK):
        text = rest + piece
        cut = text.rfind(b"\n") + 1 or text.rfind(b"\r") + 1 or len(text)
        rest = text[cut:]
        whole = text[:cut]
        yield whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in whole else whole
    if rest:
        yield rest.replace(b"\r", b"\n") + b"\n"


def _numbered(
    file: BinaryIO | io.BytesIO, encoding: str, path: Path, number: int
) -> Iterator[tuple[int, str]]:
    text = io.TextIOWrapper(file, encoding, "surrogateescape", newline=None)
    number -= 1
    try:
        while line := text.readline(_LINE):
            number += 1
            _check_line(line)
            yield number, line.rstrip("\n")
    except UnicodeError:
        raise ValueError(
            f"{path}: line {number or 1} is no {encoding.removesuffix('-sig').upper()} text; "
            "save the file as UTF-8"
        ) from None
    except _NoLineError as error:
        raise ValueError(f"{path}: line {number} {error}; restore the file") from None
    finally:
        if not file.closed:
            text.detach()  # whoever opened the file closes it


class _NoLineError(Exception):
    """What is wrong with a line of text."""


def _encoding(start: bytes) -> str:
    return next((name for bom, name in _BOMS.items() if start.startswith(bom)), "utf-8-sig")


def _check_line(line: str) -> None:
    if not line.isascii():
        line.encode()  # what was no text cannot be encoded
    if "\0" in line:
        raise _NoLineError("holds zero bytes, as binary files and UTF-16 without a mark do")
    if len(line) >= _LINE:
        raise _NoLineError(f"has more than {_LINE:,} characters")


def lines(root: Path, path: Path) -> list[str]:
    """The lines of a small text file, without empty last lines."""
    found = [line for _, line in numbered_lines(root, path)]
    while found and not found[-1].strip():
        found.pop()
    return found


def number_rows(
    path: Path, found: Iterable[str], first: int, width: int
) -> list[tuple[float, ...]]:
    """Rows of `width` comma-separated numbers; `first` is the 1-based line number of the first.

    Raises ValueError naming file and line: a skipped line would shift every label after it.
    """
    rows = []
    for number, line in enumerate(found, first):
        try:
            row = numbers(line.strip().rstrip(","), ",")
        except ValueError:
            row = ()
        if len(row) != width:
            raise ValueError(
                f"{path}: line {number} reads {line[:60]!r} where {width} comma-separated "
                "number(s) belong; restore the file from the release"
            )
        rows.append(row)
    return rows


def number_table(text: bytes, width: int) -> np.ndarray | None:
    """What `number_rows` gives of the plainest lines, 20 times as fast, as (n, width); None where
    any line is not one of those."""
    body = text if text.endswith(b"\n") else text + b"\n"
    marks = body.translate(None, _NO_MARKS)
    if marks != (b"," * (width - 1) + b"\n") * (len(marks) // width):
        return None
    names = [str(k) for k in range(width)]
    try:
        table = csv.read_csv(
            pa.BufferReader(body),
            csv.ReadOptions(column_names=names, use_threads=False, block_size=len(body) + 1),
            csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64()), null_values=[]),
        )
    except pa.ArrowInvalid:
        return None
    found = np.stack([table[name].to_numpy() for name in names], axis=1)
    return found if (np.abs(found) <= FAR).all() else None  # NaN fails too


def points(root: Path, path: Path, count: int) -> tuple[float, ...] | None:
    """`count` points x, y of a `.pts` file, flattened; None where there is no such file.

    A missing file means that no face was detected in that frame. The syntax is `version: 1`,
    `n_points: N`, then N pairs between braces, with any white space between numbers.

    Raises ValueError when the file is there and does not hold `count` points.
    """
    try:
        text = "\n".join(lines(root, path))
    except FileNotFoundError:
        return None
    try:
        found = numbers(text.partition("{")[2].partition("}")[0])
    except ValueError:
        found = ()
    if len(found) != 2 * count:
        raise ValueError(f"{path} does not hold {count} points between braces")
    return found


# ---------------------------------------------------------------- numbers


def numbers(text: str, separator: str | None = None) -> tuple[float, ...]:
    """Plain decimal numbers; raises ValueError for any other word, and for one beyond `FAR`."""
    found = tuple(map(float, text.split(separator))) if _NUMBERS.fullmatch(text) else None
    if found is None or (found and not (max(found) <= FAR and min(found) >= -FAR)):
        raise ValueError(f"{text[:60]!r} is not made of plain numbers up to {FAR:,.0f}")
    return found


def number(text: str) -> float:
    """One plain decimal number."""
    if _SHORT.fullmatch(text):
        return float(text)
    found = numbers(text, ",") if text.strip() else ()
    if len(found) != 1:
        raise ValueError(
            "more than one number stands there; decimals have a point and no comma"
            if found
            else "a number is missing"
        )
    return found[0]


def plain(value: Any, what: str = "value") -> float:
    """A number of JSON, which is neither true nor text; raises ValueError for others."""
    if type(value) not in (int, float) or not abs(value) <= FAR:
        raise ValueError(f"{what} is {str(value)[:60]!r} and no number")
    return float(value)


# ---------------------------------------------------------------- JSON and arrays


def json_object(root: Path, path: Path, what: str, limit: int = JSON) -> dict[str, Any]:
    """The one object of a JSON file, with each key once and without NaN and Infinity.

    Raises ValueError saying that the file is no `what`, and why.
    """
    text = "\n".join(line for _, line in numbered_lines(root, path, limit))
    try:
        return json_text(text)
    except ValueError as error:
        raise ValueError(f"{path} is no {what} ({error}); restore it") from None


def json_text(text: str) -> dict[str, Any]:
    """The object that a text holds; raises ValueError with the reason where it is none."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} where an object belongs")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = [key for key, _ in pairs]
        twice = next(key for key in seen if seen.count(key) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands there twice")
    return found


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def array(root: Path, path: Path) -> np.ndarray:
    """A small `.npy` file, several times as fast as `numpy.load`. Pickled objects are refused."""
    stored = content(root, path, ARRAY)
    try:
        return array_in(stored)
    except BROKEN as error:
        raise ValueError(
            f"{path} is no plain .npy file ({error}); pickles are never opened, so take the file "
            "from the release"
        ) from None


def array_in(stored: bytes) -> np.ndarray:
    """The array of a `.npy` file's bytes; raises one of `BROKEN` where they are none."""
    start = 10 + int.from_bytes(stored[8:10], "little")
    dtype, shape = _header(stored[:start])
    return np.frombuffer(stored, dtype, math.prod(shape), start).reshape(shape)


@lru_cache(maxsize=256)
def _header(stored: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape; a release has a handful of different headers in a million files."""
    file = io.BytesIO(stored)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its version is not 1.0")
    with warnings.catch_warnings(action="error"):
        try:
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except (Warning, TokenError) as error:
            raise ValueError(f"its header is odd: {error}") from None
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return dtype, shape
