"""`Config`: every choice of a training run as one frozen value.

Each row of the differences table (method.md section 9, docs/method.md) is a field here, and the
default is the one argued for there. A recipe is a value, never a branch in a loop.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

Formula = Literal["avce", "infonce", "barlow_twins", "none"]
Mining = Literal["none", "debiased_select", "hard_select", "debiased_weight", "hard_weight"]
Negatives = Literal["paired", "shuffled", "batch", "batch_all"]
MomentsKind = Literal["population", "sample", "authors_loss", "authors_eval"]
Zero = Literal["equal", "ignore", "wrong"]
Engine = Literal["closed", "ecos", "batched", "cvxpylayers"]
Tracker = Literal[
    "none", "tensorboard", "trackio", "wandb",
    "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab",
]  # fmt: skip
STARTER = Path(__file__).parent / "starter" / "model.safetensors"  # trained on drawn faces alone
ENCODERS = ("alexnet", "resnet18", "resnet50", "resnet101")

Count = Annotated[int, Ge(1)]
Steps = Annotated[int, Ge(0)]
Weight = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
Part = Annotated[float, Gt(0), Le(1)]  # a share of something, never of nothing
Rate = Annotated[float, Ge(0), Lt(1)]

_BALANCE = re.compile(r"plane:([2-9]|[1-9]\d|100)|(?!plane$)[A-Za-z][A-Za-z0-9_]*")

T = TypeVar("T")


def _is(default: Any, meaning: str) -> Any:
    """A field's default and what it means, where `avce recipes NAME` finds it."""
    return Field(default, description=meaning)


def _speaking(kind: type[T]) -> type[T]:
    """Let the dataclass `kind` refuse values in one sentence instead of pydantic's report."""
    check = kind.__init__

    @functools.wraps(check)
    def __init__(self: Any, *values: Any, **named: Any) -> None:
        try:
            check(self, *values, **named)
        except ValidationError as error:
            raise ValueError(_refusal(error)) from None

    kind.__init__ = __init__  # type: ignore[misc]
    return kind


@_speaking
@dataclass(
    frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
)
class Config:
    """What is trained, on which loss, by which optimiser; flat, so that `name=value` sets it.

    `row N` points to the differences table between the published text and the released code.
    Raises ValueError when a value is outside its choices or range or two fields contradict each
    other.
    """

    # the method
    method: Literal["avce", "caf"] = _is("avce", "what is trained")
    task: Literal["va", "expression"] = _is("va", "valence and arousal, or classes")
    classes: Annotated[int, Ge(2), Le(1000)] = _is(7, "of task expression")
    class_column: Literal["expression", "expression_raw", "expression_compound"] = _is(
        "expression", "of the index: AffectNet's codes, the data set's own, or RAF-DB's compounds"
    )
    formula: Formula = _is("avce", "the contrastive term; none drops the projection head too")
    phases: Literal["two_phase", "joint"] = _is("two_phase", "row 13: steps of an iteration")

    # the networks
    encoder: str = _is("alexnet", "alexnet, resnet18, resnet50, resnet101 or timm/NAME")
    weights: str = _is("imagenet", "row 17: imagenet (downloads), none, starter, or a file")
    start: Literal["kaiming", "torch"] = _is(
        "kaiming", "of AlexNet's trunk without trained weights"
    )
    stack: Literal["compressor", "classifier", "caf"] = _is(
        "compressor", "features to prediction: the paper's, AlexNet's own (58.6M), or CAF's"
    )
    image_size: Annotated[int, Ge(32), Le(2048)] = _is(224, "pixels a side that the encoder sees")
    dropout: Rate = _is(0.5, "share of the features left out in training")
    norm: Literal["batch", "none"] = _is("batch", "row 1; none for the authors' weights")
    head_init: Literal["default", "normal"] = _is("default", "row 16; normal: N(0, 1), bias 0.01")
    head_scale: Weight = _is(0.5, "row 12: H ends in head_scale * tanh; 0 is a linear output")
    prediction_tanh: bool = _is(False, "row 12: predictions end in tanh")
    extra_activation: Literal["relu", "leaky", "none"] = _is("relu", "row 25: of the extra head")
    class_sigmoid: bool = _is(False, "row 24: classes end in a sigmoid")
    center_logits: bool = _is(False, "an angle between logits moves when a constant is added")
    channels_last: bool = _is(False, "memory order of images and convolutions")

    # the views: the two maps of z onto the simplex
    attentive: Literal["sparsemax", "entmax15"] = _is("sparsemax", "the map of the attentive view")
    views: Literal["z", "layer_norm", "batch_norm"] = _is("z", "what both maps read: z or its norm")
    view_temperature: Positive = _is(1.0, "what both maps read is divided by it")
    view_gradient: bool = _is(True, "false: through the views no loss reaches z")
    layers: Engine = _is("closed", "rows 9-11: what solves SparseMax and SoftMax")
    audit: Share = _is(0.0, "share of rows that ECOS certifies beside the training")

    # the similarity of two emotions
    angle: Literal["exact", "authors_halfcos"] = _is("exact", "row 3: of two emotions")
    angle_weight: Weight = _is(1.0, "of the angle in the similarity")
    intensity_weight: Weight = _is(0.0, "row 4: of the intensity; 0.8 in polar")
    sign_weight: Weight = _is(0.0, "row 5: of a sign that differs; 0.05 in authors")
    sign_broadcast: bool = _is(False, "row 5: the released code's (N, N) slip")
    toolbox_distance: bool = _is(
        False, "row 26: a distance where a similarity belongs; comparison only"
    )

    # the contrastive term
    contrast_weight: Weight = _is(0.0256, "row 7; 1e-4 with reduction sum")
    reduction: Literal["mean", "sum"] = _is("mean", "row 7; sum counts this process's batch")
    negatives: Negatives = _is("paired", "row 6: what an anchor is held against")
    second_moment: bool = _is(True, "row 2: penalise E[f^2]; false: the poster's E[f]")
    alpha: Weight = _is(0.5, "of E-[f], the negatives' mean")
    beta: Weight = _is(0.005, "of E+[f^2]")
    gamma: Weight = _is(0.5, "of E-[f^2]")
    temperature: Positive = _is(0.5, "InfoNCE, and the draw of hard_select")
    barlow_offdiagonal: Weight = _is(0.0051, "weight of Barlow-Twins' redundancy")
    barlow_negative: Weight = _is(0.0051, "our reading of its negatives; 0: the original")
    barlow_width: Steps = _is(0, "0: on predictions (k = 2); else on z behind a projector so wide")
    mining: Mining = _is("none", "which negative pairs count, or how much")
    keep: Part = _is(0.8, "share of the negative pairs a selection keeps")
    hardness: Weight = _is(1.0, "f / temperature is scaled by it in draws and weights")
    hard_top: bool = _is(False, "hard_select: the top pairs instead of a draw")
    positive_prior: Rate = _is(0.1, "tau+ of the weighting forms")

    # the discriminative loss
    discriminative_weight: Weight = _is(1.0, "0 drops the extra head and its phase")
    margin: Weight = _is(1.0, "how far apart (squared) both views are pushed")
    hold_weight: Weight = _is(0.01, "of holding both views to z")

    # the supervised loss
    supervised: Literal["full", "mse_only"] = _is("full", "row 8: with correlations or without")
    correlation_weight: Weight = _is(0.5, "of 1 - PCC and 1 - CCC")
    reweigh: Literal["none", "plane"] = _is(
        "none", "plane: errors weigh by how rare their label is in the training set"
    )
    moments: MomentsKind = _is("population", "row 21, in the loss")
    label_scale: Positive = _is(
        1.0, "row 18: 0.8 was used once, for training and validation labels"
    )
    gather: bool = _is(False, "losses and head norms see the batch of all ranks")

    # CAF
    caf_threshold: Literal["quantile", "authors"] = _is("quantile", "what parts the groups")
    caf_quantile: Rate = _is(0.5, "of the intensities, where the groups part")
    caf_knn: Share = _is(0.7, "confidence / sqrt(k): how clearly k neighbours must agree")
    caf_margin: Literal["formula", "authors"] = _is("formula", "authors: one place off in its list")
    caf_penalty: Weight = _is(1e-6, "of the critic's constraint, and its multiplier's rate")
    caf_adversarial: Weight = _is(0.1, "of the encoder's adversarial loss")

    # the slips of the released loop
    authors_eval_mode: bool = _is(False, "row 14: training with dropout off and norms frozen")
    authors_r18_dropout: bool = _is(False, "row 15: the ResNets' dropouts never sleep")
    gradients: Literal["none", "zero"] = _is("none", "between phases; zero: Adam's moments go on")

    # optimisation
    optimizer: Literal["adam", "sgd"] = _is("adam", "of encoder, compressor and regressor")
    lr: Positive = _is(1e-4, "learning rate of encoder, compressor and regressor")
    compressor_lr: Weight = _is(0.0, "the compressor's own; 0: as lr")
    betas: tuple[Share, Share] = _is((0.5, 0.9), "Adam's decays of both moments")
    head_lr: Positive = _is(1e-2, "learning rate of the heads, by SGD")
    momentum: Rate = _is(0.9, "of SGD")
    milestones: tuple[Steps, ...] = _is(
        (5_000, 25_000, 45_000, 65_000, 85_000), "iterations after which learning rates fall"
    )
    factor: Part = _is(0.8, "by which they fall")
    epochs: Count = _is(100, "passes over the training split")
    batch_size: Count = _is(256, "over all ranks")
    seed: Annotated[int, Ge(0), Lt(2**32)] = _is(0, "of weights, order and draws")
    precision: Literal["no", "bf16"] = _is("no", "of the forward pass: float32, or bfloat16")

    # the input
    jitter_brightness: Weight = _is(0.0, "row 19: strength s draws from [max(0, 1 - s), 1 + s]")
    jitter_contrast: Weight = _is(0.0, "row 19, the same")
    jitter_saturation: Weight = _is(0.0, "row 19, the same")
    order: Literal["global", "blocks"] = _is("global", "shuffled over all shards, or in blocks")
    balance: str = _is(
        "none", "what is drawn equally often: expression, plane:10 (cells of it), or any column"
    )
    on_corrupt: Literal["error", "skip"] = _is("error", "what an image that cannot be read does")
    check: Literal["markers", "crc"] = _is("crc", "of each image read: crc holds every byte")
    cache: Literal["none", "memory", "device"] = _is("none", "where decoded pictures are kept")

    # evaluation
    rmse: Literal["whole", "per_batch"] = _is("whole", "row 20: over the set, or mean of batches")
    eval_moments: MomentsKind = _is("population", "row 21, in scores")
    sagr_zero: Zero = _is("equal", "row 22: the sign of a zero")
    clip: bool = _is(False, "predictions to [-1, 1] before scoring")

    # the loop
    first_eval: Steps = _is(512, "samples scored before the first step; 0: the whole split")
    eval_every: Steps = _is(0, "iterations; 0: once an epoch")
    log_every: Count = _is(50, "iterations between records of the log")
    checkpoint_every_steps: Steps = _is(0, "0: only at the end of an epoch")
    checkpoint_every_minutes: Weight = _is(10.0, "besides; 0: after each iteration")
    keep_last: Count = _is(2, "checkpoints that stay")
    log_with: Tracker = _is("tensorboard", "the tracker; one of the later ones is an extra")

    def __post_init__(self) -> None:
        _check_agreement(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            n: list(value) if isinstance(value, tuple) else value for n, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`; strict: a field too many or of another type is an error.

        A missing field takes its default, so that a run made before the field existed opens.
        """
        typed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**typed)


_KNOWN: Mapping[str, FieldInfo] = vars(Config)["__pydantic_fields__"]


class Described(NamedTuple):
    """A field of a configuration, for people."""

    name: str
    value: Any
    meaning: str
    choices: str  # "one of batch, none", "a number in [0, 1)"


def describe(config: Config) -> list[Described]:
    """Every field of `config` with its meaning and what it may hold, in the order of `Config`."""
    return [
        Described(name, getattr(config, name), known.description or "", _choices(name))
        for name, known in _KNOWN.items()
    ]


def with_settings(config: Config, settings: Iterable[str]) -> Config:
    """`config` with each `name=value` applied, the value read by the type of its field.

    Tuples are written with commas, booleans as true or false. Raises ValueError naming the
    setting; an unknown field names its nearest neighbours.
    """
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"setting {setting!r} has no '='; write name=value, such as lr=1e-3")
        name, text = name.strip(), text.strip()
        several = name in _KNOWN and get_origin(_KNOWN[name].annotation) is tuple
        parts = (part.strip() for part in text.strip("()[]").split(","))
        values[name] = tuple(part for part in parts if part) if several else text
    try:
        return TypeAdapter(Config).validate_python(values, strict=False)
    except ValidationError as error:
        raise ValueError(_refusal(error)) from None


def near_miss(name: str, known: Iterable[str]) -> str:
    """What `name` was meant to be, or what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"


# ---------------------------------------------------------------------------------- sentences


def _refusal(error: ValidationError) -> str:
    """The first thing pydantic found wrong: field, value, rule."""
    found = error.errors(include_url=False)[0]
    if not found["loc"]:
        return str(found.get("ctx", {})["error"])
    name = str(found["loc"][0])
    if name not in _KNOWN:
        return f"Config has no field {name!r}; {near_miss(name, _KNOWN)}"
    return f"{name} is {found['input']!r}, but the field holds {_choices(name)}"


def _choices(name: str) -> str:
    return _rule(_KNOWN[name].annotation, _KNOWN[name].metadata)


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _rule(kind: Any, limits: Iterable[Any] = ()) -> str:
    """What a field of this type may hold, in words."""
    if get_origin(kind) is Annotated:
        return _rule(kind.__origin__, kind.__metadata__)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        inner, *rest = get_args(kind)
        count = "any number of" if rest == [Ellipsis] else len(rest) + 1
        name = inner.__origin__.__name__
        return f"{count} {name} values joined by commas, each {_rule(inner)}"
    return _WORDS[kind] + _range(limits)


def _range(limits: Iterable[Any]) -> str:
    """Bounds as people write them: in [0, 1), above 0, of at least 1."""
    low = high = ""
    for limit in limits:
        if isinstance(limit, Ge | Gt):
            low = f"[{limit.ge}" if isinstance(limit, Ge) else f"({limit.gt}"
        elif isinstance(limit, Le | Lt):
            high = f"{limit.le}]" if isinstance(limit, Le) else f"{limit.lt})"
    if low and high:
        return f" in {low}, {high}"
    return low and f" {'of at least' if low[0] == '[' else 'above'} {low[1:]}"


# ---------------------------------------------------------------------------------- agreement


def check_rows(config: Config, ranks: int = 1) -> None:
    """ValueError where each of `ranks` would train on one row, and a norm or a negative needs two.

    Known before anything is trained; the networks themselves notice at the first step.
    """
    contrasts = config.formula != "none"
    projected = config.formula == "barlow_twins" and config.barlow_width > 0
    norms = projected or (config.norm == "batch" and config.stack == "compressor")
    if config.method == "caf" or config.batch_size > (1 if config.gather else ranks):
        return
    if norms and not config.authors_eval_mode:
        needs, mend = "batch norm", "barlow_width=0" if projected else "norm=none"
    elif contrasts and config.negatives in ("shuffled", "batch"):
        needs, mend = f"negatives={config.negatives}", "negatives=paired"
    else:
        return
    raise ValueError(
        f"batch_size={config.batch_size} gives a rank batches of 1, but {needs} takes 2 or more; "
        f"set batch_size={2 * ranks} or more, or {mend}"
    )


def _check_agreement(config: Config) -> None:
    check_rows(config)
    if config.encoder not in ENCODERS and not config.encoder.startswith("timm/"):
        raise ValueError(
            f"encoder {config.encoder!r} is unknown; use {', '.join(ENCODERS)} or timm/NAME"
        )
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
    if not _BALANCE.fullmatch(config.balance):
        raise ValueError(
            f"balance is {config.balance!r}, but the field holds none, expression, plane:N (N x N "
            "cells, N from 2 to 100), or a column of the index"
        )
    if config.reweigh == "plane" and config.task != "va":
        raise ValueError("reweigh=plane weighs valence and arousal; use balance=expression")
    if config.reweigh == "plane" and config.balance.startswith("plane:"):
        raise ValueError(
            f"balance={config.balance} makes rare labels common and reweigh=plane makes them weigh "
            "more: set one of them"
        )
    if config.balance != "none" and config.order == "blocks":
        raise ValueError(
            f"balance={config.balance} draws from all shards, so order=blocks has no meaning; use "
            "order=global"
        )
    if config.encoder == "alexnet" and config.image_size < 63:
        raise ValueError(
            f"image_size is {config.image_size}, but alexnet's strides need at least 63 pixels"
        )
    if config.stack == "classifier" and config.encoder != "alexnet":
        raise ValueError(f"stack=classifier is AlexNet's own; {config.encoder} has none")
    contrasts = config.formula != "none" or config.discriminative_weight > 0
    if config.method == "avce" and contrasts and config.stack != "compressor":
        raise ValueError(
            f"stack={config.stack} has no z on which views could differ; set stack=compressor, or "
            "formula=none and discriminative_weight=0"
        )
