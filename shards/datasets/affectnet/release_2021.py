"""AffectNet, release of March 2021: 224-pixel JPEGs and four `.npy` files for each.

    {train_set,val_set}/images/<int>.jpg
    {train_set,val_set}/annotations/<int>_{exp,val,aro,lnd}.npy

Numbers are not zero-padded and have gaps. There are no boxes and only the classes 0 to 7.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from shards.datasets.annotations import ROUNDING
from shards.datasets.preflight import check_counts, check_each, strictness
from shards.findings import Findings
from shards.image import Unreadable, probe
from shards.sample import Sample

PUBLISHED = {"train": 287_651, "val": 3_999}
_SPLITS = {"train_set": "train", "val_set": "val", "valid_set": "val"}
_LABELS = ("exp", "val", "aro", "lnd")
_SENTINEL = -2.0
_SIZE = 224
_MEASURED = 100  # images whose size is looked at


def read(
    root: Path, sets: list[Path], findings: Findings, *, allow_count: bool = False
) -> Iterator[Sample]:
    """Check names and classes of every set, then yield the samples by number."""
    chosen = _choose(sets, findings)
    found = {}
    for split, folder in chosen.items():
        stems = _stems(folder)
        found[split] = len(stems)
        _check(folder, split, stems, findings, allow_count=allow_count)
    check_counts(findings, root, "affectnet", PUBLISHED, found, allow_count=allow_count)
    if findings.failed:
        return
    for split, folder in chosen.items():
        for stem in _stems(folder):
            sample = _sample(root, folder, split, int(stem), findings)
            if sample:
                yield sample


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


def _stems(folder: Path) -> np.ndarray:
    """Numbers of the `_exp.npy` files, ascending: 8 bytes each."""
    names = (entry.name for entry in os.scandir(folder / "annotations"))
    stems = (name.removesuffix("_exp.npy") for name in names if name.endswith("_exp.npy"))
    return np.sort(np.fromiter((int(s) for s in stems if s.isdecimal()), np.int64))


def _check(
    folder: Path, split: str, stems: np.ndarray, findings: Findings, *, allow_count: bool
) -> None:
    """Each image has four label files of a plain type, and its class is 0 to 7."""
    missing, problems = 0, []
    classes: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    for stem in stems.tolist():
        missing += not _complete(folder, stem)
        try:
            array = load_array(folder / "annotations" / f"{stem}_exp.npy")
            kinds[str(array.dtype)] += 1
            classes[_class_of(array, folder, stem)] += 1
        except ValueError as error:
            problems.append(str(error))
    check_each(findings, f"classes of {split}", problems[:20], f"{split}: {dict(classes)}")
    findings.check(f"type of the labels of {split}", True, f"stored as {dict(kinds)}")
    findings.check(
        f"files of {split}",
        missing <= 0.001 * len(stems),
        f"{missing:,} of {len(stems):,} numbers in {folder} lack their image or a label file"
        + ("; more than 0.1 % means a broken copy" if missing else ""),
        level=strictness(allow_count),
    )
    sizes = Counter(_size(folder / "images" / f"{s}.jpg") for s in stems[:_MEASURED].tolist())
    findings.check(
        f"size of {split}",
        set(sizes) <= {(_SIZE, _SIZE)},
        f"the first images of {folder} have the sizes {dict(sizes)}, 224 x 224 in the release",
        level="warn",
    )


def _complete(folder: Path, stem: int) -> bool:
    labels = (f"{folder}/annotations/{stem}_{label}.npy" for label in _LABELS)
    return all(map(os.path.exists, (f"{folder}/images/{stem}.jpg", *labels)))


def _size(path: Path) -> tuple[int, int] | None:
    try:
        header = probe(path.read_bytes())
    except (Unreadable, OSError):
        return None
    return header.width, header.height


def load_array(path: Path) -> np.ndarray:
    """A tiny `.npy` file, several times as fast as `numpy.load`. Pickled objects are refused.

    Raises ValueError naming the file.
    """
    content = path.read_bytes()
    try:
        start = 10 + int.from_bytes(content[8:10], "little")
        dtype, shape = _header(content[:start])
        return np.frombuffer(content, dtype, int(np.prod(shape)), start).reshape(shape)
    except (ValueError, TypeError, SyntaxError) as error:
        raise ValueError(
            f"{path} is no plain .npy file ({error}); pickles are never opened, so take the file "
            "from the release"
        ) from None


@lru_cache(maxsize=256)
def _header(content: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape; the release has a handful of different headers in a million files."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its version is not 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    return dtype, shape


def _number(array: np.ndarray, path: Any) -> float:
    """The number in an array of any shape, stored as a number or, as a rule, as a word."""
    try:
        return float(str(array.reshape(-1)[0]))
    except (ValueError, IndexError):
        raise ValueError(f"{path} holds {array!r}, no number; restore the file") from None


def _class_of(array: np.ndarray, folder: Path, stem: int) -> int:
    path = folder / "annotations" / f"{stem}_exp.npy"
    number = _number(array, path)
    if number not in range(8):
        raise ValueError(f"{path} holds {number:g}, not a class 0 to 7; restore the file")
    return int(number)


def _sample(root: Path, folder: Path, split: str, stem: int, findings: Findings) -> Sample | None:
    path = (folder / "images" / f"{stem}.jpg").relative_to(root).as_posix()
    if not _complete(folder, stem):
        findings.skip("image or label file is missing", path)
        return None
    labels = {label: folder / "annotations" / f"{stem}_{label}.npy" for label in _LABELS}
    arrays = {label: load_array(labels[label]) for label in _LABELS}
    valence, arousal = (_number(arrays[label], labels[label]) for label in ("val", "aro"))
    if arrays["lnd"].size != 136:
        raise ValueError(f"{labels['lnd']} has {arrays['lnd'].size} numbers, not 136; restore it")
    labelled = _SENTINEL not in (valence, arousal)
    if labelled and not max(abs(valence), abs(arousal)) <= 1 + ROUNDING:
        raise ValueError(
            f"{labels['val']} holds {valence:g} and {labels['aro']} {arousal:g}, "
            "neither -2 nor in [-1, 1]; restore the files"
        )
    code = _class_of(arrays["exp"], folder, stem)
    return Sample(
        key=f"affectnet-b_{split}_{stem}",
        original_path=path,
        dataset="affectnet",
        variant="npy2021",
        split=split,
        official_split=folder.name,
        landmarks=tuple(float(x) for x in arrays["lnd"].reshape(-1).tolist()),
        landmarks_source="affectnet",
        expression_raw=code,
        expression=code,
        valence=valence if labelled else None,
        arousal=arousal if labelled else None,
        valence_raw=valence,
        arousal_raw=arousal,
    )
