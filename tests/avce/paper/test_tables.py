"""The supplement's tables: its numbers, our recipes, our runs."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path

import pytest

from avce.paper.published import TABLES
from avce.paper.tables import (
    as_csv,
    as_latex,
    as_text,
    command,
    fill,
    missing,
    run_folder,
    table,
    words,
)


def finish(
    root: Path, number: int, name: str, seed: int, ccc: tuple[float, float], **config
) -> None:
    row = next(row for row in table(number).rows if row.name == name)
    folder = run_folder(table(number), row, seed, root)
    folder.mkdir(parents=True)
    assert row.config is not None
    axes = {
        axis: {"rmse": 0.2, "pcc": 0.6, "ccc": value, "sagr": 0.7}
        for axis, value in zip(("valence", "arousal"), ccc, strict=True)
    }
    facts = {"config": row.config.to_dict() | config, "scores": {"best": {"n": 10, **axes}}}
    (folder / "run.json").write_text(json.dumps(facts))


def test_commands_are_exact():
    row = table(2).rows[1]
    assert command(table(2), row, seed=3) == (
        "accelerate launch cli.py train --shards data/shards/aff-wild "
        "--recipe infonce_debiased_select --run runs/table2/infonce_debiased_select/seed3 "
        "--set seed=3 --set weights=imagenet"
    )
    quoted = next(row for row in table(1).rows if row.name == "jang")
    assert command(table(1), quoted) is None


def test_runs_fill_their_row(tmp_path):
    finish(tmp_path, 2, "infonce", 0, (0.5, 0.4))
    finish(tmp_path, 2, "infonce", 1, (0.6, 0.5), epochs=3)  # another budget is still the method
    finish(tmp_path, 2, "avce", 0, (0.7, 0.6))
    rows = {filled.row.name: filled for filled in fill(table(2), tmp_path)}
    assert rows["infonce"].seeds == (0, 1)
    assert rows["infonce"].mean("ccc") == pytest.approx((0.55, 0.45))
    spread = statistics.stdev([0.5, 0.6])
    assert rows["infonce"].deviation("ccc") == pytest.approx((spread, spread))
    assert rows["avce"].deviation("ccc") is None and rows["barlow_twins"].mean("ccc") is None
    left = missing(table(2), (0, 1), tmp_path)
    assert len(left) == 9 * 2 - 3 and ("avce", 1) in [(row.name, seed) for row, seed in left]


def test_a_run_of_another_recipe_is_refused(tmp_path):
    finish(tmp_path, 2, "infonce", 0, (0.5, 0.4), formula="avce")
    with pytest.raises(ValueError, match="formula=avce, but row 'infonce'"):
        fill(table(2), tmp_path)


def test_a_run_that_was_begun_goes_on(tmp_path):
    row = next(row for row in table(2).rows if row.recipe)
    begun = words(row, 3, tmp_path, [Path("a"), Path("b")], ["lr=1"])
    assert begun[:4] == ["--recipe", row.recipe, "--run", str(tmp_path)]
    assert begun[4:6] == ["--set", "seed=3"]
    assert begun[-6:] == ["--set", "lr=1", "--shards", "a", "--shards", "b"]
    (tmp_path / "run.json").write_text("{}")
    assert words(row, 3, tmp_path, []) == ["--resume", str(tmp_path)]


def test_an_unfinished_or_undefined_run_does_not_count(tmp_path):
    finish(tmp_path, 5, "paper", 0, (0.5, 0.4))
    path = tmp_path / "table5" / "paper" / "seed0" / "run.json"
    facts = json.loads(path.read_text())
    facts["scores"]["best"]["valence"]["ccc"] = None
    path.write_text(json.dumps(facts))
    rows = fill(table(5), tmp_path)
    assert (rows[0].seeds, rows[0].undefined) == ((), (0,))
    for text in (as_text(table(5), rows, tmp_path), as_latex(table(5), rows)):
        assert "paper: seed 0 predicts the same for every face" in text
    path.write_text(json.dumps(facts | {"scores": None}))
    rows = fill(table(5), tmp_path)
    assert (rows[0].seeds, rows[0].undefined) == ((), ())
    assert "left out" not in as_text(table(5), rows, tmp_path)


@pytest.mark.parametrize("number", TABLES)
def test_every_output(number, tmp_path):
    if number == 2:
        finish(tmp_path, 2, "avce", 0, (0.7, 0.6))
        finish(tmp_path, 2, "avce", 1, (0.8, 0.6))
    rows = fill(table(number), tmp_path)
    text = as_text(table(number), rows, tmp_path)
    assert f"Table {number}" in text and "accelerate launch" in text
    lines = list(csv.DictReader(io.StringIO(as_csv(table(number), rows))))
    assert {line["row"] for line in lines} == {row.name for row in table(number).rows}
    latex = as_latex(table(number), rows)
    assert latex.count("\\\\") == 1 + len(rows) + sum(bool(f.seeds) for f in rows)
    if number == 2:
        assert "0.682 | 0.750±0.071" in text and "$0.750 \\pm 0.071$" in latex
        assert "0.75,0.0707107,2" in as_csv(table(2), rows)
