"""Splits that are given, or dealt so that nobody is on two sides, in any order of the rows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.datasets.table.columns import Row
from shards.datasets.table.splits import By, Dealing, dealing

NAMES = st.text("abcdefghij0123456789_-é", min_size=1, max_size=12)
PEOPLE = st.lists(NAMES, min_size=1, max_size=60, unique=True)
SEEDS = st.integers(0, 2**31)


def row(path: str = "a.jpg", **facts: object) -> Row:
    known = dict.fromkeys(Row._fields) | {"path": path, "others": {}} | facts
    return Row(**known)  # type: ignore[arg-type]


@settings(deadline=None)
@given(PEOPLE, SEEDS, st.randoms(use_true_random=False))
def test_a_subject_is_on_one_side_whatever_the_order(people: list, seed: int, random) -> None:
    rows = [row(f"{name}/{k}.jpg", subject=name) for name in people for k in range(3)]
    deal = Dealing("subject", seed)
    before = {one.path: deal.place(one, None) for one in rows}
    random.shuffle(rows)
    again = {one.path: Dealing("subject", seed).place(one, None) for one in rows}
    assert before == again
    for name in people:
        assert len({before[f"{name}/{k}.jpg"] for k in range(3)}) == 1
    few = {one.path: deal.place(one, None) for one in rows[: len(rows) // 2]}
    assert few.items() <= before.items()  # who else is there does not matter


@settings(deadline=None)  # 2,000 rows, on a machine that does other things
@given(SEEDS, st.sampled_from(["subject", "video", "image"]))
def test_a_fifth_is_val_within_binomial_bounds(seed: int, by: By) -> None:
    n = 2000
    facts = ({"subject": f"s{k}", "video": f"v{k}"} for k in range(n))
    deal = Dealing(by, seed)
    found = [deal.place(row(f"{k}.jpg", **f), None) for k, f in enumerate(facts)]
    val = sum(split == "val" for split, _ in found)
    # hypothesis tries 100 seeds of each: 6 deviations are passed once in 10^9
    assert abs(val - n / 5) < 6 * math.sqrt(n * 0.2 * 0.8)
    assert {fold for _, fold in found} == set(range(5))
    assert all((split == "val") == (fold == 0) for split, fold in found)


def test_seeds_deal_otherwise() -> None:
    rows = [row(f"{k}.jpg", subject=f"s{k}") for k in range(200)]
    dealt = [[Dealing("subject", seed).place(one, None) for one in rows] for seed in range(3)]
    assert dealt[0] != dealt[1] != dealt[2] != dealt[0]


def test_who_has_no_subject_counts_by_film_or_picture() -> None:
    deal = Dealing("subject", 0)
    assert deal.group(row("a.mp4", frame=1)) == deal.group(row("a.mp4", frame=2)) == "a.mp4"
    assert deal.group(row("a.jpg", video="v")) == "v"
    assert Dealing("image", 0).group(row("a.mp4", video="v")) == "v"  # frames of a film are alike
    assert Dealing("image", 0).group(row("a.jpg", video="v")) == "a.jpg"


def test_a_given_split_is_never_made_up() -> None:
    deal = Dealing("given", 0)
    assert deal.place(row(), "test") == ("test", None)
    assert deal.place(row(fold=0), None) == ("val", 0)
    assert deal.place(row(fold=3), None) == ("train", 3)
    assert deal.place(row(fold=3), "val") == ("val", 3)
    with pytest.raises(ValueError, match="it has no split; write one, or pass"):
        deal.place(row(), None)


@pytest.mark.parametrize(
    ("asked", "roles", "folders", "by"),
    [
        (None, [{"split": "s", "subject": "p"}], False, "given"),
        (None, [{"fold": "f"}], False, "given"),  # folds without splits are splits
        (None, [{}, {}], True, "given"),
        (None, [{"subject": "p"}, {"subject": "p"}], False, "subject"),
        (None, [{"subject": "p"}, {"subject": "p", "split": "s"}], False, "given"),
        (None, [{"video": "v"}], False, "video"),
        (None, [{}], False, "image"),
        ("video", [{}], False, "video"),
        ("image", [{"split": "s"}], False, "image"),
    ],
)
def test_the_way_is_the_one_asked_for_or_the_safest(asked, roles, folders, by) -> None:
    assert dealing(asked, 0, roles, folders).by == by


def test_what_stands_in_no_column_is_not_dealt_by() -> None:
    with pytest.raises(ValueError, match=r"split=subject: no column holds subject; name it with"):
        dealing("subject", 0, [{"video": "v"}], False)
    with pytest.raises(ValueError, match=r"split=given: no column holds split or fold"):
        dealing("given", 0, [{}], False)
