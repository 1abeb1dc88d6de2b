"""Scores with bootstrap intervals, clustered by subject or video; per group; run against run.

Frames of one video are no independent samples, so resampling frames gives intervals that are far
too narrow. Here whole clusters are drawn with replacement (Field & Welsh 2007): subjects where they
are known, else videos, else single images. Every score follows from sums over clusters, so a
resample costs one matrix product and not a pass over the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from avce.scores.metrics import (
    AXES,
    MOMENTS,
    ClassScores,
    Confusion,
    Moments,
    Scores,
    Second,
    ccc_of,
    pcc_of,
)
from avce.scores.predictions import Pair, aligned, is_classes, pair_of

METRICS = ("rmse", "sagr", "pcc", "ccc")
CLASS_METRICS = ("accuracy", "mean_class_accuracy")
FEW = 10  # clusters below which a percentile interval is known to be too narrow
_FLAT = 1e-12  # a variance this small is rounding: the column is constant
_AUTHORS_BATCH = 64


@dataclass(frozen=True)
class Convention:
    """How a score is computed where the literature disagrees, and why one would."""

    moments: str
    zero: Literal["equal", "ignore", "wrong"]
    rmse: Literal["whole", "per_batch"]
    meaning: str


CONVENTIONS = {
    "ours": Convention(
        "population",
        "equal",
        "whole",
        "Lin's CCC with population moments, RMSE over the whole set, label 0 agrees with 0",
    ),
    "authors": Convention(
        "authors_eval",
        "wrong",
        "per_batch",
        "the released evaluation.py: covariance over n - 1 and deviations over n (PCC and CCC are "
        "n/(n-1) too large), RMSE averaged over batches of 64, label 0 never agrees",
    ),
    "torchmetrics": Convention(
        "sample",
        "equal",
        "whole",
        "sample moments (n - 1) throughout, as torchmetrics; its CCC is not Lin's by 1/n",
    ),
}


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

    def as_dict(self) -> dict[str, Any]:
        """Scores, intervals (null where none exists) and conventions, for JSON."""
        intervals = {
            metric: [None if i is None else [i.low, i.high] for i in per_axis]
            for metric, per_axis in self.intervals.items()
        }
        bootstrap = {
            "level": self.level,
            "resamples": self.resamples,
            "clusters": self.clusters,
            "n_clusters": self.n_clusters,
        }
        named = {"name": self.name, "convention_name": self.convention, "notes": list(self.notes)}
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
    if is_classes(table):
        scores: Scores | ClassScores = _class_scores(pair)
        sums = class_sums(pair, groups)
        draws = class_scores_of(resampled(sums, resamples, seed))
    else:
        pair = Pair(pair.preds.clamp(-1, 1), pair.target) if clip else pair
        scores = _scores(pair, rule, clip)
        draws = scores_of(resampled(cluster_sums(pair, groups.codes), resamples, seed), rule)
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
    if not _complete(table, kind):
        raise ValueError(
            f"column {kind} is missing or has nulls, so it cannot say which samples belong "
            "together; use clusters=image or another column"
        )
    encoded = table[kind].combine_chunks().dictionary_encode()
    names = tuple(str(name) for name in encoded.dictionary.to_pylist())
    return Clusters(kind, encoded.indices.to_numpy().astype(np.int64), names)


def _complete(table: pa.Table, name: str) -> bool:
    return name in table.column_names and len(table) > 0 and not table[name].null_count


def cluster_sums(pair: Pair, codes: Int[np.ndarray, " n"]) -> Float[Tensor, "g 10 k"]:
    """Per cluster and axis: n, x, y, xx, yy, xy, (x-y)^2, agreeing signs, both 0, labels 0.

    Both columns are moved by the mean label first, which changes no moment and no difference but
    keeps the squares from cancelling; the mean of x and of y move together.
    """
    x, y = pair.preds, pair.target
    same, zero = x.sign() == y.sign(), y == 0
    centre = y.mean(0)
    u, v = x - centre, y - centre
    parts = [torch.ones_like(x), u, v, u * u, v * v, u * v, (x - y).square()]
    parts += [(same & ~zero).double(), (same & zero).double(), zero.double()]
    return _added(torch.stack(parts, 1), codes)


def class_sums(pair: Pair, groups: Clusters) -> Float[Tensor, "g 2 c"]:
    """Per cluster and class: samples of the class, and those of them predicted right."""
    seen = torch.nn.functional.one_hot(pair.target, pair.preds.shape[1]).double()
    right = (pair.preds.argmax(1) == pair.target).double()
    return _added(torch.stack([seen, seen * right[:, None]], 1), groups.codes)


def _added(rows: Tensor, codes: np.ndarray) -> Tensor:
    sums = rows.new_zeros(int(codes.max()) + 1, *rows.shape[1:])
    return sums.index_add_(0, torch.from_numpy(codes), rows)


def scores_of(sums: Float[Tensor, "*b 10 k"], rule: Convention) -> dict[str, Tensor]:
    """RMSE, SAGR, PCC and CCC from sums; NaN where a column is constant. RMSE is over the set."""
    n, x, y, xx, yy, xy, squared, agree, both_zero, zero = sums.unbind(-2)
    for_cov, for_var = MOMENTS[rule.moments]
    spread_x, spread_y = xx - x * x / n, yy - y * y / n
    moments = (x / n, y / n, spread_x / (n - for_var), spread_y / (n - for_var))
    second = Second(*(m.flatten() for m in (*moments, (xy - x * y / n) / (n - for_cov))))
    constant = (spread_x <= _FLAT * n) | (spread_y <= _FLAT * n) | (n < 2)
    agreeing = agree + (both_zero if rule.zero == "equal" else 0)
    return {
        "rmse": (squared / n).sqrt(),
        "sagr": agreeing / (n - zero if rule.zero == "ignore" else n),
        "pcc": torch.where(constant, math.nan, pcc_of(second).view_as(n)),
        "ccc": torch.where(constant, math.nan, ccc_of(second).view_as(n)),
    }


def class_scores_of(sums: Float[Tensor, "*b 2 c"]) -> dict[str, Tensor]:
    """Accuracy, and its mean over the classes that occur; one column each."""
    seen, right = sums.unbind(-2)
    share = (right / seen).nanmean(-1, keepdim=True)
    return {
        "accuracy": right.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True),
        "mean_class_accuracy": share,
    }


# ---------------------------------------------------------------------------- the bootstrap


def resampled(sums: Float[Tensor, "g m k"], resamples: int, seed: int) -> Float[Tensor, "r m k"]:
    """Sums over as many clusters as there are, drawn with replacement, `resamples` times."""
    generator = np.random.default_rng(seed)
    count = len(sums)
    flat = sums.reshape(count, -1).numpy()
    drawn = np.empty((resamples, flat.shape[1]))
    for one in range(resamples):
        times = np.bincount(generator.integers(0, count, count), minlength=count)
        drawn[one] = times @ flat
    return torch.from_numpy(drawn).reshape(resamples, *sums.shape[1:])


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
    groups = clusters_of(table, column)
    pair = pair_of(table)
    if is_classes(table):
        sums = class_sums(pair, groups)
        counts, scores = sums[:, 0].sum(-1), class_scores_of(sums)
    else:
        sums = cluster_sums(pair, groups.codes)
        counts, scores = sums[:, 0, 0], scores_of(sums, convention_named(convention))
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
    sums = torch.cat([cluster_sums(pair_of(t), groups.codes) for t in tables], dim=-1)
    whole = scores_of(sums.sum(0), rule)
    draws = scores_of(resampled(sums, resamples, seed), rule)
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
