"""Batches from any place in an epoch, whether their loader can say where it stands or not."""

from __future__ import annotations

import time

import pytest

from avce.training.feed import Feed
from tests.avce.toy import ToyBatches


def test_a_plain_list_goes_on_by_skipping():
    feed = Feed(list("abcde"))
    assert "".join(feed) == "abcde"
    for step, rest in ((0, "abcde"), (2, "cde"), (5, "abcde"), (13, "de")):
        feed.go_to(step, {})
        assert "".join(feed) == rest
        assert "".join(feed) == "abcde"  # the next epoch is whole
    assert feed.state() == {}


@pytest.mark.parametrize("step", [0, 1, 5])
def test_a_loader_that_knows_its_place_is_asked(step: int):
    one, other = ToyBatches(), ToyBatches()
    feed = Feed(one)
    for _, _ in zip(range(step), feed, strict=False):
        pass
    stood = feed.state()
    moved = Feed(other)
    moved.go_to(step, stood)
    assert moved.state() == stood and moved.skip == 0
    rest = list(moved)
    assert len(rest) == len(other) - stood["step"]


def test_waiting_is_added_up():
    class Slow(list):
        def __iter__(self):
            for item in super().__iter__():
                time.sleep(0.01)
                yield item

    feed = Feed(Slow("abc"))
    assert list(feed) == ["a", "b", "c"] and 0.03 <= feed.waited < 1


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="train has no batches; is the batch size larger"):
        Feed([])
