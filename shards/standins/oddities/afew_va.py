"""Oddities of AFEW-VA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from shards.standins.oddities.switches import first, register

_afew_va = register("afew_va")
_afew_va_stops = register("afew_va", stops=True)


def _clip_json(root: Path) -> Path:
    return first(root, "001/001.json")


def _edit_clip(root: Path, change: Callable[[dict], object]) -> None:
    path = _clip_json(root)
    clip = json.loads(path.read_text())
    change(clip)
    path.write_text(json.dumps(clip))


@_afew_va
def _float_labels(root: Path) -> None:
    """Labels are written as 3.0 beside a key `emotion`: they are the same labels."""

    def change(clip: dict) -> None:
        for frame in clip["frames"].values():
            frame |= {"valence": float(frame["valence"]), "emotion": "none"}

    _edit_clip(root, change)


@_afew_va
def _spelled_actor(root: Path) -> None:
    """The actor has other capitals and spaces around: it is the same group."""
    _edit_clip(root, lambda clip: clip.update(actor=f"  {clip['actor'].upper()} "))


@_afew_va
def _no_actor(root: Path) -> None:
    """No actor is named: the clip is a group of its own, with a warning."""
    _edit_clip(root, lambda clip: clip.update(actor=" "))


@_afew_va
def _other_video_id(root: Path) -> None:
    """video_id is not the folder: the folder counts, with a warning."""
    _edit_clip(root, lambda clip: clip.update(video_id="777"))


@_afew_va
def _late_start(root: Path) -> None:
    """Frames begin at 7: numbers are kept as they are."""

    def change(clip: dict) -> None:
        frames = clip["frames"]
        for key in sorted(frames, reverse=True):
            frames[f"{int(key) + 7:05d}"] = frames.pop(key)
            path = root / "001" / f"{key}.png"
            path.rename(path.with_stem(f"{int(key) + 7:05d}"))

    _edit_clip(root, change)


@_afew_va
def _archive_folders(root: Path) -> None:
    """Clips lie in the folders of their archives (01..12): they are found."""
    for clip in sorted(root.glob("[0-9][0-9][0-9]")):
        archive = root / f"{1 + (int(clip.name) - 1) // 50:02d}"
        archive.mkdir(exist_ok=True)
        clip.rename(archive / clip.name)


@_afew_va_stops
def _missing_png(root: Path) -> None:
    """A labelled frame has no image: the clip is named."""
    (root / "001" / "00001.png").unlink()


@_afew_va_stops
def _unlabelled_png(root: Path) -> None:
    """An image has no labels: the clip is named."""
    _edit_clip(root, lambda clip: clip["frames"].pop("00001"))


@_afew_va_stops
def _label_of_11(root: Path) -> None:
    """A label beyond 10: file and frame are named."""
    _edit_clip(root, lambda clip: clip["frames"]["00001"].update(valence=11))


@_afew_va_stops
def _scaled_labels(root: Path) -> None:
    """Labels were divided by ten already: file and frame are named."""
    _edit_clip(root, lambda clip: clip["frames"]["00001"].update(valence=0.3))


@_afew_va_stops
def _67_points(root: Path) -> None:
    """A landmark is missing: file and frame are named."""
    _edit_clip(root, lambda clip: clip["frames"]["00001"]["landmarks"].pop())


@_afew_va_stops
def _cut_json(root: Path) -> None:
    """A JSON file is cut: it is named."""
    path = _clip_json(root)
    path.write_text(path.read_text()[:200])


@_afew_va_stops
def _jpeg_copy(root: Path) -> None:
    """Frames are JPEG: a copy from the web, refused with the reason."""
    for path in root.glob("*/*.png"):
        path.rename(path.with_suffix(".jpg"))


@_afew_va_stops
def _cropped_copy(root: Path) -> None:
    """A folder of cropped frames: a copy from the web, refused with the reason."""
    shutil.copytree(root / "001", root / "AFEW-VA_cropped" / "001")


@_afew_va_stops
def _clip_twice(root: Path) -> None:
    """A clip lies both flat and in an archive's folder: it is named."""
    shutil.copytree(root / "001", root / "01" / "001")
