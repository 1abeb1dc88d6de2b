"""SparseMax and SoftMax: one declaration each, solved by the engine of your choice."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from .closed import softmax, sparsemax


class SparseMax(nn.Module):
    """The attentive map: argmin_p |p - z|^2 over the simplex, for rows of `dim`."""

    def __init__(self, dim: int, engine: str = "closed"):
        super().__init__()
        self.dim = dim
        self.engine = engine

    def forward(self, z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        _check_length(z, self.dim)
        return sparsemax(z)


class SoftMax(nn.Module):
    """The inattentive map: argmin_p -z.p + sum p log p over the simplex, for rows of `dim`."""

    def __init__(self, dim: int, engine: str = "closed"):
        super().__init__()
        self.dim = dim
        self.engine = engine

    def forward(self, z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        _check_length(z, self.dim)
        return softmax(z)


def _check_length(z: Tensor, dim: int) -> None:
    if z.shape[-1] != dim:
        raise ValueError(
            f"rows of length {z.shape[-1]} meet a layer made for {dim}; build it with the length "
            f"of its input"
        )
