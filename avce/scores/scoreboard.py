"""Scores of several runs side by side, with the published rows: text, JSON, CSV, LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from avce.scores import CLASS_METRICS, METRICS, TITLES, defined, sheet, title
from avce.scores.intervals import (
    Evaluation,
    GroupScores,
    Interval,
    by_group,
    spread_over,
)
from avce.scores.metrics import Scores

LOWER_IS_BETTER = frozenset({"rmse"})
UNFAIR = "\u00d7 "  # before a printed row that ours cannot be compared with


@dataclass(frozen=True)
class Published:
    """A row somebody printed: (valence, arousal) per metric, or one number for classes."""

    method: str
    source: str  # where it is printed, such as "supplement, Table 1"
    dataset: str  # as the index names it: affectnet, affwild, afew_va, raf_db, ...
    values: dict[str, tuple[float | None, ...]]
    backbone: str = ""

    @property
    def name(self) -> str:
        """The method and, where it is known, its backbone."""
        return f"{self.method} ({self.backbone})" if self.backbone else self.method


@dataclass(frozen=True)
class Setting:
    """What decides whether our numbers may stand beside printed ones."""

    dataset: str
    split: str
    convention: str = "ours"
    flip: bool = False
    stand_in: bool = False  # drawn faces, not the data set itself
    subset: bool = False  # a selection narrower than the split, such as EmoNet's cleaned one


def caveats(setting: Setting, row: Published) -> list[str]:
    """Why our numbers and a printed row cannot be compared; empty when they can."""
    found = []
    if setting.stand_in:
        found.append("ours are on drawn stand-in faces, not on the data set")
    if setting.dataset != row.dataset:
        found.append(f"ours are on {setting.dataset}, the row on {row.dataset}")
    if setting.split == "train":
        found.append("ours are on training samples")
    if setting.subset:
        found.append("ours are on a part of the split")
    if setting.flip:
        found.append("ours are averaged with the mirror image, the row is not")
    return found


@dataclass(frozen=True)
class Cell:
    """One number of the board: its value, its interval, and whether it is the best of its kind."""

    value: float | None
    interval: Interval | None = None
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One line of the board."""

    name: str
    n: int | None
    cells: tuple[Cell, ...]
    published: bool = False
    unfair: bool = False  # printed, and nothing that ours can be compared with


@dataclass(frozen=True)
class Board:
    """Names of columns and lines of cells; what the four formats print."""

    columns: tuple[str, ...]
    rows: tuple[Line, ...]
    notes: tuple[str, ...]


def board(
    evaluations: Sequence[Evaluation],
    published: Sequence[Published] = (),
    setting: Setting | None = None,
) -> Board:
    """Our runs first, then printed rows; the best of OUR runs is marked in each column.

    Printed rows whose comparison is unfair stay on the board, and a note says why.
    """
    if not evaluations:
        raise ValueError("there is no evaluation to print; give at least one run")
    columns = _columns(evaluations[0])
    if other := [e.name for e in evaluations if _columns(e) != columns]:
        raise ValueError(
            f"{evaluations[0].name} and {other[0]} predict different things, which no table holds "
            "side by side; score them apart"
        )
    ours = [_row(evaluation, columns) for evaluation in evaluations]
    theirs = [_printed(row, columns, setting) for row in published]
    notes = [n for e in evaluations for n in _prefixed(e)]
    notes += _warnings(published, setting) if setting else []
    marked = [_marked(row, ours, columns) for row in ours] if len(ours) > 1 else ours
    titles = tuple(title(*column) for column in columns)
    return Board(titles, (*marked, *theirs), tuple(dict.fromkeys(notes)))


def _columns(evaluation: Evaluation) -> list[tuple[str, int]]:
    if isinstance(evaluation.scores, Scores):
        return [(metric, k) for metric in METRICS for k in range(len(evaluation.scores.axes))]
    return [(metric, 0) for metric in CLASS_METRICS]


def _row(evaluation: Evaluation, columns: Sequence[tuple[str, int]]) -> Line:
    cells = (Cell(defined(evaluation.value(*c)), evaluation.bounds(*c)) for c in columns)
    return Line(evaluation.name, evaluation.scores.n, tuple(cells))


def _printed(row: Published, columns: Sequence[tuple[str, int]], setting: Setting | None) -> Line:
    cells = (Cell(dict(enumerate(row.values.get(metric, ()))).get(k)) for metric, k in columns)
    unfair = bool(setting and caveats(setting, row))
    return Line(row.name, None, tuple(cells), published=True, unfair=unfair)


def ours_alone(drawn: Board) -> Board:
    """The board without its printed rows; what is not comparable stays said below."""
    return replace(drawn, rows=tuple(row for row in drawn.rows if not row.published))


def _marked(row: Line, rows: Sequence[Line], columns: Sequence[tuple[str, int]]) -> Line:
    cells = []
    for j, (metric, _) in enumerate(columns):
        known = [value for r in rows if (value := r.cells[j].value) is not None]
        pick = min if metric in LOWER_IS_BETTER else max
        best = bool(known) and row.cells[j].value == pick(known)
        cells.append(replace(row.cells[j], best=best))
    return replace(row, cells=tuple(cells))


def _prefixed(evaluation: Evaluation) -> list[str]:
    return [f"{evaluation.name}: {n}" if evaluation.name else n for n in evaluation.notes]


def _warnings(published: Sequence[Published], setting: Setting) -> list[str]:
    """One note for all rows that fail for the same reasons."""
    by_reason: dict[str, list[Published]] = {}
    for row in published:
        reasons = caveats(setting, row)
        if reasons:
            by_reason.setdefault("; ".join(reasons), []).append(row)
    return [
        f"not comparable with the {len(rows)} printed rows of "
        f"{', '.join(dict.fromkeys(row.source for row in rows))}: {reason}"
        for reason, rows in by_reason.items()
    ]


Groups = dict[str, list[GroupScores]]  # column -> scores of each of its values


def groups_of(tables: Mapping[str, pa.Table], columns: Sequence[str], convention: str) -> Groups:
    """Scores per video, subject, fold, ... of every table; ValueError where a column has nulls."""
    found: Groups = {}
    for column in columns:
        for name, table in tables.items():
            prefix = f"{name}, " if len(tables) > 1 else ""
            found.setdefault(column, []).extend(
                group._replace(name=f"{prefix}{group.name}")
                for group in by_group(table, column, convention)
            )
    return found


def with_groups(drawn: Board, groups: Groups) -> Board:
    """The board with a line a group below; how folds differ stands in its notes."""
    rows, notes = list(drawn.rows), list(drawn.notes)
    for column, members in groups.items():
        noun = "fold" if column == "part" else column.removesuffix("_id")
        rows += [group_line(group, noun) for group in members]
        if column in ("part", "fold") and len(members) > 1:
            notes.append(f"over {len(members)} folds: {_spread(members)}")
    if groups:
        notes.append(
            "the mean of groups is another number than the score of all; publish the latter"
        )
    return Board(drawn.columns, tuple(rows), tuple(notes))


def group_line(group: GroupScores, noun: str = "") -> Line:
    """The scores of a group as a line of the board."""
    cells = tuple(Cell(defined(v)) for values in group.scores.values() for v in values)
    return Line(f"{noun} {group.name}".lstrip(), group.n, cells)


def _spread(members: Sequence[GroupScores]) -> str:
    metric = "ccc" if "ccc" in members[0].scores else "accuracy"
    pairs = [f"{mean:.3f} \u00b1 {spread:.3f}" for mean, spread in spread_over(members, metric)]
    return f"{TITLES[metric]} {', '.join(pairs)} (mean and deviation)"


def confusions(evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
    """For a terminal: of each label (a line), how many samples were called what (the columns)."""
    pages = []
    for evaluation in evaluations:
        if isinstance(evaluation.scores, Scores):
            continue
        counts = evaluation.scores.confusion
        words = [*names[: len(counts)], *map(str, range(len(names), len(counts)))]
        lines = [[f"{evaluation.name}: labelled, called", *words]]
        lines += [[w, *map(str, row)] for w, row in zip(words, counts, strict=True)]
        pages.append(sheet.as_text(lines))
    return "\n".join(pages)


# ---------------------------------------------------------------------------- the four formats


def as_text(drawn: Board) -> str:
    """Aligned columns, half the width of each interval in a second line, notes below."""
    lines = [["run", "n", *drawn.columns]]
    for row in drawn.rows:
        values = [sheet.number(cell.value) + "*" * cell.best for cell in row.cells]
        lines.append([row.name, counted(row), *values])
        if any(cell.interval for cell in row.cells):
            lines.append(["", "", *(_give_or_take(cell.interval) for cell in row.cells)])
    return sheet.as_text(lines) + "".join(
        f"note: {sheet.printable(note)}\n" for note in drawn.notes
    )


def counted(line: Line) -> str:
    """How many samples were scored; of a printed line, that it is one, and if it is unfair."""
    return UNFAIR * line.unfair + "printed" if line.published else f"{line.n:,}"


def _give_or_take(interval: Interval | None) -> str:
    return f"\u00b1{(interval.high - interval.low) / 2:.3f}" if interval else ""


def as_dict(
    evaluations: Sequence[Evaluation], drawn: Board, groups: Groups | None = None
) -> dict[str, Any]:
    """Everything, unrounded, as plain values for JSON; an undefined score is None."""
    printed = [
        {
            "name": r.name,
            "comparable": not r.unfair,
            **dict(zip(drawn.columns, (c.value for c in r.cells), strict=True)),
        }
        for r in drawn.rows
        if r.published
    ]
    runs = [evaluation.as_dict() for evaluation in evaluations]
    found: dict[str, Any] = {"runs": runs, "published": printed, "notes": list(drawn.notes)}
    if groups:
        found["groups"] = {column: [_plain(g) for g in each] for column, each in groups.items()}
    return found


def _plain(group: GroupScores) -> dict[str, Any]:
    scores = {metric: [defined(v) for v in values] for metric, values in group.scores.items()}
    return {"name": group.name, "n": group.n, **scores}


def as_csv(drawn: Board) -> str:
    """One line a run; each score followed by the ends of its interval."""
    ends = [f"{column}{end}" for column in drawn.columns for end in ("", " low", " high")]
    lines: list[list[Any]] = [["run", "n", "published", "comparable", *ends]]
    for row in drawn.rows:
        numbers = [x for cell in row.cells for x in (cell.value, *(cell.interval or (None, None)))]
        lines.append([row.name, row.n, int(row.published), int(not row.unfair), *numbers])
    return sheet.as_csv(lines)


def as_latex(drawn: Board) -> str:
    """Lines of a tabular with booktabs: best of our runs bold, intervals small below."""
    lines = [
        (row.published, [UNFAIR * row.unfair + row.name, *map(_latex_cell, row.cells)])
        for row in drawn.rows
    ]
    groups = [[line for _, line in group] for _, group in groupby(lines, itemgetter(0))]
    return sheet.as_latex(["Method", *drawn.columns], groups, notes=drawn.notes)


def _latex_cell(cell: Cell) -> sheet.Tex:
    value = sheet.number(cell.value)
    value = rf"\textbf{{{value}}}" if cell.best else value
    if cell.interval:
        low, high = map(sheet.number, cell.interval)
        value = rf"\shortstack{{{value}\\{{\tiny [{low}, {high}]}}}}"
    return sheet.Tex(value)
