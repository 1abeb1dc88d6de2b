"""How a config's words reach the feed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from avce.commands import app
from avce.commands.join import stream, with_classes
from avce.config import with_settings
from avce.recipes import RECIPES
from avce.training.record import read_record
from shards import BuildOptions, Engine, LabelIndex, build
from tests.pipelines.conftest import damage, write
from tests.shards.datasets.table.test_reader import pictures

SMALL = with_settings(RECIPES["demo"], ["batch_size=15", "image_size=64", "channels_last=false"])


def test_a_checksum_sees_what_markers_do_not(tmp_path):
    index = write(tmp_path, range(1, 31))
    damage(index, 7, b"\x55", skip=900)  # inside the scan: it still decodes
    faces = index.where()
    unseen = with_settings(SMALL, ["check=markers"])
    assert sum(1 for _ in stream(faces, unseen, training=True)) == 2
    with pytest.raises(ValueError, match="checksum"):
        list(stream(faces, SMALL, training=True))
    with pytest.raises(ValueError, match="checksum"):  # no score is of other pictures
        list(stream(faces, unseen))


def test_a_cache_and_an_order_in_memory_change_no_pixel(tmp_path):
    index = write(tmp_path, range(30))
    plain, kept, last = (
        list(stream(index.where(), with_settings(SMALL, words)))
        for words in ([], ["cache=memory"], ["channels_last=true"])
    )
    for a, b, c in zip(plain, kept, last, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.image, c.image)
        assert c.image.is_contiguous(memory_format=torch.channels_last)


WORDS = ("bored", "curious", "happy", "tired", "zen")


def of_classes(root: Path, words: tuple[str, ...] = WORDS) -> Path:
    """Shards of images in folders of their classes."""
    for split, count in (("train", 6), ("val", 2)):
        pictures(root / "raw" / split, *(f"{word}/{k}.png" for word in words for k in range(count)))
    build("table", root / "raw", root / "out", BuildOptions(engine=Engine("joblib", jobs=1)))
    return root / "out"


def typed(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def test_a_vocabulary_of_ones_own_is_trained_scored_and_named(tmp_path):
    folder, run = of_classes(tmp_path), tmp_path / "run"
    assert LabelIndex.open(folder).classes == list(WORDS)
    seen = json.loads(typed("inspect", folder, "--json"))
    assert seen["classes"] == {f"{code} {word}": 8 for code, word in enumerate(WORDS)}
    small = ("image_size=64", "batch_size=10", "weights=none", "encoder=resnet18")
    settings = [f"--set={setting}" for setting in small]
    typed(
        "train",
        "--shards",
        folder,
        "--recipe",
        "avce_discrete",
        "--epochs",
        1,
        "--run",
        run,
        *settings,
    )
    record = read_record(run)
    assert (record.config.classes, record.config.class_column) == (5, "expression_raw")
    assert record.shards.classes == list(WORDS)
    assert record.shards.parts["train"]["n"] == 30  # also those that are no expression of ours
    said = typed("eval", run)
    assert "bored" in said and "zen" in said and "sad" not in said
    found = json.loads(typed("eval", run, "--json"))
    assert found["n"] == 10
    other = of_classes(tmp_path / "other", ("a", "b", "c", "d", "e"))
    refused = CliRunner().invoke(app, ["eval", str(run), "--shards", str(other)])
    assert "tells bored, curious, happy" in str(refused.exception)
    assert "these shards hold a, b, c, d, e" in str(refused.exception)


def test_classes_come_from_the_shards_unless_they_are_set(tmp_path, capsys):
    index = LabelIndex.open(of_classes(tmp_path))
    discrete = RECIPES["avce_discrete"]
    assert with_classes(discrete, index, []).classes == 5
    assert with_classes(discrete, index, ["classes=8"]) == discrete
    even = with_settings(with_classes(discrete, index, []), ["balance=expression", "batch_size=10"])
    groups = stream(index.part("train"), even, training=True).order.groups
    assert groups is not None and set(groups.names) == set(WORDS)
    assert stream(index.part("val"), even).order.groups is None
    assert with_classes(RECIPES["paper"], index, []) == RECIPES["paper"]
    others = LabelIndex.open(of_classes(tmp_path / "b", ("bored", "zen")))
    both = LabelIndex.open([*index.folders, *others.folders])
    assert both.classes == [] and with_classes(discrete, both, []) == discrete
    assert "different classes of their own: only AffectNet's" in capsys.readouterr().err
