"""Methods: phases, what each trains, modes, gradients; and every recipe learns on drawn faces."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from avce.config import Config, with_settings
from avce.method.build import Method, build_method
from avce.method.encoders import AlexNetTrunk
from avce.method.losses import AVCELoss
from avce.method.models import SleeplessDropout
from avce.recipes import RECIPES
from tests.avce.faces import faces

DEEP = {"resnet50", "resnet101"}  # dear, and content with few pixels


def scratch(name: str, *settings: str) -> Config:
    return with_settings(replace(RECIPES[name], weights="none"), settings)


def batch(config: Config, n: int = 16, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    image, target, codes = faces(n, size)
    return image, codes if config.task == "expression" else target


def step(method: Method, optimizers, image, target) -> dict[str, float]:
    """One iteration as the trainer does it; the losses by name."""
    seen: dict[str, float] = {}
    for phase, trained in method.phases.items():
        losses = method(image, target, phase)
        torch.stack(list(losses.values())).sum().backward()
        for name in trained:
            optimizers[name].step()
        method.zero_grad(set_to_none=True)
        seen |= {name: float(loss.detach()) for name, loss in losses.items()}
    return seen


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "avce"])  # it is paper
def test_every_recipe_learns(name):
    config = scratch(name, "dropout=0")  # whose noise hides the progress of 20 steps
    torch.manual_seed(0)  # of hard_select's draws
    image, target = batch(config, 4, 32) if name in DEEP else batch(config, 8)
    method = build_method(config).train()
    optimizers = method.optimizers(config)
    assert set(optimizers) == set(method.networks)
    assert {part for trained in method.phases.values() for part in trained} == set(optimizers)
    history = [step(method, optimizers, image, target) for _ in range(20)]
    learned = {"mse", "rmse", "pcc", "ccc", "cross_entropy"} & set(history[0])
    totals = [sum(losses[key] for key in learned) for losses in history]
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in history)
    assert sum(totals[-4:]) < sum(totals[:4])
    again = build_method(replace(config, seed=9))
    again.load_state_dict(load(save(method.state_dict())))
    with torch.no_grad():
        wanted, got = method.eval().predict(image), again.eval().predict(image)
    if not config.authors_r18_dropout:
        torch.testing.assert_close(got, wanted)


def test_two_phase_trains_what_it_says():
    method = build_method(scratch("paper"))
    assert method.phases == {
        "main": ("encoder", "compressor", "regressor", "projection_head"),
        "discriminative": ("encoder", "compressor", "extra_head"),
    }
    config = scratch("paper")
    image, target = batch(config)
    for phase, trained in method.phases.items():
        torch.stack(list(method(image, target, phase).values())).sum().backward()
        reached = {
            name
            for name, part in method.networks.items()
            if any(p.grad is not None for p in part.parameters())
        }
        assert reached == set(trained)  # no optimiser steps on a gradient of another phase
        method.zero_grad(set_to_none=True)


def test_joint_is_both_losses_at_once():
    two, joint = (
        build_method(scratch("paper", "dropout=0")),
        build_method(scratch("paper", "dropout=0", "phases=joint")),
    )
    joint.load_state_dict(two.state_dict())
    image, target = batch(two.config)
    separate = two(image, target, "main") | two(image, target, "discriminative")
    together = joint(image, target, "joint")
    assert set(joint.phases) == {"joint"} and set(together) == set(separate)
    for name, loss in together.items():
        torch.testing.assert_close(loss, separate[name])
    with pytest.raises(ValueError, match="none of joint"):
        joint(image, target, "main")


def test_terms_that_are_off_leave_no_network_behind():
    assert "projection_head" not in build_method(scratch("without_avce")).networks
    assert set(build_method(scratch("without_dis")).phases) == {"main"}
    light = build_method(scratch("baseline_light"))
    assert set(light.networks) == {"encoder", "compressor", "regressor"}
    image, target = batch(light.config)
    assert set(light(image, target, "main")) == {"mse", "pcc", "ccc"}
    assert set(build_method(scratch("baseline"))(image, target, "main")) == {"mse"}


def test_the_contrastive_term_is_its_brick():
    method = build_method(scratch("paper", "dropout=0", "norm=none"))
    image, target = batch(method.config)
    z = method.model.latent(image)
    brick = AVCELoss()(
        method.model.regressor(z),
        method.projection_head(method.sparsemax(z)),
        method.projection_head(method.softmax(z)),
    )
    got = method(image, target, "main")["contrast"]
    torch.testing.assert_close(got, 0.0256 * brick)
    summed = build_method(
        scratch("paper", "dropout=0", "norm=none", "reduction=sum", "contrast_weight=1e-4")
    )
    summed.load_state_dict(method.state_dict())
    # sum over N at 1e-4 is the mean at 1e-4 N; N = 16 here, 256 in the released code
    torch.testing.assert_close(summed(image, target, "main")["contrast"], 16e-4 * brick)


@pytest.mark.parametrize(("scale", "kept"), [(0.0, 32.0), (1e6, 1.0)])
def test_support_counts_the_entries_that_sparsemax_keeps(scale, kept):
    method = build_method(scratch("paper", "dropout=0"))
    assert method.gauges() == {}  # nothing has been seen yet
    with torch.no_grad():
        method.model.compressor.register_forward_hook(lambda _m, _x, z: scale * z)
        method(*batch(method.config), "main")
    assert method.gauges() == {"support": kept}
    assert build_method(scratch("baseline_light")).gauges() == {}


def test_modes():
    method = build_method(scratch("paper")).train()
    assert method.model.regressor.training and method.projection_head.training
    slip = build_method(scratch("authors")).train()
    assert not slip.model.training and not slip.projection_head.training
    assert slip.extra_head.training
    assert not slip.eval().extra_head.training


def test_label_scale_is_a_setting():
    plain, scaled = (
        build_method(scratch("baseline_light", "dropout=0", f"label_scale={s}")) for s in (1, 0.8)
    )
    image, target = batch(plain.config)
    torch.testing.assert_close(
        scaled(image, target, "main")["mse"], plain(image, target * 0.8, "main")["mse"]
    )


def test_discrete_uses_logits_and_any_dimension():
    method = build_method(scratch("avce_discrete", "center_logits=true", "dropout=0")).eval()
    image, codes = batch(method.config)
    losses = method(image, codes, "main")
    logits = method.predict(image)
    assert logits.shape == (16, 7)
    torch.testing.assert_close(
        losses["cross_entropy"], torch.nn.functional.cross_entropy(logits, codes)
    )
    moved = method.model.regressor.fc2
    with torch.no_grad():
        moved.bias += 3.0
    torch.testing.assert_close(method(image, codes, "main")["contrast"], losses["contrast"])
    sigmoid = build_method(scratch("avce_discrete", "class_sigmoid=true")).eval().predict(image)
    assert bool(((sigmoid >= 0) & (sigmoid <= 1)).all())


def test_barlow_twins_behind_a_wide_projector():
    method = build_method(scratch("barlow_twins", "barlow_width=64"))
    image, target = batch(method.config)
    assert method.projection_head(torch.rand(4, 32)).shape == (4, 64)
    assert torch.isfinite(method(image, target, "main")["contrast"])


def test_optimisers_are_those_of_the_config():
    method = build_method(scratch("paper"))
    kinds = {name: type(o).__name__ for name, o in method.optimizers(method.config).items()}
    assert kinds == {
        "encoder": "Adam",
        "compressor": "Adam",
        "regressor": "Adam",
        "projection_head": "SGD",
        "extra_head": "SGD",
    }
    groups = {n: o.param_groups[0] for n, o in method.optimizers(method.config).items()}
    assert (groups["encoder"]["lr"], groups["encoder"]["betas"]) == (1e-4, (0.5, 0.9))
    assert (groups["extra_head"]["lr"], groups["extra_head"]["momentum"]) == (1e-2, 0.9)
    baseline = build_method(scratch("baseline")).optimizers()
    assert type(baseline["encoder"]).__name__ == "SGD"


def test_under_bf16_the_losses_stay_float32():
    method = build_method(scratch("paper"))
    image, target = batch(method.config)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method(image, target, "main") | method(image, target, "discriminative")
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50", "resnet101"])
def test_the_released_resnets_have_two_dropouts_that_never_sleep(encoder):
    model = build_method(scratch("authors", f"encoder={encoder}")).eval().model
    for part in (model.compressor, model.regressor):
        assert isinstance(part.get_submodule("dropout"), SleeplessDropout)
    alexnet = build_method(scratch("authors")).eval().model
    assert not isinstance(alexnet.regressor.get_submodule("dropout"), SleeplessDropout)


def test_authors_starts_as_torch_does():
    with torch.random.fork_rng():
        torch.manual_seed(RECIPES["authors"].seed)
        wanted = AlexNetTrunk().state_dict()
    found = build_method(RECIPES["authors"]).model.encoder.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    kaiming = build_method(scratch("paper")).model.encoder.state_dict()
    assert not torch.equal(kaiming["features.0.weight"], wanted["features.0.weight"])
