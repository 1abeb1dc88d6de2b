"""The networks: encoder, compressor, regressor, heads; shapes and counts as in method.md 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avce.ranks import GatheredBatchNorm, world_size

LATENT = 32  # width of z


class SleeplessDropout(nn.Dropout):
    """Dropout at evaluation too: the released ResNets call it as a function that is always on, in
    front of z and behind it, so their predictions are random."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, training=True)


class Compressor(nn.Module):
    """Features to z in R^32, z >= 0: pool, flatten, [FC hidden,] dropout, FC, ReLU.

    AlexNet: pool to 6x6, FC 9216->32 (294,944). ResNet18: pool to 1x1, FC 512->1000, FC 1000->32
    (545,032). Vectors: FC 1000->32 (32,032). `slip`: the dropout never sleeps.
    """

    def __init__(
        self,
        channels: int,
        pool: int | None,
        *,
        hidden: int | None = None,
        dropout: float = 0.5,
        slip: bool = False,
    ) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else nn.AdaptiveAvgPool2d(pool)
        self.dropout = SleeplessDropout(dropout) if slip else nn.Dropout(dropout)
        width = channels * (pool or 1) ** 2
        if hidden is None:
            self.fc = nn.Linear(width, LATENT)
        else:
            self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, LATENT)
        self.hidden = hidden

    def forward(self, features: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b 32"]:
        flat = self.pool(features).flatten(1)
        if self.hidden is not None:
            flat = self.fc1(flat)
        flat = self.dropout(flat)
        return F.relu(self.fc(flat) if self.hidden is None else self.fc2(flat))


class Classifier(nn.Module):
    """AlexNet's own fully connected stack to 1000 classes, the 58.6M of the published baseline."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 36, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 1000),
        )

    def forward(self, features: Float[Tensor, "b 256 i j"]) -> Float[Tensor, "b 1000"]:
        return self.classifier(self.pool(features).flatten(1))


class CAFCompressor(nn.Module):
    """Pool, flatten, dropout, FC to 64, ReLU, dropout, FC to 8, ReLU; with the 8->2 regressor
    590,426 parameters on AlexNet."""

    def __init__(self, channels: int, pool: int | None, dropout: float = 0.5) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else nn.AdaptiveAvgPool2d(pool)
        self.width = channels * (pool or 1) ** 2
        self.fc1, self.fc2 = nn.Linear(self.width, 64), nn.Linear(64, 8)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b 8"]:
        hidden = F.relu(self.fc1(self.dropout(self.pool(features).flatten(1))))
        return F.relu(self.fc2(self.dropout(hidden)))


Activation = Literal["none", "relu", "leaky", "tanh"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "leaky": lambda x: F.leaky_relu(x, 0.01),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Head(nn.Module):
    """[dropout,] FC, [BN,] ReLU, FC, output: the shape of regressor, projection and extra head.

    R 32-256-2: 8,962 parameters, 9,474 with BN; V 32-64-8: 2,632 or 2,760. BN needs two rows in
    training: ValueError.
    """

    def __init__(
        self,
        hidden: int,
        outputs: int,
        *,
        norm: bool = True,
        dropout: float = 0.0,
        activation: str = "none",
        scale: float = 1.0,
        slip: bool = False,
    ) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(LATENT, hidden), nn.Linear(hidden, outputs)
        self.norm = nn.BatchNorm1d(hidden) if norm else nn.Identity()
        self.dropout = SleeplessDropout(dropout) if slip else nn.Dropout(dropout)
        self.activation, self.scale = activation, scale

    def forward(self, z: Float[Tensor, "b 32"]) -> Float[Tensor, "b k"]:
        need_rows(self.norm, z)
        hidden = F.relu(self.norm(self.fc1(self.dropout(z))))
        output = _ACTIVATIONS[self.activation](self.fc2(hidden))
        return output if self.scale == 1.0 else self.scale * output


def need_rows(norm: nn.Module, z: Tensor) -> None:
    """ValueError where a batch norm in training meets a single row."""
    ranks = world_size() if isinstance(norm, GatheredBatchNorm) else 1
    if norm.training and z.shape[0] * ranks < 2 and isinstance(norm, nn.BatchNorm1d):
        raise ValueError(
            "a training batch of 1 has no spread for batch norm; use batch_size 2 or more, "
            "or none of norm=batch and views=batch_norm"
        )


class Regressor(Head):
    """z to x, the prediction: valence and arousal, or one logit a class; dropout on z."""

    def __init__(
        self,
        outputs: int = 2,
        *,
        norm: bool = True,
        dropout: float = 0.5,
        activation: str = "none",
        slip: bool = False,
    ) -> None:
        super().__init__(256, outputs, norm=norm, dropout=dropout, activation=activation, slip=slip)


class ProjectionHead(Head):
    """H: a view of z to an emotion y, 0.5 tanh, shared by both views; `scale` 0: linear."""

    def __init__(self, outputs: int = 2, *, norm: bool = True, scale: float = 0.5) -> None:
        activation = "tanh" if scale else "none"
        super().__init__(256, outputs, norm=norm, activation=activation, scale=scale or 1.0)


class ExtraHead(Head):
    """V: z or a view to R^8 for the discriminative loss; the last ReLU is really there."""

    def __init__(self, *, norm: bool = True, activation: Activation = "relu") -> None:
        super().__init__(64, 8, norm=norm, activation=activation)


class Projector(nn.Module):
    """z to R^width for Barlow-Twins on z: two layers with BN between, as Zbontar et al. have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, z: Float[Tensor, "b 32"]) -> Float[Tensor, "b w"]:
        return self.layers(z)


class LinearRegressor(nn.Module):
    """One linear layer to the outputs, behind AlexNet's classifier or CAF's compressor."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, outputs)

    def forward(self, z: Float[Tensor, "b w"]) -> Float[Tensor, "b k"]:
        return self.fc(z)


class AVModel(nn.Module):
    """What predicts: encoder, compressor, regressor. All that inference needs, for any method."""

    def __init__(self, encoder: nn.Module, compressor: nn.Module, regressor: nn.Module) -> None:
        super().__init__()
        self.encoder, self.compressor, self.regressor = encoder, compressor, regressor

    def latent(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """z, before the regressor."""
        return self.compressor(self.encoder(image))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        return self.regressor(self.latent(image))


def wide_normal(module: nn.Module) -> None:
    """The released heads' start: weights N(0, 1), biases 0.01; most outputs are saturated."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight)
            nn.init.constant_(part.bias, 0.01)
