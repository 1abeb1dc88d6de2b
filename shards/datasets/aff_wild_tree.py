"""Where the parts of one copy of Aff-Wild lie, and how its `.pts` files are numbered."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shards.datasets.preflight import unpacked
from shards.datasets.video import videos_by_id
from shards.findings import Findings

TOLERANCE = 2  # frames by which labels, points and video may differ in length


@dataclass(frozen=True, slots=True)
class Tree:
    """Where the parts of one copy lie: archives unpack to different depths."""

    valence: Path
    arousal: Path
    boxes: Path
    landmarks: Path
    train: dict[str, Path]  # videos by id
    test: dict[str, Path]


def find_tree(root: Path) -> Tree:
    boxes = unpacked(root, "bboxes", "train")
    return Tree(
        valence=unpacked(root, "annotations", "train") / "valence",
        arousal=unpacked(root, "annotations", "train") / "arousal",
        boxes=boxes if boxes.is_dir() else unpacked(root, "bboxs", "train"),
        landmarks=unpacked(root, "landmarks", "train"),
        train=videos_by_id(unpacked(root, "videos", "train")),
        test=videos_by_id(unpacked(root, "videos", "test")),
    )


def number_of_first(tree: Tree, findings: Findings, override: int | None) -> int:
    """Number of the first frame in `.pts` names, for the whole data set."""
    zero = next(
        (
            folder / "0.pts"
            for kind in (tree.boxes, tree.landmarks)
            for folder in (sorted(kind.iterdir()) if kind.is_dir() else ())
            if (folder / "0.pts").exists()
        ),
        None,
    )
    found = 1 if zero is None else 0
    reason = "no 0.pts anywhere" if zero is None else f"{zero} exists"
    base = found if override is None else override
    findings.check(
        "number of the first .pts",
        base == found,
        f"boxes and landmarks are numbered from {found} ({reason})"
        + ("" if base == found else f", and --option pts_base={base} overrides it"),
        level="warn",
    )
    return base


def check_numbers(tree: Tree, name: str, base: int, frames: int) -> None:
    """Every `.pts` must belong to a frame; raises ValueError naming the file that does not."""
    for kind in (tree.boxes, tree.landmarks):
        if not (kind / name).is_dir():
            continue
        stems = (
            entry.name[:-4] for entry in os.scandir(kind / name) if entry.name.endswith(".pts")
        )
        numbers = [int(stem) for stem in stems if stem.isdigit()]
        for number in (min(numbers), max(numbers)) if numbers else ():
            if not base <= number < base + frames + TOLERANCE:
                raise ValueError(
                    f"{kind / name / str(number)}.pts belongs to no frame: {name} has {frames} "
                    f"frames numbered from {base}; pass --option pts_base=N if it differs"
                )
