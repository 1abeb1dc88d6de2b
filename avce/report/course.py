"""What runs say along a video: one of the selection, or a film that nobody labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avce.inference.predictor import Face, Finder, Predictor, normalised
from avce.inference.stream import predict_stream
from avce.inference.video import Frame
from avce.method.base import Method
from avce.report import curves, maps
from avce.report.figures import Picture, by_axis, plain
from avce.report.trained_run import TrainedRun, pixels_of, stack_of
from avce.scores.evaluate import Progress, device_of
from avce.scores.metrics import ccc
from avce.scores.predictions import in_order, pair_of, videos_of
from avce.scores.sheet import printable

_MOMENTS = 4


class Course(NamedTuple):
    """What runs said along a video."""

    name: str
    frames: np.ndarray  # (n,) ascending
    preds: dict[str, np.ndarray]  # run -> (n, 2)
    target: np.ndarray | None  # (n, 2), None where nobody labelled it


def course_of(runs: Sequence[TrainedRun], video: str | None = None) -> tuple[Course, np.ndarray]:
    """A video of the selection, the longest if none is named, and the rows of its frames.

    Raises ValueError where the selection has no such video.
    """
    tables = [in_order(run.table) for run in runs]
    known = {v["name"]: slice(v["start"], v["stop"]) for v in videos_of(tables[0])}
    if not known:
        raise ValueError(
            "the selection holds no video of two frames or more; choose shards of videos, or give "
            "a video file"
        )
    name = video or next(iter(known))
    if name not in known:
        first = ", ".join(list(known)[:8])
        raise ValueError(f"the selection holds no video {name!r}; there are {first}")
    cuts = [t.slice(known[name].start, known[name].stop - known[name].start) for t in tables]
    pairs = [pair_of(cut) for cut in cuts]
    preds = {e.name: pair.preds.numpy() for e, pair in zip(runs, pairs, strict=True)}
    frames = cuts[0]["frame_index"].to_numpy()
    return Course(name, frames, preds, pairs[0].target.numpy()), cuts[0]["row"].to_numpy()


def fluctuation(
    runs: Sequence[TrainedRun],
    video: str | None = None,
    frames: Sequence[int] = (),
    kind: maps.Kind = "linear",
) -> Picture:
    """Frame-by-frame emotion of a video of the selection, with maps at chosen frames.

    Without `frames`, the most emotional one of each quarter. A frame that was not labelled is a
    ValueError.
    """
    course, rows = course_of(runs, video)
    chosen = np.array(frames or peaks(course), np.int64)
    places = np.searchsorted(course.frames, chosen).clip(max=len(course.frames) - 1)
    absent = chosen[course.frames[places] != chosen]
    if len(absent):
        raise ValueError(
            f"frame {absent[0]} of {course.name} is not in the selection, which holds "
            f"{len(course.frames):,} frames from {course.frames[0]} to {course.frames[-1]}"
        )
    stacks = {e.name: stack_of(e, rows[places]).image for e in runs}
    methods = {e.name: e.method for e in runs}
    return _fluctuating(course, _moments(methods, stacks, chosen, kind))


def fluctuation_of_film(
    predictors: Mapping[str, Predictor],
    frames: Callable[[], Iterable[Frame]],
    find: Finder | None,
    chosen: Sequence[int] = (),
    kind: maps.Kind = "linear",
    progress: Progress | None = None,
) -> Picture:
    """The same of any video file: the face seen longest; where it is not seen lines have gaps.

    The film is read once for each run and once more for the chosen frames, so that memory does
    not grow with it.
    """
    predictors = {printable(name): one for name, one in predictors.items()}
    seen = {n: _followed(p, frames(), find, progress) for n, p in predictors.items()}
    first = next(iter(seen.values()))
    course = Course(first.source, first.numbers, {n: s.preds for n, s in seen.items()}, None)
    wanted = sorted(chosen or peaks(course))
    known = dict(zip(first.numbers.tolist(), first.faces, strict=True))
    missing = [w for w in wanted if known.get(w) is None]
    if missing:
        raise ValueError(
            f"frame {missing[0]} of {first.source} shows no face; frames go from "
            f"{first.numbers[0]} to {first.numbers[-1]}"
        )
    pictures = [f.picture for f in frames() if f.number in set(wanted)]
    stacks = {
        name: _prepared(predictor, pictures, [known[w] for w in wanted])
        for name, predictor in predictors.items()
    }
    methods = {name: _method_of(predictor) for name, predictor in predictors.items()}
    return _fluctuating(course, _moments(methods, stacks, np.array(wanted), kind))


class _Followed(NamedTuple):
    """One face through a film, as one run sees it."""

    source: str
    numbers: np.ndarray  # (n,)
    faces: list[Face | None]
    preds: np.ndarray  # (n, 2), NaN where the face is not seen


def _followed(
    predictor: Predictor, frames: Iterable[Frame], find: Finder | None, progress: Progress | None
) -> _Followed:
    numbers, faces, source = [], [], ""
    for frame, found in predict_stream(predictor, frames, find=find):
        source = frame.source
        numbers.append(frame.number)
        faces.append({face.track: face for face in found})
        if progress:
            progress(len(numbers), 0)
    tracks = [track for found in faces for track in found]
    if not tracks:
        raise ValueError(f"no face was found in {source or 'the video'}; say --faces whole")
    longest = max(set(tracks), key=tracks.count)
    kept = [found.get(longest) for found in faces]
    preds = np.stack([np.full(2, np.nan) if f is None else f.preds for f in kept])
    return _Followed(source, np.array(numbers), kept, preds)


def _prepared(
    predictor: Predictor, pictures: Sequence[np.ndarray], faces: Sequence[Face | None]
) -> Tensor:
    pixels = [
        predictor.prepare(p, f.box if f else None) for p, f in zip(pictures, faces, strict=True)
    ]
    image = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return normalised(image.to(device_of(predictor.model)))


def _method_of(predictor: Predictor) -> Method:
    assert isinstance(predictor.model, Method)  # of a run folder; figures takes no other
    return predictor.model


def peaks(course: Course, count: int = _MOMENTS) -> list[int]:
    """The frame furthest from neutral in each of `count` equal parts, by label or first run."""
    values = next(iter(course.preds.values())) if course.target is None else course.target
    far = np.nan_to_num(np.hypot(*values.T), nan=-1.0)
    parts = [p for p in np.array_split(np.arange(len(far)), count) if len(p)]
    tops = [int(p[far[p].argmax()]) for p in parts]
    return [int(course.frames[t]) for t in tops if far[t] >= 0]


def _moments(
    methods: Mapping[str, Method],
    stacks: Mapping[str, Tensor],
    frames: np.ndarray,
    kind: maps.Kind,
) -> list[curves.Moment]:
    pictures = pixels_of(next(iter(stacks.values())))
    size = pictures.shape[1:3]
    heat = {
        name: maps.mean_map(maps.axis_maps(method, stacks[name], kind=kind).shown(size))
        for name, method in methods.items()
    }
    return [
        curves.Moment(int(frame), pictures[i], {n: m[i].cpu().numpy() for n, m in heat.items()})
        for i, frame in enumerate(frames)
    ]


def _fluctuating(course: Course, moments: list[curves.Moment]) -> Picture:
    numbers: dict[str, Any] = {}
    notes: dict[str, str] = {}
    for name, preds in course.preds.items():
        if course.target is not None:
            scores = ccc(torch.from_numpy(preds), torch.from_numpy(course.target)).tolist()
            numbers[name] = {"ccc": by_axis(scores), "frames": len(preds)}
            notes[name] = "CCC {:.2f} {:.2f}".format(*scores)
    film = Path(printable(course.name))
    draw = partial(
        curves.fluctuation,
        course.frames,
        course.target,
        course.preds,
        moments,
        title=film.name,
        notes=notes,
    )
    caption = (
        "Lines are runs, grey is the label. Tiles at the dashed frames: the mean of both axes' "
        "maps of each run, and the face."
    )
    name, title = f"video-{plain(film.stem)}", f"Frame by frame, {film.name}"
    return Picture(name, title, caption, draw, numbers)
