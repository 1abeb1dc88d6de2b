"""Every recipe on the same drawn faces with the same small budget: held-out CCC over seeds.

    python benchmarks/recipes.py [--seeds 3] [--epochs 4] [--only avce avce_joint] [--out FOLDER]

All train from scratch on the same pictures, 64 pixels wide, in batches of 32, with Adam at 3e-4
and without dropout; the rest is the recipe's. So the table says how the objectives compare when
little is known and little time is given, not what they reach. Scores are of the last weights, so
that nothing is chosen on the people held out. A finished run is not repeated: stop at any time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(ROOT := Path(__file__).parent.parent))

from avce.config import RECIPES, Config
from avce.intervals import compare
from avce.journal import read_log
from avce.methods import build_method
from avce.predictions import predict_table
from avce.runs import load_run, read_facts
from avce.trainer import fit
from cli import labelled, stream
from pipelines import Batches
from shards import LabelIndex

SAME = ("paper", "demo")  # other names of avce and of avce_joint
HEAVY = ("resnet18", "caf_resnet18", "resnet50", "resnet101")  # only when named by --only
FACES, SIZE, BATCH = 2400, 64, 32


def budgeted(name: str, epochs: int, seed: int) -> Config:
    """The recipe under the common budget."""
    return replace(
        RECIPES[name],
        weights="none",
        image_size=SIZE,
        channels_last=True,
        dropout=0.0,
        optimizer="adam",
        lr=3e-4,
        betas=(0.9, 0.999),
        batch_size=BATCH,
        epochs=epochs,
        milestones=(125, 165, 205, 230),  # of 252 steps: the last weights should not swing
        factor=0.5,
        seed=seed,
        eval_every=10**9,  # before the first step and after the last
        log_every=10,
        log_with="none",
    )


def faces(out: Path) -> LabelIndex:
    """Draw and shard the faces, once."""
    shards = out / "shards"
    if not (shards / "labels.arrow").exists():
        cli = [sys.executable, str(ROOT / "cli.py")]
        draw = ["cartoon", "affectnet", "--level", "easy", "--n", str(FACES)]
        subprocess.run([*cli, *draw, "--out", str(out / "raw")], check=True)
        shard = ["shard", "affectnet", "--raw", str(out / "raw"), "--out", str(shards)]
        subprocess.run([*cli, *shard, "--size", str(SIZE + 8)], check=True)
    return LabelIndex.open(shards)


def loader(index: LabelIndex, config: Config, split: str) -> Batches:
    """Batches of one split as `cli.py train` makes them."""
    return stream(labelled(index, config, split), config, training=split == "train")


def train(name: str, config: Config, index: LabelIndex, run: Path) -> None:
    """One run, unless it is finished; a stopped one goes on."""
    begun = (run / "run.json").exists()
    if begun and read_facts(run).get("scores"):
        return
    start = time.monotonic()
    with (
        closing(loader(index, config, "train")) as stream,
        closing(loader(index, config, "val")) as held_out,
    ):
        fit(build_method(config), config, stream, held_out, run=run, resume=begun)
    print(f"{run.name} {name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def last_scores(run: Path) -> tuple[float, ...]:
    """CCC of valence and arousal, or the accuracy, of the last weights."""
    last = read_facts(run)["scores"]["last"]
    if "accuracy" in last:
        return (last["accuracy"],)
    return last["valence"]["ccc"], last["arousal"]["ccc"]


def steps_per_second(run: Path) -> float:
    """Median over the log."""
    rates = [r["images_per_s"] for r in read_log(run / "log.jsonl") if "images_per_s" in r]
    return statistics.median(rates) / BATCH


def spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


def show(names: Sequence[str], seeds: int, out: Path) -> None:
    """The table, best mean CCC first."""
    print(f"\n{'recipe':32s} {'CCC valence':16s} {'CCC arousal':16s} steps/s")
    rows = []
    for name in names:
        runs = [out / name / f"seed{seed}" for seed in range(seeds)]
        scores = list(zip(*map(last_scores, runs), strict=True))
        speed = statistics.median(map(steps_per_second, runs))
        rows.append((statistics.fmean(map(statistics.fmean, scores)), name, scores, speed))
    for _, name, scores, speed in sorted(rows, reverse=True):
        cells = (
            [spread(axis) for axis in scores]
            if len(scores) == 2
            else ["accuracy", *map(spread, scores)]
        )
        print(f"{name:32s} {cells[0]:16s} {cells[1]:16s} {speed:.2f}")


def show_difference(first: str, second: str, index: LabelIndex, seeds: int, out: Path) -> None:
    """CCC of `second` less that of `first`, on the same people, bootstrapped by person."""
    print(f"\nCCC of {second} less {first}, 95 % interval over people")
    for seed in range(seeds):
        tables = []
        for name in (first, second):
            method, config, _ = load_run(out / name / f"seed{seed}", "last")
            tables.append(predict_table(method, loader(index, config, "val"), index.table))
        for gap in compare(*tables):
            if gap.metric == "ccc" and gap.interval:
                low, high = gap.interval
                print(f"seed {seed} {gap.axis:8s} {gap.value:+.3f} [{low:+.3f}, {high:+.3f}]")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "recipes")
    parser.add_argument("--quick", action="store_true", help="one epoch, one seed, two recipes")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    names = args.only or [n for n in RECIPES if n not in SAME and n not in HEAVY]
    out = args.out
    if args.quick:
        args.seeds, args.epochs = 1, 1
        names, out = ["avce", "avce_joint"], out.with_name("recipes-quick")
    index = faces(out)
    for seed in range(args.seeds):
        for name in names:
            train(name, budgeted(name, args.epochs, seed), index, out / name / f"seed{seed}")
    show(names, args.seeds, out)
    if {"avce", "avce_joint"} <= set(names):
        show_difference("avce", "avce_joint", index, args.seeds, out)


if __name__ == "__main__":
    main()
