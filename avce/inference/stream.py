"""Frames in, faces with valence and arousal out, in batches and in order."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avce.inference.journal import At, Told
from avce.inference.predictor import Face, Finder, Predictor
from avce.inference.rows import crop_name
from avce.inference.sinks import Sink
from avce.inference.sources import Reading
from avce.inference.tracks import Tracker
from avce.inference.video import Frame, Skipped
from shards.image import Unreadable, encode_png

_READ = "read are JPEG, PNG, BMP, TIFF, GIF, WebP, AVIF, HEIC, JPEG 2000, PPM and films: give those"
_HELD = 128 << 20  # bytes of pictures waiting for their batch
_FACELESS = 4  # times as many frames as faces are enough


class _Batch(NamedTuple):
    """Frames with their faces, the faces' pixels in the same order, and where the next begins."""

    frames: list[Frame]
    boxes: list[np.ndarray]  # (faces, 5 or 15) a frame; a NaN box is the whole picture
    tracks: list[list[int | None]]
    pixels: list[np.ndarray]
    left: list[tuple[str, str]]  # out on the way
    at: At


def predict_stream(
    predictor: Predictor,
    frames: Iterable[Frame],
    *,
    find: Finder | None = None,
    skipped: Skipped | None = None,
    batch_size: int = 64,
) -> Generator[tuple[Frame, list[Face]], None, None]:
    """Every frame in order with its faces, found by `find`; without it each frame is one face.

    A frame without a face comes with none and with its `reason`, and is told to `skipped`.
    """
    looking = _Looking(predictor, find, skipped or Skipped(), batch_size)
    for batch in ahead(looking.batches(Reading.of(frames))):
        yield from _said(predictor, batch, batch_size)


def _said(
    predictor: Predictor, batch: _Batch, batch_size: int
) -> Iterator[tuple[Frame, list[Face]]]:
    preds = predictor.encode(np.stack(batch.pixels), batch_size) if batch.pixels else []
    said = iter(preds)
    for frame, boxes, tracks in zip(batch.frames, batch.boxes, batch.tracks, strict=True):
        pairs = zip(boxes, tracks, strict=True)
        yield frame, [_face(box, track, next(said)) for box, track in pairs]


def _face(box: np.ndarray, track: int | None, preds: np.ndarray) -> Face:
    if np.isnan(box[0]):
        return Face(None, None, track, preds)
    left, top, right, bottom, confidence, *points = box.tolist()
    known = points if points and not np.isnan(points).any() else None
    return Face((left, top, right, bottom), confidence, track, preds, known)


@dataclass
class _Looking:
    """Frames become batches: each is searched, its faces followed and cut."""

    predictor: Predictor
    find: Finder | None
    skipped: Skipped
    batch_size: int
    source: str | None = None
    tracker: Tracker = field(default_factory=Tracker)

    def batches(self, reading: Reading) -> Iterator[_Batch]:
        """Of so many faces, or of fewer where pictures are large or show none."""
        batch, held = self._begun(), 0
        for frame in reading:
            found, pixels = self._cut(frame, self._boxes(frame))
            batch.frames.append(frame if len(found) else frame._replace(reason=self._reason()))
            batch.boxes.append(found)
            batch.tracks.append(self._tracks(frame, found))
            batch.pixels.extend(pixels)
            held += frame.picture.nbytes
            many = max(len(batch.pixels), len(batch.frames) // _FACELESS)
            if many >= self.batch_size or held >= _HELD:
                yield batch._replace(left=self.skipped.taken(), at=reading.at)
                batch, held = self._begun(), 0
        yield batch._replace(left=self.skipped.taken(), at=reading.at)

    def follow(self, told: Iterable[Told]) -> None:
        """Know the tracks of before."""
        for frame, faces in chain.from_iterable(batch.frames for batch in told):
            boxes = [face.box or (np.nan,) * 4 for face in faces]
            self._tracks(frame, np.array(boxes, np.float32).reshape(-1, 4))

    def _begun(self) -> _Batch:
        return _Batch([], [], [], [], [], (0, 0))

    def _reason(self) -> str:
        """Why the frame shows no face: what was told last."""
        return self.skipped.fresh[-1][0]

    def _boxes(self, frame: Frame) -> np.ndarray:
        if self.find is None:
            return np.full((1, 5), np.nan, np.float32)
        boxes = self.find(frame.picture)
        if not len(boxes):
            self.skipped.add("no face found", frame.place)
        return boxes

    def _tracks(self, frame: Frame, boxes: np.ndarray) -> list[int | None]:
        """Faces of a still image have no past."""
        if frame.source != self.source:
            self.source, self.tracker = frame.source, Tracker()
        if frame.number is None:
            return [None] * len(boxes)
        if np.isnan(boxes[:, :4]).any():
            return [0]
        return list(self.tracker(boxes[:, :4].astype(np.float64)))

    def _cut(self, frame: Frame, boxes: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """The boxes that can be cut, and their pixels."""
        kept, pixels = np.ones(len(boxes), bool), []
        for i, box in enumerate(boxes):
            left, top, right, bottom = box[:4].tolist()
            where = None if np.isnan(left) else (left, top, right, bottom)
            try:
                pixels.append(self.predictor.prepare(frame.picture, where))
            except Unreadable as error:
                kept[i] = False
                self.skipped.add(error.reason, frame.place)
        return boxes[kept], pixels


def ahead(items: Iterable[Any], depth: int = 2) -> Generator[Any, None, None]:
    """`items`, made in a thread up to `depth` before they are asked for; its errors come here."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    left = threading.Event()
    thread = threading.Thread(target=_make, args=(items, ready, left), daemon=True)
    thread.start()
    try:
        while (got := ready.get())[0] == "item":
            yield got[1]
        if got[0] == "error":
            raise got[1]
    finally:
        left.set()
        while thread.is_alive():  # it may wait for room
            _drain(ready)
            thread.join(0.05)


def _make(items: Iterable[Any], ready: queue.Queue[Any], left: threading.Event) -> None:
    try:
        for item in items:
            ready.put(("item", item))
            if left.is_set():
                return
        ready.put(("end", None))
    except BaseException as error:  # raised again where the items are used
        ready.put(("error", error))


def _drain(ready: queue.Queue[Any]) -> None:
    while not ready.empty():
        ready.get_nowait()


class Summary(NamedTuple):
    """What a run over some sources did."""

    frames: int
    faces: int
    seconds: float
    interrupted: bool = False
    kept: Path | None = None  # where the result lies; None on stdout
    before: int = 0  # of the frames, by the same command when it was broken off

    def __str__(self) -> str:
        rate = (self.frames - self.before) / max(self.seconds, 1e-9)
        where = f" in {self.kept}" if self.kept else ""
        end = f"; interrupted, what was predicted is kept{where}" if self.interrupted else ""
        more = f" ({self.before:,} of them before)" if self.before else ""
        return f"{self.faces:,} faces in {self.frames:,} frames{more}, {rate:,.1f} frames/s{end}"


def predict_to(
    sink: Sink,
    predictor: Predictor,
    frames: Iterable[Frame],
    *,
    find: Finder | None = None,
    skipped: Skipped | None = None,
    batch_size: int = 64,
    crops: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Predict `frames` into `sink`; interrupted or failed, what was predicted is kept.

    It is kept beside a result of before, never in its place. Ctrl-C ends the sources: a camera has
    no other end. A sink that knows how far it was goes on there. `crops` is a folder for the faces
    as the network sees them. Raises ValueError when there was not one face in all of them.
    """
    start, reading = time.perf_counter(), Reading.of(frames)
    looking = _Looking(predictor, find, skipped or Skipped(), batch_size)
    before = done = _go_on(sink, looking, reading)
    batches = ahead(looking.batches(reading))
    whole = interrupted = False
    try:
        for batch in batches:
            pixels = iter(batch.pixels)
            for frame, faces in _said(predictor, batch, batch_size):
                if crops:
                    _keep(crops, frame, list(islice(pixels, len(faces))))
                whole = frame.live
                sink.add(frame, faces)
                done += 1
                if progress:
                    progress(done, reading.total)
            sink.commit(batch.left, batch.at)
        whole = True
    except KeyboardInterrupt:
        interrupted = True
    except BaseException as error:
        batches.close()
        if kept := sink.close(False, again=isinstance(error, OSError)):
            error.add_note(f"what was predicted before is kept in {kept}")
        raise
    batches.close()
    kept = sink.close(whole, again=interrupted)
    if not sink.faces and not interrupted:
        why = "; ".join(looking.skipped.lines()) or "there was no picture"
        faceless = "no face found" in looking.skipped.counts
        advice = "check the sources, or say --faces whole" if faceless else _READ
        raise ValueError(f"nothing was predicted: {why}; {advice}")
    return Summary(done, sink.faces, time.perf_counter() - start, interrupted, kept, before)


def _keep(folder: Path, frame: Frame, faces: list[np.ndarray]) -> None:
    for number, face in enumerate(faces):
        (folder / crop_name(frame, number)).write_bytes(encode_png(face))


def _go_on(sink: Sink, looking: _Looking, reading: Reading) -> int:
    """Take up what the sink knows from before; the number of those frames.

    What was left out while the sources were listed was left out before too, in the same order.
    """
    if sink.journal is None or not sink.journal.frames:
        return 0
    listed = len(looking.skipped.taken())
    left = chain.from_iterable(batch.left for batch in sink.journal.told())
    for reason, place in islice(left, listed, None):
        looking.skipped.add(reason, place)
    looking.skipped.taken()
    looking.follow(sink.journal.told())
    sink.begin_again(reading)
    reading.after = reading.at = sink.journal.at
    return sink.journal.frames
