"""Intervals against their definitions: sums against Moments, clusters against naive resampling."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from torchmetrics.functional.regression import concordance_corrcoef

from avce.scores.intervals import (
    CONVENTIONS,
    Clusters,
    assess,
    by_group,
    cluster_sums,
    clusters_of,
    compare,
    finished,
    progress,
    resampled,
    spread_over,
)
from avce.scores.metrics import Confusion, Moments, Scores, pooled
from avce.scores.predictions import Pair, pair_of, tabled
from tests.avce.scores.verdicts import class_table, video_table


@pytest.mark.parametrize("name", ["ours", "torchmetrics"])
def test_sums_give_what_moments_give(name):
    pair = pair_of(video_table())
    rule = CONVENTIONS[name]
    meter = Moments(moments=rule.moments, zero=rule.zero)
    meter.update(pair.preds, pair.target)
    sevenths = Clusters("seventh", np.arange(len(pair.preds)) % 7, ())
    sums = pooled(cluster_sums(pair, sevenths))
    for metric, values in finished(sums, rule).items():
        expected = torch.tensor(getattr(meter.scores(), metric), dtype=torch.float64)
        torch.testing.assert_close(values, expected, atol=1e-12, rtol=0)  # float64 sums


def test_a_draw_is_a_score_of_the_drawn_rows():
    table = video_table(videos=5, frames=9)
    groups = clusters_of(table, "video_id")
    pair = pair_of(table)
    draw = resampled(cluster_sums(pair, groups), 1, seed=3)[0]
    chosen = np.random.default_rng(3).integers(0, 5, 5)
    rows = np.concatenate([np.flatnonzero(groups.codes == video) for video in chosen])
    meter = Moments()
    meter.update(pair.preds[rows], pair.target[rows])
    ours = finished(draw, CONVENTIONS["ours"])["ccc"]
    assert ours.tolist() == pytest.approx(meter.scores().ccc, abs=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_many_draws_at_once_are_each_draw_pooled(offset):
    """Also where few clusters lie far apart, so that one centre for all would cancel digits."""
    table = video_table(videos=4, frames=9)
    pair, groups = pair_of(table), clusters_of(table, "video_id")
    apart = torch.from_numpy(groups.codes)[:, None] * offset
    sums = cluster_sums(Pair(pair.preds * 1e-3 + apart, pair.target), groups)
    generator, told = np.random.default_rng(5), []
    before = progress.set(lambda done, total: told.append((done, total)))
    found = resampled(sums, 60, seed=5)
    progress.reset(before)
    for one in found:
        times = np.bincount(generator.integers(0, 4, 4), minlength=4)
        expected = pooled(sums, torch.from_numpy(times).double())
        # a bit of 53 may cancel; squares of 3e3 hold 1e-9 of the pooled way itself
        torch.testing.assert_close(one, expected, rtol=1e-12, atol=1e-8 if offset else 1e-12)
    assert told[-1] == (60, 60)


def test_class_sums_give_what_confusion_gives():
    table = class_table()
    pair = pair_of(table)
    meter = Confusion(7)
    meter.update(pair.preds, pair.target)
    found = finished(cluster_sums(pair, clusters_of(table)).sum(0), CONVENTIONS["ours"])
    assert found["accuracy"].item() == pytest.approx(meter.scores().accuracy)
    expected = meter.scores().mean_class_accuracy
    assert found["mean_class_accuracy"].item() == pytest.approx(expected)


def test_clusters_widen_intervals():
    table = video_table(videos=20, frames=60, noise=0.2)
    single = assess(table, clusters="image").intervals["ccc"][0]
    whole = assess(table).intervals["ccc"][0]  # auto: videos
    assert single is not None and whole is not None
    assert whole.high - whole.low > 2 * (single.high - single.low)


def test_intervals_cover_as_often_as_they_say():
    """40 sets from one source: a 95 % interval of the mean error holds the truth in most."""
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(40):
        target = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
        preds = (target + rng.normal(0, 0.3, (400, 2))).astype(np.float32)
        table = tabled(np.arange(400), preds, target)
        bounds = assess(table, resamples=150, seed=seed).intervals["rmse"][0]
        assert bounds is not None
        inside += bounds.low <= 0.3 <= bounds.high
    assert inside >= 32  # binomial(40, 0.95) falls below with probability 1e-4


def test_the_golden_example_in_each_convention():
    target = np.array([0.1, -0.4, 0, 0.7, -0.2], np.float32)
    preds = np.array([0.2, -0.1, 0.05, 0.5, 0.1], np.float32)
    table = tabled(np.arange(5), np.stack([preds, preds], 1), np.stack([target, target], 1))
    expected = {"ours": 0.7559055, "torchmetrics": 0.7656316, "authors": 0.9448819}
    for convention, ccc in expected.items():
        assert assess(table, convention=convention).value("ccc") == pytest.approx(ccc, abs=1e-6)


def test_the_torchmetrics_convention_is_torchmetrics():
    pair = pair_of(video_table())
    theirs = concordance_corrcoef(pair.preds, pair.target)
    ours = assess(video_table(), convention="torchmetrics")
    assert ours.value("ccc", 1) == pytest.approx(float(theirs[1]), abs=1e-9)


def test_authors_rmse_has_no_interval_and_says_why():
    found = assess(video_table(), convention="authors")
    assert "rmse" not in found.intervals and any("order" in note for note in found.notes)
    assert found.value("rmse") <= assess(video_table()).value("rmse")  # Jensen


def test_constant_predictions_are_undefined_and_said():
    table = video_table()
    constant = pa.array(np.full(len(table), 0.2, np.float32))
    table = table.set_column(table.column_names.index("valence_pred"), "valence_pred", constant)
    found = assess(table)
    assert math.isnan(found.value("ccc", 0)) and found.intervals["ccc"][0] is None
    assert found.intervals["rmse"][0] is not None
    assert any("valence" in note for note in found.notes)
    assert found.as_dict()["valence"]["ccc"] is None


@pytest.mark.parametrize("spread", [3e-7, 1e-12])
def test_a_small_spread_has_a_score_and_an_interval(spread):
    """Scores and draws once disagreed: variances below 1e-12 were constant to one of them."""
    table = video_table()
    pair = pair_of(table)
    draws = resampled(
        cluster_sums(Pair(0.3 + spread * pair.preds, pair.target), clusters_of(table)), 20, 0
    )
    plain = resampled(cluster_sums(pair, clusters_of(table)), 20, 0)
    small, wanted = (finished(d, CONVENTIONS["ours"])["pcc"] for d in (draws, plain))
    # 1e-12 beside 0.3 leaves 4 of float64's 16 digits
    torch.testing.assert_close(small, wanted, atol=1e-3, rtol=0)


def test_a_draw_of_constant_videos_is_undefined_in_every_draw_alike():
    """Each video says one thing throughout: a draw of one video alone has no correlation."""
    table = video_table(videos=2, frames=7)
    codes = clusters_of(table)
    pair = pair_of(table)
    said = torch.tensor([[0.1, -0.7], [0.3, 0.2]], dtype=torch.float64)[codes.codes]
    draws = resampled(cluster_sums(Pair(said, pair.target), codes), 40, seed=1)
    rng = np.random.default_rng(1)
    alone = [len(set(rng.integers(0, 2, 2))) == 1 for _ in range(40)]
    undefined = finished(draws, CONVENTIONS["ours"])["pcc"].isnan()
    assert 0 < sum(alone) < 40 and undefined.all(1).tolist() == undefined.any(1).tolist() == alone


def test_few_clusters_are_warned_of_and_one_has_no_interval():
    assert any("too narrow" in note for note in assess(video_table(videos=4)).notes)
    alone = assess(video_table(videos=1))
    assert alone.intervals["ccc"] == (None, None)


def test_groups_are_scored_one_by_one():
    table = video_table(videos=3)
    groups = by_group(table, "video_id")
    assert [group.name for group in groups] == ["video000", "video001", "video002"]
    middle = table.filter(pa.compute.equal(table["video_id"], "video001"))
    alone = assess(middle).scores
    assert isinstance(alone, Scores)
    assert groups[1].scores["ccc"] == pytest.approx(alone.ccc)
    mean, deviation = spread_over(groups, "ccc")[0]
    values = [group.scores["ccc"][0] for group in groups]
    assert (mean, deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))


def test_a_paired_comparison_sees_what_two_intervals_cannot():
    poor, good = video_table(noise=0.25, model=1), video_table(noise=0.15, model=2)
    found = {(d.metric, d.axis): d for d in compare(poor, good)}
    one = found["rmse", "valence"]
    assert one.value == pytest.approx(
        assess(good).value("rmse") - assess(poor).value("rmse"), abs=1e-9
    )
    assert one.clear and one.value < 0
    assert not any(d.clear for d in compare(poor, poor))


def test_other_samples_are_not_compared():
    with pytest.raises(ValueError, match="not the same ones"):
        compare(video_table(), video_table(videos=5))


def test_a_column_with_nulls_is_no_cluster():
    table = video_table(videos=2, frames=2)
    table = table.append_column("subject_id", pa.array(["a", None, "b", "b"]))
    assert clusters_of(table).kind == "video_id"
    with pytest.raises(ValueError, match="nulls"):
        clusters_of(table, "subject_id")


def test_unlabelled_rows_are_counted():
    table = video_table(videos=1, frames=3)
    gone = pa.array([0.1, None, None], pa.float32())
    table = table.set_column(table.column_names.index("valence"), "valence", gone)
    with pytest.raises(ValueError, match="2 of 3 rows have no valence"):
        assess(table)


def test_an_unknown_convention_names_the_known():
    with pytest.raises(ValueError, match="ours, authors, torchmetrics"):
        assess(video_table(), convention="paper")


def test_classes_get_accuracy_with_an_interval():
    found = assess(class_table())
    bounds = found.intervals["accuracy"][0]
    assert bounds is not None and bounds.low < found.value("accuracy") < bounds.high
