"""Settings are typed, reading is strict, recipes agree with themselves."""

from __future__ import annotations

import json
import math
import pickle
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from avce.config import Config, check_rows, describe, with_settings
from avce.method.build import build_method
from avce.recipes import RECIPES, recipe


def test_settings_take_the_type_of_their_field():
    changed = with_settings(
        Config(),
        [
            "lr=1e-3",
            "epochs=3",
            "gather=true",
            "milestones=10,20",
            "mining=hard_select",
            "betas=0,1",
        ],
    )
    assert (changed.lr, changed.epochs, changed.gather) == (1e-3, 3, True)
    assert (changed.milestones, changed.mining) == ((10, 20), "hard_select")
    assert changed.betas == (0.0, 1.0)
    assert with_settings(changed, ["milestones="]).milestones == ()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("learning_rate=1", "no field 'learning_rate'"),
        ("temprature=1", "did you mean temperature"),
        ("lr", "no '='"),
        ("epochs=2.5", "a whole number"),
        ("gather=perhaps", "true or false"),
        ("norm=layer", "one of batch, none"),
        ("keep=0", r"\(0, 1\]"),
        ("lr=0", "above 0"),
        ("betas=0.9", "2 float values"),
        ("mining=hard_weight", "batch_all"),
        ("encoder=alexnt", "use alexnet, resnet18, resnet50, resnet101 or timm/NAME"),
        ("log_with=printer", "one of none, tensorboard"),
        ("stack=classifier", "set stack=compressor, or formula=none and discriminative_weight=0"),
        ("stack=caf", "set stack=compressor"),
        ("batch_size=1", "set batch_size=2 or more, or norm=none"),
        ("balance=plane", "plane:N"),
        ("balance=plane:1", "N from 2 to 100"),
        ("balance=plane:10x10", "a column of the index"),
        ("balance=", "none, expression"),
    ],
)
def test_a_wrong_setting_is_one_sentence(setting, said):
    with pytest.raises(ValueError, match=said) as error:
        with_settings(Config(), [setting])
    assert "\n" not in str(error.value)


ALONE = [  # settings under which a batch of one might be trained on
    [],
    ["norm=none"],
    ["formula=none"],
    ["task=expression", "norm=none"],
    ["norm=none", "negatives=shuffled"],
    ["norm=none", "negatives=batch"],
    ["norm=none", "negatives=batch_all"],
    ["authors_eval_mode=true"],
    ["authors_eval_mode=true", "negatives=shuffled"],
    ["stack=classifier", "encoder=alexnet", "formula=none", "discriminative_weight=0"],
    ["stack=caf", "method=caf"],
    ["norm=none", "formula=barlow_twins"],
    ["norm=none", "formula=barlow_twins", "barlow_width=8"],
]


@pytest.mark.parametrize("settings", ALONE, ids=" ".join)
def test_a_batch_of_one_is_refused_at_once_where_a_step_would_refuse_it(settings):
    config = with_settings(
        Config(), ["encoder=resnet18", "image_size=64", "weights=none", *settings]
    )
    method = build_method(config)
    if config.authors_eval_mode:
        method.eval()
    target = torch.zeros(1, dtype=torch.int64) if config.task == "expression" else torch.zeros(1, 2)
    with nullcontext() if _is_accepted(["batch_size=1"], config) else pytest.raises(ValueError):
        for phase in method.phases:
            method(torch.zeros(1, 3, 64, 64), target, phase=phase)


def _is_accepted(settings: list[str], config: Config) -> bool:
    try:
        with_settings(config, settings)
    except ValueError as error:
        assert "batch_size=2 or more" in str(error)
        return False
    return True


@pytest.mark.parametrize(("size", "ranks", "gather"), [(2, 2, False), (1, 2, True), (3, 4, False)])
def test_a_rank_with_one_row_is_refused_unless_ranks_share_their_rows(size, ranks, gather):
    config = Config(batch_size=max(size, 2), gather=gather)
    share = replace(config, norm="none", batch_size=size)
    check_rows(share, ranks)
    if not gather:
        with pytest.raises(ValueError, match=f"batch_size={2 * ranks} or more"):
            check_rows(config, ranks)


NUMBERS = {
    field.name: getattr(Config(), field.name)
    for field in fields(Config)
    if isinstance(getattr(Config(), field.name), int | float | tuple)
    and not isinstance(getattr(Config(), field.name), bool)
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, -math.inf], ids=str)
def test_every_number_has_a_range(name, wrong):
    value: Any = (wrong,) * 2 if isinstance(NUMBERS[name], tuple) else wrong
    with pytest.raises(ValueError, match=rf"^{name} is {wrong}, but the field holds \S") as error:
        replace(Config(), **{name: value})
    assert "\n" not in str(error.value)
    text = f"{wrong},{wrong}" if isinstance(value, tuple) else str(wrong)
    with pytest.raises(ValueError, match=rf"^{name} is '{wrong}', but"):
        with_settings(Config(), [f"{name}={text}"])
    with pytest.raises(ValueError, match=rf"^{name} is "):
        Config.from_dict(json.loads(json.dumps({name: value})))


@pytest.mark.parametrize(
    "setting",
    ["factor=1.5", "momentum=5", "label_scale=0", "log_every=0", "keep_last=0", "image_size=1",
     "image_size=62", "betas=0.5,2", "classes=1", "audit=1.1", "lr=1e400", "seed=4294967296"],
)  # fmt: skip
def test_a_number_outside_its_range_is_named(setting):
    name = setting.partition("=")[0]
    with pytest.raises(ValueError, match=f"^{name} is .*") as error:
        with_settings(Config(), [setting])
    assert "\n" not in str(error.value)


def test_a_field_says_what_it_means_and_may_hold():
    found = {field.name: field for field in describe(RECIPES["demo"])}
    assert list(found) == [field.name for field in fields(Config)]
    assert all(field.meaning and field.choices for field in found.values())
    assert found["norm"].choices == "one of batch, none"
    assert found["keep"].choices == "a number in (0, 1]"
    assert found["epochs"][1] == 8 and "passes" in found["epochs"].meaning


def test_a_config_is_a_value():
    one, two = Config(lr=1e-3), with_settings(Config(), ["lr=1e-3"])
    assert one == two and hash(one) == hash(two) and pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.lr = 2e-3  # type: ignore[misc]
    with pytest.raises(ValueError, match="no field 'lrr'; did you mean lr"):
        Config(lrr=1e-3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name):
    written = json.dumps(RECIPES[name].to_dict())
    assert Config.from_dict(json.loads(written)) == RECIPES[name]


def test_reading_is_strict():
    with pytest.raises(ValueError, match="no field 'lrr'"):
        Config.from_dict({"lrr": 1e-3})
    with pytest.raises(ValueError, match="epochs is '3'"):
        Config.from_dict({"epochs": "3"})
    with pytest.raises(ValueError, match="gather is 1"):
        Config.from_dict({"gather": 1})
    assert Config.from_dict({"lr": 1}).lr == 1.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["formula=barlow_twins", "negatives=batch"], "has no meaning"),
        (["sign_broadcast=true", "negatives=batch"], "sign_broadcast"),
        (["task=expression", "sign_weight=0.05"], "sign_weight=0"),
        (["method=caf", "stack=caf", "task=expression"], "task=va"),
        (["method=caf"], "set stack=caf"),
        (["stack=classifier", "encoder=resnet18"], "has none"),
        (["balance=expression", "order=blocks"], "use order=global"),
        (["balance=plane:5", "reweigh=plane"], "set one of them"),
        (["task=expression", "reweigh=plane"], "use balance=expression"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        with_settings(Config(), settings)


def test_an_unknown_recipe_names_near_ones():
    with pytest.raises(ValueError, match="avce_hard_select"):
        recipe("avce_hard_selct")
    assert recipe("paper") is RECIPES["paper"]


def test_presets_are_the_columns_of_the_differences_table():
    paper, polar, authors = RECIPES["paper"], RECIPES["polar"], RECIPES["authors"]
    assert (paper.norm, paper.angle, paper.intensity_weight) == ("batch", "exact", 0)
    assert polar.intensity_weight == 0.8
    assert (authors.norm, authors.angle, authors.sign_weight) == ("none", "authors_halfcos", 0.05)
    assert (authors.reduction, authors.contrast_weight) == ("sum", 1e-4)
    assert (authors.moments, authors.eval_moments) == ("authors_loss", "authors_eval")


def test_reading_recipes_does_not_wait_for_torch():
    program = "import sys; from avce import RECIPES; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
