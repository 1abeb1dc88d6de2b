"""Frames in, faces with valence and arousal out, in batches and in order."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avce.inference.predictor import Face, Finder, Predictor
from avce.inference.sinks import Sink
from avce.inference.tracks import Tracker
from avce.inference.video import Frame, Skipped
from shards.image import Unreadable

_HELD = 128 << 20  # bytes of pictures waiting for their batch


class _Batch(NamedTuple):
    """Frames with their faces, and the faces' pixels in the same order."""

    frames: list[Frame]
    boxes: list[np.ndarray]  # (faces, 5 or 15) a frame; a NaN box is the whole picture
    tracks: list[list[int | None]]
    pixels: list[np.ndarray]


def predict_stream(
    predictor: Predictor,
    frames: Iterable[Frame],
    *,
    find: Finder | None = None,
    skipped: Skipped | None = None,
    batch_size: int = 64,
) -> Generator[tuple[Frame, list[Face]], None, None]:
    """Every frame in order with its faces, found by `find`; without it each frame is one face.

    A frame without a face comes with none, and is told to `skipped`.
    """
    skipped = skipped or Skipped()
    for batch in ahead(_batched(predictor, frames, find, skipped, batch_size)):
        preds = predictor.encode(np.stack(batch.pixels), batch_size) if batch.pixels else []
        said = iter(preds)
        for frame, boxes, tracks in zip(batch.frames, batch.boxes, batch.tracks, strict=True):
            pairs = zip(boxes, tracks, strict=True)
            yield frame, [_face(box, track, next(said)) for box, track in pairs]


def _face(box: np.ndarray, track: int | None, preds: np.ndarray) -> Face:
    if np.isnan(box[0]):
        return Face(None, None, track, preds)
    left, top, right, bottom, confidence = box[:5].tolist()
    return Face((left, top, right, bottom), confidence, track, preds)


def _batched(
    predictor: Predictor,
    frames: Iterable[Frame],
    find: Finder | None,
    skipped: Skipped,
    batch_size: int,
) -> Iterator[_Batch]:
    batch, held = _Batch([], [], [], []), 0
    source, tracker = None, Tracker()
    for frame in frames:
        if frame.source != source:
            source, tracker = frame.source, Tracker()
        boxes, pixels = _cut(predictor, frame, _boxes(frame, find, skipped), skipped)
        batch.frames.append(frame)
        batch.boxes.append(boxes)
        batch.tracks.append(_tracks(frame, boxes, tracker))
        batch.pixels.extend(pixels)
        held += frame.picture.nbytes
        if len(batch.pixels) >= batch_size or held >= _HELD:
            yield batch
            batch, held = _Batch([], [], [], []), 0
    if batch.frames:
        yield batch


def _boxes(frame: Frame, find: Finder | None, skipped: Skipped) -> np.ndarray:
    if find is None:
        return np.full((1, 5), np.nan, np.float32)
    boxes = find(frame.picture)
    if not len(boxes):
        skipped.add("no face found", frame.place)
    return boxes


def _tracks(frame: Frame, boxes: np.ndarray, tracker: Tracker) -> list[int | None]:
    """Faces of a still image have no past."""
    if frame.number is None:
        return [None] * len(boxes)
    if np.isnan(boxes).any():
        return [0]
    return list(tracker(boxes[:, :4].astype(np.float64)))


def _cut(
    predictor: Predictor, frame: Frame, boxes: np.ndarray, skipped: Skipped
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The boxes that can be cut, and their pixels."""
    kept, pixels = np.ones(len(boxes), bool), []
    for i, box in enumerate(boxes):
        left, top, right, bottom = box[:4].tolist()
        where = None if np.isnan(left) else (left, top, right, bottom)
        try:
            pixels.append(predictor.prepare(frame.picture, where))
        except Unreadable as error:
            kept[i] = False
            skipped.add(error.reason, frame.place)
    return boxes[kept], pixels


def ahead(items: Iterable[Any], depth: int = 2) -> Iterator[Any]:
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

    def __str__(self) -> str:
        rate = self.frames / max(self.seconds, 1e-9)
        where = f" in {self.kept}" if self.kept else ""
        end = f"; interrupted, what was predicted is kept{where}" if self.interrupted else ""
        return f"{self.faces:,} faces in {self.frames:,} frames, {rate:,.1f} frames/s{end}"


def predict_to(
    sink: Sink,
    predictor: Predictor,
    frames: Iterable[Frame],
    *,
    find: Finder | None = None,
    skipped: Skipped | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Predict `frames` into `sink`; interrupted or failed, what was predicted is kept.

    It is kept beside a result of before, never in its place. Ctrl-C ends the sources: a camera has
    no other end. Raises ValueError when there was not one face in all of them.
    """
    start, done, faces_seen = time.perf_counter(), 0, 0
    skipped = skipped or Skipped()
    stream = predict_stream(predictor, frames, find=find, skipped=skipped, batch_size=batch_size)
    whole = interrupted = False
    try:
        for frame, faces in stream:
            whole = frame.live
            sink.add(frame, faces)
            done, faces_seen = done + 1, faces_seen + len(faces)
            if progress:
                progress(done, 0)
        whole = True
    except KeyboardInterrupt:
        interrupted = True
    except BaseException as error:
        stream.close()
        if kept := sink.close(False):
            error.add_note(f"what was predicted before is kept in {kept}")
        raise
    stream.close()
    kept = sink.close(whole)
    if not faces_seen and not interrupted:
        why = "; ".join(skipped.lines()) or "there was no picture"
        raise ValueError(f"nothing was predicted: {why}; check the sources, or say --faces whole")
    return Summary(done, faces_seen, time.perf_counter() - start, interrupted, kept)
