"""Frames of videos: decode each video once, front to back, and keep its crops until they are dealt.

Shards are shuffled over all videos, and a frame costs the decoding of all before it. So the crops
of a video are first staged as JPEGs in one file, in parallel by video, and shards are then put
together from those without decoding or encoding again. A staged video is named after all that
decides its bytes, which is how a killed run finds it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shards.building.engine import Engine
from shards.building.plan import Spill, write_spill
from shards.building.store import FRAMES, Store
from shards.crop import Crop, store_found, store_picture
from shards.durable import settle, sync, write_aside
from shards.finder import facts
from shards.findings import Findings
from shards.image import Stored, Unreadable, encode_jpeg
from shards.sample import VIDEO_SUFFIXES

_EARLY = "video ends before this frame"


class Video(NamedTuple):
    """A task: the wanted frames of one video."""

    rows: pa.RecordBatch  # all of one original_path
    root: Path
    store: Store
    crop: Crop
    publish: bool  # the workers share no folder but the output

    @property
    def path(self) -> str:
        return self.rows["original_path"][0].as_py()

    @property
    def file(self) -> str:
        """The staged crops, in the store; named by a hash of rows, size of the video and crop."""
        how = f"{self.crop}{facts() if self.crop.searches else ''}"
        digest = hashlib.sha256(how.encode() + self.rows.serialize())
        return f"{FRAMES}/{digest.hexdigest()[:24]}.jpgs"

    @property
    def marker(self) -> str:
        """Says that the crops are complete, and where each lies."""
        return self.file.replace(".jpgs", ".json")


def stage_videos(
    spill: Spill,
    root: Path,
    crop: Crop,
    store: Store,
    engine: Engine,
    findings: Findings,
    *,
    course: Callable[[str, int, int], None] = lambda *_: None,
    turn: float = 0.0,
) -> Spill:
    """Stage every video named in `spill`; the new spill says where each frame waits.

    Frames that cannot be had (the video ends early, there is no box) are left out and reported.
    `turn` (0 to 1) is where in the list to begin: runs that share the work begin at different
    places and skip what another has finished.
    """
    if not spill.videos:
        return spill
    publish = engine.kind == "dask" and store.url is not None
    videos = partial(Video, root=root, store=store, crop=crop, publish=publish)
    frames = [
        rows.num_rows if _is_video(rows["original_path"][0].as_py()) else 0 for rows in _runs(spill)
    ]
    first, done = int(turn * len(frames)), 0
    for rows in engine.run(stage_video, _videos(spill, videos, first)):
        done += rows
        course("staging films", done, sum(frames))
    placed = _placed(spill, videos, findings)
    return write_spill(placed, spill.path.with_suffix(".staged"))._replace(kinds=spill.kinds)


def _videos(spill: Spill, videos: Callable[..., Video], first: int) -> Iterator[Video]:
    """Every video, beginning with number `first` and coming round."""
    for before in (False, True):
        for number, rows in enumerate(_runs(spill)):
            video = videos(rows)
            if (number < first) == before and _is_video(video.path):
                yield video


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEO_SUFFIXES)


def _runs(spill: Spill) -> Iterator[pa.RecordBatch]:
    """Rows of one original_path after the other, as the reader gave them."""
    held: list[pa.RecordBatch] = []
    for rows in spill.batches():
        paths = np.array(rows["original_path"].to_pylist(), object)
        starts = [0, *(np.flatnonzero(paths[1:] != paths[:-1]) + 1).tolist(), rows.num_rows]
        for start, stop in pairwise(starts):
            if held and held[0]["original_path"][0].as_py() != paths[start]:
                yield _joined(held)
                held = []
            held.append(rows.slice(start, stop - start))
    if held:
        yield _joined(held)


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch with buffers of its own, so that the same rows always serialize alike."""
    rows = pa.concat_batches(pieces)
    return rows.take(pa.array(np.arange(rows.num_rows)))


def _placed(
    spill: Spill, videos: Callable[..., Video], findings: Findings
) -> Iterator[pa.RecordBatch]:
    """The rows with the places of their frames; what could not be staged is left out."""
    for rows in _runs(spill):
        video = videos(rows)
        if not _is_video(video.path):
            yield rows
            continue
        said = json.loads(video.store.read(video.marker))
        places, kinds = said["places"], said["facts"]
        lost = [(i, place) for i, place in enumerate(places) if isinstance(place, str)]
        for i, reason in lost:
            findings.skip(reason, rows["sample_key"][i].as_py())
        kept = np.setdiff1d(np.arange(len(places)), [i for i, _ in lost])
        if len(kept):
            offsets, sizes, numbers = zip(*(places[i] for i in kept), strict=True)
            found = offsets, sizes, [kinds[k] for k in numbers]
            yield _with_places(rows.take(pa.array(kept)), found, video.file)


def _with_places(rows: pa.RecordBatch, places: tuple[Any, ...], file: str) -> pa.RecordBatch:
    offsets, sizes, facts = places
    columns = {
        "source_bytes": pa.array(sizes, pa.int64()),
        "staged_file": pa.array([file] * len(sizes)),
        "staged_offset": pa.array(offsets, pa.int64()),
        "staged_size": pa.array(sizes, pa.int64()),
        "staged_facts": pa.array(facts),
    }
    arrays = [
        columns.get(name, column) for name, column in zip(rows.schema.names, rows, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=rows.schema)


def stage_video(video: Video) -> int:
    """One task: crop the wanted frames of a video into its staged file. Returns their number.

    The marker, written last, holds size and hash of that file, the different facts of its crops,
    and for each row [offset, size, number of the facts] or the reason it is left out.
    """
    store = video.store
    with store.working():
        if not is_staged_whole(store, video.file):
            places: list[Any] = [_EARLY] * video.rows.num_rows
            path = store.local / video.file
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.part")
            digest, kinds = hashlib.sha256(), dict[str, int]()
            with open(part, "wb") as file:
                for i, found in _crops(video):
                    places[i] = found
                    if isinstance(found, Stored):
                        kind = kinds.setdefault(json.dumps(found[1:]), len(kinds))
                        places[i] = [file.tell(), len(found.content), kind]
                        file.write(found.content)
                        digest.update(found.content)
                sync(file)
                said = {"size": file.tell(), "sha256": digest.hexdigest()}
            settle(part, path)
            text = json.dumps({**said, "facts": list(kinds), "places": places})
            write_aside(store.local / video.marker, text.encode())
            if video.publish:
                store.publish(video.file, video.marker)
    return video.rows.num_rows


def is_staged_whole(store: Store, name: str) -> bool:
    """Whether staged crops are there, whole; an object store has an object whole or not at all."""
    marker = name.replace(".jpgs", ".json")
    if not (store.has(marker) and store.has(name)):
        return False
    try:
        said = json.loads(store.read(marker))
    except ValueError:
        return False
    if "facts" not in said:  # of a version that named them with each crop
        return False
    if not (path := store.local / name).exists():
        return True
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return found == said["sha256"] and path.stat().st_size == said["size"]


def _crops(video: Video) -> Iterator[tuple[int, Stored | str]]:
    """For each wanted frame, in the order of the video, its crop or why there is none."""
    names = ["frame_index", "dataset", "variant", "pixel_aspect", "bbox_xyxy"]
    wanted: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    for i, row in enumerate(video.rows.select([*names, "landmarks", "landmarks5"]).to_pylist()):
        wanted.setdefault(row["frame_index"], []).append((i, row))
    last, reached = max(wanted), -1
    from shards.films import NO_FILM, FilmReader  # here: only those who have videos wait for it

    try:
        with FilmReader(video.root / video.path) as film:
            for frame, reached, _ in film.shots(strict=True):
                for i, row in wanted.get(reached, ()):
                    yield i, _crop(film, frame, row, video.crop)
                if reached == last:
                    return
    except Unreadable as error:
        reason = _EARLY if error.reason == NO_FILM else error.reason  # cut within its header
        for number, rows in wanted.items():
            yield from ((i, reason) for i, _ in rows if number > reached)


def _crop(film: Any, frame: Any, row: dict[str, Any], crop: Crop) -> Stored | str:
    try:
        if crop.must_find(row):  # as `predict` sees it
            seen = film.orientation(frame), float(film.pixel_aspect or 1)
            return store_found(film.picture(frame), row, crop, "video", seen=seen)
        picture = frame.to_ndarray(format="rgb24")
        affine = crop.affine_of(row)
        if affine is not None:
            return store_picture(picture, affine, crop.size, "video")
    except Unreadable as error:
        return error.reason
    height, width = picture.shape[:2]
    facts = (width, height, width, height)
    return Stored(encode_jpeg(picture), "jpg", "video", *facts)


def load_staged(store: Store, place: dict[str, Any]) -> Stored:
    """A staged frame, from a row of the plan."""
    content = store.read(place["staged_file"], place["staged_offset"], place["staged_size"])
    return Stored(content, *json.loads(place["staged_facts"]))
