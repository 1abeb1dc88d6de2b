"""`write_report`: one HTML page with everything about some runs, which opens without a network.

The page's own parts (style, script, frame) lie in avce/page/; what it carries of the samples is
packed by `avce.report.samples`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from avce.config import Config
from avce.durable import write_aside
from avce.report import figures
from avce.report.html import Html, data_uri, facts, grid, joined, section, tag, void
from avce.report.pictures import Picture, said, training
from avce.report.samples import Shelf, Thumbnail, shelf_of, store_of
from avce.scores.intervals import CONVENTIONS, Difference, Evaluation, assess, by_group, compare
from avce.scores.metrics import ClassScores, Scores
from avce.scores.predictions import aligned, in_order, is_classes, pair_of, videos_of
from avce.scores.scoreboard import Board, Cell, Published, Setting, board, counted
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
    page = Template(_part("page.html")).substitute(_substance(subject))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, page.encode())
    return path


def _part(name: str) -> str:
    return files("avce.report").joinpath("assets", name).read_text(encoding="utf-8")


def _substance(subject: Subject) -> dict[str, str]:
    names = [run.name for run in subject.runs]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs runs of different names, not {names}; name each run")
    tables = [in_order(t) for t in aligned([run.predictions for run in subject.runs])]
    evaluations = [_assessed(subject, run, t) for run, t in zip(subject.runs, tables, strict=True)]
    shelf = shelf_of(tables[0], subject.thumbnail, subject.n_thumbnails, subject.seed)
    sections = [
        _summary(subject, evaluations),
        _scores(subject, evaluations, tables),
        *([] if is_classes(tables[0]) else [_plane(subject, shelf), _timeline(tables[0])]),
        _pictures(subject, evaluations, tables),
        _worst(subject, tables, shelf),
        _data_card(subject, tables[0]),
        _model_card(subject),
        _commands(subject),
    ]
    kept = [s for s in sections if s is not None]
    return {
        "title": joined(subject.title),
        "lead": joined(_lead(subject, evaluations[0])),
        "contents": joined(*(tag("a", s.title, href=f"#{s.name}") for s in kept)),
        "body": joined(*(section(s.name, s.title, *s.content) for s in kept)),
        "style": _part("page.css"),
        "script": _part("page.js"),
        "store": _store(subject, tables, shelf),
    }


def _store(subject: Subject, tables: Sequence[pa.Table], shelf: Shelf) -> str:
    names = [run.name for run in subject.runs]
    with figures.theme("light"):
        light = figures.colours_of(names)
    with figures.theme("dark"):
        dark = figures.colours_of(names)
    colours = {name: (light[name], dark[name]) for name in names}
    words = [[word, *place] for word, place in figures.NAMED.items()]
    return store_of(dict(zip(names, tables, strict=True)), colours, words, shelf)


class Section(NamedTuple):
    """A part of the page before it is written."""

    name: str
    title: str
    content: Sequence[str]


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
    where = f" on {subject.setting.dataset}, {subject.setting.split}" if subject.setting else ""
    return f"{names}{where}: {first.scores.n:,} samples."


# ---------------------------------------------------------------------------- scores


def _summary(subject: Subject, evaluations: Sequence[Evaluation]) -> Section:
    best = max(evaluations, key=lambda e: np.nan_to_num(e.scores.headline, nan=-2))
    cards = [_card(*card) for card in _headlines(best)]
    which = f"The best of {len(evaluations)} runs is {best.name}." if len(evaluations) > 1 else None
    sure = (
        f"Ranges are {100 * best.level:.0f} % bootstrap intervals over {best.n_clusters:,} "
        f"{best.clusters.removesuffix('_id')}s, {best.resamples:,} draws. Scores: "
        f"{CONVENTIONS[best.convention].meaning}."
    )
    notes = [note for e in evaluations for note in e.notes]
    content = [tag("p", which) if which else None, tag("div", *cards, class_="cards")]
    content += [tag("p", sure, class_="hint"), _notes(dict.fromkeys(notes))]
    return Section("summary", "Summary", [c for c in content if c is not None])


def _headlines(best: Evaluation) -> list[tuple[str, float, Any]]:
    if isinstance(best.scores, ClassScores):
        names = {"accuracy": "accuracy", "mean_class_accuracy": "mean class accuracy"}
        return [(t, best.value(m), best.intervals[m][0]) for m, t in names.items()]
    shown = [
        (f"{metric.upper()} {axis}", best.value(metric, k), _bounds(best, metric, k))
        for metric in ("ccc", "rmse")
        for k, axis in enumerate(best.scores.axes)
    ]
    return [("mean CCC", best.scores.mean_ccc, _bounds(best, "mean_ccc", 0)), *shown]


def _bounds(evaluation: Evaluation, metric: str, k: int) -> Any:
    found = evaluation.intervals.get(metric)
    return found[k] if found else None


def _card(name: str, value: float, bounds: Any) -> Html:
    number = "undefined" if np.isnan(value) else f"{value:.3f}"
    between = f"{bounds.low:.3f} to {bounds.high:.3f}" if bounds else "no interval"
    return tag("div", tag("span", name), tag("b", number), tag("span", between), class_="card")


def _notes(notes: Sequence[str] | Mapping[str, Any]) -> Html | None:
    return tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else None


def _scores(
    subject: Subject, evaluations: Sequence[Evaluation], tables: Sequence[pa.Table]
) -> Section:
    drawn = board(evaluations, subject.published, subject.setting)
    content: list[str | None] = [_board(drawn), _notes(_unfair(drawn))]
    if len(tables) > 1 and not is_classes(tables[0]):
        content += [tag("h3", f"Against {subject.runs[0].name}, sample by sample")]
        content += [_comparison(subject, tables)]
    content += _groups(subject, tables[0])
    return Section("scores", "Scores", [c for c in content if c is not None])


def _board(drawn: Board) -> Html:
    rows = [[row.name, counted(row), *map(_cell, row.cells)] for row in drawn.rows]
    return grid(["run", "n", *drawn.columns], rows)


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return "\u2013"
    value = tag("span", f"{cell.value:.3f}", class_="best" if cell.best else "")
    if not cell.interval:
        return value
    return joined(value, tag("small", f"{cell.interval.low:.3f}\u2013{cell.interval.high:.3f}"))


def _unfair(drawn: Board) -> list[str]:
    return [note for note in drawn.notes if note.startswith("not comparable")]


def _comparison(subject: Subject, tables: Sequence[pa.Table]) -> Html:
    rows = []
    for run, table in zip(subject.runs[1:], tables[1:], strict=True):
        found = compare(
            tables[0], table, convention=subject.convention, resamples=subject.resamples
        )
        rows.append([run.name, *map(_gap, found)])
    titles = [f"{metric} {axis}" for metric in ("RMSE", "SAGR", "PCC", "CCC") for axis in "VA"]
    hint = "Second minus first over the same draws; in colour where the interval leaves out 0."
    return joined(grid(["run", *titles], rows), tag("p", hint, class_="hint"))


def _gap(one: Difference) -> Html:
    value = tag("span", f"{one.value:+.3f}", class_="best" if one.clear else "")
    if one.interval is None:
        return value
    return joined(value, tag("small", f"{one.interval.low:+.3f} to {one.interval.high:+.3f}"))


def _groups(subject: Subject, table: pa.Table, most: int = 200) -> list[Html]:
    """Tables per video, subject and fold, of the first run, worst first, folded away."""
    found = []
    for column in ("fold", "part", "subject_id", "video_id"):
        if column not in table.column_names or table[column].null_count:
            continue
        groups = by_group(table, column, subject.convention)
        if len(groups) > 1:
            metric = "accuracy" if is_classes(table) else "ccc"
            groups.sort(key=lambda g: np.nan_to_num(np.mean(g.scores[metric]), nan=-2))
            head = [column, "n", *_group_titles(groups[0].scores)]
            rows = [[g.name, f"{g.n:,}", *_numbers(g.scores)] for g in groups[:most]]
            noun = column.removesuffix("_id")
            title = f"Per {noun} ({subject.runs[0].name}, {len(groups):,}, lowest first)"
            found.append(tag("details", tag("summary", title), grid(head, rows)))
    return found


def _group_titles(scores: Mapping[str, tuple[float, ...]]) -> list[str]:
    return [
        f"{m.upper()} {'VA'[k]}" if len(v) == 2 else m.replace("_", " ")
        for m, v in scores.items()
        for k in range(len(v))
    ]


def _numbers(scores: Mapping[str, tuple[float, ...]]) -> list[str]:
    return ["\u2013" if np.isnan(x) else f"{x:.3f}" for v in scores.values() for x in v]


# ---------------------------------------------------------------------------- what can be touched


def _plane(subject: Subject, shelf: Shelf) -> Section:
    layers = ["predictions", "labels", "error", *(["faces"] if shelf.images else [])]
    bars = [_choice("plane-layers", [(layer, layer) for layer in layers])]
    if len(subject.runs) > 1:
        bars.append(
            _choice("plane-runs", [(str(i), run.name) for i, run in enumerate(subject.runs)])
        )
    zoom = [
        tag("span", class_="gap"),
        tag("button", "\u2212", id="plane-out", aria_label="zoom out"),
        tag("button", "+", id="plane-in", aria_label="zoom in"),
    ]
    stage = tag(
        "div",
        tag("canvas", id="plane", aria_label="density of samples over valence and arousal"),
        tag("canvas", id="plane-over", class_="over"),
        tag("div", id="plane-tip", class_="tip", hidden=True),
        class_="stage",
    )
    hint = (
        "Point at a sample: the ring is its label, each disc what a run said. Colour is the number "
        "of samples, or their mean error. Drag to move when zoomed in."
    )
    bar = tag("div", *bars, *zoom, class_="bar")
    return Section("scatter", "The plane", [bar, stage, tag("p", hint, class_="hint")])


def _choice(name: str, options: Sequence[tuple[str, str]]) -> Html:
    buttons = [
        tag("button", text, data_value=value, aria_pressed="true" if i == 0 else "false")
        for i, (value, text) in enumerate(options)
    ]
    return tag("div", *buttons, id=name, class_="bar", role="group")


def _timeline(table: pa.Table) -> Section | None:
    videos = videos_of(table)
    if not videos:
        return None
    options = [
        tag("option", f"{v['name']} ({v['stop'] - v['start']:,} frames)", value=str(i))
        for i, v in enumerate(videos)
    ]
    choice = tag("select", *options, id="video", aria_label="video")
    stage = tag(
        "div",
        tag("canvas", id="lines", aria_label="valence and arousal over time"),
        tag("canvas", id="lines-over", class_="over"),
        class_="stage",
    )
    slider = void("input", type="range", id="moment", min="0", value="0", aria_label="frame")
    now = tag(
        "div",
        void("img", id="moment-face", alt=""),
        tag("canvas", id="dial", aria_label="this frame on the plane"),
        tag("div", id="reading"),
        class_="now",
    )
    bar = tag("div", choice, class_="bar")
    return Section("timeline", "A video, frame by frame", [bar, stage, slider, now])


def _worst(subject: Subject, tables: Sequence[pa.Table], shelf: Shelf) -> Section:
    table = tables[0]
    items = [_worst_item(subject, table, position, shelf) for position in shelf.worst]
    hint = (
        f"The {len(items)} samples on which {subject.runs[0].name} is furthest from the label. "
        "Look at them before believing a number: many are wrong labels, crops beside the face, or "
        "faces that the images seen in training did not contain."
    )
    return Section("worst", "Worst errors", [tag("p", hint), tag("ul", *items, class_="gallery")])


def _worst_item(subject: Subject, table: pa.Table, position: int, shelf: Shelf) -> Html:
    row = table.slice(position, 1).to_pylist()[0]
    uri = shelf.images.get(position)
    face = void("img", src=uri, alt="") if uri else None
    name = str(row.get("sample_key", f"row {row['row']}"))
    if is_classes(table):
        said = [_class_name(subject, row[c]) for c in ("expression", "expression_pred")]
        text = [f"label {said[0]}", f"said {said[1]}"]
        drawn = None
    else:
        label, said = ([row[f"{a}{end}"] for a in figures.AXES] for end in ("", "_pred"))
        text = ["label {:+.2f} {:+.2f}".format(*label), "said {:+.2f} {:+.2f}".format(*said)]
        drawn = _arrow(label, said)
    lines = [tag("div", t) for t in (*text, name)]
    return tag("li", tag("div", face, drawn, class_="pair"), *lines)


def _class_name(subject: Subject, code: int) -> str:
    return subject.classes[code] if code < len(subject.classes) else str(code)


def _arrow(label: Sequence[float], said: Sequence[float]) -> Html:
    """The circle with a ring at the label and a line to the prediction."""
    (x, y), (u, v) = ([f"{26 + 22 * a:.1f}", f"{26 - 22 * b:.1f}"] for a, b in (label, said))
    return tag(
        "svg",
        tag("circle", cx="26", cy="26", r="22", opacity="0.5"),
        tag("circle", cx=x, cy=y, r="3.5"),
        tag("line", x1=x, y1=y, x2=u, y2=v, class_="to"),
        tag("circle", cx=u, cy=v, r="2.5", class_="to"),
        viewBox="0 0 52 52",
        role="img",
        aria_label="from label to prediction",
    )


# ---------------------------------------------------------------------------- pictures


def _pictures(
    subject: Subject, evaluations: Sequence[Evaluation], tables: Sequence[pa.Table]
) -> Section:
    drawn = [*_own_pictures(subject, evaluations, tables), *subject.pictures]
    return Section("figures", "Figures", [_picture(picture) for picture in drawn])


def _own_pictures(
    subject: Subject, evaluations: Sequence[Evaluation], tables: Sequence[pa.Table]
) -> list[Picture]:
    named = {run.name: table for run, table in zip(subject.runs, tables, strict=True)}
    logs = {run.name: run.log for run in subject.runs}
    first = [] if is_classes(tables[0]) else [_intervals(subject, evaluations)]
    return [*first, *said(named, subject.classes), *training(logs)]


def _intervals(subject: Subject, evaluations: Sequence[Evaluation]) -> Picture:
    bars = [_bar(e) for e in evaluations] + [_printed(p) for p in subject.published]
    caption = "Discs are ours with 95 % intervals; rings are printed numbers, which have none."
    draw = partial(figures.forest, bars)
    return Picture("scores", "CCC with intervals", caption, draw)


def _bar(evaluation: Evaluation) -> figures.Bar:
    assert isinstance(evaluation.scores, Scores)
    v, a = evaluation.intervals.get("ccc", (None, None))
    low, high = (v and v.low, a and a.low), (v and v.high, a and a.high)
    values = tuple(None if np.isnan(x) else x for x in evaluation.scores.ccc)
    return figures.Bar(evaluation.name, (values[0], values[1]), low, high)


def _printed(row: Published) -> figures.Bar:
    values = row.values.get("ccc", (None, None))
    name = f"{row.method} ({row.backbone})" if row.backbone else row.method
    return figures.Bar(name, (values[0], values[1]), published=True)


def _picture(picture: Picture) -> Html:
    light, dark = (
        data_uri(figures.png(picture.draw, theme, dpi=150), "image/png")
        for theme in ("light", "dark")
    )
    shown = tag(
        "picture",
        void("source", srcset=dark, media="(prefers-color-scheme: dark)"),
        void("img", src=light, alt=picture.title),
    )
    caption = tag("figcaption", picture.caption)
    return tag("figure", tag("h3", picture.title), shown, caption, _measured(picture))


def _measured(picture: Picture) -> Html | None:
    """The numbers behind a figure, folded away."""
    found = flat_numbers(dict(picture.numbers))
    if not found:
        return None
    rows = [[name.replace("/", ", "), f"{value:.4g}"] for name, value in found.items()]
    return tag("details", tag("summary", "In numbers"), grid(["", ""], rows))


# ---------------------------------------------------------------------------- cards


def _data_card(subject: Subject, table: pa.Table) -> Section:
    pairs = [*subject.data_card.items(), ("samples here", f"{len(table):,}")]
    for column in ("dataset", "split", "video_id", "subject_id"):
        if column in table.column_names and not table[column].null_count:
            values = table[column].unique().to_pylist()
            text = f"{len(values):,} different" if len(values) > 6 else ", ".join(map(str, values))
            pairs.append((column.removesuffix("_id"), text))
    if not is_classes(table):
        target = pair_of(table).target.numpy()
        for k, axis in enumerate(figures.AXES):
            mean, spread = target[:, k].mean(), target[:, k].std()
            zero = 100 * (target[:, k] == 0).mean()
            text = f"mean {mean:+.3f}, standard deviation {spread:.3f}, {zero:.1f} % exactly 0"
            pairs.append((f"{axis} labels", text))
    return Section("data", "Data card", [facts(pairs)])


_LIMITS = (
    "It estimates how a face would be rated for valence and arousal by annotators like those of "
    "the data set. It does not read what a person feels: a face alone does not tell. Scores differ "
    "between people, poses, lighting and cultures, and sets from the web hold more of some than of "
    "others. Not for decisions about single persons."
)


def _model_card(subject: Subject) -> Section:
    parts: list[Html] = []
    for run in subject.runs:
        pairs = _model_facts(run.record)
        if pairs:
            parts += [tag("h3", run.name), facts(pairs)]
    intended = ("intended use", "Research on affect: comparing methods, summarising many faces.")
    return Section("model", "Model card", [*parts, facts([intended, ("limits", _LIMITS)])])


def _model_facts(record: RunRecord | None) -> list[tuple[str, str]]:
    if record is None:
        return []
    names = (
        ("method", "method"), ("formula", "formula"), ("encoder", "encoder"),
        ("weights", "starts from"), ("image_size", "image, pixels a side"),
        ("epochs", "epochs"), ("batch_size", "batch"), ("seed", "seed"),
    )  # fmt: skip
    pairs = [(title, str(getattr(record.config, name))) for name, title in names]
    for name in ("git_commit", "started", "finished", "world_size"):
        if (value := getattr(record, name)) is not None:
            pairs.append((name.replace("_", " "), str(value)))
    if shards := record.to_json().get("shards"):
        pairs.append(("shards", json.dumps(shards)))
    if record.versions:
        pairs.append(("versions", ", ".join(f"{n} {v}" for n, v in record.versions.items())))
    return pairs


def _commands(subject: Subject) -> Section | None:
    if not subject.commands:
        return None
    text = tag("pre", "\n".join(subject.commands))
    return Section("commands", "Commands", [tag("p", "What made these numbers, in order:"), text])


def commands_of(run: str, record: RunRecord, split: str) -> list[str]:
    """What to type for the same run and the same scores, from its run.json."""
    folders = [f"--shards {shlex.quote(folder)}" for folder in record.shards.folders]
    fold = [] if record.shards.fold is None else [f"--fold {record.shards.fold}"]
    plain, config = Config().to_dict(), record.config.to_dict()
    changed = [f"--set {name}={_typed(v)}" for name, v in config.items() if plain[name] != v]
    train = " ".join(["accelerate launch cli.py train", f"--run {run}", *folders, *fold, *changed])
    return [train, f"python cli.py eval {run} --split {split}"]


def _typed(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))
