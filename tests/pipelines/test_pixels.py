"""What the network sees of a stored picture is what the DALI graph makes of it."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.augment import EVALUATION, draw
from pipelines.decode import Decoder, Graph, inputs
from pipelines.pixels import MEAN, STD, central, geometry, normalised

SIZES = [  # height, width, wanted
    (64, 64, 64), (65, 65, 64), (73, 73, 64), (96, 96, 64), (64, 64, 28), (100, 100, 224),
    (90, 120, 64), (300, 70, 64), (57, 81, 56), (33, 50, 28), (131, 97, 112), (40, 41, 64),
]  # fmt: skip


def graph(picture: np.ndarray, size: int) -> np.ndarray:
    """(3, size, size) of the evaluation graph."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    sides = (np.array([side]) for side in picture.shape[1::-1])
    width, height = sides
    shape = geometry(width, height, size)
    fed = inputs(draw(EVALUATION, 0, 0, 0, 1), shape)
    decoder = Decoder(Graph(shape, 1, 1).pixels)
    decoder.put([np.frombuffer(file.getvalue(), np.uint8)], fed)
    return decoder.get()[0].numpy()


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_numpy_sees_what_dali_sees(height, width, size):
    """To one grey level, and that where a level's half is rounded: under 2 in 100 of the values."""
    rng = np.random.default_rng(height)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = Image.fromarray(noise[:4, :4]).resize((width, height), Image.Resampling.BICUBIC)
    for picture in (noise, np.asarray(coarse)):
        mine = normalised(central(picture, size)[None])[0]
        levels = np.abs(mine - graph(picture, size)) * STD[:, None, None]
        assert levels.max() < 1.001
        assert (levels > 0.001).mean() < 0.02


def test_whole_pixels_are_exact():
    """No resize: 1e-5 is float32's rounding of (p - mean) / std."""
    picture = np.random.default_rng(0).integers(0, 256, (73, 73, 3), dtype=np.uint8)
    mine = normalised(central(picture, 64)[None])[0]
    np.testing.assert_allclose(mine, graph(picture, 64), atol=1e-5)
    expected = (picture[5:69, 5:69].astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(mine.transpose(1, 2, 0), expected, atol=1e-5)


def test_the_middle_of_a_picture_that_is_not_square_keeps_its_shape():
    disc = np.hypot(*np.mgrid[-60:60, -100:100]) < 40
    seen = central(np.repeat(disc[..., None], 3, -1).astype(np.uint8) * 255, 64)[..., 0] > 127
    assert seen.any(0).sum() == pytest.approx(seen.any(1).sum(), abs=1)  # still round


def test_pixels_do_not_wait_for_dali():
    code = "import sys, pipelines.pixels; sys.exit(bool({'nvidia.dali', 'torch'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
