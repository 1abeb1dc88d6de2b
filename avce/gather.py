"""One batch out of the batches of all ranks, with gradients.

A correlation, a negative or a batch norm is a statement about the whole batch. Computed on each
rank's part it differs from the one-process run; gathered, it does not.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor


def world_size() -> int:
    """Processes that train together; 1 when torch.distributed is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(rows: Shaped[Tensor, "b *rest"]) -> Shaped[Tensor, "n *rest"]:
    """The rows of all ranks in rank order; gradients flow back to the rank that owns the row.

    Every rank must hold equally many rows. Each rank then computes the same global loss, and its
    backward sums the gradient over ranks; DDP's average over ranks undoes that factor, so the
    parameters see exactly the gradient of the one-process run. Without ranks: the input itself.
    """
    if world_size() == 1:
        return rows
    return _Gather.apply(rows)  # pyright: ignore[reportReturnType]


def all_sum(value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The sum of `value` over all ranks, with gradients; without ranks: `value` itself."""
    if world_size() == 1:
        return value
    return _Sum.apply(value)  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    """All ranks' rows; a row's gradient is the sum of what all ranks say about it.

    torch.distributed.nn has both of these, deprecated since torch 2.14.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _summed(grads[0]).chunk(world_size())[dist.get_rank()]


class _Sum(torch.autograd.Function):
    """A sum over ranks; its gradient is the sum of what all ranks say about it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _summed(grads[0])


def _summed(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
