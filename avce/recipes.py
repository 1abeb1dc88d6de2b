"""The named configurations: each row of the tables in the supplement, and `demo`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from avce.config import Config, Mining, Negatives, near_miss


def recipe(name: str) -> Config:
    """The configuration called `name`; ValueError names near ones when there is none."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; {near_miss(name, RECIPES)}")
    return RECIPES[name]


def _mined(config: Config, mining: Mining, prior: float = 0.1) -> Config:
    negatives: Negatives = "batch_all" if mining.endswith("_weight") else config.negatives
    return replace(config, mining=mining, negatives=negatives, positive_prior=prior)


_PAPER = Config()


_POLAR = replace(_PAPER, intensity_weight=0.8)


_AUTHORS = replace(
    _POLAR,
    norm="none",
    angle="authors_halfcos",
    sign_weight=0.05,
    sign_broadcast=True,
    reduction="sum",
    contrast_weight=1e-4,
    authors_eval_mode=True,
    authors_r18_dropout=True,
    start="torch",
    gradients="zero",
    head_init="normal",
    weights="none",
    moments="authors_loss",
    rmse="per_batch",
    eval_moments="authors_eval",
    sagr_zero="wrong",
)


_BASELINE_LIGHT = replace(_PAPER, formula="none", discriminative_weight=0.0)


_BASELINE = replace(
    _BASELINE_LIGHT,
    stack="classifier",
    supervised="mse_only",
    optimizer="sgd",
    lr=1e-3,
    epochs=16,
)


_CAF = replace(
    _BASELINE_LIGHT,
    method="caf",
    stack="caf",
    milestones=tuple(range(5_000, 100_001, 5_000)),
    factor=0.9,
    epochs=131,
)


_INFONCE = replace(_PAPER, formula="infonce", negatives="batch_all")


_BARLOW = replace(_PAPER, formula="barlow_twins")


_DISCRETE = replace(_PAPER, task="expression")


# `just demo`: drawn faces from scratch, on two CPU cores in about two minutes
_DEMO = replace(
    _PAPER,
    phases="joint",
    weights="none",
    image_size=112,
    start="torch",  # these four let the views live: docs/method.md, "When the attentive
    norm="none",  # view becomes a vertex"
    views="batch_norm",
    view_temperature=4.0,
    dropout=0.0,
    channels_last=True,
    batch_size=32,
    lr=3e-4,
    betas=(0.9, 0.999),
    epochs=8,
    milestones=(240, 320, 400),
    factor=0.5,
    log_every=10,
)


# `just starter`: easy drawn faces from scratch, then wild ones; what `predict` starts with
_STARTER = replace(
    _DEMO,
    start="kaiming",
    norm="batch",
    views="z",
    view_temperature=1.0,
    epochs=5,
    milestones=(260, 360, 440),
    jitter_brightness=0.2,
    jitter_contrast=0.2,
)


RECIPES: Mapping[str, Config] = MappingProxyType(
    {
        "paper": _PAPER,
        "polar": _POLAR,
        "authors": _AUTHORS,
        "avce": _PAPER,
        "avce_debiased_select": _mined(_PAPER, "debiased_select"),
        "avce_hard_select": _mined(_PAPER, "hard_select"),
        "avce_debiased_weight": _mined(_PAPER, "debiased_weight"),
        "avce_hard_weight": _mined(_PAPER, "hard_weight", prior=0.0),
        "avce_joint": replace(_PAPER, phases="joint"),
        "avce_discrete": _DISCRETE,
        "without_avce": replace(_PAPER, formula="none"),
        "without_dis": replace(_PAPER, discriminative_weight=0.0),
        "infonce": _INFONCE,
        "infonce_debiased_select": _mined(_INFONCE, "debiased_select"),
        "infonce_hard_select": _mined(_INFONCE, "hard_select"),
        "infonce_debiased_weight": _mined(_INFONCE, "debiased_weight"),
        "infonce_hard_weight": _mined(_INFONCE, "hard_weight"),
        "barlow_twins": _BARLOW,
        "barlow_twins_debiased_select": _mined(_BARLOW, "debiased_select"),
        "barlow_twins_hard_select": _mined(_BARLOW, "hard_select"),
        "baseline": _BASELINE,
        "baseline_light": _BASELINE_LIGHT,
        "caf": _CAF,
        "caf_resnet18": replace(_CAF, encoder="resnet18", batch_size=128),
        "resnet18": replace(_PAPER, encoder="resnet18", batch_size=128),
        "resnet50": replace(_PAPER, encoder="resnet50", batch_size=64),
        "resnet101": replace(_PAPER, encoder="resnet101", batch_size=64),
        "demo": _DEMO,
        "starter": _STARTER,
    }
)


class About(NamedTuple):
    """A recipe in a sentence, and the time of its step as a multiple of `paper`'s.

    Measured by `benchmarks/recipes.py` on drawn faces, equal batches, without what `demo` changes
    in size.
    """

    what: str
    step: float = 1.0


ABOUT: Mapping[str, About] = MappingProxyType(
    {
        "paper": About("AVCE as it is printed"),
        "polar": About("AVCE whose similarity sees the intensity of an emotion too"),
        "authors": About("AVCE as the released code computes it, its slips included"),
        "avce": About("the same as paper, under the name of its table row"),
        "avce_debiased_select": About("AVCE, the most similar negatives left out"),
        "avce_hard_select": About("AVCE, hard negatives drawn"),
        "avce_debiased_weight": About("AVCE, negatives weighed against false ones"),
        "avce_hard_weight": About("AVCE, negatives weighed by their hardness"),
        "avce_joint": About("AVCE in one phase: all losses in one step", 0.5),
        "avce_discrete": About("AVCE for classes of expression instead of the plane"),
        "without_avce": About("the paper's network and losses without the contrastive term"),
        "without_dis": About("AVCE without the discriminative loss and its phase", 0.5),
        "infonce": About("InfoNCE in AVCE's place"),
        "infonce_debiased_select": About("InfoNCE, the most similar negatives left out"),
        "infonce_hard_select": About("InfoNCE, hard negatives drawn"),
        "infonce_debiased_weight": About("InfoNCE, negatives weighed against false ones"),
        "infonce_hard_weight": About("InfoNCE, negatives weighed by their hardness"),
        "barlow_twins": About("Barlow-Twins in AVCE's place"),
        "barlow_twins_debiased_select": About("Barlow-Twins, the most similar negatives left out"),
        "barlow_twins_hard_select": About("Barlow-Twins, hard negatives drawn"),
        "baseline": About("the whole of AlexNet, mean squared error, SGD", 2.3),
        "baseline_light": About("the paper's network, supervised loss alone", 0.5),
        "caf": About("contrastive adversarial learning, the method before AVCE"),
        "caf_resnet18": About("the same on ResNet18", 4.1),
        "resnet18": About("AVCE on ResNet18", 4.4),
        "resnet50": About("AVCE on ResNet50", 10),
        "resnet101": About("AVCE on ResNet101", 21),
        "demo": About("drawn faces from scratch in minutes on two cores", 0.5),
        "starter": About("the network that predict starts with: drawn faces, easy, then wild", 0.5),
    }
)
