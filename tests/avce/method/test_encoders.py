"""Encoders: the convolutions of torchvision under their own names, He's start, refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import nn

from avce.method.encoders import AlexNetTrunk, ResNetTrunk, build_encoder, kaiming


@pytest.mark.parametrize(
    ("trunk", "whole"),
    [(AlexNetTrunk, torchvision.models.alexnet), (ResNetTrunk, torchvision.models.resnet18)],
)
def test_a_trunk_is_what_torchvision_computes_before_pooling(trunk, whole):
    torch.manual_seed(0)
    theirs, ours = whole(weights=None).double().eval(), trunk().double().eval()
    known = {name: t for name, t in theirs.state_dict().items() if name in ours.state_dict()}
    ours.load_state_dict(known)  # every tensor has torchvision's name
    image, seen = torch.rand(1, 3, 96, 96, dtype=torch.float64), []
    theirs.avgpool.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        theirs(image)
        torch.testing.assert_close(ours(image), seen[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "channels", "grid"),
    [("alexnet", 256, 6), ("resnet18", 512, 1), ("resnet50", 1000, None)],
)
def test_an_encoder_is_found_with_what_follows_it(name: str, channels: int, grid: int | None):
    encoder, width, pool = build_encoder(name)
    assert (width, pool) == (channels, grid)
    with torch.no_grad():
        assert encoder.eval()(torch.zeros(1, 3, 64, 64)).shape[1] == channels


@pytest.mark.parametrize("name", ["vgg", "AlexNet", "", "resnet34"])
def test_an_unknown_encoder_names_the_choice(name: str):
    with pytest.raises(ValueError, match=f"encoder '{name}' is unknown; use alexnet, resnet18"):
        build_encoder(name)


def test_a_start_of_he_has_his_deviation_and_no_bias():
    torch.manual_seed(0)
    trunk = AlexNetTrunk()
    kaiming(trunk)
    for part in trunk.modules():
        if isinstance(part, nn.Conv2d):
            fan_in = part.in_channels * math.prod(part.kernel_size)
            deviation = float(part.weight.detach().std())
            assert deviation == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
            assert part.bias is not None and not part.bias.any()
