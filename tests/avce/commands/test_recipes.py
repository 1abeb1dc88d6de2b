"""Every recipe is listed with what it is, and every field with what it may hold."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from avce.commands import app
from avce.config import with_settings
from avce.paper.published import TABLES
from avce.recipes import ABOUT, RECIPES


def typed(*words: str) -> str:
    done = CliRunner().invoke(app, ["recipes", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_recipe_says_what_it_is():
    assert set(ABOUT) == set(RECIPES)
    found = {one["name"]: one for one in json.loads(typed("--json"))["recipes"]}
    assert list(found) == list(RECIPES)
    assert all(one["what"] and one["step"] > 0 for one in found.values())
    trained = {(t.number, r.name, r.recipe) for t in TABLES.values() for r in t.rows if r.recipe}
    listed = {(r["table"], r["row"], n) for n, one in found.items() for r in one["tables"]}
    assert listed == trained
    assert [line.split()[0] for line in typed().splitlines()[1 : 1 + len(RECIPES)]] == list(RECIPES)


@pytest.mark.parametrize("name", ["paper", "demo", "authors"])
def test_the_fields_of_a_recipe_are_what_set_reads(name):
    found = json.loads(typed(name, "--json"))
    assert all(field["meaning"] and field["choices"] for field in found["fields"])
    values = {field["name"]: field["value"] for field in found["fields"]}
    assert values == json.loads(json.dumps(RECIPES[name].to_dict()))
    lines = typed(name).splitlines()
    changed = [line.split()[1] for line in lines if line.startswith("* ") and "--set" not in line]
    plain = RECIPES["paper"].to_dict()
    assert changed == [field for field, value in values.items() if value != plain[field]]


def test_what_is_shown_can_be_typed_back():
    from avce.commands.recipes import shown

    config = RECIPES["demo"]
    settings = [f"{name}={shown(getattr(config, name))}" for name in config.to_dict()]
    assert with_settings(RECIPES["paper"], settings) == config


def test_an_unknown_recipe_names_near_ones():
    done = CliRunner().invoke(app, ["recipes", "papre"])
    assert done.exit_code == 2 and "paper" in done.output
