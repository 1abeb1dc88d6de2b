"""Codes and names of classes: as numbered, as told, by the alphabet; never another's number."""

from __future__ import annotations

import pytest

from shards.datasets.table.classes import MOST, Vocabulary


def test_names_become_ours_or_keep_their_own_code() -> None:
    words = Vocabulary(["Joy", "angry", "bored"])
    assert [words.of(word) for word in ("Joy", "angry", "bored")] == [(2, 1), (0, 6), (1, None)]
    assert words.listed == ["angry", "bored", "Joy"]


def test_numbers_keep_their_code_and_are_ours_only_by_name() -> None:
    numbers = Vocabulary(["0", "2"], "happy, sad, bored")
    assert [numbers.of(word) for word in ("0", "2")] == [(0, 1), (2, None)]
    assert Vocabulary(["3"]).of("3") == (3, None)  # nobody said what 3 is
    assert Vocabulary(["1", "3"]).listed == ["0", "1", "2", "3"]


def test_a_code_written_as_a_number_with_a_point_is_that_code() -> None:
    floats = Vocabulary(["3.0", "3", "10.0", "02"])  # as pandas writes a column with nulls
    assert [floats.of(word)[0] for word in ("3.0", "3", "10.0", "02")] == [3, 3, 10, 2]


def test_names_may_come_with_their_codes() -> None:
    rafdb = Vocabulary(["1", "7"], "1:surprise,2:fear,7:neutral")
    assert [rafdb.of(word) for word in ("1", "7")] == [(1, 3), (7, 0)]
    assert Vocabulary(["Fear"], "1:surprise,2:fear").of("Fear") == (2, 4)


@pytest.mark.parametrize(
    ("words", "names", "sentence"),
    [
        (["0", "-1"], "", "class '-1' stands among the codes .* --option null=-1 if it means"),
        (["0", "1.5"], "", "class '1.5' stands among the codes"),
        (["0", "happy"], "", "class 'happy' stands among the codes 0"),
        (["1", "70000"], "", "codes are whole numbers from 0 to 999"),
        (["0", "1"], "happy", "classes=happy does not name 1"),
        (["happy"], "sad", "classes=sad does not name happy"),
        (["0"], "happy,1:sad", "write a code before every name, or before none"),
        (["0"], "happy,Happy", "names a code or a class twice"),
        (["0"], "1:a,1:b", "names a code or a class twice"),
        ([f"w{k}" for k in range(MOST + 1)], "", "more than 1,000 different words"),
    ],
)
def test_what_is_no_class_is_refused(words: list[str], names: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Vocabulary(words, names)


def test_capitals_make_no_class() -> None:
    words = Vocabulary(["Happy", "happy", "HAPPY", "bored"])
    assert len(words.listed) == 2
    assert {words.of(word) for word in ("Happy", "happy", "HAPPY")} == {(1, 1)}
