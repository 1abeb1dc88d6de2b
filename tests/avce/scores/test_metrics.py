"""Scores against independent formulas, golden numbers, and any way of batching."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.regression import concordance_corrcoef, pearson_corrcoef

from avce.scores.metrics import (
    AXES,
    CONVENTIONS,
    MOMENTS,
    Confusion,
    Moments,
    Scores,
    ccc,
    pcc,
    pooled,
    scores_of,
    summed,
)

TRUTH = torch.tensor([0.1, -0.4, 0.0, 0.7, -0.2])[:, None]
GUESS = torch.tensor([0.2, -0.1, 0.05, 0.5, 0.1])[:, None]


def score(preds, target, **settings) -> Scores:
    axes = AXES if preds.shape[1] == 2 else ("valence",)
    moments = Moments(axes, **settings)
    moments.update(preds, target)
    return moments.scores()


def drawn(n: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(n, 2, generator=generator) * 2 - 1
    return 0.6 * target + 0.3 * torch.randn(n, 2, generator=generator) + 0.1, target


def test_golden_numbers():
    got = score(GUESS, TRUTH)
    assert got.rmse[0] == pytest.approx(0.2156386, abs=1e-7)
    assert got.sagr[0] == pytest.approx(0.6)
    assert got.pcc[0] == pytest.approx(0.9676860, abs=1e-7)
    assert got.ccc[0] == pytest.approx(0.7559055, abs=1e-7)
    assert (got.n, got.n_zero) == (5, (1,))
    assert score(GUESS, TRUTH, moments="sample").ccc[0] == pytest.approx(0.7656316, abs=1e-7)
    authors = score(GUESS, TRUTH, moments="authors_eval", zero="wrong")
    assert authors.ccc[0] == pytest.approx(0.9448819, abs=1e-7)
    assert authors.pcc[0] == pytest.approx(1.2096075, abs=1e-7)
    assert authors.sagr[0] == pytest.approx(0.6)
    assert score(GUESS, TRUTH, zero="ignore").sagr[0] == pytest.approx(0.75)


def test_against_formulas_written_in_numpy():
    preds, target = drawn(257)
    got = score(preds, target)
    for k in range(2):
        p, y = preds[:, k].double().numpy(), target[:, k].double().numpy()
        gap = (p.mean() - y.mean()) ** 2
        assert got.rmse[k] == pytest.approx(np.sqrt(np.mean((y - p) ** 2)), abs=1e-12)
        assert got.pcc[k] == pytest.approx(np.corrcoef(y, p)[0, 1], abs=1e-12)
        lin = 2 * np.cov(y, p, ddof=0)[0, 1] / (y.var() + p.var() + gap)
        assert got.ccc[k] == pytest.approx(lin, abs=1e-12)
        assert got.sagr[k] == pytest.approx(np.mean(np.sign(y) == np.sign(p)), abs=1e-12)


def test_sample_moments_are_those_of_torchmetrics():
    preds, target = drawn(100)
    got = score(preds, target, moments="sample")
    torch.testing.assert_close(
        torch.tensor(got.ccc), concordance_corrcoef(preds, target), atol=1e-5, rtol=0
    )  # theirs is float32
    torch.testing.assert_close(
        torch.tensor(got.pcc), pearson_corrcoef(preds, target), atol=1e-5, rtol=0
    )


@given(
    cuts=st.lists(st.integers(0, 200), max_size=8),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_batches_and_ranks_do_not_change_a_score(cuts, shift, seed):
    preds, target = drawn(200, seed)
    preds, target = preds.double() + shift, target.double() + shift
    whole = score(preds, target)
    ranks = [Moments(), Moments()]
    edges = [0, *sorted(cuts), 200]
    for i, (start, stop) in enumerate(itertools.pairwise(edges)):
        ranks[i % 2].update(preds[start:stop], target[start:stop])
    ranks[0].state = pooled(torch.stack([rank.state for rank in ranks]))
    merged = ranks[0].scores()
    # a shift of 1000 costs 6 of float64's 16 digits in a variance
    for name in ("rmse", "sagr", "pcc", "ccc"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), abs=1e-8)
    assert merged.n == 200


def test_mean_of_batch_rmse_is_never_above_the_whole_set():
    preds, target = drawn(128)
    preds[64:] *= 3
    moments = Moments(rmse="per_batch")
    moments.update(preds[:64], target[:64])
    moments.update(preds[64:], target[64:])
    per_batch, whole = moments.scores().rmse, score(preds, target).rmse
    assert all(a < b for a, b in zip(per_batch, whole, strict=True))


def test_clip_and_label_scale():
    preds = torch.tensor([[1.5], [-0.4], [0.2]], dtype=torch.float64)
    target = torch.tensor([[1.0], [-0.5], [0.25]], dtype=torch.float64)
    assert score(preds, target, clip=True).ccc == score(preds.clamp(-1, 1), target).ccc
    assert score(preds, target, label_scale=0.8).rmse == score(preds, target * 0.8).rmse


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7])
def test_constant_predictions_are_undefined_and_said_so(constant):
    target = drawn(20)[1][:, :1]
    with pytest.warns(RuntimeWarning, match="valence is undefined: 20 samples"):
        got = score(torch.full((20, 1), constant), target)
    assert math.isnan(got.ccc[0]) and math.isnan(got.pcc[0]) and got.rmse[0] > 0
    assert got.as_dict()["valence"]["ccc"] is None


@pytest.mark.filterwarnings("ignore:.*is undefined:RuntimeWarning")  # what is asked for here
def test_one_sample_or_none():
    assert math.isnan(score(GUESS[:1], TRUTH[:1]).ccc[0])
    assert math.isnan(Moments().scores().rmse[0])


def test_a_nan_is_an_error():
    with pytest.raises(ValueError, match="1 of 5 rows hold a prediction"):
        Moments(("valence",)).update(GUESS / TRUTH.where(TRUTH != 0, math.nan), TRUTH)
    with pytest.raises(ValueError, match="hold a label"):
        Moments(("valence",)).update(GUESS, TRUTH / 0)


def test_perfect_and_reversed():
    target = drawn(30)[1]
    assert ccc(target, target).tolist() == pytest.approx([1, 1])
    assert pcc(-target, target).tolist() == pytest.approx([-1, -1])
    n = 64
    y = drawn(n)[1].double()
    assert ccc(y, y, "authors_eval").tolist() == pytest.approx([n / (n - 1)] * 2)
    assert ccc(y, y, "authors_loss").tolist() == pytest.approx([(n - 1) / n] * 2)


def test_as_dict_is_what_eval_prints():
    printed = score(*drawn(10)).as_dict()
    assert set(printed) == {"n", "valence", "arousal", "mean_ccc", "convention"}
    assert {"rmse", "sagr", "pcc", "ccc"} <= set(printed["valence"])


def test_confusion_counts():
    counts = Confusion(3)
    logits = torch.eye(3)[[0, 1, 1, 2, 0]]
    counts.update(logits, torch.tensor([0, 1, 2, 2, 0]))
    counts.update(logits[:1], torch.tensor([1]))
    got = counts.scores()
    assert got.confusion == ((2, 0, 0), (1, 1, 0), (0, 1, 1))
    assert (got.n, got.accuracy) == (6, pytest.approx(4 / 6))
    assert got.mean_class_accuracy == pytest.approx((1 + 0.5 + 0.5) / 3)
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        counts.update(logits, torch.tensor([0, 1, 2, 3, 0]))


# ---------------------------------------------------------------------------- properties

METRICS = ("rmse", "sagr", "pcc", "ccc")
PARTS = st.lists(st.integers(1, 12), min_size=1, max_size=9)  # sizes of the parts of a set
POWER = st.integers(-30, 30).map(lambda e: 2.0**e)  # a factor that rounds nothing


def parts_of(sizes: list[int], seed: int):
    preds, target = drawn(sum(sizes), seed)
    codes = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return preds.double(), target.double(), codes


def direct(preds, target) -> dict[str, list[float]]:
    """The definitions, in numpy, two passes."""
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for p, y in zip(preds.numpy().T, target.numpy().T, strict=True):
        found["rmse"].append(np.sqrt(np.mean((p - y) ** 2)))
        found["sagr"].append(np.mean(np.sign(p) == np.sign(y)))
        cov = np.mean((p - p.mean()) * (y - y.mean()))
        found["pcc"].append(cov / (p.std() * y.std()))
        found["ccc"].append(2 * cov / (p.var() + y.var() + (p.mean() - y.mean()) ** 2))
    return found


@given(
    sizes=PARTS, times=st.lists(st.integers(0, 3), min_size=9, max_size=9), seed=st.integers(0, 9)
)
@settings(max_examples=60, deadline=None)
def test_a_draw_is_the_score_of_its_rows(sizes, times, seed):
    """Parts counted several times or not at all, against the rows repeated as often."""
    preds, target, codes = parts_of(sizes, seed)
    times = torch.tensor(times[: len(sizes)])
    rows = torch.repeat_interleave(torch.arange(len(codes)), times[codes])
    got = scores_of(pooled(summed(preds, target, codes), times.double()), CONVENTIONS["ours"])
    if len(rows) < 2 or preds[rows].std(0).min() == 0:
        assert got["ccc"].isnan().all()
        return
    for name, values in direct(preds[rows], target[rows]).items():
        assert got[name].tolist() == pytest.approx(values, abs=1e-11)  # spreads are about 0.1


@given(sizes=PARTS, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_order_of_merging_changes_nothing(sizes, seed):
    states = summed(*parts_of(sizes, seed))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(sizes)))
    one_by_one = states[order[0]]
    for at in order[1:]:
        one_by_one = pooled(torch.stack([states[at], one_by_one]))
    torch.testing.assert_close(one_by_one, pooled(states), atol=1e-13, rtol=1e-12)


@given(
    scale=POWER, shift=st.floats(-8, 8), seed=st.integers(0, 9), moments=st.sampled_from([*MOMENTS])
)
@settings(max_examples=60, deadline=None)
def test_correlations_do_not_know_units(scale, shift, seed, moments):
    """PCC: any unit on either side. CCC: one unit for both. Down to 1e-10 and up to 1e9."""
    preds, target = (x.double() for x in drawn(40, seed))
    was, now = (
        score(preds, target, moments=moments),
        score(preds * scale + scale * shift, target, moments=moments),
    )
    assert now.pcc == pytest.approx(was.pcc, abs=1e-12)
    both = score(preds * scale + scale * shift, (target + shift) * scale, moments=moments)
    assert both.ccc == pytest.approx(was.ccc, abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*is undefined:RuntimeWarning")
@given(
    spread=st.sampled_from([0.0, 3e-7, 1e-9, 1e-12, 1e-14]),
    level=st.sampled_from([0.0, 0.3, -1.0, 1000.0]),
    cut=st.integers(1, 199),
)
@settings(max_examples=60, deadline=None)
def test_there_is_one_meaning_of_constant(spread, level, cut):
    """The whole, its parts pooled, the function of the loss: all say the same of one column."""
    preds, target = (x.double()[:, :1] for x in drawn(200))
    preds = level + spread * preds
    distinct = float(preds.std(correction=0)) > 4 * np.finfo(float).eps * abs(float(preds.mean()))
    codes = (torch.arange(200) >= cut).long()
    answers = [
        score(preds, target).pcc[0],
        float(scores_of(summed(preds, target), CONVENTIONS["ours"])["pcc"]),
        float(scores_of(pooled(summed(preds, target, codes)), CONVENTIONS["ours"])["pcc"]),
        float(pcc(preds, target)),
    ]
    wanted = (
        np.corrcoef((preds - level).numpy().T, target.numpy().T)[0, 1] if distinct else math.nan
    )
    # a spread of few units in the last place leaves few digits of it
    digits = 1e-11 if not spread else 1e-11 + 20 * np.finfo(float).eps * abs(level) / spread
    assert answers == pytest.approx([wanted] * 4, abs=digits, nan_ok=True)


def test_many_equal_numbers_stay_constant_however_they_are_merged():
    """A sum of 100,000 tenths is rounded in its 11th digit; its parts' means must not differ."""
    moments = Moments(("valence",))
    rng = np.random.default_rng(0)
    for size in (1, 100_000, 3, 77_777, *rng.integers(1, 50, 300)):
        moments.update(
            torch.full((int(size), 1), 0.1, dtype=torch.float64), torch.rand(int(size), 1)
        )
    with pytest.warns(RuntimeWarning, match="of valence is undefined"):
        assert math.isnan(moments.scores().pcc[0])
