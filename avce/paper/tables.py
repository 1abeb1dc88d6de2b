"""The supplement's five tables as data: published numbers, the recipe of each row, its command.

Pure functions list the rows, gather our numbers from finished run folders, and write text, CSV
and LaTeX. A run belongs to a row when it lies at `ROOT/tableN/ROW/seedS`.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from avce.paper.published import TABLES, Row, Table
from avce.scores import AXES, sheet, title
from avce.training.record import Ending, read_record

if TYPE_CHECKING:
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
        return self._over_seeds(statistics.fmean, metric, 1)

    def deviation(self, metric: str) -> tuple[float, ...] | None:
        """Sample deviation over seeds for each axis; None below two seeds."""
        return self._over_seeds(statistics.stdev, metric, 2)

    def _over_seeds(self, statistic: Any, metric: str, least: int) -> tuple[float, ...] | None:
        enough = len(values := self.ours.get(metric, ())) >= least
        return tuple(map(statistic, zip(*values, strict=True))) if enough else None


def table(number: int) -> Table:
    """Table 1 to 5; ValueError for another."""
    if number not in TABLES:
        raise ValueError(f"the supplement has no table {number}; choose from 1 to {len(TABLES)}")
    return TABLES[number]


def run_folder(table: Table, row: Row, seed: int, root: Path = Path("runs")) -> Path:
    """Where the run of a row and seed lies."""
    return root / f"table{table.number}" / row.name / f"seed{seed}"


def command(
    table: Table,
    row: Row,
    seed: int = 0,
    root: Path = Path("runs"),
    shards: Sequence[Path] = (),
    settings: Sequence[str] = (),
) -> str | None:
    """The exact command that trains the row, or goes on with it; None for quoted rows."""
    if row.config is None:
        return None
    places = shards or [Path("data/shards") / table.dataset]
    named = [word for place in places for word in ("--shards", str(place))]
    named += words(row, seed, run_folder(table, row, seed, root), [], settings)
    return shlex.join(["accelerate", "launch", "cli.py", "train", *named])


def words(
    row: Row, seed: int, run: Path, shards: Sequence[Path], settings: Sequence[str] = ()
) -> list[str]:
    """What follows `train` to begin the run of a row, or to go on with it where it broke off.

    It names the first weights, which makes it a request to download them where they are missing.
    """
    if (run / "run.json").exists() and not finished(run):
        return ["--resume", str(run)]
    found = ["--recipe", str(row.recipe), "--run", str(run)]
    first = [f"weights={row.config.weights}"] if row.config else []
    for setting in (f"seed={seed}", *first, *row.settings, *settings):
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


def _scores(folder: Path) -> Mapping[str, Any] | None:
    """The best checkpoint's scores of a finished run."""
    if not (folder / "run.json").exists():
        return None
    scores = read_record(folder, Ending).scores
    return cast(dict[str, Any], scores["best"]) if scores else None


def _values(scores: Mapping[str, Any], metric: str) -> tuple[float | None, ...]:
    if metric == "accuracy":
        return (scores.get("accuracy"),)
    return tuple(scores.get(axis, {}).get(metric) for axis in AXES)


# What decides which method a run trained; budgets and loops may differ.
_DEFINING = ("method", "task", "formula", "mining", "encoder", "stack", "discriminative_weight")


def _check_recipe(folder: Path, row: Row) -> None:
    trained, wanted = read_record(folder).config, row.config
    if wanted is None:
        return
    for name in _DEFINING:
        found, expected = getattr(trained, name), getattr(wanted, name)
        if found != expected:
            raise ValueError(
                f"{folder} was trained with {name}={found}, but row {row.name!r} is "
                f"{name}={expected}; move the run away or train it as the row's command says"
            )


def _columns(table: Table) -> list[tuple[str, int]]:
    """(metric, axis) of each number column."""
    axes = 1 if table.metrics == ("accuracy",) else 2
    return [(metric, axis) for metric in table.metrics for axis in range(axes)]


def as_text(table: Table, rows: Sequence[Filled], root: Path = Path("runs")) -> str:
    """For a terminal: published, ours (mean ± deviation), seeds; then each row's command."""
    lines = [["method", "backbone", *(title(*column) for column in _columns(table)), "seeds"]]
    for filled in rows:
        cells = [_beside(*_numbers(filled, *column)) for column in _columns(table)]
        seeds = str(len(filled.seeds) or "")
        lines.append([filled.row.method, filled.row.backbone, *cells, seeds])
    commands = [f"{f.row.name}: {c}" for f in rows if (c := command(table, f.row, root=root))]
    above = f"Table {table.number}. {table.title}: published | ours"
    notes = [table.note] if table.note else []
    text = sheet.as_text(lines, left=2).rstrip("\n")
    return "\n".join([above, text, *notes, *_left_out(rows), "", *commands])


def _left_out(rows: Sequence[Filled]) -> list[str]:
    """Why a mean has fewer seeds than there are runs: nobody should take it for all of them."""
    return [
        f"{f.row.name}: seed {', '.join(map(str, f.undefined))} predicts the same for every face, "
        "has no correlation and is left out of the mean"
        for f in rows
        if f.undefined
    ]


def _numbers(filled: Filled, metric: str, axis: int) -> tuple[float | None, ...]:
    """Published, our mean, our deviation."""
    printed = filled.row.published.get(metric)
    published = printed[axis] if isinstance(printed, tuple) else printed
    ours = (filled.mean(metric), filled.deviation(metric))
    return (published, *(None if values is None else values[axis] for values in ours))


def _beside(published: float | None, mean: float | None, spread: float | None) -> str:
    give_or_take = "" if spread is None else f"±{spread:.3f}"
    return f"{sheet.number(published)} | {sheet.number(mean)}{give_or_take}"


def as_csv(table: Table, rows: Sequence[Filled]) -> str:
    """One line a row and metric column: published, mean, deviation, number of seeds."""
    head = "table,row,method,backbone,recipe,metric,axis,published,mean,deviation,seeds"
    lines: list[list[Any]] = [head.split(",")]
    for filled in rows:
        row = filled.row
        for metric, axis in _columns(table):
            named = "" if metric == "accuracy" else AXES[axis]
            numbers = [
                n if n is None else float(f"{n:.6g}") for n in _numbers(filled, metric, axis)
            ]
            about = [table.number, row.name, row.method, row.backbone, row.recipe, metric, named]
            lines.append([*about, *numbers, len(filled.seeds)])
    return sheet.as_csv(lines)


def as_latex(table: Table, rows: Sequence[Filled]) -> str:
    """A booktabs table: the published number, and ours below it where runs exist."""
    columns, body = _columns(table), []
    for filled in rows:
        found = [_numbers(filled, *column) for column in columns]
        published = [sheet.number(published) for published, _, _ in found]
        body.append([filled.row.method, filled.row.backbone, *published])
        if filled.seeds:
            name = sheet.Tex(rf"\quad ours, {len(filled.seeds)} seeds")
            body.append([name, "", *(_tex_mean(mean, spread) for _, mean, spread in found)])
    head = ["Method", "Backbone", *(title(*column) for column in columns)]
    above = f"Table {table.number}: {table.title}"
    return sheet.as_latex(head, [body], left=2, notes=[above, *_left_out(rows)])


def _tex_mean(mean: float | None, spread: float | None) -> sheet.Tex:
    give_or_take = "" if spread is None else rf" \pm {spread:.3f}"
    return sheet.Tex(f"${sheet.number(mean)}{give_or_take}$")


def published_on(dataset: str) -> list[Published]:
    """Every row the supplement prints for a data set, whichever of its tables; each row once."""
    from avce.scores.scoreboard import Published

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
