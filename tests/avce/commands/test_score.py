"""`eval` of models made elsewhere, on shards of drawn faces."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import cli
from avce import RECIPES, build_method
from avce.commands import terminal
from avce.config import with_settings
from avce.inference.export import export
from avce.scores.predictions import read_predictions
from avce.training.checkpoint import as_safetensors
from tests.pipelines.conftest import write

CONFIG = with_settings(RECIPES["demo"], ["image_size=64", "batch_size=16"])
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Shards, a run of random weights beside them, and its ONNX twin."""
    place = tmp_path_factory.mktemp("scored")
    write(place / "shards", range(40))
    torch.manual_seed(0)
    facts = {"config": CONFIG.to_dict(), "shards": {"folders": [str(place / "shards")]}}
    run = place / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps(facts))
    (run / "best.safetensors").write_bytes(as_safetensors(build_method(CONFIG).state_dict()))
    export(run, place, format="onnx")
    return place


@pytest.fixture
def type_in(place, monkeypatch, capsys):
    def typed(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(place)
        monkeypatch.setattr(terminal.err, "width", 400, raising=False)
        monkeypatch.setattr(sys, "argv", ["cli.py", "eval", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
            sys.exit(0)
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return typed


def test_a_run_and_its_onnx_twin_score_alike_in_one_table(type_in):
    """Within what export allows between torch and ONNX Runtime, 1e-4 a prediction."""
    code, out, err = type_in("run", "--onnx", "model.onnx", "--save", "both.arrow", "--json")
    assert code == 0, err
    found = json.loads(out)
    ours, theirs = found["runs"]
    assert (ours["name"], theirs["name"]) == ("run", "model.onnx")
    assert ours["n"] == theirs["n"] and found["foreign"]["outputs"] == "valence=0,arousal=1"
    for metric, values in ours["intervals"].items():
        np.testing.assert_allclose(theirs["intervals"][metric], values, atol=1e-2)
    np.testing.assert_allclose(
        theirs["valence"]["rmse"], ours["valence"]["rmse"], atol=1e-4, rtol=0
    )
    table = read_predictions("both.arrow")
    assert set(table["part"].to_pylist()) == {"run", "model.onnx"}
    assert b"sha256" in table.schema.metadata.get(b"avce", b"")


def test_alone_it_needs_shards_and_no_run(type_in):
    words = ("--onnx", "model.onnx", "--outputs", "valence=1,arousal=0", "--normalise", "half")
    code, _, err = type_in(*words)
    assert code == 2 and "--shards" in err
    code, out, err = type_in(*words, "--shards", "shards")
    assert code == 0, err
    assert "model.onnx" in out and "±" in out
    code, out, err = type_in(*words, "--shards", "shards", "--split", "zzz")
    assert code == 2 and "there is no split" in err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("--outputs valence=8,arousal=9", 2, "has no output 8"),
        ("--outputs valence=8", 2, "valence=8,arousal=9"),
        ("--normalise zzz", 2, "imagenet, half"),
        ("--save model.onnx", 1, "name another place"),
        ("--onnx none.onnx", 1, "none.onnx does not exist"),
        ("--onnx shards/labels.arrow", 1, "not read as an ONNX model"),
    ],
)
def test_wrong_words_are_said_of_the_word(words, code, sentence, type_in):
    found, out, err = type_in("run", "--onnx", "model.onnx", *words.split())
    assert (found, out) == (code, ""), err
    assert sentence in err and "Traceback" not in err


def test_outputs_without_a_model_are_wrong_usage(type_in):
    code, _, err = type_in("run", "--outputs", "valence=8,arousal=9")
    assert code == 2 and "--onnx" in err
