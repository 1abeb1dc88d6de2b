"""Activation maps: they add up, they locate, and they leave the method as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from avce.method.build import build_method
from avce.recipes import RECIPES
from avce.report.maps import (
    AxisMaps,
    axis_maps,
    completeness,
    deletion,
    gini,
    integration_gap,
    mean_map,
    stretched,
    strongest,
    top_share,
    without_biases,
)

SMALL = replace(RECIPES["demo"], image_size=96)


def lively(config=SMALL):
    """A method whose batch norms have seen something, so that no bias is trivially zero."""
    torch.manual_seed(0)
    method = build_method(config)
    with torch.no_grad():
        for name, value in method.named_parameters():
            if name.endswith("bias"):
                value.add_(0.1 * torch.randn_like(value))
        for part in method.modules():
            if isinstance(part, nn.BatchNorm1d) and part.running_mean is not None:
                part.running_mean.normal_(0, 0.1)
    return method


@pytest.fixture(scope="module")
def image():
    return torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("encoder", ["alexnet", "resnet18"])
def test_maps_add_up_to_the_output_without_biases(encoder, image):
    found = completeness(lively(replace(SMALL, encoder=encoder)), image)
    assert max(found.gap) < 1e-4  # float32 sums
    assert max(found.from_biases) > 1e-3  # and the biases do matter here


def test_a_pooled_encoder_gives_cam(image):
    """ResNet18: M is w_c = dx/d(pooled_c) times the map, up to 1 / (h w)."""
    method = lively(replace(SMALL, encoder="resnet18")).eval()
    features = method.model.encoder(image).detach()
    pooled = features.mean((-2, -1)).requires_grad_()
    output = method.model.regressor(method.model.compressor(pooled[..., None, None]))
    weights = torch.autograd.grad(output[:, 0].sum(), pooled)[0]
    cam = (weights[..., None, None] * features).sum(1) / features.shape[-2:].numel()
    torch.testing.assert_close(axis_maps(method, image).grid[:, 0], cam, atol=1e-5, rtol=1e-4)


def test_the_kinds_agree_where_the_gradient_is_even(image):
    method = lively(replace(SMALL, encoder="resnet18"))
    exact, mean = axis_maps(method, image).grid, axis_maps(method, image, kind="grad-cam").grid
    torch.testing.assert_close(exact, mean, atol=1e-5, rtol=1e-4)
    method = lively()
    assert not torch.allclose(
        axis_maps(method, image).grid, axis_maps(method, image, kind="grad-cam").grid
    )


def test_the_mode_is_restored_and_nothing_is_left_behind(image):
    method = lively().train()
    axis_maps(method, image)
    assert method.training and method.model.regressor.training
    assert all(value.grad is None for value in method.parameters())
    assert not any(part._forward_hooks for part in method.modules())


@pytest.mark.parametrize("views", ["z", "batch_norm"])
def test_the_projection_head_has_maps_of_its_own(image, views):
    """Also where no gradient went this way in training."""
    method = lively(replace(SMALL, views=views, view_gradient=views == "z"))
    through_h = axis_maps(method, image, head="projection_head")
    if views == "batch_norm":  # whatever z is: several entries are kept, so that places matter
        assert through_h.grid.any()
    assert through_h.output.abs().max() <= 0.5  # 0.5 tanh
    with pytest.raises(ValueError, match="no projection head"):
        axis_maps(lively(replace(SMALL, formula="none")), image, head="projection_head")


def test_a_vector_encoder_is_tapped_inside(image):
    method = build_method(replace(SMALL, encoder="resnet50"))
    assert axis_maps(method, image[:1]).grid.shape == (1, 2, 3, 3)


def test_deletion_finds_the_patch_that_matters():
    """A method that reads the top left corner only: covering it moves the output, elsewhere not."""
    method = lively(replace(SMALL, encoder="resnet18"))
    method.model.encoder = nn.AvgPool2d(16)
    reader = nn.Linear(3 * 36, 2)
    with torch.no_grad():
        reader.weight.zero_()
        reader.weight[:, 0] = 1.0
    method.model.compressor, method.model.regressor = nn.Flatten(), reader
    image = torch.zeros(2, 3, 96, 96)
    image[..., :16, :16] = 2.0
    found = deletion(method, image, share=0.1)
    assert min(found.top) > 1.5 * max(found.random) and found.won == (1.0, 1.0)


def test_shown_maps_speak_for_the_sign():
    grid = torch.tensor([[[[1.0, -2.0], [0.0, 0.5]]]])
    positive = AxisMaps(grid, torch.tensor([[0.3]])).shown((2, 2))
    negative = AxisMaps(grid, torch.tensor([[-0.3]])).shown((2, 2))
    assert positive.flatten().tolist() == [1.0, 0.0, 0.0, 0.5]
    assert negative.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_constant_map_is_zero_and_the_mean_fills_the_range():
    assert stretched(torch.ones(1, 2, 2)).eq(0).all()
    both = torch.tensor([[[[0.0, 1.0]], [[1.0, 1.0]]]])
    assert mean_map(both).tolist() == [[[0.0, 1.0]]]


def test_concentration_has_its_known_values():
    even, single = torch.ones(10, 10), torch.zeros(10, 10)
    single[3, 4] = 1.0
    assert gini(even).item() == pytest.approx(0, abs=1e-12)
    assert gini(single).item() == pytest.approx(0.99)
    assert (top_share(even).item(), top_share(single).item()) == pytest.approx((0.1, 1.0))
    assert strongest(torch.ones(1, 1, 10, 10), 0.2).sum() == 20


def affine(image_size: int = 56):
    """A method that is affine in the image: x = W image + b, so every integral is exact."""
    method = lively(replace(SMALL, encoder="resnet18"))
    reader = nn.Linear(3 * image_size**2, 2)
    method.model.encoder, method.model.compressor = nn.Identity(), nn.Flatten()
    method.model.regressor = reader
    return method, reader.weight.detach().view(2, 3, image_size, image_size)


def test_integrated_gradients_of_an_affine_method_are_weight_times_distance():
    method, weight = affine()
    image = torch.randn(2, 3, 56, 56)
    found = axis_maps(method, image, kind="integrated")
    parts = (weight * (image - image.mean((-2, -1), keepdim=True))[:, None]).sum(2)
    cells = parts.view(2, 2, 28, 2, 28, 2).sum((3, 5))
    torch.testing.assert_close(found.grid, cells, atol=1e-5, rtol=1e-4)
    assert max(integration_gap(method, image, found)) < 1e-4  # float32 sums


def test_cells_at_the_edge_lose_nothing():
    """59 pixels are 29 cells of two and one of a single pixel."""
    method, weight = affine(59)
    image = torch.randn(1, 3, 59, 59)
    found = axis_maps(method, image, kind="integrated")
    parts = (weight * (image - image.mean((-2, -1), keepdim=True))[:, None]).sum(2)
    assert found.grid.shape[-2:] == (30, 30)
    torch.testing.assert_close(found.grid.sum((-2, -1)), parts.sum((-2, -1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("encoder", ["alexnet", "resnet18"])
def test_integrated_maps_nearly_add_up_with_biases_too(encoder, image):
    """16 midpoints of a piecewise linear function of a line: the error is that of its kinks."""
    method = lively(replace(SMALL, encoder=encoder))
    gap = integration_gap(method, image, axis_maps(method, image, kind="integrated"))
    assert max(gap) < 0.2


def test_early_maps_are_finer_and_weigh_the_same_without_biases(image):
    bare = without_biases(lively())
    with torch.no_grad():
        for part in bare.model.encoder.modules():
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                part.bias.zero_()
    early, late = (axis_maps(bare, image, kind=kind) for kind in ("early", "linear"))
    assert early.grid.shape[-1] == 23 and late.grid.shape[-1] == 2
    for found in (early, late):
        torch.testing.assert_close(found.grid.sum((-2, -1)), found.output, atol=1e-4, rtol=1e-3)


def test_what_has_no_places_is_located_in_the_image_alone():
    method, _ = affine()
    method.model.encoder = nn.Flatten()
    image = torch.randn(1, 3, 56, 56)
    with pytest.raises(ValueError, match="no spatial feature map"):
        axis_maps(method, image, kind="early")
    assert axis_maps(method, image, kind="integrated").grid.shape == (1, 2, 28, 28)
