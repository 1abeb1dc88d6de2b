"""One pass over all rows before the first sample: what they hold, how it is read, what is wrong."""

from __future__ import annotations

import math
import os
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shards.datasets.preflight import check_each, strictness
from shards.datasets.table.classes import MOST, Vocabulary
from shards.datasets.table.columns import Row, Scale, parse
from shards.datasets.table.frames import WHOLE
from shards.datasets.table.kept import Kept
from shards.datasets.table.sources import Source
from shards.datasets.table.splits import Dealing, is_film
from shards.findings import Findings

_SHOWN = 5  # rows
_AXES = ("valence", "arousal")


class Table(NamedTuple):
    """A source whose columns are understood."""

    source: Source
    roles: dict[str, str]
    others: dict[str, str]  # columns that are nothing else, and what an index calls them
    scale: Scale
    images: Path
    below: str = ""  # the same below the root, "images/"
    whole: bool = False  # a film without frame and time is labelled as a whole

    def parsed(self) -> Iterator[tuple[int, Row | ValueError]]:
        """Each row with its number, or what is wrong with it."""
        for number, row in self.source.rows():
            try:
                found = parse(row, self.roles, self.scale, self.others)
                bare = self.whole and found.frame is None and found.seconds is None
                if bare and is_film(found.path):
                    found = found._replace(seconds=(0.0, WHOLE))
                yield number, found
            except ValueError as error:
                yield number, error

    def split_of(self, row: Row) -> str | None:
        """As the row says, else the folder that its table lies in."""
        return row.split or self.source.split


@dataclass(slots=True)
class Survey:
    """What a pass over the rows found; `unfit` are those that cannot be used."""

    dealing: Dealing
    rows: int = 0
    missing: int = 0
    halves: int = 0  # rows with one of valence and arousal
    nobody: int = 0  # rows without the subject that splits are dealt by
    unfit: set[tuple[Path, int]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    lows: list[float] = field(default_factory=lambda: [math.inf, math.inf])
    highs: list[float] = field(default_factory=lambda: [-math.inf, -math.inf])
    words: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    shown: list[dict[str, Any]] = field(default_factory=list)
    kept: Kept = field(default_factory=Kept)
    _folded: set[str] = field(default_factory=set)
    _sides: dict[str, str] = field(default_factory=dict)  # of a subject, film or picture: a split
    _both: dict[str, set[str]] = field(default_factory=dict)
    _seen: set[tuple] = field(default_factory=set)
    _intervals: dict[Any, list[tuple[float, float]]] = field(default_factory=dict)

    def count(self, table: Table) -> None:
        """Look at every row of a table."""
        last, films = "", set[str]()
        for number, row in table.parsed():
            self.rows += 1
            problem = None
            if isinstance(row, Row) and row.path != last:
                self.missing += not os.path.isfile(table.images / row.path)  # noqa: PTH113
                self._intervals.clear()
                last = row.path
                if is_film(last) and last in films:
                    problem = f"rows of {last} do not stand together; sort the table"
                films |= {last} if is_film(last) else set()
            problem = problem or (self._wrong(table, row) if isinstance(row, Row) else str(row))
            if problem:
                self.unfit.add((table.source.path, number))
                if len(self.problems) <= 20:
                    self.problems.append(f"{table.source.path}: row {number}: {problem}")
            elif isinstance(row, Row):
                self._note(table, row)

    def _wrong(self, table: Table, row: Row) -> str | None:
        """Why a row cannot be used beside the others."""
        try:
            self.dealing.place(row, table.split_of(row))
        except ValueError as error:
            return str(error)
        if is_film(row.path):
            if row.frame is None and row.seconds is None:
                return (
                    f"{row.path} is a film; say which frame, time, or start and end, or pass "
                    "--option films=whole if a row is about all of it"
                )
            if row.frame is None and row.seconds and self._overlaps(row):
                return (
                    f"its interval overlaps another of {row.path}; a frame has one label, so end "
                    "one where the next begins, or give each face its box"
                )
        face = (table.images, row.path, row.frame, row.seconds, row.box)
        if face in self._seen:
            return f"{row.path} is listed twice; keep one row, or give each face its box"
        self._seen.add(face)
        return None

    def _overlaps(self, row: Row) -> bool:
        start, end = row.seconds or (0.0, 0.0)
        if start == end:
            return False
        taken = self._intervals.setdefault(row.box, [])
        place = bisect_left(taken, (start, end))
        beside = taken[max(place - 1, 0) : place + 1]
        if any(start < other_end and other_start < end for other_start, other_end in beside):
            return True
        insort(taken, (start, end))
        return False

    def _note(self, table: Table, row: Row) -> None:
        labels = (row.valence, row.arousal)
        for axis, value in enumerate(labels):
            if value is not None:
                self.lows[axis] = min(self.lows[axis], value)
                self.highs[axis] = max(self.highs[axis], value)
        self.halves += (None in labels) and labels != (None, None)
        word = row.expression
        if word and (word.casefold() in self._folded or len(self._folded) <= MOST):
            self._folded.add(word.casefold())
            self.words[word] += 1
        self.nobody += self.dealing.by == "subject" and row.subject is None
        split, _ = self.dealing.place(row, table.split_of(row))
        self.splits[split] += 1
        film = row.video or (row.path if is_film(row.path) else None)
        for kind, group in (("subject", row.subject), ("film", film), ("picture", row.path)):
            if group is not None and (kind != "picture" or not is_film(row.path)):
                name = f"{kind} {group}"
                if self._sides.setdefault(name, split) != split:
                    self._both.setdefault(name, {self._sides[name]}).add(split)
        self.kept.look(row.others)
        if len(self.shown) < _SHOWN:
            facts = {k: v for k, v in row._asdict().items() if v not in (None, {})}
            self.shown.append({**facts, **({"landmarks": "..."} if row.landmarks else {})})

    @property
    def shared(self) -> list[str]:
        """Each subject, film or picture that stands in more than one split."""
        return [
            f"{name} is in {' and '.join(sorted(self._both[name]))}" for name in sorted(self._both)
        ]


def judge(
    tables: list[Table],
    found: Survey,
    vocabulary: Vocabulary,
    findings: Findings,
    *,
    allow_count: bool,
) -> None:
    """Say what was understood, and what is wrong."""
    level = strictness(allow_count)
    for table in tables:
        _judge_columns(table, found.kept, findings)
    for name, why in found.kept.left_out.items():
        findings.check("kept columns", False, f"column {name!r} is left out: {why}", level="warn")
    _judge_range(tables[0].scale, found, findings)
    _judge_classes(vocabulary, found, findings)
    _judge_splits(found, findings)
    for row in found.shown:
        findings.check("example", True, str(row), facts={k: str(v) for k, v in row.items()})
    check_each(findings, "rows", found.problems, f"{found.rows:,} rows", level=level)
    findings.check(
        "there are rows", found.rows > 0, f"{found.rows:,} rows below {tables[0].images}"
    )
    findings.check(
        "images",
        found.missing == 0,
        f"{found.missing:,} images of {found.rows:,} rows are missing below {tables[0].images}"
        + ("; restore them, or pass --allow-count to leave them out" if found.missing else ""),
        level=level,
    )


def _judge_columns(table: Table, kept: Kept, findings: Findings) -> None:
    said = ", ".join(f"{role} from {name!r}" for role, name in table.roles.items())
    facts = {"table": str(table.source.path), "images": str(table.images), "roles": table.roles}
    findings.check(
        "columns",
        True,
        f"{table.source.path}: {said}; images below {table.images}",
        facts=facts,
    )
    kinds = kept.listed
    own = {column: name for column, name in table.others.items() if name in kinds}
    words = [f"{c!r}{f' as {n}' * (n != c)} ({kinds[n]})" for c, n in own.items()]
    if own:
        facts = {name: kinds[name] for name in own.values()}
        said = f"kept for --where and --by: {', '.join(words)}"
        findings.check("kept columns", True, said, facts=facts)


def _judge_range(scale: Scale, found: Survey, findings: Findings) -> None:
    if found.halves:
        findings.check(
            "both axes",
            False,
            f"{found.halves:,} rows have one of valence and arousal; they count as not labelled",
            level="warn",
        )
    if found.highs[0] < found.lows[0]:
        return
    said, facts, unsigned = [], {}, False
    for name, low, high in zip(_AXES, found.lows, found.highs, strict=True):
        axis = scale.axis(name)
        said.append(f"{name} {low:g}..{high:g} of {axis.low:g}..{axis.high:g}")
        facts[name] = {
            "found": [low, high],
            "scale": [axis.low, axis.high],
            "becomes": [axis.unit(low), axis.unit(high)],
        }
        unsigned |= low >= 0 and (axis.low, axis.high) == (-1, 1)
    findings.check(
        "range",
        not unsigned,
        f"{' and '.join(said)} become [-1, 1]"
        + ("; nothing is negative, is the scale 0..1? then pass range=0..1" * unsigned),
        level="warn",
        facts=facts,
    )


def _judge_classes(vocabulary: Vocabulary, found: Survey, findings: Findings) -> None:
    if not found.words:
        return
    rows: Counter[int] = Counter()
    for word, count in found.words.items():
        rows[vocabulary.of(word)[0]] += count
    facts = [
        {"name": name, "code": code, "expression": vocabulary.canonical(code), "rows": rows[code]}
        for code, name in sorted(vocabulary.names.items())
    ]
    said = ", ".join(
        f"{one['name']} ({one['code']}"
        + (", no expression of ours)" if one["expression"] is None else f" -> {one['expression']})")
        for one in facts
    )
    findings.check(
        "classes",
        True,
        f"{len(facts)} classes: {said[:2000]}",
        facts={"classes": facts, "names": vocabulary.listed},
    )


def _judge_splits(found: Survey, findings: Findings) -> None:
    by, counts = found.dealing.by, dict(sorted(found.splits.items()))
    way = "the split is given" if by == "given" else f"a fifth is val, dealt by {by}"
    said = ", ".join(f"{rows:,} {split}" for split, rows in counts.items())
    findings.check("splits", True, f"{way}: {said} rows", facts={"by": by, "rows": counts})
    if found.nobody:
        findings.check(
            "subjects",
            False,
            f"{found.nobody:,} rows have no subject; each film or picture of theirs is dealt alone",
            level="warn",
        )
    advice = "; scores will be too high, pass --option split=subject or video"
    check_each(
        findings,
        "no subject, film or picture in two splits",
        [sentence + advice for sentence in found.shared],
        "every subject, film and picture is in one split",
        level="warn",
    )
