"""Methods: modules whose `forward` returns losses and which name what each phase trains.

The trainer knows phases, not methods. `Views` is AVCE and all that differs from it by a term:
InfoNCE, Barlow-Twins, no contrast, no discriminative loss, the baselines. CAF has its own file.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from avce.config import Config
from avce.gather import gather
from avce.layers import SoftMax, SparseMax
from avce.losses import (
    AVCELoss,
    BarlowTwinsLoss,
    DiscriminativeLoss,
    InfoNCELoss,
    RegressionLoss,
)
from avce.miners import Miner
from avce.models import (
    LATENT,
    AVModel,
    Classifier,
    Compressor,
    ExtraHead,
    LinearRegressor,
    ProjectionHead,
    Projector,
    Regressor,
    build_encoder,
    gather_norms,
    kaiming,
    wide_normal,
)
from avce.similarity import Similarity
from avce.weights import load_pretrained


class Method(nn.Module):
    """A model to be trained, its heads and its losses.

    `phases` maps each phase to the networks whose optimisers step after it; `networks` maps each
    name to its module, one optimiser each. `forward(image, target, phase)` returns weighted
    scalar losses whose sum is minimised. Losses come out of `forward` so that distributed data
    parallel averages the right gradients.
    """

    phases: dict[str, tuple[str, ...]]
    heads: tuple[str, ...] = ()  # networks trained by SGD at head_lr

    def __init__(self, model: AVModel, config: Config) -> None:
        super().__init__()
        self.model = model
        self.config = config

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
        if config.optimizer == "sgd":
            return torch.optim.SGD(
                part.parameters(), lr=config.lr, momentum=config.momentum, fused=True
            )
        return torch.optim.Adam(part.parameters(), lr=config.lr, betas=config.betas, fused=True)

    def forward(
        self, image: Float[Tensor, "b 3 h w"], target: Shaped[Tensor, "b ..."], phase: str
    ) -> dict[str, Tensor]:
        """Weighted scalar losses of `phase`; `target` is (b, 2) floats or (b,) class codes."""
        raise NotImplementedError

    def predict(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        """Valence and arousal, or one logit a class: encoder, compressor, regressor only."""
        return self.model(image)

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

    def _labels(self, target: Tensor) -> Tensor:
        if self.config.task == "va":
            target = target.float() * self.config.label_scale
        return self._whole(target)

    def _whole(self, rows: Tensor) -> Tensor:
        """Float32 rows of this rank, or of all ranks if the config gathers."""
        rows = rows.float() if rows.is_floating_point() else rows
        return gather(rows) if self.config.gather else rows


class Views(Method):
    """z, its SparseMax view (attentive) and its SoftMax view (inattentive), and losses on them.

    Phase `main`: the supervised loss plus the contrastive term on x = R(z), y_a = H(z_a),
    y_n = H(z_n). Phase `discriminative`: a NEW forward with the updated weights and the loss on
    V(z), V(z_a), V(z_n). Phase `joint` is both at once. Each computes only what its losses read:
    the discriminative forward needs neither R nor H. A weight of 0, or formula "none", drops
    the head, and the phase, that would have served it.
    """

    def __init__(self, model: AVModel, config: Config) -> None:
        super().__init__(model, config)
        self.sparsemax = SparseMax(LATENT, engine=config.layers)
        self.softmax = SoftMax(LATENT, engine=config.layers)
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

    def _phases(self) -> dict[str, tuple[str, ...]]:
        everything = tuple(self.networks)
        if self.config.phases == "joint":
            return {"joint": everything}
        main = tuple(name for name in everything if name != "extra_head")
        if "extra_head" not in self.heads:
            return {"main": main}
        return {"main": main, "discriminative": ("encoder", "compressor", "extra_head")}

    def forward(
        self, image: Float[Tensor, "b 3 h w"], target: Shaped[Tensor, "b ..."], phase: str
    ) -> dict[str, Tensor]:
        if phase not in self.phases:
            raise ValueError(f"phase {phase!r} is none of {', '.join(self.phases)}")
        z = self.model.latent(image).float()
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
            return self.sparsemax(z), self.softmax(z)

    def _main(
        self, z: Tensor, attentive: Tensor, inattentive: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        preds = self._whole(self.model.regressor(z))
        target = self._labels(target)
        losses = self._supervised(preds, target)
        if self.contrast is not None:
            views = self._projected(preds, z, attentive, inattentive)
            with torch.autocast(z.device.type, enabled=False):
                losses["contrast"] = self.config.contrast_weight * self.contrast(*views)
        return losses

    def _supervised(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        with torch.autocast(preds.device.type, enabled=False):
            if self.config.task == "expression":
                return {"cross_entropy": nn.functional.cross_entropy(preds, target.long())}
            return self.supervised(preds, target)

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


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(-1, keepdim=True)


def build_method(config: Config, *, pretrained: bool = True) -> Method:
    """The method of `config`, seeded by `config.seed`, with the weights it asks for.

    `pretrained=False` leaves `config.weights` out, for a checkpoint about to be loaded. Raises
    ValueError, FileNotFoundError or OSError where the weights cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        method = _built(config)
    if pretrained and config.weights != "none":
        load_pretrained(method.model, config.encoder, config.weights)
    if config.gather:
        gather_norms(method)
    return method


def _built(config: Config) -> Method:
    if config.method == "caf":
        from avce.caf import CAF, build_caf_model

        return CAF(build_caf_model(config), config)
    method = Views(build_model(config), config)
    if config.head_init == "normal":
        for name in method.heads:
            wide_normal(method.get_submodule(name))
    return method


def build_model(config: Config) -> AVModel:
    """Encoder, compressor and regressor of `config`, without any trained weights.

    A trunk that will see no trained weights starts by Kaiming's rule.
    """
    encoder, channels, pool = build_encoder(config.encoder)
    outputs = config.classes if config.task == "expression" else 2
    norm = config.norm == "batch"
    if config.stack == "classifier":
        model = AVModel(encoder, Classifier(config.dropout), LinearRegressor(1000, outputs))
    else:
        model = AVModel(
            encoder,
            Compressor(
                channels,
                pool,
                hidden=1000 if config.encoder == "resnet18" else None,
                dropout=config.dropout,
                slip=config.authors_r18_dropout and config.encoder == "resnet18",
            ),
            Regressor(outputs, norm=norm, dropout=config.dropout, activation=_output(config)),
        )
    if config.weights == "none" and config.encoder == "alexnet":
        kaiming(model.encoder)  # the other encoders start well by themselves
    return model


def _output(config: Config) -> str:
    if config.task == "expression":
        return "sigmoid" if config.class_sigmoid else "none"
    return "tanh" if config.prediction_tanh else "none"


def build_projection(config: Config) -> nn.Module:
    """H, or the wide projector of Barlow-Twins on z."""
    norm = config.norm == "batch"
    if config.formula == "barlow_twins" and config.barlow_width:
        return Projector(config.barlow_width)
    if config.task == "expression":
        return ProjectionHead(config.classes, norm=norm, scale=0.0)
    return ProjectionHead(2, norm=norm, scale=config.head_scale)


def supervised_loss(config: Config) -> RegressionLoss:
    """L_va, or the mean squared error alone."""
    weight = config.correlation_weight if config.supervised == "full" else 0.0
    return RegressionLoss(
        weight, moments=config.moments, error="rmse" if config.method == "caf" else "mse"
    )


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
    # AVCE's weights are exp(b f), without a temperature (method.md 10.6); all others divide by it.
    plain = config.formula == "avce" and config.mining == "hard_weight"
    return Miner(
        config.mining,
        keep=config.keep,
        hardness=config.hardness,
        temperature=1.0 if plain else config.temperature,
        top=config.hard_top,
        prior=config.positive_prior,
    )
