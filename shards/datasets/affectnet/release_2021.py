"""AffectNet, release of March 2021: 224-pixel JPEGs and four `.npy` files for each.

    {train_set,val_set}/images/<int>.jpg
    {train_set,val_set}/annotations/<int>_{exp,val,aro,lnd}.npy

Numbers are not zero-padded and have gaps. There are no boxes and only the classes 0 to 7.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.datasets import foreign
from shards.datasets.annotations import ROUNDING
from shards.datasets.preflight import check_counts, check_each, size_of, strictness
from shards.findings import Findings
from shards.sample import Sample

PUBLISHED = {"train": 287_651, "val": 3_999}
_SPLITS = {"train_set": "train", "val_set": "val", "valid_set": "val"}
_LABELS = ("exp", "val", "aro", "lnd")
_SENTINEL = -2.0
_STEM = re.compile("0|[1-9][0-9]{0,8}")
_SIZE = 224
_MEASURED = 100  # images whose size is looked at


def read(
    root: Path, sets: list[Path], findings: Findings, *, allow_count: bool = False
) -> Iterator[Sample]:
    """Check names and classes of every set, then yield the samples by number."""
    chosen = _choose(sets, findings)
    found = {}
    for split, folder in chosen.items():
        stems = _stems(folder, "annotations", "_exp.npy")
        found[split] = len(stems)
        _check(root, folder, split, stems, findings, allow_count=allow_count)
    check_counts(findings, root, "affectnet", PUBLISHED, found, allow_count=allow_count)
    if findings.failed:
        return
    for split, folder in chosen.items():
        stems = _stems(folder, "annotations", "_exp.npy")
        for stem, complete in zip(stems.tolist(), _complete(folder, stems), strict=True):
            if complete:
                yield _sample(root, folder, split, stem)
            else:
                findings.skip("image or label file is missing", f"{folder.name}/{stem}")


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


def _stems(folder: Path, part: str, end: str) -> np.ndarray:
    """Numbers of the files `<number><end>`, ascending: 8 bytes each."""
    found = (name.removesuffix(end) for name in foreign.names(folder / part, end))
    return np.sort(np.fromiter((int(s) for s in found if _STEM.fullmatch(s)), np.int64))


def _complete(folder: Path, stems: np.ndarray) -> np.ndarray:
    """Which numbers have their image and four label files."""
    ends = [("images", ".jpg"), *(("annotations", f"_{label}.npy") for label in _LABELS)]
    return np.all([np.isin(stems, _stems(folder, *end)) for end in ends], axis=0)


def _check(
    root: Path,
    folder: Path,
    split: str,
    stems: np.ndarray,
    findings: Findings,
    *,
    allow_count: bool,
) -> None:
    """Each image has four label files of a plain type, and its class is 0 to 7."""
    partial, problems = stems[~_complete(folder, stems)], []
    missing = len(partial)
    classes: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    for stem in stems.tolist():
        try:
            array = foreign.array(root, folder / "annotations" / f"{stem}_exp.npy")
            kinds[str(array.dtype)] += 1
            classes[_class_of(array, folder, stem)] += 1
        except (ValueError, OSError) as error:
            problems.append(str(error))
    check_each(findings, f"classes of {split}", problems[:20], f"{split}: {dict(classes)}")
    findings.check(f"type of the labels of {split}", True, f"stored as {dict(kinds)}")
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


def _number(array: np.ndarray, path: Any) -> float:
    """The number in an array of any shape, stored as a number or, as a rule, as a word."""
    try:
        return foreign.number(str(array.reshape(-1)[0]))
    except (ValueError, IndexError):
        raise ValueError(f"{path} holds {str(array)[:60]!r}, no number; restore the file") from None


def _landmarks(array: np.ndarray, path: Path) -> tuple[float, ...]:
    flat = array.reshape(-1)
    if flat.size != 136:
        raise ValueError(f"{path} has {flat.size} numbers, not 136; restore it")
    try:
        numbers = flat.astype(np.float64)
    except (ValueError, TypeError):
        numbers = np.array(np.nan)
    if not (np.abs(numbers) <= foreign.FAR).all():
        raise ValueError(f"{path} holds {str(array)[:60]!r}, no pixels; restore it")
    return tuple(numbers.tolist())


def _class_of(array: np.ndarray, folder: Path, stem: int) -> int:
    path = folder / "annotations" / f"{stem}_exp.npy"
    number = _number(array, path)
    if number not in range(8):
        raise ValueError(f"{path} holds {number:g}, not a class 0 to 7; restore the file")
    return int(number)


def _sample(root: Path, folder: Path, split: str, stem: int) -> Sample:
    labels = {label: folder / "annotations" / f"{stem}_{label}.npy" for label in _LABELS}
    arrays = {label: foreign.array(root, labels[label]) for label in _LABELS}
    valence, arousal = (_number(arrays[label], labels[label]) for label in ("val", "aro"))
    landmarks = _landmarks(arrays["lnd"], labels["lnd"])
    labelled = _SENTINEL not in (valence, arousal)
    if labelled and not max(abs(valence), abs(arousal)) <= 1 + ROUNDING:
        raise ValueError(
            f"{labels['val']} holds {valence:g} and {labels['aro']} {arousal:g}, "
            "neither -2 nor in [-1, 1]; restore the files"
        )
    code = _class_of(arrays["exp"], folder, stem)
    return Sample(
        key=f"affectnet-b_{split}_{stem}",
        original_path=(folder / "images" / f"{stem}.jpg").relative_to(root).as_posix(),
        dataset="affectnet",
        variant="npy2021",
        split=split,
        official_split=folder.name,
        landmarks=landmarks,
        landmarks_source="affectnet",
        expression_raw=code,
        expression=code,
        valence=valence if labelled else None,
        arousal=arousal if labelled else None,
        valence_raw=valence,
        arousal_raw=arousal,
    )
