"""Which tables a folder holds: the one named, those that need no name, or folders of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from shards.datasets import foreign
from shards.datasets.table.columns import SPLIT_NAMES
from shards.datasets.table.frames import WHOLE
from shards.datasets.table.rows import (
    FORMATS,
    Block,
    Rows,
    blocks_of,
    columns_of,
    in_blocks,
)
from shards.datasets.table.splits import is_film

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_TABLES = ("metadata", "labels", "annotations")  # a table that need not be named


class Source(NamedTuple):
    """Rows that share their columns, and where their paths begin."""

    path: Path  # of the table, or of the folder of classes
    columns: list[str]
    blocks: Callable[[], Iterator[Block]]
    split: str | None  # of the folder it lies in


def sources(root: Path, labels: str, encoding: str) -> list[Source]:
    """The named table, or what lies in `root` and in the folders of its splits."""
    if labels:
        path = root / labels
        if path.suffix.lower() not in FORMATS:
            raise ValueError(f"labels={labels}: a table ends in {', '.join(FORMATS)}")
        if not path.exists():
            raise ValueError(f"labels={labels}: there is no {path}; it is looked for below --raw")
        return [_table_source(root, path, None, encoding)]
    inner = ((path, SPLIT_NAMES.get(path.name.casefold())) for path in foreign.folders(root))
    places = [(root, None), *((path, split) for path, split in inner if split)]
    found = [
        _table_source(root, folder / name, split, encoding)
        for folder, split in places
        for name in foreign.names(folder)
        if (folder / name).suffix.lower() in FORMATS
        and (folder / name).stem.casefold() in (*_TABLES, *([] if split else SPLIT_NAMES))
    ]
    found = found or [
        _class_source(root, folder, split)
        for folder, split in places
        if _without_table(root, _class_folders(folder))
    ]
    if not found:
        raise ValueError(
            f"{root} holds no metadata.csv, labels.csv or the like and no folders of images by "
            "class; name the table with --option labels=FILE"
        )
    return found


def _table_source(root: Path, path: Path, split: str | None, encoding: str) -> Source:
    own = SPLIT_NAMES.get(path.stem.casefold())  # train.csv beside test.csv
    columns = columns_of(root, path, encoding)
    return Source(path, columns, lambda: blocks_of(root, path, encoding), split or own)


def _class_folders(folder: Path) -> list[Path]:
    inner = (path for path in foreign.folders(folder) if path.name.casefold() not in SPLIT_NAMES)
    return [path for path in inner if any(map(_is_shown, _inside(path)))]


def _without_table(root: Path, classes: list[Path]) -> list[Path]:
    """The folders; raises ValueError where one holds a table, which says what a class cannot."""
    for path in (folder / name for folder in classes for name in foreign.names(folder)):
        if path.suffix.lower() in FORMATS and path.stem.casefold() in (*_TABLES, *SPLIT_NAMES):
            raise ValueError(
                f"{path} lies among pictures that would be a class by their folder; name it with "
                f"--option labels={path.relative_to(root)}, or take it out of the folder"
            )
    return classes


def _is_shown(path: Path) -> bool:
    return path.name.lower().endswith(PICTURES) or is_film(path.name)


def _class_source(root: Path, folder: Path, split: str | None) -> Source:
    def rows() -> Rows:
        number = 0
        for path in _class_folders(folder):
            for found in _inside(path):
                number += 1
                yield number, _class_row(path, found)

    columns = dict.fromkeys(name for _, row in rows() for name in row)
    return Source(folder, list(columns), lambda: in_blocks(rows()), split)


def _class_row(folder: Path, found: Path) -> dict[str, str]:
    """A picture, of a folder below the class one of its clip; or a whole film. What is neither is
    left out, and counted, by whoever reads it."""
    inside = found.relative_to(folder)
    row = {"path": f"{folder.name}/{inside.as_posix()}", "expression": folder.name}
    if is_film(found.name):
        return row | {"start": "0", "end": str(WHOLE)}
    if inside.parent == Path():
        return row
    return row | {"video": f"{folder.name}/{inside.parent.as_posix()}"}


def _inside(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those below it, but for links to folders, which may go round."""
    for name in foreign.names(folder):
        path = folder / name
        if not path.is_dir():
            yield path
        elif not path.is_symlink():
            yield from _inside(path)
