"""Aff-Wild (2017 challenge): videos with one text file of valence and one of arousal each.

    annotations/train/{valence,arousal}/<id>.txt     one number a line
    bboxes/train/<id>/<n>.pts                        (or bboxs) a box, where a face was found
    landmarks/train/<id>/<n>.pts                     68 points
    videos/{train,test}/<id>.{avi,mp4}

Line i of the labels belongs to frame i of the video as it is decoded, at its own rate. Which
number the first frame has in the `.pts` names is not documented: it is 0 if and only if a `0.pts`
exists anywhere in the data set, since in one video the first frame may be undetected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shards.datasets import foreign
from shards.datasets.annotations import box_around, check_range, key_part, split_person
from shards.datasets.folds import fold_by_hash, split_of_fold
from shards.datasets.preflight import (
    check_counts,
    check_each,
    check_unique,
    require_folder,
    strictness,
    unpacked,
)
from shards.datasets.video import VideoFacts, video_facts, videos_by_id
from shards.findings import Findings
from shards.sample import Sample

TOLERANCE = 2  # frames by which labels, points and video may differ in length
PUBLISHED = {"train videos": 252}  # and 46 for testing, whose labels are not distributed


@dataclass(frozen=True, slots=True)
class _Tree:
    """Where the parts of one copy lie: archives unpack to different depths."""

    root: Path
    valence: Path
    arousal: Path
    boxes: Path
    landmarks: Path
    train: dict[str, Path]  # videos by id
    test: dict[str, Path]


@dataclass(frozen=True, slots=True)
class _Clip:
    """One annotated person of one video, checked."""

    name: str
    video: Path
    facts: VideoFacts
    labels: int


@dataclass(frozen=True, slots=True)
class _Usable:
    tree: _Tree
    clips: list[_Clip]
    base: int  # number of the first frame in .pts names


def read(
    root: Path,
    findings: Findings,
    *,
    allow_count: bool = False,
    pts_base: int | None = None,
    unlabelled: bool = False,
) -> Iterator[Sample]:
    """Every labelled frame of the training videos, in the order of video id and frame.

    `allow_count` goes on with a partial or damaged copy (what cannot be used is skipped and
    listed), `pts_base` overrides the number of the first frame in `.pts` names, `unlabelled` adds
    the test videos, whose labels are not distributed. Nothing is yielded after a failed check.

    Raises FileNotFoundError when `root` is no folder, ValueError for a `pts_base` but 0 and 1.
    """
    require_folder(root, "Aff-Wild")
    if pts_base not in (None, 0, 1):
        raise ValueError(f"pts_base={pts_base}: frames are numbered from 0 or from 1")
    plan = preflight(root, findings, allow_count=allow_count, pts_base=pts_base)
    if findings.failed:
        return
    for clip in plan.clips:
        yield from _frames(root, findings, plan, clip)
    for name, video in sorted(plan.tree.test.items()):
        if unlabelled:
            yield from _unlabelled(root, name, video)
        else:
            findings.skip("test video, its labels are not distributed", name)


def preflight(
    root: Path, findings: Findings, *, allow_count: bool = False, pts_base: int | None = None
) -> _Usable:
    """Check the whole tree, record every check, and return what `read` then walks."""
    tree = _find_tree(root)
    both = set(tree.train) & set(tree.test)
    check_each(
        findings,
        "no video in both train and test",
        [
            f"video {name} lies in videos/train and in videos/test; keep one"
            for name in sorted(both)
        ],
        "videos/train and videos/test share no id",
    )
    base = _number_of_first(tree, findings, pts_base)
    clips, problems = _clips(tree, findings, base)
    check_each(
        findings,
        "labels and frames pair",
        problems,
        f"{len(clips)} videos have as many labels as frames, within {TOLERANCE}",
        level=strictness(allow_count),
    )
    check_unique(findings, "names are unique", (key_part(clip.name) for clip in clips), root)
    found = {"train videos": len({clip.video for clip in clips})}
    check_counts(findings, root, "affwild", PUBLISHED, found, allow_count=allow_count)
    _list_unannotated(tree, clips, findings)
    return _Usable(tree, clips, base)


def _find_tree(root: Path) -> _Tree:
    boxes = unpacked(root, "bboxes", "train")
    return _Tree(
        root,
        valence=unpacked(root, "annotations", "train") / "valence",
        arousal=unpacked(root, "annotations", "train") / "arousal",
        boxes=boxes if boxes.is_dir() else unpacked(root, "bboxs", "train"),
        landmarks=unpacked(root, "landmarks", "train"),
        train=videos_by_id(unpacked(root, "videos", "train")),
        test=videos_by_id(unpacked(root, "videos", "test")),
    )


def _number_of_first(tree: _Tree, findings: Findings, override: int | None) -> int:
    """Number of the first frame in `.pts` names, for the whole data set."""
    zero = next(
        (
            folder / "0.pts"
            for kind in (tree.boxes, tree.landmarks)
            for folder in foreign.folders(kind)
            if (folder / "0.pts").exists()
        ),
        None,
    )
    found = 1 if zero is None else 0
    reason = "no 0.pts anywhere" if zero is None else f"{zero} exists"
    base = found if override is None else override
    findings.check(
        "number of the first .pts",
        base == found,
        f"boxes and landmarks are numbered from {found} ({reason})"
        + ("" if base == found else f", and --option pts_base={base} overrides it"),
        level="warn",
    )
    return base


def _check_numbers(tree: _Tree, name: str, base: int, frames: int) -> None:
    """Every `.pts` must belong to a frame; raises ValueError naming the file that does not."""
    for kind in (tree.boxes, tree.landmarks):
        stems = (stem[:-4] for stem in foreign.names(kind / name, ".pts"))
        numbers = [int(stem) for stem in stems if re.fullmatch("[0-9]{1,9}", stem)]
        for number in (min(numbers), max(numbers)) if numbers else ():
            if not base <= number < base + frames + TOLERANCE:
                raise ValueError(
                    f"{kind / name / str(number)}.pts belongs to no frame: {name} has {frames} "
                    f"frames numbered from {base}; pass --option pts_base=N if it differs"
                )


def _clips(tree: _Tree, findings: Findings, base: int) -> tuple[list[_Clip], list[str]]:
    clips, problems = [], []
    names = _stems(tree.valence) | _stems(tree.arousal)
    if not names:
        problems.append(
            f"{tree.valence} holds no <id>.txt; unpack annotations/train.tar.gz at the root so "
            "that annotations/train/valence exists"
        )
    for name in sorted(names):
        try:
            clips.append(_clip(tree, name, base))
        except ValueError as problem:
            problems.append(str(problem))
            findings.skip("labels and frames do not pair", name)
    return clips, problems


def _stems(folder: Path) -> set[str]:
    return {name[:-4] for name in foreign.names(folder, ".txt")}


def _clip(tree: _Tree, name: str, base: int) -> _Clip:
    """Check one annotated video; raises ValueError naming it."""
    video = tree.train.get(name) or tree.train.get(split_person(name)[0])
    if video is None:
        raise ValueError(f"{name} is annotated and no videos/train/{name}.avi or .mp4 exists")
    for folder in (tree.valence, tree.arousal):
        if not (folder / f"{name}.txt").exists():
            raise ValueError(f"{folder / name}.txt is missing; each video has both axes")
    valence, arousal = (len(axis) for axis in _axes(tree, name))
    if valence != arousal:
        raise ValueError(
            f"{name} has {valence} valence and {arousal} arousal labels; restore both files"
        )
    foreign.check(tree.root, video, foreign.FILM)
    facts = video_facts(video)
    if abs(valence - facts.frames) > TOLERANCE:
        raise ValueError(
            f"{name} has {valence} labels and {video.name} has {facts.frames} frames, more than "
            f"{TOLERANCE} apart; a re-encoded or cut video shifts its labels, restore it"
        )
    _check_numbers(tree, name, base, facts.frames)
    return _Clip(name, video, facts, min(valence, facts.frames))


def _list_unannotated(tree: _Tree, clips: list[_Clip], findings: Findings) -> None:
    used = {clip.video for clip in clips}
    for name, video in sorted(tree.train.items()):
        if video not in used:
            findings.skip("train video without usable labels", name)


def _axes(tree: _Tree, name: str) -> list[list[float]]:
    """Valence and arousal: one label in [-1, 1] a line, no header. ValueError names the line."""
    axes = []
    for folder in (tree.valence, tree.arousal):
        path = folder / f"{name}.txt"
        rows = foreign.number_rows(path, foreign.lines(tree.root, path), first=1, width=1)
        axes.append([value for (value,) in rows])
        for line, value in enumerate(axes[-1], 1):
            check_range(f"{path}: line {line}", value)
    return axes


def _frames(root: Path, findings: Findings, plan: _Usable, clip: _Clip) -> Iterator[Sample]:
    """The labelled frames of one video; labels and frames past the shorter of both are listed."""
    tree, name = plan.tree, clip.name
    valence, arousal = _axes(tree, name)
    for line in range(clip.labels, len(valence)):
        findings.skip("label beyond the last frame", f"{name}, line {line + 1}")
    for frame in range(clip.labels, clip.facts.frames):
        findings.skip("frame beyond the last label", f"{name}, frame {frame}")
    fold = fold_by_hash(split_person(name)[0])
    for frame in range(clip.labels):
        number = frame + plan.base
        corners, bad_box = _points(root, tree.boxes / name / f"{number}.pts", 4)
        landmarks, bad_landmarks = _points(root, tree.landmarks / name / f"{number}.pts", 68)
        bbox = box_around(corners) if corners else None
        yield Sample(
            **_place(root, name, clip.video, clip.facts, frame),
            split=split_of_fold(fold),
            official_split="train",
            fold=fold,
            bbox_xyxy=bbox,
            bbox_source=None if bbox is None else "official",
            landmarks=landmarks,
            landmarks_source=None if landmarks is None else "official",
            valence=valence[frame],
            arousal=arousal[frame],
            valence_raw=valence[frame],
            arousal_raw=arousal[frame],
            quality=bad_box + bad_landmarks,
        )


def _place(root: Path, name: str, video: Path, facts: VideoFacts, frame: int) -> dict:
    """Fields that say which frame it is."""
    video_id, slot = (name, "main") if video.stem == name else split_person(name)
    return {
        "key": f"affwild_{key_part(name)}_{frame:06d}",
        "original_path": video.relative_to(root).as_posix(),
        "dataset": "affwild",
        "variant": "challenge2017",
        "video_id": video_id,
        "person_slot": slot,
        "frame_index": frame,
        "fps": facts.fps,
        "timestamp_s": frame / facts.fps if facts.fps else None,
        "pixel_aspect": facts.pixel_aspect,
    }


def _unlabelled(root: Path, name: str, video: Path) -> Iterator[Sample]:
    facts = video_facts(video)
    for frame in range(facts.frames):
        yield Sample(
            **_place(root, name, video, facts, frame),
            split="unlabelled",
            official_split="test",
            annotation_source="none",
        )


def _points(root: Path, path: Path, count: int) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """This frame's own points, or none: those of another frame are never taken in their place."""
    try:
        return foreign.points(root, path, count), ()
    except ValueError:
        return None, ("bbox_unreadable" if count == 4 else "landmarks_unreadable",)
