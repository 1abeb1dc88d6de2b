"""The board of scores in four formats, and its warnings beside printed rows."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from avce.paper.tables import published_on
from avce.scores.intervals import assess
from avce.scores.predictions import one_table
from avce.scores.scoreboard import (
    Published,
    Setting,
    as_csv,
    as_dict,
    as_latex,
    as_text,
    board,
    caveats,
    confusions,
    groups_of,
    ours_alone,
    with_groups,
)
from tests.avce.scores.verdicts import class_table, video_table

PRINTED = Published("AVCE", "supplement, Table 5", "affwild", {"ccc": (0.682, 0.594)}, "AlexNet")


@pytest.fixture(scope="module")
def evaluations():
    worse, better = video_table(noise=0.3, model=1), video_table(noise=0.1, model=2)
    return [assess(worse, "worse & co", resamples=50), assess(better, "better_run", resamples=50)]


def test_text_marks_the_best_and_says_what_is_not_comparable(evaluations):
    drawn = board(evaluations, [PRINTED], Setting("afew_va", "val", stand_in=True))
    text = as_text(drawn)
    assert text.splitlines()[0].split()[-1] == "A" and "0.682" in text
    assert f"{evaluations[1].value('ccc'):.3f}*" in text
    assert (
        "not comparable with the 1 printed rows of supplement, Table 5: ours are on drawn" in text
    )
    assert len({len(line) for line in text.splitlines()[:2]}) <= 2


def test_a_board_fits_a_terminal(evaluations):
    text = as_text(board(evaluations, [PRINTED]))
    bounds = evaluations[0].intervals["ccc"][0]
    assert bounds is not None and f"±{(bounds.high - bounds.low) / 2:.3f}" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("note:")) <= 80


def test_printed_rows_are_crossed_where_they_cannot_be_compared(evaluations):
    rows = [PRINTED, replace(PRINTED, method="CAF", dataset="affectnet")]
    drawn = board(evaluations, rows, Setting("affwild", "val"))
    marks = {line.split()[0]: "\u00d7 printed" in line for line in as_text(drawn).splitlines()}
    assert not marks["AVCE"] and marks["CAF"]
    assert [r["comparable"] for r in as_dict(evaluations, drawn)["published"]] == [True, False]
    assert as_csv(drawn).splitlines()[-1].startswith("CAF (AlexNet),,1,0,")
    assert "\u00d7 CAF" in as_latex(drawn) and "\u00d7 AVCE" not in as_latex(drawn)


def test_without_printed_rows_the_warning_stays(evaluations):
    drawn = ours_alone(board(evaluations, [PRINTED], Setting("afew_va", "val", stand_in=True)))
    assert [row.name for row in drawn.rows] == ["worse & co", "better_run"]
    assert "drawn stand-in faces" in as_text(drawn) and "printed " not in as_csv(drawn)


def test_json_and_csv_are_unrounded(evaluations):
    drawn = board(evaluations, [PRINTED])
    runs = json.loads(json.dumps(as_dict(evaluations, drawn)))["runs"]
    assert runs[0]["valence"]["ccc"] == evaluations[0].value("ccc")
    lines = list(csv.DictReader(io.StringIO(as_csv(drawn))))
    assert float(lines[1]["CCC A"]) == evaluations[1].value("ccc", 1)
    bounds = evaluations[1].intervals["ccc"][1]
    assert bounds is not None and float(lines[1]["CCC A low"]) == bounds.low
    assert lines[2]["published"] == "1" and lines[2]["RMSE V"] == ""


def test_latex_escapes_names_and_sets_the_best_in_bold(evaluations):
    text = as_latex(board(evaluations, [PRINTED]))
    assert r"worse \& co" in text and r"better\_run" in text
    assert r"\textbf{" in text and text.count(r"\midrule") == 2


def test_the_same_set_under_the_same_rules_is_comparable():
    assert caveats(Setting("affwild", "val"), PRINTED) == []
    assert "mirror" in caveats(Setting("affwild", "val", flip=True), PRINTED)[0]


def test_classes_have_their_own_columns():
    drawn = board([assess(class_table(), "discrete", resamples=50)])
    assert drawn.columns == ("accuracy", "mean class accuracy")


def test_an_undefined_score_is_a_dash():
    drawn = board([assess(video_table(videos=1, frames=1), "one frame", resamples=20)])
    assert "-" in as_text(drawn) and "undefined" in as_text(drawn)


def test_nothing_to_print_is_an_error():
    with pytest.raises(ValueError, match="at least one run"):
        board([])


def test_the_supplements_rows_are_found_by_data_set():
    rows = published_on("affwild")
    best = [row for row in rows if row.values.get("ccc") == (0.691, 0.592)]
    assert len(best) == 1 and "Table 2" in best[0].source
    accuracies = [row.values["accuracy"][0] for row in published_on("raf_db")]
    assert 0.8470 in [pytest.approx(a) for a in accuracies]
    assert published_on("afew_va") == []


def test_groups_stand_below_and_folds_have_a_spread():
    table = video_table(videos=4)
    folds = one_table({"a": table.slice(0, 80), "b": table.slice(80)}, merged=True)
    scored = [assess(folds, "2 folds", resamples=20)]
    groups = groups_of({"2 folds": folds}, ["part", "video_id"], "ours")
    drawn = with_groups(board(scored), groups)
    names = [row.name for row in drawn.rows]
    assert names == ["2 folds", "fold a", "fold b", *(f"video video{i:03d}" for i in range(4))]
    first = assess(table.slice(0, 80), resamples=2)
    assert drawn.rows[1].cells[6].value == pytest.approx(first.value("ccc"))
    assert any(note.startswith("over 2 folds: CCC ") for note in drawn.notes)
    found = json.loads(json.dumps(as_dict(scored, drawn, groups)))
    assert [group["n"] for group in found["groups"]["part"]] == [80, 80]
    with pytest.raises(ValueError, match="column subject_id does not exist"):
        groups_of({"a": table}, ["subject_id"], "ours")


def test_classes_and_the_plane_share_no_table(evaluations):
    scored = assess(class_table(), "discrete", resamples=2)
    with pytest.raises(ValueError, match="discrete predict different things"):
        board([*evaluations, scored])


def test_confusions_are_counted_for_classes_only(evaluations):
    scored = assess(class_table(), "discrete", resamples=2)
    lines = confusions([scored], ["happy", "sad"]).splitlines()
    assert lines[0].split() == ["discrete:", "labelled,", "called", "happy", "sad", *"23456"]
    assert sum(int(n) for line in lines[1:] for n in line.split()[1:]) == 300
    assert confusions(evaluations, []) == ""
