"""What it costs to train on published boxes and predict on detected ones, and the other way round.

    python benchmarks/shift.py --folder FOLDER [--n 2400] [--epochs 8]

Draws faces, shards them twice (`--crop box`, `--crop detect`), trains the demo's recipe on each,
and scores both runs on the held-out people of each: four pairings, each with the CCC it loses to
the run that was trained on what it is asked about. Intervals are 95 %, over people, paired. What
is there from a run that was broken off is used again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from avce.scores.intervals import Difference, compare
from avce.scores.predictions import read_predictions
from shards import LabelIndex
from shards.finder import overlap
from shards.standins.affectnet import Cast

ROOT = Path(__file__).parent.parent
CROPS = {"published": "box", "detected": "detect"}


def avce(*words: object) -> None:
    subprocess.run([sys.executable, str(ROOT / "cli.py"), *map(str, words)], check=True)


def trained(folder: Path, n: int, epochs: int) -> None:
    """Shards and a run for each crop, where they are not there yet."""
    if not (folder / "raw/data_card.json").exists():
        avce("cartoon", "affectnet", "--level", "easy", "--n", n, "--out", folder / "raw")
    for name, crop in CROPS.items():
        shards, run = folder / name, folder / f"run-{name}"
        avce("shard", "affectnet", "--raw", folder / "raw", "--out", shards, "--size", 128,
             "--crop", crop)  # fmt: skip
        if not (run / "best.safetensors").exists():
            avce("train", "--recipe", "demo", "--shards", shards, "--run", run, "--epochs", epochs)


def asked(folder: Path, run: str, shards: str) -> pa.Table:
    """A run's predictions of the held-out faces of some shards, in the order of their keys."""
    to = folder / f"{run}-on-{shards}.arrow"
    if not to.exists():
        avce("eval", folder / f"run-{run}", "--shards", folder / shards, "--save", to)
    return read_predictions(to).sort_by("sample_key")


def persons(n: int) -> dict[str, str]:
    """Name of a drawing -> who is on it; the stand-in, like AffectNet, does not publish it."""
    cast = Cast(n, 0, "easy", True)
    return {
        Path(cast.path_of(person, image, "jpg")).stem: str(person)
        for person in range(cast.persons)
        for image in range(cast.images_of(person))
    }


def common(tables: list[pa.Table]) -> list[pa.Table]:
    """The same samples of each: a face that was not found is in one pair of shards only."""
    keys = set.intersection(*({*table["sample_key"].to_pylist()} for table in tables))
    kept = [t.filter(pa.array([k in keys for k in t["sample_key"].to_pylist()])) for t in tables]
    rows = pa.array(range(len(keys)), pa.int64())
    return [t.set_column(t.column_names.index("row"), "row", rows) for t in kept]


def boxes_of(folder: Path) -> dict[str, list[float]]:
    table = LabelIndex.open(folder).table
    return dict(zip(table["sample_key"].to_pylist(), table["bbox_xyxy"].to_pylist(), strict=True))


def said(gap: Difference) -> str:
    bounds = gap.interval and f" ({gap.interval.low:+.4f} to {gap.interval.high:+.4f})"
    return f"{gap.axis} {gap.value:+.4f}{bounds or ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of other boxes than in training.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--n", type=int, default=2400)
    parser.add_argument("--epochs", type=int, default=8)
    words = parser.parse_args()
    trained(words.folder, words.n, words.epochs)
    both = [boxes_of(words.folder / name) for name in CROPS]
    pairs = [np.array([both[0][key], both[1][key]]) for key in both[1]]
    shared = [overlap(a[None], b[None]).item() for a, b in pairs]
    sizes = [np.sqrt((b[2:] - b[:2]).prod() / (a[2:] - a[:2]).prod()) for a, b in pairs]
    print(f"found {len(both[1])} of {len(both[0])}; IoU median {np.median(shared):.3f}, least "
          f"{min(shared):.3f}; side {np.median(sizes):.3f} of the published")  # fmt: skip
    known = persons(words.n)
    names = [(run, shards) for shards in CROPS for run in (shards, *({*CROPS} - {shards}))]
    tables = dict(zip(names, common([asked(words.folder, *n) for n in names]), strict=True))
    for (run, shards), table in tables.items():
        people = pa.array(
            [known[key.rsplit("_", 1)[-1]] for key in table["sample_key"].to_pylist()]
        )
        pair = [t.append_column("person", people) for t in (tables[shards, shards], table)]
        gaps = [gap for gap in compare(*pair, clusters="person") if gap.metric == "ccc"]
        print(f"trained on {run:9}, asked on {shards:9} (n = {len(table)}):", *map(said, gaps))


if __name__ == "__main__":
    main()
