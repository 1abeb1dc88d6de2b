"""`Config`: every choice of a training run as one frozen value; `RECIPES`: the named ones.

Each row of the differences table (method.md section 9, docs/method.md) is a field here, and the
default is the one argued for there. A recipe is a value, never a branch in a loop.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

Formula = Literal["avce", "infonce", "barlow_twins", "none"]
Mining = Literal["none", "debiased_select", "hard_select", "debiased_weight", "hard_weight"]
Negatives = Literal["paired", "shuffled", "batch", "batch_all"]
MomentsKind = Literal["population", "sample", "authors_loss", "authors_eval"]
Zero = Literal["equal", "ignore", "wrong"]
Engine = Literal["closed", "ecos", "batched", "cvxpylayers"]


@dataclass(frozen=True)
class Config:
    """What is trained, on which loss, by which optimiser; flat, so that `name=value` sets it.

    `row N` points to the differences table between the published text and the released code.
    Raises ValueError when a value is outside its choices or two fields contradict each other.
    """

    # the method
    method: Literal["avce", "caf"] = "avce"
    task: Literal["va", "expression"] = "va"
    classes: int = 7  # of task "expression"
    formula: Formula = "avce"  # the contrastive term; "none" drops the projection head too
    phases: Literal["two_phase", "joint"] = "two_phase"  # row 13

    # the networks
    encoder: str = "alexnet"  # alexnet, resnet18, resnet50, resnet101 or timm/NAME
    weights: str = "imagenet"  # row 17: imagenet (downloads), none, or a file
    start: Literal["kaiming", "torch"] = "kaiming"  # of AlexNet's trunk without trained weights
    # what turns features into a prediction: the paper's, AlexNet's own (58.6M), or CAF's
    stack: Literal["compressor", "classifier", "caf"] = "compressor"
    image_size: int = 224
    dropout: float = 0.5
    norm: Literal["batch", "none"] = "batch"  # row 1; "none" for the authors' weights
    head_init: Literal["default", "normal"] = "default"  # row 16; "normal": N(0, 1), bias 0.01
    head_scale: float = 0.5  # row 12: H ends in head_scale * tanh; 0 is a linear output
    prediction_tanh: bool = False  # row 12
    extra_activation: Literal["relu", "leaky", "none"] = "relu"  # row 25
    class_sigmoid: bool = False  # row 24
    center_logits: bool = False  # an angle between logits moves when a constant is added
    channels_last: bool = False

    # SparseMax and SoftMax: rows 9-11
    layers: Engine = "closed"
    audit: float = 0.0  # share of rows solved again by ECOS, the largest difference logged

    # the similarity of two emotions
    angle: Literal["exact", "authors_halfcos"] = "exact"  # row 3
    angle_weight: float = 1.0
    intensity_weight: float = 0.0  # row 4; 0.8 in `polar`
    sign_weight: float = 0.0  # row 5; 0.05 in `authors`
    sign_broadcast: bool = False  # row 5: the released code's (N, N) slip
    toolbox_distance: bool = False  # row 26: a distance where a similarity belongs; comparison only

    # the contrastive term
    contrast_weight: float = 0.0256  # row 7; 1e-4 with reduction "sum"
    reduction: Literal["mean", "sum"] = "mean"  # row 7; "sum" counts this process's batch
    negatives: Negatives = "paired"  # row 6
    second_moment: bool = True  # row 2: penalise E[f^2]; False: the poster's E[f]
    alpha: float = 0.5
    beta: float = 0.005
    gamma: float = 0.5
    temperature: float = 0.5  # InfoNCE, and the draw of hard_select
    barlow_offdiagonal: float = 0.0051
    barlow_negative: float = 0.0051  # our reading of its "negatives"; 0: the original
    barlow_width: int = 0  # 0: on predictions (k = 2); else on z behind a projector this wide
    mining: Mining = "none"
    keep: float = 0.8  # share of the negative pairs a selection keeps
    hardness: float = 1.0
    hard_top: bool = False  # hard_select: the top pairs instead of a draw
    positive_prior: float = 0.1  # tau+ of the weighting forms

    # the discriminative loss
    discriminative_weight: float = 1.0  # 0 drops the extra head and its phase
    margin: float = 1.0
    hold_weight: float = 0.01

    # the supervised loss
    supervised: Literal["full", "mse_only"] = "full"  # row 8
    correlation_weight: float = 0.5
    moments: MomentsKind = "population"  # row 21, in the loss
    label_scale: float = 1.0  # row 18: 0.8 was used once, for training and validation labels
    gather: bool = False  # losses and head norms see the batch of all ranks

    # CAF
    caf_threshold: Literal["quantile", "authors"] = "quantile"
    caf_quantile: float = 0.5
    caf_knn: float = 0.7
    caf_margin: Literal["formula", "authors"] = "formula"  # "authors": one place off in its list
    caf_penalty: float = 1e-6
    caf_adversarial: float = 0.1

    # the slips of the released loop
    authors_eval_mode: bool = False  # row 14: training with dropout off and norms frozen
    authors_r18_dropout: bool = False  # row 15: the ResNets' dropouts never sleep
    gradients: Literal["none", "zero"] = "none"  # between phases; "zero": Adam's moments go on

    # optimisation
    optimizer: Literal["adam", "sgd"] = "adam"  # of encoder, compressor and regressor
    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    head_lr: float = 1e-2
    momentum: float = 0.9
    milestones: tuple[int, ...] = (5_000, 25_000, 45_000, 65_000, 85_000)  # iterations
    factor: float = 0.8
    epochs: int = 100
    batch_size: int = 256  # over all ranks
    seed: int = 0
    precision: Literal["no", "bf16"] = "no"

    # the input
    jitter_brightness: float = 0.0  # row 19
    jitter_contrast: float = 0.0
    jitter_saturation: float = 0.0
    order: Literal["global", "blocks"] = "global"
    on_corrupt: Literal["error", "skip"] = "error"

    # evaluation
    rmse: Literal["whole", "per_batch"] = "whole"  # row 20
    eval_moments: MomentsKind = "population"  # row 21
    sagr_zero: Zero = "equal"  # row 22
    clip: bool = False  # predictions to [-1, 1] before scoring

    # the loop
    eval_every: int = 0  # iterations; 0: once an epoch
    log_every: int = 50
    checkpoint_every_steps: int = 0  # 0: only at the end of an epoch
    checkpoint_every_minutes: float = 10.0
    keep_last: int = 2
    log_with: str = "tensorboard"  # none, tensorboard, trackio, wandb

    def __post_init__(self) -> None:
        for name, kind in _HINTS.items():
            _check_choice(name, getattr(self, name), kind)
        _check_ranges(self)
        _check_agreement(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`; strict: a field too many or of another type is an error.

        A missing field takes its default, so that a run made before the field existed opens.
        """
        typed: dict[str, Any] = {}
        for name, given in values.items():
            kind = _kind(name)
            value: Any = tuple(given) if isinstance(given, list) else given
            _check_choice(name, value, kind)
            typed[name] = float(value) if kind is float else value
        return cls(**typed)


_HINTS: dict[str, Any] = get_type_hints(Config)


def with_settings(config: Config, settings: Iterable[str]) -> Config:
    """`config` with each `name=value` applied, the value read by the type of its field.

    Tuples are written with commas, booleans as true or false. Raises ValueError naming the
    setting; an unknown field names its nearest neighbours.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"setting {setting!r} has no '='; write name=value, such as lr=1e-3")
        name = name.strip()
        value = _parse(name, text.strip(), _kind(name))
        _check_choice(name, value, _kind(name))
        changes[name] = value
    return replace(config, **changes)


def _kind(name: str) -> Any:
    if name not in _HINTS:
        raise ValueError(f"Config has no field {name!r}; {near_miss(name, _HINTS)}")
    return _HINTS[name]


def near_miss(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"


def _parse(name: str, text: str, kind: Any) -> Any:
    try:
        if get_origin(kind) is Literal:
            return text  # the caller checks it against its choices
        if get_origin(kind) is tuple:
            inner = get_args(kind)[0]
            return tuple(inner(part) for part in text.strip("()[]").split(",") if part.strip())
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.lower()
            ]
        return kind(text)
    except (ValueError, KeyError):
        raise ValueError(f"{name}={text!r}: the field holds {_describe(kind)}") from None


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        inner, *rest = get_args(kind)
        right_length = rest == [Ellipsis] or len(value) == 1 + len(rest)
        return right_length and all(_fits(part, inner) for part in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        inner, *rest = get_args(kind)
        count = "any number of" if rest == [Ellipsis] else len(rest) + 1
        return f"{count} {inner.__name__} values joined by commas"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_choice(name: str, value: Any, kind: Any) -> None:
    if not _fits(value, kind):
        raise ValueError(f"{name} is {value!r}, but the field holds {_describe(kind)}")


def _check_ranges(config: Config) -> None:
    positive = ("classes", "image_size", "lr", "temperature", "epochs", "batch_size", "factor")
    for name in positive:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be above 0")
    for name in ("dropout", "positive_prior", "caf_quantile"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must lie in [0, 1)")
    if not 0 < config.keep <= 1:
        raise ValueError(f"keep is {config.keep}; it is a share of the pairs, in (0, 1]")
    if not 0 <= config.audit <= 1:
        raise ValueError(f"audit is {config.audit}; it is a share of the rows, in [0, 1]")


def _check_agreement(config: Config) -> None:
    if config.mining.endswith("_weight") and not config.negatives.startswith("batch"):
        raise ValueError(
            f"mining={config.mining} weighs the negatives of each anchor, but negatives="
            f"{config.negatives} gives each anchor one; add negatives=batch_all"
        )
    if config.formula == "barlow_twins" and config.mining.endswith("_weight"):
        raise ValueError(
            f"mining={config.mining} has no Barlow-Twins form, whose loss sees columns and not "
            "pairs; use debiased_select or hard_select"
        )
    if config.formula == "barlow_twins" and config.negatives.startswith("batch"):
        raise ValueError(
            f"Barlow-Twins correlates pairs, so negatives={config.negatives} has no meaning; "
            "use paired or shuffled"
        )
    if config.sign_broadcast and (config.negatives != "paired" or config.mining != "none"):
        raise ValueError("sign_broadcast repeats the released code: negatives=paired, mining=none")
    if config.sign_broadcast and config.formula != "avce":
        raise ValueError(f"sign_broadcast belongs to formula=avce, not {config.formula}")
    if config.task == "expression" and config.sign_weight:
        raise ValueError("a sign penalty compares valences; set sign_weight=0 for expressions")
    if config.method == "caf" and config.stack != "caf":
        raise ValueError(
            f"method=caf has its own stack; {config.stack} does not fit, set stack=caf"
        )
    if config.stack == "caf" and config.task != "va":
        raise ValueError("CAF groups by the intensity of valence and arousal; use task=va")
    if config.stack == "classifier" and config.encoder != "alexnet":
        raise ValueError(f"stack=classifier is AlexNet's own; {config.encoder} has none")
