"""`write_report`: one HTML page with everything about some runs, which opens without a network.

The page's own parts (style, script, template) lie in `assets/`; here is what they show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from avce.durable import write_aside
from avce.report import cards, figures
from avce.report.figures import Picture
from avce.report.pictures import said, training
from avce.report.samples import Thumbnail, Thumbnails, data_uri, store_of, thinned, thumbnails_of
from avce.scores import AXES, CLASS_METRICS, METRICS, TITLES, defined, title
from avce.scores.intervals import (
    CONVENTIONS,
    Difference,
    Evaluation,
    Interval,
    assess,
    by_group,
    compare,
)
from avce.scores.metrics import ClassScores
from avce.scores.predictions import aligned, in_order, is_classes, videos_of
from avce.scores.scoreboard import (
    Line,
    Published,
    Setting,
    board,
    caveats,
    counted,
    group_line,
)
from avce.scores.sheet import printable
from avce.training.journal import flat_numbers
from avce.training.record import RunRecord


@dataclass(frozen=True)
class Run:
    """A run as the report sees it."""

    name: str
    predictions: pa.Table
    record: RunRecord | None = None
    log: Sequence[Mapping[str, Any]] = ()  # the records of its log.jsonl


@dataclass(frozen=True)
class Subject:
    """All that is reported about; `write_report` says what each field means."""

    runs: Sequence[Run]
    title: str = "Valence and arousal"
    published: Sequence[Published] = ()
    setting: Setting | None = None
    data_card: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
    pictures: Iterable[Picture] = ()
    thumbnail: Thumbnail | None = None
    n_thumbnails: int = 400
    classes: Sequence[str] = ()
    convention: str = "ours"
    resamples: int = 1000
    seed: int = 0


def write_report(path: Path | str, subject: Subject) -> Path:
    """Write the page about `subject` and give its path.

    The runs must predict the same samples (ValueError otherwise). `published` rows stand beside
    ours, with a warning where `setting` says they are not comparable. `data_card` is names and
    values in the caller's words. `pictures` come after the page's own. `thumbnail(row)` gives the
    encoded image of a row; an image that cannot be read is left out. Everything drawn at random
    follows `seed`.
    """
    runs = [replace(run, name=printable(run.name)) for run in subject.runs]
    content = _content(replace(subject, runs=runs))
    page = _environment().get_template("page.html").render(content)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, page.encode())
    return path


def _environment() -> Environment:
    """Names of runs, videos and samples come from other people: each is escaped as it goes in."""
    made = Environment(
        loader=PackageLoader("avce.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return made


def _asset(name: str) -> Markup:
    return Markup(files("avce.report").joinpath("assets", name).read_text(encoding="utf-8"))


def _content(subject: Subject) -> dict[str, Any]:
    names = [run.name for run in subject.runs]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs runs of different names, not {names}; name each run")
    tables = [in_order(t) for t in aligned([run.predictions for run in subject.runs])]
    evaluations = [_assessed(subject, run, t) for run, t in zip(subject.runs, tables, strict=True)]
    kept = thumbnails_of(tables[0], subject.thumbnail, subject.n_thumbnails, subject.seed)
    content = {
        "title": subject.title,
        "lead": _lead(subject, evaluations[0]),
        "first": names[0],
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        **_summary(evaluations),
        **_scores(subject, evaluations, tables),
        **_touched(subject, tables, kept),
        "pictures": [_drawn(picture) for picture in _pictures(subject, evaluations, tables)],
        "worst": [_worst(subject, tables[0], position, kept) for position in kept.worst],
        "data_card": cards.data_card(subject.data_card, tables[0]),
        "models": [(r.name, pairs) for r in subject.runs if (pairs := cards.model_card(r.record))],
        "use": cards.USE,
        "commands": subject.commands,
    }
    return content | {"sections": _sections(content)}


def _sections(content: Mapping[str, Any]) -> dict[str, str]:
    """Anchors and titles, in the order of the page."""
    titles = {
        "summary": "Summary",
        "scores": "Scores",
        "scatter": "The plane" if content["layers"] else "",
        "timeline": "A video, frame by frame" if content["videos"] else "",
        "figures": "Figures",
        "worst": "Worst errors",
        "data": "Data card",
        "model": "Model card",
        "commands": "Commands" if content["commands"] else "",
    }
    return {name: title for name, title in titles.items() if title}


class Grid(NamedTuple):
    """A table: its name, the heads of its columns, and lines of texts or `Value`s."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Value(NamedTuple):
    """A number with its interval; `best` has the colour."""

    text: str
    between: str = ""
    best: bool = False


def _assessed(subject: Subject, run: Run, table: pa.Table) -> Evaluation:
    return assess(
        table,
        run.name,
        convention=subject.convention,
        resamples=subject.resamples,
        seed=subject.seed,
    )


def _lead(subject: Subject, first: Evaluation) -> str:
    names = ", ".join(run.name for run in subject.runs)
    setting = subject.setting
    drawn = "drawn stand-ins of " if setting and setting.stand_in else ""
    where = f" on {drawn}{setting.dataset}, {setting.split}" if setting else ""
    return f"{names}{where}: {first.scores.n:,} samples."


# ---------------------------------------------------------------------------- scores


def _summary(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    best = max(evaluations, key=lambda e: np.nan_to_num(e.scores.headline, nan=-2))
    sure = (
        f"Ranges are {100 * best.level:.0f} % bootstrap intervals over {best.n_clusters:,} "
        f"{best.clusters.removesuffix('_id')}s, {best.resamples:,} draws. Scores: "
        f"{CONVENTIONS[best.convention].meaning}."
    )
    return {
        "best": f"The best of {len(evaluations)} runs is {best.name}." * (len(evaluations) > 1),
        "cards": [_card(*card) for card in _headlines(best)],
        "sure": sure,
        "said": list(dict.fromkeys(note for e in evaluations for note in e.notes)),
    }


def _headlines(best: Evaluation) -> list[tuple[str, float, Interval | None]]:
    if isinstance(best.scores, ClassScores):
        return [(TITLES[m], best.value(m), best.bounds(m, 0)) for m in CLASS_METRICS]
    shown = [
        (f"{TITLES[metric]} {axis}", best.value(metric, k), best.bounds(metric, k))
        for metric in ("ccc", "rmse")
        for k, axis in enumerate(best.scores.axes)
    ]
    return [("mean CCC", best.scores.mean_ccc, best.bounds("mean_ccc", 0)), *shown]


def _card(name: str, value: float, bounds: Interval | None) -> tuple[str, str, str]:
    number = "undefined" if np.isnan(value) else f"{value:.3f}"
    return name, number, f"{bounds.low:.3f} to {bounds.high:.3f}" if bounds else "no interval"


def _scores(
    subject: Subject, evaluations: Sequence[Evaluation], tables: Sequence[pa.Table]
) -> dict[str, Any]:
    drawn = board(evaluations, subject.published, subject.setting)
    compared = len(tables) > 1 and not is_classes(tables[0])
    return {
        "board": _grid("scores of every run", "run", drawn.columns, drawn.rows),
        "unfair": [note for note in drawn.notes if note.startswith("not comparable")],
        "comparison": _comparison(subject, tables) if compared else None,
        "groups": list(_groups(subject, tables[0], drawn.columns)),
    }


def _grid(name: str, what: str, columns: Sequence[str], lines: Iterable[Line]) -> Grid:
    rows = [
        [line.name, counted(line), *(_value(c.value, c.interval, c.best) for c in line.cells)]
        for line in lines
    ]
    return Grid(name, [what, "n", *columns], rows)


def _value(value: float | None, bounds: Interval | None = None, best: bool = False) -> Value:
    if value is None:
        return Value("\u2013")
    between = f"{bounds.low:.3f}\u2013{bounds.high:.3f}" if bounds else ""
    return Value(f"{value:.3f}", between, best)


def _comparison(subject: Subject, tables: Sequence[pa.Table]) -> Grid:
    rows = []
    for run, table in zip(subject.runs[1:], tables[1:], strict=True):
        found = compare(
            tables[0], table, convention=subject.convention, resamples=subject.resamples
        )
        rows.append([run.name, *map(_gap, found)])
    titles = [title(metric, k) for metric in METRICS for k in range(2)]
    return Grid(f"Against {subject.runs[0].name}, sample by sample", ["run", *titles], rows)


def _gap(one: Difference) -> Value:
    between = "{:+.3f} to {:+.3f}".format(*one.interval) if one.interval else ""
    return Value(f"{one.value:+.3f}", between, one.clear)


def _groups(
    subject: Subject, table: pa.Table, columns: Sequence[str], most: int = 200
) -> Iterator[Grid]:
    """Tables per video, subject and fold, of the first run, worst first."""
    for column in ("fold", "part", "subject_id", "video_id"):
        if column not in table.column_names or table[column].null_count:
            continue
        groups = by_group(table, column, subject.convention)
        if len(groups) > 1:
            metric = "accuracy" if is_classes(table) else "ccc"
            groups.sort(key=lambda g: np.nan_to_num(np.mean(g.scores[metric]), nan=-2))
            noun = column.removesuffix("_id")
            title = f"Per {noun} ({subject.runs[0].name}, {len(groups):,}, lowest first)"
            yield _grid(title, "group", columns, map(group_line, groups[:most]))


# ---------------------------------------------------------------------------- what can be touched


def _touched(subject: Subject, tables: Sequence[pa.Table], kept: Thumbnails) -> dict[str, Any]:
    """The plane, the timeline, and the packed numbers of both; of classes there is none."""
    if is_classes(tables[0]):
        return {"store": {"n": 0}, "layers": [], "videos": [], "thinned": ""}
    names = [run.name for run in subject.runs]
    positions = thinned(tables[0], len(names), [*kept.images, *kept.worst], subject.seed)
    drawn = [table.take(pa.array(positions)) for table in tables]
    images = {int(np.searchsorted(positions, at)): uri for at, uri in kept.images.items()}
    frames = {v["name"]: v["stop"] - v["start"] for v in videos_of(tables[0], most=None)}
    layers = ["predictions", "labels", "error", *(["faces"] if images else [])]
    words = [[word, *place] for word, place in figures.NAMED.items()]
    return {
        "store": store_of(dict(zip(names, drawn, strict=True)), _colours(names), words, images),
        "layers": [(layer, layer) for layer in layers],
        "plane_runs": [(str(i), name) for i, name in enumerate(names)] if len(names) > 1 else [],
        "videos": [(v["name"], f"{frames[v['name']]:,}") for v in videos_of(drawn[0])],
        "thinned": _thinning(len(positions), len(tables[0])),
    }


def _thinning(drawn: int, of: int) -> str:
    return (
        f"{drawn:,} of {of:,} samples are drawn here, as many of each video or part of the plane "
        "as its share; every number on this page is computed over all."
    ) * (drawn < of)


def _colours(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    with figures.theme("light"):
        light = figures.colours_of(names)
    with figures.theme("dark"):
        dark = figures.colours_of(names)
    return {name: (light[name], dark[name]) for name in names}


class Missed(NamedTuple):
    """One of the worst errors: its face, the way from label to prediction, what stands below."""

    face: str | None
    arrow: tuple[str, ...] | None
    lines: Sequence[str]


def _worst(subject: Subject, table: pa.Table, position: int, kept: Thumbnails) -> Missed:
    row = table.slice(position, 1).to_pylist()[0]
    face, name = kept.images.get(position), str(row.get("sample_key", f"row {row['row']}"))
    if is_classes(table):
        label, said = (_class_name(subject, row[c]) for c in ("expression", "expression_pred"))
        return Missed(face, None, [f"label {label}", f"said {said}", name])
    label, said = ([row[f"{axis}{end}"] for axis in AXES] for end in ("", "_pred"))
    text = ["label {:+.2f} {:+.2f}".format(*label), "said {:+.2f} {:+.2f}".format(*said)]
    ends = ((f"{26 + 22 * v:.1f}", f"{26 - 22 * a:.1f}") for v, a in (label, said))
    return Missed(face, tuple(x for end in ends for x in end), [*text, name])


def _class_name(subject: Subject, code: int) -> str:
    return subject.classes[code] if code < len(subject.classes) else str(code)


# ---------------------------------------------------------------------------- pictures


def _pictures(
    subject: Subject, evaluations: Sequence[Evaluation], tables: Sequence[pa.Table]
) -> list[Picture]:
    named = {run.name: table for run, table in zip(subject.runs, tables, strict=True)}
    logs = {run.name: run.log for run in subject.runs}
    first = [] if is_classes(tables[0]) else [_intervals(subject, evaluations)]
    return [*first, *said(named, subject.classes), *training(logs), *subject.pictures]


def _intervals(subject: Subject, evaluations: Sequence[Evaluation]) -> Picture:
    bars = [_bar(e) for e in evaluations] + [_printed(subject, p) for p in subject.published]
    caption = (
        "Discs are ours with 95 % intervals; rings are printed numbers, which have none, crosses "
        "those that ours cannot be compared with."
    )
    draw = partial(figures.forest, bars)
    return Picture("scores", "CCC with intervals", caption, draw)


def _bar(evaluation: Evaluation) -> figures.Bar:
    bounds = [evaluation.bounds("ccc", k) for k in range(2)]
    values = [defined(evaluation.value("ccc", k)) for k in range(2)]
    low, high = ([b and b[end] for b in bounds] for end in range(2))
    return figures.Bar(evaluation.name, values, low, high)


def _printed(subject: Subject, row: Published) -> figures.Bar:
    unfair = bool(subject.setting and caveats(subject.setting, row))
    return figures.Bar(row.name, row.values.get("ccc", (None, None)), published=True, unfair=unfair)


class Drawn(NamedTuple):
    """A picture in both themes."""

    title: str
    caption: str
    light: str
    dark: str
    numbers: Grid


def _drawn(picture: Picture) -> Drawn:
    light, dark = (
        data_uri(figures.png(picture.draw, theme, dpi=150), "image/png")
        for theme in ("light", "dark")
    )
    found = flat_numbers(dict(picture.numbers)).items()
    rows = [[name.replace("/", ", "), f"{value:.4g}"] for name, value in found]
    numbers = Grid(f"numbers of {picture.title}", ["quantity", "value"], rows)
    return Drawn(picture.title, picture.caption, light, dark, numbers)
