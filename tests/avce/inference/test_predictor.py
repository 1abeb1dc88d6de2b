"""What is predicted is what evaluation would say, of anything that holds pictures."""

from __future__ import annotations

import csv
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from avce import build_method
from avce.config import with_settings
from avce.inference.predictor import Predictor, boxes_of
from avce.inference.sinks import CsvSink, FilmSink, sink_for
from avce.inference.sources import encoded_frames, frames_of
from avce.inference.stream import predict_stream, predict_to
from avce.inference.video import Frame, Skipped
from avce.scores.evaluate import device_of, predict_batches
from avce.training.checkpoint import as_safetensors
from avce.training.record import RunRecord, Shards
from pipelines import batches
from pipelines.pixels import central
from shards import Crop, LabelIndex, Sample, finder, write_shards
from shards import crop as shards_crop
from shards.image import Unreadable
from tests.avce.inference.drawn import CONFIG, SIZE, film, in_the_middle, picture, png
from tests.devices import DEVICES

# -------------------------------------------------------------------------- the preprocessing


@pytest.mark.parametrize("stored", [64, 73, 96])
def test_it_sees_what_evaluation_sees(predictor, tmp_path, stored):
    samples = [
        (
            Sample(
                key=f"k{n}",
                original_path=f"{n}.png",
                dataset="affectnet",
                variant="drawn",
                split="val",
                valence=0.1,
                arousal=0.1,
            ),
            png(picture(n, stored, stored)),
        )
        for n in range(5)
    ]
    index = write_shards(iter(samples), tmp_path / "shards")
    loaded = batches(index.where(split="val"), 5, image_size=SIZE)
    (said,) = predict_batches(predictor.model, loaded)
    loaded.close()
    pictures = [encoded_frames([("", index.read(row))], Skipped()) for row in said.row.tolist()]
    mine = predictor([next(frames).picture for frames in pictures])
    # a stored side of 96 is resized, where Pillow and DALI round differently by a grey level
    np.testing.assert_allclose(mine, said.preds.numpy(), atol=1e-5 if stored < 96 else 0.02)


def test_faces_are_cut_as_shards_cut_them(predictor):
    """2,000 boxes, margins and sizes, beyond the border and of a pixel: the very same array."""
    rng, source = np.random.default_rng(0), picture(0, 100, 120)
    for _ in range(2000):
        crop = Crop(margin=rng.uniform(-0.4, 2), size=int(rng.integers(16, 97)))
        at, sides = rng.uniform(-40, 110, 2), rng.choice([0.7, 3.0, 90.0]) * rng.uniform(0.4, 1, 2)
        box = (*at.tolist(), *(at + sides).tolist())
        taken = Predictor(predictor.model, predictor.config, crop)
        try:
            trained = shards_crop.cut(source, crop.upright(box), crop.size)
        except Unreadable:
            with pytest.raises(Unreadable):
                taken.prepare(source, box)
            continue
        np.testing.assert_array_equal(taken.prepare(source, box), central(trained, SIZE))


def test_the_crop_comes_from_the_run(predictor):
    assert predictor.framing == Crop(margin=0.1, size=80)


# -------------------------------------------------------------------------- the predictor


@pytest.mark.parametrize("device", DEVICES)
def test_pictures_and_tensors_agree(run, predictor, device):
    pictures = np.stack([picture(n) for n in range(3)])
    said, predictor = predictor(list(pictures)), Predictor.load(run, device=device)
    assert device_of(predictor.model).type == device
    whole = predictor(list(pictures))
    # cuDNN multiplies in TF32 (11 bits), in an algorithm that depends on the batch
    near = 1e-6 if device == "cpu" else 2e-2 * np.abs(said).max()
    np.testing.assert_allclose(whole, said, atol=near)
    assert whole.shape == (3, 2)
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device)
    np.testing.assert_array_equal(predictor(tensor), whole)
    np.testing.assert_allclose(predictor(list(pictures), batch_size=1), whole, atol=near)
    assert predictor([]).shape == (0, 2)


def test_it_leaves_the_mode_of_the_model(predictor):
    predictor.model.train()
    first = predictor([picture()])
    assert predictor.model.training
    predictor.model.eval()
    np.testing.assert_array_equal(first, predictor([picture()]))


def test_a_run_without_weights_is_named(run, tmp_path):
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"best\.safetensors does not exist"):
        Predictor.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="not a run"):
        Predictor.load(tmp_path / "none")


def test_weights_of_somewhere_else_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(as_safetensors({"a": torch.zeros(1)}))
    with pytest.raises(ValueError, match="was not written by export"):
        Predictor.load(path)


# -------------------------------------------------------------------------- sources


def test_a_folder_with_bad_files_gives_the_good_ones(predictor, tmp_path):
    (tmp_path / "a.png").write_bytes(png(picture(1)))
    (tmp_path / "b.jpg").write_text("these are not pixels")
    (tmp_path / "c.png").write_bytes(png(picture(2))[:2000])
    (tmp_path / "d.mp4").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("not listed")
    skipped = Skipped()
    found = list(predict_stream(predictor, frames_of([tmp_path], skipped), skipped=skipped))
    assert [Path(frame.source).name for frame, _ in found] == ["a.png"]
    np.testing.assert_allclose(found[0][1][0].preds, predictor([picture(1)])[0], atol=1e-6)
    assert set(skipped.counts) == {
        "not an image",
        "image cut off or damaged",
        "not a readable video",
    }


def test_what_is_not_there_is_said_first(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no image or video"):
        frames_of([tmp_path], Skipped())
    with pytest.raises(FileNotFoundError, match="does not exist"):
        frames_of([tmp_path / "none*.jpg"], Skipped())


def test_a_glob_is_sorted(tmp_path):
    for name in ("b.png", "a.png", "a.txt"):
        (tmp_path / name).write_bytes(png(picture()))
    frames = frames_of([str(tmp_path / "*.png")], Skipped())
    assert [Path(frame.source).name for frame in frames] == ["a.png", "b.png"]


def test_a_camera_that_is_not_there_is_one_sentence():
    with pytest.raises(OSError, match="camera 77"):
        list(frames_of(["77"], Skipped()))


def test_a_photo_is_turned_upright():
    image = Image.fromarray(picture(0, 40, 60))
    exif = image.getexif()
    exif[0x0112] = 6  # taken with the camera on its side
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    (frame,) = encoded_frames([("x", file.getvalue())], Skipped())
    assert frame.picture.shape == (60, 40, 3)


# -------------------------------------------------------------------------- results


def test_csv_and_arrow_say_the_same(predictor, tmp_path):
    frames = [Frame(picture(n), "film", n, n / 10, Fraction(10)) for n in range(7)]
    for name in ("out.csv", "deep/out.arrow"):
        summary = predict_to(
            sink_for(tmp_path / name, CONFIG), predictor, frames, find=in_the_middle
        )
        assert summary[:2] == (7, 7)
    with (tmp_path / "out.csv").open() as file:
        lines = list(csv.DictReader(file))
    with pa.memory_map(str(tmp_path / "deep/out.arrow")) as source:
        rows = pa.ipc.open_file(source).read_all().to_pylist()
    assert [line["source"] for line in lines] == ["film"] * 7
    for line, row in zip(lines, rows, strict=True):
        assert float(line["valence"]) == pytest.approx(row["valence"], abs=1e-4)
        assert line["track"] == str(row["track"]) == "0"


def test_classes_are_told_by_code(tmp_path):
    config = with_settings(CONFIG, ["task=expression", "classes=7"])
    torch.manual_seed(0)
    predictor = Predictor(build_method(config).model, config)
    predict_to(CsvSink(path := tmp_path / "o.csv", config), predictor, [Frame(picture(), "a.png")])
    (line,) = csv.DictReader(path.read_text().splitlines())
    assert 0 <= int(line["expression"]) < 7 and 1 / 7 <= float(line["probability"]) <= 1
    with pytest.raises(ValueError, match="valence and arousal"):
        sink_for(tmp_path / "o.mp4", config)


def test_an_annotated_video_has_every_frame(predictor, tmp_path):
    source = film(tmp_path / "v.mp4")
    out = tmp_path / "seen.mp4"
    predict_to(FilmSink(out, CONFIG), predictor, frames_of([source], Skipped()), find=in_the_middle)
    frames = list(frames_of([out], Skipped()))
    assert len(frames) == 12
    assert frames[0].picture.shape == (96, 128, 3)
    assert not list(tmp_path.glob("*.part*"))


def test_a_still_image_makes_no_video(predictor, tmp_path):
    with pytest.raises(ValueError, match="still image"):
        predict_to(FilmSink(tmp_path / "o.mp4", CONFIG), predictor, [Frame(picture(), "a.png")])


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none of \.csv, .*\.jsonl and \.mp4"):
        sink_for(tmp_path / "o.xlsx", CONFIG)


def test_frames_of_shards(predictor, tmp_path):
    sample = Sample(
        key="k", original_path="k.png", dataset="affectnet", variant="drawn", split="val",
        valence=0.0, arousal=0.0,
    )  # fmt: skip
    write_shards(iter([(sample, png(picture()))]), tmp_path / "shards")
    index = LabelIndex.open(tmp_path / "shards")
    named = ((index.table["sample_key"][row].as_py(), index.read(row)) for row in range(len(index)))
    ((frame, faces),) = predict_stream(predictor, encoded_frames(named, Skipped()))
    assert frame.source == "k" and len(faces) == 1


@pytest.mark.parametrize(
    ("boxes", "detect", "said"),
    [
        (["affectnet"], None, "published"),
        (["affectnet", "retinaface"], True, "published"),  # --detect, where none was published
        (["retinaface"], True, "retinaface 0.1.0"),
    ],
)
def test_a_run_says_who_found_its_faces(boxes, detect, said):
    found = {"detect": finder.facts()} if detect else {}
    record = RunRecord(config=CONFIG, shards=Shards(crop={"boxes": boxes, **found}))
    assert boxes_of(record) == said
    assert boxes_of(RunRecord(config=CONFIG)) is None
