"""The whole chain, shards to DALI to AVCE, stopped in the middle and gone on with, bit for bit."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from avce import RECIPES, build_method, fit
from avce.training.journal import read_log
from avce.training.trainer import Interrupted
from pipelines import Augment, batches
from shards import LabelIndex
from tests.pipelines.conftest import write

# dropout of the paper, so that torch's generator matters; colours, so that the loader's does too
CONFIG = replace(
    RECIPES["paper"],
    weights="none",
    image_size=64,
    epochs=2,
    batch_size=16,
    log_every=1,
    log_with="none",
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    return write(tmp_path_factory.mktemp("shards"))


def train(index: LabelIndex, run: Path, **options: Any) -> None:
    """Build everything anew, as another process would."""
    augment = Augment(brightness=0.2, contrast=0.2)
    stream = batches(index.where(split="train"), 16, augment=augment, image_size=64, threads=1)
    val = batches(index.where(split="val"), 16, image_size=64, threads=1)
    fit(build_method(CONFIG), CONFIG, stream, val, run=run, **options)
    stream.close()
    val.close()


@pytest.fixture(scope="module")
def whole(index: LabelIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(index, run)
    return run


@pytest.mark.parametrize("stop", [3, 5])  # inside an epoch and at the end of one
def test_a_stopped_run_ends_with_the_weights_of_one_that_never_stopped(
    index, whole, tmp_path, stop
):
    def terminate(record: dict[str, Any]) -> None:
        if record["step"] == stop - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    cut = tmp_path / "cut"
    with pytest.raises(Interrupted, match=f"stopped after step {stop}"):
        train(index, cut, progress=terminate)
    torch.rand(7)  # another process would not have this generator's past
    train(index, cut, resume=True)
    weights = [load_file(run / "last.safetensors") for run in (whole, cut)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    losses = [
        [(r["step"], r["losses"]) for r in read_log(run / "log.jsonl") if "losses" in r]
        for run in (whole, cut)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 10
