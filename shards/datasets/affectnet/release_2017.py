"""AffectNet, release of 2017: images in numbered folders, CSV lists of nine columns.

    Manually_Annotated_Images/<1..1381>/<56 hex>.<ext>
    Manually_Annotated_file_lists/{training,validation}.csv
    Automatically_Annotated/.../automatically_annotated.csv

The header is plain, begins with '#', or is missing; folders are nested in several ways.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from shards.datasets import foreign
from shards.datasets.annotations import ROUNDING, key_part
from shards.datasets.preflight import check_counts, check_each, size_of, strictness
from shards.findings import Findings
from shards.sample import Sample

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
LISTS = {  # file -> split, variant, prefix of the keys
    "training.csv": ("train", "manual2017", "affectnet-a"),
    "validation.csv": ("val", "manual2017", "affectnet-a"),
    "automatically_annotated.csv": ("train", "auto2017", "affectnet-auto"),
}
AUTOMATIC = "automatically_annotated.csv"
PUBLISHED = {"training.csv": 414_800, "validation.csv": 5_500}
_CLASSES = {  # per list, codes 0..8, and 9 and 10 together
    "training.csv": (74874, 134416, 25459, 14090, 6378, 3803, 24882, 3750, 33088, 94060),
    "validation.csv": (500, 500, 500, 500, 500, 500, 500, 500, 500, 1000),
}
_NAMES = (
    "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
    "none", "uncertain", "no-face",
)  # fmt: skip
_SENTINEL = -2.0
_MISSING = 0.001  # share of listed images that may be missing; more is a wrong root
_SQUARES = 200  # images whose size is compared with their box
_FIRST = re.compile(r"[0-9]+[/\\][0-9a-fA-F]+\.")  # of a list without header
_CODE = re.compile(r"([0-9]|10)(\.0*)?")  # pandas writes 3.0
_PATH = re.compile(r"(?!\.)[^/\\\0]+(/(?!\.)[^/\\\0]+)*")


@dataclass(frozen=True, slots=True)
class Options:
    """See `shards.datasets.affectnet.read`."""

    allow_count: bool
    automatic: bool
    emonet: tuple[Path, ...]


class Row(NamedTuple):
    """One line of a list, checked."""

    path: str
    box: tuple[float, float, float, float] | None  # left, top, right, bottom
    landmarks: str  # 136 numbers joined by ';', parsed only when wanted
    code: int  # 0..10
    valence: float
    arousal: float

    @property
    def labelled(self) -> bool:
        return _SENTINEL not in (self.valence, self.arousal)


@dataclass(slots=True)
class _Count:
    """What one pass over a list found; nothing in it grows with the rows but the few problems."""

    rows: int = 0
    classes: Counter[int] = field(default_factory=Counter)
    null_boxes: int = 0
    sentinels_elsewhere: int = 0
    missing: int = 0
    problems: list[str] = field(default_factory=list)
    many_problems: int = 0
    square: int = 0
    compared: int = 0


@dataclass(frozen=True, slots=True)
class _List:
    """A list below the root, and the folder its paths are relative to."""

    root: Path
    name: str
    path: Path
    images: Path


def read(
    root: Path,
    lists: Mapping[str, list[Path]],
    image_roots: list[Path],
    findings: Findings,
    options: Options,
) -> Iterator[Sample]:
    """Check every list, then yield its samples."""
    _names_ignoring_case.cache_clear()  # the tree may have changed since the last run
    chosen = _choose(root, lists, image_roots, findings, options)
    clean = _emonet_names(options.emonet)
    if findings.failed:
        return
    counts = {each.name: _count(each) for each in chosen}
    _judge(root, counts, findings, options)
    if findings.failed:
        return
    for each in chosen:
        yield from _samples(each, findings, clean)


def _choose(
    root: Path,
    lists: Mapping[str, list[Path]],
    image_roots: list[Path],
    findings: Findings,
    options: Options,
) -> list[_List]:
    """The lists to read, each with the image folder that has its files."""
    chosen = []
    for name, places in sorted(lists.items(), key=lambda item: list(LISTS).index(item[0])):
        if name == AUTOMATIC and not options.automatic:
            detail = f"{places[0]} is left out; its labels are a network's"
            detail += ", add it with --option automatic=true"
            findings.check("automatic annotations", True, detail)
            continue
        named = ", ".join(map(str, places))
        only = len(places) == 1
        detail = named if only else f"{named}: there must be one {name}; keep one of them"
        findings.check(f"one {name}", only, detail)
        first = [fields[0] for _, fields in islice(_lines(root, places[0]), 200)]
        images = _image_root(first, image_roots)
        missing = (
            f"{places[0]} lists {first[0]!r} with backslashes, as Windows writes them; write '/' "
            "in the whole list"
            if any("\\" in path for path in first)
            else f"none of the first images listed in {places[0]} lies below {root}; unpack the "
            "image archives there (all parts in one folder, only the first one is opened)"
        )
        findings.check(f"images of {name}", images is not None, str(images or missing))
        if images:
            chosen.append(_List(root, name, places[0], images))
    for name in ("training.csv", "validation.csv"):
        found = name in lists or (options.automatic and AUTOMATIC in lists)
        if not found:
            missing = f"{name} is missing below {root}; unpack the archive of the file lists there"
            level = strictness(options.allow_count)
            findings.check(f"{name} is there", False, missing, level=level)
    return chosen


def _image_root(first: list[str], roots: list[Path]) -> Path | None:
    """The folder in which most of the first listed images lie."""
    hits = {root: sum(find_file(root, path) is not None for path in first) for root in roots}
    best = max(hits, key=lambda root: hits[root], default=None)
    return best if best is not None and hits[best] else None


def find_file(images: Path, path: str) -> str | None:
    """The path as it is on disk: exact, else with the name's case ignored; None when missing."""
    if os.path.isfile(f"{images}/{path}"):  # noqa: PTH113  420,000 times: four times as fast
        return path
    folder, _, name = path.rpartition("/")
    actual = _names_ignoring_case(images / folder).get(name.lower())
    return f"{folder}/{actual}" if actual else None


@lru_cache(maxsize=64)
def _names_ignoring_case(folder: Path) -> dict[str, str]:
    return {name.lower(): name for name in foreign.names(folder)}


def _lines(root: Path, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields in the order of `COLUMNS`, whatever header there is.

    Raises ValueError naming the file where its header has other columns.
    """
    order = None
    for number, line in foreign.numbered_lines(root, path, foreign.LIST):
        fields = line.split(",")
        if number == 1 and not _FIRST.match(fields[0]):
            order = _order(path, fields)
        elif line.strip():
            yield number, [fields[k] for k in order] if order and len(fields) == 9 else fields


def _order(path: Path, header: list[str]) -> list[int] | None:
    """Positions of `COLUMNS` in a header; None where they stand in the usual order."""
    names = [name.strip().strip("#").strip() for name in header]
    if sorted(names) != sorted(COLUMNS):
        raise ValueError(
            f"{path}: line 1 has the columns {','.join(names)[:200]!r}, not {','.join(COLUMNS)}; "
            "this is no list of the release of 2017, restore it from there"
        )
    order = [names.index(name) for name in COLUMNS]
    return None if order == list(range(9)) else order


def parse(fields: list[str]) -> Row:
    """One row; raises ValueError with the reason where a field is wrong."""
    if len(fields) != 9:
        raise ValueError(f"has {len(fields)} fields, not 9")
    path, *box, landmarks, expression, valence, arousal = fields
    if not _PATH.fullmatch(path):
        raise ValueError(f"names {path[:100]!r}, not <folder>/<file> below the images")
    if landmarks.count(";") != 135:
        raise ValueError(f"has {landmarks.count(';') + 1} landmark numbers, not 136")
    try:
        va = foreign.number(valence), foreign.number(arousal)
    except ValueError:
        va = (math.nan, math.nan)
    row = Row(path, _box(box), landmarks, _code(expression), *va)
    if row.labelled and not max(abs(row.valence), abs(row.arousal)) <= 1 + ROUNDING:
        raise ValueError(f"has valence {valence}, arousal {arousal}, neither -2 nor in [-1, 1]")
    return row


def _box(fields: list[str]) -> tuple[float, float, float, float] | None:
    """Corners from x, y, width, height; None for the row whose box is NULL."""
    try:
        x, y, width, height = map(foreign.number, fields)  # one NULL makes pandas write "134.0"
    except ValueError:
        if "NULL" in (text.strip().upper() for text in fields):
            return None
        raise ValueError(f"has a face box {fields} that is no number of pixels") from None
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _code(text: str) -> int:
    """0..10 from a number or, as in one copy of the automatic list, a name."""
    word = text.strip().lower()
    if word in _NAMES:
        return _NAMES.index(word)
    if not _CODE.fullmatch(word):
        raise ValueError(f"has expression {text[:60]}, not 0 to 10")
    return int(float(word))


def _count(each: _List) -> _Count:
    """One pass over a list, without reading an image but the headers of a few."""
    count = _Count()
    for number, fields in _lines(each.root, each.path):
        count.rows += 1
        try:
            row = parse(fields)
        except ValueError as error:
            count.many_problems += 1
            if len(count.problems) < 20:
                count.problems.append(f"{each.path}: line {number} {error}; restore the file")
            continue
        count.classes[row.code] += 1
        count.null_boxes += row.box is None
        count.sentinels_elsewhere += not row.labelled and row.code < 9
        actual = find_file(each.images, row.path)
        count.missing += actual is None
        if row.box and actual and count.compared < _SQUARES:
            count.compared += 1
            count.square += _is_square_around(size_of(each.root, each.images / actual), row.box)
    return count


def _is_square_around(size: tuple[int, int] | None, box: tuple[float, float, float, float]) -> bool:
    """Whether the picture is a square with the box in its middle, as every one seen was."""
    left, top, right, _ = box
    return size == (side := (right - left) + 2 * left, side) and left == top


def _judge(root: Path, counts: Mapping[str, _Count], findings: Findings, options: Options) -> None:
    level = strictness(options.allow_count)
    for name, count in counts.items():
        fine = f"{count.rows:,} rows of 9 fields, 136 landmark numbers, labels in range or -2"
        problems = count.problems
        if count.many_problems > len(problems):
            problems = [*problems, f"{name}: {count.many_problems:,} such lines in all"]
        check_each(findings, f"rows of {name}", problems, fine)
        findings.check(
            f"files of {name}",
            count.missing <= _MISSING * count.rows,
            f"{count.missing:,} of {count.rows:,} images listed in {name} are missing"
            + ("; more than 0.1 % means a wrong or partial tree" if count.missing else ""),
            level=level,
        )
        _warn(name, count, findings)
    found = {name: count.rows for name, count in counts.items() if name != AUTOMATIC}
    if found.get("training.csv") == PUBLISHED["training.csv"] - 1:
        found["training.csv"] += 1  # without the one row whose box is NULL, as papers count
    check_counts(findings, root, "affectnet", PUBLISHED, found, allow_count=options.allow_count)


def _warn(name: str, count: _Count, findings: Findings) -> None:
    classes = [count.classes[code] for code in range(9)]
    classes.append(count.classes[9] + count.classes[10])
    if count.rows == PUBLISHED.get(name):
        findings.check(
            f"classes of {name}",
            tuple(classes) == _CLASSES[name],
            f"{name} has {classes} rows of the classes 0..8 and 9 + 10; published {_CLASSES[name]}",
            level="warn",
        )
    findings.check(
        f"-2 in {name}",
        count.sentinels_elsewhere == 0,
        f"{count.sentinels_elsewhere:,} rows of {name} hold -2 outside the classes 9 and 10",
        level="warn",
    )
    findings.check(
        f"boxes of {name}",
        count.null_boxes <= 2,
        f"{count.null_boxes:,} rows of {name} have no face box (two are known)",
        level="warn",
    )
    findings.check(
        f"squares of {name}",
        count.square >= 0.9 * count.compared,
        f"{count.square} of the first {count.compared} images of {name} are squares with the box "
        "in the middle, as in the release",
        level="warn",
    )


def _samples(each: _List, findings: Findings, clean: frozenset[str] | None) -> Iterator[Sample]:
    prefix = each.images.relative_to(each.root).as_posix()
    for number, fields in _lines(each.root, each.path):
        row = parse(fields)
        actual = find_file(each.images, row.path)
        if actual is None:
            findings.skip("image is missing", row.path)
            continue
        try:
            yield _sample(each.name, row, actual, prefix, clean)
        except ValueError as error:
            raise ValueError(f"{each.path}: line {number}: {error}") from None


def _sample(name: str, row: Row, actual: str, prefix: str, clean: frozenset[str] | None) -> Sample:
    split, variant, start = LISTS[name]
    quality = [] if actual == row.path else ["case_fixed"]
    if row.box is None:
        quality.append("no_box")
    return Sample(
        key=f"{start}_{key_part(actual.rpartition('.')[0].replace('/', '_'))}",
        original_path=f"{prefix}/{actual}" if prefix != "." else actual,
        dataset="affectnet",
        variant=variant,
        split=split,
        official_split=name.removesuffix(".csv"),
        bbox_xyxy=row.box,
        bbox_source="affectnet" if row.box else None,
        landmarks=foreign.numbers(row.landmarks, ";"),
        landmarks_source="affectnet",
        expression_raw=row.code,
        expression=row.code if row.code < 8 else None,
        valence=row.valence if row.labelled else None,
        arousal=row.arousal if row.labelled else None,
        valence_raw=row.valence,
        arousal_raw=row.arousal,
        annotation_source="auto" if name == AUTOMATIC else "manual",
        emonet_clean=row.path in clean if clean is not None and split == "val" else None,
        quality=tuple(quality),
    )


class _PlainUnpickler(pickle.Unpickler):
    """Numbers, strings and numpy arrays: a pickle from elsewhere may not run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name.split(".")[0] == "numpy" and global_name in (
            "_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer",
        ):  # fmt: skip
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"it wants to load {module_name}.{global_name}")


def _emonet_names(paths: Iterable[Path]) -> frozenset[str] | None:
    """Names `folder/hash.ext` in EmoNet's pickles; None without a pickle."""
    names: set[str] = set()
    for path in paths:
        try:
            with foreign.opened(path.parent, path, foreign.TEXT) as file:
                names.update(map(str, _PlainUnpickler(file).load()))
        except OSError:
            raise
        except Exception as error:  # a broken pickle raises whatever its bytes make it raise
            raise ValueError(
                f"{path} is no pickled dictionary of names as EmoNet publishes it ({error}); "
                "take val_fullpath.pkl or test_fullpath.pkl"
            ) from None
    return frozenset(names) if paths else None
