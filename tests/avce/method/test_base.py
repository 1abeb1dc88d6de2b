"""What every method shares: its networks, an optimiser each, modes, and full precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avce.config import Config
from avce.method.base import Method, full, supervised_loss
from avce.method.build import build_model
from avce.recipes import RECIPES

CONFIG = replace(RECIPES["demo"], image_size=64)


class TwoHeads(Method):
    """The smallest method with heads."""

    heads = ("projection", "extra_head")

    def __init__(self, config: Config) -> None:
        super().__init__(build_model(config), config)
        self.projection, self.extra_head = torch.nn.Linear(32, 2), torch.nn.Linear(32, 1)


@pytest.fixture(scope="module")
def method() -> TwoHeads:
    return TwoHeads(CONFIG)


def test_networks_follow_the_data_and_hold_every_parameter_once(method: TwoHeads):
    assert list(method.networks) == ["encoder", "compressor", "regressor", *method.heads]
    parts = [id(p) for part in method.networks.values() for p in part.parameters()]
    assert sorted(parts) == sorted(id(p) for p in method.parameters())


def test_what_predicts_has_adam_and_heads_have_sgd(method: TwoHeads):
    found = method.optimizers()
    assert list(found) == list(method.networks)
    for name, optimizer in found.items():
        (group,) = optimizer.param_groups
        head = name in method.heads
        assert isinstance(optimizer, torch.optim.SGD if head else torch.optim.Adam)
        assert group["lr"] == (CONFIG.head_lr if head else CONFIG.lr)
        assert head or group["betas"] == CONFIG.betas


def test_the_compressor_may_learn_at_a_rate_of_its_own(method: TwoHeads):
    found = method.optimizers(replace(CONFIG, compressor_lr=1e-6))
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in found.items()}
    assert rates.pop("compressor") == 1e-6
    assert rates["encoder"] == rates["regressor"] == CONFIG.lr


def test_the_baseline_has_sgd_throughout(method: TwoHeads):
    found = method.optimizers(replace(CONFIG, optimizer="sgd", lr=0.5))
    assert {type(optimizer) for optimizer in found.values()} == {torch.optim.SGD}
    assert found["encoder"].param_groups[0]["lr"] == 0.5
    assert found["projection"].param_groups[0]["lr"] == CONFIG.head_lr


def test_the_released_slip_keeps_all_but_the_extra_head_asleep():
    slip, plain = TwoHeads(replace(CONFIG, authors_eval_mode=True)), TwoHeads(CONFIG)
    assert all(part.training for part in plain.train().modules())
    slip.train()
    awake = {name: part.training for name, part in slip.networks.items()}
    assert awake == {name: name == "extra_head" for name in awake} and slip.training
    assert not any(part.training for part in slip.eval().modules())


def test_a_method_without_losses_says_so(method: TwoHeads):
    with pytest.raises(NotImplementedError):
        method(torch.zeros(1, 3, 64, 64), torch.zeros(1, 2), "main")
    assert method.gauges() == {}


def test_losses_are_computed_in_float32_at_least():
    for given, wanted in (
        (torch.float16, torch.float32), (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32), (torch.float64, torch.float64),
    ):  # fmt: skip
        values = torch.tensor([1.5], dtype=given)
        assert full(values).dtype == wanted and float(full(values)) == 1.5


def test_labels_are_scaled_on_the_plane_and_codes_are_not():
    plane = TwoHeads(replace(CONFIG, label_scale=2.0))
    target = torch.tensor([[0.25, -0.5]], dtype=torch.float64)
    torch.testing.assert_close(plane._labels(target), 2 * target)
    codes = torch.tensor([3, 1])
    assert torch.equal(TwoHeads(replace(CONFIG, task="expression"))._labels(codes), codes)


def test_the_supervised_loss_is_the_mean_squared_error_where_it_stands_alone():
    preds = torch.tensor([[0.1, 0.2], [0.5, -0.3], [-0.4, 0.9]], dtype=torch.float64)
    target = torch.tensor([[0.3, 0.1], [0.4, -0.2], [-0.1, 0.6]], dtype=torch.float64)
    alone = supervised_loss(replace(CONFIG, supervised="mse_only"))
    squared = sum(((preds[:, k] - target[:, k]) ** 2).mean() for k in (0, 1))
    torch.testing.assert_close(torch.stack(list(alone(preds, target).values())).sum(), squared)


def test_errors_weigh_by_how_rare_their_label_is_as_it_was_labelled():
    """The cells are of labels before `label_scale`, and the correlations stay as they are."""
    config = replace(CONFIG, reweigh="plane", label_scale=0.5, gather=True)
    method = TwoHeads(config)
    method.supervised = supervised_loss(config)
    target = torch.tensor([[0.9, 0.9], [0.1, 0.2], [0.1, 0.2], [0.11, 0.21]], dtype=torch.float64)
    preds = torch.tensor([[0.3, 0.1], [0.2, 0.1], [-0.3, 0.4], [0.1, 0.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"call method.reweigh\(labels\) before training"):
        method._regressed(preds, target)
    method.reweigh(target.numpy())
    weights = torch.tensor([2.0, 2 / 3, 2 / 3, 2 / 3])  # 1/1 and 1/3, of mean 1
    losses = method._regressed(preds, target)
    wanted = (weights[:, None] * (preds - 0.5 * target).square()).mean(0).sum()
    torch.testing.assert_close(losses["mse"], wanted, atol=1e-6, rtol=0)  # weights are float32
    plain = TwoHeads(replace(config, reweigh="none"))
    plain.supervised = method.supervised
    for name in ("pcc", "ccc"):
        assert losses[name] == plain._regressed(preds, target)[name]


def test_weights_of_labels_are_no_part_of_what_is_saved():
    method = TwoHeads(replace(CONFIG, reweigh="plane"))
    names = set(method.state_dict())
    method.reweigh(torch.zeros(3, 2))
    assert set(method.state_dict()) == names
