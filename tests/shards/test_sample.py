"""The record at the border: what it refuses, and that the refusal names key, value and rule."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from shards.labels.schema import LENGTHS, SCHEMA
from shards.sample import DATASETS, EXPRESSIONS, SPLITS, VIDEO_SUFFIXES, Sample

PLAIN: dict[str, Any] = {
    "key": "a_1", "original_path": "x/a.jpg", "dataset": "table", "variant": "v", "split": "train",
}  # fmt: skip


def sample(**values: Any) -> Sample:
    return Sample(**PLAIN | values)


def test_every_field_is_a_column_of_the_index():
    names = {"sample_key" if field.name == "key" else field.name for field in fields(Sample)}
    assert names - {"extra"} <= set(SCHEMA.names)  # whose columns follow them


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"key": "a.b"}, r"key 'a\.b': a key is 1 to 92 letters"),
        ({"key": ""}, "a key is 1 to 92"),
        ({"key": "a" * 93}, "a key is 1 to 92"),
        ({"key": "a\n"}, "a key is 1 to 92"),
        ({"key": "ä"}, "a key is 1 to 92"),
        ({"original_path": "/etc/a.jpg"}, "a_1: path '/etc/a.jpg' leaves"),
        ({"original_path": "x/../../a.jpg"}, "leaves the data set's root"),
        ({"dataset": "Image-Net"}, "data set .Image-Net.: a name is a letter a-z"),
        ({"split": "dev"}, "split 'dev' is none of"),
        ({"valence": 0.5}, "both are labelled or neither"),
        ({"arousal": 0.5}, "both are labelled or neither"),
        ({"valence": 1.01, "arousal": 0.0}, r"valence 1\.01 is outside"),
        ({"valence": 0.0, "arousal": -2.0}, r"arousal -2\.0 is outside"),
        ({"valence": float("nan"), "arousal": 0.0}, "valence nan is outside"),
        ({"valence": 0.0, "arousal": float("inf")}, "arousal inf is outside"),
        ({"expression": 8}, "expression 8 is no canonical code"),
        ({"expression": -1}, "expression -1 is no canonical code"),
        ({"landmarks": (1.0,) * 135}, "landmarks has 135 numbers, not 136"),
        ({"landmarks5": (1.0,) * 136}, "landmarks5 has 136 numbers, not 10"),
        ({"action_units": (1,)}, "action_units has 1 numbers, not 12"),
        ({"bbox_xyxy": (5.0, 0.0, 5.0, 9.0)}, "box .* is empty"),
        ({"bbox_xyxy": (0.0, 9.0, 5.0, 1.0)}, "box .* is empty"),
    ],
)
def test_what_is_wrong_is_one_sentence(values: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        sample(**values)


def test_the_rim_of_every_rule_is_allowed():
    for value in (-1.0, 1.0, 1 + 1e-7, 0.0):
        assert sample(valence=value, arousal=-value).valence == value
    for code in range(len(EXPRESSIONS)):
        assert sample(expression=code).expression == code
    assert len(sample(key="a" * 92).key) == 92
    for dataset in (*DATASETS, "a", "my_faces_2", "a" * 32):
        assert {sample(dataset=dataset, split=split).split for split in SPLITS} == set(SPLITS)
    assert sample(original_path="x/a..b.jpg").original_path == "x/a..b.jpg"  # no way up
    assert sample(bbox_xyxy=(-9.0, -9.0, -8.0, -8.0)).bbox_xyxy is not None  # outside the picture
    for name, count in LENGTHS.items():
        if name != "crop_affine":  # which is no field: the crop follows from the label
            numbers = (0, 1, 2, 3) if name == "bbox_xyxy" else (0,) * count
            kind = int if name == "action_units" else float
            assert getattr(sample(**{name: tuple(map(kind, numbers))}), name) is not None


def test_a_frame_of_a_film_is_told_by_its_path():
    for suffix in VIDEO_SUFFIXES:
        assert sample(original_path=f"a/b{suffix.upper()}").in_video
    assert not sample(original_path="mp4/a.jpg").in_video
