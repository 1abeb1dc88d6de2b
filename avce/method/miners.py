"""Which negative pairs count, and how much: similarities in, weights out.

A miner weighs; it never computes a loss. Weights have mean 1 along the last dimension, so a mean
(or a sum) of `weights * h` takes the place of the plain mean (or sum) of h over all pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def debiased_select(f: Float[Tensor, "*b m"], keep: float) -> Float[Tensor, "*b m"]:
    """Drop the share 1 - keep of pairs with the LARGEST similarity: likely false negatives.

    Our reading of the supplement, section 6 (N-bar < N pairs by the criterion of Chuang et al.
    2020: "reduces the false negatives, i.e. negatives similar to x"). keep = 1 changes nothing.
    """
    count = _kept(f, keep)
    return _chosen(f, f.topk(count, dim=-1, largest=False).indices)


def hard_select(
    f: Float[Tensor, "*b m"],
    keep: float,
    hardness: float = 1.0,
    temperature: float = 0.5,
    top: bool = False,
) -> Float[Tensor, "*b m"]:
    """Draw pairs without replacement, p ~ exp(hardness f / temperature): hard ones are likely.

    Our reading of the supplement, section 6, after Robinson et al. 2021. The draw is the top of
    Gumbel-perturbed log-probabilities, which is that distribution exactly. `top`: no draw, the
    most similar pairs. hardness = 0 draws uniformly; keep = 1 changes nothing.
    """
    logits = hardness * f.detach() / temperature
    if not top:
        logits = logits - torch.log(torch.empty_like(logits).exponential_())
    return _chosen(f, logits.topk(_kept(f, keep), dim=-1).indices)


def hard_weight(f: Float[Tensor, "*b m"], sharpness: float) -> Float[Tensor, "*b m"]:
    """w_j = exp(sharpness f_j) / mean_j exp(sharpness f_j), with gradients (Robinson et al.)."""
    return f.shape[-1] * torch.softmax(sharpness * f, dim=-1)


def true_negative_mean(
    mixed: Float[Tensor, "*b"],
    positive: Float[Tensor, "*b"],
    prior: float,
    floor: float,
) -> Float[Tensor, "*b"]:
    """E over true negatives from E over all: (mixed - prior positive) / (1 - prior), >= floor.

    Chuang et al. 2020: unlabelled negatives are a mixture in which the share `prior` (tau+) are
    positives in truth. prior = 0 changes nothing that is above the floor.
    """
    return ((mixed - prior * positive) / (1 - prior)).clamp(min=floor)


def _kept(f: Tensor, keep: float) -> int:
    return max(1, math.floor(keep * f.shape[-1] + 1e-9))  # int(0.8 N), but 0.7 * 10 is 7


def _chosen(f: Tensor, places: Tensor) -> Tensor:
    weight = f.shape[-1] / places.shape[-1]
    return torch.zeros_like(f).scatter(-1, places, weight)


@dataclass(frozen=True)
class Miner:
    """One mining rule with its settings; `none` weighs every pair 1.

    `prior` (tau+) only enters the `*_weight` kinds. The weights of `hard_weight` are
    exp(hardness f / temperature).
    """

    kind: Literal["none", "debiased_select", "hard_select", "debiased_weight", "hard_weight"] = (
        "none"
    )
    keep: float = 0.8
    hardness: float = 1.0
    temperature: float = 0.5
    top: bool = False
    prior: float = 0.1

    def weights(self, f: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m"]:
        """Weights of mean 1 along the last dimension."""
        if self.kind == "debiased_select":
            return debiased_select(f, self.keep)
        if self.kind == "hard_select":
            return hard_select(f, self.keep, self.hardness, self.temperature, self.top)
        if self.kind == "hard_weight":
            return hard_weight(f, self.hardness / self.temperature)
        return torch.ones_like(f)

    @property
    def positive_prior(self) -> float:
        """tau+ of the rules that correct for hidden positives, else 0."""
        return self.prior if self.kind.endswith("_weight") else 0.0
