"""AffectNet as its owners ship it: the release of 2017 (CSV lists) or of 2021 (`.npy` labels).

Which of the two lies below a root is found out; web copies are refused with the reason. The two
cannot be matched with each other: no list from hash names to numbers was ever published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from shards.datasets import foreign
from shards.datasets.affectnet import release_2017, release_2021
from shards.datasets.preflight import require_folder
from shards.findings import Findings
from shards.labels.rows import InRows

_DEPTH = 5  # folders below the root; the deepest known list lies three down
_NUMBERED = re.compile("[0-9]+")
_CLASS_FOLDER = re.compile(
    r"anger|angry|contempt|disgust|fear|happy|happiness|neutral|sad|sadness|surprise|[0-8]", re.I
)


class Tree(NamedTuple):
    """What lies below a root, without the image folders themselves."""

    lists: dict[str, list[Path]]  # lower-case name of a 2017 list -> where it was found
    roots_2017: list[Path]  # folders with numbered folders of images
    sets_2021: list[Path]  # folders with `images` and `annotations`
    class_folders: list[Path]  # folders named after an expression: a web copy


@InRows
def read(
    root: Path,
    findings: Findings,
    *,
    allow_count: bool = False,
    automatic: bool = False,
    emonet: str | Sequence[Path] = (),
) -> Iterator[pa.RecordBatch]:
    """Every listed face whose file is there, in the order of the lists.

    Classes 8 to 10 are kept: 8 (None) has valence and arousal, 9 and 10 have neither, and none of
    them has a canonical expression. `automatic` adds the automatically annotated list (release of
    2017); `emonet` names EmoNet's pickles of its cleaned subset and fills `emonet_clean`;
    `allow_count` goes on with a partial copy. Nothing is yielded after a failed check.

    Raises FileNotFoundError when `root` is no folder.
    """
    require_folder(root, "AffectNet")
    tree = survey(root)
    kind = _kind(root, tree, findings)
    if kind == "2017":
        emonet_files = (Path(emonet),) if isinstance(emonet, str) else tuple(emonet)
        options = release_2017.Options(allow_count, automatic, emonet_files)
        yield from release_2017.read(root, tree.lists, tree.roots_2017, findings, options)
    elif kind == "2021":
        yield from release_2021.read(root, tree.sets_2021, findings, allow_count=allow_count)


def survey(root: Path) -> Tree:
    """Walk the folders but not the images: those lie in numbered folders and in `images`."""
    tree = Tree({}, [], [], [])
    _walk(root, _DEPTH, tree)
    return tree


def _walk(folder: Path, depth: int, tree: Tree) -> None:
    folders = [path.name for path in foreign.folders(folder)]
    for name in foreign.names(folder, ".csv"):
        if name.lower() in release_2017.LISTS and name not in folders:
            tree.lists.setdefault(name.lower(), []).append(folder / name)
    if {"images", "annotations"} <= set(folders):
        tree.sets_2021.append(folder)
        return
    classes = [name for name in folders if _CLASS_FOLDER.fullmatch(name)]
    if any(map(_NUMBERED.fullmatch, folders)):
        tree.roots_2017.append(folder)
    if len(classes) >= 6:
        tree.class_folders.append(folder)
    for name in folders:
        if depth and not _NUMBERED.fullmatch(name):
            _walk(folder / name, depth - 1, tree)


def _kind(root: Path, tree: Tree, findings: Findings) -> str | None:
    """2017 or 2021; None, with a failed check, where it is neither or cannot be told."""
    if tree.lists and tree.sets_2021:
        problem = (
            f"{root} holds both the release of 2017 ({', '.join(tree.lists)}) and that of 2021 "
            f"({tree.sets_2021[0]}); pass the folder of one of them with --raw"
        )
    elif tree.lists or tree.sets_2021:
        problem = None
    elif tree.class_folders:
        problem = (
            f"{tree.class_folders[0]} has one folder per expression, which is a web copy and not "
            "the licensed release: it has no valence, arousal or boxes and its classes are often "
            "renumbered; ask the owners for the release (docs/datasets.md)"
        )
    else:
        problem = (
            f"{root} holds neither training.csv or validation.csv (release of 2017) nor "
            "train_set/annotations/*_exp.npy (2021); AffectNet+ and web copies are not supported, "
            "so unpack the release there or name its folder with --raw"
        )
    kind = "2017" if tree.lists else "2021"
    fine = f"{root} is the release of {kind}"
    findings.check("which AffectNet", problem is None, problem or fine)
    return None if problem else kind
