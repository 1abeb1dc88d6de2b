"""What several data sets say alike: ranges, boxes round points, person names, keys."""

from __future__ import annotations

import pytest

from shards.datasets.annotations import box_around, check_range, key_part, split_person


def test_a_label_on_the_edge_is_in_range_and_one_beyond_is_named() -> None:
    for value in (1.0, -1.0, 1.0000005):  # printed with six decimals
        check_range("a.txt: line 3", value)
    for value in (1.00001, -2.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"a\.txt: line 3 holds .*, outside \[-1, 1\]"):
            check_range("a.txt: line 3", value)
    check_range("a.json", -10.0, limit=10.0)


def test_a_box_goes_round_points_in_any_order() -> None:
    assert box_around((4.0, 1.0, 0.0, 3.0, 2.0, 2.0)) == (0, 1, 4, 3)
    assert box_around((1.0, 1.0, 1.0, 5.0)) is None  # no area


def test_persons_are_told_from_videos() -> None:
    assert split_person("video59_right") == ("video59", "right")
    assert split_person("5-60-1920x1080_left") == ("5-60-1920x1080", "left")
    assert split_person("video59") == ("video59", "main")
    assert split_person("_right") == ("_right", "main")


def test_keys_have_no_dots_or_slashes() -> None:
    assert key_part("a.b/c d_é-1") == "a-b-c-d_--1"
