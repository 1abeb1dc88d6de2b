"""Oddities of RAF-DB."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from shards.standins.oddities.switches import edit, first, register

_raf_db = register("raf_db")
_raf_db_stops = register("raf_db", stops=True)


def _list(root: Path) -> Path:
    return root / "basic" / "EmoLabel" / "list_patition_label.txt"


@_raf_db
def _final_newline(root: Path) -> None:
    """Someone's editor ended the list with newlines: no line more."""
    edit(_list(root), lambda lines: lines, end="\n\n")


@_raf_db
def _spelled_list(root: Path) -> None:
    """The list was renamed to the right spelling: it is read, with a warning."""
    _list(root).rename(_list(root).with_name("list_partition_label.txt"))


@_raf_db
def _five_digits(root: Path) -> None:
    """Test images are padded to five digits: they are found and marked padding_fixed."""
    for path in root.glob("basic/Image/*/test_*.jpg"):
        path.rename(path.with_name(path.name.replace("test_", "test_0")))


@_raf_db
def _plain_names(root: Path) -> None:
    """Aligned images carry the names of the originals: they are found."""
    for path in root.glob("basic/Image/aligned/*.jpg"):
        path.rename(path.with_name(path.name.replace("_aligned", "")))


@_raf_db
def _no_annotations(root: Path) -> None:
    """Annotation files are missing: box, points and attributes are null."""
    shutil.rmtree(root / "basic" / "Annotation")


@_raf_db
def _unlisted_image(root: Path) -> None:
    """An image is in no line (an augmented copy): it is left out and listed."""
    path = first(root, "basic/Image/aligned/test_*.jpg")
    shutil.copy(path, path.with_name(f"augmented_{path.name}"))


@_raf_db
def _other_size(root: Path) -> None:
    """Aligned images are not 100 x 100: a warning, since re-aligned copies do not compare."""
    for path in root.glob("basic/Image/aligned/*.jpg"):
        with Image.open(path) as image:
            image.resize((112, 112)).save(path)


@_raf_db_stops
def _missing_image(root: Path) -> None:
    """A listed image is missing: it is named."""
    first(root, "basic/Image/aligned/*.jpg").unlink()


@_raf_db_stops
def _detected_faces(root: Path) -> None:
    """The list is shorter than published (what a face detector found): the counts are named."""
    edit(_list(root), lambda lines: lines[:-3], end="")


@_raf_db_stops
def _tabs(root: Path) -> None:
    """A list with tabs is user-made: the line is named."""
    edit(_list(root), lambda lines: (line.replace(" ", "\t") for line in lines), end="")


@_raf_db_stops
def _codes_from_0(root: Path) -> None:
    """Codes 0..6 are user-made: the first line with 0 is named."""
    edit(_list(root), lambda lines: (f"{line[:-1]}{int(line[-1]) - 1}" for line in lines), end="")


@_raf_db_stops
def _line_twice(root: Path) -> None:
    """An image is listed twice: it is named."""
    edit(_list(root), lambda lines: [*lines, lines[0]], end="")


@_raf_db_stops
def _class_folders(root: Path) -> None:
    """Folders train/1..7 are a copy from the web: refused with the reason."""
    shutil.rmtree(root / "basic")
    for code in range(1, 8):
        (root / "DATASET" / "train" / str(code)).mkdir(parents=True)
