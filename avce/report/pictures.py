"""The pictures of a paper, made from runs: what they said, where they looked, how z is laid out.

Each is a `Picture`: a name for its files, a title, a caption, a function that draws it, and the
numbers that say how far to believe it. What is costly (maps, t-SNE) is computed once, before it is
drawn in one theme or two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from avce.report import KINDS, curves, embedding, figures, maps
from avce.report.course import fluctuation
from avce.report.figures import Picture, by_axis, plain
from avce.report.samples import Thumbnail, thumbnail_of
from avce.report.trained_run import TrainedRun, latents, pixels_of, stack_of
from avce.scores.metrics import second_moments
from avce.scores.predictions import (
    aligned,
    in_order,
    is_classes,
    over_the_plane,
    pair_of,
    videos_of,
)
from avce.scores.sheet import printable

WAYS: dict[maps.Kind, str] = {
    "integrated": "integrated gradients from the plain mean colour",
    "early": "linearised at the encoder's finest grid",
    "linear": "linearised at the encoder's last grid",
    "grad-cam": "Grad-CAM",
}
SHOWN = 6  # images on the sheet of maps
CHECKED = 32  # images over which the checks of the maps are taken
FEWEST = 10  # samples for a t-SNE
EMBEDDED = 1500  # samples of a t-SNE (method.md 12.4: 1 to 2 thousand)
_THUMBNAILS = 160  # of them, tried as faces; those that would cover another are left out


def collection(
    runs: Sequence[TrainedRun],
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
    runs = [replace(run, name=printable(run.name)) for run in runs]
    ordered = aligned([run.table for run in runs])
    tables = dict(zip((run.name for run in runs), ordered, strict=True))
    if len(tables) < len(runs):
        raise ValueError(f"two runs are called {runs[0].name}; rename a folder of them")
    if "training" in kinds:
        yield from training({run.name: run.log for run in runs})
    if "plane" in kinds:
        yield from said(tables, classes)
    if is_classes(ordered[0]):
        return
    if "maps" in kinds:
        yield activation(runs, kind)
    if "tsne" in kinds and len(ordered[0]) >= FEWEST:
        yield from (neighbours(run, thumbnail) for run in runs)
    if "video" in kinds and (video or frames or videos_of(in_order(ordered[0]))):
        yield fluctuation(runs, video, frames, kind)


def saved(pictures: Iterable[Picture], folder: Path) -> Iterator[tuple[Picture, list[Path]]]:
    """Write each picture as FOLDER/NAME.png and .svg, one after the other."""
    taken: Counter[str] = Counter()
    for picture in pictures:
        taken[picture.name] += 1
        again = f"-{taken[picture.name]}" if taken[picture.name] > 1 else ""  # "a b" beside "a-b"
        yield picture, figures.save(picture.draw, folder / f"{picture.name}{again}")


# ---------------------------------------------------------------------------- what runs said


def training(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Picture]:
    """The curves of those runs that have a log."""
    kept = {name: log for name, log in logs.items() if log}
    caption = "Thin: as logged. Thick: moving average over nine records."
    draw = partial(curves.training_curves, kept)
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
    m = second_moments(torch.from_numpy(preds), torch.from_numpy(target))
    return by_axis(torch.where(m.varied, m.cov / m.var_x, torch.nan).tolist())


def _confusion(name: str, table: pa.Table, classes: Sequence[str]) -> Picture:
    pair = pair_of(table)
    count = pair.preds.shape[1]
    cells = pair.target * count + pair.preds.argmax(1)
    counts = torch.bincount(cells, minlength=count * count).view(count, count).tolist()
    names = [*classes[:count], *map(str, range(len(classes), count))]
    draw = partial(figures.confusion, counts, names)
    title = f"Who was taken for whom, {name}"
    return Picture(f"confusion-{plain(name)}", title, "Per cent of each label.", draw)


# ---------------------------------------------------------------------------- activation maps


class _Reader(NamedTuple):
    """One column pair of the sheet: R of a run, or H."""

    name: str
    run: TrainedRun
    head: maps.Head


def activation(
    runs: Sequence[TrainedRun],
    kind: maps.Kind = "linear",
    *,
    shown: int = SHOWN,
    checked: int = CHECKED,
    seed: int = 0,
) -> Picture:
    """Maps per axis of every run, R and, where it was trained, H, on samples from all over the
    plane; numbers: completeness and deletion (R), Gini index and mass of the top tenth (both)."""
    table = runs[0].table
    rows = table["row"].to_numpy()[over_the_plane(table, seed)[:checked]]
    stacks = {run.name: stack_of(run, rows) for run in runs}
    readers = [reader for run in runs for reader in _readers(run)]
    pictures = pixels_of(stacks[runs[0].name].image)
    found = {
        r.name: maps.axis_maps(r.run.method, stacks[r.run.name].image, head=r.head, kind=kind)
        for r in readers
    }
    size = pictures.shape[1:3]
    drawn = {name: each.shown(size).cpu().numpy() for name, each in found.items()}
    labels = stacks[runs[0].name].target
    sheets = [
        figures.Sheet(
            pictures[i], {n: m[i] for n, m in drawn.items()}, (labels[i][0], labels[i][1])
        )
        for i in _evenly(np.arange(len(rows)), shown)
    ]
    numbers: dict[str, Any] = {name: _concentration(shown) for name, shown in drawn.items()}
    for run in runs:
        name, image = f"{run.name} (R)", stacks[run.name].image
        numbers[name] |= checks_of(run, image, found[name], kind, seed)
    caption = (
        f"Where a prediction comes from ({WAYS[kind]}): R reads z, H the attentive view of it. "
        "Bright places speak for the sign of the output; an even dark map is empty."
    )
    draw = partial(figures.activation_maps, sheets)
    return Picture("activation-maps", "Activation maps", caption, draw, numbers)


def _readers(run: TrainedRun) -> list[_Reader]:
    found = [_Reader(f"{run.name} (R)", run, "regressor")]
    if maps.reads_views(run.method):
        found.append(_Reader(f"{run.name} (H)", run, "projection_head"))
    return found


def _concentration(shown: Float[np.ndarray, "n k h w"]) -> dict[str, Any]:
    """How few places a map needs, mean over the maps that are not empty: H should need fewer than
    R. H's are empty where SparseMax gives all weight to one number, which no place can change."""
    found = torch.from_numpy(shown)
    empty = found.flatten(-2).amax(-1) == 0
    return {
        "empty": by_axis(empty.double().mean(0).tolist()),
        "gini": by_axis(maps.gini(found).where(~empty, np.nan).nanmean(0).tolist()),
        "mass_of_top_tenth": by_axis(
            maps.top_share(found).where(~empty, np.nan).nanmean(0).tolist()
        ),
    }


def checks_of(
    run: TrainedRun,
    image: Float[Tensor, "n 3 h w"],
    found: maps.AxisMaps,
    kind: maps.Kind,
    seed: int = 0,
) -> dict[str, Any]:
    """Deletion by the maps of a run's R, and completeness of kinds that promise it, per axis."""
    gone = maps.deletion(run.method, image, found=found, seed=seed)
    checked: dict[str, Any] = {
        f"deletion_{name}": by_axis(values) for name, values in gone._asdict().items()
    }
    if kind == "integrated":
        gap = maps.integration_gap(run.method, image, found)
        checked["completeness_gap"] = by_axis(gap)
    if kind == "linear":
        whole = maps.completeness(run.method, image)
        checked["completeness_gap"] = by_axis(whole.gap)
        checked["from_biases"] = by_axis(whole.from_biases)
    return checked


# ---------------------------------------------------------------------------- z


def neighbours(
    run: TrainedRun, thumbnail: Thumbnail | None = None, most: int = EMBEDDED, seed: int = 0
) -> Picture:
    """t-SNE of z with faces, over at most `most` samples, as many of each video as it can be."""
    chosen = run.table["row"].to_numpy()[stratified(run.table, most, seed)]
    rows, z, target = latents(run, chosen)
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
    name = f"tsne-{plain(run.name)}"
    return Picture(name, f"t-SNE of z, {run.name}", caption, draw, numbers)


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
