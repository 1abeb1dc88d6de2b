"""`condition`: what it reads, and that it runs nothing."""

from __future__ import annotations

import random

import numpy as np
import pytest

from shards import SCHEMA, LabelIndex
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
        ("not fold in [1]", lambda v, a, s: np.zeros(len(v), bool)),  # missing in every row
        ("fold not in [1]", lambda v, a, s: np.zeros(len(v), bool)),
        ("split in []", lambda v, a, s: np.zeros(len(v), bool)),
        ("split not in []", lambda v, a, s: np.ones(len(v), bool)),
        ("valence in []", lambda v, a, s: np.zeros(len(v), bool)),
        ("valence < 12345678901234567890123", lambda v, a, s: ~np.isnan(v)),
        ("expression == 12345678901234567890123", lambda v, a, s: np.zeros(len(v), bool)),
        ("expression in [0, 1, 300, 10000000000000000000000]", None),
        ("fold == 70000 or va_valid", lambda v, a, s: ~np.isnan(v)),
        ("not " * 40 + "va_valid", lambda v, a, s: ~np.isnan(v)),
        (" or ".join(["valence > 0"] * 900), lambda v, a, s: v > 0),
    ],
)
def test_a_condition_means_what_it_says(text, meant, index):
    valence, arousal, split, code = columns(index, "valence", "arousal", "split", "expression")
    met = meant(valence, arousal, split) if meant else np.isin(code, (0, 1))
    wanted = np.flatnonzero(met)
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
        ("valence in {[1]}", "is not a value"),
        ("not " * 990 + "va_valid", "more than 50 deep"),
        ("va_valid" + " and (va_valid or va_valid" * 60 + ")" * 60, "more than 50 deep"),
        (" or ".join(["valence > 0"] * 1500), "more than 1,000 comparisons"),
        (" or ".join(["valence > 0"] * 40_000), "characters"),
        ("valence == -" + "-" * 5000 + "1", "not an expression"),
        ("valence" + ".real" * 5000 + " > 0", "not an expression"),
        ("valence == 1" + "0" * 5000, "not an expression"),
        ("valence == 1" + "0" * 400, "not an expression"),
        ("va\0lid", "not an expression"),
        ("variant == '\\ud800'", "not an expression"),
        ("sha256 == 'a'", "is None"),
        ("landmarks in [1]", "is None"),
        ("fold == True", "does not fit the index"),
        ("valence in [None]", "does not fit the index"),
    ],
)
def test_all_else_is_refused_in_a_sentence(text, why, index):
    with pytest.raises(ValueError, match=r".") as refused:
        index.where(filter=condition(text))
    assert why in str(refused.value)
    assert len(str(refused.value)) < 1500


def test_a_value_of_another_kind_is_refused(index):
    with pytest.raises(ValueError, match="does not fit the index"):
        index.where(filter=condition("valence == 'happy'"))


def test_a_decimal_is_what_the_column_holds_of_it(index):
    valence = index.where(va_valid=True).column("valence")
    for value in valence[:5].tolist():
        assert len(index.where(filter=condition(f"valence == {value:.9g}"))) >= 1
        assert len(index.where(filter=condition(f"valence in [{value:.9g}]"))) >= 1


_COLUMNS = [*SCHEMA.names, "source", "row", "x", "ﬁeld", "__class__"]
_CONSTANTS = ["0", "-0.5", "1e400", "9" * 23, "'val'", "''", "None", "True", "b'x'", "1j", "..."]
_CONSTANTS += ["[]", "['val']", "[0, 1.5]", "{[1]}", "(1,)", "{}", "[None]", "['\\ud800']", "🙂"]


_RIGHT = ["valence > 0", "split == 'val'", "fold in []", "-1 <= arousal < 0.5", "va_valid"]


def _grown(rng: random.Random, depth: int = 0) -> str:
    """A condition, a near miss or noise, from a grammar."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(_RIGHT)
    if depth > 12 or kind < 0.45:
        sides = [rng.choice(_COLUMNS), rng.choice(_CONSTANTS)]
        if rng.random() < 0.2:
            rng.shuffle(sides)
        words = ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not", "=", "+")
        return f" {rng.choice(words)} ".join([*sides, *sides[: rng.random() < 0.1]])
    if kind < 0.6:
        return "not " * rng.choice((1, 1, 2, 60)) + _grown(rng, depth + 1)
    if kind < 0.75:
        deep = rng.choice((1, 1, 1, 49, 201))
        return "(" * deep + _grown(rng, depth + 1) + ")" * deep
    if kind < 0.95:
        parts = [_grown(rng, depth + 1) for _ in range(rng.choice((2, 2, 3)))]
        return f" {rng.choice(('and', 'or'))} ".join(parts)
    text = list(_grown(rng, depth + 1))
    text[rng.randrange(len(text))] = rng.choice("\0\n\t'\"()[]#;é\u202e\\")
    return "".join(text)


def test_any_text_gives_rows_or_one_sentence(index):
    rng = random.Random(0)
    met = 0
    for _ in range(2000):
        text = _grown(rng)
        try:
            met += len(index.where(filter=condition(text))) >= 0
        except ValueError as error:
            assert "\n" not in str(error) or "\n" in text, text
    assert met > 200  # the grammar speaks the language
