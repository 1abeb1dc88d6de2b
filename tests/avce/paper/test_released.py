"""The authors' checkpoints, imitated tensor by tensor in their layouts, become ours."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from avce.method.build import build_method
from avce.method.encoders import AlexNetTrunk
from avce.paper.released import convert_released


def layer(name: str, outputs: int, *inputs: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(name) + outputs)
    return {
        f"{name}.weight": 0.01 * torch.randn(outputs, *inputs, generator=generator),
        f"{name}.bias": 0.01 * torch.randn(outputs, generator=generator),
    }


HEAD = layer("lin1", 256, 32) | layer("va_regressor", 2, 256)
ALEXNET = layer("lin0", 32, 9216) | HEAD
CUT = {name: tensor for name, tensor in ALEXNET.items() if name != "lin1.bias"}
ABANDONED = layer("lin2", 32, 9216) | layer("pw_conv", 256, 512, 1, 1)
RESNET18 = layer("last_linear", 1000, 512) | layer("lin0", 32, 1000) | HEAD
CAF = layer("lin0", 64, 9216) | layer("lin1", 8, 64) | layer("va_regressor", 2, 8)


@cache
def alexnet_trunk() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return AlexNetTrunk().state_dict()  # torchvision's names


@cache
def resnet18_trunk() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    full = torchvision.models.resnet18(weights=None).state_dict()
    return {name: t for name, t in full.items() if not name.startswith("fc.")}


def saved(folder: Path, legacy: bool = False, **files: dict[str, torch.Tensor]) -> list[Path]:
    paths = []
    for name, tensors in files.items():
        paths.append(folder / f"{name}.t7")
        torch.save(tensors, paths[-1], _use_new_zipfile_serialization=not legacy)
    return paths


@pytest.mark.parametrize("legacy", [False, True])
def test_alexnet(tmp_path, legacy):
    trunk = alexnet_trunk()
    paths = saved(tmp_path, legacy, encoder=trunk, regressor=ALEXNET | ABANDONED)
    released = convert_released(paths[::-1])
    method = build_method(released.config).eval()
    method.load_state_dict(released.tensors)  # strict
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        got = method.predict(image)
        features = method.model.encoder(image).flatten(1)
        z = nn.functional.linear(features, ALEXNET["lin0.weight"], ALEXNET["lin0.bias"]).relu()
        hidden = nn.functional.linear(z, ALEXNET["lin1.weight"], ALEXNET["lin1.bias"]).relu()
        wanted = nn.functional.linear(
            hidden, ALEXNET["va_regressor.weight"], ALEXNET["va_regressor.bias"]
        )
    torch.testing.assert_close(got, wanted)
    assert released.unused == {name: tuple(t.shape) for name, t in ABANDONED.items()}
    assert sum(t.numel() for t in ABANDONED.values()) == 426_272
    assert "lin2.weight (32, 9216): not used" in released.report()
    assert set(released.digests) == {"encoder.t7", "regressor.t7"}


def test_resnet18(tmp_path):
    released = convert_released(saved(tmp_path, encoder=resnet18_trunk(), regressor=RESNET18))
    method = build_method(released.config)
    method.load_state_dict(released.tensors)
    assert released.config.encoder == "resnet18" and released.unused == {}
    assert torch.equal(released.tensors["model.compressor.fc1.bias"], RESNET18["last_linear.bias"])
    assert torch.equal(released.tensors["model.regressor.fc2.weight"], HEAD["va_regressor.weight"])


def test_caf(tmp_path):
    released = convert_released(saved(tmp_path, encoder=alexnet_trunk(), FC_layer=CAF))
    method = build_method(released.config).eval()
    method.load_state_dict(released.tensors)
    assert method.predict(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"encoder": "alexnet"}, "give encoder.t7 and regressor.t7 together"),
        ({"regressor": ALEXNET}, "1 file"),
        ({"encoder": "resnet18", "regressor": ALEXNET}, "one backbone"),
        ({"encoder": "alexnet", "regressor": RESNET18}, "one backbone"),
        ({"encoder": "alexnet", "regressor": ALEXNET | layer("extra", 2, 2)}, "extra.weight"),
        ({"encoder": "alexnet", "regressor": RESNET18 | ABANDONED}, "lin2.weight"),
        ({"encoder": "alexnet", "regressor": HEAD | layer("lin0", 256, 9216)}, "ELIM"),
        ({"encoder": "alexnet", "regressor": HEAD | layer("lin0", 16, 9216)}, "no released"),
        ({"encoder": "alexnet", "regressor": ALEXNET | layer("lin1", 128, 32)}, r"\(128, 32\)"),
        (
            {
                "encoder": "alexnet",
                "regressor": {k: v for k, v in ALEXNET.items() if k != "lin1.bias"},
            },
            "lack regressor.fc1.bias",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path, files, said):
    trunks = {"alexnet": alexnet_trunk, "resnet18": resnet18_trunk}
    built = {n: trunks[t]() if isinstance(t, str) else t for n, t in files.items()}
    with pytest.raises(ValueError, match=said) as error:
        convert_released(saved(tmp_path, **built))
    assert "\n" not in str(error.value)
