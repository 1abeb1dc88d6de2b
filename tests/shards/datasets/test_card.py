"""Data cards: written whole, read strictly, and only that of the data set asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shards.datasets.card import CARD_NAME, DataCard, expected_counts, read_card, seal, write_card

CARD = DataCard("raf_db", 3, "hard", {"basic train": 4})


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD
    assert [path.name for path in tmp_path.iterdir()] == [CARD_NAME]


@pytest.mark.parametrize("number", ["Infinity", "1e999", "2.7", "true", '"3"', "null", "9" * 5000])
def test_counts_are_whole_numbers(number: str, tmp_path: Path) -> None:
    seal(tmp_path, json.dumps({"counts": {"a": 1}}).replace("1", number))
    with pytest.raises(ValueError, match=rf"{CARD_NAME} is no data card"):
        read_card(tmp_path)


def test_a_card_that_is_no_stand_in_leaves_the_published_counts(tmp_path: Path) -> None:
    fields = {"dataset": "x", "seed": 0, "level": "-", "counts": {"a": 1}, "stand_in": False}
    seal(tmp_path, json.dumps(fields))
    assert expected_counts(tmp_path, "raf_db", {"a": 5}) == ({"a": 5}, "the published release")
