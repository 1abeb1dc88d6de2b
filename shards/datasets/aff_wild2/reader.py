"""Aff-Wild2 (ABAW challenges): face crops by video frame, and one text file of labels a person.

    .../VA_Estimation_Challenge/{Train_Set,Validation_Set}/<person>.txt     and EXPR, AU, MTL
    cropped_aligned/[cropped_aligned.../]<person>/<00001.jpg>               gaps: no face found

A person is `<video>`, `<video>_left` or `<video>_right`. Row k after the header belongs to the
image of number k. Null is -5 for valence and arousal (either makes both null), -1 elsewhere.
`shards.datasets.aff_wild2.tables` reads the label files of every challenge year.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shards.datasets.aff_wild2.images import frames_of, person_folders
from shards.datasets.aff_wild2.tables import (
    NULL_VA,
    VA,
    Annotations,
    find_annotations,
    label_fields,
    person_rows,
)
from shards.datasets.annotations import key_part, split_person
from shards.datasets.preflight import check_counts, check_each, require_folder, strictness
from shards.findings import Findings
from shards.sample import Sample

PUBLISHED = {  # files of the VA task, by release
    "abaw2": {"VA train files": 351, "VA val files": 71},
    "abaw3": {"VA val files": 71},  # reports of the train files disagree
    "abaw5": {"VA train files": 356, "VA val files": 76},
    "abaw6": {"VA train files": 356, "VA val files": 76},
}
TOLERANCE = 2  # rows may be this many more or fewer than frames without a word

_RATE = re.compile(r".+-([0-9]{1,3})-[0-9]+x[0-9]+.*")  # <id>-<fps>-<WxH>


@dataclass(slots=True)
class _Tally:
    """Sums over the frames that have both an image and a row."""

    va: int = 0
    null: int = 0
    off_length: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Annotated:
    annotations: Annotations
    folders: dict[str, Path]  # of images, by person
    persons: list[str]  # annotated, with images, and checked


def read(
    root: Path,
    findings: Findings,
    *,
    allow_count: bool = False,
    images: str = "cropped_aligned",
    unlabelled: bool = False,
) -> Iterator[Sample]:
    """Every image with a row of labels, in the order of person and frame; nulls stay null.

    `images` is "cropped_aligned" (112 x 112) or "cropped"; `allow_count` goes on with a partial
    copy; `unlabelled` adds the persons without any label file (the test set).

    Raises FileNotFoundError when `root` is no folder, ValueError for another `images`.
    """
    require_folder(root, "Aff-Wild2")
    if images not in ("cropped_aligned", "cropped"):
        raise ValueError(f"images {images!r}: choose 'cropped_aligned' or 'cropped'")
    plan = preflight(root, findings, allow_count=allow_count, images=images)
    if findings.failed:
        return
    for person in plan.persons:
        yield from _labelled(root, findings, plan, person)
    for person in sorted(set(plan.folders) - set(plan.annotations.persons)):
        if unlabelled:
            yield from _without_labels(root, plan, person)
        else:
            findings.skip("images of a person without label file (test set)", person)


def preflight(
    root: Path, findings: Findings, *, allow_count: bool = False, images: str = "cropped_aligned"
) -> _Annotated:
    """Check the whole tree, record every check, and return what `read` then walks."""
    annotations = find_annotations(root, findings)
    folders = person_folders(root, images, findings)
    persons = [name for name in annotations.persons if name in folders]
    missing = sorted(set(annotations.persons) - set(persons))
    check_each(
        findings,
        "every label file has images",
        [f"{name} has labels and no folder of images; it is skipped" for name in missing],
        f"{len(persons)} persons have labels and images",
        level="warn",
    )
    for name in missing:
        findings.skip("label file without images", name)
    usable, problems, tally = _scan(annotations, folders, persons, findings)
    level = strictness(allow_count)
    check_each(findings, "label files", problems, "headers, rows and ranges are right", level=level)
    _check_tally(findings, tally)
    _check_files(root, annotations, findings, allow_count=allow_count)
    _check_overlap(root, annotations, findings)
    return _Annotated(annotations, folders, usable)


def _check_files(
    root: Path, annotations: Annotations, findings: Findings, *, allow_count: bool
) -> None:
    """Only the VA task's files have published counts, and only of some releases."""
    published = PUBLISHED.get(annotations.year, {})
    if not published or "va" not in annotations.files:
        detail = f"no counts are published for the tasks of {annotations.year} found here"
        findings.check("count", False, detail, level="warn")
        return
    found = annotations.counts
    check_counts(findings, root, "affwild2", published, found, allow_count=allow_count)


def shared_videos(aff_wild: Path, aff_wild2_videos: set[str]) -> list[str]:
    """Videos of Aff-Wild that are in Aff-Wild2 too, under the same plain id.

    Training on one and testing on the other needs these removed first.
    """
    labels = aff_wild.glob("annotations/**/valence/*.txt")
    return sorted({split_person(path.stem)[0] for path in labels} & aff_wild2_videos)


def _check_overlap(root: Path, annotations: Annotations, findings: Findings) -> None:
    """Aff-Wild is looked for beside this data set, where `--raw` has it by default."""
    beside = root.parent / "aff-wild"
    if not beside.is_dir():
        return
    shared = shared_videos(beside, {split_person(name)[0] for name in annotations.persons})
    findings.check(
        "no video shared with Aff-Wild",
        not shared,
        f"{len(shared)} videos are in {beside} too ({', '.join(shared[:5])}); never train on one "
        "set and test on the other without leaving them out",
        level="warn",
    )


def _scan(
    annotations: Annotations, folders: dict[str, Path], persons: list[str], findings: Findings
) -> tuple[list[str], list[str], _Tally]:
    """Read all labels once: persons that can be used, sentences about the others, and sums."""
    usable, problems, tally = [], [], _Tally()
    for person in persons:
        try:
            rows = person_rows(annotations, person)
        except ValueError as problem:
            problems.append(str(problem))
            findings.skip("label file unusable", person)
            continue
        usable.append(person)
        numbers = np.array(list(frames_of(folders[person])[0]), dtype=int)
        last = int(numbers.max(initial=0))
        if abs(len(rows) - last) > TOLERANCE:
            tally.off_length.append(f"{person} ({len(rows)} rows, last image {last})")
        va = rows[numbers[numbers <= len(rows)] - 1, VA]
        tally.va += int((~np.isnan(va).any(axis=1)).sum())
        tally.null += int((va == NULL_VA).any(axis=1).sum())
    return usable, problems, tally


def _check_tally(findings: Findings, tally: _Tally) -> None:
    findings.check(
        "share of -5",
        True,
        f"{tally.null} of {tally.va} frames with an image and a VA row carry -5 and are null",
    )
    findings.check(
        "rows and images end together",
        not tally.off_length,
        f"{len(tally.off_length)} persons have more than {TOLERANCE} rows more or fewer than the "
        f"number of their last image: {', '.join(tally.off_length[:10])}",
        level="warn",
    )


def _labelled(root: Path, findings: Findings, plan: _Annotated, person: str) -> Iterator[Sample]:
    """Images of a person that have a row; what lacks its other half is listed."""
    rows, folder = person_rows(plan.annotations, person), plan.folders[person]
    frames, others = frames_of(folder)
    for name in others:
        findings.skip("file name is no frame number", f"{person}/{name}")
    listed = {row + 1 for row in np.flatnonzero(~np.isnan(rows).all(axis=1)).tolist()}
    tasks, place = plan.annotations.persons[person], _places(root, plan.annotations.year, folder)
    split = tasks.get("va") or next(iter(tasks.values()))
    for number, name in frames.items():
        if number not in listed:
            findings.skip("image without a row of labels", f"{person}/{name}")
            continue
        yield Sample(
            **place(number, name),
            **label_fields(rows[number - 1]),
            split=split,
            official_split=tasks.get("va"),
            split_by_task=dict(tasks),
        )
    _list_unseen(findings, person, rows, frames)


def _list_unseen(findings: Findings, person: str, rows: np.ndarray, frames: dict[int, str]) -> None:
    """Labels without an image: no face was found, or the row lies beyond the video's end."""
    last = max(frames, default=0)
    null = np.isnan(rows) | (rows == NULL_VA) | (rows == -1)
    null[:, VA] = (np.isnan(rows) | (rows == NULL_VA))[:, VA].any(axis=1, keepdims=True)
    for row in np.flatnonzero(~null.all(axis=1)):
        if row + 1 not in frames:
            reason = "label without image" if row < last else "row beyond the last image"
            findings.skip(reason, f"{person}, row {row + 1}")


def _places(root: Path, year: str, folder: Path) -> Callable[[int, str], dict[str, Any]]:
    """A function from frame number and image name to the fields that say which image it is.

    What is the same for all images of a person is worked out once: there are millions.
    """
    video, slot = split_person(folder.name)
    rate = _RATE.fullmatch(video)
    fps = float(rate[1]) if rate else None
    key, path = f"affwild2_{key_part(folder.name)}", folder.relative_to(root).as_posix()
    same = {"dataset": "affwild2", "variant": year, "video_id": video, "person_slot": slot}

    def place(number: int, name: str) -> dict[str, Any]:
        return same | {
            "key": f"{key}_{number:05d}",
            "original_path": f"{path}/{name}",
            "frame_index": number - 1,
            "frame_name": name,
            "fps": fps,
            "timestamp_s": (number - 1) / fps if fps else None,
        }

    return place


def _without_labels(root: Path, plan: _Annotated, person: str) -> Iterator[Sample]:
    folder = plan.folders[person]
    place = _places(root, plan.annotations.year, folder)
    for number, name in frames_of(folder)[0].items():
        yield Sample(
            **place(number, name),
            split="unlabelled",
            official_split="test",
            annotation_source="none",
        )
