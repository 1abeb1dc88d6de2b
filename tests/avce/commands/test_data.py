"""`shard` says what it understood; `inspect` what it finds wrong, and what it mends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from avce.commands.data import app
from shards import LabelIndex, write_shards
from tests.shards.building.test_tars import items
from tests.shards.labels.test_opening import put, rewritten
from tests.shards.trees import blob


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shards(items(), tmp_path / "shards", samples_per_shard=10)
    return tmp_path / "shards"


def inspect(*words: str):
    return CliRunner().invoke(app, ["inspect", *words])


def test_repair_writes_again_what_follows_from_the_tars(folder: Path):
    digest = LabelIndex.open(folder).digest
    rewritten(folder, folder, "shard_offset", put(4, 512))
    (folder / "00001.idx").unlink()
    refused = inspect(str(folder))
    assert isinstance(refused.exception, ValueError) and "--repair" in str(refused.exception)
    mended = inspect(str(folder), "--repair", "--verify")
    assert mended.exit_code == 0, mended.output
    for name in ("labels.arrow", "00001.idx", "report.json"):
        assert f"wrote {name}" in mended.output
    assert LabelIndex.open(folder).digest == digest
    assert "nothing to repair" in inspect(str(folder), "--repair").output


def test_verify_finds_the_sign_of_one_label(folder: Path):
    rewritten(folder, folder, "valence", put(4, -4 / 23))
    found = inspect(str(folder), "--verify")
    assert isinstance(found.exception, ValueError)
    assert "are not those that were written" in str(found.exception)
    refused = inspect(str(folder), "--repair")
    assert "stand nowhere else" in str(refused.exception)


def of_a_table(root: Path, labels: str, *words: str):
    raw, out = root / "raw", root / "out"
    raw.mkdir()
    for number, name in enumerate("abcdef"):
        Image.fromarray(blob(number)).save(raw / f"{name}.png")
    (raw / "labels.csv").write_text(labels)
    where = ["--raw", str(raw), "--out", str(out), "--jobs", "1"]
    return CliRunner().invoke(app, ["shard", "table", *where, *words])


TABLE = "path,valence,arousal,emotion,split,age\n" + "".join(
    f"{name}.png,{k + 1},{9 - k},{'joy' if k % 2 else 'bored'},{'val' if k > 3 else 'train'},{k}\n"
    for k, name in enumerate("abcdef")
)


def test_a_table_is_explained_before_it_is_sharded(tmp_path: Path):
    shown = of_a_table(tmp_path, TABLE, "--option", "range=1..9")
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.stderr.split())
    assert "columns: " in said and "valence from 'valence'" in said
    assert "kept columns: kept for --where and --by: 'age' (int)" in said
    assert "range: valence 1..6 of 1..9 and arousal 4..9 of 1..9 become [-1, 1]" in said
    assert "classes: 2 classes: bored (0, no expression of ours), joy (1 -> 1)" in said
    assert "splits: the split is given: 4 train, 2 val rows" in said
    assert said.count("example: {'path': ") == 5


def test_for_machines_it_is_one_object(tmp_path: Path):
    shown = of_a_table(tmp_path, TABLE, "--option", "range=1..9", "--json")
    report = json.loads(shown.stdout)
    assert report["complete"] and report["splits"] == {"train": 4, "val": 2}
    facts = {check["check"]: check["facts"] for check in report["checks"] if "facts" in check}
    assert facts["splits"] == {"by": "given", "rows": {"train": 4, "val": 2}}
    assert facts["range"]["valence"] == {"found": [1, 6], "scale": [1, 9], "becomes": [-1, 0.25]}
    assert facts["classes"]["names"] == ["bored", "joy"]
    assert "example" not in shown.stderr


def test_what_was_understood_is_said_though_the_run_stops(tmp_path: Path):
    shown = of_a_table(
        tmp_path, TABLE + "gone.png,1,1,joy,val,3\n", "--option", "range=1..9", "--json"
    )
    assert isinstance(shown.exception, ValueError)
    report = json.loads(shown.stdout)
    assert not report["complete"] and "1 images of 7 rows are missing" in report["error"]
    assert {"columns", "range", "classes", "splits"} <= {c["check"] for c in report["checks"]}
    assert not list((tmp_path / "out").glob("*.tar"))
