"""What is exported predicts what the run predicts, and its card says what it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avce import RECIPES, build_method
from avce.config import with_settings
from avce.inference.export import export, model_card
from avce.inference.predictor import Predictor
from avce.inference.sinks import sink_for
from avce.inference.stream import predict_to
from avce.inference.video import Frame
from avce.scores.intervals import assess
from avce.scores.predictions import tabled
from avce.training.checkpoint import as_safetensors
from avce.training.record import RunRecord

CONFIG = with_settings(RECIPES["demo"], ["image_size=64"])
SCORES = {"n": 9} | {
    axis: {"rmse": 0.3, "sagr": 0.8, "pcc": 0.7, "ccc": None} for axis in ("valence", "arousal")
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    facts = {
        "config": CONFIG.to_dict(),
        "git_commit": "abc",
        "shards": {"folders": ["data/shards/affectnet"], "digest": "d1", "crop": {"size": 72}},
        "scores": {"best": SCORES},
    }
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "best.safetensors").write_bytes(as_safetensors(build_method(CONFIG).state_dict()))
    return folder


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (72, 72, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture(scope="module")
def expected(run, pictures) -> np.ndarray:
    return Predictor.load(run, device="cpu")(pictures)


def test_safetensors_load_back_in_one_line(run, pictures, expected, tmp_path):
    files = export(run, tmp_path)
    assert [file.name for file in files] == ["model.safetensors", "MODEL_CARD.md"]
    again = Predictor.load(tmp_path, device="cpu")
    np.testing.assert_array_equal(again(pictures), expected)
    assert again.framing.size == 72


def test_onnx_predicts_the_same_for_any_batch(run, pictures, expected, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    path, _ = export(run, tmp_path, format="onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["avce"])
    prepared = Predictor.load(run, device="cpu").prepare
    mean, std = (np.float32(facts["input"][name]) for name in ("mean", "std"))
    image = (np.stack([prepared(p) for p in pictures]).astype(np.float32) / 255 - mean) / std
    for n in (1, 2, 3):
        (found,) = session.run(None, {"image": image[:n].transpose(0, 3, 1, 2)})
        np.testing.assert_allclose(found, expected[:n], atol=1e-4)


def test_the_default_place_is_inside_the_run(run):
    assert export(run)[0] == run / "export" / "model.safetensors"


def test_the_card_has_terms_crop_scores_and_limits(run):
    card = (export(run)[1]).read_text()
    for words in (
        "digest d1",
        "not commercial",
        "order RGB",
        "resized to 72 pixels",
        "0.485, 0.456, 0.406",
        "| valence | 0.300 | 0.800 | 0.700 | undefined |",
        "without intervals",
        "cannot be read from a face alone",
    ):
        assert words in card


def test_the_card_has_intervals_when_they_are_known():
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, (60, 2)).astype(np.float32)
    table = tabled(np.arange(60), target + 0.1, target)
    scores = assess(table, resamples=50).as_dict()
    card = model_card(RunRecord(config=CONFIG), scores=scores)
    low, high = scores["intervals"]["ccc"][0]
    assert f"[{low:.3f}, {high:.3f}]" in card and "95 % bootstrap" in card


def test_a_card_of_a_run_without_scores_says_so():
    assert "before it was evaluated" in model_card(RunRecord(config=CONFIG))
    classes = with_settings(CONFIG, ["task=expression", "classes=7"])
    assert "Accuracy 0.500, n = 4." in model_card(
        RunRecord(config=classes), scores={"accuracy": 0.5, "n": 4}
    )


OWN = {"shards": {"classes": ["bored", "calm", "joy"]}}


@pytest.mark.parametrize(("column", "names"), [("expression_raw", "bored"), ("expression", "neut")])
def test_classes_keep_their_names_from_the_run_to_the_results(column, names, tmp_path):
    changes = ["task=expression", "classes=3", f"class_column={column}"]
    config = with_settings(CONFIG, changes)
    (tmp_path / "run").mkdir()
    torch.manual_seed(0)
    facts = {"config": config.to_dict(), **OWN}
    (tmp_path / "run/run.json").write_text(json.dumps(facts))
    weights = as_safetensors(build_method(config).state_dict())
    (tmp_path / "run/best.safetensors").write_bytes(weights)
    classes = Predictor.load(tmp_path / "run", device="cpu").facts["classes"]
    assert len(classes) == 3 and classes[0].startswith(names)
    _, card = export(tmp_path / "run", tmp_path / "out")
    assert f"logit of {classes[0]}, logit of {classes[1]}" in card.read_text()
    again = Predictor.load(tmp_path / "out", device="cpu")
    assert again.facts["classes"] == classes
    sink = sink_for(tmp_path / "seen.csv", config, again.facts)
    picture = np.zeros((72, 72, 3), np.uint8)
    predict_to(sink, again, [Frame(picture, "a.png")])
    lines = (tmp_path / "seen.csv").read_text().splitlines()
    (row,) = csv.DictReader(line for line in lines if not line.startswith("#"))
    assert row["class"] == classes[int(row["expression"])]
