"""`inspect`: what it finds wrong, and what it mends."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from avce.commands.data import app
from shards import LabelIndex, write_shards
from tests.shards.building.test_tars import items
from tests.shards.labels.test_opening import put, rewritten


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
