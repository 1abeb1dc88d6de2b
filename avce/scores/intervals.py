"""Scores with bootstrap intervals, clustered by subject or video; per group; run against run.

Frames of one video are no independent samples, so resampling frames gives intervals that are far
too narrow. Here whole clusters are drawn with replacement (Field & Welsh 2007): subjects where they
are known, else videos, else single images. Every score follows from the sums of clusters
(`avce.scores.metrics`), so a resample pools sums and makes no pass over the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from avce.scores import AXES, METRICS
from avce.scores.metrics import (
    CONVENTIONS,
    ClassScores,
    Confusion,
    Convention,
    Moments,
    Scores,
    class_scores_of,
    pooled,
    pooled_often,
    scores_of,
    summed,
)
from avce.scores.predictions import Pair, aligned, is_classes, pair_of

FEW = 10  # clusters below which a percentile interval is known to be too narrow
_AUTHORS_BATCH = 64
_WEIGHTS = 2**22  # of clusters, drawn at a time: 32 MB

progress: ContextVar[Callable[[int, int], None]] = ContextVar("progress", default=lambda *_: None)
"""Is told how many of all draws are done: 420,000 images that each are a cluster take seconds."""


class Interval(NamedTuple):
    """A bootstrap percentile interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Clusters:
    """Which samples are drawn together: a code 0..count-1 a sample."""

    kind: str  # the column, or "image" when every sample is its own
    codes: np.ndarray  # (n,) int64
    names: tuple[str, ...]  # () for "image"

    @property
    def count(self) -> int:
        """How many can be drawn."""
        return int(self.codes.max()) + 1


@dataclass(frozen=True)
class Evaluation:
    """Scores of one run on one set, how sure they are, and how they were computed."""

    name: str
    scores: Scores | ClassScores
    intervals: dict[str, tuple[Interval | None, ...]]  # metric -> one an axis; None: none exists
    convention: str
    clusters: str
    n_clusters: int
    resamples: int
    level: float
    notes: tuple[str, ...] = ()

    def value(self, metric: str, k: int = 0) -> float:
        """A score by name, such as ("ccc", 1) for the arousal's."""
        found = getattr(self.scores, metric)
        return found[k] if isinstance(found, tuple) else found

    def bounds(self, metric: str, k: int = 0) -> Interval | None:
        """The interval of the same score."""
        return self.intervals.get(metric, (None, None))[k]

    def as_dict(self) -> dict[str, Any]:
        """Scores, intervals (null where none exists) and conventions, for JSON."""
        intervals = {
            metric: [None if i is None else list(i) for i in per_axis]
            for metric, per_axis in self.intervals.items()
        }
        named = {"name": self.name, "convention_name": self.convention, "notes": list(self.notes)}
        about = ("level", "resamples", "clusters", "n_clusters")
        bootstrap = {name: getattr(self, name) for name in about}
        return named | self.scores.as_dict() | {"intervals": intervals, "bootstrap": bootstrap}


def assess(
    table: pa.Table,
    name: str = "",
    *,
    convention: str = "ours",
    clusters: str = "auto",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    clip: bool = False,
) -> Evaluation:
    """Score a table of predictions (`avce.scores.predictions`) and bootstrap its intervals.

    `clusters` is a column (subject_id, video_id, ...), "image", or "auto". Undefined scores
    (constant predictions) are NaN without an interval, and `notes` says so.
    """
    rule = convention_named(convention)
    groups = clusters_of(table, clusters)
    pair = pair_of(table)
    pair = Pair(pair.preds.clamp(-1, 1), pair.target) if clip else pair
    scores = _class_scores(pair) if is_classes(table) else _scores(pair, rule, clip)
    draws = finished(resampled(cluster_sums(pair, groups), resamples, seed), rule)
    if "ccc" in draws:
        draws["mean_ccc"] = draws["ccc"].mean(-1, keepdim=True)
    intervals = {m: intervals_of(draw, groups.count, level) for m, draw in draws.items()}
    if rule.rmse == "per_batch":
        intervals.pop("rmse", None)
    return Evaluation(
        name=name,
        scores=scores,
        intervals=intervals,
        convention=convention,
        clusters=groups.kind,
        n_clusters=groups.count,
        resamples=resamples,
        level=level,
        notes=_notes(scores, groups, rule),
    )


def convention_named(name: str) -> Convention:
    """The convention called `name`; ValueError lists them."""
    if name not in CONVENTIONS:
        raise ValueError(f"convention {name!r} is none of {', '.join(CONVENTIONS)}; choose one")
    return CONVENTIONS[name]


def _scores(pair: Pair, rule: Convention, clip: bool) -> Scores:
    meter = Moments(moments=rule.moments, zero=rule.zero, rmse=rule.rmse, clip=clip)
    size = _AUTHORS_BATCH if rule.rmse == "per_batch" else len(pair.preds)
    with warnings.catch_warnings():  # what is undefined stands in the notes
        warnings.filterwarnings("ignore", ".*is undefined.*", RuntimeWarning)
        for preds, target in zip(pair.preds.split(size), pair.target.split(size), strict=True):
            meter.update(preds, target)
        return meter.scores()


def _class_scores(pair: Pair) -> ClassScores:
    meter = Confusion(pair.preds.shape[1])
    meter.update(pair.preds, pair.target)
    return meter.scores()


def _notes(scores: Scores | ClassScores, groups: Clusters, rule: Convention) -> tuple[str, ...]:
    notes = []
    if isinstance(scores, Scores):
        for k, axis in enumerate(scores.axes):
            if math.isnan(scores.ccc[k]):
                notes.append(
                    f"CCC and PCC of {axis} are undefined: all predictions or labels agree"
                )
        if rule.rmse == "per_batch":
            notes.append("RMSE of the authors' evaluation depends on the order; no interval for it")
    if groups.count < 2:
        notes.append(f"one {_noun(groups.kind)} only: no interval can be drawn")
    elif groups.count < FEW:
        notes.append(
            f"{groups.count} {_noun(groups.kind)}s only: the intervals are too narrow, read them "
            "as a lower bound of the uncertainty"
        )
    return tuple(notes)


def _noun(kind: str) -> str:
    return kind.removesuffix("_id")


# ---------------------------------------------------------------------------- clusters and sums


def clusters_of(table: pa.Table, kind: str = "auto") -> Clusters:
    """The clusters by a column without nulls; "auto" takes subjects, else videos, else images."""
    if kind == "auto":
        known = [c for c in ("subject_id", "video_id") if _complete(table, c)]
        kind = known[0] if known else "image"
    if kind == "image":
        return Clusters("image", np.arange(len(table)), ())
    return column_of(table, kind)


def column_of(table: pa.Table, name: str) -> Clusters:
    """The clusters by the values of a column; ValueError, naming those that are whole, for one that
    is not there or that some samples lack."""
    if not _complete(table, name):
        fault = "does not exist"
        if name in table.column_names:
            fault = f"has nulls in {table[name].null_count:,} of {len(table):,} samples"
        named = (field.name for field in table.schema if not pa.types.is_floating(field.type))
        whole = [column for column in named if _complete(table, column)]
        raise ValueError(
            f"column {name} {fault}, so it cannot say which samples belong together; choose "
            f"{', '.join(whole)}"
        )
    encoded = table[name].combine_chunks().dictionary_encode()
    names = tuple(str(name) for name in encoded.dictionary.to_pylist())
    return Clusters(name, encoded.indices.to_numpy().astype(np.int64), names)


def _complete(table: pa.Table, name: str) -> bool:
    return name in table.column_names and len(table) > 0 and not table[name].null_count


def cluster_sums(pair: Pair, groups: Clusters) -> Float[Tensor, "g m k"]:
    """The state of each cluster (`summed`); of classes, per cluster and class, how many samples
    there are and how many of them were predicted right."""
    codes = torch.from_numpy(groups.codes)
    if pair.target.dim() == 2:
        return summed(pair.preds, pair.target, codes)
    seen = torch.nn.functional.one_hot(pair.target, pair.preds.shape[1]).double()
    right = (pair.preds.argmax(1) == pair.target).double()
    rows = torch.stack([seen, seen * right[:, None]], 1)
    return rows.new_zeros(groups.count, *rows.shape[1:]).index_add_(0, codes, rows)


def finished(sums: Float[Tensor, "*b m k"], rule: Convention) -> dict[str, Tensor]:
    """The metrics of any number of states; RMSE is over the set, whatever the convention."""
    if sums.shape[-2] == 2:
        return class_scores_of(sums)
    return scores_of(sums, replace(rule, rmse="whole"))


# ---------------------------------------------------------------------------- the bootstrap


def resampled(sums: Float[Tensor, "g m k"], resamples: int, seed: int) -> Float[Tensor, "r m k"]:
    """Sums over as many clusters as there are, drawn with replacement, `resamples` times."""
    generator = np.random.default_rng(seed)
    count, tell, done = len(sums), progress.get(), 0
    blocks = (
        torch.from_numpy(np.stack([_draw(generator, count) for _ in range(some)]))
        for some in _sizes(resamples, max(1, _WEIGHTS // count))
    )
    classes, drawn = sums.shape[1] == 2, []
    flat = sums.flatten(1)
    many = (block @ flat for block in blocks) if classes else pooled_often(sums, blocks)
    for found in many:
        drawn.append(found.reshape(-1, *sums.shape[1:]))
        done += len(found)
        tell(done, resamples)
    return torch.cat(drawn)


def _draw(generator: np.random.Generator, count: int) -> np.ndarray:
    return np.bincount(generator.integers(0, count, count), minlength=count).astype(np.float64)


def _sizes(total: int, most: int) -> list[int]:
    return [min(most, total - first) for first in range(0, total, most)]


def intervals_of(
    draws: Float[Tensor, "r k"], n_clusters: int, level: float = 0.95
) -> tuple[Interval | None, ...]:
    """Percentiles of each column; None with one cluster, or where most draws are undefined."""
    if n_clusters < 2:
        return (None,) * draws.shape[1]
    return tuple(_percentiles(column, level) for column in draws.T.numpy())


def _percentiles(column: np.ndarray, level: float) -> Interval | None:
    defined = column[~np.isnan(column)]
    if 2 * len(defined) < len(column) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


# ---------------------------------------------------------------------------- groups and pairs


class GroupScores(NamedTuple):
    """The scores of one video, subject or fold."""

    name: str
    n: int
    scores: dict[str, tuple[float, ...]]  # metric -> one an axis; NaN where undefined


def by_group(table: pa.Table, column: str, convention: str = "ours") -> list[GroupScores]:
    """Scores of each value of `column`, in the order of the table.

    Do not average them for a headline: a mean of per-video CCCs is another number than the CCC of
    the set. RMSE is over each group's samples, whatever the convention.
    """
    groups = column_of(table, column)
    scores = finished(cluster_sums(pair_of(table), groups), convention_named(convention))
    counts = np.bincount(groups.codes)
    return [
        GroupScores(name, int(counts[g]), {m: tuple(s[g].tolist()) for m, s in scores.items()})
        for g, name in enumerate(groups.names)
    ]


class Difference(NamedTuple):
    """How much better the second run is than the first on one score, over the same draws."""

    metric: str
    axis: str
    value: float  # second minus first
    interval: Interval | None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


def compare(
    first: pa.Table,
    second: pa.Table,
    *,
    convention: str = "ours",
    clusters: str = "auto",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Difference]:
    """Paired bootstrap of two runs on the same samples: each draw scores both.

    Far sharper than two separate intervals, since both runs meet the same hard videos.
    """
    tables = aligned([first, second])
    rule, groups = convention_named(convention), clusters_of(tables[0], clusters)
    sums = torch.cat([cluster_sums(pair_of(t), groups) for t in tables], dim=-1)
    whole = finished(pooled(sums), rule)
    draws = finished(resampled(sums, resamples, seed), rule)
    found = []
    for metric in METRICS:
        gaps = draws[metric][:, 2:] - draws[metric][:, :2]
        gap = whole[metric][2:] - whole[metric][:2]
        bounds = intervals_of(gaps, groups.count, level)
        found += [Difference(metric, axis, float(gap[k]), bounds[k]) for k, axis in enumerate(AXES)]
    return found


def spread_over(groups: Sequence[GroupScores], metric: str) -> list[tuple[float, float]]:
    """Mean and sample deviation of a score over groups (folds), one pair an axis."""
    values = np.array([group.scores[metric] for group in groups])
    deviation = values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    return list(zip(values.mean(0).tolist(), deviation.tolist(), strict=True))
