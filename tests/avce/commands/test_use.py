"""Words of `predict` that cannot be meant are refused; the starter speaks where nobody else can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from avce.commands.use import Frames, Result, newest
from avce.config import STARTER
from avce.inference.predictor import Predictor


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: Frames(fps=0.0).value(), "--fps 0: no frame"),
        (lambda: Frames(fps=2.0, stride=2).value(), "give one of them"),
        (lambda: Frames(start=3.0, end=3.0).value(), "--end 3 is not behind --start 3"),
        (lambda: Result(smooth=0.0).check(), "seconds above 0"),
        (lambda: Result(to=Path("o.csv"), as_json=True).check(), "--json is for stdout"),
        (lambda: Result(to=Path("o.arrow"), wide=True).check(), "a CSV file"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(asked, said):
    with pytest.raises(typer.BadParameter, match=said):
        asked()


def test_where_nothing_was_trained_the_starter_speaks_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert newest() == STARTER
    assert "the starter speaks, which was trained on drawn faces alone" in capsys.readouterr().err
    (tmp_path / "runs/broken").mkdir(parents=True)
    (tmp_path / "runs/broken/run.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        newest()


def test_the_starter_reads_a_face():
    faces = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    predictor = Predictor.load(STARTER, device="cpu")
    assert np.isfinite(predictor(list(faces))).all() and predictor.config.image_size == 112
    assert STARTER.stat().st_size < 12e6 and (STARTER.parent / "MODEL_CARD.md").is_file()


def test_a_link_to_itself_is_left_out_and_no_bug(tmp_path, monkeypatch):
    """`resolve` raises a RuntimeError for it; in a folder it costs a line, by name a sentence."""
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "face.png")
    command = [sys.executable, "cli.py", "predict", "--run", str(STARTER), "--faces", "whole"]
    command += ["--save-crops", str(tmp_path / "crops"), "--out"]
    out = subprocess.run(
        [*command, str(tmp_path / "o.csv"), str(tmp_path)], capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    assert f"symbolic links): 1, such as {tmp_path / 'loop.jpg'}" in out.stderr
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 2
    assert f"predicting by {STARTER}, weights model.safetensors\n" in out.stderr  # of no known step
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    out = subprocess.run(
        [*command, str(tmp_path / "loop.csv"), str(tmp_path)], capture_output=True, text=True
    )
    assert out.returncode == 1 and "loop.csv: is a link to itself" in out.stderr
