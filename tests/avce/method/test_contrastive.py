"""`Views` beside a slow writing of the released update, in float64, parameter by parameter."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avce import RECIPES, Config, build_method, sparsemax
from avce.config import with_settings
from avce.layers import entmax15
from avce.method.contrastive import Views

BATCH, SIDE = 6, 64


class Released:
    """One iteration after the other, as method.md (4.1, 5.3, 6 to 9) describes the released code.

    Networks, one Adam for encoder and one for compressor with regressor, one SGD each for H and V,
    are copies of the method's own at the start. Dropout is what `always_on` says; norms sleep.
    """

    def __init__(self, method: Views, always_on: bool, keep_gradients: bool) -> None:
        model = copy.deepcopy(method.model).eval()
        self.encoder, self.compressor, self.regressor = (
            model.get_submodule(name) for name in ("encoder", "compressor", "regressor")
        )
        self.h = copy.deepcopy(method.get_submodule("projection_head"))
        self.v = copy.deepcopy(method.get_submodule("extra_head"))
        self.always_on, self.keep = always_on, keep_gradients
        both = [*self.compressor.parameters(), *self.regressor.parameters()]
        self.adams = [
            torch.optim.Adam(part, lr=1e-4, betas=(0.5, 0.9))
            for part in (list(self.encoder.parameters()), both)
        ]
        self.of_h, self.of_v = (
            torch.optim.SGD(head.parameters(), lr=1e-2, momentum=0.9) for head in (self.h, self.v)
        )

    def networks(self) -> dict[str, nn.Module]:
        return {
            "encoder": self.encoder,
            "compressor": self.compressor,
            "regressor": self.regressor,
            "projection_head": self.h,
            "extra_head": self.v,
        }

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True) if self.always_on else x

    def latent(self, image: Tensor) -> Tensor:
        flat = self.compressor.pool(self.encoder(image)).flatten(1)
        layers = [layer for name, layer in self.compressor.named_children() if "fc" in name]
        for layer in layers[:-1]:
            flat = layer(flat)
        return F.relu(layers[-1](self.drop(flat)))

    @staticmethod
    def two_layers(head: nn.Module, x: Tensor) -> Tensor:
        return head.fc2(F.relu(head.fc1(x)))

    def iterate(self, image: Tensor, target: Tensor, seeds: tuple[int, int]) -> None:
        torch.manual_seed(seeds[0])
        self.forget(*self.adams, self.of_h)
        z = self.latent(image)
        x = self.two_layers(self.regressor, self.drop(z))
        y_a = 0.5 * torch.tanh(self.two_layers(self.h, sparsemax(z)))
        y_n = 0.5 * torch.tanh(self.two_layers(self.h, torch.softmax(z, 1)))
        pcc, ccc = correlations(x, target)
        loss = ((x - target) ** 2).mean(0).sum() + 0.5 * (1 - pcc) + 0.5 * (1 - ccc)
        (loss - 1e-4 * objective(x, y_a, y_n)).backward()
        self.step(*self.adams, self.of_h)
        torch.manual_seed(seeds[1])
        self.forget(*self.adams, self.of_v)
        z = self.latent(image)
        v, v_a, v_n = (
            F.relu(self.two_layers(self.v, view)) for view in (z, sparsemax(z), torch.softmax(z, 1))
        )
        regularisation(v, v_a, v_n).backward()
        self.step(*self.adams, self.of_v)

    def forget(self, *optimizers: torch.optim.Optimizer) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=not self.keep)

    @staticmethod
    def step(*optimizers: torch.optim.Optimizer) -> None:
        for optimizer in optimizers:
            optimizer.step()


def correlations(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Means over the axes, with 1/N in the covariance and 1/(N-1) in the deviations."""
    pccs, cccs = [], []
    for k in range(2):
        a, b = x[:, k], t[:, k]
        covariance = ((a - a.mean()) * (b - b.mean())).mean()
        sa, sb = a.std(unbiased=True), b.std(unbiased=True)
        pccs.append(covariance / (sa * sb))
        cccs.append(2 * covariance / (sa**2 + sb**2 + (a.mean() - b.mean()) ** 2))
    return torch.stack(pccs).mean(), torch.stack(cccs).mean()


def similarity(x: Tensor, y: Tensor) -> Tensor:
    """f of every sample, with every sample's penalty: the (N, N) matrix of the shape slip."""
    lengths = [v.pow(2).sum(1).pow(0.5) for v in (x, y)]
    half = (x * y).sum(1) / (2 * (lengths[0] + 1e-8) * (lengths[1] + 1e-8))
    angle = torch.clamp(1 - 0.25 * torch.acos(half) / math.pi, 1e-6, 1.0)
    plain = angle + 0.8 * (1 - (lengths[0] - lengths[1]).abs())
    penalty = 0.1 * 0.5 * (torch.sign(x[:, 0]) != torch.sign(y[:, 0])).double()
    return plain[:, None] - penalty[None, :]


def objective(x: Tensor, y_a: Tensor, y_n: Tensor) -> Tensor:
    """The sum over the batch that the code maximises, written as its loop."""
    positive, negative = similarity(x, y_a), similarity(x, y_n)
    total = torch.zeros(len(x), dtype=x.dtype)
    for row in positive:
        total = total + row - 0.5 * negative.mean()
        total = total - 0.5 * 0.005 * row**2 - 0.5 * 0.5 * (negative**2).mean()
    return total.mean()


def regularisation(v: Tensor, v_a: Tensor, v_n: Tensor) -> Tensor:
    def unit(u: Tensor) -> Tensor:
        return u / (u.norm(dim=1, keepdim=True) + 1e-6)

    push = F.relu(1.0 - (v_a - v_n).norm(dim=1) ** 2).mean()
    hold = sum(((unit(view) - unit(v)).norm(dim=1) - 1).mean() for view in (v_a, v_n))
    return push + 0.01 * hold


@pytest.mark.parametrize(
    ("encoder", "gradients"), [("alexnet", "zero"), ("alexnet", "none"), ("resnet18", "zero")]
)
def test_authors_takes_the_released_update(encoder, gradients):
    config = replace(RECIPES["authors"], encoder=encoder, gradients=gradients, image_size=SIDE)
    method = build_method(config).double().train()
    assert isinstance(method, Views)
    released = Released(method, always_on=encoder == "resnet18", keep_gradients=gradients == "zero")
    optimizers = method.optimizers()
    draw = torch.Generator().manual_seed(3)
    for done in range(1, 6):
        image = torch.randn(BATCH, 3, SIDE, SIDE, generator=draw, dtype=torch.float64)
        target = 2 * torch.rand(BATCH, 2, generator=draw, dtype=torch.float64) - 1
        released.iterate(image, target, (2 * done, 2 * done + 1))
        for seed, (phase, trained) in enumerate(method.phases.items(), 2 * done):
            torch.manual_seed(seed)
            torch.stack(list(method(image, target, phase).values())).sum().backward()
            for name in trained:
                optimizers[name].step()
            method.zero_grad(set_to_none=gradients == "none")
        if done in (1, 5):
            compare(method, released)


def compare(method: Views, released: Released) -> None:
    for name, theirs in released.networks().items():
        ours = dict(method.networks[name].named_parameters())
        for key, wanted in theirs.named_parameters():
            # five steps of Adam on gradients that agree to 1e-13
            torch.testing.assert_close(ours[key], wanted, atol=1e-10, rtol=0, msg=f"{name}.{key}")


def test_gradients_kept_at_zero_move_the_regressor_twice():
    kept = build_method(replace(RECIPES["authors"], image_size=SIDE))
    assert kept.phases["discriminative"] == ("encoder", "compressor", "regressor", "extra_head")


# ---------------------------------------------------------------------------------- the views


def views(*settings: str) -> Views:
    chosen = ("weights=none", "image_size=64", "dropout=0", *settings)
    method = build_method(with_settings(RECIPES["paper"], chosen))
    assert isinstance(method, Views)
    return method


Z = 3 * torch.rand(5, 32, generator=torch.Generator().manual_seed(2))
CENTRED = Z - Z.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ([], Z),
        (["view_temperature=4"], Z / 4),
        (["views=layer_norm"], CENTRED / (CENTRED.square().mean(1, keepdim=True) + 1e-5).sqrt()),
        (["views=batch_norm"], (Z - Z.mean(0)) / (Z.var(0, unbiased=False) + 1e-5).sqrt()),
    ],
)
@pytest.mark.parametrize(("name", "map"), [("sparsemax", sparsemax), ("entmax15", entmax15)])
def test_both_views_read_z_or_its_norm_over_the_temperature(settings, seen, name, map):
    attentive, inattentive = views(*settings, f"attentive={name}").train().views_of(Z)
    torch.testing.assert_close(attentive, map(seen))
    torch.testing.assert_close(inattentive, seen.softmax(1))


def test_a_norm_of_the_views_has_no_parameters_and_remembers_what_it_saw():
    method = views("views=batch_norm").train()
    method.views_of(Z)
    again = views("views=batch_norm").eval()
    again.load_state_dict(method.state_dict())
    assert again.view_norm.running_mean.any()
    torch.testing.assert_close(again.views_of(Z[:1])[0], method.eval().views_of(Z)[0][:1])
    assert not list(method.view_norm.parameters())
    with pytest.raises(ValueError, match="views=batch_norm"):
        method.train().views_of(Z[:1])


@pytest.mark.parametrize("gradient", ["true", "false"])
def test_views_without_gradient_teach_their_heads_alone(gradient):
    method = views(f"view_gradient={gradient}", "views=layer_norm", "hold_weight=0").train()
    image, target = torch.rand(4, 3, 64, 64), torch.zeros(4, 2)
    method(image, target, "discriminative")["discriminative"].backward()  # reads views alone
    assert method.extra_head.fc1.weight.grad.any()
    reached = method.model.compressor.fc.weight.grad
    assert (reached is not None and bool(reached.any())) == (gradient == "true")


def test_a_run_from_before_the_views_had_settings_opens_as_it_was():
    new = {"attentive", "views", "view_temperature", "view_gradient", "compressor_lr"}
    written = {k: v for k, v in RECIPES["paper"].to_dict().items() if k not in new}
    config = Config.from_dict(written)
    assert config == RECIPES["paper"]
    assert not [name for name in build_method(replace(config, weights="none")).state_dict()
                if "view" in name or "max" in name]  # fmt: skip
