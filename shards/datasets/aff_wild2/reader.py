"""Aff-Wild2 (ABAW challenges): face crops by video frame, and one text file of labels a person.

    .../VA_Estimation_Challenge/{Train_Set,Validation_Set}/<person>.txt     and EXPR, AU, MTL
    cropped_aligned/[cropped_aligned.../]<person>/<00001.jpg>               gaps: no face found

A person is `<video>`, `<video>_left` or `<video>_right`. Row k after the header belongs to the
image of number k. Null is -5 for valence and arousal (either makes both null), -1 elsewhere.
`shards.datasets.aff_wild2.tables` reads the label files of every challenge year.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shards.datasets.aff_wild2.images import frames_of, person_folders
from shards.datasets.aff_wild2.tables import (
    NULL_VA,
    VA,
    Annotations,
    find_annotations,
    label_columns,
    person_rows,
)
from shards.datasets.annotations import key_part, split_person
from shards.datasets.files import files_at
from shards.datasets.preflight import check_counts, check_each, require_folder, strictness
from shards.findings import Findings
from shards.labels.rows import InRows, rows_like, samples_of, sound
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


@InRows
def read(
    root: Path,
    findings: Findings,
    *,
    allow_count: bool = False,
    images: str = "cropped_aligned",
    unlabelled: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Every image with a row of labels, in the order of person and frame; nulls stay null.

    `images` is "cropped_aligned" (112 x 112) or "cropped"; `allow_count` goes on with a partial
    copy; `unlabelled` adds the persons without any label file (the test set).

    Raises FileNotFoundError when `root` is no folder, ValueError for another `images`.
    """
    require_folder(root, "Aff-Wild2")
    if images not in ("cropped_aligned", "cropped"):
        raise ValueError(f"images {images!r}: choose 'cropped_aligned' or 'cropped'")
    annotations = find_annotations(root, findings)
    folders = person_folders(root, images, findings)
    yield from _labelled(root, annotations, folders, findings, allow_count=allow_count)
    _check_files(root, annotations, findings, allow_count=allow_count)
    _check_overlap(root, annotations, findings)
    for person in sorted(set(folders) - set(annotations.persons)):
        if not unlabelled:
            findings.skip("images of a person without label file (test set)", person)
        elif not findings.failed:
            yield _without_labels(root, annotations.year, folders[person])


def _labelled(
    root: Path,
    annotations: Annotations,
    folders: dict[str, Path],
    findings: Findings,
    *,
    allow_count: bool,
) -> Iterator[pa.RecordBatch]:
    """The rows of every person with labels and images, and the checks of both."""
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
    problems, tally = [], _Tally()
    for person in persons:
        try:
            rows = person_rows(annotations, person)
        except ValueError as problem:
            problems.append(str(problem))
            findings.skip("label file unusable", person)
            continue
        yield _of_person(root, annotations, folders[person], rows, tally, findings)
    level = strictness(allow_count)
    check_each(findings, "label files", problems, "headers, rows and ranges are right", level=level)
    _check_tally(findings, tally)


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


def _of_person(
    root: Path,
    annotations: Annotations,
    folder: Path,
    rows: np.ndarray,
    tally: _Tally,
    findings: Findings,
) -> pa.RecordBatch:
    """Images of a person that have a row; what lacks its other half is listed."""
    person = folder.name
    frames, others = frames_of(folder)
    for name in others:
        findings.skip("file name is no frame number", f"{person}/{name}")
    numbers = np.array(list(frames), int)
    last = int(numbers.max(initial=0))
    if abs(len(rows) - last) > TOLERANCE:
        tally.off_length.append(f"{person} ({len(rows)} rows, last image {last})")
    listed = numbers <= len(rows)
    listed[listed] = ~np.isnan(rows[numbers[listed] - 1]).all(axis=1)
    for number in numbers[~listed].tolist():
        findings.skip("image without a row of labels", f"{person}/{frames[number]}")
    found = rows[numbers[listed] - 1]
    tally.va += int((~np.isnan(found[:, VA]).any(axis=1)).sum())
    tally.null += int((found[:, VA] == NULL_VA).any(axis=1).sum())
    _list_unseen(findings, person, rows, frames)
    tasks = annotations.persons[person]
    batch = _placed(
        root,
        folder,
        {number: frames[number] for number in numbers[listed].tolist()},
        label_columns(found),
        variant=annotations.year,
        split=tasks.get("va") or next(iter(tasks.values())),
        official_split=tasks.get("va"),
        split_by_task=dict(tasks),
    )
    for k in np.flatnonzero(~sound(batch))[:1]:
        list(samples_of(batch.slice(k, 1)))  # raises its sentence
    return batch


def _list_unseen(findings: Findings, person: str, rows: np.ndarray, frames: dict[int, str]) -> None:
    """Labels without an image: no face was found, or the row lies beyond the video's end."""
    last = max(frames, default=0)
    null = np.isnan(rows) | (rows == NULL_VA) | (rows == -1)
    null[:, VA] = (np.isnan(rows) | (rows == NULL_VA))[:, VA].any(axis=1, keepdims=True)
    for row in np.flatnonzero(~null.all(axis=1)):
        if row + 1 not in frames:
            reason = "label without image" if row < last else "row beyond the last image"
            findings.skip(reason, f"{person}, row {row + 1}")


def _placed(
    root: Path, folder: Path, frames: dict[int, str], labels: dict[str, pa.Array], **same: Any
) -> pa.RecordBatch:
    """Rows of a person's images, by frame number: what is the same for all is in `same`."""
    video, slot = split_person(folder.name)
    rate = _RATE.fullmatch(video)
    fps = float(rate[1]) if rate else None
    key, place = f"affwild2_{key_part(folder.name)}", folder.relative_to(root).as_posix()
    numbers = np.array(list(frames), np.int64)
    sizes, times = files_at([f"{folder}/{name}" for name in frames.values()]).T
    columns = {
        "sample_key": pa.array([f"{key}_{number:05d}" for number in frames], pa.string()),
        "original_path": pa.array([f"{place}/{name}" for name in frames.values()], pa.string()),
        "frame_index": pa.array(numbers - 1, pa.int32()),
        "frame_name": pa.array(list(frames.values()), pa.string()),
        "source_bytes": pa.array(sizes),
        "source_time": pa.array(times),
    }
    if fps:
        columns["timestamp_s"] = pa.array((numbers - 1) / fps)
    like = Sample(
        key="k",
        original_path="p",
        dataset="affwild2",
        video_id=video,
        person_slot=slot,
        fps=fps,
        **same,
    )
    return rows_like(like, len(frames), columns | labels)


def _without_labels(root: Path, year: str, folder: Path) -> pa.RecordBatch:
    return _placed(
        root,
        folder,
        frames_of(folder)[0],
        {},
        variant=year,
        split="unlabelled",
        official_split="test",
        annotation_source="none",
    )
