"""`BuildOptions`: how shards are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shards.building.engine import Engine
from shards.crop import Crop
from shards.finder import facts
from shards.labels.schema import TARS


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How shards are made. What does not decide bytes comes after the blank line."""

    crop: Crop = field(default_factory=Crop)
    with_json: bool = False  # add KEY.json with the labels for plain WebDataset users
    check: bool = True  # decode every image once to prove it
    seed: int = 0  # of the shuffle
    samples_per_shard: int | None = None  # default: about 64 shards of 500 to 4,096
    reader: Mapping[str, Any] = field(default_factory=dict)  # options of the data set's reader

    engine: Engine = field(default_factory=Engine)
    part: tuple[int, int] | None = None  # (i, n): write only the shards i, i + n, i + 2n, ...
    overwrite: bool = False  # replace finished shards of other inputs or options

    def __post_init__(self) -> None:
        if self.part is not None and not 0 <= self.part[0] < self.part[1]:
            raise ValueError(f"part {self.part[0]}/{self.part[1]}: parts of n are 0/n to n-1/n")
        if self.samples_per_shard is not None and self.samples_per_shard < 1:
            raise ValueError(f"{self.samples_per_shard} samples a shard: there is at least one")

    def choices(self, name: str) -> dict[str, Any]:
        """What decides the bytes, as plain values."""
        return {
            "format": TARS,
            "data_set": name,
            "crop": self.crop.mode or "default",
            "margin": self.crop.margin,
            "size": self.crop.size,
            **({"detect": facts()} if self.crop.searches else {}),
            "with_json": self.with_json,
            "check": self.check,
            "seed": self.seed,
            "samples_per_shard": self.samples_per_shard,
        }
