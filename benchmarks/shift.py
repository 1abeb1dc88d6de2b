"""What it costs to train on published boxes and predict on detected ones, and the other way round.

    python benchmarks/shift.py --folder FOLDER [--n 2400] [--epochs 8] [--seed 0]

Draws faces, shards them twice (`--crop box`, `--crop detect`), trains the demo's recipe on each,
and scores both runs on the held-out people of each: four pairings, each with its CCC, and what it
loses to the run that was trained on what it is asked about, and to its own boxes. Intervals are
95 %, over people, paired. A command that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(ROOT := Path(__file__).parent.parent))

from avce.scores.intervals import Difference, assess, compare
from avce.scores.predictions import read_predictions
from avce.training.record import Ending, read_record
from benchmarks.recipes import with_people
from shards import LabelIndex
from shards.finder import overlap

CROPS = {"published": "box", "detected": "detect"}


def avce(*words: object) -> None:
    subprocess.run([sys.executable, str(ROOT / "cli.py"), *map(str, words)], check=True)


def trained(folder: Path, n: int, epochs: int, seed: int) -> None:
    """Shards and a run for each crop, where they are not there yet."""
    if not (folder / "raw/data_card.json").exists():
        avce("cartoon", "affectnet", "--level", "easy", "--n", n, "--out", folder / "raw")
    for name, crop in CROPS.items():
        shards, run = folder / name, folder / f"run-{name}-{seed}"
        avce("shard", "affectnet", "--raw", folder / "raw", "--out", shards, "--size", 128,
             "--crop", crop)  # fmt: skip
        if (run / "run.json").exists():
            if not read_record(run, Ending).finished:
                avce("train", "--resume", run)
        else:
            avce("train", "--recipe", "demo", "--shards", shards, "--run", run,
                 "--epochs", epochs, "--set", f"seed={seed}")  # fmt: skip


def asked(folder: Path, run: str, shards: str, seed: int) -> pa.Table:
    """A run's predictions of the held-out faces of some shards, in the order of their keys."""
    to = folder / f"{run}-on-{shards}-{seed}.arrow"
    avce("eval", folder / f"run-{run}-{seed}", "--shards", folder / shards, "--save", to)
    return read_predictions(to).sort_by("sample_key")


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
    bounds = gap.interval and f" ({gap.interval.low:+.3f} to {gap.interval.high:+.3f})"
    return f"{gap.axis} {gap.value:+.3f}{bounds or ''}"


def scored(table: pa.Table) -> str:
    found = assess(table, clusters="person")
    ends = [found.bounds("ccc", k) for k in range(2)]
    return " / ".join(
        f"{found.value('ccc', k):.3f} ({end.low:.3f} to {end.high:.3f})"
        for k, end in enumerate(ends)
        if end
    )


def against(first: pa.Table, second: pa.Table) -> str:
    gaps = [gap for gap in compare(first, second, clusters="person") if gap.metric == "ccc"]
    return " ".join(map(said, gaps))


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of other boxes than in training.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--n", type=int, default=2400)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    trained(words.folder, words.n, words.epochs, words.seed)
    both = [boxes_of(words.folder / name) for name in CROPS]
    pairs = [np.array([both[0][key], both[1][key]]) for key in both[1]]
    shared = [overlap(a[None], b[None]).item() for a, b in pairs]
    sizes = [np.sqrt((b[2:] - b[:2]).prod() / (a[2:] - a[:2]).prod()) for a, b in pairs]
    print(f"found {len(both[1])} of {len(both[0])}; IoU median {np.median(shared):.3f}, least "
          f"{min(shared):.3f}; side {np.median(sizes):.3f} of the published")  # fmt: skip
    names = [(run, shards) for shards in CROPS for run in (shards, *({*CROPS} - {shards}))]
    found = common([asked(words.folder, *name, words.seed) for name in names])
    tables = {name: with_people(table, n=words.n) for name, table in zip(names, found, strict=True)}
    for (run, shards), table in tables.items():
        print(f"trained on {run}, asked on {shards} (n = {len(table)}): CCC {scored(table)}")
        if run != shards:
            print("  against the run trained on those:", against(tables[shards, shards], table))
            print("  against its own boxes:", against(tables[run, run], table))


if __name__ == "__main__":
    main()
