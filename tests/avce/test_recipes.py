"""The named configurations: each row of the tables differs from the paper's in what it is about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from avce.config import Config, with_settings
from avce.recipes import ABOUT, RECIPES, recipe

PAPER = RECIPES["paper"]
MINED = [name for name in RECIPES if name.endswith(("_select", "_weight"))]


def changed(name: str, base: Config = PAPER) -> set[str]:
    """The fields in which a recipe differs."""
    before, now = base.to_dict(), RECIPES[name].to_dict()
    return {field for field in before if before[field] != now[field]}


def test_the_paper_is_the_default():
    assert Config() == PAPER == RECIPES["avce"]
    assert recipe("paper") is PAPER


def test_an_ablation_changes_what_it_leaves_out_and_nothing_else():
    assert changed("without_avce") == {"formula"}
    assert changed("without_dis") == {"discriminative_weight"}
    assert RECIPES["without_dis"].discriminative_weight == 0
    assert changed("baseline_light") == {"formula", "discriminative_weight"}
    assert changed("avce_joint") == {"phases"}
    assert changed("avce_discrete") == {"task"}
    assert changed("polar") == {"intensity_weight"}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet101"])
def test_another_encoder_changes_its_name_and_the_batch(name: str):
    assert changed(name) == {"encoder", "batch_size"} and RECIPES[name].encoder == name


@pytest.mark.parametrize("name", MINED)
def test_a_mined_recipe_is_its_formula_with_its_miner(name: str):
    formula, kind, how = name.rsplit("_", 2)
    base, mined = RECIPES[formula], RECIPES[name]
    assert mined.mining == f"{kind}_{how}"
    assert changed(name, base) <= {"mining", "negatives", "positive_prior"}
    if how == "weight":  # negatives are weighed, so all of them are looked at
        assert mined.negatives == "batch_all"


def test_the_released_code_is_the_polar_paper_with_its_slips():
    assert changed("authors", RECIPES["polar"]) >= {"angle", "norm", "authors_eval_mode", "moments"}
    assert {"encoder", "lr", "epochs", "batch_size"}.isdisjoint(changed("authors"))


def test_caf_lowers_its_rate_every_five_thousand_steps():
    caf = RECIPES["caf"]
    assert caf.milestones == tuple(5_000 * k for k in range(1, 21)) and caf.factor == 0.9
    assert replace(RECIPES["caf_resnet18"], encoder=caf.encoder, batch_size=caf.batch_size) == caf


def test_recipes_are_values_that_nobody_can_change():
    with pytest.raises(TypeError):
        RECIPES["paper"] = Config()  # type: ignore[index]
    with pytest.raises(AttributeError):
        RECIPES["paper"].lr = 1.0  # type: ignore[misc]
    with_settings(RECIPES["paper"], ["lr=0.5"])
    assert RECIPES["paper"].lr == Config().lr


def test_each_is_told_in_a_sentence_of_its_own():
    assert list(ABOUT) == list(RECIPES)
    assert len({about.what for about in ABOUT.values()}) == len(ABOUT)
    assert ABOUT["paper"].step == ABOUT["avce"].step == 1.0
    assert ABOUT["resnet18"].step < ABOUT["resnet50"].step < ABOUT["resnet101"].step
