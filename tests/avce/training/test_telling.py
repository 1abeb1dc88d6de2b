"""What is told: waiting is the host's for batches, and only who listens hears of news."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch

from avce.training.journal import read_log
from avce.training.trainer import fit
from tests.avce.toy import ToyBatches, ToyMethod
from tests.avce.training.one_run import CONFIG, SlowBatches


class SlowMethod(ToyMethod):
    """Computes for a while, which is no waiting for batches."""

    def forward(self, image: torch.Tensor, target: torch.Tensor, phase: str) -> Any:
        time.sleep(0.02)
        return super().forward(image, target, phase)


def test_waiting_is_for_batches_and_not_for_the_step(tmp_path):
    config = replace(CONFIG, epochs=1, log_every=2)
    slow = SlowBatches()
    slow.pause = 0.02
    for run, method, train in (
        ("compute", SlowMethod(), ToyBatches()),
        ("batches", ToyMethod(), slow),
    ):
        fit(method, config, train, list(ToyBatches(16, 8, seed=1)), run=tmp_path / run)
    waits = {
        run: [r["wait_ms"] for r in read_log(tmp_path / run / "log.jsonl") if "losses" in r]
        for run in ("compute", "batches")
    }
    assert all(ms >= 20 for ms in waits["batches"])  # each batch sleeps so long
    assert min(waits["compute"]) < 20  # each step sleeps twice as long and is not counted


def test_a_long_evaluation_is_told_of_and_not_logged(tmp_path):
    val = SlowBatches(32, 8, seed=1)
    val.pause = 0.6
    heard: list[dict[str, Any]] = []
    fit(ToyMethod(), replace(CONFIG, epochs=1, eval_every=0), ToyBatches(), val, run=tmp_path,
        progress=heard.append)  # fmt: skip
    news = [record for record in heard if "evaluated" in record]
    assert news and all(0 < r["evaluated"] <= r["batches"] == 4 for r in news)
    assert not any("evaluated" in record for record in read_log(tmp_path / "log.jsonl"))
