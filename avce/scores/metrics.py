"""One algebra of RMSE, SAGR, PCC and CCC, and of accuracy: sums of parts, pooled, then finished.

A batch, a rank, a video, a bootstrap draw and the whole set are the same thing, a (12, k) state of
sums; `pooled` makes one of many and `scores_of` reads the metrics off any number of them at once.
The same `pcc_of` and `ccc_of` serve the loss, so a score and a loss never mean two things.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avce.scores import AXES, METRICS, TITLES, defined

# Divisors n - a of the covariance and n - b of the variances. Lin's CCC is (0, 0).
MOMENTS = {
    "population": (0, 0),
    "sample": (1, 1),  # torchmetrics
    "authors_loss": (0, 1),  # PCC and CCC times (n - 1) / n: a perfect prediction is not 1
    "authors_eval": (1, 0),  # times n / (n - 1): a perfect prediction is above 1
}
_ULPS = 4  # a spread of fewer units in the last place of its magnitude is rounding, not variance


@dataclass(frozen=True)
class Convention:
    """How a score is computed where the literature disagrees, and why one would."""

    moments: str = "population"
    zero: Literal["equal", "ignore", "wrong"] = "equal"
    rmse: Literal["whole", "per_batch"] = "whole"
    meaning: str = ""


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


class Second(NamedTuple):
    """Means, variances and covariance of two sets of columns."""

    mean_x: Tensor
    mean_y: Tensor
    var_x: Tensor
    var_y: Tensor
    cov: Tensor

    @property
    def varied(self) -> Bool[Tensor, "*b"]:
        """Where neither column is constant: the one place that says what constant is."""
        return _beyond_rounding(self.var_x, self.mean_x) & _beyond_rounding(self.var_y, self.mean_y)


def _beyond_rounding(square: Tensor, magnitude: Tensor) -> Tensor:
    return square.sqrt() > _ULPS * torch.finfo(square.dtype).eps * magnitude.abs()


def second_moments(
    x: Float[Tensor, "n k"], y: Float[Tensor, "n k"], moments: str = "population"
) -> Second:
    """Column moments with the divisors of `moments` (a key of MOMENTS)."""
    for_cov, for_var = MOMENTS[moments]
    n = x.shape[0]
    mean_x, mean_y = x.mean(0), y.mean(0)
    dx, dy = _centred(x - mean_x), _centred(y - mean_y)  # twice: the first mean was rounded
    return Second(
        mean_x,
        mean_y,
        dx.square().sum(0) / (n - for_var),
        dy.square().sum(0) / (n - for_var),
        (dx * dy).sum(0) / (n - for_cov),
    )


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def pcc_of(m: Second) -> Float[Tensor, "*b k"]:
    """Pearson's correlation; 0, without a slope, where a column is constant."""
    var_x, var_y = (torch.where(m.varied, var, 1.0) for var in (m.var_x, m.var_y))
    spread = var_x.sqrt() * var_y.sqrt()  # the product of two small variances is 0 in float32
    return torch.where(m.varied, m.cov / spread, 0.0)


def ccc_of(m: Second) -> Float[Tensor, "*b k"]:
    """Lin's concordance 2 cov / (var_x + var_y + (mean_x - mean_y)^2); 0 of two equal constants."""
    apart = m.var_x + m.var_y + (m.mean_x - m.mean_y).square()
    some = _beyond_rounding(apart, m.mean_x.abs() + m.mean_y.abs())
    return torch.where(some, 2 * m.cov / torch.where(some, apart, 1.0), 0.0)


def pcc(
    preds: Float[Tensor, "n k"], target: Float[Tensor, "n k"], moments: str = "population"
) -> Float[Tensor, " k"]:
    """Pearson's correlation of each column; NaN where one is constant."""
    m = second_moments(preds, target, moments)
    return torch.where(m.varied, pcc_of(m), math.nan)


def ccc(
    preds: Float[Tensor, "n k"], target: Float[Tensor, "n k"], moments: str = "population"
) -> Float[Tensor, " k"]:
    """Concordance of each column (Lin 1989: population moments); NaN where one is constant."""
    m = second_moments(preds, target, moments)
    return torch.where(m.varied, ccc_of(m), math.nan)


@dataclass(frozen=True)
class Scores:
    """The four metrics per axis, with the conventions they were computed by."""

    rmse: tuple[float, ...]
    sagr: tuple[float, ...]
    pcc: tuple[float, ...]
    ccc: tuple[float, ...]
    n: int
    n_zero: tuple[int, ...]  # labels that are exactly 0, for which a sign says nothing
    axes: tuple[str, ...] = AXES
    moments: str = "population"
    zero: str = "equal"
    rmse_over: str = "whole"
    clip: bool = False

    @property
    def mean_ccc(self) -> float:
        """(CCC_v + CCC_a) / 2, the score of the ABAW challenges; NaN if either is undefined."""
        return sum(self.ccc) / len(self.ccc)

    @property
    def headline(self) -> float:
        """The one number that picks the best checkpoint; larger is better."""
        return self.mean_ccc

    def as_dict(self) -> dict[str, Any]:
        """`{"n", "valence": {"rmse", ...}, "arousal": {...}, "mean_ccc", "convention"}`.

        An undefined score is None, since JSON has no NaN.
        """
        axes = {
            axis: {metric: defined(getattr(self, metric)[k]) for metric in METRICS}
            | {"n_zero": self.n_zero[k]}
            for k, axis in enumerate(self.axes)
        }
        rule = {"moments": self.moments, "zero": self.zero, "rmse": self.rmse_over}
        convention = rule | {"clip": self.clip}
        mean = defined(self.mean_ccc)
        return {"n": self.n, **axes, "mean_ccc": mean, "convention": convention}


class Sums(NamedTuple):
    """The rows of a state, each (*b, k): what a set of samples comes down to."""

    n: Tensor
    mean_x: Tensor  # x predicted, y labelled
    mean_y: Tensor
    m2_x: Tensor  # sums of squares about the mean
    m2_y: Tensor
    co: Tensor
    squared: Tensor  # sum of (x - y)^2
    agree: Tensor  # same sign, label not 0
    both_zero: Tensor
    zero: Tensor  # labels that are exactly 0
    batch_rmse: Tensor  # sum of the parts' RMSE
    batches: Tensor


def summed(
    x: Float[Tensor, "n k"], y: Float[Tensor, "n k"], codes: Int[Tensor, " n"] | None = None
) -> Float[Tensor, "g 12 k"]:
    """The state of each cluster of samples, rows as in `Sums`; `codes` says which of 0..g-1, and
    without them all are one."""
    codes = codes if codes is not None else torch.zeros(len(x), dtype=torch.int64)
    count = int(codes.max()) + 1

    def added(rows: Tensor) -> Tensor:
        return rows.new_zeros(count, *rows.shape[1:]).index_add_(0, codes, rows)

    def centred(rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = added(rows) / n.clamp(min=1)
        rest = rows - mean[codes]
        shift = added(rest) / n.clamp(min=1)  # what rounding left of the mean
        return mean + shift, rest - shift[codes]

    n = added(torch.ones_like(x))
    (mean_x, dx), (mean_y, dy) = centred(x), centred(y)
    squared, zero, same = added((x - y).square()), y == 0, x.sign() == y.sign()
    m2 = added(dx.square()), added(dy.square()), added(dx * dy)
    signs = (added(which.double()) for which in (same & ~zero, same & zero, zero))
    batches = (squared / n.clamp(min=1)).sqrt(), torch.ones_like(n)
    return torch.stack([n, mean_x, mean_y, *m2, squared, *signs, *batches], 1)


def pooled(
    states: Float[Tensor, "g 12 k"], times: Float[Tensor, " g"] | None = None
) -> Float[Tensor, "12 k"]:
    """One state of many, each counted `times` (once): plain sums, but means and second moments
    about the common mean (Chan et al. 1983), which loses no digit to cancellation."""
    times = times if times is not None else states.new_ones(len(states))
    total = torch.tensordot(times, states, 1)
    weight, n = times[:, None, None] * states[:, :1], total[0].clamp(min=1)
    centre = (weight * states[:, 1:3]).sum(0) / n
    apart = states[:, 1:3] - centre
    weighed = weight * apart
    shift = weighed.sum(0) / n  # what rounding left of the mean
    total[1:3] = centre + shift
    total[3:5] += (weighed * apart).sum(0) - n * shift.square()
    total[5] += (weighed[:, 0] * apart[:, 1]).sum(0) - n * shift[0] * shift[1]
    return total


def pooled_often(
    states: Float[Tensor, "g 12 k"], times: Iterable[Float[Tensor, "b g"]]
) -> Iterator[Float[Tensor, "b 12 k"]]:
    """`pooled` for each row of blocks of `times`, as one matrix product a block: second moments
    about the mean of all, moved to each row's own. Where that would cancel more than a bit, as
    where few clusters far apart are drawn, the row is pooled by itself."""
    centre = pooled(states)[1:3]
    n, apart = states[:, :1], states[:, 1:3] - centre
    linear = states.clone()
    linear[:, 1:3] = n * apart
    linear[:, 3:5] += n * apart.square()
    linear[:, 5] += n[:, 0] * apart[:, 0] * apart[:, 1]
    flat = linear.flatten(1)
    for block in times:
        total = (block @ flat).unflatten(1, states.shape[1:])
        count = total[:, :1].clamp(min=1)
        shift = total[:, 1:3] / count
        moved = count * shift.square()
        far = (moved > total[:, 3:5] / 2).flatten(1).any(1)
        total[:, 1:3] = centre + shift
        total[:, 3:5] -= moved
        total[:, 5] -= count[:, 0] * shift[:, 0] * shift[:, 1]
        for row in far.nonzero()[:, 0].tolist():
            total[row] = pooled(states, block[row])
        yield total


def scores_of(
    state: Float[Tensor, "*b 12 k"], rule: Convention
) -> dict[str, Float[Tensor, "*b k"]]:
    """RMSE, SAGR, PCC and CCC of any number of states; NaN where undefined."""
    s = Sums(*state.unbind(-2))
    for_cov, for_var = MOMENTS[rule.moments]
    var_x, var_y = s.m2_x / (s.n - for_var), s.m2_y / (s.n - for_var)
    m = Second(s.mean_x, s.mean_y, var_x, var_y, s.co / (s.n - for_cov))
    agree = s.agree + s.both_zero if rule.zero == "equal" else s.agree
    whole = rule.rmse == "whole"
    return {
        "rmse": (s.squared / s.n).sqrt() if whole else s.batch_rmse / s.batches,
        "sagr": agree / (s.n - s.zero if rule.zero == "ignore" else s.n),
        "pcc": torch.where(m.varied, pcc_of(m), math.nan),
        "ccc": torch.where(m.varied, ccc_of(m), math.nan),
    }


class Moments:
    """Sums from which RMSE, SAGR, PCC and CCC follow exactly, however the samples were batched.

    All is float64 on the CPU, so that ranks and batches of any size give the whole-set value.
    `clip` bounds predictions to [-1, 1]; `label_scale` multiplies the labels.
    """

    def __init__(
        self,
        axes: Sequence[str] = AXES,
        *,
        moments: str = "population",
        zero: Literal["equal", "ignore", "wrong"] = "equal",
        rmse: Literal["whole", "per_batch"] = "whole",
        clip: bool = False,
        label_scale: float = 1.0,
    ) -> None:
        if moments not in MOMENTS:
            raise ValueError(f"moments={moments!r} is none of {', '.join(MOMENTS)}")
        self.axes, self.rule = tuple(axes), Convention(moments, zero, rmse)
        self.clip, self.label_scale = clip, label_scale
        self.state = torch.zeros(12, len(self.axes), dtype=torch.float64)

    def update(self, preds: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> None:
        """Add a batch. NaN or infinity: ValueError."""
        x, y = preds.detach().cpu().double(), target.detach().cpu().double()
        if x.shape[0] == 0:
            return
        _refuse_non_finite("prediction", x)
        _refuse_non_finite("label", y)
        x = x.clamp(-1, 1) if self.clip else x
        self.state = pooled(torch.stack([self.state, *summed(x, y * self.label_scale)]))

    def all_reduce(self, device: torch.device | str = "cpu") -> None:
        """Make every rank's state that of all ranks; one collective, nothing without ranks."""
        self.state = pooled(_of_all_ranks(self.state, device))

    def scores(self) -> Scores:
        """The metrics so far. A score that is undefined is NaN, with a warning."""
        found = scores_of(self.state, self.rule)
        n, n_zero = int(self.state[0, 0]), Sums(*self.state).zero
        for metric, values in found.items():
            for axis, value in zip(self.axes, values.tolist(), strict=True):
                if math.isnan(value):
                    warnings.warn(
                        f"{TITLES[metric]} of {axis} is undefined: {n} samples, or all predictions "
                        "or all labels are equal; it is reported as nan",
                        RuntimeWarning,
                        stacklevel=2,
                    )
        return Scores(
            **{metric: tuple(values.tolist()) for metric, values in found.items()},
            n=n,
            n_zero=tuple(map(int, n_zero)),
            axes=self.axes,
            moments=self.rule.moments,
            zero=self.rule.zero,
            rmse_over=self.rule.rmse,
            clip=self.clip,
        )


def _refuse_non_finite(what: str, values: Tensor) -> None:
    bad = int((~torch.isfinite(values)).any(-1).sum())
    if bad:
        raise ValueError(
            f"{bad} of {values.shape[0]} rows hold a {what} that is NaN or infinite; scores over "
            "them mean nothing, so find the step or the label that made them"
        )


def _of_all_ranks(state: Tensor, device: torch.device | str) -> Tensor:
    """In rank order, so that every rank adds them up alike and gets the same last bit."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return state[None]
    parts = [torch.empty_like(state, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, state.to(device).contiguous())
    return torch.stack(parts).cpu()


@dataclass(frozen=True)
class ClassScores:
    """Accuracy over all samples, over classes, and who was taken for whom."""

    accuracy: float
    mean_class_accuracy: float  # over the classes that occur
    confusion: tuple[tuple[int, ...], ...]  # rows: the label; columns: the prediction
    n: int

    @property
    def headline(self) -> float:
        """The one number that picks the best checkpoint; larger is better."""
        return self.accuracy

    def as_dict(self) -> dict[str, Any]:
        """`{"n", "accuracy", "mean_class_accuracy", "confusion"}`."""
        return {
            "n": self.n,
            "accuracy": defined(self.accuracy),
            "mean_class_accuracy": defined(self.mean_class_accuracy),
            "confusion": [list(row) for row in self.confusion],
        }


def class_scores_of(counts: Float[Tensor, "*b 2 c"]) -> dict[str, Float[Tensor, "*b 1"]]:
    """Accuracy, and its mean over the classes that occur, from the samples of each class and those
    of them predicted right; NaN without samples."""
    seen, right = counts.unbind(-2)
    return {
        "accuracy": right.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True),
        "mean_class_accuracy": (right / seen).nanmean(-1, keepdim=True),
    }


class Confusion:
    """Counts of (label, prediction), with the interface of `Moments`."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.state = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, preds: Float[Tensor, "b k"], target: Int[Tensor, " b"]) -> None:
        """Add a batch of logits and class codes."""
        _refuse_non_finite("logit", preds)
        if target.numel() and not bool(((target >= 0) & (target < self.classes)).all()):
            raise ValueError(
                f"class codes run from {int(target.min())} to {int(target.max())}, outside "
                f"0..{self.classes - 1}; set classes or map the codes"
            )
        pair = target.long() * self.classes + preds.argmax(-1)
        counts = torch.bincount(pair, minlength=self.classes**2).view(self.classes, self.classes)
        self.state = self.state + counts.to(self.state.device)

    def all_reduce(self, device: torch.device | str = "cpu") -> None:
        """Make every rank's counts those of all ranks."""
        self.state = _of_all_ranks(self.state, device).sum(0)

    def scores(self) -> ClassScores:
        """The accuracies so far; NaN without samples."""
        counts = torch.stack([self.state.sum(1), self.state.diagonal()]).double()
        return ClassScores(
            **{metric: float(value) for metric, value in class_scores_of(counts).items()},
            confusion=tuple(tuple(row) for row in self.state.tolist()),
            n=int(self.state.sum()),
        )
