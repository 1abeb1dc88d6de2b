"""What is certified behind a training, by the real process: all, and nothing is lost count of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from avce.layers import SimplexMap, SoftMax, SparseMax, softmax
from avce.ranks import Ranks
from avce.training.audit import _PLACES, Audit
from avce.training.record import Audited


@contextmanager
def auditing(share: float = 1.0, before: Audited | None = None) -> Iterator[Audit]:
    layers: list[SimplexMap] = [SparseMax(4), SoftMax(4)]
    audit = Audit(layers, share, Ranks(), before)
    audit.open()
    try:
        yield audit
    finally:
        audit.close()


def steps(audit: Audit, count: int, rows: int = 5) -> None:
    generator = torch.Generator().manual_seed(0)
    for step in range(1, count + 1):
        audit.at(step, torch.arange(rows) + 100)
        for layer in audit.layers:
            layer(torch.randn(rows, 4, generator=generator))


def test_all_rows_are_certified_and_a_session_before_counts():
    before = Audited(step=7, rows=30, waiting=4, left_out=1, largest_difference=2e-7)
    with auditing(before=before) as audit:
        steps(audit, 3)
        audit.drain(120.0)
        found = audit.close()
    assert found is not None and found.step == 3 and found.warning is None
    assert (found.rows, found.left_out, found.waiting) == (30 + 3 * 2 * 5, 1 + 4, 0)
    assert 2e-7 <= (found.largest_difference or 0) < 1e-6  # float32 rows against float64 solutions


def test_a_share_of_the_rows_is_drawn_and_rows_without_solution_are_left_out():
    with auditing(share=0.5) as audit:
        steps(audit, 1, rows=200)
        audit.layers[0](torch.full((40, 4), torch.nan))
        audit.drain(120.0)
        found = audit.close()
    assert found is not None
    assert 140 < found.rows < 260  # 200 +- 10 of 400
    assert 5 < found.left_out < 35


def test_a_wrong_closed_form_is_found_and_named(monkeypatch):
    monkeypatch.setattr(SparseMax, "closed", staticmethod(softmax))
    with auditing() as audit:
        steps(audit, 2)
        audit.drain(120.0)
        assert audit.gauges()["audit"] > 0.01
        told = audit.news()
    assert told and "in step 1 SparseMax gave row" in told and "of the index)" in told
    assert audit.news() is None
    row, name = (int(told.split(word)[1].split()[0].rstrip(")")) for word in ("gave row", "(row"))
    assert name == row + 100


def test_the_step_never_waits_and_what_has_no_place_is_left_out():
    with auditing() as audit:
        assert audit.certifier is not None
        os.kill(audit.certifier.process.pid, signal.SIGSTOP)
        steps(audit, _PLACES)  # twice as many batches as there are places; one is being asked for
        found = audit.total
        assert found is not None and found.rows == 0
        assert found.waiting in (5 * _PLACES, 5 * (_PLACES + 1))
        assert found.waiting + found.left_out == 2 * _PLACES * 5
        found = audit.close()  # it ends one that does not answer
    assert found is not None and (found.rows, found.left_out) == (0, 2 * _PLACES * 5)


def test_training_outlives_its_certifier():
    with auditing() as audit:
        assert audit.certifier is not None
        os.kill(audit.certifier.process.pid, signal.SIGKILL)
        steps(audit, 2)
        assert audit.drain(120.0) < 60
        found = audit.total
    assert found is not None and (found.rows, found.left_out) == (0, 20)
    assert found.warning and "its process ended near step" in found.warning


@pytest.mark.parametrize("before", [None, Audited(step=7, rows=30)])
def test_without_a_share_there_is_no_process_and_no_word(before):
    with auditing(share=0.0, before=before) as audit:
        steps(audit, 1)
        assert audit.certifier is None and all(layer.sink is None for layer in audit.layers)
        assert audit.gauges() == {} and audit.news() is None
    assert audit.close() == before
