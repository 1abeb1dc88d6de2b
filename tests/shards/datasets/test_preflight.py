"""Checks that every reader makes alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from shards.datasets.card import DataCard, write_card
from shards.datasets.preflight import (
    check_counts,
    check_each,
    check_unique,
    require_folder,
    size_of,
    strictness,
    unpacked,
)
from shards.findings import Findings
from tests.shards.trees import blob


def outcomes(findings: Findings) -> list[str]:
    return [check["outcome"] for check in findings.checks]


def test_a_root_must_be_a_folder(tmp_path: Path) -> None:
    require_folder(tmp_path, "RAF-DB")
    with pytest.raises(FileNotFoundError, match="none is no folder; unpack RAF-DB there"):
        require_folder(tmp_path / "none", "RAF-DB")


def test_a_second_folder_of_the_same_name_is_gone_through(tmp_path: Path) -> None:
    (tmp_path / "videos" / "train" / "train" / "other").mkdir(parents=True)
    assert unpacked(tmp_path, "videos", "train") == tmp_path / "videos" / "train" / "train"


def test_the_size_of_what_is_no_picture_is_unknown(tmp_path: Path) -> None:
    Image.fromarray(blob(0, 48)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert size_of(tmp_path, tmp_path / "a.png") == (48, 48)
    assert size_of(tmp_path, tmp_path / "b.png") is size_of(tmp_path, tmp_path / "c.png") is None


def test_counts_are_those_of_the_release_or_of_the_card(tmp_path: Path) -> None:
    findings = Findings()
    check = {"published": {"clips": 600, "frames": 30}, "found": {"clips": 600, "frames": 29}}
    check_counts(findings, tmp_path, "afew_va", **check, allow_count=False)
    check_counts(findings, tmp_path, "afew_va", **check, allow_count=False, soft=["frames"])
    check_counts(findings, tmp_path, "afew_va", **check, allow_count=True)
    assert outcomes(findings) == ["ok", "fail", "ok", "warn", "ok", "warn"]
    write_card(tmp_path, DataCard("afew_va", 0, "easy", {"clips": 600, "frames": 29}))
    drawn = Findings()
    check_counts(drawn, tmp_path, "afew_va", **check, allow_count=False)
    assert outcomes(drawn) == ["ok", "ok"]
    assert [strictness(allowed) for allowed in (False, True)] == ["fail", "warn"]


def test_twenty_problems_are_written_out_and_the_rest_counted(tmp_path: Path) -> None:
    findings = Findings()
    check_each(findings, "rows", [f"row {k}" for k in range(25)], "fine")
    assert len(findings.failed) == 21 and findings.failed[-1] == "5 more problems of this kind"
    check_unique(findings, "names", ["a", "b", "a", "a"], tmp_path)
    assert findings.failed[-1].startswith(f"a is found twice below the root ({tmp_path})")
