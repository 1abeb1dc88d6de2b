"""Does the contrastive term help? AVCE with and without it, where the truth is known.

    python benchmarks/contrast.py [--seeds 5] [--epochs 10] [--only clean noisy few]
        [--set FIELD=VALUE ...] [--out FOLDER]

Four objectives on the same drawn faces, with the same network, start, order of batches and number
of steps (`benchmarks/recipes.py`: 64 pixels, batches of 32, one phase): all of AVCE, without
L_AVCE, without L_dis, without both. Three conditions: the labels as they were drawn; training
labels with normal noise of 0.35 on each axis; one tenth of the faces. Scores are of the last
weights, on people held out whose labels are true. `gain` is CCC of AVCE less that of the row:
mean and 95 % interval over seeds (Student's t on paired differences), and beside it the 95 %
interval over people with the predictions of all seeds pooled. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import t

sys.path.insert(0, str(ROOT := Path(__file__).parent.parent))

from avce.commands.join import labelled
from avce.config import Config
from avce.scores.intervals import compare
from avce.scores.predictions import CONTEXT, predict_table
from avce.training.run_folder import load_run
from benchmarks.recipes import (
    budgeted,
    faces,
    last_scores,
    loader,
    logged,
    spread,
    train,
    with_people,
)
from shards import LabelIndex
from shards.index import Selection

NOISE = 0.35  # the labels' own deviation is 0.48 in valence and 0.37 in arousal
WHOLE = "avce"
LIVING = ["start=torch", "norm=none", "views=batch_norm", "view_temperature=4"]
OBJECTIVES: dict[str, tuple[str, ...]] = {
    WHOLE: (),
    "without_avce": ("formula=none",),
    "without_dis": ("discriminative_weight=0",),
    "baseline_light": ("formula=none", "discriminative_weight=0"),
}


def clean(index: LabelIndex, config: Config) -> Selection:
    return labelled(index, config, "train")


def noisy(index: LabelIndex, config: Config) -> Selection:
    """The training rows with noise on their labels: another draw for each seed."""
    rng = np.random.default_rng(config.seed)
    other = LabelIndex.open(index.folders)
    for name in ("valence", "arousal"):
        place = other.table.schema.get_field_index(name)
        values = other.table[name].to_numpy() + rng.normal(0, NOISE, len(other))
        column = pa.array(values.clip(-1, 1), other.table.schema.field(name).type)
        other.table = other.table.set_column(place, other.table.schema.field(name), column)
    return labelled(other, config, "train")


def few(index: LabelIndex, config: Config) -> Selection:
    """One tenth of the faces: others for each seed."""
    rows = labelled(index, config, "train")
    kept = np.random.default_rng(config.seed).permutation(len(rows))[: len(rows) // 10]
    return rows.take(np.sort(kept))


CONDITIONS: dict[str, Callable[[LabelIndex, Config], Selection]] = {
    "clean": clean,
    "noisy": noisy,
    "few": few,
}


def pooled(runs: Sequence[Path], index: LabelIndex) -> pa.Table:
    """Predictions of all seeds for the people held out, each sample once a seed."""
    tables = []
    for number, run in enumerate(runs):
        method, config, _ = load_run(run, "last")
        with closing(loader(index, config, "val")) as held_out:
            table = predict_table(method, held_out, index.table.select(CONTEXT))
        rows = pc.add(table["row"].cast(pa.int64()), number * len(index))
        tables.append(table.set_column(table.column_names.index("row"), "row", rows))
    return with_people(pa.concat_tables(tables))


def gain(
    whole: tuple[pa.Table, list[float]], other: tuple[pa.Table, list[float]], axis: int
) -> str:
    """CCC of AVCE less another's: over seeds, then over people."""
    gaps = [a - b for a, b in zip(whole[1], other[1], strict=True)]
    mean = statistics.fmean(gaps)
    cell = f"{mean:+.3f}"
    if len(gaps) > 1:
        half = t.ppf(0.975, len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
        cell += f" [{mean - half:+.3f}, {mean + half:+.3f}]"
    gaps_of_people = compare(other[0], whole[0], clusters="person")
    found = [gap for gap in gaps_of_people if gap.metric == "ccc"][axis]
    if found.interval:
        cell += ", people [{:+.3f}, {:+.3f}]".format(*found.interval)
    return cell


def show(condition: str, folder: Path, seeds: int, index: LabelIndex) -> None:
    """The lines of a condition."""
    runs = {n: [folder / n / f"seed{seed}" for seed in range(seeds)] for n in OBJECTIVES}
    tables = {name: pooled(places, index) for name, places in runs.items()}
    scores = {
        name: [list(axis) for axis in zip(*map(last_scores, places), strict=True)]
        for name, places in runs.items()
    }
    for name, places in runs.items():
        ends = [values[-1] for run in places if (values := logged(run, "support"))]
        support = f"{statistics.fmean(ends):.1f}" if ends else ""
        cells = [spread(axis) for axis in scores[name]]
        for axis in range(2):
            whole, other = ((tables[n], scores[n][axis]) for n in (WHOLE, name))
            cells.append("" if name == WHOLE else gain(whole, other, axis))
        print(f"| {condition} | {name} | {' | '.join(cells)} | {support} |", flush=True)


HEADS = ("labels", "objective", "valence", "arousal", "gain in valence", "in arousal", "support")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--set", nargs="+", default=LIVING, metavar="F=V")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "recipes")
    args = parser.parse_args(argv)
    index = faces(args.out)
    folder = args.out / f"contrast-{args.epochs}-epochs" / ",".join(args.set)
    for seed in range(args.seeds):  # a table of all conditions is soon there
        for condition in args.only:
            for name, settings in OBJECTIVES.items():
                chosen = [*args.set, *settings]
                config = budgeted("avce_joint", index, args.epochs, seed, chosen)
                rows = CONDITIONS[condition](index, config)
                passes = round(args.epochs * len(labelled(index, config, "train")) / len(rows))
                config = replace(config, epochs=passes)  # as many steps for fewer faces
                train(name, config, index, folder / condition / name / f"seed{seed}", rows)
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for condition in args.only:
        show(condition, folder / condition, args.seeds, index)


if __name__ == "__main__":
    main()
