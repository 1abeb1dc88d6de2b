"""Rows of one or several folders: found, gathered and counted as a loop would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from shards import LabelIndex, write_shards
from tests.shards.building.test_tars import items


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> LabelIndex:
    return write_shards(items(), tmp_path_factory.mktemp("drawn"), samples_per_shard=10)


@pytest.mark.parametrize("name", ["split", "expression", "fold", "extension", "gender", "shard"])
def test_counts_are_those_of_a_loop(index: LabelIndex, name: str):
    values = [row[name] for row in index.table.to_pylist() if row[name] is not None]
    assert index.counts(name) == dict(Counter(values))


def test_every_tar_knows_its_rows(index: LabelIndex):
    assert index.tar_starts.tolist() == [0, 10, 20, 23]
    assert index.tar_of_row(np.array([0, 9, 10, 22])).tolist() == [0, 0, 1, 2]
    assert [index.recorded(number)["samples"] for number in range(3)] == [10, 10, 3]
    sizes = [tar.stat().st_size for tar in index.tars]
    assert [index.recorded(number)["size"] for number in range(3)] == sizes


def test_lists_of_one_length_are_a_matrix_and_nulls_stay_nulls(index: LabelIndex):
    odd = index.where().take(np.arange(1, 23, 2))
    assert odd.column("landmarks").shape == (11, 136)
    mixed = index.where().column("landmarks")
    assert [value is None for value in mixed] == [i % 2 == 0 for i in range(23)]


def test_a_null_list_costs_no_numbers(tmp_path: Path):
    """950 bytes a row were those of landmarks that nobody published."""
    import dataclasses

    ((sample, content),) = items(1)
    many = [
        (dataclasses.replace(sample, key=f"k{i}", landmarks=None), content) for i in range(1000)
    ]
    write_shards(many, tmp_path, samples_per_shard=500)
    assert (tmp_path / "labels.arrow").stat().st_size / 1000 < 280  # 20 of them the file's own


def test_no_folder_is_a_sentence():
    with pytest.raises(ValueError, match="name at least one"):
        LabelIndex.open([])
