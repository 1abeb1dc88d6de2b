"""Tiny trees in the layouts of AffectNet, of coloured noise: for tests of readers and engine."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from shards.datasets.affectnet.release_2017 import COLUMNS

LANDMARKS = ";".join(f"{20 + k % 13:.2f}" for k in range(136))


def blob(seed: int, size: int = 48) -> np.ndarray:
    """A smooth coloured picture, different for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(rng.uniform(1, 7) * x + rng.uniform(1, 7) * y + k) for k in range(3)]
    return ((np.stack(waves, -1) + 1) * 127).astype(np.uint8)


def encoded(picture: np.ndarray, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    target = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(target, kind)
    return target.getvalue()


def name_of(i: int) -> str:
    return hashlib.sha224(str(i).encode()).hexdigest()


class Tree2017:
    """An AffectNet of 2017 under construction: add rows, change what lies on disk, write."""

    def __init__(self, root: Path, images: str = "Manually_Annotated_Images") -> None:
        self.root, self.images = root, root / images
        self.lines: dict[str, list[str]] = {"training.csv": [], "validation.csv": []}
        self.lists = "Manually_Annotated_file_lists"
        self.header = ",".join(COLUMNS) + "\n"

    def add(
        self,
        i: int,
        *,
        csv: str = "training.csv",
        extension: str = "jpg",
        content: bytes | None = None,
        box: str = "8,8,32,32",
        landmarks: str = LANDMARKS,
        code: int | str = 1,
        va: str = "0.250000,-0.500000",
    ) -> Path:
        """A row and its image; the image's path."""
        name = f"{1 + i % 7}/{name_of(i)}.{extension}"
        self.lines[csv].append(f"{name},{box},{landmarks},{code},{va}")
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(blob(i)) if content is None else content)
        return path

    def fill(self, train: int, val: int) -> Tree2017:
        for i in range(train + val):
            csv = "training.csv" if i < train else "validation.csv"
            self.add(i, csv=csv, code=i % 8, va=f"{(i % 21) / 10 - 1:.6f},{(i % 9) / 9:.6f}")
        return self

    def write(self, *, card: bool = True) -> Path:
        for name, lines in self.lines.items():
            path = self.root / self.lists / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.header + "\n".join(lines) + "\n")
        if card:
            counts = {name: len(lines) for name, lines in self.lines.items()}
            write_card(self.root, counts)
        return self.root


def write_card(root: Path, counts: dict[str, int]) -> None:
    card = {"dataset": "affectnet", "stand_in": True, "seed": 0, "level": "easy"}
    (root / "data_card.json").write_text(json.dumps({**card, "counts": counts}))


def write_2021(root: Path, train: int = 12, val: int = 4) -> Path:
    """The layout of 2021: gaps in the numbers, words in 0-d arrays."""
    for folder, count, first in (("train_set", train, 0), ("val_set", val, 1000)):
        (root / folder / "images").mkdir(parents=True)
        (root / folder / "annotations").mkdir()
        for i in range(count):
            stem = first + 3 * i
            (root / folder / "images" / f"{stem}.jpg").write_bytes(encoded(blob(stem, 224)))
            labels = {"exp": str(i % 8), "val": "0.5", "aro": "-0.25"}
            for label, word in labels.items():
                np.save(root / folder / "annotations" / f"{stem}_{label}.npy", np.array(word))
            np.save(root / folder / "annotations" / f"{stem}_lnd.npy", np.arange(136.0))
    write_card(root, {"train": train, "val": val})
    return root
