"""The pictures of a paper, made from runs: what they said, where they looked, how z is laid out.

Each is a `Picture`: a name for its files, a title, a caption, a function that draws it, and the
numbers that say how far to believe it. What is costly (maps, t-SNE) is computed once, before it is
drawn in one theme or two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from avce.inference.predictor import Face, Finder, Predictor, normalised
from avce.inference.stream import predict_stream
from avce.inference.video import Frame
from avce.method.base import Method
from avce.method.encoders import MEAN, STD
from avce.report import KINDS, embedding, figures, maps
from avce.report.samples import Thumbnail, thumbnail_of
from avce.scores.evaluate import Progress, device_of, predictions
from avce.scores.metrics import ccc
from avce.scores.predictions import (
    aligned,
    in_order,
    is_classes,
    over_the_plane,
    pair_of,
    videos_of,
)

SHOWN = 6  # images on the sheet of maps
CHECKED = 32  # images over which the checks of the maps are taken
FEWEST = 10  # samples for a t-SNE
EMBEDDED = 1500  # samples of a t-SNE (method.md 12.4: 1 to 2 thousand)
_THUMBNAILS = 160  # of them, tried as faces; those that would cover another are left out
_MOMENTS = 4


class Picture(NamedTuple):
    """A figure that can be drawn again, for another theme or format."""

    name: str  # of its files
    title: str
    caption: str
    draw: Callable[[], figures.Figure]
    numbers: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Exhibit:
    """A run that can still be asked about images, beside what it said."""

    name: str
    method: Method
    table: pa.Table
    images: Callable[[np.ndarray], Iterable[Any]]  # rows of the index -> batches of them
    log: Sequence[Mapping[str, Any]] = ()  # the records of its log.jsonl


def collection(
    exhibits: Sequence[Exhibit],
    kinds: Collection[str] = KINDS,
    thumbnail: Thumbnail | None = None,
    classes: Sequence[str] = (),
    kind: maps.Kind = "linear",
    video: str | None = None,
    frames: Sequence[int] = (),
) -> Iterator[Picture]:
    """Every picture of `kinds` that these runs can have, one after the other.

    `thumbnail` gives the encoded image of a row, `kind` is that of the maps, `video` and `frames`
    are as in `fluctuation`. Runs of classes have no plane and what follows from it; few samples no
    t-SNE; a selection without videos no course over time, unless one is asked for by name. The
    runs must have predicted the same samples (ValueError).
    """
    ordered = aligned([exhibit.table for exhibit in exhibits])
    tables = dict(zip((exhibit.name for exhibit in exhibits), ordered, strict=True))
    if len(tables) < len(exhibits):
        raise ValueError(f"two runs are called {exhibits[0].name}; rename a folder of them")
    if "training" in kinds:
        yield from training({exhibit.name: exhibit.log for exhibit in exhibits})
    if "plane" in kinds:
        yield from said(tables, classes)
    if is_classes(ordered[0]):
        return
    if "maps" in kinds:
        yield activation(exhibits, kind)
    if "tsne" in kinds and len(ordered[0]) >= FEWEST:
        yield from (neighbours(exhibit, thumbnail) for exhibit in exhibits)
    if "video" in kinds and (video or frames or videos_of(in_order(ordered[0]))):
        yield fluctuation(exhibits, video, frames, kind)


def saved(pictures: Iterable[Picture], folder: Path) -> Iterator[tuple[Picture, list[Path]]]:
    """Write each picture as FOLDER/NAME.png and .svg, one after the other."""
    for picture in pictures:
        yield picture, figures.save(picture.draw, folder / picture.name)


# ---------------------------------------------------------------------------- what runs said


def training(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Picture]:
    """The curves of those runs that have a log."""
    kept = {name: log for name, log in logs.items() if log}
    caption = "Thin: as logged. Thick: moving average over nine records."
    draw = partial(figures.training_curves, kept)
    return [Picture("training", "Training", caption, draw)] if kept else []


def said(tables: Mapping[str, pa.Table], classes: Sequence[str] = ()) -> list[Picture]:
    """The plane of each run and the calibration of all; of classes the confusions."""
    if is_classes(next(iter(tables.values()))):
        return [_confusion(name, table, classes) for name, table in tables.items()]
    pairs = {name: pair_of(table) for name, table in tables.items()}
    target = next(iter(pairs.values())).target.numpy()
    preds = {name: pair.preds.numpy() for name, pair in pairs.items()}
    planes = [_plane(name, target, values) for name, values in preds.items()]
    caption = (
        "The mean label of samples predicted alike; the band is one standard deviation. Steeper "
        "than the diagonal: the run says too little; flatter: too much."
    )
    draw = partial(figures.calibration, target, preds)
    slopes = {name: _slopes(values, target) for name, values in preds.items()}
    return [*planes, Picture("calibration", "Calibration", caption, draw, {"slope": slopes})]


def _plane(name: str, target: np.ndarray, preds: np.ndarray) -> Picture:
    caption = (
        "Where labels and predictions lie, and how far predictions are drawn towards the middle. "
        "Arrows join the mean label and the mean prediction of a cell."
    )
    draw = partial(figures.plane, target, preds, name=name)
    return Picture(f"plane-{plain(name)}", f"The plane, {name}", caption, draw)


def _slopes(preds: np.ndarray, target: np.ndarray) -> dict[str, float | None]:
    """Of the label over the prediction, by least squares; 1 where predictions are honest."""
    centred = preds - preds.mean(0)
    spread = (centred**2).sum(0)
    slope = (centred * (target - target.mean(0))).sum(0) / np.maximum(spread, 1e-12)
    return {a: float(slope[k]) if spread[k] else None for k, a in enumerate(figures.AXES)}


def _confusion(name: str, table: pa.Table, classes: Sequence[str]) -> Picture:
    pair = pair_of(table)
    count = pair.preds.shape[1]
    cells = pair.target * count + pair.preds.argmax(1)
    counts = torch.bincount(cells, minlength=count * count).view(count, count).tolist()
    names = [*classes[:count], *map(str, range(len(classes), count))]
    draw = partial(figures.confusion, counts, names)
    title = f"Who was taken for whom, {name}"
    return Picture(f"confusion-{plain(name)}", title, "Per cent of each label.", draw)


def plain(name: str) -> str:
    """A name of a run as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


# ---------------------------------------------------------------------------- images


class Stack(NamedTuple):
    """Some samples in memory, in the order they were asked for."""

    image: Tensor  # (n, 3, h, w) normalised
    target: np.ndarray  # (n, 2)


def stack_of(exhibit: Exhibit, rows: Int[np.ndarray, " n"]) -> Stack:
    """The images and labels of these rows as the run sees them."""
    parts = list(predictions(_Itself(), exhibit.images(rows), device=device_of(exhibit.method)))
    row, image, target = (torch.cat(column) for column in zip(*parts, strict=True))
    place = {int(r): i for i, r in enumerate(row)}
    order = torch.tensor([place[int(r)] for r in rows])
    return Stack(image[order.to(image.device)], target.cpu()[order].numpy())


class _Itself(nn.Module):
    def predict(self, image: Tensor) -> Tensor:
        return image


def pixels_of(image: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Normalised images as pictures."""
    mean, std = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    levels = ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


# ---------------------------------------------------------------------------- activation maps


class _Reader(NamedTuple):
    """One column pair of the sheet: R of a run, or H."""

    name: str
    exhibit: Exhibit
    head: maps.Head


def activation(
    exhibits: Sequence[Exhibit],
    kind: maps.Kind = "linear",
    *,
    shown: int = SHOWN,
    checked: int = CHECKED,
    seed: int = 0,
) -> Picture:
    """Maps per axis of every run, R and, where it was trained, H, on samples from all over the
    plane; numbers: completeness and deletion (R), Gini index and mass of the top tenth (both)."""
    table = exhibits[0].table
    rows = table["row"].to_numpy()[over_the_plane(table, seed)[:checked]]
    stacks = {exhibit.name: stack_of(exhibit, rows) for exhibit in exhibits}
    readers = [reader for exhibit in exhibits for reader in _readers(exhibit)]
    pictures = pixels_of(stacks[exhibits[0].name].image)
    drawn = {r.name: _shown(r, stacks, kind, pictures.shape[1:3]) for r in readers}
    labels = stacks[exhibits[0].name].target
    sheets = [
        figures.Sheet(
            pictures[i], {n: m[i] for n, m in drawn.items()}, (labels[i][0], labels[i][1])
        )
        for i in _evenly(np.arange(len(rows)), shown)
    ]
    numbers: dict[str, Any] = {name: _concentration(found) for name, found in drawn.items()}
    for exhibit in exhibits:
        numbers[f"{exhibit.name} (R)"] |= checks_of(exhibit, stacks[exhibit.name].image, kind, seed)
    caption = (
        f"Where a prediction comes from ({'Grad-CAM' if kind == 'grad-cam' else 'linearised'}): "
        "R reads z, H the attentive view of it. Warm places speak for the sign of the output; "
        "an even blue map is empty."
    )
    draw = partial(figures.activation_maps, sheets)
    return Picture("activation-maps", "Activation maps", caption, draw, numbers)


def _readers(exhibit: Exhibit) -> list[_Reader]:
    found = [_Reader(f"{exhibit.name} (R)", exhibit, "regressor")]
    if maps.reads_views(exhibit.method):
        found.append(_Reader(f"{exhibit.name} (H)", exhibit, "projection_head"))
    return found


def _shown(
    reader: _Reader, stacks: Mapping[str, Stack], kind: maps.Kind, size: tuple[int, int]
) -> Float[np.ndarray, "n k h w"]:
    image = stacks[reader.exhibit.name].image
    found = maps.axis_maps(reader.exhibit.method, image, head=reader.head, kind=kind)
    return found.shown(size).cpu().numpy()


def _concentration(shown: Float[np.ndarray, "n k h w"]) -> dict[str, Any]:
    """How few places a map needs, mean over the maps that are not empty: H should need fewer than
    R. H's are empty where SparseMax gives all weight to one number, which no place can change."""
    found = torch.from_numpy(shown)
    empty = found.flatten(-2).amax(-1) == 0
    return {
        "empty": _by_axis(empty.double().mean(0).tolist()),
        "gini": _by_axis(maps.gini(found).where(~empty, np.nan).nanmean(0).tolist()),
        "mass_of_top_tenth": _by_axis(
            maps.top_share(found).where(~empty, np.nan).nanmean(0).tolist()
        ),
    }


def checks_of(
    exhibit: Exhibit, image: Float[Tensor, "n 3 h w"], kind: maps.Kind, seed: int = 0
) -> dict[str, Any]:
    """Completeness (of linear maps) and deletion of a run's R, per axis."""
    gone = maps.deletion(exhibit.method, image, kind=kind, seed=seed)
    found: dict[str, Any] = {
        f"deletion_{name}": _by_axis(values) for name, values in gone._asdict().items()
    }
    if kind == "linear":
        whole = maps.completeness(exhibit.method, image)
        found["completeness_gap"] = _by_axis(whole.gap)
        found["from_biases"] = _by_axis(whole.from_biases)
    return found


def _by_axis(values: Sequence[float]) -> dict[str, float | None]:
    known = [None if np.isnan(value) else value for value in values]  # JSON has no NaN
    return dict(zip(figures.AXES, known, strict=True))


# ---------------------------------------------------------------------------- z


class _Latent(nn.Module):
    """A method whose prediction is z."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def predict(self, image: Tensor) -> Tensor:
        return self.method.model.latent(image)


def latents(exhibit: Exhibit, rows: Int[np.ndarray, " n"]) -> tuple[np.ndarray, ...]:
    """Rows as they came, z (n, 32) in eval mode, and labels (n, 2)."""
    parts = predictions(_Latent(exhibit.method), exhibit.images(rows))
    columns = zip(*parts, strict=True)
    return tuple(torch.cat(column).cpu().numpy() for column in columns)


def neighbours(
    exhibit: Exhibit, thumbnail: Thumbnail | None = None, most: int = EMBEDDED, seed: int = 0
) -> Picture:
    """t-SNE of z with faces, over at most `most` samples, as many of each video as it can be."""
    chosen = exhibit.table["row"].to_numpy()[stratified(exhibit.table, most, seed)]
    rows, z, target = latents(exhibit, chosen)
    found = embedding.embed(z, target, seed)
    faces = _faces(rows, thumbnail, seed) if thumbnail else None
    caption = (
        "z in two dimensions. Distances between far groups mean nothing; the two numbers do: "
        "positive Spearman means that neutral faces lie in the middle."
    )
    numbers = {
        "samples": len(rows),
        "spearman_intensity_distance": found.spearman,
        "neighbours_of_same_quadrant": found.purity,
        "by_chance": found.chance,
    }
    draw = partial(figures.tsne, found, target, faces)
    name = f"tsne-{plain(exhibit.name)}"
    return Picture(name, f"t-SNE of z, {exhibit.name}", caption, draw, numbers)


def _faces(rows: np.ndarray, thumbnail: Thumbnail, seed: int) -> dict[int, np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(rows))[:_THUMBNAILS]
    found = {int(place): thumbnail_of(thumbnail, int(rows[place])) for place in order}
    return {place: image for place, image in found.items() if image is not None}


def stratified(table: pa.Table, most: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """At most `most` positions, the same number of every video, evenly along it; without videos a
    draw over all."""
    videos = videos_of(in_order(table))
    if len(table) <= most or not videos:
        drawn = np.random.default_rng(seed).permutation(len(table))[:most]
        return np.sort(drawn)
    each = max(1, most // len(videos))
    ordered = in_order(table)["row"].to_numpy()
    rows = [_evenly(ordered[v["start"] : v["stop"]], each) for v in videos[:most]]
    place = np.argsort(table["row"].to_numpy(), kind="stable")
    found = np.searchsorted(table["row"].to_numpy(), np.concatenate(rows), sorter=place)
    return np.sort(place[found])


def _evenly(values: np.ndarray, count: int) -> np.ndarray:
    return values[np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))]


# ---------------------------------------------------------------------------- over time


class Course(NamedTuple):
    """What runs said along a video."""

    name: str
    frames: np.ndarray  # (n,) ascending
    preds: dict[str, np.ndarray]  # run -> (n, 2)
    target: np.ndarray | None  # (n, 2), None where nobody labelled it


def course_of(exhibits: Sequence[Exhibit], video: str | None = None) -> tuple[Course, np.ndarray]:
    """A video of the selection, the longest if none is named, and the rows of its frames.

    Raises ValueError where the selection has no such video.
    """
    tables = [in_order(exhibit.table) for exhibit in exhibits]
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
    preds = {e.name: pair.preds.numpy() for e, pair in zip(exhibits, pairs, strict=True)}
    frames = cuts[0]["frame_index"].to_numpy()
    return Course(name, frames, preds, pairs[0].target.numpy()), cuts[0]["row"].to_numpy()


def fluctuation(
    exhibits: Sequence[Exhibit],
    video: str | None = None,
    frames: Sequence[int] = (),
    kind: maps.Kind = "linear",
) -> Picture:
    """Frame-by-frame emotion of a video of the selection, with maps at chosen frames.

    Without `frames`, the most emotional one of each quarter. A frame that was not labelled is a
    ValueError.
    """
    course, rows = course_of(exhibits, video)
    chosen = np.array(frames or peaks(course), np.int64)
    places = np.searchsorted(course.frames, chosen).clip(max=len(course.frames) - 1)
    absent = chosen[course.frames[places] != chosen]
    if len(absent):
        raise ValueError(
            f"frame {absent[0]} of {course.name} is not in the selection, which holds "
            f"{len(course.frames):,} frames from {course.frames[0]} to {course.frames[-1]}"
        )
    stacks = {e.name: stack_of(e, rows[places]).image for e in exhibits}
    methods = {e.name: e.method for e in exhibits}
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
) -> list[figures.Moment]:
    pictures = pixels_of(next(iter(stacks.values())))
    size = pictures.shape[1:3]
    heat = {
        name: maps.mean_map(maps.axis_maps(method, stacks[name], kind=kind).shown(size))
        for name, method in methods.items()
    }
    return [
        figures.Moment(int(frame), pictures[i], {n: m[i].cpu().numpy() for n, m in heat.items()})
        for i, frame in enumerate(frames)
    ]


def _fluctuating(course: Course, moments: list[figures.Moment]) -> Picture:
    numbers: dict[str, Any] = {}
    notes: dict[str, str] = {}
    for name, preds in course.preds.items():
        if course.target is not None:
            scores = ccc(torch.from_numpy(preds), torch.from_numpy(course.target)).tolist()
            numbers[name] = {"ccc": _by_axis(scores), "frames": len(preds)}
            notes[name] = "CCC {:.2f} {:.2f}".format(*scores)
    draw = partial(
        figures.fluctuation,
        course.frames,
        course.target,
        course.preds,
        moments,
        title=Path(course.name).name,
        notes=notes,
    )
    caption = (
        "Lines are runs, grey is the label. Tiles at the dashed frames: the mean of both axes' "
        "maps of each run, and the face."
    )
    return Picture(
        f"video-{plain(Path(course.name).stem)}",
        f"Frame by frame, {Path(course.name).name}",
        caption,
        draw,
        numbers,
    )
