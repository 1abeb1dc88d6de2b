"""Near-duplicates: every copy that a researcher meets is found, other faces are not, and no pair is
compared that shares nothing."""

from __future__ import annotations

import io
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from avce.commands import app
from shards import BuildOptions, Crop, Engine, LabelIndex, build
from shards.labels.alike import BITS, Looks, alike, looked_at, near, told
from shards.standins.layouts import draw_table

COPIES = {
    "quality": lambda face: encoded(face, quality=50),
    "smaller": lambda face: encoded(face.resize((96, 96)), quality=90),
    "larger": lambda face: encoded(face.resize((300, 300)), quality=90),
    "darker": lambda face: encoded(ImageEnhance.Brightness(face).enhance(0.8), quality=90),
    "png": lambda face: encoded(face, "PNG"),
    "grey": lambda face: encoded(face.convert("L"), quality=90),
}


def encoded(face: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    file = io.BytesIO()
    face.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces to train on; for validation a copy of each of the first six, and other faces."""
    root = tmp_path_factory.mktemp("alike")
    draw_table(root / "raw", 60)
    faces = sorted((root / "raw/images").iterdir())
    rows = [f"images/{face.name},{'train' if k < 40 else 'val'}" for k, face in enumerate(faces)]
    for face, (name, copy) in zip(faces, COPIES.items(), strict=False):
        place = root / f"raw/{name}.{'png' if name == 'png' else 'jpg'}"
        with Image.open(face) as picture:
            place.write_bytes(copy(picture.convert("RGB")))
        rows.append(f"{place.name},val")
    (root / "raw/labels.csv").write_text("\n".join(["path,split", *rows]))
    options = BuildOptions(crop=Crop(mode="none"), engine=Engine("joblib", jobs=1))
    build("table", root / "raw", root / "out", options)
    return root / "out"


def test_copies_are_found_and_other_faces_are_not(drawn: Path) -> None:
    index, seen = LabelIndex.open(drawn), []
    found = told(index, alike(index, lambda done, total: seen.append((done, total))))
    pairs = {tuple(sorted(pair["keys"])) for pair in found["nearest"]}
    expected = ((f"t_images_{k:05d}", f"t_{name}") for k, name in enumerate(COPIES))
    assert pairs == {tuple(sorted(pair)) for pair in expected}
    assert found["pairs"] == 6 and found["images"] == 12 and seen[-1] == (66, 66)
    assert all(sorted(pair["splits"]) == ["train", "val"] for pair in found["nearest"])


def test_a_command_says_what_and_by_which_threshold(drawn: Path) -> None:
    inspect = ["inspect", str(drawn), "--duplicates"]
    asked = CliRunner().invoke(app, [*inspect, "--json"])
    assert asked.exit_code == 0
    found = json.loads(asked.stdout)["duplicates"]
    assert found["pairs"] == 6 and found["threshold"] == {"bits": 3, "of": 64, "correlation": 0.99}
    said = " ".join(CliRunner().invoke(app, inspect).stdout.split())
    assert "6 pairs of 12 images are nearly the same in different splits" in said


def test_by_the_bucket_is_each_with_each() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, 3000).astype(np.uint64)
    splits = rng.integers(0, 3, 3000)
    for k in range(0, 600, 2):  # the next is the same but for some bits
        flipped = rng.choice(64, rng.integers(0, 6), replace=False)
        bits[k + 1] = bits[k] ^ np.bitwise_or.reduce(
            [np.uint64(0), *(np.uint64(1) << flipped.astype(np.uint64))]
        )
    looks = Looks(bits, np.zeros((3000, 72), np.float16), np.zeros(3000, bool))
    expected = [
        (i, j)
        for i, j in combinations(range(3000), 2)
        if splits[i] != splits[j] and int(bits[i] ^ bits[j]).bit_count() <= BITS
    ]
    assert near(looks, splits).tolist() == [list(pair) for pair in expected]


def test_what_is_flat_is_like_nothing() -> None:
    looks = looked_at(np.full((4, 8, 9), 128.0, np.float32))
    assert looks.flat.all() and not len(near(looks, np.arange(4)))
