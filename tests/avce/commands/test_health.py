"""Every room says how it is, and what to do where it is not well."""

from __future__ import annotations

from avce.commands.health import checks as avce_checks
from pipelines.health import checks as pipelines_checks


def test_this_machine_is_well():
    found = [*avce_checks(), *pipelines_checks()]
    outcomes = {name: outcome for name, outcome, _, _ in found}
    assert outcomes["torch"] == outcomes["Python"] == outcomes["DALI on the CPU"] == "ok"
    assert set(outcomes.values()) <= {"ok", "note", "fail"}
    assert all(advice for _, outcome, _, advice in found if outcome != "ok")
