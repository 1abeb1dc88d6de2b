"""Shapes, parameter counts, modes and the starts of the networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from avce.config import Config, with_settings
from avce.method.build import build_method, build_model
from avce.method.caf import Discriminator
from avce.method.encoders import MEAN, STD, AlexNetTrunk, ResNetTrunk, build_encoder
from avce.method.models import CAFCompressor, Compressor, ExtraHead, Head, ProjectionHead, Regressor
from avce.ranks import GatheredBatchNorm, gather_norms
from avce.recipes import RECIPES


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def scratch(name: str, *settings: str) -> Config:
    return with_settings(replace(RECIPES[name], weights="none"), settings)


def test_counts_of_the_parts():
    assert count(AlexNetTrunk()) == 2_469_696
    assert count(ResNetTrunk()) == 11_176_512
    assert count(Compressor(256, 6)) == 294_944
    assert count(Compressor(512, 1, hidden=1000)) == 545_032
    assert count(Compressor(1000, None)) == 32_032
    for head in (Regressor, ProjectionHead):
        assert count(head(norm=False)) == 8_962
        assert count(head(norm=True)) == 9_474
        assert count(head(7, norm=False)) == 10_247
    assert (count(ExtraHead(norm=False)), count(ExtraHead(norm=True))) == (2_632, 2_760)
    caf = CAFCompressor(256, 6)
    assert count(Discriminator(caf.pool, caf.width)) == 592_496


def test_counts_of_the_methods():
    plain = build_method(scratch("paper", "norm=none"))
    assert count(plain.model.encoder, plain.model.compressor) == 2_764_640
    assert count(plain.model) == 2_773_602
    assert count(plain) == 2_785_196
    assert count(build_method(scratch("paper"))) == 2_786_348
    r18 = build_method(scratch("resnet18", "norm=none"))
    assert (count(r18.model), count(r18)) == (11_730_506, 11_742_100)
    assert count(build_method(scratch("resnet50", "norm=none"))) == 25_609_620
    assert count(build_method(scratch("resnet101", "norm=none"))) == 44_601_748
    assert count(build_method(scratch("baseline"))) == 61_102_842
    caf = build_method(scratch("caf"))
    assert count(caf) == 3_652_618
    assert count(caf.model.compressor, caf.model.regressor) == 590_426


@pytest.mark.parametrize(
    ("name", "shape"),
    [("alexnet", (256, 6, 6)), ("resnet18", (512, 7, 7)), ("resnet50", (1000,))],
)
def test_shapes_at_224(name, shape):
    encoder, channels, _ = build_encoder(name)
    with torch.no_grad():
        features = encoder.eval()(torch.zeros(1, 3, 224, 224))
    assert features.shape[1:] == shape and channels == shape[0]
    model = build_model(scratch("paper", f"encoder={name}")).eval()
    with torch.no_grad():
        z = model.latent(torch.randn(2, 3, 224, 224))
    assert z.shape == (2, 32) and float(z.min()) >= 0


def test_heads_keep_their_ranges():
    z = torch.rand(64, 32) * 10
    assert bool((ProjectionHead()(z).abs() <= 0.5).all())
    assert bool((ProjectionHead(scale=1.0)(z).abs() <= 1.0).all())
    assert bool((ExtraHead()(z) >= 0).all())
    linear = ProjectionHead(7, norm=False, scale=0.0)
    torch.testing.assert_close(linear(z), Head.forward(linear, z))
    assert build_method(scratch("paper", "head_scale=1.0")).projection_head.scale == 1.0


def test_a_batch_of_one_is_refused_by_batch_norm_only():
    z = torch.rand(1, 32)
    with pytest.raises(ValueError, match="batch_size 2 or more, or none of norm=batch and"):
        Regressor()(z)
    Regressor().eval()(z)
    Regressor(norm=False)(z)


def test_dropout_follows_the_mode_but_for_the_released_slip():
    features = torch.rand(4, 512, 7, 7)
    proper = Compressor(512, 1, hidden=1000).eval()
    torch.testing.assert_close(proper(features), proper(features))
    proper.train()
    assert not torch.equal(proper(features), proper(features))
    slip = Compressor(512, 1, hidden=1000, slip=True).eval()
    assert not torch.equal(slip(features), slip(features))
    z = torch.rand(4, 32)
    sleepless, proper = Regressor(slip=True).eval(), Regressor().eval()
    assert torch.equal(proper(z), proper(z)) and not torch.equal(sleepless(z), sleepless(z))


def test_evaluation_has_no_randomness_and_no_neighbours():
    method = build_method(scratch("paper")).eval()
    image = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        whole = method.predict(image)
        torch.testing.assert_close(whole, method.predict(image))
        torch.testing.assert_close(whole[:1], method.predict(image[:1]), atol=1e-5, rtol=1e-4)
    assert whole.shape == (3, 2)


def test_a_seed_fixes_the_start_and_leaves_the_callers_stream_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_method(scratch("paper"))
    assert torch.equal(before, torch.get_rng_state())
    second, third = build_method(scratch("paper")), build_method(scratch("paper", "seed=1"))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    assert not torch.equal(next(first.parameters()), next(third.parameters()))


def test_the_released_start_is_an_option():
    heads = build_method(scratch("paper", "head_init=normal"))
    with torch.no_grad():
        assert float(heads.projection_head.fc1.weight.std()) == pytest.approx(1.0, abs=0.05)
        assert heads.extra_head.fc2.bias.tolist() == pytest.approx([0.01] * 8)
        assert float(heads.model.regressor.fc1.weight.std()) < 0.2


def test_signals_keep_their_size_in_a_trunk_from_scratch():
    with torch.no_grad():
        features = build_model(scratch("paper")).encoder(torch.randn(8, 3, 112, 112))
    assert 0.3 < float(features.std()) < 10  # torch's own start gives 0.01


def test_gathered_norm_is_batch_norm_without_ranks():
    torch.manual_seed(0)
    plain = nn.BatchNorm1d(64, affine=False)  # as that of the views
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), plain)
    x = torch.randn(5, 3, 6, 6)
    wanted = net(x)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    gather_norms(net)
    assert [type(part) for part in net if "Norm" in type(part).__name__] == [GatheredBatchNorm] * 2
    assert set(net.state_dict()) == set(state)
    torch.testing.assert_close(net(x), wanted)
    assert int(net[1].num_batches_tracked) == 2


def test_unknown_encoders_name_the_choice():
    with pytest.raises(ValueError, match="alexnet, resnet18"):
        build_encoder("vgg")
    with pytest.raises(ValueError, match="timm has no model 'efficientnet_bb'"):
        build_encoder("timm/efficientnet_bb")


def test_timm_encoders_by_name():
    model = build_model(scratch("paper", "encoder=timm/tf_efficientnet_lite0")).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    assert model.compressor.fc.in_features == 1280


def test_a_timm_encoder_sees_what_it_was_trained_on():
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    pixels = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    channels = (1, 3, 1, 1)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(channels) for v in (MEAN, STD))
    for name, own in (("tf_efficientnet_lite0", (pixels - 0.5) / 0.5), ("resnet10t", None)):
        encoder = build_encoder(f"timm/{name}")[0].double().eval()
        bare = timm.create_model(name, num_classes=0).double().eval()
        bare.load_state_dict(encoder.state_dict())  # the same names
        given = (pixels - mean) / std  # what every encoder is fed
        with torch.no_grad():
            wanted = bare(given if own is None else own)
            torch.testing.assert_close(encoder(given), wanted, rtol=0, atol=1e-12)
