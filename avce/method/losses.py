"""The losses as bricks: each is a module that works alone in someone else's loop.

All are minimised. Angles, moments and mining live in their own files.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avce.method.miners import Miner, hard_weight, true_negative_mean
from avce.method.similarity import ANGULAR, Similarity
from avce.scores.metrics import ccc_of, pcc_of, second_moments

Negatives = Literal["paired", "shuffled", "batch", "batch_all"]
_BATCH_NORM_EPS = 1e-5  # Barlow-Twins standardises by a batch norm, and this is its default
_EPS = 1e-8  # keeps the gradient of a root finite at 0


def negative_similarities(
    similarity: Similarity,
    anchor: Float[Tensor, "n d"],
    negative: Float[Tensor, "n d"],
    negatives: Negatives = "paired",
) -> Float[Tensor, "rows m"]:
    """Similarities of negative pairs; mining works along a row.

    `paired`: one row, f(x_i, y_i), as the released code has it. `shuffled`: one row,
    f(x_i, y_i-1), a draw from the product of marginals since batches are random. `batch`: a row
    for each anchor, all j != i. `batch_all`: all j, i included (the peers' formulas).
    """
    if negatives == "paired":
        pairs = similarity(anchor, negative)
        return pairs if pairs.dim() == 2 else pairs[None]  # 2-d: the authors' broadcast penalty
    n = anchor.shape[0]
    if negatives == "batch_all":
        return similarity(anchor[:, None], negative[None])
    if n < 2:
        raise ValueError(f"negatives={negatives} needs a batch of 2 or more, and it has {n}")
    if negatives == "shuffled":
        return similarity(anchor, negative.roll(1, 0))[None]
    others = ~torch.eye(n, dtype=torch.bool, device=anchor.device)
    return similarity(anchor[:, None], negative[None])[others].view(n, n - 1)


def relative_predictive_coding(
    positive: Float[Tensor, "..."],
    negative: Float[Tensor, "..."],
    negative_second: Float[Tensor, "..."],
    *,
    alpha: float = 0.5,
    beta: float = 0.005,
    gamma: float = 0.5,
    second_moment: bool = True,
) -> Float[Tensor, ""]:
    """J = E+[f] - alpha E-[f] - beta/2 E+[f^2] - gamma/2 E-[f^2], to be MAXIMISED.

    Tsai et al. 2021; AVCE is this objective on its views (supplement, section 7). Takes f of
    positive pairs, and f and f^2 of negative pairs (weighted means, if mined). Its optimum is
    f* = (r - alpha) / (beta r + gamma) with r the density ratio, and J lies in
    [0, 1 / (2 beta) + alpha^2 / (2 gamma)] there. `second_moment=False` drops the squares, as the
    poster prints it.
    """
    positive_second = positive.square() if second_moment else positive
    penalty = negative_second if second_moment else negative
    return (
        positive.mean()
        - alpha * negative.mean()
        - beta / 2 * positive_second.mean()
        - gamma / 2 * penalty.mean()
    )


class AVCELoss(nn.Module):
    """Minus the AVCE objective: x and its attentive view agree, x and the average view do not.

    `forward(anchor, positive, negative)` takes (n, d) each: x = R(z), y_a = H(Sp z),
    y_n = H(Sm z). Nothing is detached. `reduction="sum"` multiplies by n, as the released code.
    """

    def __init__(
        self,
        similarity: Similarity = ANGULAR,
        *,
        alpha: float = 0.5,
        beta: float = 0.005,
        gamma: float = 0.5,
        second_moment: bool = True,
        negatives: Negatives = "paired",
        miner: Miner | None = None,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.similarity, self.reduction = similarity, reduction
        self.negatives: Negatives = negatives
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.second_moment = second_moment
        self.miner = miner or Miner()
        _need_anchors(self.miner, negatives)

    def forward(
        self,
        anchor: Float[Tensor, "n d"],
        positive: Float[Tensor, "n d"],
        negative: Float[Tensor, "n d"],
    ) -> Float[Tensor, ""]:
        f_pos = self.similarity(anchor, positive)
        f_neg = negative_similarities(self.similarity, anchor, negative, self.negatives)
        weights = self._weights(f_neg.detach())
        first, second = (weights * f_neg).mean(-1), (weights * f_neg.square()).mean(-1)
        if prior := self.miner.positive_prior:
            first = true_negative_mean(first, f_pos, prior, self.similarity.lower_bound)
            second = true_negative_mean(second, f_pos.square(), prior, 0.0)
        objective = relative_predictive_coding(
            f_pos,
            first,
            second,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            second_moment=self.second_moment,
        )
        return -objective * (anchor.shape[0] if self.reduction == "sum" else 1)

    def _weights(self, f: Tensor) -> Tensor:
        # hard weights are exp(b f) here: this objective, unlike its peers', has no temperature
        if self.miner.kind == "hard_weight":
            return hard_weight(f, self.miner.hardness)
        return self.miner.weights(f)


class InfoNCELoss(nn.Module):
    """-mean log[ e^(f+/t) / (e^(f+/t) + sum_j w_j e^(f-_j/t)) ], mined by weights w.

    van den Oord et al. 2018; with a `*_weight` miner the sum is corrected for hidden positives
    (Chuang et al. 2020) and weighs hard pairs (Robinson et al. 2021, gradients through w as
    published). Arguments as for `AVCELoss`.
    """

    def __init__(
        self,
        similarity: Similarity = ANGULAR,
        *,
        temperature: float = 0.5,
        negatives: Negatives = "batch_all",
        miner: Miner | None = None,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.similarity, self.temperature, self.reduction = similarity, temperature, reduction
        self.negatives: Negatives = negatives
        self.miner = miner or Miner()
        _need_anchors(self.miner, negatives)

    def forward(
        self,
        anchor: Float[Tensor, "n d"],
        positive: Float[Tensor, "n d"],
        negative: Float[Tensor, "n d"],
    ) -> Float[Tensor, ""]:
        f_pos = self.similarity(anchor, positive)
        f_neg = negative_similarities(self.similarity, anchor, negative, self.negatives)
        weights = self.miner.weights(f_neg)
        if f_neg.shape[0] != anchor.shape[0]:  # one row of pairs: each anchor owns one
            f_neg, weights = f_neg.T, weights.T
        per_anchor = self._loss(f_pos, f_neg, weights)
        return per_anchor.mean() if self.reduction == "mean" else per_anchor.sum()

    def _loss(self, f_pos: Tensor, f_neg: Tensor, weights: Tensor) -> Tensor:
        # Everything is divided by e^(f+/t), so that nothing overflows: log(1 + negatives).
        t, m = self.temperature, f_neg.shape[-1]
        total = (weights * torch.exp((f_neg - f_pos[:, None]) / t)).sum(-1)
        if prior := self.miner.positive_prior:
            floor = m * torch.exp((self.similarity.lower_bound - f_pos) / t)
            total = torch.maximum((total - prior * m) / (1 - prior), floor)
        return torch.log1p(total)


class BarlowTwinsLoss(nn.Module):
    """Columns of two views agree with themselves and with nothing else (Zbontar et al. 2021).

    sum_k (1 - C_kk)^2 + offdiagonal sum_{k != l} C_kl^2, C the correlation of anchor and positive
    over the batch. It has no negatives; to let mining act, as the supplement's Table 2 does by a
    rule it does not state, we add negative_weight * sum C_n^2, C_n over the selected negative
    pairs. That term is OUR interpretation; negative_weight=0 is the original. On predictions k is
    2 where the original has 8192.
    """

    def __init__(
        self,
        similarity: Similarity = ANGULAR,
        *,
        offdiagonal: float = 0.0051,
        negative_weight: float = 0.0051,
        negatives: Literal["paired", "shuffled"] = "paired",
        miner: Miner | None = None,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.similarity, self.negatives, self.reduction = similarity, negatives, reduction
        self.offdiagonal, self.negative_weight = offdiagonal, negative_weight
        self.miner = miner or Miner()

    def forward(
        self,
        anchor: Float[Tensor, "n d"],
        positive: Float[Tensor, "n d"],
        negative: Float[Tensor, "n d"],
    ) -> Float[Tensor, ""]:
        ones = torch.ones_like(anchor[:, 0])
        c = _correlation(anchor, positive, ones)
        on_diagonal = (1 - c.diagonal()).square().sum()
        off_diagonal = c.square().sum() - c.diagonal().square().sum()
        loss = on_diagonal + self.offdiagonal * off_diagonal
        if self.negative_weight:
            loss = loss + self.negative_weight * self._negative(anchor, negative)
        return loss * (anchor.shape[0] if self.reduction == "sum" else 1)

    def _negative(self, anchor: Tensor, negative: Tensor) -> Tensor:
        if self.negatives == "shuffled":
            negative = negative.roll(1, 0)
        pairs = self.similarity(anchor, negative).detach()
        return _correlation(anchor, negative, self.miner.weights(pairs)).square().sum()


def _correlation(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """(k, k) correlations of the columns of x and y over rows weighted with mean 1."""
    u, v = _standardised(x, weights), _standardised(y, weights)
    return (weights[:, None] * u).T @ v / x.shape[0]


def _standardised(x: Tensor, weights: Tensor) -> Tensor:
    w = weights[:, None]
    centred = x - (w * x).mean(0)
    return centred / torch.sqrt((w * centred.square()).mean(0) + _BATCH_NORM_EPS)


class DiscriminativeLoss(nn.Module):
    """z is held to both views, the views are pushed apart: push + hold_weight (hold_a + hold_n).

    push = mean max(0, margin - |v_a - v_n|^2), the SQUARED distance of un-normalised vectors;
    hold = mean |v_view^ - v^| - 1 on unit vectors, where the -1 is a constant, so values may be
    negative (released code; the supplement calls it triplet-based regularisation).
    """

    def __init__(self, margin: float = 1.0, hold_weight: float = 0.01) -> None:
        super().__init__()
        self.margin, self.hold_weight = margin, hold_weight

    def forward(
        self,
        v: Float[Tensor, "n d"],
        v_attentive: Float[Tensor, "n d"],
        v_inattentive: Float[Tensor, "n d"],
    ) -> Float[Tensor, ""]:
        apart = (v_attentive - v_inattentive).square().sum(-1)
        push = (self.margin - apart).clamp(min=0).mean()
        hold = self._hold(v_attentive, v) + self._hold(v_inattentive, v)
        return push + self.hold_weight * hold

    def _hold(self, view: Tensor, v: Tensor) -> Tensor:
        return torch.linalg.vector_norm(_nearly_unit(view) - _nearly_unit(v), dim=-1).mean() - 1


def _nearly_unit(v: Tensor) -> Tensor:
    return v / (torch.linalg.vector_norm(v, dim=-1, keepdim=True) + 1e-6)


class RegressionLoss(nn.Module):
    """L_va = sum_k error_k + w (1 - mean_k PCC_k) + w (1 - mean_k CCC_k), as its three terms.

    `error` is the mean squared error of each axis, or its root (CAF). A batch of one has no
    correlation: those two terms are left out there. w = 0 is the published loss. `weights` (mean 1
    over the training set, see `density.py`) weigh the squared errors, not the correlations.
    """

    def __init__(
        self,
        correlation_weight: float = 0.5,
        *,
        moments: str = "population",
        error: Literal["mse", "rmse"] = "mse",
    ) -> None:
        super().__init__()
        self.correlation_weight, self.moments, self.error = correlation_weight, moments, error

    def forward(
        self,
        preds: Float[Tensor, "n k"],
        target: Float[Tensor, "n k"],
        weights: Float[Tensor, " n"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        squares = (preds - target).square()
        squared = (squares if weights is None else weights[:, None] * squares).mean(0)
        error = squared if self.error == "mse" else torch.sqrt(squared + _EPS)
        losses = {self.error: error.sum()}
        if self.correlation_weight and preds.shape[0] > 1:
            m = second_moments(preds, target, self.moments)
            losses["pcc"] = self.correlation_weight * (1 - pcc_of(m).mean())
            losses["ccc"] = self.correlation_weight * (1 - ccc_of(m).mean())
        return losses


def _need_anchors(miner: Miner, negatives: str) -> None:
    if miner.kind.endswith("_weight") and not negatives.startswith("batch"):
        raise ValueError(
            f"{miner.kind} weighs the negatives of each anchor; use negatives='batch' or "
            f"'batch_all', not {negatives!r}"
        )
