"""AFEW-VA: 600 film clips as PNG frames, and a JSON file a clip.

    [01..12/]001/00000.png ... 001/001.json          flattened, or in the 12 archives' folders

    {"actor": "...", "video_id": "001",
     "frames": {"00000": {"valence": -2, "arousal": 3, "landmarks": [[x, y], ...68]}, ...}}

Labels are whole numbers in [-10, 10] and become tenths. Frames of 720 x 576 are anamorphic: their
pixels are 4/3 as wide as high. Nobody publishes folds, so actors are dealt to five.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.datasets import foreign
from shards.datasets.annotations import check_range
from shards.datasets.folds import FOLDS, deal_groups, split_of_fold
from shards.datasets.preflight import (
    check_counts,
    check_each,
    check_unique,
    require_folder,
    size_of,
    strictness,
)
from shards.findings import Findings
from shards.sample import Sample

PUBLISHED = {"clips": 600, "frames": 30_051}
SCALE = 10.0
ANAMORPHIC = (720, 576)  # PAL frames of a 4:3 picture stretched to 16:9
PIXEL_ASPECT = 4 / 3

_CLIP = re.compile("[0-9]{3}")
_FRAME = re.compile("[0-9]{1,9}")
_DEPTH = 4  # folders between the root and a clip


@dataclass(frozen=True, slots=True)
class _Clip:
    """One clip that passed its checks."""

    folder: Path
    actor: str | None  # stripped and casefolded
    frames: int  # with both an image and labels
    pixel_aspect: float | None

    @property
    def group(self) -> str:
        """What folds keep together; "/" keeps a nameless clip's group apart from every actor."""
        return self.actor or f"/{self.folder.name}"


def read(root: Path, findings: Findings, *, allow_count: bool = False) -> Iterator[Sample]:
    """Every labelled frame, in the order of clip and frame.

    `allow_count` goes on with a partial or damaged copy. Nothing is yielded after a failed check.

    Raises FileNotFoundError when `root` is no folder.
    """
    require_folder(root, "AFEW-VA")
    clips, folds = preflight(root, findings, allow_count=allow_count)
    if findings.failed:
        return
    for clip in clips:
        yield from _frames(root, findings, clip, folds[clip.group])


def preflight(
    root: Path, findings: Findings, *, allow_count: bool = False
) -> tuple[list[_Clip], dict[str, int]]:
    """Check every clip, record every check, and return the clips and the fold of each group."""
    folders = sorted(_clip_folders(root, _DEPTH), key=lambda folder: folder.name)
    _refuse_copies(root, folders, findings)
    check_unique(findings, "clips are unique", (folder.name for folder in folders), root)
    clips, problems = [], []
    for folder in folders:
        try:
            clips.append(_checked(root, folder, findings, allow_count))
        except ValueError as problem:
            problems.append(str(problem))
            findings.skip("clip unusable", folder.name)
    check_each(
        findings,
        "clips",
        problems,
        f"{len(clips)} clips pair every image with labels and 68 points",
        level=strictness(allow_count),
    )
    found = {"clips": len(clips), "frames": sum(clip.frames for clip in clips)}
    check_counts(
        findings, root, "afew_va", PUBLISHED, found, allow_count=allow_count, soft=["frames"]
    )
    return clips, _deal_actors(clips, findings)


def _deal_actors(clips: list[_Clip], findings: Findings) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for clip in clips:
        sizes[clip.group] = sizes.get(clip.group, 0) + clip.frames
    folds = deal_groups(sizes)
    filled = [sum(sizes[actor] for actor in sizes if folds[actor] == fold) for fold in range(FOLDS)]
    findings.check(
        "folds by actor",
        len(sizes) >= FOLDS,
        f"{len(sizes)} actors are dealt to {FOLDS} folds of {filled} frames; no actor is in two"
        + ("" if len(sizes) >= FOLDS else ", and some folds are empty"),
        level="warn",
    )
    return folds


def _clip_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders `NNN` that hold an `NNN.json`, at any depth down to `depth`."""
    for path in foreign.folders(folder):
        if _CLIP.fullmatch(path.name) and foreign.names(path, ".json"):
            yield path
        elif depth > 1:
            yield from _clip_folders(path, depth - 1)


def _refuse_copies(root: Path, folders: list[Path], findings: Findings) -> None:
    """Web copies hold JPEG or cropped frames: other pixels than those labelled."""
    cropped = [root / name for name in foreign.names(root) if "_cropped" in name.casefold()]
    jpegs = [f for f in folders if foreign.names(f, ".jpg") or foreign.names(f, ".jpeg")]
    check_each(
        findings,
        "the release and no web copy",
        [
            f"{path} holds JPEG or cropped frames, which the release does not: this is a copy from "
            "the web whose landmarks no longer fit; get AFEW-VA from its owners"
            for path in cropped + jpegs
        ],
        "frames are PNG",
    )


def _load(root: Path, folder: Path) -> dict[str, Any]:
    """The clip's JSON; raises ValueError naming the file."""
    path = folder / f"{folder.name}.json"
    try:
        clip = foreign.json_object(root, path, "clip annotation")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore it") from None
    if not isinstance(clip.get("frames"), dict):
        raise ValueError(f"{path} is no clip annotation: it has no object `frames`; restore it")
    return clip


def _checked(root: Path, folder: Path, findings: Findings, allow_count: bool) -> _Clip:
    clip = _load(root, folder)
    images, keys = _images(folder), set(clip["frames"])
    if not allow_count and images.keys() != keys:
        raise ValueError(
            f"{folder}: labelled frames and PNG files differ by {_some(images.keys() ^ keys)}; "
            "restore the clip"
        )
    for key, frame in clip["frames"].items():
        _labels(folder, key, frame)
    actor = str(clip.get("actor") or "").strip().casefold() or None
    _check_names(findings, folder, str(clip.get("video_id", folder.name)), actor)
    return _Clip(folder, actor, len(images.keys() & keys), _aspect(root, folder, images))


def _check_names(findings: Findings, folder: Path, video: str, actor: str | None) -> None:
    if video != folder.name:
        detail = f"{folder} says it is video {video!r}; the folder's name is used"
        findings.check("video_id is the folder", False, detail, level="warn")
    if actor is None:
        detail = f"{folder}: no actor is named, and the clip is a group of its own"
        findings.check("actor", False, detail, level="warn")


def _images(folder: Path) -> dict[str, str]:
    """File names of the frames by stem, in order."""
    return {name[:-4]: name for name in foreign.names(folder, ".png")}


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _labels(folder: Path, key: str, frame: Any) -> tuple[float, float, tuple[float, ...]]:
    """Valence and arousal as distributed and 68 points; raises ValueError naming the frame."""
    where = folder / f"{folder.name}.json"
    try:
        if not _FRAME.fullmatch(key):
            raise ValueError("frames are numbered")
        va = foreign.plain(frame["valence"]), foreign.plain(frame["arousal"])
        points = tuple(foreign.plain(value) for x, y in frame["landmarks"] for value in (x, y))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: frame {key!r} lacks a number, valence, arousal or points "
            f"({type(error).__name__}: {error}); restore it"
        ) from None
    for value in va:
        check_range(f"{where}: frame {key}", value, limit=SCALE)
        if not value.is_integer():
            raise ValueError(
                f"{where}: frame {key} holds {value:g}, and labels of the release are whole "
                "numbers in [-10, 10]; labels that are scaled already come from a web copy"
            )
    if len(points) != 136:
        raise ValueError(f"{where}: frame {key} has {len(points) // 2} landmarks, not 68")
    return *va, points


def _aspect(root: Path, folder: Path, images: dict[str, str]) -> float | None:
    """4/3 where the first readable frame is 720 x 576; all frames of a clip have one size."""
    sizes = (size_of(root, folder / name) for name in images.values())
    return PIXEL_ASPECT if next(filter(None, sizes), None) == ANAMORPHIC else None


def _frames(root: Path, findings: Findings, clip: _Clip, fold: int) -> Iterator[Sample]:
    folder, labels = clip.folder, _load(root, clip.folder)["frames"]
    images = _images(folder)
    for stem in sorted(images.keys() - labels.keys()):
        findings.skip("image without label", f"{folder.name}/{images[stem]}")
    for key in sorted(labels, key=int):
        if key not in images:
            findings.skip("label without image", f"{folder.name}/{key}")
            continue
        valence, arousal, points = _labels(folder, key, labels[key])
        yield Sample(
            key=f"afew_va_{folder.name}_{key}",
            original_path=(folder / images[key]).relative_to(root).as_posix(),
            dataset="afew_va",
            variant="2017",
            split=split_of_fold(fold),
            fold=fold,
            subject_id=clip.actor,
            video_id=folder.name,
            frame_index=int(key),
            frame_name=images[key],
            pixel_aspect=clip.pixel_aspect,
            landmarks=points,
            landmarks_source="official",
            valence=valence / SCALE,
            arousal=arousal / SCALE,
            valence_raw=valence,
            arousal_raw=arousal,
        )
