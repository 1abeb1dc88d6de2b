"""`Views`: AVCE and all that differs from it by a term.

InfoNCE, Barlow-Twins, no contrast, no discriminative loss, and the baselines are settings of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from avce.config import Config
from avce.layers import Entmax15, SoftMax, SparseMax
from avce.method.base import Method, full, supervised_loss
from avce.method.losses import AVCELoss, BarlowTwinsLoss, DiscriminativeLoss, InfoNCELoss
from avce.method.miners import Miner
from avce.method.models import (
    LATENT,
    AVModel,
    ExtraHead,
    ProjectionHead,
    Projector,
    need_rows,
)
from avce.method.similarity import Similarity


class Views(Method):
    """z, its SparseMax view (attentive) and its SoftMax view (inattentive), and losses on them.

    What both maps read is `config.views`, over `config.view_temperature`: z, as published, or z
    normed without parameters, which holds it to the scale of about 1 that SparseMax can share out.

    Phase `main`: the supervised loss plus the contrastive term on x = R(z), y_a = H(z_a),
    y_n = H(z_n). Phase `discriminative`: a NEW forward with the updated weights and the loss on
    V(z), V(z_a), V(z_n). Phase `joint` is both at once. Each computes only what its losses read:
    the discriminative forward needs neither R nor H. A weight of 0, or formula "none", drops
    the head, and the phase, that would have served it.
    """

    def __init__(self, model: AVModel, config: Config) -> None:
        super().__init__(model, config)
        sparse = Entmax15 if config.attentive == "entmax15" else SparseMax
        self.view_norm = _VIEW_NORMS[config.views]()
        self.sparsemax = sparse(LATENT, engine=config.layers, audit=config.audit)
        self.softmax = SoftMax(LATENT, engine=config.layers, audit=config.audit)
        self.supervised = supervised_loss(config)
        self.contrast = contrastive_loss(config)
        self.discriminative = DiscriminativeLoss(config.margin, config.hold_weight)
        heads = []
        if self.contrast is not None:
            self.projection_head = build_projection(config)
            heads.append("projection_head")
        if config.discriminative_weight:
            norm = config.norm == "batch"
            self.extra_head = ExtraHead(norm=norm, activation=config.extra_activation)
            heads.append("extra_head")
        self.heads = tuple(heads)
        self.phases = self._phases()
        self._attentive: Tensor | None = None  # of the newest forward, for `gauges`

    def _phases(self) -> dict[str, tuple[str, ...]]:
        everything = tuple(self.networks)
        if self.config.phases == "joint":
            return {"joint": everything}
        main = tuple(name for name in everything if name != "extra_head")
        if "extra_head" not in self.heads:
            return {"main": main}
        # Gradients kept at zero make Adam go on with R by its moments, though L_dis reaches it not.
        moved = ("regressor",) if self.config.gradients == "zero" else ()
        return {"main": main, "discriminative": ("encoder", "compressor", *moved, "extra_head")}

    def forward(
        self, image: Float[Tensor, "b 3 h w"], target: Shaped[Tensor, "b ..."], phase: str
    ) -> dict[str, Tensor]:
        if phase not in self.phases:
            raise ValueError(f"phase {phase!r} is none of {', '.join(self.phases)}")
        z = full(self.model.latent(image))
        attentive, inattentive = self._views(z, phase)
        losses: dict[str, Tensor] = {}
        if phase != "discriminative":
            losses |= self._main(z, attentive, inattentive, target)
        if phase != "main" and self.config.discriminative_weight:
            losses["discriminative"] = self._discriminative(z, attentive, inattentive)
        return losses

    def _views(self, z: Tensor, phase: str) -> tuple[Tensor, Tensor]:
        """Both points of the simplex; z itself where no loss of this phase reads them."""
        if (phase == "main" and self.contrast is None) or not self.heads:
            return z, z
        with torch.autocast(z.device.type, enabled=False):
            views = self.views_of(z if self.config.view_gradient else z.detach())
        self._attentive = views[0].detach()
        return views

    def views_of(self, z: Float[Tensor, "b 32"]) -> tuple[Tensor, Tensor]:
        """The attentive and the inattentive view of each z, two points of the simplex in R^32."""
        need_rows(self.view_norm, z)
        seen = self.view_norm(z) / self.config.view_temperature
        return self.sparsemax(seen), self.softmax(seen)

    def gauges(self) -> dict[str, float]:
        """`support`: how many of 32 entries the attentive view keeps, mean over the newest batch.

        At 1 each attentive view is a vertex of the simplex and passes no gradient to z
        (docs/method.md, "When the attentive view becomes a vertex").
        """
        if self._attentive is None:
            return {}
        return {"support": float((self._attentive > 0).sum(-1).float().mean())}

    def _main(
        self, z: Tensor, attentive: Tensor, inattentive: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        preds = self._whole(self.model.regressor(z))
        losses = self._supervised(preds, target)
        if self.contrast is not None:
            views = self._projected(preds, z, attentive, inattentive)
            with torch.autocast(z.device.type, enabled=False):
                losses["contrast"] = self.config.contrast_weight * self.contrast(*views)
        return losses

    def _supervised(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        with torch.autocast(preds.device.type, enabled=False):
            if self.config.task == "expression":
                codes = self._labels(target).long()
                return {"cross_entropy": nn.functional.cross_entropy(preds, codes)}
            return self._regressed(preds, target)

    def _projected(
        self, preds: Tensor, z: Tensor, attentive: Tensor, inattentive: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Anchor, positive and negative of the contrastive term."""
        positive = self._whole(self.projection_head(attentive))
        negative = self._whole(self.projection_head(inattentive))
        if self.config.barlow_width and self.config.formula == "barlow_twins":
            return self._whole(self.projection_head(z)), positive, negative
        if self.config.center_logits:
            return _centred(preds), _centred(positive), _centred(negative)
        return preds, positive, negative

    def _discriminative(self, z: Tensor, attentive: Tensor, inattentive: Tensor) -> Tensor:
        v = [self._whole(self.extra_head(view)) for view in (z, attentive, inattentive)]
        with torch.autocast(z.device.type, enabled=False):
            return self.config.discriminative_weight * self.discriminative(*v)


_VIEW_NORMS: dict[str, Callable[[], nn.Module]] = {
    "z": nn.Identity,
    "layer_norm": lambda: nn.LayerNorm(LATENT, elementwise_affine=False),
    "batch_norm": lambda: nn.BatchNorm1d(LATENT, affine=False),
}


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(-1, keepdim=True)


def build_projection(config: Config) -> nn.Module:
    """H, or the wide projector of Barlow-Twins on z."""
    norm = config.norm == "batch"
    if config.formula == "barlow_twins" and config.barlow_width:
        return Projector(config.barlow_width)
    if config.task == "expression":
        return ProjectionHead(config.classes, norm=norm, scale=0.0)
    return ProjectionHead(2, norm=norm, scale=config.head_scale)


def contrastive_loss(config: Config) -> nn.Module | None:
    """The contrastive term of `config`, unweighted; None for formula "none"."""
    if config.formula == "none":
        return None
    shared: dict[str, Any] = {
        "negatives": config.negatives,
        "miner": _miner(config),
        "reduction": config.reduction,
    }
    similarity = Similarity(
        angle=config.angle,
        angle_weight=config.angle_weight,
        intensity_weight=config.intensity_weight,
        sign_weight=config.sign_weight,
        broadcast=config.sign_broadcast,
        distance=config.toolbox_distance,
    )
    if config.formula == "infonce":
        return InfoNCELoss(similarity, temperature=config.temperature, **shared)
    if config.formula == "barlow_twins":
        return BarlowTwinsLoss(
            similarity,
            offdiagonal=config.barlow_offdiagonal,
            negative_weight=config.barlow_negative,
            **shared,
        )
    return AVCELoss(
        similarity,
        alpha=config.alpha,
        beta=config.beta,
        gamma=config.gamma,
        second_moment=config.second_moment,
        **shared,
    )


def _miner(config: Config) -> Miner:
    return Miner(
        config.mining,
        keep=config.keep,
        hardness=config.hardness,
        temperature=config.temperature,
        top=config.hard_top,
        prior=config.positive_prior,
    )
