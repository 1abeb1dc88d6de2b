"""Every loss against a slow loop written from its definition in float64, its golden number and
its limits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from avce.method.losses import (
    AVCELoss,
    BarlowTwinsLoss,
    DiscriminativeLoss,
    InfoNCELoss,
    RegressionLoss,
    relative_predictive_coding,
)
from avce.method.miners import Miner
from avce.method.similarity import ANGULAR, AUTHORS, POLAR, Similarity
from avce.scores.metrics import ccc, pcc

X = torch.tensor([(0.3, 0.4), (0.6, -0.2), (-0.1, 0.5)], dtype=torch.float64)
Y = torch.tensor([(0.4, 0.3), (0.5, 0.1), (0.2, 0.4)], dtype=torch.float64)
Z = torch.tensor([(-0.2, 0.1), (0.1, -0.4), (-0.3, -0.3)], dtype=torch.float64)
ALPHA, BETA, GAMMA = 0.5, 0.005, 0.5


def drawn(n: int = 6, d: int = 2):
    generator = torch.Generator().manual_seed(n)
    return tuple(torch.randn(3, n, d, generator=generator, dtype=torch.float64))


def f(x, y) -> float:
    cosine = float(x @ y / (x.norm() * y.norm()))
    return 1 - math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def matrix(x, y) -> list[list[float]]:
    return [[f(a, b) for b in y] for a in x]


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def objective(positive, negative) -> float:
    return (
        mean(positive)
        - ALPHA * mean(negative)
        - BETA / 2 * mean(v * v for v in positive)
        - GAMMA / 2 * mean(v * v for v in negative)
    )


def value(loss) -> float:
    return float(loss)


def test_golden_numbers():
    assert value(-AVCELoss()(X, Y, Z)) == pytest.approx(0.5404776, abs=1e-7)
    assert value(InfoNCELoss(temperature=0.5)(X, Y, Z)) == pytest.approx(0.7857841, abs=1e-7)
    v = torch.tensor([(1, 0, 2), (0.5, 0.5, 0)], dtype=torch.float64)
    v_a = torch.tensor([(0.9, 0.1, 1), (0.4, 0.6, 0.1)], dtype=torch.float64)
    v_n = torch.tensor([(0.2, 0.3, 0.5), (0.3, 0.9, 0.2)], dtype=torch.float64)
    loss = DiscriminativeLoss()
    assert value(loss(v, v_a, v_n)) == pytest.approx(0.5426305, abs=1e-7)
    assert value(DiscriminativeLoss(hold_weight=0.0)(v, v_a, v_n)) == pytest.approx(0.555)
    assert value(loss._hold(v_a, v)) == pytest.approx(-0.7411480, abs=1e-6)
    assert value(loss._hold(v_n, v)) == pytest.approx(-0.4958007, abs=1e-6)


@pytest.mark.parametrize("negatives", ["paired", "shuffled", "batch", "batch_all"])
def test_avce_is_its_definition(negatives):
    x, y, z = drawn()
    n = len(x)
    pairs = {
        "paired": [(i, i) for i in range(n)],
        "shuffled": [(i, (i - 1) % n) for i in range(n)],
        "batch": [(i, j) for i in range(n) for j in range(n) if i != j],
        "batch_all": list(itertools.product(range(n), range(n))),
    }[negatives]
    wanted = objective([f(x[i], y[i]) for i in range(n)], [f(x[i], z[j]) for i, j in pairs])
    got = AVCELoss(negatives=negatives)(x, y, z)
    assert value(got) == pytest.approx(-wanted, abs=1e-9)
    summed = AVCELoss(negatives=negatives, reduction="sum")(x, y, z)
    assert value(summed) == pytest.approx(-n * wanted, abs=1e-8)


def test_the_posters_form_has_no_squares():
    x, y, z = drawn()
    positive, negative = (
        [f(a, b) for a, b in zip(x, y, strict=False)],
        [f(a, b) for a, b in zip(x, z, strict=False)],
    )
    wanted = (1 - BETA / 2) * mean(positive) - (ALPHA + GAMMA / 2) * mean(negative)
    assert value(AVCELoss(second_moment=False)(x, y, z)) == pytest.approx(-wanted, abs=1e-9)


def test_the_released_sum_with_its_shape_slip():
    x, y, z = drawn()
    n = len(x)

    def f0(a, b):
        a_len, b_len = float(a.norm()) + 1e-8, float(b.norm()) + 1e-8
        angular = 1 - 0.25 * math.acos(float(a @ b) / (2 * a_len * b_len)) / math.pi
        return angular + 0.8 * (1 - abs(float(a.norm()) - float(b.norm())))

    def penalty(a, b):
        return 0.5 * (math.copysign(1, a[0]) != math.copysign(1, b[0]))

    plus = [[f0(x[i], y[i]) - 0.1 * penalty(x[k], y[k]) for k in range(n)] for i in range(n)]
    minus = [[f0(x[i], z[i]) - 0.1 * penalty(x[k], z[k]) for k in range(n)] for i in range(n)]
    flat_minus = [v for row in minus for v in row]
    mean_minus, mean_minus_2 = mean(flat_minus), mean(v * v for v in flat_minus)
    wanted = mean(
        sum(
            plus[i][k] - ALPHA * mean_minus - BETA / 2 * plus[i][k] ** 2 - GAMMA / 2 * mean_minus_2
            for i in range(n)
        )
        for k in range(n)
    )
    got = AVCELoss(AUTHORS, reduction="sum")(x, y, z)
    assert value(got) == pytest.approx(-wanted, abs=1e-6)  # norms carry the authors' 1e-8


def test_objective_bounds_and_optimum():
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 50, generator=generator, dtype=torch.float64)
    p, q = p / p.sum(), q / q.sum()  # two distributions over 50 outcomes
    best = (p / q - ALPHA) / (BETA * p / q + GAMMA)

    def j(table):
        return (
            (p * table).sum()
            - ALPHA * (q * table).sum()
            - BETA / 2 * (p * table.square()).sum()
            - GAMMA / 2 * (q * table.square()).sum()
        )

    table = best.clone().requires_grad_()
    j(table).backward()
    torch.testing.assert_close(table.grad, torch.zeros_like(best), atol=1e-14, rtol=0)
    assert bool((best >= -ALPHA / GAMMA).all()) and bool((best <= 1 / BETA).all())
    at_best = 0.5 * ((BETA * p + GAMMA * q) * best.square()).sum()
    torch.testing.assert_close(j(best), at_best)
    assert 0 <= float(at_best) <= 1 / (2 * BETA) + ALPHA**2 / (2 * GAMMA) == 100.25
    for noise in torch.randn(20, 50, generator=generator, dtype=torch.float64):
        assert float(j(best + 0.1 * noise)) <= float(at_best)
    corners = {
        (a, b): float(relative_predictive_coding(*(torch.tensor(v) for v in (a, b, b * b))))
        for a, b in itertools.product((0.0, 0.5, 1.0), repeat=2)
    }
    assert max(corners, key=lambda key: corners[key]) == (1.0, 0.0)


def test_infonce_is_its_definition():
    x, y, z = drawn()
    t = 0.3
    table = matrix(x, z)
    wanted = mean(
        -math.log(
            math.exp(f(x[i], y[i]) / t)
            / (math.exp(f(x[i], y[i]) / t) + sum(math.exp(v / t) for v in table[i]))
        )
        for i in range(len(x))
    )
    assert value(InfoNCELoss(temperature=t)(x, y, z)) == pytest.approx(wanted, abs=1e-9)
    summed = InfoNCELoss(temperature=t, reduction="sum")(x, y, z)
    assert value(summed) == pytest.approx(wanted * len(x), abs=1e-8)
    two_way = mean(
        math.log(1 + math.exp((f(x[i], z[i]) - f(x[i], y[i])) / t)) for i in range(len(x))
    )
    paired = InfoNCELoss(temperature=t, negatives="paired")(x, y, z)
    assert value(paired) == pytest.approx(two_way, abs=1e-9)


@pytest.mark.parametrize("hard", [False, True])
def test_debiased_and_hard_infonce_are_their_definitions(hard):
    x, y, z = drawn(8)
    n, t, b, prior = 8, 0.5, 1.0, 0.1
    table = matrix(x, z)
    wanted = []
    for i in range(n):
        pos = math.exp(f(x[i], y[i]) / t)
        imp = [math.exp(v / t) ** b if hard else 1.0 for v in table[i]]
        total = sum(w * math.exp(v / t) for w, v in zip(imp, table[i], strict=False)) / mean(imp)
        negative = max((total - prior * n * pos) / (1 - prior), n * math.exp(0))
        wanted.append(-math.log(pos / (pos + negative)))
    miner = Miner(
        "hard_weight" if hard else "debiased_weight", hardness=b, temperature=t, prior=prior
    )
    assert value(InfoNCELoss(temperature=t, miner=miner)(x, y, z)) == pytest.approx(
        mean(wanted), abs=1e-9
    )


@pytest.mark.parametrize("hard", [False, True])
def test_debiased_and_hard_avce_are_their_definitions(hard):
    x, y, z = drawn(8)
    n, prior = 8, 0.1
    table = matrix(x, z)
    total = 0.0
    for i in range(n):
        fp = f(x[i], y[i])
        w = [math.exp(v) if hard else 1.0 for v in table[i]]
        w = [v / mean(w) for v in w]
        first = mean(a * v for a, v in zip(w, table[i], strict=False))
        second = mean(a * v * v for a, v in zip(w, table[i], strict=False))
        first = max((first - prior * fp) / (1 - prior), 0)
        second = max((second - prior * fp * fp) / (1 - prior), 0)
        total += fp - ALPHA * first - BETA / 2 * fp * fp - GAMMA / 2 * second
    miner = Miner("hard_weight" if hard else "debiased_weight", prior=prior)
    got = AVCELoss(negatives="batch_all", miner=miner)(x, y, z)
    assert value(got) == pytest.approx(-total / n, abs=1e-9)


def test_selection_enters_the_means():
    x, y, z = drawn(10)
    kept = sorted(f(x[i], z[i]) for i in range(10))[:8]
    wanted = objective([f(x[i], y[i]) for i in range(10)], kept)
    got = AVCELoss(miner=Miner("debiased_select", keep=0.8))(x, y, z)
    assert value(got) == pytest.approx(-wanted, abs=1e-9)
    hard = sorted(f(x[i], z[i]) for i in range(10))[-8:]
    got = AVCELoss(miner=Miner("hard_select", keep=0.8, top=True))(x, y, z)
    wanted = objective([f(x[i], y[i]) for i in range(10)], hard)
    assert value(got) == pytest.approx(-wanted, abs=1e-9)


LIMITS = [
    Miner("debiased_select", keep=1.0),
    Miner("hard_select", keep=1.0),
    Miner("debiased_weight", prior=0.0),
    Miner("hard_weight", hardness=0.0, prior=0.0),
]


@pytest.mark.parametrize("miner", LIMITS, ids=lambda miner: miner.kind)
@pytest.mark.parametrize("brick", [AVCELoss, InfoNCELoss, BarlowTwinsLoss])
def test_at_their_limits_miners_change_nothing(brick, miner):
    x, y, z = drawn(7)
    settings = {} if brick is BarlowTwinsLoss else {"negatives": "batch_all"}
    if brick is BarlowTwinsLoss and miner.kind.endswith("weight"):
        pytest.skip("Barlow-Twins has no weighting form")
    mined = brick(miner=miner, **settings)(x, y, z)
    torch.testing.assert_close(mined, brick(**settings)(x, y, z), atol=1e-12, rtol=0)


def test_hardness_zero_of_hcl_is_dcl():
    x, y, z = drawn(7)
    hard = InfoNCELoss(miner=Miner("hard_weight", hardness=0.0))(x, y, z)
    debiased = InfoNCELoss(miner=Miner("debiased_weight"))(x, y, z)
    torch.testing.assert_close(hard, debiased)


def test_weighting_needs_anchors():
    for brick in (AVCELoss, InfoNCELoss):
        with pytest.raises(ValueError, match="negatives of each anchor"):
            brick(negatives="paired", miner=Miner("hard_weight"))


def test_barlow_twins_is_its_definition():
    x, y, z = drawn(9)

    def standard(a):
        return (a - a.mean(0)) / (a.std(0, unbiased=False).square() + 1e-5).sqrt()

    def table(a, b):
        a, b = standard(a), standard(b)
        return [
            [mean(a[i, k] * b[i, m] for i in range(len(a))) for m in range(2)] for k in range(2)
        ]

    c = table(x, y)
    wanted = sum((1 - c[k][k]) ** 2 for k in range(2)) + 0.0051 * (c[0][1] ** 2 + c[1][0] ** 2)
    assert value(BarlowTwinsLoss(negative_weight=0.0)(x, y, z)) == pytest.approx(float(wanted))
    kept = torch.tensor(sorted(range(9), key=lambda i: f(x[i], z[i]))[:7])
    selected = sum(v * v for row in table(x[kept], z[kept]) for v in row)
    miner = Miner("debiased_select", keep=0.8)
    got = BarlowTwinsLoss(negative_weight=0.3, miner=miner)(x, y, z)
    assert value(got) == pytest.approx(float(wanted + 0.3 * selected))


def test_discriminative_is_its_definition():
    v, a, b = (side.abs() for side in drawn(5, 8))

    def unit(u):
        return u / (float(u.norm()) + 1e-6)

    push = mean(max(0.0, 1 - float(((a[i] - b[i]) ** 2).sum())) for i in range(5))
    hold = sum(mean(float((unit(w[i]) - unit(v[i])).norm()) for i in range(5)) - 1 for w in (a, b))
    assert value(DiscriminativeLoss()(v, a, b)) == pytest.approx(push + 0.01 * hold, abs=1e-9)


def test_regression_is_its_definition():
    preds, target, _ = drawn(20)
    got = RegressionLoss()(preds, target)
    errors = [
        mean((float(p) - float(t)) ** 2 for p, t in zip(preds[:, k], target[:, k], strict=False))
        for k in (0, 1)
    ]
    assert value(got["mse"]) == pytest.approx(sum(errors))
    assert value(got["pcc"]) == pytest.approx(
        0.5 * (1 - float(pcc(preds, target).mean())), abs=1e-7
    )
    assert value(got["ccc"]) == pytest.approx(
        0.5 * (1 - float(ccc(preds, target).mean())), abs=1e-7
    )
    roots = RegressionLoss(error="rmse")(preds, target)
    assert value(roots["rmse"]) == pytest.approx(sum(math.sqrt(e) for e in errors), abs=1e-7)
    weights = torch.linspace(0, 2, len(preds), dtype=torch.float64)
    weighed = RegressionLoss()(preds, target, weights)
    pairs = zip(weights, (preds - target).tolist(), strict=True)
    slow = sum(float(w) * e**2 for w, errors in pairs for e in errors)
    assert value(weighed["mse"]) == pytest.approx(slow / len(preds))
    assert weighed["ccc"] == got["ccc"] and weighed["pcc"] == got["pcc"]
    assert set(RegressionLoss(0.0)(preds, target)) == {"mse"}
    assert set(RegressionLoss()(preds[:1], target[:1])) == {"mse"}  # one sample: no correlation


def test_the_authors_moments_leave_a_perfect_prediction_a_loss():
    target = drawn(256)[0]
    perfect = RegressionLoss(moments="authors_loss")(target, target)
    assert value(perfect["pcc"]) == pytest.approx(0.5 / 256, abs=1e-6)
    assert value(RegressionLoss()(target, target)["ccc"]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [7e-5, 1e-8, 1e-12])
def test_correlations_have_no_scale(spread, dtype):
    """A network at its start says nearly the same of every face, and an eps of 1e-8 in the root of
    two variances then outweighs both."""
    preds, target = (x.to(dtype) for x in drawn(64)[:2])
    preds = preds - preds.mean(0)
    small = (spread * preds).requires_grad_()
    got = RegressionLoss(1.0)(small, target)["pcc"]
    plain = preds.clone().requires_grad_()
    wanted = RegressionLoss(1.0)(plain, target)["pcc"]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)  # float32
    slope, plain_slope = (torch.autograd.grad(x, y)[0] for x, y in ((got, small), (wanted, plain)))
    torch.testing.assert_close(slope * spread, plain_slope, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("case", ["constant", "zero", "parallel", "opposite"])
def test_gradients_are_finite_where_predictions_collapse(case):
    target = drawn(6)[0].float()
    start = {
        "constant": torch.full((6, 2), 0.1),
        "zero": torch.zeros(6, 2),
        "parallel": target.clone(),
        "opposite": -target,
    }[case].requires_grad_()
    losses = [*RegressionLoss()(start, target).values()]
    for similarity in (ANGULAR, POLAR, AUTHORS, Similarity(sign_weight=0.05)):
        losses.append(AVCELoss(similarity)(start, target, -target))
        plain = Similarity(similarity.angle, intensity_weight=similarity.intensity_weight)
        losses.append(InfoNCELoss(plain)(start, target, -target))
    losses.append(BarlowTwinsLoss()(start, target, -target))
    losses.append(DiscriminativeLoss()(start, target, start))
    sum(losses).backward()
    assert start.grad is not None and bool(torch.isfinite(start.grad).all())


@pytest.mark.parametrize("negatives", ["shuffled", "batch"])
def test_other_samples_are_needed(negatives):
    with pytest.raises(ValueError, match="batch of 2 or more"):
        AVCELoss(negatives=negatives)(X[:1], Y[:1], Z[:1])
