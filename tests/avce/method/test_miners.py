"""Miners: what they keep, what they draw, what they recover, and when they change nothing."""

from __future__ import annotations

import pytest
import torch

from avce.method.miners import Miner, debiased_select, hard_select, hard_weight, true_negative_mean

F = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0.7]], dtype=torch.float64)


def test_debiased_drops_the_most_similar_pairs():
    assert debiased_select(F, 0.8).tolist() == [[0, 1.25, 1.25, 1.25, 1.25]]
    assert debiased_select(F, 0.6).tolist()[0][4] == 0


def test_hard_top_keeps_the_most_similar_pairs():
    weights = hard_select(F, 0.4, top=True)
    assert weights.tolist() == [[2.5, 0, 0, 0, 2.5]]


def test_hard_draws_without_replacement_by_importance():
    torch.manual_seed(0)
    rows = F.expand(20_000, 5)
    drawn = hard_select(rows, 0.2, hardness=1.0, temperature=0.5) > 0
    wanted = torch.softmax(F[0] / 0.5, 0)
    # one of five: the share of each pair is its probability; standard error is below 0.004
    torch.testing.assert_close(drawn.double().mean(0), wanted, atol=0.015, rtol=0)
    several = hard_select(rows, 0.6) > 0
    assert set(several.sum(1).tolist()) == {3}
    even = (hard_select(rows, 0.4, hardness=0.0) > 0).double().mean(0)
    torch.testing.assert_close(even, torch.full_like(even, 0.4), atol=0.015, rtol=0)


@pytest.mark.parametrize("kind", ["none", "debiased_select", "hard_select", "hard_weight"])
def test_weights_have_mean_one(kind):
    weights = Miner(kind, keep=0.7).weights(torch.rand(6, 10, dtype=torch.float64))
    torch.testing.assert_close(weights.mean(-1), torch.ones(6, dtype=torch.float64))


def test_limits_change_nothing():
    ones = torch.ones_like(F)
    torch.testing.assert_close(debiased_select(F, 1.0), ones)
    torch.testing.assert_close(hard_select(F, 1.0), ones)
    torch.testing.assert_close(hard_weight(F, 0.0), ones)
    torch.testing.assert_close(true_negative_mean(F[0], F[0].flip(0), 0.0, 0.0), F[0])


def test_hard_weight_is_its_definition():
    wanted = torch.exp(2 * F) / torch.exp(2 * F).mean(-1, keepdim=True)
    torch.testing.assert_close(hard_weight(F, 2.0), wanted)


def test_debiasing_recovers_the_true_negatives():
    generator = torch.Generator().manual_seed(0)
    prior, n = 0.1, 400_000
    positives = 0.7 + 0.3 * torch.rand(n, generator=generator, dtype=torch.float64)
    negatives = 0.5 * torch.rand(n, generator=generator, dtype=torch.float64)
    hidden = torch.rand(n, generator=generator) < prior
    mixed = torch.where(hidden, positives, negatives)
    for power in (1, 2):
        estimate = true_negative_mean(
            mixed.pow(power).mean(), positives.pow(power).mean(), prior, 0.0
        )
        truth = negatives.pow(power).mean()
        torch.testing.assert_close(estimate, truth, atol=2e-3, rtol=0)  # 4 standard errors
    clamped = true_negative_mean(torch.tensor(0.0), torch.tensor(1.0), prior, 0.0)
    assert float(clamped) == 0


def test_only_the_weighting_rules_use_a_prior():
    assert Miner("hard_select").positive_prior == 0
    assert Miner("debiased_weight", prior=0.2).positive_prior == 0.2
