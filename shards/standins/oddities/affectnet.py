"""Oddities of AffectNet: of the release of 2017 (its mixture of extensions, classes and cut faces
is drawn in any case), then of that of 2021."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shards.standins.oddities.switches import edit, first, nest, register

LISTS, IMAGES = "Manually_Annotated_file_lists", "Manually_Annotated_Images"
NAME_2017 = "affectnet_2017"

_affectnet_2017 = register(NAME_2017)
_affectnet_2017_stops = register(NAME_2017, stops=True)


def _training(root: Path) -> Path:
    return root / LISTS / "training.csv"


def _image(root: Path, number: int) -> Path:
    """The image that a line of the training list names."""
    line = _training(root).read_text().splitlines()[number]
    return root / IMAGES / line.split(",")[0]


@_affectnet_2017
def _null_box(root: Path) -> None:
    """A row has NULL for a box: it is left out and listed."""

    def change(lines: list[str]) -> list[str]:
        path, *_, rest = lines[1].split(",", 5)
        return [lines[0], ",".join([path, *["NULL"] * 4, rest]), *lines[2:]]

    edit(_training(root), change)


@_affectnet_2017
def _empty_image(root: Path) -> None:
    """An image has no bytes: it is left out and listed."""
    _image(root, 2).write_bytes(b"")


@_affectnet_2017
def _cut_image(root: Path) -> None:
    """The second half of an image is missing: it is left out and listed."""
    path = _image(root, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@_affectnet_2017
def _other_case(root: Path) -> None:
    """A file has its extension in other capitals than the list: it is found."""
    path = _image(root, 4)
    path.rename(path.with_suffix(path.suffix.swapcase()))


@_affectnet_2017
def _no_header(root: Path) -> None:
    """The list begins with its first row: nothing is lost."""
    edit(_training(root), lambda lines: lines[1:])


@_affectnet_2017_stops
def _missing_images(root: Path) -> None:
    """A listed image is missing, which is more than one in a thousand: their number is given."""
    _image(root, 5).unlink()


@_affectnet_2017_stops
def _cut_list(root: Path) -> None:
    """The list ends in the middle of a row: the line is named."""
    edit(_training(root), lambda lines: [*lines[:-1], lines[-1][:70]])


_affectnet = register("affectnet")
_affectnet_stops = register("affectnet", stops=True)


@_affectnet
def _float_arrays(root: Path) -> None:
    """Labels are arrays of numbers instead of text: they are the same labels."""
    for path in root.glob("*/annotations/*_val.npy"):
        np.save(path, np.array(float(np.load(path).item())))


@_affectnet
def _nested_train(root: Path) -> None:
    """The archive unpacked into train_set/train_set: it is found."""
    nest(root / "train_set")


@_affectnet
def _valid_set(root: Path) -> None:
    """The validation folder was renamed to valid_set: it is found."""
    (root / "val_set").rename(root / "valid_set")


@_affectnet_stops
def _missing_npy(root: Path) -> None:
    """An image has three of its four files: it is named."""
    first(root, "train_set/annotations/*_aro.npy").unlink()


@_affectnet_stops
def _class_8(root: Path) -> None:
    """Class 8 is not in this release: the file is named."""
    np.save(first(root, "train_set/annotations/*_exp.npy"), np.array("8"))
