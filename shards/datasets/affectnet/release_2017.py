"""AffectNet, release of 2017: images in numbered folders, CSV lists of nine columns.

    Manually_Annotated_Images/<1..1381>/<56 hex>.<ext>
    Manually_Annotated_file_lists/{training,validation}.csv
    Automatically_Annotated/.../automatically_annotated.csv

The header is plain, begins with '#', or is missing; folders are nested in several ways.
"""

from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.datasets import foreign
from shards.datasets.affectnet import lists as lists_of_2017
from shards.datasets.affectnet.lists import COLUMNS as COLUMNS
from shards.datasets.affectnet.lists import SENTINEL, Rows
from shards.datasets.annotations import key_part
from shards.datasets.files import facts_of, known
from shards.datasets.preflight import check_counts, check_each, size_of, strictness
from shards.findings import Findings
from shards.labels.rows import lists_of, rows_like, samples_of, sound
from shards.sample import Sample

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
_MISSING = 0.001  # share of listed images that may be missing; more is a wrong root
_SQUARES = 200  # images whose size is compared with their box


@dataclass(frozen=True, slots=True)
class Options:
    """See `shards.datasets.affectnet.read`."""

    allow_count: bool
    automatic: bool
    emonet: tuple[Path, ...]


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
    late: ValueError | None = None  # said where nothing else is wrong


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
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of every list, checking them; the findings are complete at the end."""
    _names_ignoring_case.cache_clear()  # the tree may have changed since the last run
    chosen = _choose(root, lists, image_roots, findings, options)
    clean = _emonet_names(options.emonet)
    if findings.failed:
        return
    counts = {each.name: _Count() for each in chosen}
    for each in chosen:
        for rows in lists_of_2017.read(each.root, each.path):
            yield _rows(each, rows, counts[each.name], findings, clean)
    _judge(root, counts, findings, options)
    for count in counts.values():
        if count.late and not findings.failed:
            raise count.late


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
        first = lists_of_2017.first_paths(root, places[0], 200)
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


def find_file(images: Path, path: str) -> tuple[str, int, int] | None:
    """The path as it is on disk (exact, else with the name's case ignored), its bytes and time in
    nanoseconds; None when missing."""
    found = facts_of(f"{images}/{path}")
    if found and S_ISREG(found.st_mode):
        return path, found.st_size, found.st_mtime_ns
    folder, _, name = path.rpartition("/")
    if not (actual := _names_ignoring_case(images / folder).get(name.lower())):
        return None
    found = facts_of(f"{images}/{folder}/{actual}")  # odd ones are left out when they are read
    size, time = (found.st_size, found.st_mtime_ns) if found else (-1, 0)
    return f"{folder}/{actual}", size, time


@lru_cache(maxsize=64)
def _names_ignoring_case(folder: Path) -> dict[str, str]:
    return {name.lower(): name for name in foreign.names(folder)}


def _rows(
    each: _List, rows: Rows, count: _Count, findings: Findings, clean: frozenset[str] | None
) -> pa.RecordBatch:
    """The rows whose images are there, counted."""
    for line, problem in rows.problems:
        count.many_problems += 1
        if len(count.problems) < 20:
            count.problems.append(f"{each.path}: line {line} {problem}; restore the file")
    names: list[str | None] = list(rows.paths)
    files = known([f"{each.images}/{path}" for path in rows.paths])
    for k in np.flatnonzero(files[:, 0] < 0).tolist():
        names[k], *files[k] = find_file(each.images, rows.paths[k]) or (None, -1, 0)
        if names[k] is None:
            findings.skip("image is missing", rows.paths[k])
    _tally(each, rows, names, count)
    there = np.flatnonzero([name is not None for name in names])
    return _batch(each, rows, there, [name for name in names if name], files[there], count, clean)


def _tally(each: _List, rows: Rows, actual: list[str | None], count: _Count) -> None:
    labelled = ~(rows.va == SENTINEL).any(axis=1)
    count.rows += len(rows.paths) + len(rows.problems) + len(rows.late)
    count.classes.update(rows.codes.tolist())
    count.null_boxes += int(np.isnan(rows.boxes[:, 0]).sum())
    count.sentinels_elsewhere += int((~labelled & (rows.codes < 9)).sum())
    count.missing += actual.count(None)
    for name, box in zip(actual, rows.boxes, strict=True):
        if count.compared == _SQUARES:
            break
        if name and not math.isnan(box[0]):
            count.compared += 1
            count.square += _is_square_around(size_of(each.root, each.images / name), box.tolist())
    for line, problem in rows.late:
        count.late = count.late or ValueError(f"{each.path}: line {line}: {problem}")


def _is_square_around(size: tuple[int, int] | None, box: Sequence[float]) -> bool:
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


def _batch(
    each: _List,
    rows: Rows,
    there: np.ndarray,
    names: list[str],
    files: np.ndarray,
    count: _Count,
    clean: frozenset[str] | None,
) -> pa.RecordBatch:
    split, variant, start = LISTS[each.name]
    prefix = each.images.relative_to(each.root).as_posix()
    listed = [rows.paths[k] for k in there]
    boxes, va, codes = rows.boxes[there], rows.va[there], rows.codes[there]
    paths = [f"{prefix}/{name}" if prefix != "." else name for name in names]
    keys = [f"{start}_{key_part(name.rpartition('.')[0].replace('/', '_'))}" for name in names]
    no_box, void = np.isnan(boxes[:, 0]), (va == SENTINEL).any(axis=1)
    cleaned, none = clean is not None and split == "val", pa.nulls(len(names), pa.bool_())
    columns = {
        "sample_key": pa.array(keys, pa.string()),
        "original_path": pa.array(paths, pa.string()),
        "bbox_xyxy": lists_of(boxes),
        "bbox_source": pc.if_else(pa.array(no_box), None, "affectnet"),
        "landmarks": lists_of(rows.landmarks[there]),
        "expression_raw": pa.array(codes, pa.int16()),
        "expression": pa.array(codes, pa.int8(), mask=codes > 7),
        "valence": pa.array(va[:, 0], mask=void),
        "arousal": pa.array(va[:, 1], mask=void),
        "valence_raw": pa.array(va[:, 0]),
        "arousal_raw": pa.array(va[:, 1]),
        "emonet_clean": pa.array([n in clean for n in listed] if cleaned else none, pa.bool_()),
        "quality": pa.array(
            [
                ["case_fixed"] * (name != path) + ["no_box"] * unboxed
                for name, path, unboxed in zip(names, listed, no_box.tolist(), strict=True)
            ],
            pa.list_(pa.string()),
        ),
        "source_bytes": pa.array(files[:, 0]),
        "source_time": pa.array(files[:, 1]),
    }
    like = Sample(
        key="k",
        original_path="p",
        dataset="affectnet",
        variant=variant,
        split=split,
        official_split=each.name.removesuffix(".csv"),
        landmarks_source="affectnet",
        annotation_source="auto" if each.name == AUTOMATIC else "manual",
    )
    batch = rows_like(like, len(names), columns)
    for k in np.flatnonzero(~sound(batch)):
        try:
            next(samples_of(batch.slice(k, 1)))
        except ValueError as error:
            problem = f"{each.path}: line {rows.lines[there[k]]}: {error}"
            count.late = count.late or ValueError(problem)
    return batch


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
