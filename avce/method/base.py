"""`Method`: a module whose `forward` returns losses and which names what each phase trains.

The trainer knows phases, not methods.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from avce.config import Config
from avce.method.density import plane_weights, weights_at
from avce.method.losses import RegressionLoss
from avce.method.models import AVModel
from avce.ranks import gather
from avce.scores.evaluate import device_of


class Method(nn.Module):
    """A model to be trained, its heads and its losses.

    `phases` maps each phase to the networks whose optimisers step after it; `networks` maps each
    name to its module, one optimiser each. `forward(image, target, phase)` returns weighted
    scalar losses whose sum is minimised. Losses come out of `forward` so that distributed data
    parallel averages the right gradients.
    """

    phases: dict[str, tuple[str, ...]]
    supervised: RegressionLoss
    rarity: Tensor | None
    heads: tuple[str, ...] = ()  # networks trained by SGD at head_lr

    def __init__(self, model: AVModel, config: Config) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.register_buffer("rarity", None, persistent=False)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Name to network, in the order of the data flow."""
        parts: dict[str, nn.Module] = {
            "encoder": self.model.encoder,
            "compressor": self.model.compressor,
            "regressor": self.model.regressor,
        }
        return parts | {name: self.get_submodule(name) for name in self.heads}

    def optimizers(self, config: Config | None = None) -> dict[str, torch.optim.Optimizer]:
        """One optimiser a network: Adam (or SGD) for what predicts, SGD for the heads.

        Compressor and regressor have an Adam each where the released code has one for both; Adam
        works parameter by parameter, so the updates are the same.
        """
        chosen = config or self.config
        return {name: self._optimizer(name, part, chosen) for name, part in self.networks.items()}

    def _optimizer(self, name: str, part: nn.Module, config: Config) -> torch.optim.Optimizer:
        if name in self.heads:
            return torch.optim.SGD(
                part.parameters(), lr=config.head_lr, momentum=config.momentum, fused=True
            )
        lr = (name == "compressor" and config.compressor_lr) or config.lr
        if config.optimizer == "sgd":
            return torch.optim.SGD(part.parameters(), lr=lr, momentum=config.momentum, fused=True)
        return torch.optim.Adam(part.parameters(), lr=lr, betas=config.betas, fused=True)

    def forward(
        self, image: Float[Tensor, "b 3 h w"], target: Shaped[Tensor, "b ..."], phase: str
    ) -> dict[str, Tensor]:
        """Weighted scalar losses of `phase`; `target` is (b, 2) floats or (b,) class codes."""
        raise NotImplementedError

    def predict(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        """Valence and arousal, or one logit a class: encoder, compressor, regressor only."""
        return self.model(image)

    def gauges(self) -> dict[str, float]:
        """Numbers about the newest batch that the training log keeps beside the losses."""
        return {}

    def train(self, mode: bool = True) -> Method:
        """As nn.Module; `authors_eval_mode` keeps dropout and norms asleep, but for V.

        In the released loop the first evaluation switches E, Cmp, R and H to evaluation and
        nothing switches them back. It comes after one update; here that update sleeps too.
        """
        super().train(mode)
        if mode and self.config.authors_eval_mode:
            self.model.eval()
            for name in self.heads:
                if name != "extra_head":
                    self.get_submodule(name).eval()
        return self

    def reweigh(self, labels: Any) -> Tensor:
        """Let errors weigh by how rare their label is among `labels` (n, 2), those of the training
        set; the weight of each cell of the plane. For `reweigh=plane`, before training."""
        self.rarity = plane_weights(torch.as_tensor(labels)).float().to(device_of(self))
        return self.rarity

    def _regressed(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The supervised loss on the plane; `target` is this rank's, as it was labelled."""
        return self.supervised(preds, self._labels(target), self._weights(target))

    def _weights(self, target: Tensor) -> Tensor | None:
        if self.config.reweigh == "none":
            return None
        if self.rarity is None:
            raise ValueError(
                "reweigh=plane weighs by the labels of the training set, which are not known; call "
                "method.reweigh(labels) before training"
            )
        return self._whole(weights_at(self.rarity, full(target)))

    def _labels(self, target: Tensor) -> Tensor:
        if self.config.task == "va":
            target = full(target) * self.config.label_scale
        return self._whole(target)

    def _whole(self, rows: Tensor) -> Tensor:
        """The rows in full precision of this rank, or of all ranks if the config gathers."""
        rows = full(rows) if rows.is_floating_point() else rows
        return gather(rows) if self.config.gather else rows


def full(values: Tensor) -> Tensor:
    """In float32 at least: no loss is computed in half precision; float64 stays what it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def supervised_loss(config: Config) -> RegressionLoss:
    """L_va, or the mean squared error alone."""
    weight = config.correlation_weight if config.supervised == "full" else 0.0
    return RegressionLoss(
        weight, moments=config.moments, error="rmse" if config.method == "caf" else "mse"
    )
