"""The two maps onto the simplex whose solutions can be written down."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class _SparseMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor) -> Tensor:
        work = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
        p = _project(work)
        ctx.save_for_backward(p)
        return p.to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (p,) = ctx.saved_tensors
        support = (p > 0).to(p.dtype)
        inside = support * grad
        mean = inside.sum(-1, keepdim=True).div_(support.sum(-1, keepdim=True))
        return inside.addcmul_(support, mean, value=-1).to(grad.dtype)


def _project(z: Tensor) -> Tensor:
    """Sort, find how many entries stay above the threshold, subtract it."""
    z = z - z.amax(-1, keepdim=True)  # the support then lies in [-1, 0]: no digits cancel
    ranked = z.sort(-1, descending=True).values
    ahead = ranked.cumsum(-1).sub_(1)
    place = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    # A row of NaN keeps no entry; its size is held at one so that the row comes out as NaN.
    size = (place * ranked > ahead).sum(-1, keepdim=True).clamp_(min=1)
    threshold = ahead.gather(-1, size - 1).div_(size)
    return z.sub_(threshold).clamp_(min=0)


def sparsemax(z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Project each row of `z` onto the simplex: argmin_p |p - z|^2  s.t.  p >= 0, sum p = 1.

    Martins & Astudillo 2016, algorithm 1. Exact, O(d log d). Rows sum to one; an entry that lands
    exactly on zero counts as outside the support, also in the gradient, which is
    g - mean over the support of g. Half precisions are computed in float32. A row with NaN or
    +inf comes out as NaN; -inf removes an entry.
    """
    return _SparseMax.apply(z)  # pyright: ignore[reportReturnType]


def softmax(z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Solve argmin_p -z.p + sum p log p  s.t.  sum p = 1 for each row: p = exp(z) / sum exp(z)."""
    return torch.softmax(z, dim=-1)
