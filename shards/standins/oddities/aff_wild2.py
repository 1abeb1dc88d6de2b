"""Oddities of Aff-Wild2."""

from __future__ import annotations

import shutil
from pathlib import Path

from shards.standins.oddities.switches import edit, first, register

_aff_wild2 = register("affwild2")
_aff_wild2_stops = register("affwild2", stops=True)


def _table(root: Path, task: str = "VA") -> Path:
    """The first training label file of a task."""
    return first(root, f"*/{task}_*/Train*/*.txt")


def _crops(root: Path) -> Path:
    return first(root, "cropped_aligned/*")


@_aff_wild2
def _rows_one_more(root: Path) -> None:
    """Rows are frames + 1, as in most files: the row beyond the last image is listed."""
    edit(_table(root), lambda lines: [*lines, "0.5,0.5"])


@_aff_wild2
def _half_null(root: Path) -> None:
    """Only valence is -5: both are null and both raw values kept."""
    edit(_table(root), lambda lines: [lines[0], "-5,0.5", *lines[2:]])


@_aff_wild2
def _spaced_header(root: Path) -> None:
    """The header has capitals and spaces: it is the same header."""
    edit(_table(root), lambda lines: ["Valence, Arousal ", *lines[1:]], end="")


@_aff_wild2
def _stray_files(root: Path) -> None:
    """.DS_Store and Thumbs.db are passed over; a file that is no frame is listed."""
    for name in (".DS_Store", "Thumbs.db", "preview.gif"):
        (_crops(root) / name).write_bytes(b"stray")


@_aff_wild2
def _zero_frame(root: Path) -> None:
    """A crop numbered 0 belongs to no row: it is listed, not paired with the last row."""
    shutil.copy(first(_crops(root), "*.jpg"), _crops(root) / "00000.jpg")


@_aff_wild2
def _crop_beyond(root: Path) -> None:
    """A crop beyond the last row is listed."""
    shutil.copy(first(_crops(root), "*.jpg"), _crops(root) / "99999.jpg")


@_aff_wild2
def _missing_crops(root: Path) -> None:
    """A label file has no folder of crops: it is listed and the others are read."""
    shutil.rmtree(_crops(root))


@_aff_wild2
def _other_split_by_task(root: Path) -> None:
    """A VA training video is a validation video of EXPR: both are recorded."""
    path = _table(root, "EXPR")
    path.rename(path.parent.parent / "Validation_Set" / path.name)


@_aff_wild2
def _other_units(root: Path) -> None:
    """The eight action units of the first challenge: left null, with a warning."""
    for path in root.glob("*/AU_*/*/*.txt"):
        edit(path, lambda lines: ["AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25", *lines[1:]])


@_aff_wild2
def _mtl(root: Path) -> None:
    """EXPR and AU come as one MTL file a split: rows are found by person and frame."""
    (annotations,) = root.glob("*ABAW*")
    for part, name in (("Train_Set", "train_set"), ("Validation_Set", "validation_set")):
        lines = ["image,valence,arousal,expression,aus"]
        for path in sorted(annotations.glob(f"VA_*/{part}/*.txt")):
            rows = path.read_text().splitlines()[1:]
            units = ",".join(["-1"] * 12)
            lines += [f"{path.stem}/{n:05d}.jpg,{row},4,{units}" for n, row in enumerate(rows, 1)]
        target = annotations / "MTL_Challenge" / part / f"{name}.txt"
        target.parent.mkdir(parents=True)
        target.write_text("\n".join(lines) + "\n")
    for task in ("EXPR_Classification_Challenge", "AU_Detection_Challenge"):
        shutil.rmtree(annotations / task)


@_aff_wild2
def _nested_crops(root: Path) -> None:
    """Archives unpacked into cropped_aligned/cropped_aligned and .../cropped_aligned_new_50_vids:
    both are found."""
    folder = root / "cropped_aligned"
    persons = sorted(folder.iterdir())
    for inner, some in (
        ("cropped_aligned", persons[1:]),
        ("cropped_aligned_new_50_vids", persons[:1]),
    ):
        (folder / inner).mkdir()
        for person in some:
            person.rename(folder / inner / person.name)


@_aff_wild2_stops
def _no_header(root: Path) -> None:
    """A file without its header would shift every label: it is named."""
    edit(_table(root), lambda lines: lines[1:])


@_aff_wild2_stops
def _va_out_of_range(root: Path) -> None:
    """A label of -2: file and line are named."""
    edit(_table(root), lambda lines: [lines[0], "-2,0.1", *lines[2:]])


@_aff_wild2_stops
def _cut_row(root: Path) -> None:
    """The last row is cut in the middle: file and line are named."""
    edit(_table(root), lambda lines: [*lines[:-1], "0.12"])


@_aff_wild2_stops
def _unknown_code(root: Path) -> None:
    """Expression 8 does not exist: file and line are named."""
    edit(_table(root, "EXPR"), lambda lines: [lines[0], "8", *lines[2:]])


@_aff_wild2_stops
def _both_splits(root: Path) -> None:
    """The second person of a training video is in validation: the video is named."""
    right = first(root, "*/VA_*/Train_Set/*_right.txt")
    right.rename(right.parent.parent / "Validation_Set" / right.name)


@_aff_wild2_stops
def _two_releases(root: Path) -> None:
    """Annotations of two years lie side by side: both folders are named."""
    shutil.copytree(root / "5th_ABAW_Annotations", root / "6th ABAW Annotations")


@_aff_wild2_stops
def _person_twice(root: Path) -> None:
    """A person's crops lie in two folders: both are named."""
    shutil.copytree(_crops(root), root / "cropped_aligned_new_50_vids" / _crops(root).name)
