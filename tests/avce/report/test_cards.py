"""What a page says of its data and runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from avce.recipes import RECIPES
from avce.report.cards import commands_of
from avce.training.record import RunRecord, Shards

DETECT = {"detector": "retinaface", "detector_version": "0.1.0"}


@pytest.mark.parametrize(
    ("options", "typed"),
    [
        ({"crop": "default", "margin": 1 / 14, "size": 256, "seed": 0}, ""),
        ({"crop": "box", "margin": 0.2, "size": 128, "seed": 3},
         " --crop box --margin 0.2 --size 128 --seed 3"),
        ({"crop": "detect", "detect": DETECT}, " --crop detect"),
        ({"crop": "default", "detect": DETECT}, " --detect"),
    ],
)  # fmt: skip
def test_the_commands_begin_with_the_shards_and_name_the_recipe(options, typed):
    config = replace(RECIPES["demo"], lr=0.5)
    shards = Shards(folders=["my shards"], crop={"data_set": "raf-db", **options})
    shard, train, score = commands_of("runs/a", RunRecord(config=config, shards=shards), "val")
    assert shard == f"python cli.py shard raf-db{typed} --out 'my shards'"
    assert train == (
        "accelerate launch cli.py train --recipe demo --run runs/a --shards 'my shards' "
        "--set lr=0.5"
    )
    assert score == "python cli.py eval runs/a --split val"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_found_again(recipe):
    train = commands_of("a", RunRecord(config=RECIPES[recipe]), "val")[0]
    assert (
        "--set" not in train and RECIPES[train.split("--recipe ")[1].split()[0]] == RECIPES[recipe]
    )
