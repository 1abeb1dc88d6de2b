"""What a reader found out: failures by their sentence, skips by their count, memory bounded."""

from __future__ import annotations

import json

from shards.findings import Findings


def test_only_failed_checks_stop_a_run():
    findings = Findings()
    findings.check("rows", True, "12 rows")
    findings.check("images", False, "3 are missing; restore them", level="warn")
    assert findings.failed == []
    findings.check("range", False, "valence is 7; rescale it")
    assert findings.failed == ["valence is 7; rescale it"]
    assert [check["outcome"] for check in findings.checks] == ["ok", "warn", "fail"]


def test_every_skip_is_counted_and_the_first_twenty_named():
    findings = Findings()
    for i in range(1000):
        findings.skip("truncated" if i % 10 else "empty file", f"{i}.jpg")
    assert findings.skipped == {"truncated": 900, "empty file": 100}
    assert findings.examples["empty file"] == [f"{i}.jpg" for i in range(0, 200, 10)]
    assert len(findings.examples["truncated"]) == 20


def test_what_was_found_is_plain_and_sorted_for_the_report():
    findings = Findings()
    findings.skip("b", "2")
    findings.skip("a", "1")
    findings.check("rows", True, "fine")
    said = json.loads(json.dumps(findings.as_dict()))
    assert list(said["skipped"]) == ["a", "b"]
    assert said["checks"] == [{"check": "rows", "outcome": "ok", "detail": "fine"}]
    assert said["examples"] == {"a": ["1"], "b": ["2"]}


def test_checks_are_heard_as_they_are_made_with_what_was_understood():
    heard = []
    findings = Findings(heard=heard.append)
    findings.check("splits", True, "4 rows", facts={"rows": {"train": 4}})
    assert heard == findings.checks
    findings.check("splits", True, "again")
    assert findings.facts("splits") == {"rows": {"train": 4}} and findings.facts("range") == {}
    assert "heard" not in findings.as_dict()
