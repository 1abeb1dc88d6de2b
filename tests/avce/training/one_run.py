"""Run by test_saving.py as a process of its own: a toy training that can be killed anywhere.

python -m tests.avce.training.one_run FOLDER NAME=VALUE... [resume] [kill=K] [slow=SECONDS]
kill=K ends the process, as SIGKILL does, at its K-th rename, sync or deletion of a file.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from avce.config import Config, with_settings
from avce.training.trainer import Interrupted, fit
from tests.avce.toy import ToyBatches, ToyMethod

CONFIG = Config(
    weights="none",
    lr=2e-2,
    epochs=2,
    batch_size=8,
    milestones=(7,),
    log_every=3,
    eval_every=4,
    checkpoint_every_steps=3,
    keep_last=2,
    log_with="none",
)


class Fused(ToyMethod):
    """With the optimizers of our methods, which walk raw memory."""

    def optimizers(self, config: Config | None = None) -> dict[str, torch.optim.Optimizer]:
        config = config or self.config
        made: dict[str, torch.optim.Optimizer] = {}
        for name, part in self.networks.items():
            if config.optimizer == "adam" and name in ("encoder", "regressor"):
                made[name] = torch.optim.Adam(part.parameters(), config.lr, fused=True)
            else:
                made[name] = torch.optim.SGD(
                    part.parameters(), config.head_lr, config.momentum, fused=True
                )
        return made


class SlowBatches(ToyBatches):
    """Each batch takes its time, and comes in the same order in every epoch."""

    pause = 0.0

    def __iter__(self) -> Any:
        self.epoch = 0  # sums of floats in another order are other sums
        for batch in super().__iter__():
            time.sleep(self.pause)
            yield batch


def die_at(count: int) -> None:
    """End this process at its `count`-th change of the disk."""
    seen = 0
    changes = ((os, "fsync"), (os, "unlink"), (Path, "rename"), (Path, "replace"),
               (shutil, "rmtree"), (os, "rmdir"))  # fmt: skip

    def counted(change: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*given, **named)

        return call

    for owner, name in changes:
        setattr(owner, name, counted(getattr(owner, name)))


def main(folder: Path, *words: str) -> None:
    """One training; the exit code is 0 when it finished, 3 when it was stopped."""
    torch.set_num_threads(1)
    given = dict(word.split("=", 1) for word in words if "=" in word)
    kill, slow = int(given.pop("kill", 0)), float(given.pop("slow", 0))
    n = int(given.pop("n", 16))
    config = with_settings(CONFIG, [f"{name}={value}" for name, value in given.items()])
    val = SlowBatches(n, 8, seed=1)
    val.pause = slow
    if kill:
        die_at(kill)
    method = Fused(dropout=0.3, norm=True)  # seeded as build_method is: a run without checkpoint
    print("begins", flush=True)
    try:
        fit(method, config, ToyBatches(), val, run=folder, resume="resume" in words)
    except Interrupted as stopped:
        print(f"stopped {stopped.step}")
        sys.exit(3)
    except (ValueError, OSError) as error:
        print(f"error: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
