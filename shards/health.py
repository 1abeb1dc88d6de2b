"""`checks`: whether this machine can make and read shards; one room's part of `doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import av
from PIL import features

from shards.finder import INSTALL, PACKAGES, installed
from shards.index import LABELS, LabelIndex

Check = tuple[str, str, str, str]  # what, ok|note|fail, what was found, what to do about it
_ROOM = 20 << 30  # bytes: AffectNet as shards, with some air


def checks(folders: Iterable[Path]) -> Iterator[Check]:
    """Libraries, codecs, disk, and every index under `folders` (each opened, its tars counted)."""
    for package in ("pillow", "simplejpeg", "av", "skia-python"):
        yield _package(package)
    missing = [name for name in ("jpg", "zlib", "libtiff", "webp") if not features.check(name)]
    yield (
        "image codecs",
        "fail" if missing else "ok",
        f"without {', '.join(missing)}" if missing else "JPEG, PNG, TIFF, WebP",
        "pip install --force-reinstall pillow" if missing else "",
    )
    yield _video_codecs()
    there = [name for name in PACKAGES if installed(name)]
    yield (
        "face detector",
        "ok" if there else "fail",
        ", ".join(there) if there else "not installed; only --faces whole",
        "" if there else INSTALL["retinaface"],
    )
    for folder in folders:
        yield _disk(folder)
        for labels in sorted(folder.glob(f"*/{LABELS}")):
            yield _index(labels.parent)


def _package(name: str) -> Check:
    try:
        return name, "ok", version(name), ""
    except PackageNotFoundError:
        return name, "fail", "not installed", f"pip install {name}"


def _video_codecs() -> Check:
    missing = [name for name in ("h264", "hevc", "mpeg4", "vp9") if not _known(name, "r")]
    if not _known("libx264", "w"):
        missing.append("libx264 (writing)")
    if missing:
        found, advice = f"without {', '.join(missing)}", "pip install --force-reinstall av"
        return "video codecs", "fail", found, advice
    return "video codecs", "ok", "H.264, HEVC, MPEG-4, VP9", ""


def _known(codec: str, mode: Literal["r", "w"]) -> bool:
    try:
        av.Codec(codec, mode)
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True


def _disk(folder: Path) -> Check:
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:,.0f} GB free"
    if free < _ROOM:
        return f"disk of {folder}", "note", found, "AffectNet's shards want 20 GB; make room"
    return f"disk of {folder}", "ok", found, ""


def _index(folder: Path) -> Check:
    """Cheap: sizes and presence, no hashing."""
    try:
        index = LabelIndex.open(folder)
    except (ValueError, OSError) as error:
        return (
            f"shards {folder}",
            "fail",
            str(error),
            f"make them again: cli.py shard {folder.name}",
        )
    lost = [tar.name for tar in index.tars if not tar.is_file()]
    if lost:
        found = f"{len(lost)} of {len(index.tars)} tars are missing, first {lost[0]}"
        return f"shards {folder}", "fail", found, f"cli.py shard {folder.name} writes them again"
    found = f"{len(index):,} rows in {len(index.tars)} tars"
    return f"shards {folder}", "ok", found, f"cli.py inspect {folder} --verify reads every byte"
