"""Aff-Wild2's folders of face crops: one a person, one JPEG a frame in which a face was found."""

from __future__ import annotations

import re
from pathlib import Path

from shards.datasets import foreign
from shards.datasets.preflight import check_each
from shards.findings import Findings

_FRAME = re.compile(r"([0-9]{1,9})\.jpe?g", re.IGNORECASE)


def person_folders(root: Path, images: str, findings: Findings) -> dict[str, Path]:
    """The folder of each person below `cropped_aligned` (or `cropped`), however it was unpacked.

    The archives nest (`cropped_aligned/cropped_aligned_new_50_vids`), and several may lie side by
    side; a person found twice fails a check, since nothing tells which images belong to the labels.
    """
    parents = {
        parent for top in (root, *_matching(root, images)) for parent in _matching(top, images)
    }
    findings.check(
        "image folders",
        bool(parents),
        f"{root} has {len(parents)} folder(s) of images named {images}"
        + ("" if parents else "; unpack them there"),
    )
    folders: dict[str, Path] = {}
    twice = []
    for parent in sorted(parents):
        for path in foreign.folders(parent):
            if path.name.casefold().startswith("cropped"):
                continue
            if path.name in folders:
                twice.append(f"{folders[path.name]} and {path} hold one person; keep one of them")
            folders[path.name] = path
    check_each(findings, "persons are unique", twice, f"{len(folders)} persons have images")
    return folders


def _matching(folder: Path, images: str) -> list[Path]:
    def fits(name: str) -> bool:
        aligned = name.startswith("cropped_aligned")
        return aligned if images == "cropped_aligned" else name.startswith(images) and not aligned

    return [path for path in foreign.folders(folder) if fits(path.name.casefold())]


def frames_of(folder: Path) -> tuple[dict[int, str], list[str]]:
    """Image names by frame number (from 1), in order; and the names that are no frame."""
    frames: dict[int, str] = {}
    others = []
    for name in foreign.names(folder):
        match = _FRAME.fullmatch(name)
        number = int(match[1]) if match else 0
        if number >= 1 and number not in frames:
            frames[number] = name
        else:
            others.append(name)
    return dict(sorted(frames.items())), others
