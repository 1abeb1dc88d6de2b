"""The order of an epoch: a bijection, seeded, elastic, open at any step."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.order import BLOCK, WINDOW, Groups, Order, permuted

KINDS = ("global", "blocks")


def epoch_of(order: Order, epoch: int = 0) -> np.ndarray:
    return order.positions(epoch, np.arange(order.length))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20_000), st.integers(0, 2**40), st.integers(0, 1000), st.sampled_from(KINDS))
def test_an_epoch_visits_each_sample_once(length, seed, epoch, kind):
    order = Order(length=length, batch_size=1, seed=seed, kind=kind)
    assert np.array_equal(np.sort(epoch_of(order, epoch)), np.arange(length))


@pytest.mark.parametrize("length", [3, 4, 5])
def test_every_order_of_a_few_samples_is_equally_likely(length):
    keys = np.random.default_rng(0).integers(0, 2**64, (1_800, 16), dtype=np.uint64).tolist()
    count = Counter(tuple(permuted(np.arange(length), length, tuple(key))) for key in keys)
    orders = list(itertools.permutations(range(length)))
    expected = len(keys) / len(orders)
    chi2 = sum((count[order] - expected) ** 2 / expected for order in orders)
    freedom = len(orders) - 1
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)  # five standard deviations


@pytest.mark.parametrize("kind", KINDS)
def test_any_sample_may_come_at_any_time(kind):
    """Over many epochs each sample's mean place is the middle: no sample is favoured."""
    order = Order(length=1000, batch_size=1, kind=kind)
    mean = np.mean([np.argsort(epoch_of(order, epoch)) for epoch in range(400)], axis=0)
    # a place is uniform: its mean over 400 epochs has sigma 289 / 20 = 14.4; 5 sigma.
    # blocks of 1000 samples are one window
    assert np.abs(mean - 499.5).max() < 72


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_and_seeds_differ_and_repeat(kind):
    order = Order(length=5000, batch_size=1, kind=kind)
    other = Order(length=5000, batch_size=1, kind=kind, seed=1)
    assert np.array_equal(epoch_of(order, 3), epoch_of(order, 3))
    for different in (epoch_of(order, 4), epoch_of(other, 3)):
        assert (different == epoch_of(order, 3)).mean() < 0.01  # chance agrees on one in 5000


def test_shuffle_quality_is_what_the_docstring_says():
    n = 20 * BLOCK * WINDOW // 4
    far = {kind: epoch_of(Order(length=n, batch_size=1, kind=kind)) for kind in KINDS}
    for places in far.values():
        assert np.abs(places - np.arange(n)).mean() / n == pytest.approx(1 / 3, abs=0.08)
    gap = {kind: np.abs(np.diff(np.argsort(order))).mean() for kind, order in far.items()}
    assert gap["global"] / n == pytest.approx(1 / 3, abs=0.01)
    assert gap["blocks"] == pytest.approx(BLOCK * WINDOW / 3, rel=0.1)


def test_blocks_read_few_places_at_a_time():
    places = epoch_of(Order(length=100_000, batch_size=1, kind="blocks"))
    assert len(np.unique(places[: BLOCK * WINDOW] // BLOCK)) in (WINDOW, WINDOW + 1)


@given(st.integers(1, 500), st.sampled_from([1, 2, 4, 7]), st.booleans(), st.sampled_from(KINDS))
def test_the_sequence_of_global_batches_is_the_same_for_every_world_size(length, world, drop, kind):
    batch = 28  # divides by 1, 2, 4 and 7
    if drop and length < batch:
        return
    fields = {"length": length, "batch_size": batch, "drop_last": drop, "kind": kind}
    whole = Order(**fields).at(2, 0, Order(**fields).steps)
    ranks = [Order(**fields, rank=r, world_size=world) for r in range(world)]
    parts = [order.at(2, 0, order.steps) for order in ranks]
    assert len({part.positions.shape for part in parts}) == 1
    for field in range(3):
        joined = np.concatenate([part[field] for part in parts], axis=1)
        assert np.array_equal(joined, whole[field])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200), st.sampled_from([1, 2, 4, 7]))
def test_evaluation_counts_each_sample_once(length, world):
    seen = np.concatenate(
        [
            part.positions[part.mask]
            for rank in range(world)
            for order in [
                Order(
                    length=length, batch_size=28, shuffle=False, drop_last=False,
                    rank=rank, world_size=world,
                )
            ]
            for part in [order.at(0, 0, order.steps)]
        ]
    )  # fmt: skip
    assert np.array_equal(np.sort(seen), np.arange(length))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_can_be_asked_for_alone(kind):
    order = Order(length=40_000, batch_size=10, kind=kind)
    together = order.at(1, 1630, 20)
    for step in range(20):
        alone = order.at(1, 1630 + step)
        assert np.array_equal(alone.positions[0], together.positions[step])
        assert np.array_equal(alone.places[0], together.places[step])


@pytest.mark.parametrize("kind", ["global", "blocks"])
def test_a_step_is_its_row_of_all_steps_and_its_owner_may_write_to_it(kind):
    order = Order(length=1000, batch_size=24, kind=kind, rank=1, world_size=2, drop_last=False)
    together = order.at(3, 0, order.steps)
    for step in (*range(order.steps), 0, order.steps - 1):
        alone = order.step(3, step)
        for one, all_of_them in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, all_of_them[step])
            one[:] = 0


def test_training_drops_other_samples_in_each_epoch():
    order = Order(length=103, batch_size=10)
    left_out = [set(range(103)) - set(order.at(e, 0, 10).positions.ravel()) for e in range(5)]
    assert all(len(out) == 3 for out in left_out)
    assert len({tuple(sorted(out)) for out in left_out}) > 1


def letters(codes: np.ndarray) -> Groups:
    return Groups.of("letter", [chr(97 + c) for c in range(codes.max() + 1)], codes)


LETTERS = letters(np.arange(100) % 3)
CODES = st.lists(st.integers(-1, 6), min_size=1, max_size=300).filter(lambda codes: max(codes) >= 0)


def drawn_in(order: Order, epoch: int) -> np.ndarray:
    """The samples of an epoch's batches, as `steps` gives them out."""
    steps = order.at(epoch, 0, order.steps)
    return steps.positions[steps.mask]


@settings(max_examples=60, deadline=None)
@given(CODES, st.integers(1, 40), st.integers(0, 2**40), st.booleans())
def test_every_group_is_drawn_equally_often_and_so_is_every_sample_of_it(codes, batch, seed, drop):
    """All counts are exact: they are of consecutive numbers dealt out in turn."""
    codes = np.array(codes)
    batch = min(batch, len(codes))
    order = Order(
        length=len(codes), batch_size=batch, seed=seed, drop_last=drop, groups=letters(codes)
    )
    found = np.unique(codes[codes >= 0])
    alone, whole = (codes < 0).sum() * order.drawn / len(codes), np.zeros(len(codes), int)
    for epoch in range(5):
        drawn = drawn_in(order, epoch)
        assert len(drawn) == order.drawn
        whole += np.bincount(drawn, minlength=len(codes))
        counts = np.bincount(codes[drawn] + 1, minlength=8)
        assert abs(counts[0] - alone) < 1
        grouped = counts[1:][found]
        assert grouped.max() - grouped.min() <= 1
        of_groups = np.bincount(codes, whole, minlength=7)[found] if not alone else grouped
        assert of_groups.max() - of_groups.min() <= 1
        for code in np.unique(codes):
            assert np.ptp(whole[codes == code]) <= 1


@given(CODES, st.sampled_from([1, 2, 4, 7]), st.booleans())
def test_balanced_batches_are_the_same_for_every_world_size_and_open_at_any_step(
    codes, world, drop
):
    codes = np.array(codes * (1 + 27 // len(codes)))
    fields = {
        "length": len(codes), "batch_size": 28, "drop_last": drop, "groups": letters(codes),
    }  # fmt: skip
    whole = Order(**fields).at(2, 0, Order(**fields).steps)
    ranks = [Order(**fields, rank=r, world_size=world) for r in range(world)]
    for step in (len(whole.mask) - 1, 0):
        joined = [
            np.concatenate(parts) for parts in zip(*(r.step(2, step) for r in ranks), strict=True)
        ]
        for one, all_of_them in zip(joined, whole, strict=True):
            np.testing.assert_array_equal(one, all_of_them[step])


def test_balanced_epochs_and_seeds_differ_and_repeat():
    order, other = (Order(length=100, batch_size=1, seed=s, groups=LETTERS) for s in (0, 1))
    assert np.array_equal(drawn_in(order, 3), drawn_in(order, 3))
    for different in (drawn_in(order, 4), drawn_in(other, 3)):
        assert (different == drawn_in(order, 3)).mean() < 0.1  # chance agrees on one in 100


def test_every_passage_of_a_small_group_takes_another_order():
    """A group of three among four draws is passed through once an epoch: all orders, all likely."""
    order = Order(length=6, batch_size=6, groups=letters(np.array([0, 0, 0, 1, 1, 1])))
    epochs = [drawn_in(order, epoch) for epoch in range(3_000)]
    first = Counter(tuple(drawn[drawn < 3]) for drawn in epochs)
    chi2 = sum((n - 500) ** 2 / 500 for n in first.values())
    assert len(first) == 6 and chi2 < 5 + 5 * np.sqrt(10)  # five standard deviations
    places = Counter(tuple(np.flatnonzero(drawn < 3)) for drawn in epochs)
    assert len(places) == 20 and sum((n - 150) ** 2 / 150 for n in places.values()) < 19 + 31


def test_a_late_epoch_of_three_million_samples_is_open_at_any_step():
    """No table of an epoch: a step's arrays are of the batch's size, whatever the length."""
    codes = np.arange(3_000_000) % 100
    order = Order(length=len(codes), batch_size=256, groups=letters(codes))
    tracemalloc.start()
    counts = np.bincount(codes[order.step(10_000, 11_000).positions])
    assert tracemalloc.get_traced_memory()[1] < 10e6  # 16 steps of some arrays; one of all is 24e6
    tracemalloc.stop()
    assert counts.sum() == 256


def test_what_is_expected_is_what_is_drawn():
    codes = np.repeat([-1, 0, 1], [5, 90, 10])
    order = Order(length=105, batch_size=10, groups=letters(codes))
    expected = order.expected()
    assert [(name, n) for name, n, _ in expected] == [("a", 90), ("b", 10), ("no value", 5)]
    counts = [np.bincount(codes[drawn_in(order, e)] + 1, minlength=3) for e in range(21)]
    np.testing.assert_allclose(
        np.roll(np.mean(counts, 0), -1), [n for *_, n in expected], atol=0.05
    )
    assert Order(length=105, batch_size=10).expected() == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 10, "world_size": 4}, "does not divide into 4 equal parts"),
        ({"batch_size": 101}, "do not fill one batch"),
        ({"batch_size": 10, "length": 0}, "selection is empty"),
        ({"batch_size": 10, "rank": 1}, "rank 1 is not below world size 1"),
        ({"batch_size": 10, "kind": "random"}, "choose 'global' or 'blocks'"),
        ({"batch_size": 10, "seed": -1}, "seed -1"),
        ({"batch_size": 10, "groups": LETTERS, "shuffle": False}, "drawn from everywhere"),
        ({"batch_size": 10, "groups": LETTERS, "kind": "blocks"}, "drawn from everywhere"),
    ],
)
def test_impossible_orders_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Order(**{"length": 100, **fields})
