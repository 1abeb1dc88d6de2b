"""Oddities of Aff-Wild."""

from __future__ import annotations

import shutil
from pathlib import Path

from shards.standins.oddities.switches import edit, first, nest, register

_aff_wild = register("affwild")
_aff_wild_stops = register("affwild", stops=True)


def _axes(root: Path) -> list[Path]:
    """Both label files of the first video."""
    name = first(root, "annotations/train/valence/*.txt").name
    return [root / "annotations" / "train" / axis / name for axis in ("valence", "arousal")]


def _points(root: Path, number: int) -> list[Path]:
    """Box and landmarks of one frame of the first video."""
    name = _axes(root)[0].stem
    return [root / kind / "train" / name / f"{number}.pts" for kind in ("bboxes", "landmarks")]


@_aff_wild
def _missing_pts(root: Path) -> None:
    """No face was found in a frame: it is kept without box and landmarks."""
    for path in _points(root, 3):
        path.unlink()


@_aff_wild
def _cut_pts(root: Path) -> None:
    """A box file is cut: the frame is kept without box and marked bbox_unreadable."""
    path = _points(root, 4)[0]
    path.write_text(path.read_text()[:30])


@_aff_wild
def _two_spaces(root: Path) -> None:
    """Points with two spaces between x and y are read."""
    for path in _points(root, 5):
        path.write_text(path.read_text().replace(" ", "  "))


@_aff_wild
def _zero_based(root: Path) -> None:
    """Points are numbered from 0 in all videos; the first frame of the first has none."""
    for folder in (*root.glob("bboxes/train/*"), *root.glob("landmarks/train/*")):
        for path in sorted(folder.glob("*.pts"), key=lambda path: int(path.stem)):
            path.rename(path.with_name(f"{int(path.stem) - 1}.pts"))
    for path in _points(root, 0):
        path.unlink()


@_aff_wild
def _one_label_more(root: Path) -> None:
    """Labels outlast the video by one frame: the last label is left out and listed."""
    for path in _axes(root):
        edit(path, lambda lines: [*lines, lines[-1]])


@_aff_wild
def _one_label_less(root: Path) -> None:
    """The video outlasts its labels by one frame: the last frame is left out and listed."""
    for path in _axes(root):
        edit(path, lambda lines: lines[:-1])


@_aff_wild
def _no_final_newline(root: Path) -> None:
    """A label file ends without a newline: nothing is lost."""
    for path in _axes(root):
        edit(path, lambda lines: lines, end="")


@_aff_wild
def _unannotated_video(root: Path) -> None:
    """A training video has no labels: it is skipped and listed (the other videos are kept)."""
    video = first(root, "videos/train/*")
    shutil.copy(video, video.with_stem("449"))


@_aff_wild
def _bboxs(root: Path) -> None:
    """The folder of boxes is spelled bboxs: it is found."""
    (root / "bboxes").rename(root / "bboxs")


@_aff_wild
def _nested(root: Path) -> None:
    """Inner archives made a second folder `train`: it is found."""
    for kind in ("videos", "landmarks"):
        nest(root / kind / "train")


@_aff_wild_stops
def _many_labels_more(root: Path) -> None:
    """Labels outlast the video by five frames: the video is named, since labels have shifted."""
    for path in _axes(root):
        edit(path, lambda lines: lines + lines[:5])


@_aff_wild_stops
def _unequal_axes(root: Path) -> None:
    """Valence and arousal differ in length: the video is named."""
    edit(_axes(root)[1], lambda lines: lines[:-1])


@_aff_wild_stops
def _out_of_range(root: Path) -> None:
    """A label of 1.5: file and line are named, nothing is clipped."""
    edit(_axes(root)[0], lambda lines: [lines[0], "1.5", *lines[2:]])


@_aff_wild_stops
def _not_a_number(root: Path) -> None:
    """A header line, or any text: file and line are named."""
    edit(_axes(root)[0], lambda lines: ["valence", *lines])


@_aff_wild_stops
def _missing_video(root: Path) -> None:
    """A video is missing: it is named."""
    first(root, "videos/train/*").unlink()


@_aff_wild_stops
def _cut_video(root: Path) -> None:
    """A video ends early: it is named with both lengths."""
    path = first(root, "videos/train/*.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@_aff_wild_stops
def _unreadable_video(root: Path) -> None:
    """A video cannot be opened: it is named."""
    first(root, "videos/train/*").write_bytes(b"no video")


@_aff_wild_stops
def _points_beyond(root: Path) -> None:
    """A box belongs to no frame: the numbering is another, and the file is named."""
    path = _points(root, 1)[0]
    shutil.copy(path, path.with_name("9999.pts"))


@_aff_wild_stops
def _train_in_test(root: Path) -> None:
    """One id lies in train and in test: it is named."""
    video = first(root, "videos/train/*")
    shutil.copy(video, root / "videos" / "test" / video.name)
