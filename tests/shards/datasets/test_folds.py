"""Folds: the same on every machine, even, and nobody in two."""

from __future__ import annotations

import hashlib

from shards.datasets.folds import FOLDS, deal_groups, fold_by_hash, split_of_fold


def test_the_largest_goes_to_the_smallest_fold() -> None:
    assert deal_groups({"a": 1, "b": 9, "c": 5, "d": 5}, folds=2) == {
        "b": 0,
        "c": 1,
        "d": 1,
        "a": 0,
    }


def test_a_hash_decides_alone() -> None:
    for name in ("105", "video2", ""):
        digest = hashlib.sha256(name.encode()).digest()
        assert fold_by_hash(name) == int.from_bytes(digest[:8], "big") % 5
    assert {fold_by_hash(str(k)) for k in range(200)} == set(range(FOLDS))
    assert [split_of_fold(fold) for fold in range(FOLDS)] == ["val", *["train"] * 4]
