"""What the data is, what each run is, and the commands that made both."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from avce.recipes import RECIPES
from avce.scores.metrics import AXES
from avce.scores.predictions import is_classes, pair_of
from avce.training.record import RunRecord

_LIMITS = (
    "It estimates how a face would be rated for valence and arousal by annotators like those of "
    "the data set. It does not read what a person feels: a face alone does not tell. Scores differ "
    "between people, poses, lighting and cultures, and sets from the web hold more of some than of "
    "others. Not for decisions about single persons."
)
USE = [
    ("intended use", "Research on affect: comparing methods, summarising many faces."),
    ("limits", _LIMITS),
]


def data_card(given: Mapping[str, str], table: pa.Table) -> list[tuple[str, str]]:
    """Names and values: the caller's, then what the predictions say of their samples."""
    pairs = [*given.items(), ("samples here", f"{len(table):,}")]
    for column in ("dataset", "split", "video_id", "subject_id"):
        if column in table.column_names and not table[column].null_count:
            values = table[column].unique().to_pylist()
            text = f"{len(values):,} different" if len(values) > 6 else ", ".join(map(str, values))
            pairs.append((column.removesuffix("_id"), text))
    if is_classes(table):
        return pairs
    return pairs + [
        (f"{axis} labels", _spread(labels))
        for axis, labels in zip(AXES, pair_of(table).target.numpy().T, strict=True)
    ]


def _spread(labels: np.ndarray) -> str:
    zero = 100 * (labels == 0).mean()
    return (
        f"mean {labels.mean():+.3f}, standard deviation {labels.std():.3f}, {zero:.1f} % exactly 0"
    )


def model_card(record: RunRecord | None) -> list[tuple[str, str]]:
    """What a run.json says of a run; nothing without one."""
    if record is None:
        return []
    names = (
        ("method", "method"), ("formula", "formula"), ("encoder", "encoder"),
        ("weights", "starts from"), ("image_size", "image, pixels a side"),
        ("epochs", "epochs"), ("batch_size", "batch"), ("seed", "seed"),
    )  # fmt: skip
    pairs = [(title, str(getattr(record.config, name))) for name, title in names]
    for name in ("git_commit", "started", "finished", "world_size"):
        if (value := getattr(record, name)) is not None:
            pairs.append((name.replace("_", " "), str(value)))
    if shards := record.to_json().get("shards"):
        pairs.append(("shards", json.dumps(shards)))
    if record.versions:
        pairs.append(("versions", ", ".join(f"{n} {v}" for n, v in record.versions.items())))
    return pairs


def commands_of(run: str, record: RunRecord, split: str) -> list[str]:
    """What to type for the same shards, run and scores, from its run.json."""
    begun = _sharding(record)
    folders = [f"--shards {shlex.quote(folder)}" for folder in record.shards.folders]
    fold = [] if record.shards.fold is None else [f"--fold {record.shards.fold}"]
    recipe, changed = _recipe(record.config.to_dict())
    words = ["accelerate launch cli.py train", f"--recipe {recipe}", f"--run {shlex.quote(run)}"]
    train = " ".join([*words, *folders, *fold, *changed])
    return [*begun, train, f"python cli.py eval {shlex.quote(run)} --split {split}"]


def _sharding(record: RunRecord) -> list[str]:
    """The command behind each shard folder, as far as its index says; raw data lie anywhere."""
    said = record.shards.crop
    if "data_set" not in said or len(record.shards.folders) != 1:
        return []
    crop = [] if said.get("crop", "default") == "default" else [f"--crop {said['crop']}"]
    crop += ["--detect"] if "detect" in said and said.get("crop") != "detect" else []
    usual = {"margin": 1 / 14, "size": 256, "seed": 0}
    options = [f"--{k} {said[k]}" for k, v in usual.items() if said.get(k, v) != v]
    to = f"--out {shlex.quote(record.shards.folders[0])}"
    return [" ".join([f"python cli.py shard {shlex.quote(said['data_set'])}", *crop, *options, to])]


def _recipe(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The recipe that this config differs least from, and the settings that make the rest."""
    changes = {
        name: [f"--set {k}={_typed(v)}" for k, v in config.items() if plain[k] != v]
        for name, plain in ((name, recipe.to_dict()) for name, recipe in RECIPES.items())
    }
    return min(changes.items(), key=lambda each: len(each[1]))


def _typed(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))
