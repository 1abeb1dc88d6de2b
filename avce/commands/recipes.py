"""Show what can be trained: every recipe, and every field of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from avce.commands.options import JsonOption, typed
from avce.commands.terminal import print_json, say, then
from avce.scores.sheet import as_text

app = typer.Typer()


@app.command(epilog="Example: python cli.py recipes polar")
def recipes(
    name: Annotated[str | None, typer.Argument(help="One of them; default a list of all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes: what each is, its rows in the paper's tables, its cost; or one's fields."""
    from avce.config import Config, describe
    from avce.recipes import RECIPES, recipe

    if name is None:
        every = [summary(one) for one in RECIPES]
        print_json({"recipes": every}) if as_json else print_all(every)
        return
    with typed():
        found = describe(recipe(name))
    usual = {field.name: field.value for field in describe(Config())}
    if as_json:
        about = [field._asdict() | {"default": usual[field.name]} for field in found]
        print_json(summary(name) | {"fields": about})
        return
    one = summary(name)
    say(f"{name}: {one['what']}; tables: {rows_of(one) or 'none'}; {cost_of(one)}")
    lines = [
        ("*" if each.value != usual[each.name] else "", each.name, shown(each.value), each.meaning)
        for each in found
    ]
    lines = [(*line, each.choices) for line, each in zip(lines, found, strict=True)]
    say(as_text([("", "field", "value", "meaning", "choices"), *lines], left=5, width=10_000))
    say("* differs from the recipe paper; any field is set by --set NAME=VALUE")
    then("train", "--recipe", name, by=("accelerate", "launch"))


def summary(name: str) -> dict[str, Any]:
    """A recipe in few words and numbers, and the rows of the tables that it trains."""
    from avce.paper.published import TABLES
    from avce.recipes import ABOUT, RECIPES

    rows = [
        {"table": one.number, "row": row.name, "method": row.method}
        for one in TABLES.values()
        for row in one.rows
        if row.recipe == name
    ]
    about, config = ABOUT[name], RECIPES[name]
    cost = {"epochs": config.epochs, "batch_size": config.batch_size, "step": about.step}
    return {"name": name, "what": about.what, "tables": rows, **cost}


def print_all(every: list[dict[str, Any]]) -> None:
    """A line each."""
    lines = [(one["name"], cost_of(one), one["what"], rows_of(one)) for one in every]
    say(as_text([("recipe", "cost", "what it is", "tables"), *lines], left=4, width=10_000))
    say("cost: epochs, and the time of a step as a multiple of paper's (docs/benchmarks.md)")


def rows_of(one: dict[str, Any]) -> str:
    """Such as "1 AVCE, 5 AVCE (AL)"."""
    return ", ".join(f"{row['table']} {row['method']}" for row in one["tables"])


def cost_of(one: dict[str, Any]) -> str:
    """Such as "100 x 4.4"."""
    return f"{one['epochs']} epochs x {one['step']:g}"


def shown(value: Any) -> str:
    """As `--set` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
