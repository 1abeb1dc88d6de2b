"""Columns by name or by wish, published scales, sentinels, boxes."""

from __future__ import annotations

import json

import pytest

from shards.datasets.table.columns import Scale, assign, parse

UNIT = Scale.of("-1..1", "")


def test_columns_are_found_by_name_whatever_their_case() -> None:
    assert assign(["Image", "V", "a", "Emotion", "other"], "", "t") == {
        "path": "Image",
        "valence": "V",
        "arousal": "a",
        "expression": "Emotion",
    }


def test_columns_may_be_named() -> None:
    found = assign(["where", "pleasure", "label", "emotion"], "path:where,expression:emotion", "t")
    assert found == {"path": "where", "expression": "emotion"}


@pytest.mark.parametrize(
    ("names", "given", "sentence"),
    [
        (["where"], "", "t has the columns where and none of them is called path"),
        (["path", "label", "emotion"], "", "may both hold expression; say which with --option"),
        (["path"], "valence:v", "valence:v is no role and column; roles are path, valence"),
        (["path"], "colour:path", "colour:path is no role"),
    ],
)
def test_what_is_not_certain_is_asked(names: list[str], given: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        assign(names, given, "t")


@pytest.mark.parametrize(
    ("range_", "low", "middle", "high"),
    [
        ("-1..1", -1, 0, 1),
        ("0..1", 0, 0.5, 1),
        ("1..5", 1, 3, 5),
        ("1..7", 1, 4, 7),
        ("1..9", 1, 5, 9),
        ("-10..10", -10, 0, 10),
        ("-1000..1000", -1000, 0, 1000),
    ],
)
def test_published_scales_become_the_unit_square(
    range_: str, low: float, middle: float, high: float
) -> None:
    scale = Scale.of(range_, "")
    assert [scale.unit(scale.value(str(x))) for x in (low, middle, high)] == [-1, 0, 1]
    with pytest.raises(ValueError, match="is outside"):
        scale.value(str(high + 0.001))


def test_arousal_may_have_a_scale_of_its_own() -> None:
    scale = Scale.of("-1..1,0..1", "-9")  # as OMG-Emotion has it
    row = {"path": "a.jpg", "valence": "-0.5", "arousal": "0.5"}
    found = parse(row, {name: name for name in row}, scale)
    assert scale.axis("valence").unit(found.valence) == -0.5
    assert scale.axis("arousal").unit(found.arousal) == 0
    assert scale.axis("arousal").value("-9") is None
    with pytest.raises(ValueError, match=r"arousal '-0.5': -0.5 is outside 0\.\.1"):
        parse({**row, "arousal": "-0.5"}, {name: name for name in row}, scale)


def test_a_path_may_stand_in_two_columns() -> None:
    roles = assign(["Folder", "Filename"], "path:Folder/Filename", "t")
    names = {"Folder": "mscoco/images/", "Filename": "a.jpg"}
    assert parse(names, roles, UNIT).path == "mscoco/images/a.jpg"
    assert parse({**names, "Folder": ""}, roles, UNIT).path == "a.jpg"
    for wrong in ("../x", "/etc", ".hidden"):
        with pytest.raises(ValueError, match="it names no file below"):
            parse({**names, "Folder": wrong}, roles, UNIT)


@pytest.mark.parametrize(
    ("role", "text"), [("box", "[1, 2, 4, 6]"), ("box_xywh", "1 2 3 4"), ("box", "1;2;4;6")]
)
def test_a_box_may_stand_in_one_cell(role: str, text: str) -> None:
    roles = assign(["path", "BBox"], f"{role}:BBox", "t")
    assert parse({"path": "a.jpg", "BBox": text}, roles, UNIT).box == (1, 2, 4, 6)
    assert parse({"path": "a.jpg", "BBox": ""}, roles, UNIT).box is None
    with pytest.raises(ValueError, match="it has 3 numbers, not 4"):
        parse({"path": "a.jpg", "BBox": "1 2 3"}, roles, UNIT)


@pytest.mark.parametrize(
    "range_",
    ["1..9,", "1..9,2..3,1..2", "", "1", "9..1", "1..1", "a..b", "1..9..2", "...", "1..inf"],
)
def test_a_range_that_is_none_is_refused(range_: str) -> None:
    with pytest.raises(ValueError, match=r"write the ends of the published scale, as in 1\.\.9"):
        Scale.of(range_, "")


def test_sentinels_are_null_before_the_range_is_looked_at() -> None:
    scale = Scale.of("-1..1", "-2,-5,missing")
    for text in ("-2", "-2.0", " -5 ", "Missing", "", "NA", "nan", "None", "null"):
        assert scale.value(text) is None
    with pytest.raises(ValueError, match="-3 is outside"):
        scale.value("-3")


def test_one_axis_alone_is_asked_about() -> None:
    with pytest.raises(ValueError, match=r"'v' holds valence and none holds arousal; name it"):
        assign(["path", "v"], "", "t")
    assert assign(["path", "v"], "valence:", "t") == {"path": "path"}


def test_roles_that_say_nothing_alone_leave_their_columns() -> None:
    assert assign(["path", "x", "y", "start"], "", "t") == {"path": "path"}
    both = ["path", "left", "top", "right", "bottom", "x", "y", "w", "h"]
    assert list(assign(both, "", "t")) == ["path", "left", "top", "right", "bottom"]
    with pytest.raises(ValueError, match="columns=start:s: name the columns of end too"):
        assign(["path", "s"], "start:s", "t")


def test_sentinels_of_labels_are_no_sentinels_of_boxes() -> None:
    scale = Scale.of("-1..1", "-2,0,missing")
    row = {"path": "a.jpg", "valence": "-2", "arousal": "0", "expression": "Missing"}
    row |= {"left": "0", "top": "0", "right": "9", "bottom": "9", "subject": "0", "frame": "0"}
    found = parse(row, {name: name for name in row}, scale)
    assert (found.valence, found.arousal, found.expression) == (None, None, None)
    assert (found.box, found.subject, found.frame) == ((0, 0, 9, 9), "0", 0)


def test_boxes_come_by_corners_or_by_size() -> None:
    by_corners = {side: side for side in ("path", "left", "top", "right", "bottom")}
    by_size = {side: side for side in ("path", "x", "y", "w", "h")}
    corners = {"path": "a", "left": "1", "top": "2", "right": "4", "bottom": "6"}
    size = {"path": "a", "x": "1", "y": "2", "w": "3", "h": "4"}
    assert parse(corners, by_corners, UNIT).box == parse(size, by_size, UNIT).box == (1, 2, 4, 6)
    with pytest.raises(ValueError, match=r"the box .* is empty"):
        parse({**size, "w": "-3"}, by_size, UNIT)


@pytest.mark.parametrize(
    ("column", "text", "sentence"),
    [
        ("path", "", "it names no file below the table"),
        ("path", "../x.jpg", "it names no file below"),
        ("path", "/etc/passwd", "it names no file below"),
        ("path", "a\\b.jpg", "write folders with '/'"),
        ("valence", "1e308", "valence '1e308'"),
        ("valence", "true", "valence 'true'"),
        ("split", "somewhere", "a split is one of train, val"),
        ("frame", "2.7", "frame '2.7': 2.7 is no whole number"),
        ("frame", "-1", "is no whole number from 0"),
        ("fold", "128", "fold '128': 128 is no whole number from 0 to 127"),
        ("landmarks", "1;2;3", "it has 3 numbers, not 136"),
        ("valence", "50%", "scale with --option range=LOW..HIGH, or pass --option null=50% if"),
        ("valence", "0,5", "pass --option decimal=,"),
        ("time", "2021-03-04", "if 'time' is no column of that kind, pass .* columns=time:"),
        ("split", "0", "pass --option columns=split:"),
        ("landmarks", ";".join(["0.5"] * 136), "landmarks are in pixels"),
        ("valence", "0,5", "valence '0,5': more than one number .* have a point and no comma"),
        ("time", "-1", "-1 s lies before the film begins"),
        ("start", "1", "it is an interval with one end"),
    ],
)
def test_a_wrong_value_is_named(column: str, text: str, sentence: str) -> None:
    row = {"path": "a.jpg", column: text}
    with pytest.raises(ValueError, match=sentence):
        parse(row, {name: name for name in row}, UNIT)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"start": "2", "end": "1"}, "an interval ends after its start, and 2 to 1 does not"),
        ({"start": "2", "end": "2"}, "an interval ends after its start"),
        ({"x": "0.1", "y": "0.2", "w": "0.5", "h": "0.6"}, "boxes are in pixels, so multiply"),
        ({"left": "0", "top": "0", "right": "1", "bottom": "1.0"}, "boxes are in pixels"),
        ({"left": "0", "top": "0.1", "right": "1.02", "bottom": "1"}, "boxes are in pixels"),
        ({"x": "1", "y": "2", "w": "5", "h": ""}, "a side of the box is missing"),
    ],
)
def test_what_cannot_be_is_named(columns: dict[str, str], sentence: str) -> None:
    row = {"path": "a.jpg", **columns}
    with pytest.raises(ValueError, match=sentence):
        parse(row, {name: name for name in row}, UNIT)


PAIRS = [[float(k), k + 0.5] for k in range(68)]
FLAT = [side for pair in PAIRS for side in pair]


@pytest.mark.parametrize("text", [json.dumps(PAIRS), json.dumps(FLAT)])
def test_landmarks_may_stand_in_pairs(text: str) -> None:
    row = {"path": "a", "landmarks": text}
    found = parse(row, {name: name for name in row}, UNIT)
    assert found.landmarks == tuple(FLAT)


def test_an_empty_list_is_no_box() -> None:
    assert parse({"path": "a", "box": "[]"}, {"path": "path", "box": "box"}, UNIT).box is None


def test_a_role_is_named_once() -> None:
    with pytest.raises(ValueError, match="valence is named twice; name one column for it"):
        assign(["path", "v1", "v2", "a"], "valence:v1,valence:v2", "t")
