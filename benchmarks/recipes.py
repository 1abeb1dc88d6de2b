"""Every recipe on the same drawn faces with the same small budget: held-out CCC over seeds.

    python benchmarks/recipes.py [--seeds 3] [--epochs 8] [--only avce avce_joint] [--out FOLDER]
    python benchmarks/recipes.py --only avce without_avce baseline_light --set lr=1e-4 \\
        betas=0.5,0.9 dropout=0.5 encoder=timm/tf_efficientnet_lite0 weights=PATH

All train from scratch on the same pictures, 64 pixels wide, in batches of 32, with Adam at 3e-4
and without dropout; the rest is the recipe's. So the table says how the objectives compare when
little is known and little time is given, not what they reach. Scores are of the last weights, so
that nothing is chosen on the people held out. A run that ends in one prediction for every face
has no CCC: it counts as 0 and is named. `support` is how many of z's 32 entries SparseMax keeps at
the end (docs/method.md). A finished run is not repeated: stop at any time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(ROOT := Path(__file__).parent.parent))

from avce.commands.join import labelled, stream
from avce.config import Config, with_settings
from avce.method.build import build_method
from avce.paper.sweep import claimed
from avce.recipes import RECIPES
from avce.scores.intervals import compare
from avce.scores.predictions import CONTEXT, predict_table
from avce.training.journal import read_log
from avce.training.record import read_record
from avce.training.run_folder import load_run
from avce.training.trainer import fit
from pipelines import Batches
from shards import LABELS, LabelIndex
from shards.index import Selection
from shards.standins.affectnet import Cast

SAME = ("paper", "demo")  # other names of avce and of avce_joint
HEAVY = ("resnet18", "caf_resnet18", "resnet50", "resnet101")  # only when named by --only
FACES, SIZE, BATCH = 2400, 64, 32
SETTLE = (0.5, 0.7, 0.85, 0.95)  # the rate is halved here: the last weights should not swing


def budgeted(
    name: str, index: LabelIndex, epochs: int, seed: int, settings: Sequence[str]
) -> Config:
    """The recipe under the common budget of `epochs` over the drawn faces."""
    steps = epochs * len(labelled(index, RECIPES[name], "train")) // BATCH
    config = replace(
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
        milestones=tuple(round(part * steps) for part in SETTLE),
        factor=0.5,
        seed=seed,
        eval_every=10**9,  # before the first step and after the last
        log_every=10,
        log_with="none",
    )
    return with_settings(config, settings)


def faces(out: Path, level: str = "easy") -> LabelIndex:
    """Draw and shard the faces, once."""
    end = "" if level == "easy" else f"-{level}"
    raw, shards = out / f"raw{end}", out / f"shards{end}"
    if not (shards / LABELS).exists():
        cli = [sys.executable, str(ROOT / "cli.py")]
        draw = ["cartoon", "affectnet", "--level", level, "--n", str(FACES)]
        subprocess.run([*cli, *draw, "--out", str(raw)], check=True)
        shard = ["shard", "affectnet", "--raw", str(raw), "--out", str(shards)]
        subprocess.run([*cli, *shard, "--size", str(SIZE + 8)], check=True)
    return LabelIndex.open(shards)


def with_people(table: pa.Table, level: str = "easy", n: int = FACES) -> pa.Table:
    """Predictions with the column "person": the stand-in, like AffectNet, does not publish who is
    on an image."""
    cast = Cast(n, 0, level, True)
    known = {
        Path(cast.path_of(person, image, "jpg")).stem: str(person)
        for person in range(cast.persons)
        for image in range(cast.images_of(person))
    }
    people = [known[key.rsplit("_", 1)[-1]] for key in table["sample_key"].to_pylist()]
    return table.append_column("person", pa.array(people))


def loader(index: LabelIndex, config: Config, split: str) -> Batches:
    """Batches of one split as `cli.py train` makes them."""
    return stream(labelled(index, config, split), config, training=split == "train")


def train(
    name: str, config: Config, index: LabelIndex, run: Path, rows: Selection | None = None
) -> None:
    """One run, unless it is finished, on `rows` or the training split; a stopped one goes on."""
    with claimed(run) as lock:
        if lock is None:
            raise SystemExit(f"{run} is being trained by another process; wait for it")
        begun = (run / "run.json").exists()
        if begun and read_record(run).scores:
            return
        start = time.monotonic()
        with (
            closing(stream(rows or labelled(index, config, "train"), config, training=True)) as fed,
            closing(loader(index, config, "val")) as held_out,
        ):
            fit(build_method(config), config, fed, held_out, run=run, resume=begun)
    print(f"{run.name} {name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def last_scores(run: Path) -> tuple[float, ...]:
    """CCC of valence and arousal, or the accuracy, of the last weights; an undefined CCC is 0."""
    last = (read_record(run).scores or {})["last"]
    if "accuracy" in last:
        return (last["accuracy"],)
    return last["valence"]["ccc"] or 0.0, last["arousal"]["ccc"] or 0.0


def collapsed(run: Path) -> bool:
    """Whether the last weights predict the same for every face."""
    last = (read_record(run).scores or {})["last"]
    return "valence" in last and None in (last["valence"]["ccc"], last["arousal"]["ccc"])


def logged(run: Path, field: str) -> list[float]:
    """All values of a field of the log."""
    return [record[field] for record in read_log(run / "log.jsonl") if field in record]


def steps_per_second(run: Path) -> float:
    """Median over the log of a run."""
    return statistics.median(logged(run, "images_per_s")) / BATCH


def remarks(runs: Sequence[Path]) -> str:
    """What the numbers do not tell: entries that SparseMax keeps, runs that collapsed."""
    ends = [values[-1] for run in runs if (values := logged(run, "support"))]
    support = [f"support {statistics.fmean(ends):.2f}"] if ends else []
    return ", ".join([*support, *(f"{run.name} collapsed" for run in runs if collapsed(run))])


def spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


def show(folders: Mapping[str, Path], seeds: int) -> None:
    """The table, best mean CCC first."""
    print(f"\n{'recipe':32s} {'CCC valence':16s} {'CCC arousal':16s} steps/s  notes")
    rows = []
    for name, folder in folders.items():
        runs = [folder / f"seed{seed}" for seed in range(seeds)]
        scores = list(zip(*map(last_scores, runs), strict=True))
        speed = max(map(steps_per_second, runs))  # of the least disturbed run: they take turns
        rows.append((statistics.fmean(map(statistics.fmean, scores)), name, scores, speed, runs))
    for _, name, scores, speed, runs in sorted(rows, reverse=True):
        cells = (
            [spread(axis) for axis in scores]
            if len(scores) == 2
            else ["accuracy", *map(spread, scores)]
        )
        print(f"{name:32s} {cells[0]:16s} {cells[1]:16s} {speed:7.2f}  {remarks(runs)}")


def show_difference(first: Path, second: Path, index: LabelIndex, seeds: int) -> None:
    """CCC of `second` less that of `first`, on the same images, which are drawn anew."""
    labels = index.table.select(CONTEXT)
    for seed in range(seeds):
        tables = []
        for recipe in (first, second):
            method, config, _ = load_run(recipe / f"seed{seed}", "last")
            table = predict_table(method, loader(index, config, "val"), labels)
            tables.append(with_people(table))
        for gap in compare(*tables, clusters="person"):
            if gap.metric == "ccc" and gap.interval:
                low, high = gap.interval
                print(f"seed {seed} {gap.axis:8s} {gap.value:+.3f} [{low:+.3f}, {high:+.3f}]")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=sorted(RECIPES))
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="for all runs")
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

    def trained(name: str, epochs: int) -> Path:
        """Where the seeds of a recipe lie, once all are finished."""
        folder = out / f"{epochs}-epochs" / ",".join(args.set) / name
        for seed in range(args.seeds):
            config = budgeted(name, index, epochs, seed, args.set)
            train(name, config, index, folder / f"seed{seed}")
        return folder

    folders = {name: trained(name, args.epochs) for name in names}
    show(folders, args.seeds)
    if {"avce", "avce_joint"} <= set(names):
        print("\nCCC of avce_joint less avce, 95 % interval over people, after as many steps")
        show_difference(folders["avce"], folders["avce_joint"], index, args.seeds)
        longer = trained("avce_joint", 2 * args.epochs)
        print("the same after twice as many steps, which take as long as those of avce")
        show_difference(folders["avce"], longer, index, args.seeds)


if __name__ == "__main__":
    main()
