"""One batch out of the batches of all ranks, with gradients.

A correlation, a negative or a batch norm is a statement about the whole batch. Computed on each
rank's part it differs from the one-process run; gathered, it does not.
"""

from __future__ import annotations

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
    if not rows.is_floating_point():
        return _gather_constant(rows)
    from torch.distributed.nn.functional import all_gather

    return _cat(all_gather(rows.contiguous()))


def all_sum(value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The sum of `value` over all ranks, with gradients; without ranks: `value` itself."""
    if world_size() == 1:
        return value
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(value.contiguous())


def _gather_constant(rows: Tensor) -> Tensor:
    parts = [rows.new_empty(rows.shape) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return _cat(parts)


def _cat(parts) -> Tensor:
    return torch.cat(tuple(parts))
