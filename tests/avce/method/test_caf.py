"""CAF's pieces against their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from avce.config import Config, with_settings
from avce.method.build import build_method
from avce.method.caf import (
    CAF,
    adaptive_margin,
    discriminator_loss,
    intensity_groups,
    intensity_threshold,
    mutual_information,
    neighbour_counts,
)
from avce.method.density import weights_at
from avce.recipes import RECIPES
from tests.avce.faces import faces


def scratch(*settings: str) -> Config:
    return with_settings(replace(RECIPES["caf"], weights="none"), settings)


def built(*settings: str) -> CAF:
    method = build_method(scratch(*settings))
    assert isinstance(method, CAF)
    return method


def information(u: float, w: float, s: float = 0.2) -> float:
    def gauss(centre: float) -> float:
        return math.exp(-((w - centre) ** 2) / (2 * s))

    return math.log(gauss(u) / (0.5 * gauss(-1) + 0.5 * gauss(1)))


def test_mutual_information():
    got = mutual_information(torch.tensor([[0.2, 0.5]]), torch.tensor([[0.1, -0.3]]))
    assert float(got) == pytest.approx(1.3247227, abs=1e-6)
    u, w = torch.rand(2, 5, 3, dtype=torch.float64) * 2 - 1
    wanted = [
        min(
            max(sum(information(float(a), float(b)) for a, b in zip(p, q, strict=True)) / 3, 0), 2.5
        )
        for p, q in zip(u, w, strict=True)
    ]
    torch.testing.assert_close(mutual_information(u, w), torch.tensor(wanted, dtype=torch.float64))
    far = mutual_information(torch.zeros(1, 2), torch.full((1, 2), 50.0))
    assert float(far) == 0  # no overflow, and the clamp


def test_neighbours_until_a_clear_majority():
    torch.manual_seed(0)
    points, labels = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 2
    points[labels == 1] += 2
    counts = neighbour_counts(points, labels, 0.7)
    for i in range(30):
        others = sorted(
            (j for j in range(30) if j != i), key=lambda j: float((points[i] - points[j]).norm())
        )
        wanted = 30
        for k in range(1, 30):
            ones = sum(int(labels[j]) for j in others[:k])
            if max(ones, k - ones) / k - 0.5 > 0.7 / math.sqrt(k):
                wanted = k
                break
        assert int(counts[i]) == wanted


def test_margins_and_the_released_off_by_one():
    counts = torch.tensor([1, 4, 9])
    torch.testing.assert_close(adaptive_margin(counts, 8), torch.tensor([0.7, 0.35, 0.7 / 3]))
    off = adaptive_margin(counts, 8, off_by_one=True)
    torch.testing.assert_close(off, 0.7 / torch.tensor([9.0, 3.0, 8.0]).sqrt())


def test_groups():
    target = torch.tensor([(0.9, 0), (0.1, 0), (0, 0.5), (0.0, 0.05), (0.6, 0.6)])
    threshold = intensity_threshold(target, "quantile", 0.5)
    assert float(threshold) == pytest.approx(0.25)
    strong, weak = intensity_groups(target, threshold)
    assert (strong.tolist(), weak.tolist()) == ([0, 4], [1, 3])
    everywhere = torch.full((4, 2), 0.3)
    strong, weak = intensity_groups(everywhere, torch.tensor(9.0))
    assert strong.tolist() == weak.tolist() == [0, 1, 2, 3]  # no strong one: weak stands in
    loud = torch.full((4, 2), 0.9)
    assert not any(map(len, intensity_groups(loud, torch.tensor(9.0))))


def test_the_authors_threshold_depends_on_order():
    target = torch.tensor([(0.1, 0.1), (0.2, 0.4), (0.3, 0.2), (0.4, 0.3)])
    # valence: min at 0, max at 3, middle 1; arousal: min at 0, max at 1, middle 0
    wanted = math.hypot(0.3 / 1.0, 0.1 / 1.0) + 0.25
    assert float(intensity_threshold(target, "authors")) == pytest.approx(wanted)
    assert float(intensity_threshold(target.flip(0), "authors")) != pytest.approx(wanted)


def test_the_authors_search_moves_on_by_two_where_an_axis_sums_below_zero():
    axis = torch.tensor([-0.9, -0.4, 0.5, -0.1, -0.1, -0.6])
    # extremes at 0 and 2, middle 1: -1.3 of -1.6 is between 0.95 and 0.75 of the sum; at 3, -0.9 is
    # not less than 0.75 of it
    target = torch.stack([axis, torch.full((6,), 0.5)], 1)
    wanted = math.hypot(0.9 / 1.6, 0.5 / 3.0) + 0.25
    assert float(intensity_threshold(target, "authors")) == pytest.approx(wanted)


def test_the_discriminators_loss_is_its_definition():
    torch.manual_seed(1)
    n = 6
    strong, weak = torch.randn(2, n, 3, dtype=torch.float64) * 0.3
    margin = torch.rand(n, dtype=torch.float64)
    multiplier, penalty = torch.tensor(0.3, dtype=torch.float64), 0.1
    got, omega = discriminator_loss(strong, weak, margin, multiplier, penalty)
    pulled, pushed = [], []
    for i in range(n):
        j = n - 1 - i
        pulled.append(float((strong[i] - strong[j]).square().sum()))
        shared = float(mutual_information(strong[i : i + 1], weak[j : j + 1]))
        distance = float((strong[i] - weak[j]).square().sum())
        pushed.append(max(0.0, shared + float(margin[i]) - distance))
    constraint = 1 - 0.5 * sum(v * v for v in pulled) / n - 0.5 * sum(v * v for v in pushed) / n
    wanted = sum(pulled) / n + sum(pushed) / n + 0.3 * constraint - penalty / 2 * constraint**2
    assert float(omega) == pytest.approx(constraint)
    assert float(got) == pytest.approx(wanted)


def test_each_phase_reaches_only_what_it_trains():
    method = built().train()
    image, target, _ = faces()
    for phase, trained in method.phases.items():
        torch.stack(list(method(image, target, phase).values())).sum().backward()
        reached = {
            name
            for name, part in method.networks.items()
            if any(p.grad is not None for p in part.parameters())
        }
        assert reached == set(trained)
        method.zero_grad(set_to_none=True)
    assert all(p.requires_grad for p in method.discriminator.parameters())


def test_the_multiplier_grows_by_the_constraint_in_training_only():
    method = built("caf_penalty=0.5").eval()
    image, target, _ = faces()
    method(image, target, "discriminator")
    assert float(method.multiplier) == 0
    method.train()
    method(image, target, "discriminator")["discriminator"].backward()
    assert float(method.multiplier) != 0


def test_what_cannot_be_used_is_skipped_and_counted():
    method = built().train()
    optimizers = method.optimizers()
    image, _, _ = faces()
    loud = torch.full((16, 2), 0.9)  # nobody is above the quantile, nobody is weak
    before = [p.clone() for p in method.parameters()]
    for phase in ("discriminator", "adversarial"):
        sum(method(image, loud, phase).values()).backward()
        for name in method.phases[phase]:
            optimizers[name].step()
    assert int(method.skipped) == 2
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))
    with torch.no_grad():
        method.discriminator.fc3.bias.fill_(math.nan)
    assert method(image, faces()[1], "discriminator")["discriminator"].item() == 0
    assert int(method.skipped) == 3


def test_the_supervised_loss_is_a_root():
    method = built("dropout=0")
    image, target, _ = faces()
    losses = method(image, target, "supervised")
    errors = (method.predict(image) - target).square().mean(0).sqrt().sum()
    torch.testing.assert_close(losses["rmse"], errors, atol=1e-6, rtol=1e-4)
    assert method.predict(image).std().item() > 0
    with pytest.raises(ValueError, match="supervised, discriminator, adversarial"):
        method(image, target, "main")


def test_errors_weigh_by_how_rare_their_label_is():
    method = built("dropout=0", "reweigh=plane")
    image, target, _ = faces()
    weights = weights_at(method.reweigh(target), target)
    losses = method(image, target, "supervised")
    squares = (method.predict(image) - target).square()
    errors = (weights[:, None] * squares).mean(0).sqrt().sum()
    torch.testing.assert_close(losses["rmse"], errors, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("settings", [("caf_threshold=authors", "caf_margin=authors"), ()])
def test_quirks_are_options(settings):
    method = built(*settings).train()
    image, target, _ = faces()
    assert torch.isfinite(method(image, target, "discriminator")["discriminator"])
