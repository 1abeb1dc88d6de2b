"""The supplement's numbers as they are printed, each row with its recipe."""

from __future__ import annotations

import pytest

from avce.paper.published import TABLES
from avce.paper.tables import table
from avce.recipes import RECIPES


def test_rows_are_recipes_and_names_are_unique():
    assert [len(TABLES[n].rows) for n in range(1, 6)] == [10, 9, 5, 3, 2]
    for entry in TABLES.values():
        assert len({row.name for row in entry.rows}) == len(entry.rows)
        for row in entry.rows:
            assert row.recipe is None or row.recipe in RECIPES
            assert set(row.published) <= set(entry.metrics)
    with pytest.raises(ValueError, match="no table 6"):
        table(6)


def test_the_supplements_claims_hold_on_its_numbers():
    one = {row.name: row.published for row in table(1).rows}
    assert one["caf_resnet18"]["rmse"][0] - one["resnet18"]["rmse"][0] == pytest.approx(0.028)
    assert one["caf"]["ccc"][1] - one["paper"]["ccc"][1] == pytest.approx(0.024)
    two = {row.name: row.published["ccc"] for row in table(2).rows}
    assert two["barlow_twins_hard_select"][1] - two["barlow_twins"][1] == pytest.approx(0.04)
    assert two["avce_debiased_select"][1] - two["avce"][1] == pytest.approx(0.023)
