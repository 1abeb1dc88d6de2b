"""A small Method and a small loader: real ones, so that the trainer is tested without DALI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from avce.config import Config
from avce.method.build import Method


class ToyMethod(Method):
    """Two phases over four small networks; `dropout` and batch norm make it hard to resume."""

    def __init__(self, dropout: float = 0.0, norm: bool = False, seed: int = 0) -> None:
        nn.Module.__init__(self)  # no AVModel inside
        self.config = Config()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.BatchNorm2d(4) if norm else nn.Identity(),
            nn.Tanh(),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        self.regressor = nn.Linear(36, 2)
        self.head = nn.Linear(36, 2)
        self.extra = nn.Linear(36, 2)
        self.phases = {
            "main": ("encoder", "regressor", "head"),
            "discriminative": ("encoder", "extra"),
        }

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {n: self.get_submodule(n) for n in ("encoder", "regressor", "head", "extra")}

    def optimizers(self, config: Config | None = None) -> dict[str, torch.optim.Optimizer]:
        config = config or self.config
        adam = {n: torch.optim.Adam(self.networks[n].parameters(), config.lr, config.betas)
                for n in ("encoder", "regressor")}  # fmt: skip
        sgd = {n: torch.optim.SGD(self.networks[n].parameters(), config.head_lr, config.momentum)
               for n in ("head", "extra")}  # fmt: skip
        return {**adam, **sgd}

    def forward(self, image: Tensor, target: Tensor, phase: str) -> dict[str, Tensor]:
        features = self.encoder(image)
        if phase == "discriminative":
            return {"discriminative": 0.1 * (self.extra(features) + target).square().mean()}
        mse = (self.regressor(features) - target).square().mean()
        return {"mse": mse, "head": 0.1 * (self.head(features) - target).square().mean()}

    def predict(self, image: Tensor) -> Tensor:
        return self.regressor(self.encoder(image))


class ToyBatches:
    """A seeded order of stored samples that is the same for any number of ranks, and resumable."""

    def __init__(
        self, n: int = 48, batch_size: int = 8, *, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.image = torch.randn(n, 3, 8, 8, generator=generator)
        self.target = torch.stack(
            [self.image[:, 0].mean((1, 2)) * 4, self.image[:, 1].mean((1, 2)) * 4], 1
        ).tanh()
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.epoch, self.step = 0, 0
        self.served: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.image) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        order = torch.randperm(len(self.image), generator=torch.Generator().manual_seed(self.epoch))
        while self.step < len(self):
            rows = order[self.step * self.batch_size : (self.step + 1) * self.batch_size]
            mine = rows.chunk(self.world_size)[self.rank]
            self.step += 1
            self.served.append(rows.tolist())
            yield self.image[mine], self.target[mine], mine, torch.ones(len(mine), dtype=torch.bool)
        self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.step = state["epoch"], state["step"]
