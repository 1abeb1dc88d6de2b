"""AffectNet, release of March 2021: 224-pixel JPEGs and four `.npy` files for each.

    {train_set,val_set}/images/<int>.jpg
    {train_set,val_set}/annotations/<int>_{exp,val,aro,lnd}.npy

Numbers are not zero-padded and have gaps. There are no boxes and only the classes 0 to 7.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from shards.datasets import foreign
from shards.datasets.annotations import ROUNDING
from shards.datasets.files import files_at
from shards.datasets.preflight import check_counts, check_each, size_of, strictness
from shards.findings import Findings
from shards.labels.rows import lists_of, rows_like, workers
from shards.sample import Sample

PUBLISHED = {"train": 287_651, "val": 3_999}
_SPLITS = {"train_set": "train", "val_set": "val", "valid_set": "val"}
_LABELS = ("exp", "val", "aro", "lnd")
_SENTINEL = -2.0
_STEM = re.compile("0|[1-9][0-9]{0,8}")
_NONE = np.zeros(0, np.int64)
_SIZE = 224
_AT_ONCE = 2048  # numbers read by one task
_MEASURED = 100  # images whose size is looked at


class _Task(NamedTuple):
    """Some numbers of a set."""

    root: Path
    folder: Path
    split: str
    stems: np.ndarray
    complete: np.ndarray  # which of them have their image and four label files


class _Found(NamedTuple):
    """What a task found."""

    rows: pa.RecordBatch
    classes: Counter[int]
    kinds: Counter[str]  # types of the classes
    problems: list[str]  # of the classes
    late: ValueError | None  # of other labels, said where nothing else is wrong


def read(
    root: Path, sets: list[Path], findings: Findings, *, allow_count: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of every set by number, checking them; findings are complete at the end."""
    chosen = _choose(sets, findings)
    counts, late = {}, None
    for split, folder in chosen.items():
        stems, complete = _stems(folder)
        counts[split] = len(stems)
        starts = range(0, len(stems), _AT_ONCE)
        parts = (slice(start, start + _AT_ONCE) for start in starts)
        tasks = (_Task(root, folder, split, stems[part], complete[part]) for part in parts)
        classes, kinds, problems = Counter[int](), Counter[str](), list[str]()
        for found in workers.get()(_read, tasks):
            yield found.rows
            classes += found.classes
            kinds += found.kinds
            problems += found.problems
            late = late or found.late
        check_each(findings, f"classes of {split}", problems[:20], f"{split}: {dict(classes)}")
        findings.check(f"type of the labels of {split}", True, f"stored as {dict(kinds)}")
        _check(root, folder, split, stems, complete, findings, allow_count=allow_count)
        for stem in stems[~complete]:
            findings.skip("image or label file is missing", f"{folder.name}/{stem}")
    check_counts(findings, root, "affectnet", PUBLISHED, counts, allow_count=allow_count)
    if late and not findings.failed:
        raise late


def _choose(sets: list[Path], findings: Findings) -> dict[str, Path]:
    """Each split's folder; a test set is nobody's but the copy's maker."""
    chosen: dict[str, Path] = {}
    for folder in sorted(sets):
        split = _SPLITS.get(folder.name.lower())
        if split is None:
            detail = f"{folder} is no part of the release (train_set, val_set) and is left out"
            findings.check("sets of the release", False, detail, level="warn")
            continue
        detail = f"{chosen.get(split)} and {folder} are both the {split} set; keep one of them"
        findings.check(f"one {split} set", split not in chosen, detail)
        chosen[split] = folder
    return chosen


def _listed(folder: Path, part: str, mark: str) -> dict[str, np.ndarray]:
    """Numbers of the files `<number><mark><ending>` of each ending, ascending: 8 bytes each. One
    look into the folder for all of them: it holds up to 1,150,000 names."""
    numbers: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
    for name in foreign.listed(folder / part):
        stem, _, ending = name.partition(mark)
        if _STEM.fullmatch(stem):
            numbers[ending].append(int(stem))
    return {ending: np.sort(np.frombuffer(found, np.int64)) for ending, found in numbers.items()}


def _stems(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the set, and which of them have their image and four label files."""
    labels = _listed(folder, "annotations", "_")
    images = _listed(folder, "images", ".").get("jpg", _NONE)
    parts = [labels.get(f"{label}.npy", _NONE) for label in _LABELS]
    return parts[0], np.all([np.isin(parts[0], part) for part in (images, *parts)], axis=0)


def _check(
    root: Path,
    folder: Path,
    split: str,
    stems: np.ndarray,
    complete: np.ndarray,
    findings: Findings,
    *,
    allow_count: bool,
) -> None:
    """Each image has its files, and the size of the release."""
    partial = stems[~complete]
    missing = len(partial)
    findings.check(
        f"files of {split}",
        missing <= 0.001 * len(stems),
        f"{missing:,} of {len(stems):,} numbers in {folder} lack their image or a label file"
        + (f", such as {partial[0]}; more than 0.1 % means a broken copy" if missing else ""),
        level=strictness(allow_count),
    )
    sizes = Counter(
        size_of(root, folder / "images" / f"{stem}.jpg") for stem in stems[:_MEASURED].tolist()
    )
    findings.check(
        f"size of {split}",
        set(sizes) <= {(_SIZE, _SIZE)},
        f"the first images of {folder} have the sizes {dict(sizes)}, 224 x 224 in the release",
        level="warn",
    )


def _read(task: _Task) -> _Found:
    """A task: the labels of some numbers."""
    folder, late = f"{task.folder}/annotations/", None
    below = foreign.is_below(task.root, task.folder / "annotations")
    classes, kinds, problems = Counter[int](), Counter[str](), list[str]()
    kept: list[tuple[int, int, float, float]] = []
    points: list[np.ndarray] = []
    for stem, complete in zip(task.stems.tolist(), task.complete.tolist(), strict=True):
        try:
            number, kind = _value(task.root, f"{folder}{stem}_exp.npy", below)
            kinds[kind] += 1
            code = _class_of(number, f"{folder}{stem}_exp.npy")
            classes[code] += 1
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        try:
            if complete:
                va = _plane(task.root, f"{folder}{stem}", below)
                points.append(_landmarks(task.root, f"{folder}{stem}_lnd.npy", below))
                kept.append((stem, code, *va))
        except ValueError as error:
            late = late or error
    return _Found(
        _rows(task, np.array(kept).reshape(-1, 4), points), classes, kinds, problems, late
    )


def _rows(task: _Task, kept: np.ndarray, points: list[np.ndarray]) -> pa.RecordBatch:
    stems, codes, va = kept[:, 0].astype(int).tolist(), kept[:, 1].astype(int), kept[:, 2:]
    void = (va == _SENTINEL).any(axis=1)
    images = (task.folder / "images").relative_to(task.root).as_posix()
    paths = [f"{images}/{stem}.jpg" for stem in stems]
    sizes, times = files_at([f"{task.root}/{path}" for path in paths]).T
    columns = {
        "sample_key": pa.array([f"affectnet-b_{task.split}_{k}" for k in stems], pa.string()),
        "original_path": pa.array(paths, pa.string()),
        "landmarks": lists_of(np.array(points).reshape(-1, 136)),
        "expression_raw": pa.array(codes, pa.int16()),
        "expression": pa.array(codes, pa.int8()),
        "valence": pa.array(va[:, 0], mask=void),
        "arousal": pa.array(va[:, 1], mask=void),
        "valence_raw": pa.array(va[:, 0]),
        "arousal_raw": pa.array(va[:, 1]),
        "source_bytes": pa.array(sizes),
        "source_time": pa.array(times),
    }
    like = Sample(
        key="k",
        original_path="p",
        dataset="affectnet",
        variant="npy2021",
        split=task.split,
        official_split=task.folder.name,
        landmarks_source="affectnet",
    )
    return rows_like(like, len(stems), columns)


def _value(root: Path, path: str, below: bool) -> tuple[float, str]:
    """The number in a file, and how it is stored."""
    stored = foreign.small_content(path) if below else None
    try:
        return _stored_number(stored or b"")
    except (*foreign.BROKEN, IndexError):
        array = foreign.array(root, Path(path))
        return _number(array, path), str(array.dtype)


@lru_cache(maxsize=4096)
def _stored_number(stored: bytes) -> tuple[float, str]:
    array = foreign.array_in(stored)
    return _first(array), str(array.dtype)


def _first(array: np.ndarray) -> float:
    try:
        return foreign.number(str(array.reshape(-1)[0]))
    except SystemError:  # numpy's, of a word that is no Unicode
        raise ValueError("no word") from None


def _number(array: np.ndarray, path: str) -> float:
    """The number in an array of any shape, stored as a number or, as a rule, as a word."""
    try:
        return _first(array)
    except (ValueError, IndexError):
        raise ValueError(
            f"{path} holds {array.tobytes()[:40]!r} of type {array.dtype}, no number; restore the "
            "file"
        ) from None


def _landmarks(root: Path, path: str, below: bool) -> np.ndarray:
    stored = foreign.small_content(path) if below else None
    try:
        array = foreign.array_in(stored or b"")
    except foreign.BROKEN:
        array = foreign.array(root, Path(path))
    flat = array.reshape(-1)
    if flat.size != 136:
        raise ValueError(f"{path} has {flat.size} numbers, not 136; restore it")
    try:
        numbers = flat.astype(np.float64)
    except (ValueError, TypeError):
        numbers = np.full(136, np.nan)
    if not np.abs(numbers).max() <= foreign.FAR:  # NaN fails too
        raise ValueError(f"{path} holds {str(array)[:60]!r}, no pixels; restore it")
    return numbers


def _class_of(number: float, path: str) -> int:
    if number not in range(8):
        raise ValueError(f"{path} holds {number:g}, not a class 0 to 7; restore the file")
    return int(number)


def _plane(root: Path, start: str, below: bool) -> tuple[float, float]:
    valence, arousal = (_value(root, f"{start}_{label}.npy", below)[0] for label in ("val", "aro"))
    labelled = _SENTINEL not in (valence, arousal)
    if labelled and not max(abs(valence), abs(arousal)) <= 1 + ROUNDING:
        raise ValueError(
            f"{start}_val.npy holds {valence:g} and {start}_aro.npy {arousal:g}, "
            "neither -2 nor in [-1, 1]; restore the files"
        )
    return valence, arousal
