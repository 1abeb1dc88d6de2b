"""ONNX models of any make, written here operator by operator, against what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avce.inference.onnx_model import OnnxModel, Scaling, outputs_in
from pipelines import pixels

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

MEANS = "valence=8,arousal=9"  # of ten numbers: 8 expressions before them


def write(
    path: Path,
    shape: tuple[int | str, ...] = ("b", 3, 32, 32),
    kind: str = "FLOAT",
    names: tuple[str, ...] = ("numbers",),
) -> Path:
    """A model whose numbers are the input's mean per colour, then ten of them: k + mean red."""
    helper, types = onnx.helper, onnx.TensorProto
    axes = [1, 2] if shape[-1] == 3 else [2, 3]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["colours"], keepdims=0),
        helper.make_node("Gather", ["colours", "red"], ["column"], axis=1),
    ]
    nodes += [helper.make_node("Add", ["column", f"{name}_steps"], [name]) for name in names]
    steps = [
        onnx.numpy_helper.from_array(np.arange(n, dtype=np.float32)[None], f"{name}_steps")
        for name, n in zip(names, (10, 1, 1), strict=False)
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        onnx.numpy_helper.from_array(np.array([0], np.int64), "red"),
        *steps,
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", getattr(types, kind), shape)],
        [helper.make_tensor_value_info(name, types.FLOAT, [None, None]) for name in names],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def levels() -> np.ndarray:
    """Five pictures, uint8 (5, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def said(model: OnnxModel, levels: np.ndarray) -> np.ndarray:
    return model.predict(torch.from_numpy(pixels.normalised(levels))).numpy()


@pytest.mark.parametrize(
    ("normalise", "mean", "std"),
    [
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("half", 0.5, 0.5),
        ("unit", 0, 1),
        ("raw", 0, 1 / 255),
        ("0.1,0.2,0.3/0.4", [0.1, 0.2, 0.3], 0.4),
    ],
)
@pytest.mark.parametrize("order", ["", ":bgr"])
def test_a_model_sees_its_own_colours(normalise, mean, std, order, levels, tmp_path):
    """Written out: (p / 255 - mean) / std of whole grey levels; blue first where that is said."""
    model = OnnxModel(write(tmp_path / "m.onnx")).asked(MEANS, normalise + order)
    wanted = ((levels / 255 - mean) / std).mean((1, 2))[:, 2 if order else 0]
    expected = np.stack([wanted + 8, wanted + 9], 1)
    # float32 sums of 1024 numbers up to 255
    np.testing.assert_allclose(said(model, levels), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kind", "size"),
    [
        (("b", 3, 32, 32), "FLOAT16", 32),
        (("b", 3, 32, 32), "UINT8", 32),
        (("b", 32, 32, 3), "FLOAT", 32),
        ((1, 3, 32, 32), "FLOAT", 32),
        ((4, 32, 32, 3), "DOUBLE", 32),
        (("b", 3, "h", "w"), "FLOAT", 224),
    ],
)
def test_layouts_types_and_batches(shape, kind, size, levels, tmp_path):
    model = OnnxModel(write(tmp_path / "m.onnx", shape, kind)).asked(MEANS, "raw")
    assert model.size == size
    red = levels[..., 0].mean((1, 2))
    np.testing.assert_allclose(said(model, levels)[:, 0], red + 8, rtol=1e-3)  # of float16


def test_outputs_are_counted_through_or_named(levels, tmp_path):
    path = write(tmp_path / "m.onnx", names=("expressions", "v", "a"))
    by_number = said(OnnxModel(path).asked("valence=10,arousal=3", "unit"), levels)
    by_name = said(OnnxModel(path).asked("arousal=expressions:3, valence=v", "unit"), levels)
    np.testing.assert_array_equal(by_number, by_name)
    np.testing.assert_allclose(by_name[:, 1] - by_name[:, 0], 3, atol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "normalise", "sentence"),
    [
        ("valence=8,arousal=10", "unit", r"no output 10: it gives numbers \(10\)"),
        ("valence=8,arousal=zzz", "unit", "no output zzz"),
        ("valence=-1,arousal=1", "unit", "no output -1"),
        ("valence=8", "unit", "valence=8,arousal=9"),
        ("valence=8,arousal", "unit", "valence=8,arousal=9"),
        ("valence=8,valence=9,arousal=1", "unit", "valence=8,arousal=9"),
        (None, "unit", r"gives numbers \(10\)"),
        (MEANS, None, "imagenet, half"),
        (MEANS, "zzz", "imagenet, half"),
        (MEANS, "0.5/0", "imagenet, half"),
        (MEANS, "0.5,0.5/1", "imagenet, half"),
        (MEANS, "nan/1", "imagenet, half"),
        (MEANS, "unit:rbg", "imagenet, half"),
    ],
)
def test_what_a_model_has_not_is_refused(outputs, normalise, sentence, tmp_path):
    model = OnnxModel(write(tmp_path / "m.onnx"))
    with pytest.raises(ValueError, match=sentence):
        model.asked(outputs, normalise)


def test_what_is_no_model_of_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        OnnxModel(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(write(tmp_path / "m.onnx").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"broken\.onnx is not read"):
        OnnxModel(broken)
    for shape in ((1, 3, 32, 48), (1, 1, 32, 32)):
        with pytest.raises(ValueError, match="one square picture in colours"):
            OnnxModel(write(tmp_path / "other.onnx", shape))


def test_scaling_and_outputs_are_read_as_written():
    assert Scaling.read("half:bgr").reverse and not Scaling.read("half").reverse
    assert outputs_in("arousal=b:1,valence=a") == {"valence": "a", "arousal": "b:1"}
