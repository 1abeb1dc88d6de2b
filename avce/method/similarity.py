"""How alike two emotions are: the published angle, the intensity term, the released code.

All disagreement between paper and code about f(x, y) lives in this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-6  # norms below it count as this long, which bounds the gradient by 1 / _TINY


def angle(x: Float[Tensor, "*#b d"], y: Float[Tensor, "*#b d"]) -> Float[Tensor, "*b"]:
    """The angle between emotions in [0, pi], with finite gradients everywhere.

    acos of the cosine has infinite slope at 0 and pi. In the plane theta = atan2(|u x v|, u . v);
    in more dimensions Kahan's 2 atan2(|u - v|, |u + v|) on unit vectors. A zero vector has no
    direction: it gets 0 in the plane and pi/2 beyond, with zero gradient.
    """
    return _plane_angle(x, y) if x.shape[-1] == 2 else _space_angle(x, y)


def _plane_angle(x: Tensor, y: Tensor) -> Tensor:
    u, v = _rescaled(x), _rescaled(y)
    cross = (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]).abs()
    dot = (u * v).sum(-1)
    no_angle = (cross == 0) & (dot == 0)  # atan2(0, 0) has a value but no gradient
    return torch.atan2(cross, torch.where(no_angle, torch.ones_like(dot), dot))


def _space_angle(x: Tensor, y: Tensor) -> Tensor:
    u, v = _unit(x), _unit(y)
    apart, along = _norm(u - v), _norm(u + v)
    no_angle = (apart == 0) & (along == 0)
    return 2 * torch.atan2(
        torch.where(no_angle, 1.0, apart), torch.where(no_angle, 1.0, along)
    )  # two zero vectors: pi/2, like one


def _rescaled(x: Tensor) -> Tensor:
    """`x` at a length near 1, so that products of short vectors do not underflow in float32.

    The angle does not depend on the length, so treating it as a constant loses no gradient.
    """
    return x / torch.linalg.vector_norm(x.detach(), dim=-1, keepdim=True).clamp(min=_TINY)


def _unit(x: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    short = length <= _TINY
    safe = torch.where(short, torch.ones_like(length), length)
    return torch.where(short, torch.zeros_like(x), x / safe)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1)  # subgradient 0 at 0


def _halfcos(x: Tensor, y: Tensor) -> Tensor:
    """The released angle: the cosine is halved before arccos, so A stays in [5/6, 11/12]."""
    lengths = (_norm(x) + 1e-8) * (_norm(y) + 1e-8)
    cosine = (x * y).sum(-1) / lengths
    return (1 - 0.25 * torch.arccos(cosine / 2) / torch.pi).clamp(1e-6, 1.0)


@dataclass(frozen=True)
class Similarity:
    """f(x, y) = w_a A(x, y) + w_i (1 - ||x| - |y||) - w_s [valence signs differ].

    A = 1 - theta / pi is the published form (poster), 1 for the same direction and 0 for opposite
    ones. The intensity term and the sign penalty exist in the released code only. With
    `broadcast`, the penalty of every sample meets every other, as a shape slip there has it, and
    the result of N pairs is an (N, N) matrix. `distance` is the author's later toolbox, whose f
    grows as emotions differ: for comparison only.
    """

    angle: Literal["exact", "authors_halfcos"] = "exact"
    angle_weight: float = 1.0
    intensity_weight: float = 0.0
    sign_weight: float = 0.0
    broadcast: bool = False
    distance: bool = False

    def __call__(
        self, x: Float[Tensor, "*#b d"], y: Float[Tensor, "*#b d"]
    ) -> Float[Tensor, "..."]:
        if self.distance:
            return angle(x, y) / torch.pi + (_norm(x) - _norm(y)).abs()
        value = self.angle_weight * self._angular(x, y)
        if self.intensity_weight:
            value = value + self.intensity_weight * (1 - (_norm(x) - _norm(y)).abs())
        if self.sign_weight:
            differ = (x[..., 0].sign() != y[..., 0].sign()).to(value)
            value = self._penalised(value, self.sign_weight * differ)
        return value

    def _angular(self, x: Tensor, y: Tensor) -> Tensor:
        return _halfcos(x, y) if self.angle == "authors_halfcos" else 1 - angle(x, y) / torch.pi

    def _penalised(self, value: Tensor, penalty: Tensor) -> Tensor:
        return value[:, None] - penalty[None, :] if self.broadcast else value - penalty

    @property
    def lower_bound(self) -> float:
        """The smallest value f can take: 0 for the angle, minus infinity with an intensity."""
        return float("-inf") if self.intensity_weight else -self.sign_weight


ANGULAR = Similarity()
POLAR = Similarity(intensity_weight=0.8)
AUTHORS = Similarity(
    angle="authors_halfcos", intensity_weight=0.8, sign_weight=0.05, broadcast=True
)
