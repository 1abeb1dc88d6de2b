"""Results replace results only, and say who spoke."""

from __future__ import annotations

import csv
import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
import torch

from avce import RECIPES, build_method
from avce.config import with_settings
from avce.inference.predictor import Predictor
from avce.inference.sinks import sink_for
from avce.inference.stream import Summary, predict_to
from avce.inference.video import Frame, Skipped, video_frames
from tests.shards.test_films import film, read

CONFIG = with_settings(RECIPES["demo"], ["image_size=64"])
FACTS = {"run": "runs/a", "weights": "best", "step": 7, "detector": "mtcnn"}
SUFFIXES = [".csv", ".arrow", ".mp4", ".CSV", ".Arrow", ".MP4"]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(build_method(CONFIG).model, CONFIG)


def frames(n: int = 4, end: BaseException | None = None, source: str = "film"):
    for number in range(n):
        picture = np.full((64, 64, 3), 9 * number, np.uint8)
        yield Frame(picture, source, number, number / 10, Fraction(10))
    if end is not None:
        raise end


def said(predictor: Predictor, path: Path, *args, **kwargs) -> Summary:
    sink = sink_for(path, CONFIG, FACTS)
    return predict_to(sink, predictor, frames(*args, **kwargs), batch_size=2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_result_replaces_another(predictor, tmp_path, suffix):
    path = tmp_path / f"keep{suffix}"
    path.write_bytes(b"before")
    assert said(predictor, path).kept == path
    assert path.read_bytes() != b"before" and not list(tmp_path.glob("*part*"))


def test_without_a_path_the_lines_go_to_stdout_alone(predictor, tmp_path, monkeypatch):
    shown, empty = tmp_path / "shown", tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with shown.open("w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        done = predict_to(sink_for(None, CONFIG, FACTS), predictor, frames(), batch_size=2)
    lines = list(csv.DictReader(shown.read_text().splitlines()))
    assert [line["frame"] for line in lines] == ["0", "1", "2", "3"]
    assert done.kept is None and not list(empty.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_what_ends_early_leaves_the_result_of_before(predictor, tmp_path, suffix, kind):
    path, end = tmp_path / f"keep{suffix}", kind("pulled out")
    path.write_bytes(b"before")
    beside = tmp_path / f"keep.partial{suffix}"
    if kind is OSError:
        with pytest.raises(OSError, match="pulled out") as caught:
            said(predictor, path, end=end)
        assert str(beside) in caught.value.__notes__[0]
    else:
        assert str(beside) in str(said(predictor, path, end=end))
    assert path.read_bytes() == b"before" and beside.stat().st_size
    assert not [*tmp_path.glob("*.part"), *tmp_path.glob("*.part.*")]


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
@pytest.mark.parametrize("kind", [None, KeyboardInterrupt, OSError])
def test_nothing_predicted_writes_nothing(predictor, tmp_path, suffix, kind):
    path, end = tmp_path / f"keep{suffix}", kind and kind("gone")
    path.write_bytes(b"before")
    sink = sink_for(path, CONFIG, FACTS)
    none = np.zeros((0, 5), np.float32)
    try:
        predict_to(sink, predictor, frames(2, end), find=lambda _: none)
    except (ValueError, OSError):
        assert kind is not KeyboardInterrupt
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]


def test_a_camera_is_whole_wherever_it_is_stopped(predictor, tmp_path):
    path = tmp_path / "me.mp4"
    path.write_bytes(b"before")
    done = said(predictor, path, end=KeyboardInterrupt(), source="/dev/video0")
    assert done.kept == path and len(read(path)[0]) == 4


def test_every_result_says_who_spoke(predictor, tmp_path):
    for suffix in SUFFIXES[:3]:
        said(predictor, tmp_path / f"o{suffix}")
    with pa.memory_map(str(tmp_path / "o.arrow")) as source:
        schema = pa.ipc.open_file(source).schema
    with av.open(str(tmp_path / "o.mp4")) as container:
        comment = container.metadata["comment"]
    beside = (tmp_path / "o.csv.json").read_text()
    for facts in (schema.metadata[b"avce"], comment, beside):
        assert json.loads(facts) == FACTS


def test_cells_are_no_formulas(predictor, tmp_path):
    names = ["=HYPERLINK(1).png", "+x.png", "-x.png", "@x.png", "\t=x.png", "plain.png"]
    pictures = [Frame(np.zeros((64, 64, 3), np.uint8), name) for name in names]
    predict_to(sink_for(tmp_path / "o.csv", CONFIG), predictor, pictures)
    with open(tmp_path / "o.csv", newline="", encoding="utf-8") as file:
        cells = [line["source"] for line in csv.DictReader(file)]
    assert cells[:4] == [f"'{name}" for name in names[:4]] and cells[5] == "plain.png"
    assert cells[4][0] not in "\t=+-@\r"


def test_the_annotated_film_keeps_times_sound_and_shape(predictor, tmp_path):
    source = film(
        tmp_path / "v.mp4", n=50, sound=True, turn=(90, False), ticks=[*range(10), 40, 49]
    )
    given = list(video_frames(source, Skipped()))
    predict_to(sink_for(tmp_path / "o.mp4", CONFIG), predictor, given)
    pictures, _, times, _ = read(tmp_path / "o.mp4")
    np.testing.assert_allclose(times, [frame.time for frame in given], atol=1e-4)
    assert pictures[0].shape == given[0].picture.shape == (128, 96, 3)
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert len(container.streams.audio) == 1


def test_a_folder_is_no_output(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; name a file in it .*seen\.csv"):
        sink_for(tmp_path, CONFIG)
