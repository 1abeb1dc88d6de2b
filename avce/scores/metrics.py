"""RMSE, SAGR, PCC and CCC over a whole set, however its samples were batched; accuracy beside them.

The same `pcc` and `ccc` serve the loss, so a score and a loss never mean two things.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor

AXES = ("valence", "arousal")
# Divisors n - a of the covariance and n - b of the variances. Lin's CCC is (0, 0).
MOMENTS = {
    "population": (0, 0),
    "sample": (1, 1),  # torchmetrics
    "authors_loss": (0, 1),  # PCC and CCC times (n - 1) / n: a perfect prediction is not 1
    "authors_eval": (1, 0),  # times n / (n - 1): a perfect prediction is above 1
}
_FLAT = 1e-10  # a spread this small beside its mean is rounding, not variance


class Second(NamedTuple):
    """Means, variances and covariance of two sets of columns."""

    mean_x: Tensor
    mean_y: Tensor
    var_x: Tensor
    var_y: Tensor
    cov: Tensor


def second_moments(
    x: Float[Tensor, "n k"], y: Float[Tensor, "n k"], moments: str = "population"
) -> Second:
    """Column moments with the divisors of `moments` (a key of MOMENTS)."""
    for_cov, for_var = MOMENTS[moments]
    n = x.shape[0]
    mean_x, mean_y = x.mean(0), y.mean(0)
    dx, dy = x - mean_x, y - mean_y
    return Second(
        mean_x,
        mean_y,
        dx.square().sum(0) / (n - for_var),
        dy.square().sum(0) / (n - for_var),
        (dx * dy).sum(0) / (n - for_cov),
    )


def pcc_of(m: Second, eps: float = 0.0) -> Float[Tensor, " k"]:
    """Pearson's correlation; `eps` keeps the gradient finite where a column is constant."""
    return m.cov / torch.sqrt(m.var_x * m.var_y + eps)


def ccc_of(m: Second, eps: float = 0.0) -> Float[Tensor, " k"]:
    """Lin's concordance 2 cov / (var_x + var_y + (mean_x - mean_y)^2)."""
    return 2 * m.cov / (m.var_x + m.var_y + (m.mean_x - m.mean_y).square() + eps)


def pcc(
    preds: Float[Tensor, "n k"], target: Float[Tensor, "n k"], moments: str = "population"
) -> Float[Tensor, " k"]:
    """Pearson's correlation of each column."""
    return pcc_of(second_moments(preds, target, moments))


def ccc(
    preds: Float[Tensor, "n k"], target: Float[Tensor, "n k"], moments: str = "population"
) -> Float[Tensor, " k"]:
    """Concordance of each column (Lin 1989: population moments)."""
    return ccc_of(second_moments(preds, target, moments))


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
            axis: {
                "rmse": _number(self.rmse[k]),
                "sagr": _number(self.sagr[k]),
                "pcc": _number(self.pcc[k]),
                "ccc": _number(self.ccc[k]),
                "n_zero": self.n_zero[k],
            }
            for k, axis in enumerate(self.axes)
        }
        convention = {
            "moments": self.moments,
            "zero": self.zero,
            "rmse": self.rmse_over,
            "clip": self.clip,
        }
        mean = _number(self.mean_ccc)
        return {"n": self.n, **axes, "mean_ccc": mean, "convention": convention}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


class Moments:
    """Sums from which RMSE, SAGR, PCC and CCC follow exactly, however the samples were batched.

    Means, second moments and the co-moment are kept in float64 and merged pairwise (Chan et al.
    1983), so that ranks and batches of any size give the whole-set value. The state is one
    (12, k) tensor. `clip` bounds predictions to [-1, 1]; `label_scale` multiplies the labels.
    """

    _N, _MEAN_X, _MEAN_Y, _M2_X, _M2_Y, _CO, _SQUARED, _AGREE, _AGREE_ZERO, _ZERO = range(10)
    _BATCH_RMSE, _BATCHES = 10, 11

    def __init__(
        self,
        axes: Sequence[str] = AXES,
        *,
        moments: str = "population",
        zero: Literal["equal", "ignore", "wrong"] = "equal",
        rmse: Literal["whole", "per_batch"] = "whole",
        clip: bool = False,
        label_scale: float = 1.0,
        undefined: Literal["nan", "zero"] = "nan",
    ) -> None:
        if moments not in MOMENTS:
            raise ValueError(f"moments={moments!r} is none of {', '.join(MOMENTS)}")
        self.axes = tuple(axes)
        self.moments, self.zero, self.rmse = moments, zero, rmse
        self.clip, self.label_scale, self.undefined = clip, label_scale, undefined
        self.state = torch.zeros(12, len(self.axes), dtype=torch.float64)

    def update(
        self,
        preds: Float[Tensor, "b k"],
        target: Float[Tensor, "b k"],
        mask: Bool[Tensor, " b"] | None = None,
    ) -> None:
        """Add a batch; rows where `mask` is False are padding. NaN or infinity: ValueError."""
        x, y = preds.detach().double(), target.detach().double()
        if mask is not None:
            x, y = x[mask], y[mask]
        if x.shape[0] == 0:
            return
        _refuse_non_finite("prediction", x)
        _refuse_non_finite("label", y)
        if self.clip:
            x = x.clamp(-1, 1)
        self.state = _merged(self.state, _summed(x, y * self.label_scale).to(self.state.device))

    def merge(self, other: Moments) -> None:
        """Add what another one has seen."""
        self.state = _merged(self.state, other.state.to(self.state.device))

    def all_reduce(self, device: torch.device | str = "cpu") -> None:
        """Make every rank's state that of all ranks; one collective, nothing without ranks."""
        first, *others = _of_all_ranks(self.state.to(device))
        for part in others:
            first = _merged(first, part)
        self.state = first.to(self.state.device)

    def scores(self) -> Scores:
        """The metrics so far. A score that is undefined is NaN (or 0), with a warning."""
        s = self.state
        for_cov, for_var = MOMENTS[self.moments]
        n = s[self._N]
        m = Second(
            s[self._MEAN_X],
            s[self._MEAN_Y],
            s[self._M2_X] / (n - for_var),
            s[self._M2_Y] / (n - for_var),
            s[self._CO] / (n - for_cov),
        )
        defined = (
            (n >= 2) & ~_flat(m.mean_x, s[self._M2_X] / n) & ~_flat(m.mean_y, s[self._M2_Y] / n)
        )
        return Scores(
            rmse=self._numbers("RMSE", self._root(), n > 0),
            sagr=self._numbers("SAGR", self._agreement(), self._counted() > 0),
            pcc=self._numbers("PCC", pcc_of(m), defined),
            ccc=self._numbers("CCC", ccc_of(m), defined),
            n=int(n[0]),
            n_zero=tuple(int(count) for count in s[self._ZERO]),
            axes=self.axes,
            moments=self.moments,
            zero=self.zero,
            rmse_over=self.rmse,
            clip=self.clip,
        )

    def _root(self) -> Tensor:
        if self.rmse == "per_batch":
            return self.state[self._BATCH_RMSE] / self.state[self._BATCHES]
        return (self.state[self._SQUARED] / self.state[self._N]).sqrt()

    def _counted(self) -> Tensor:
        zeros = self.state[self._ZERO] if self.zero == "ignore" else 0
        return self.state[self._N] - zeros

    def _agreement(self) -> Tensor:
        both_zero = self.state[self._AGREE_ZERO] if self.zero == "equal" else 0
        return (self.state[self._AGREE] + both_zero) / self._counted()

    def _numbers(self, name: str, values: Tensor, defined: Tensor) -> tuple[float, ...]:
        for axis, fine in zip(self.axes, defined.tolist(), strict=True):
            if not fine:
                n = int(self.state[self._N][0])
                warnings.warn(
                    f"{name} of {axis} is undefined: {n} samples, or all predictions or all "
                    f"labels are equal; it is reported as {self.undefined}",
                    RuntimeWarning,
                    stacklevel=3,
                )
        filler = math.nan if self.undefined == "nan" else 0.0
        return tuple(torch.where(defined, values, filler).tolist())


def _summed(x: Tensor, y: Tensor) -> Tensor:
    """The state of one batch; rows as named in `Moments`."""
    dx, dy = x - x.mean(0), y - y.mean(0)
    squared = (x - y).square()
    ones = torch.ones_like(x[0])
    zero = y == 0
    same = x.sign() == y.sign()
    return torch.stack(
        [
            ones * x.shape[0],
            x.mean(0),
            y.mean(0),
            dx.square().sum(0),
            dy.square().sum(0),
            (dx * dy).sum(0),
            squared.sum(0),
            (same & ~zero).sum(0),
            (same & zero).sum(0),
            zero.sum(0),
            squared.mean(0).sqrt(),
            ones,
        ]
    )


def _merged(a: Tensor, b: Tensor) -> Tensor:
    """Two states as one: plain sums, but means and second moments by Chan's pairwise rule."""
    n_a, n_b = a[Moments._N], b[Moments._N]
    n = n_a + n_b
    share = torch.where(n > 0, n_b / n.clamp(min=1), 0.0)
    gap_x = b[Moments._MEAN_X] - a[Moments._MEAN_X]
    gap_y = b[Moments._MEAN_Y] - a[Moments._MEAN_Y]
    merged = a + b
    merged[Moments._MEAN_X] = a[Moments._MEAN_X] + gap_x * share
    merged[Moments._MEAN_Y] = a[Moments._MEAN_Y] + gap_y * share
    merged[Moments._M2_X] += gap_x * gap_x * n_a * share
    merged[Moments._M2_Y] += gap_y * gap_y * n_a * share
    merged[Moments._CO] += gap_x * gap_y * n_a * share
    return merged


def _flat(mean: Tensor, variance: Tensor) -> Tensor:
    return variance.sqrt() <= _FLAT * mean.abs()


def _refuse_non_finite(what: str, values: Tensor) -> None:
    bad = int((~torch.isfinite(values)).any(-1).sum())
    if bad:
        raise ValueError(
            f"{bad} of {values.shape[0]} rows hold a {what} that is NaN or infinite; scores over "
            "them mean nothing, so find the step or the label that made them"
        )


def _of_all_ranks(state: Tensor) -> list[Tensor]:
    """In rank order, so that every rank adds them up alike and gets the same last bit."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [state]
    parts = [torch.empty_like(state) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, state.contiguous())
    return parts


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
            "accuracy": _number(self.accuracy),
            "mean_class_accuracy": _number(self.mean_class_accuracy),
            "confusion": [list(row) for row in self.confusion],
        }


class Confusion:
    """Counts of (label, prediction), with the interface of `Moments`."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.state = torch.zeros(classes, classes, dtype=torch.int64)

    def update(
        self,
        preds: Float[Tensor, "b k"],
        target: Int[Tensor, " b"],
        mask: Bool[Tensor, " b"] | None = None,
    ) -> None:
        """Add a batch of logits and class codes; rows where `mask` is False are padding."""
        if mask is not None:
            preds, target = preds[mask], target[mask]
        _refuse_non_finite("logit", preds)
        if target.numel() and not bool(((target >= 0) & (target < self.classes)).all()):
            raise ValueError(
                f"class codes run from {int(target.min())} to {int(target.max())}, outside "
                f"0..{self.classes - 1}; set classes or map the codes"
            )
        pair = target.long() * self.classes + preds.argmax(-1)
        counts = torch.bincount(pair, minlength=self.classes**2).view(self.classes, self.classes)
        self.state = self.state + counts.to(self.state.device)

    def merge(self, other: Confusion) -> None:
        """Add what another one has seen."""
        self.state = self.state + other.state.to(self.state.device)

    def all_reduce(self, device: torch.device | str = "cpu") -> None:
        """Make every rank's counts those of all ranks."""
        self.state = torch.stack(_of_all_ranks(self.state.to(device))).sum(0).to(self.state.device)

    def scores(self) -> ClassScores:
        """The accuracies so far; NaN without samples."""
        right, seen = self.state.diagonal().double(), self.state.sum(1).double()
        present = seen > 0
        return ClassScores(
            accuracy=float(right.sum() / seen.sum()),
            mean_class_accuracy=float((right[present] / seen[present]).mean()),
            confusion=tuple(tuple(row) for row in self.state.tolist()),
            n=int(self.state.sum()),
        )
