"""CAF (Kim and Song, AAAI 2021): a discriminator tells strong from weak emotions, the encoder
learns from it. AlexNet as released; other encoders by the same widths, which are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from avce.config import Config
from avce.method.base import Method, full, supervised_loss
from avce.method.models import AVModel, CAFCompressor
from avce.ranks import world_size

_SPREAD = 0.2  # s of the mutual information's Gaussians
_MOST_INFORMATION = 2.5
_STRONG, _WEAK = 0.65, 0.3  # intensities that stand in for an empty group
_OFFSET = 0.25  # of the authors' threshold


class Discriminator(nn.Module):
    """Pooled features to R^16: FC 64 (no activation), FC 32, dropout, ReLU, FC 16; 592,496
    parameters on AlexNet."""

    def __init__(self, pool: nn.Module, width: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.pool = pool
        self.fc1 = nn.Linear(width, 64)
        self.fc2, self.fc3 = nn.Linear(64, 32), nn.Linear(32, 16)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b 16"]:
        flat = self.pool(features).flatten(1)
        return self.fc3(F.relu(self.dropout(self.fc2(self.fc1(flat)))))


def mutual_information(u: Float[Tensor, "n d"], w: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """mean_d log[ N(w; u, s) / (N(w; -1, s)/2 + N(w; 1, s)/2) ], in [0, 2.5]; not symmetric."""

    def log_gauss(centre: Tensor | float) -> Tensor:
        return -(w - centre).square() / (2 * _SPREAD)

    mixture = torch.logaddexp(log_gauss(-1.0), log_gauss(1.0)) - torch.log(w.new_tensor(2.0))
    return (log_gauss(u) - mixture).mean(-1).clamp(0, _MOST_INFORMATION)


def neighbour_counts(
    points: Float[Tensor, "n d"], labels: Int[Tensor, " n"], confidence: float = 0.7
) -> Int[Tensor, " n"]:
    """Adaptive kNN: how many neighbours a point needs before one label has a clear majority.

    The first k at which the share of a label among the k nearest others exceeds 1/2 by more than
    confidence / sqrt(k); the number of others + 1 where there is none.
    """
    n = len(points)
    distance = torch.cdist(points, points)
    distance.fill_diagonal_(float("inf"))
    nearest = labels[distance.argsort(dim=1, stable=True)[:, :-1]]
    k = torch.arange(1, n, device=points.device)
    share = nearest.cumsum(1) / k
    clear = torch.maximum(share, 1 - share) - 0.5 > confidence / k.sqrt()
    return torch.where(clear.any(1), clear.int().argmax(1) + 1, n)


def adaptive_margin(
    counts: Int[Tensor, " n"], others: int, confidence: float = 0.7, *, off_by_one: bool = False
) -> Float[Tensor, " n"]:
    """confidence / sqrt(k): wide where neighbours agree at once, narrow where they do not.

    `off_by_one` repeats the released code, which reads its list of confidence / sqrt(k) one place
    early, so that k = 1 wraps to the last entry, that of others + 1.
    """
    if off_by_one:
        counts = torch.where(counts == 1, others + 1, counts - 1)
    return confidence / counts.sqrt()


def intensity_threshold(
    target: Float[Tensor, "n 2"], rule: str = "quantile", quantile: float = 0.5
) -> Float[Tensor, ""]:
    """The intensity v^2 + a^2 that parts strong from weak emotions.

    `quantile` is ours. `authors`: sqrt(th_v^2 + th_a^2) + 0.25, th the share of an axis's sum that
    its first samples hold (`_share_before_middle`); it depends on batch order.
    """
    if rule == "quantile":
        return torch.quantile(target.square().sum(-1), quantile)
    shares = torch.stack([_share_before_middle(axis) for axis in target.unbind(1)])
    return shares.square().sum().sqrt() + _OFFSET


def _share_before_middle(axis: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The share of an axis's sum up to the midpoint between the places of its extremes.

    The released search moves the midpoint two places on while the part before it is neither at
    least 0.75 nor less than 0.95 of the sum: never where the sum is positive, often where it is
    negative.
    """
    middle, whole = (int(axis.argmin()) + int(axis.argmax())) // 2, axis.sum()
    while True:
        part = axis[: middle + 1].sum()
        if part >= 0.75 * whole or part < 0.95 * whole or middle >= len(axis) - 1:
            return part / whole
        middle += 2


def intensity_groups(
    target: Float[Tensor, "n 2"], threshold: Float[Tensor, ""]
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Rows of strong and of weak emotions, cut to the same length; both may be empty.

    An empty group is refilled by fixed bounds; strong, if still empty, by the weak rows.
    """
    intensity = target.square().sum(-1)
    strong, weak = _rows(intensity > threshold), _rows(intensity < threshold)
    if not len(strong) or not len(weak):
        strong, weak = _rows(intensity > _STRONG), _rows(intensity < _WEAK)
        strong = strong if len(strong) else weak
    length = min(len(strong), len(weak))
    return strong[:length], weak[:length]


def _rows(mask: Tensor) -> Tensor:
    return mask.nonzero().flatten()


def discriminator_loss(
    strong: Float[Tensor, "n d"],
    weak: Float[Tensor, "n d"],
    margin: Float[Tensor, " n"],
    multiplier: Float[Tensor, ""],
    penalty: float = 1e-6,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """mean d_ap + mean d_an + Lambda Omega - penalty/2 Omega^2, and Omega.

    Strong i pairs with strong n-1-i (pulled together) and with weak n-1-i (pushed apart to the
    mutual information plus the margin). Omega = 1 - (mean d_ap^2 + mean d_an^2) / 2 is the
    constraint of an augmented Lagrangian, as in Fisher IPM. Lambda grows by penalty * Omega.
    """
    other, mirrored = strong.flip(0), weak.flip(0)
    pulled = (strong - other).square().sum(-1)
    distance = (strong - mirrored).square().sum(-1)
    pushed = (mutual_information(strong, mirrored) + margin - distance).clamp(min=0)
    omega = 1 - (pulled.square().mean() + pushed.square().mean()) / 2
    value = pulled.mean() + pushed.mean() + multiplier * omega - penalty / 2 * omega.square()
    return value, omega


class CAF(Method):
    """Three phases an iteration: `supervised` steps E and R, `discriminator` steps D,
    `adversarial` steps E against a frozen D.

    The discriminator's phase runs E without a graph, since E is not stepped there. A batch whose
    groups stay empty, or on which D is not finite, is left out and counted in `skipped`; the
    released code replaces NaN by constants instead. Groups are formed on each rank.
    """

    skipped: Tensor
    multiplier: Tensor

    def __init__(self, model: AVModel, config: Config) -> None:
        super().__init__(model, config)
        self.supervised = supervised_loss(config)
        compressor = model.get_submodule("compressor")
        assert isinstance(compressor, CAFCompressor)
        self.discriminator = Discriminator(
            compressor.pool, compressor.width, dropout=0.4 * config.dropout
        )  # 0.2 beside the regressor's 0.5
        self.register_buffer("multiplier", torch.zeros(()))
        self.register_buffer("skipped", torch.zeros((), dtype=torch.int64))
        self.phases = {
            "supervised": ("encoder", "compressor", "regressor"),
            "discriminator": ("discriminator",),
            "adversarial": ("encoder",),
        }

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Encoder, compressor, regressor and discriminator; all by the same optimiser."""
        return super().networks | {"discriminator": self.discriminator}

    def forward(
        self, image: Float[Tensor, "b 3 h w"], target: Shaped[Tensor, "b 2"], phase: str
    ) -> dict[str, Tensor]:
        if phase == "supervised":
            preds = self._whole(self.model(image))
            with torch.autocast(image.device.type, enabled=False):
                return self._regressed(preds, target)
        rule, quantile = self.config.caf_threshold, self.config.caf_quantile
        scaled = full(target) * self.config.label_scale
        strong, weak = intensity_groups(scaled, intensity_threshold(scaled, rule, quantile))
        if phase == "discriminator":
            return {"discriminator": self._discriminated(image, strong, weak)}
        if phase == "adversarial":
            return {"adversarial": self._deceived(image[weak])}
        raise ValueError(f"phase {phase!r} is none of {', '.join(self.phases)}")

    def _discriminated(self, image: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
        length = len(strong) // 2 * 2  # the mirrored index needs an even number
        if length == 0:
            return self._skip(self.discriminator)
        rows = torch.cat([strong[:length], weak[:length]])
        with torch.no_grad():
            features = self.model.encoder(image[rows])
        output = full(self.discriminator(features))
        if not bool(torch.isfinite(output).all()):
            return self._skip(self.discriminator)
        with torch.autocast(image.device.type, enabled=False):
            return self._lagrangian(output[:length], output[length:])

    def _lagrangian(self, strong: Tensor, weak: Tensor) -> Tensor:
        margin = self._margin(strong.detach(), weak.detach())
        penalty = self.config.caf_penalty
        # a copy: the buffer is changed below, before the backward pass reads it
        loss, omega = discriminator_loss(strong, weak, margin, self.multiplier.clone(), penalty)
        if self.training:
            self.multiplier += penalty * omega.detach()
        return loss

    def _margin(self, strong: Tensor, weak: Tensor) -> Tensor:
        points = torch.cat([strong, weak])
        labels = torch.arange(len(points), device=points.device) < len(strong)
        counts = neighbour_counts(points, labels.long(), self.config.caf_knn)
        off_by_one = self.config.caf_margin == "authors"
        margins = adaptive_margin(
            counts, len(points) - 1, self.config.caf_knn, off_by_one=off_by_one
        )
        return margins[: len(strong)]

    def _deceived(self, weak: Tensor) -> Tensor:
        if len(weak) == 0:
            return self._skip(self.model.encoder)
        self.discriminator.requires_grad_(False)
        try:
            output = full(self.discriminator(self.model.encoder(weak)))
        finally:
            self.discriminator.requires_grad_(True)
        if not bool(torch.isfinite(output).all()):
            return self._skip(self.model.encoder)
        return -self.config.caf_adversarial * output.mean()

    def _skip(self, trained: nn.Module) -> Tensor:
        """A loss of 0. Alone, it reaches no parameter and the optimiser changes nothing; beside
        other ranks it reaches those of `trained`, or their gradients would wait for ours."""
        self.skipped += 1
        if world_size() == 1:
            return torch.zeros((), device=self.skipped.device, requires_grad=True)
        return torch.stack([0 * p.sum() for p in trained.parameters()]).sum()
