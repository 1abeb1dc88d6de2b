"""`condition`: what it reads, and that it runs nothing."""

from __future__ import annotations

import numpy as np
import pytest

from shards import LabelIndex
from shards.building.build import BuildOptions, build
from shards.crop import Crop
from shards.standins.affectnet import draw_affectnet
from shards.where import condition


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> LabelIndex:
    place = tmp_path_factory.mktemp("where")
    draw_affectnet(place / "raw", 24, seed=0, level="easy")
    build("affectnet", place / "raw", str(place / "out"), BuildOptions(crop=Crop(size=32)))
    return LabelIndex.open(place / "out")


def columns(index: LabelIndex, *names: str) -> list[np.ndarray]:
    return [index.where().column(name) for name in names]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("valence > 0", lambda v, a, s: v > 0),
        ("0 < valence", lambda v, a, s: v > 0),
        ("-0.5 <= valence < 0.5", lambda v, a, s: (v >= -0.5) & (v < 0.5)),
        ("valence > 0 and arousal > 0", lambda v, a, s: (v > 0) & (a > 0)),
        ("valence > 0 or not arousal > 0", lambda v, a, s: (v > 0) | (a <= 0)),
        ("split == 'val'", lambda v, a, s: s == "val"),
        ("split != 'val' and (arousal < 0)", lambda v, a, s: (s != "val") & (a < 0)),
        ("split in ['train', 'test']", lambda v, a, s: np.isin(s, ["train", "test"])),
        ("split not in ('val',)", lambda v, a, s: s != "val"),
        ("va_valid", lambda v, a, s: ~np.isnan(v)),
        ("va_valid == True", lambda v, a, s: ~np.isnan(v)),
        ("video_id is None", lambda v, a, s: np.ones(len(v), bool)),
        ("video_id is not None", lambda v, a, s: np.zeros(len(v), bool)),
    ],
)
def test_a_condition_means_what_it_says(text, meant, index):
    valence, arousal, split = columns(index, "valence", "arousal", "split")
    wanted = np.flatnonzero(meant(valence, arousal, split))
    assert index.where(filter=condition(text)).rows.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an expression"),
        ("valence >", "not an expression"),
        ("mood == 1", "no column 'mood'"),
        ("split == val", "words stand in quotes"),
        ("valence", "no truth value"),
        ("__import__('os').system('true') == 0", "is not a column"),
        ("valence == open('x')", "is not a value"),
        ("(lambda: 1)()", "no comparison"),
        ("valence + 1 > 0", "is not a column"),
        ("valence in 3", "goes with a list"),
        ("valence == [1]", "goes with a list"),
        ("split == None", "`is None`"),
        ("split is 'val'", "use =="),
        ("'val' in split", "stands before"),
        ("valence == b'x'", "neither number"),
    ],
)
def test_all_else_is_refused_in_a_sentence(text, why, index):
    with pytest.raises(ValueError, match=r".") as refused:
        index.where(filter=condition(text))
    assert why in str(refused.value)


def test_a_value_of_another_kind_is_refused(index):
    with pytest.raises(ValueError, match="does not fit the index"):
        index.where(filter=condition("valence == 'happy'"))
