"""Small real shards: 90 pictures of 64 pixels in 4 tars, every tenth a PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from shards import LabelIndex, Sample, write_shards

N = 90
SIDE = 64


def picture(number: int, side: int = SIDE) -> np.ndarray:
    """Smooth colours and a little noise, other ones for each number."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def encoded(number: int, side: int = SIDE) -> bytes:
    if number % 10:
        return simplejpeg.encode_jpeg(picture(number, side), 90)
    file = io.BytesIO()
    Image.fromarray(picture(number, side)).save(file, "PNG")
    return file.getvalue()


def sample(number: int) -> Sample:
    return Sample(
        key=f"face-{number:03d}",
        original_path=f"{number}.jpg",
        dataset="affectnet",
        variant="drawn",
        split="train" if number % 9 else "val",
        valence=number / 200,
        arousal=-number / 200,
        expression=number % 8 if number % 9 else None,
    )


def write(folder: Path, numbers=range(N), side: int = SIDE) -> LabelIndex:
    return write_shards(
        ((sample(n), encoded(n, side)) for n in numbers), folder, samples_per_shard=25
    )


def damage(index: LabelIndex, row: int, content: bytes, skip: int = 0) -> str:
    """Overwrite the start of a stored image; the place as it will be named."""
    one = index.where().take([row])
    tar = index.tars[int(index.tar_of_row(one.rows)[0])]
    with open(tar, "r+b") as file:
        file.seek(int(one.column("shard_offset")[0]) + skip)
        file.write(content)
    return f"{tar}:{one.column('shard_offset')[0]}:{one.column('sample_key')[0]}"


@pytest.fixture(scope="session")
def index(tmp_path_factory) -> LabelIndex:
    return write(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def own_index(tmp_path) -> LabelIndex:
    """For tests that damage the tars."""
    return write(tmp_path / "shards")
