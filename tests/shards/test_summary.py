"""What an index is said to hold, against a count by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from shards import EXPRESSIONS, LabelIndex, write_shards
from shards.summary import facts_of
from tests.shards.building.test_tars import items


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> LabelIndex:
    return write_shards(items(), tmp_path_factory.mktemp("drawn"), samples_per_shard=10)


def test_counts_and_ranges_are_those_of_the_rows(index: LabelIndex):
    facts, rows = facts_of(index), index.table.to_pylist()
    assert facts["rows"] == 23 and facts["shards"] == 3 and facts["labelled"] == 22
    assert facts["splits"] == dict(Counter(row["split"] for row in rows)) == index.splits
    assert facts["datasets"] == {"affectnet": 23}
    words = Counter(EXPRESSIONS[row["expression"]] for row in rows)
    assert facts["expressions"] == dict(words)
    assert list(facts["expressions"]) == list(EXPRESSIONS)
    for axis in ("valence", "arousal"):
        values = np.array([row[axis] for row in rows if row[axis] is not None])
        expected = {"min": values.min(), "max": values.max()}
        expected |= {"mean": values.mean(), "std": values.std()}
        assert facts[axis] == pytest.approx(expected, abs=1e-7)  # float32 labels, float64 sums


def test_the_plane_is_the_histogram_of_the_labels(index: LabelIndex):
    rows = [row for row in index.table.to_pylist() if row["va_valid"]]
    arousal, valence = (np.array([row[axis] for row in rows]) for axis in ("arousal", "valence"))
    # away from the cells' edges, where float32 and float64 may differ by one cell
    expected, _, _ = np.histogram2d(arousal, valence, bins=20, range=((-1, 1), (-1, 1)))
    found = np.array(facts_of(index)["plane"])
    assert found.sum() == 22 and (found != expected).sum() <= 2


def test_the_corners_of_the_plane_are_inside(tmp_path: Path):
    from shards.summary import _plane

    corners = np.array([[-1, -1], [1, 1], [1, -1], [-1.0000005, 1.0000005], [0, 0]], np.float32)
    plane = _plane(corners)
    assert plane.sum() == 5
    assert plane[0, 0] == plane[19, 19] == plane[0, 19] == plane[19, 0] == plane[10, 10] == 1


def test_an_index_without_labels_has_no_range(tmp_path: Path):
    import dataclasses

    bare = [(dataclasses.replace(s, valence=None, arousal=None), c) for s, c in items(3)]
    facts = facts_of(write_shards(bare, tmp_path))
    assert facts["labelled"] == 0 and facts["valence"] is None
    assert sum(map(sum, facts["plane"])) == 0
