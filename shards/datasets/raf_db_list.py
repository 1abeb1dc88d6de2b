"""RAF-DB's list of images and codes, matched with the images that are there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from shards.datasets.annotations import text_lines
from shards.findings import Findings

CODES = {"basic": 7, "compound": 11}  # the last code; the first is 1

_LINE = re.compile(r"(?P<split>train|test)_(?P<number>\d+)\.jpg (?P<code>\d+) *")
_PADDING = {"train": 5, "test": 4}


@dataclass(frozen=True, slots=True)
class Entry:
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


def list_file(folder: Path, findings: Findings) -> Path | None:
    """The list; None, with a failed check that gives the reason, where there is none."""
    official = folder / "EmoLabel" / "list_patition_label.txt"
    renamed = official.with_name("list_partition_label.txt")
    for path in (official, renamed):
        if path.is_file():
            detail = f"{path} is read" + (
                "" if path == official else f"; the release spells it {official.name}"
            )
            findings.check("name of the list", path == official, detail, level="warn")
            return path
    copies = [p for p in _shallow_folders(folder.parent) if (p / "train" / "1").is_dir()]
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


def _shallow_folders(folder: Path) -> list[Path]:
    return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]


def entries_of(
    path: Path, images: Path, subset: str, findings: Findings
) -> tuple[list[Entry], list[str], list[str]]:
    """Usable lines, sentences about bad lines, and sentences about missing images."""
    entries, bad, missing = [], [], []
    names = {entry.name for entry in os.scandir(images)} if images.is_dir() else set()
    last = CODES[subset]
    for number, line in enumerate(text_lines(path), 1):
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
        entries.append(Entry(stem, match["split"], int(match["code"]), image, quality))
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
