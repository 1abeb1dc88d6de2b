"""Run by test_ranks.py, plainly or by torchrun: trainings on this rank's part of each batch.

python -m tests.two_ranks FOLDER NAME=TASK...
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from avce.config import Config
from avce.method.build import Method, build_method
from avce.training.trainer import Interrupted, LossNotFinite, fit
from tests.avce.toy import ToyBatches, ToyMethod

TOY = Config(
    weights="none",
    lr=2e-2,
    epochs=2,
    batch_size=8,
    milestones=(5,),
    log_every=1,
    eval_every=4,
    log_with="none",
)
AVCE = Config(
    weights="none",
    dropout=0.0,
    epochs=1,
    batch_size=8,
    log_every=1,
    gather=True,
    log_with="none",
    audit=1.0,
)

RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def validation() -> list[tuple[Tensor, ...]]:
    """20 samples in 3 batches, the last one padded."""
    whole = [row for batch in ToyBatches(24, 8, seed=1) for row in batch[2].tolist()]
    padding = torch.tensor(whole[20:])
    mine = ToyBatches(24, 8, seed=1, rank=RANK, world_size=RANKS)
    return [(i, t, r, ~torch.isin(r, padding)) for i, t, r, _ in mine]


def faces() -> list[tuple[Tensor, Tensor]]:
    """Three batches of 8 noise images, this rank's part."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(24, 3, 64, 64, generator=generator).split(8)
    target = torch.rand(24, 2, generator=generator).mul(2).sub(1).split(8)
    return [
        (i.chunk(RANKS)[RANK], t.chunk(RANKS)[RANK]) for i, t in zip(image, target, strict=True)
    ]


def terminate(record: dict[str, Any]) -> None:
    """SIGTERM reaches rank 0 alone (only it is told records); the other must stop with it."""
    if record["step"] == 5:
        os.kill(os.getpid(), signal.SIGTERM)


def do(task: str, run: Path) -> dict[str, Any]:
    """One training and what this rank saw of it."""
    train: Any = ToyBatches(rank=RANK, world_size=RANKS)
    method: Method = ToyMethod(norm=task == "norm", seed=RANK)  # DDP hands out rank 0's weights
    config, val = TOY, validation()
    listen: Callable[[dict[str, Any]], None] | None = terminate if task == "stop" else None
    if task == "poison" and RANK == RANKS - 1:
        train.target.fill_(float("nan"))
    if task == "avce":
        train, config = faces(), AVCE
        method, val = build_method(replace(AVCE, seed=RANK)), train
    answer: dict[str, Any] = {"ended": "finished"}
    try:
        scores = fit(method, config, train, val, run=run, resume=task == "resume", progress=listen)
        answer["scores"] = asdict(scores)
    except Interrupted as interrupted:
        answer["ended"] = f"stopped {interrupted.step}"
    except LossNotFinite as error:
        answer["ended"] = str(error)
    return answer | {"served": getattr(train, "served", None)}


def main(folder: Path, tasks: list[str]) -> None:
    """Each NAME=TASK in turn; answers go to NAME.rank-N.json beside the run folders."""
    torch.set_num_threads(1)
    for name, task in (text.split("=") for text in tasks):
        answer = do(task, folder / name)
        (folder / f"{name}.{task}.rank-{RANK}.json").write_text(json.dumps(answer))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
