"""RAF-DB: one list of images and expression codes, for basic and for compound expressions.

    basic/EmoLabel/list_patition_label.txt                   train_00001.jpg 5   (spelled so)
    basic/Image/aligned/train_00001_aligned.jpg              100 x 100
    basic/Image/original/train_00001.jpg
    basic/Annotation/{manual,auto,boundingbox}/...           in pixels of the original images
    compound/...                                             the same

Names are padded to 5 digits for training and 4 for testing, and the list does not end in a newline.
There are no valence or arousal labels and no 68 landmarks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shards.datasets import foreign
from shards.datasets.preflight import (
    check_counts,
    check_each,
    check_unique,
    require_folder,
    size_of,
    strictness,
)
from shards.findings import Findings
from shards.sample import Sample

BASIC = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # 1..7
CANONICAL = {1: 3, 2: 4, 3: 5, 4: 1, 5: 2, 6: 6, 7: 0}
ALIGNED_SIZE = (100, 100)

_TRAIN = (1290, 281, 717, 4772, 1982, 705, 2524)
_TEST = (329, 74, 160, 1185, 478, 162, 680)
PUBLISHED = {
    "basic": {
        "basic train": sum(_TRAIN),
        "basic test": sum(_TEST),
        **{f"basic train {name}": n for name, n in zip(BASIC, _TRAIN, strict=True)},
        **{f"basic test {name}": n for name, n in zip(BASIC, _TEST, strict=True)},
    },
    "compound": {"compound train": 3162, "compound test": 792},
}


CODES = {"basic": 7, "compound": 11}  # the last code; the first is 1
_LINE = re.compile(r"(?P<split>train|test)_(?P<number>[0-9]{1,9})\.jpg (?P<code>[0-9]{1,2}) *")
_IMAGES = (".jpg", ".jpeg", ".png")
_PADDING = {"train": 5, "test": 4}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the list, and its image."""

    stem: str
    split: str
    code: int
    image: str  # file name
    quality: tuple[str, ...]

    @property
    def name(self) -> str:
        """The stem as the release pads it."""
        number = int(self.stem.rpartition("_")[2])
        return f"{self.split}_{number:0{_PADDING[self.split]}d}"


def read(
    root: Path,
    findings: Findings,
    *,
    allow_count: bool = False,
    subset: str = "basic",
    images: str = "aligned",
    attributes: bool = False,
) -> Iterator[Sample]:
    """Every listed image, in the order of the list.

    `subset` is "basic" or "compound", `images` "aligned" or "original" (with box and points in its
    pixels), `attributes` adds the gender, race and age codes, which are sensitive. `allow_count`
    goes on with a partial copy. Nothing is yielded after a failed check.

    Raises FileNotFoundError when `root` is no folder, ValueError for another subset or images.
    """
    require_folder(root, "RAF-DB")
    for option, choices in ((subset, ("basic", "compound")), (images, ("aligned", "original"))):
        if option not in choices:
            raise ValueError(f"RAF-DB has no {option!r}; choose one of {choices}")
    folder = _subset_folder(root, subset)
    entries = preflight(root, findings, allow_count=allow_count, subset=subset, images=images)
    if findings.failed:
        return
    for entry in entries:
        yield _sample(root, folder, entry, subset, images, attributes)


def preflight(
    root: Path,
    findings: Findings,
    *,
    allow_count: bool = False,
    subset: str = "basic",
    images: str = "aligned",
) -> list[_Entry]:
    """Check the list against the images, record every check, and return the usable lines."""
    folder = _subset_folder(root, subset)
    path = _list_file(folder, findings)
    if path is None:
        return []
    shown = folder / "Image" / images
    entries, bad_lines, missing = _entries_of(root, path, shown, subset, findings)
    level = strictness(allow_count)
    check_each(findings, "list", bad_lines, f"{path} has {len(entries)} lines")
    check_each(findings, "images", missing, "every listed image is there", level=level)
    check_unique(findings, "names are unique", (entry.name for entry in entries), path)
    found = _counts(entries, subset)
    check_counts(findings, root, "raf_db", PUBLISHED[subset], found, allow_count=allow_count)
    _check_unlisted(shown, entries, findings)
    if images == "aligned":
        _check_size(root, shown, entries, findings)
    return entries


def _subset_folder(root: Path, subset: str) -> Path:
    """`root/basic`, or `root` itself where the user passes that folder."""
    return root if (root / "EmoLabel").is_dir() and root.name == subset else root / subset


def _list_file(folder: Path, findings: Findings) -> Path | None:
    """The list; None, with a failed check that gives the reason, where there is none."""
    official = folder / "EmoLabel" / "list_patition_label.txt"
    renamed = official.with_name("list_partition_label.txt")
    for path in (official, renamed):
        if path.exists():
            detail = f"{path} is read" + (
                "" if path == official else f"; the release spells it {official.name}"
            )
            findings.check("name of the list", path == official, detail, level="warn")
            return path
    around = [folder.parent, *foreign.folders(folder.parent)]
    copies = [path for path in around if (path / "train" / "1").is_dir()]
    reason = (
        f"{copies[0]} has class folders train/1..7: this is a copy from the web without the list "
        "and the annotations, and some such copies hold augmented test images in their training "
        "part; get RAF-DB from its owners"
        if copies
        else f"{official} is missing; unpack RAF-DB so that it exists, and the inner archives "
        "original.zip and aligned.zip into Image/"
    )
    findings.check("the release and no web copy", False, reason)
    return None


def _entries_of(
    root: Path, path: Path, images: Path, subset: str, findings: Findings
) -> tuple[list[_Entry], list[str], list[str]]:
    """Usable lines, sentences about bad lines, and sentences about missing images."""
    entries, bad, missing = [], [], []
    names = set(foreign.names(images))
    last = CODES[subset]
    for number, line in enumerate(foreign.lines(root, path), 1):
        match = _LINE.fullmatch(line)
        if not match or not 1 <= int(match["code"]) <= last:
            bad.append(
                f"{path}: line {number} reads {line[:60]!r} where '<name>.jpg <code>' with a code "
                f"1..{last} belongs (tabs and more columns are user-made); restore the list"
            )
            continue
        stem = f"{match['split']}_{match['number']}"
        image, quality = _image_name(names, match["split"], match["number"])
        if image is None:
            missing.append(f"{images / stem} of line {number} is missing; restore it")
            findings.skip("listed image is missing", stem)
            continue
        entries.append(_Entry(stem, match["split"], int(match["code"]), image, quality))
    if not entries and not bad and not missing:
        bad.append(f"{path} holds no line; restore the list")
    return entries, bad, missing


def _image_name(names: set[str], split: str, number: str) -> tuple[str | None, tuple[str, ...]]:
    """The file of a listed image: as listed, or padded as the release does or as others do."""
    for width in (len(number), _PADDING[split], 5, 4):
        stem = f"{split}_{int(number):0{width}d}"
        quality = () if len(stem) == len(f"{split}_{number}") else ("padding_fixed",)
        for name in (f"{stem}_aligned.jpg", f"{stem}.jpg"):
            if name in names:
                return name, quality
    return None, ()


def _counts(entries: list[_Entry], subset: str) -> dict[str, int]:
    counts = Counter(f"{subset} {entry.split}" for entry in entries)
    if subset == "basic":
        counts.update(f"basic {entry.split} {BASIC[entry.code - 1]}" for entry in entries)
    return dict(counts)


def _check_unlisted(images: Path, entries: list[_Entry], findings: Findings) -> None:
    """Images nobody lists have no label; a shared copy may have grown augmented ones."""
    listed = {entry.image for entry in entries}
    shown = (name for name in foreign.names(images) if name.lower().endswith(_IMAGES))
    extra = [name for name in shown if name not in listed]
    for name in extra:
        findings.skip("image without a line in the list", name)
    findings.check(
        "every image is listed",
        not extra,
        f"{len(extra)} images of {images} are in no line of the list and are left out",
        level="warn",
    )


def _check_size(root: Path, images: Path, entries: list[_Entry], findings: Findings) -> None:
    """A sample of the headers: aligned faces of another size were aligned by someone else."""
    odd, looked_at = [], entries[:: max(1, len(entries) // 50)]
    for entry in looked_at:
        size = size_of(root, images / entry.image)
        if size not in (None, ALIGNED_SIZE):
            odd.append(f"{entry.image} {size}")
    findings.check(
        "aligned images are 100 x 100",
        not odd,
        f"{len(odd)} of {len(looked_at)} looked at have another size ({', '.join(odd[:3])}); "
        "re-aligned copies are not comparable",
        level="warn",
    )


def _sample(
    root: Path, folder: Path, entry: _Entry, subset: str, images: str, attributes: bool
) -> Sample:
    """Box and points are in pixels of the original image, and are left out for the aligned one."""
    told = partial(_numbers, root, folder / "Annotation", entry.stem)
    manual = told("manual", "manu_attri", 13)
    points, codes = (manual[:10], manual[10:]) if manual else (None, None)
    place: dict[str, Any] = {}
    if images == "original":
        auto, box = told("auto", "auto_attri", 74), told("boundingbox", "boundingbox", 4)
        usable = box is not None and box[0] < box[2] and box[1] < box[3]
        place = {
            "bbox_xyxy": box if usable else None,
            "bbox_source": "official" if usable else None,
            "landmarks5": points,
            "landmarks37": auto,
            "landmarks_source": "official" if points or auto else None,
        }
    if attributes and codes:
        place |= dict(zip(("gender", "race", "age_group"), map(int, codes), strict=True))
    basic = subset == "basic"
    return Sample(
        key=f"raf_db_{subset}_{entry.name}",
        original_path=(folder / "Image" / images / entry.image).relative_to(root).as_posix(),
        dataset="raf_db",
        variant=subset,
        split=entry.split,
        official_split=entry.split,
        frame_name=entry.image,
        expression_raw=entry.code,
        expression=CANONICAL[entry.code] if basic else None,
        expression_compound=None if basic else entry.code,
        quality=entry.quality,
        **place,
    )


def _numbers(
    root: Path, folder: Path, stem: str, kind: str, suffix: str, count: int
) -> tuple[float, ...] | None:
    """`count` numbers; None where the file is missing or holds anything else."""
    try:
        text = " ".join(foreign.lines(root, folder / kind / f"{stem}_{suffix}.txt"))
        found = foreign.numbers(text)
    except (FileNotFoundError, ValueError):
        return None
    return found if len(found) == count else None
