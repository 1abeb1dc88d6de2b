"""The processes that train together, and one batch out of the batches of all of them.

A correlation, a negative or a batch norm is a statement about the whole batch. Computed on each
rank's part it differs from the one-process run; gathered, it does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from jaxtyping import Float, Shaped
from torch import Tensor, nn


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


def of_first_rank(text: str) -> str:
    """Rank 0's text on every rank, such as a folder named by the time."""
    shared = [text]
    PartialState(cpu=ranks_on_cpu())  # joins the other ranks, if there are any
    broadcast_object_list(shared)
    return shared[0]


def launched() -> int:
    """Processes that torchrun or accelerate launch has started."""
    ranks, rank = (os.environ.get(name) or "0" for name in ("WORLD_SIZE", "RANK"))
    if not (ranks + rank).isdecimal() or int(rank) >= max(1, int(ranks)):
        raise ValueError(
            f"RANK={rank} and WORLD_SIZE={ranks} name no rank of any launch; unset both, or start "
            "by torchrun or accelerate launch"
        )
    return max(1, int(ranks))


def by_launcher() -> bool:
    """Whether `accelerate launch` or `torchrun` started this process, of however many."""
    return not {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"}.isdisjoint(os.environ)


def local_device() -> torch.device:
    """This rank's GPU; the current one outside a launch, the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if "LOCAL_RANK" not in os.environ:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


# What `accelerate launch` and its configuration file ask for by environment, the word that means
# nothing is asked for, and what says the same in a recipe.
_LAUNCH = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "a larger --set batch_size=N over more ranks"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "--dynamo_backend no: recipes are not compiled"),
    "ACCELERATE_USE_FSDP": ("false", "no FSDP: each rank holds the whole model"),
    "ACCELERATE_USE_DEEPSPEED": ("false", "no DeepSpeed: each rank holds the whole model"),
    "ACCELERATE_USE_MEGATRON_LM": ("false", "no Megatron: each rank holds the whole model"),
}


def refuse_other_launch(precision: str) -> None:
    """ValueError where Accelerate's environment asks for another training than the recipe."""
    wanted = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if wanted not in ("no", "", precision):
        mend = "--set precision=bf16 and " if wanted != "bf16" else "--set precision=bf16, or "
        raise ValueError(
            f"the launch asks for mixed precision {wanted} and the recipe says precision="
            f"{precision}; use {mend}--mixed_precision no at the launch"
        )
    for name, (nothing, mend) in _LAUNCH.items():
        if os.environ.get(name, nothing).lower() not in (nothing, ""):
            raise ValueError(
                f"the launch says {name}={os.environ[name]}, which would change what the recipe "
                f"trains; use {mend}"
            )


class Ranks:
    """What all ranks decide and one does, asked over the CPU: a GPU would first end its work."""

    def __init__(self) -> None:
        nccl = world_size() > 1 and dist.get_backend() != "gloo"
        self.group: Any = dist.new_group(backend="gloo") if nccl else None
        self.leads = world_size() == 1 or dist.get_rank() == 0

    def any(self, *flags: bool) -> list[bool]:
        """True where any rank says so: ranks must stop, save and fail at the same step."""
        if world_size() == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self.group)
        return [bool(vote) for vote in votes.tolist()]

    def gathered(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """What every rank says, in rank order."""
        found: list[Any] = [facts] * world_size()
        if world_size() > 1:
            dist.all_gather_object(found, facts, group=self.group)
        return found

    def lead(self, write: Callable[[], object]) -> None:
        """Rank 0 writes; what fails there ends every rank, or the others would wait for ever."""
        failure = None
        try:
            if self.leads:
                write()
        except (OSError, ValueError) as error:
            failure = error
        if any(self.any(failure is not None)):
            raise failure or OSError("rank 0 could not write; its message says why")


def ranks_on_cpu() -> bool:
    """Whether ranks must meet on CPUs: Accelerate, not told so, leaves each of them alone."""
    return launched() > 1 and not torch.accelerator.is_available()


def use_own_cores() -> None:
    """Compute on this rank's share of the cores where a launcher has left it a single thread.

    `accelerate launch` and `torchrun` set OMP_NUM_THREADS=1 unless told otherwise, which on two
    cores halves the speed. Any other number is somebody's wish and stays.
    """
    if by_launcher() and os.environ.get("OMP_NUM_THREADS") == "1":
        ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks_here))


class GatheredBatchNorm(nn.BatchNorm1d):
    """Batch norm over the rows of all ranks, so that two ranks train as one does.

    Without ranks it is BatchNorm. `SyncBatchNorm` does not run on CPUs. Any number of trailing
    dimensions; a training batch of one row has no spread and is refused.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm takes (batch, channels, ...), not {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        dims = [0, *range(2, input.dim())]
        rows = input.float()
        count = rows.numel() // rows.shape[1] * world_size()
        mean = all_sum(rows.sum(dims)) / count
        centred = rows - _per_channel(mean, rows)
        variance = all_sum(centred.square().sum(dims)) / count
        self._remember(mean.detach(), variance.detach(), count)
        scaled = centred * _per_channel(torch.rsqrt(variance + self.eps), rows)
        if self.affine:
            scaled = scaled * _per_channel(self.weight, rows) + _per_channel(self.bias, rows)
        return scaled.to(input)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


def gather_norms(module: nn.Module) -> None:
    """Replace the batch norms inside `module` by gathered ones, parameters and buffers kept."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            gathered = GatheredBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine
            )
            gathered.load_state_dict(child.state_dict())
            setattr(module, name, gathered)
        else:
            gather_norms(child)
