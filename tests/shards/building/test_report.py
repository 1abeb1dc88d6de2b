"""report.json: written whole, read whatever it became, and a rerun forgets nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shards.building.report import REPORT, Report, name_of_part, read_report, write_report
from shards.building.store import Store
from shards.findings import Findings


def report() -> Report:
    findings = Findings()
    findings.check("rows", True, "12 rows")
    findings.skip("truncated", "a.jpg")
    return Report("table", "out", findings, rows=11, splits={"train": 11})


def test_what_is_written_is_read(tmp_path: Path):
    store = Store.at(tmp_path / "new" / "out")
    write_report(store, report(), None)
    found = read_report(store)
    assert found == json.loads(json.dumps(report().as_dict()))
    assert found["rows"] == 11 and found["skipped"] == {"truncated": 1}
    assert [path.name for path in store.local.iterdir()] == [REPORT]


def test_each_part_has_its_own(tmp_path: Path):
    store = Store.at(tmp_path)
    write_report(store, report(), (1, 4))
    assert (tmp_path / "report-1-of-4.json").exists() and read_report(store) == {}
    assert name_of_part("plan", None) == "plan" and name_of_part("plan", (0, 2)) == "plan-0-of-2"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"null", b"[" * 100_000])
def test_a_report_that_cannot_be_read_is_none(tmp_path: Path, content: bytes):
    (tmp_path / REPORT).write_bytes(content)
    assert read_report(Store.at(tmp_path)) == {}


def test_a_rerun_takes_over_what_only_the_first_run_could_find():
    before, now = report(), Report("table", "out", Findings())
    before.findings.check("images in several splits", True, "none")
    now.findings.check("rows", True, "12 rows, again")
    now.recall(before.as_dict())
    details = {check["check"]: check["detail"] for check in now.findings.checks}
    assert details == {"rows": "12 rows, again", "images in several splits": "none"}
    assert now.findings.skipped == {"truncated": 1}
    assert now.findings.examples == {"truncated": ["a.jpg"]}
    now.recall({})  # an older report may say nothing
    assert now.findings.skipped == {"truncated": 1}


def test_a_disk_that_refuses_speaks_unless_something_else_has(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    store = Store.at(tmp_path / "file")  # no folder can be made there
    with pytest.raises(OSError, match="file"):
        write_report(store, report(), None)
    failed = report()
    failed.error = "the reason"
    write_report(store, failed, None)  # the first error is the one to be seen
