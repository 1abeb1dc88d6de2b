"""What the doctor says of shards: codecs, disk, and every index under a folder."""

from __future__ import annotations

import pytest

from shards import Sample, write_shards
from shards.health import checks
from shards.image import encode_jpeg
from tests.shards.trees import blob

OUTCOMES = {"ok", "note", "fail"}


def by_name(found) -> dict[str, tuple[str, str, str, str]]:
    found = list(found)
    assert all(outcome in OUTCOMES and text for _, outcome, text, _ in found)
    assert all(advice for _, outcome, _, advice in found if outcome != "ok")
    return {check[0]: check for check in found}


@pytest.fixture
def shards(tmp_path):
    sample = Sample(key="k", original_path="k.jpg", dataset="affectnet", variant="v", split="val")
    write_shards(iter([(sample, encode_jpeg(blob(1)))]), tmp_path / "drawn")
    return tmp_path


def test_shards_are_opened_and_counted(shards):
    found = by_name(checks([shards]))
    assert found["video codecs"][1] == found["image codecs"][1] == "ok"
    assert found[f"shards {shards / 'drawn'}"][1:3] == ("ok", "1 rows in 1 tars")
    assert "GB free" in found[f"disk of {shards}"][2]


def test_a_lost_tar_is_seen(shards):
    (shards / "drawn" / "00000.tar").unlink()
    check = by_name(checks([shards]))[f"shards {shards / 'drawn'}"]
    assert check[1] == "fail" and "00000.tar" in check[2] and "cli.py shard" in check[3]


def test_a_broken_index_is_seen(shards):
    (shards / "drawn" / "labels.arrow").write_bytes(b"no table")
    assert by_name(checks([shards]))[f"shards {shards / 'drawn'}"][1] == "fail"


def test_a_folder_that_is_not_there_yet_has_a_disk(tmp_path):
    assert f"disk of {tmp_path / 'a/b'}" in by_name(checks([tmp_path / "a/b"]))
