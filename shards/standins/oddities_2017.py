"""What is odd about copies of AffectNet 2017, as switches; the mixture of extensions, classes and
cut faces of the true release is drawn in any case."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from shards.standins.oddities import register

LISTS, IMAGES = "Manually_Annotated_file_lists", "Manually_Annotated_Images"
NAME = "affectnet_2017"

_affectnet = register(NAME)
_affectnet_stops = register(NAME, stops=True)


def _edit(root: Path, change: Callable[[list[str]], Iterable[str]]) -> None:
    """Replace the lines of the training list."""
    path = root / LISTS / "training.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def _image(root: Path, number: int) -> Path:
    """The image that a line of the training list names."""
    line = (root / LISTS / "training.csv").read_text().splitlines()[number]
    return root / IMAGES / line.split(",")[0]


@_affectnet
def _null_box(root: Path) -> None:
    """A row has NULL for a box: it is left out and listed."""

    def change(lines: list[str]) -> list[str]:
        path, *_, rest = lines[1].split(",", 5)
        return [lines[0], ",".join([path, *["NULL"] * 4, rest]), *lines[2:]]

    _edit(root, change)


@_affectnet
def _empty_image(root: Path) -> None:
    """An image has no bytes: it is left out and listed."""
    _image(root, 2).write_bytes(b"")


@_affectnet
def _cut_image(root: Path) -> None:
    """The second half of an image is missing: it is left out and listed."""
    path = _image(root, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@_affectnet
def _other_case(root: Path) -> None:
    """A file has its extension in other capitals than the list: it is found."""
    path = _image(root, 4)
    path.rename(path.with_suffix(path.suffix.swapcase()))


@_affectnet
def _no_header(root: Path) -> None:
    """The list begins with its first row: nothing is lost."""
    _edit(root, lambda lines: lines[1:])


@_affectnet_stops
def _missing_images(root: Path) -> None:
    """A listed image is missing, which is more than one in a thousand: their number is given."""
    _image(root, 5).unlink()


@_affectnet_stops
def _cut_list(root: Path) -> None:
    """The list ends in the middle of a row: the line is named."""
    _edit(root, lambda lines: [*lines[:-1], lines[-1][:70]])
