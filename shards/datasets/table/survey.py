"""One pass over all rows before the first sample: what they hold, how it is read, what is wrong."""

from __future__ import annotations

import math
import stat
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.datasets.files import facts_of, files_at
from shards.datasets.preflight import check_each, strictness
from shards.datasets.table.classes import MOST, Vocabulary
from shards.datasets.table.columns import Row, Scale, parse
from shards.datasets.table.frames import WHOLE
from shards.datasets.table.kept import Kept
from shards.datasets.table.plain import Columns, at_once
from shards.datasets.table.rows import Block
from shards.datasets.table.sources import Source
from shards.datasets.table.splits import Dealing, is_film
from shards.findings import Findings

_SHOWN = 5  # rows
_FEW = 128  # rows that are not halved again
_NOWHERE = -(2.0**40)  # beyond all frames, seconds and pixels
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
    commas: bool = False  # its numbers were written 0,5

    def at_once(self, block: Block) -> Columns | None:
        """All rows of a block; None where one of them is not plain."""
        return at_once(block, self.roles, self.scale, self.others)

    def parsed(self, block: Block) -> Iterator[tuple[int, Row | ValueError]]:
        """Each row with its number, or what is wrong with it."""
        for number, row in block.rows():
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


class Piece(NamedTuple):
    """Rows that are read at once, and what a look at them told; without `files` one by one."""

    size: int
    files: np.ndarray | None = None  # int64 (n, 2), bytes and nanoseconds; -1 bytes: none is there
    splits: Sequence[Any] = ()
    folds: Sequence[int | None] = ()


def file_at(path: str) -> tuple[int, int]:
    """Bytes of a file and when it was written; -1 bytes where there is none."""
    found = facts_of(path)
    there = found is not None and stat.S_ISREG(found.st_mode)
    return (found.st_size, found.st_mtime_ns) if found and there else (-1, 0)


def _faces(paths: list[str], numbers: np.ndarray) -> list[Any]:
    """What tells a row from others: its path, and with it the numbers of its box, of a film those
    of frame and seconds too, where it has any."""
    none: list[bool] = np.asarray(np.isnan(numbers).all(axis=1)).tolist()
    if all(none):
        return paths
    told = map(np.ndarray.tobytes, np.nan_to_num(numbers + 0.0, nan=_NOWHERE))
    return [p if bare else (p, one) for p, bare, one in zip(paths, none, told, strict=True)]


@dataclass(slots=True)
class Survey:
    """What a pass over the rows found; `unfit` are those that cannot be used."""

    dealing: Dealing
    rows: int = 0
    missing: int = 0
    absent: list[str] = field(default_factory=list)  # the first of them
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
    pieces: list[Piece] = field(default_factory=list)
    _folded: set[str] = field(default_factory=set)
    _sides: dict[str, dict[str, str]] = field(default_factory=dict)  # kind -> name -> split
    _both: dict[str, set[str]] = field(default_factory=dict)
    _seen: dict[Path, set] = field(default_factory=dict)  # below a folder, the faces
    _intervals: dict[Any, list[tuple[float, float]]] = field(default_factory=dict)
    _last: str = ""
    _films: set[str] = field(default_factory=set)

    def count(self, table: Table) -> None:
        """Look at every row of a table."""
        self._last = ""
        self._films.clear()
        for block in table.source.blocks():
            self._look(table, block)

    def _look(self, table: Table, block: Block) -> None:
        """At all rows at once, else at those of each half."""
        columns = table.at_once(block)
        if columns and self._look_at(table, block, columns):
            return
        if (half := len(block) // 2) < _FEW:
            self.pieces.append(Piece(len(block)))
            self._one_by_one(table, block)
            return
        self._look(table, block.part(0, half))
        self._look(table, block.part(half, len(block)))

    def _look_at(self, table: Table, block: Block, columns: Columns) -> bool:
        """Note rows that are plain, each with a split and a face of its own; False for others."""
        splits, folds = self.dealing.places(columns, table.source.split)
        paths = columns.path.to_pylist()
        faces = _faces(paths, columns.box)
        seen, new = self._seen.setdefault(table.images, set()), set(faces)
        if None in splits or len(new) < len(faces) or not seen.isdisjoint(new):
            return False
        seen |= new
        files = files_at([f"{table.images}/{path}" for path in paths], file_at)
        before = [self._last, *paths[:-1]]
        gone = np.flatnonzero(files[:, 0] < 0).tolist()
        self._miss(table, [paths[k] for k in gone if paths[k] != before[k]])
        self.rows += len(paths)
        self._intervals.clear()
        self._last = paths[-1]
        self.pieces.append(Piece(len(paths), files, splits, folds))
        self._note_all(table, columns, splits)
        for _, row in table.parsed(block.part(0, _SHOWN - len(self.shown))):
            self._show(row)
        return True

    def _one_by_one(self, table: Table, block: Block) -> None:
        for number, row in table.parsed(block):
            self.rows += 1
            problem = None
            if isinstance(row, Row) and row.path != self._last:
                there = file_at(f"{table.images}/{row.path}")[0] >= 0
                self._miss(table, [] if there else [row.path])
                self._intervals.clear()
                self._last = row.path
                if is_film(row.path) and row.path in self._films:
                    problem = f"rows of {row.path} do not stand together; sort the table"
                self._films |= {row.path} if is_film(row.path) else set()
            problem = problem or (self._wrong(table, row) if isinstance(row, Row) else str(row))
            if problem:
                self.unfit.add((table.source.path, number))
                if len(self.problems) <= 20:
                    self.problems.append(f"{table.source.path}: row {number}: {problem}")
            elif isinstance(row, Row):
                self._note(table, row)

    def _miss(self, table: Table, paths: list[str]) -> None:
        self.missing += len(paths)
        few = paths[: _SHOWN - len(self.absent)]
        self.absent += [f"{table.images}/{path}" for path in few]

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
        numbers: list[Any] = [*(row.box or (None,) * 4)]  # a picture has no frames
        if is_film(row.path):
            numbers += [row.frame, *(row.seconds or (None,) * 2)]
        (face,) = _faces([row.path], np.array([numbers], float))
        seen = self._seen.setdefault(table.images, set())
        if face in seen:
            return f"{row.path} is listed twice; keep one row, or give each face its box"
        seen.add(face)
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
        self._count_words({row.expression: 1} if row.expression else {})
        self.nobody += self.dealing.by == "subject" and row.subject is None
        split, _ = self.dealing.place(row, table.split_of(row))
        self.splits[split] += 1
        name = f"{table.below}{row.path}"
        film = row.video or (name if is_film(row.path) else None)
        for kind, group in (("subject", row.subject), ("film", film), ("picture", name)):
            if group is not None and (kind != "picture" or not is_film(row.path)):
                self._side(kind, group, split)
        self.kept.look(row.others)
        self._show(row)

    def _note_all(self, table: Table, columns: Columns, splits: Sequence[Any]) -> None:
        """The same of many pictures."""
        labels = np.stack([columns.valence, columns.arousal])
        known = ~np.isnan(labels)
        for axis, values in enumerate(labels):
            self.lows[axis] = float(np.min(values, initial=self.lows[axis], where=known[axis]))
            self.highs[axis] = float(np.max(values, initial=self.highs[axis], where=known[axis]))
        self.halves += int((known[0] != known[1]).sum())
        words = columns.expression.drop_null().value_counts()
        self._count_words({word["values"]: word["counts"] for word in words.to_pylist()})
        self.nobody += columns.subject.null_count * (self.dealing.by == "subject")
        self.splits.update(splits)
        for kind, groups in (("subject", columns.subject), ("film", columns.video)):
            for group, split in set(zip(groups.to_pylist(), splits, strict=True)):
                if group is not None:
                    self._side(kind, group, split)
        pictures = self._sides.setdefault("picture", {})
        names = pc.binary_join_element_wise(pa.scalar(table.below), columns.path, "")
        for path, split in zip(names.to_pylist(), splits, strict=True):
            if pictures.setdefault(path, split) != split:
                self._side("picture", path, split)
        self.kept.look_at(columns.others)

    def _count_words(self, counts: Mapping[str, int]) -> None:
        for word, count in counts.items():
            if word.casefold() in self._folded or len(self._folded) <= MOST:
                self._folded.add(word.casefold())
                self.words[word] += count

    def _side(self, kind: str, group: str, split: str) -> None:
        first = self._sides.setdefault(kind, {}).setdefault(group, split)
        if first != split:
            self._both.setdefault(f"{kind} {group}", {first}).add(split)

    def _show(self, row: Row | ValueError) -> None:
        if isinstance(row, Row) and len(self.shown) < _SHOWN:
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
    left_out = [f"column {name!r} is left out: {why}" for name, why in found.kept.left_out.items()]
    if left_out:
        check_each(findings, "kept columns", left_out, "", level="warn")
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
        f"{found.missing:,} images of {found.rows:,} rows are missing"
        + f", as {', '.join(found.absent)}; restore them, or pass --allow-count to leave them out"
        * bool(found.missing),
        level=level,
    )


def _judge_columns(table: Table, kept: Kept, findings: Findings) -> None:
    said = ", ".join(f"{role} from {name!r}" for role, name in table.roles.items())
    facts = {"table": str(table.source.path), "images": str(table.images), "roles": table.roles}
    findings.check(
        "columns",
        True,
        f"{table.source.path}: {said}; images below {table.images}"
        + "; numbers with a comma, 0,5 is a half" * table.commas,
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
    if counts and "val" not in counts and "train" in counts:
        findings.check(
            "validation",
            False,
            "no row is for validation; write a split, pass --option split=subject, video or image "
            "with another split_seed, or, where folds count from 1, train with --fold 1",
            level="warn",
        )
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
