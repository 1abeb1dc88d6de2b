"""A run with random weights, and its predictor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from avce import build_method
from avce.inference.predictor import Predictor
from avce.training.checkpoint import as_safetensors
from tests.avce.inference.drawn import CONFIG


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with random weights and the crop of its shards."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    weights = build_method(CONFIG).state_dict()
    shards = {"crop": {"margin": 0.1, "size": 80}}
    facts = {"config": CONFIG.to_dict(), "shards": shards, "scores": None}
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "best.safetensors").write_bytes(as_safetensors(weights))
    return folder


@pytest.fixture(scope="module")
def predictor(run) -> Predictor:
    return Predictor.load(run, device="cpu")
