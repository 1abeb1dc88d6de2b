"""The supplement's five tables as data: published numbers, the recipe of each row, its command.

Pure functions list the rows, gather our numbers from finished run folders, and write text, CSV
and LaTeX. A run belongs to a row when it lies at `ROOT/tableN/ROW/seedS`.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avce.paper.published import TABLES, Row, Table
from avce.scores.scoreboard import Published


@dataclass(frozen=True)
class Filled:
    """A row with ours beside it: per metric the values of each seed, (valence, arousal)."""

    row: Row
    seeds: tuple[int, ...] = ()
    ours: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    undefined: tuple[int, ...] = ()  # seeds that ended in one prediction for every face

    def mean(self, metric: str) -> tuple[float, ...] | None:
        """Mean over seeds for each axis, or None without a run."""
        return _each(statistics.fmean, self.ours.get(metric))

    def deviation(self, metric: str) -> tuple[float, ...] | None:
        """Sample deviation over seeds for each axis; None below two seeds."""
        values = self.ours.get(metric)
        return _each(statistics.stdev, values) if values and len(values) > 1 else None


def _each(statistic: Any, values: list[tuple[float, ...]] | None) -> tuple[float, ...] | None:
    return tuple(statistic(axis) for axis in zip(*values, strict=True)) if values else None


def table(number: int) -> Table:
    """Table 1 to 5; ValueError for another."""
    if number not in TABLES:
        raise ValueError(f"the supplement has no table {number}; choose from 1 to {len(TABLES)}")
    return TABLES[number]


def run_folder(table: Table, row: Row, seed: int, root: Path = Path("runs")) -> Path:
    """Where the run of a row and seed lies."""
    return root / f"table{table.number}" / row.name / f"seed{seed}"


def command(table: Table, row: Row, seed: int = 0, root: Path = Path("runs")) -> str | None:
    """The exact command that trains the row; None for quoted rows.

    It names the first weights, which makes it a request to download them where they are missing.
    """
    if row.config is None:
        return None
    settings = [f"seed={seed}", f"weights={row.config.weights}", *row.settings]
    return " ".join(
        [
            "accelerate launch cli.py train",
            f"--shards data/shards/{table.dataset}",
            f"--recipe {row.recipe}",
            f"--run {run_folder(table, row, seed, root).as_posix()}",
            *(f"--set {setting}" for setting in settings),
        ]
    )


def words(
    row: Row, seed: int, run: Path, shards: Sequence[Path], settings: Sequence[str] = ()
) -> list[str]:
    """What follows `train` to begin the run of a row, or to go on with it where it was begun."""
    if (run / "run.json").exists():
        return ["--resume", str(run)]
    found = ["--recipe", str(row.recipe), "--run", str(run)]
    for setting in (f"seed={seed}", *row.settings, *settings):
        found += ["--set", setting]
    for folder in shards:
        found += ["--shards", str(folder)]
    return found


def missing(table: Table, seeds: Sequence[int], root: Path = Path("runs")) -> list[tuple[Row, int]]:
    """The (row, seed) pairs without a finished run, in printed order."""
    return [
        (row, seed)
        for row in table.rows
        if row.recipe is not None
        for seed in seeds
        if not finished(run_folder(table, row, seed, root))
    ]


def finished(run: Path) -> bool:
    """Whether a run went to its end: its scores are the last thing it writes."""
    return _scores(run) is not None


def fill(table: Table, root: Path = Path("runs")) -> list[Filled]:
    """Every row with the scores of its finished runs under `root`, seeds in order.

    The scores are those of the best checkpoint. Unfinished runs are left out; a run of another
    recipe in a row's place is a ValueError. A run with an undefined score enters no mean, and its
    seed is named.
    """
    return [_filled(table, row, root) for row in table.rows]


def _filled(table: Table, row: Row, root: Path) -> Filled:
    place = root / f"table{table.number}" / row.name
    found = sorted(
        (int(folder.name.removeprefix("seed")), folder)
        for folder in place.glob("seed*")
        if folder.name.removeprefix("seed").isdigit()
    )
    seeds: list[int] = []
    undefined: list[int] = []
    ours: dict[str, list[tuple[float, ...]]] = {}
    for seed, folder in found:
        scores = _scores(folder)
        if scores is None:
            continue
        _check_recipe(folder, row)
        values = {metric: _values(scores, metric) for metric in table.metrics}
        if any(None in value for value in values.values()):
            undefined.append(seed)
            continue
        seeds.append(seed)
        for metric, value in values.items():
            ours.setdefault(metric, []).append(tuple(v for v in value if v is not None))
    return Filled(row, tuple(seeds), ours, tuple(undefined))


def _facts(folder: Path) -> dict[str, Any] | None:
    path = folder / "run.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _scores(folder: Path) -> dict[str, Any] | None:
    """The best checkpoint's scores of a finished run."""
    facts = _facts(folder)
    scores = facts.get("scores") if facts else None
    return scores.get("best", scores) if scores else None


def _values(scores: dict[str, Any], metric: str) -> tuple[float | None, ...]:
    if metric == "accuracy":
        return (scores["accuracy"],)
    return tuple(scores[axis][metric] for axis in ("valence", "arousal"))


# What decides which method a run trained; budgets and loops may differ.
_DEFINING = ("method", "task", "formula", "mining", "encoder", "stack", "discriminative_weight")


def _check_recipe(folder: Path, row: Row) -> None:
    facts, wanted = _facts(folder), row.config
    if facts is None or wanted is None:
        return
    for name in _DEFINING:
        found, expected = facts["config"].get(name), getattr(wanted, name)
        if found is not None and found != expected:
            raise ValueError(
                f"{folder} was trained with {name}={found}, but row {row.name!r} is "
                f"{name}={expected}; move the run away or train it as the row's command says"
            )


_HEADS = {"rmse": "RMSE", "pcc": "PCC", "ccc": "CCC", "accuracy": "accuracy"}


def _columns(table: Table) -> list[tuple[str, int]]:
    """(metric, axis) of each number column."""
    axes = 1 if table.metrics == ("accuracy",) else 2
    return [(metric, axis) for metric in table.metrics for axis in range(axes)]


def _head(table: Table, metric: str, axis: int) -> str:
    return _HEADS[metric] + ("" if table.metrics == ("accuracy",) else f" {'VA'[axis]}")


def _published(row: Row, metric: str, axis: int) -> float | None:
    value = row.published.get(metric)
    return value[axis] if isinstance(value, tuple) else value


def _cell(values: tuple[float, ...] | None, axis: int) -> float | None:
    return None if values is None else values[axis]


def as_text(table: Table, rows: Sequence[Filled], root: Path = Path("runs")) -> str:
    """For a terminal: published, ours (mean ± deviation), seeds; then each row's command."""
    lines = [["method", "backbone", *(_head(table, m, a) for m, a in _columns(table)), "seeds"]]
    for filled in rows:
        lines.append([filled.row.method, filled.row.backbone, *_pairs(table, filled),
                      str(len(filled.seeds) or "")])  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    commands = [f"{f.row.name}: {c}" for f in rows if (c := command(table, f.row, root=root))]
    title = f"Table {table.number}. {table.title}: published | ours"
    notes = [table.note] if table.note else []
    return "\n".join([title, *text, *notes, *_left_out(rows), "", *commands])


def _left_out(rows: Sequence[Filled]) -> list[str]:
    """Why a mean has fewer seeds than there are runs: nobody should take it for all of them."""
    return [
        f"{f.row.name}: seed {', '.join(map(str, f.undefined))} predicts the same for every face, "
        "has no correlation and is left out of the mean"
        for f in rows
        if f.undefined
    ]


def _pairs(table: Table, filled: Filled) -> list[str]:
    cells = []
    for metric, axis in _columns(table):
        published = _published(filled.row, metric, axis)
        mean, spread = _cell(filled.mean(metric), axis), _cell(filled.deviation(metric), axis)
        left = "-" if published is None else f"{published:.3f}"
        right = "-" if mean is None else f"{mean:.3f}"
        cells.append(f"{left} | {right}" + ("" if spread is None else f"±{spread:.3f}"))
    return cells


def as_csv(table: Table, rows: Sequence[Filled]) -> str:
    """One line a row and metric column: published, mean, deviation, number of seeds."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(
        ["table", "row", "method", "backbone", "recipe", "metric", "axis", "published", "mean",
         "deviation", "seeds"]
    )  # fmt: skip
    for filled in rows:
        for metric, axis in _columns(table):
            row = filled.row
            named = "" if metric == "accuracy" else ("valence", "arousal")[axis]
            numbers = (
                _published(row, metric, axis),
                _cell(filled.mean(metric), axis),
                _cell(filled.deviation(metric), axis),
            )
            writer.writerow(
                [table.number, row.name, row.method, row.backbone, row.recipe or "", metric, named,
                 *("" if n is None else f"{n:.6g}" for n in numbers), len(filled.seeds)]
            )  # fmt: skip
    return sink.getvalue()


def as_latex(table: Table, rows: Sequence[Filled]) -> str:
    """A booktabs table: the published number, and ours below it where runs exist."""
    columns = _columns(table)
    heads = " & ".join(_head(table, metric, axis) for metric, axis in columns)
    body = []
    for filled in rows:
        published = [_published(filled.row, m, a) for m, a in columns]
        cells = ["--" if n is None else f"{n:.3f}" for n in published]
        body.append(
            f"{_tex(filled.row.method)} & {_tex(filled.row.backbone)} & {' & '.join(cells)}"
        )
        if filled.seeds:
            ours = [_tex_mean(filled, metric, axis) for metric, axis in columns]
            body.append(f"\\quad ours, {len(filled.seeds)} seeds & & {' & '.join(ours)}")
    return "\n".join(
        [
            f"% Table {table.number}: {table.title}",
            *(f"% {note}" for note in _left_out(rows)),
            f"\\begin{{tabular}}{{ll{'c' * len(columns)}}}",
            "\\toprule",
            f"Method & Backbone & {heads} \\\\",
            "\\midrule",
            *(f"{line} \\\\" for line in body),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def _tex(text: str) -> str:
    return text.replace("_", "\\_").replace("&", "\\&")


def _tex_mean(filled: Filled, metric: str, axis: int) -> str:
    mean, spread = _cell(filled.mean(metric), axis), _cell(filled.deviation(metric), axis)
    return f"${mean:.3f}" + ("$" if spread is None else f" \\pm {spread:.3f}$")


def published_on(dataset: str) -> list[Published]:
    """Every row the supplement prints for a data set, whichever of its tables; each row once."""
    found: dict[tuple[str, str, str], Published] = {}
    for table in TABLES.values():
        if _bare(table.dataset) != _bare(dataset):
            continue
        for row in table.rows:
            values = {m: _axes(v) for m, v in row.published.items() if v is not None}
            source = f"supplement, Table {table.number}"
            one = Published(row.method, source, dataset, values, row.backbone)
            found.setdefault((row.method, row.backbone, repr(values)), one)
    return list(found.values())


def _bare(dataset: str) -> str:
    return dataset.lower().replace("-", "").replace("_", "")


def _axes(printed: object) -> tuple[float | None, ...]:
    """(valence, arousal), or one accuracy alone."""
    return printed if isinstance(printed, tuple) else (float(str(printed)),)
