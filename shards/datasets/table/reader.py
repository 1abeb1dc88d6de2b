"""Any images or films with a table of labels, or images in a folder for each class.

FOLDER/labels.csv        path,valence,arousal,...     also .tsv .jsonl .parquet .arrow .feather
FOLDER/[train/]metadata.csv (or .jsonl)               file_name,...   as Hugging Face has it
FOLDER/[train/]happy/1.jpg                            one folder a class
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import Signature, signature
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from shards.datasets import foreign
from shards.datasets.annotations import key_part
from shards.datasets.folds import fold_by_hash, split_of_fold
from shards.datasets.preflight import check_each, require_folder, strictness
from shards.datasets.table.columns import Row, Scale, Vocabulary, assign, parse
from shards.datasets.table.kept import Kept, names_for
from shards.datasets.table.sources import Source, sources
from shards.datasets.video import VideoFacts, video_facts
from shards.findings import Findings
from shards.sample import DATASETS, VIDEO_SUFFIXES, Sample, is_dataset

_CLASSES = 1000  # more different words are no classes
_KEY = 80  # characters; a longer name is cut and told apart by a hash
_SHOWN = 5  # rows

Split = Literal["given", "subject", "video", "image"]


class _Table(NamedTuple):
    """A source whose columns are understood."""

    source: Source
    roles: dict[str, str]
    others: dict[str, str]  # columns that are nothing else, and what an index calls them
    scale: Scale
    images: Path

    def parsed(self) -> Iterator[tuple[int, Row | ValueError]]:
        for number, row in self.source.rows():
            try:
                yield number, parse(row, self.roles, self.scale, self.others)
            except ValueError as error:
                yield number, error


@dataclass(slots=True)
class _Tally:
    """What one pass over the rows found."""

    rows: int = 0
    missing: int = 0
    problems: list[str] = field(default_factory=list)
    lows: list[float] = field(default_factory=lambda: [math.inf, math.inf])
    highs: list[float] = field(default_factory=lambda: [-math.inf, -math.inf])
    words: Counter[str] = field(default_factory=Counter)
    splits: dict[str, set[str]] = field(default_factory=dict)  # of each subject or film
    shown: list[str] = field(default_factory=list)
    seen: set[tuple] = field(default_factory=set)
    kept: Kept = field(default_factory=Kept)

    def problem(self, sentence: str) -> None:
        if len(self.problems) <= 20:
            self.problems.append(sentence)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What `--option NAME=VALUE` says of a table; whole numbers come as such."""

    allow_count: bool = False  # go on without the rows that cannot be used
    labels: str | int = ""  # the table, below the root
    columns: str | int = ""  # that are not found by name: "valence:v,path:img"
    range: str | int = "-1..1"  # the published scale
    null: str | int = ""  # what means "not labelled"
    classes: str | int = ""  # their names in the order of their codes
    split: str | int | None = None
    split_seed: int | str = 0  # another one deals otherwise
    dataset: str | int = "table"  # what the index calls it

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in get_args(Split):
            raise ValueError(f"split={self.split}: choose one of {', '.join(get_args(Split))}")
        if not isinstance(self.split_seed, int):
            raise ValueError(f"split_seed={self.split_seed}: write a whole number from 0")
        if not is_dataset(self.dataset) or self.dataset in DATASETS[:-1]:
            raise ValueError(
                f"dataset={self.dataset}: a name is a letter a-z, then up to 31 letters a-z, "
                f"digits or '_', and none of {', '.join(DATASETS[:-1])}"
            )


def read(root: Path, findings: Findings, **options: Any) -> Iterator[Sample]:
    """Every row of the tables, in their order; a row of a film is one frame, or an interval.

    The options are the fields of `Options`. Without `labels`, metadata.*, labels.* and
    annotations.* are looked for, then folders named after classes. `split` is "given" by a column
    or folder, or dealt by "subject", "video" or "image" with a hash that `split_seed` changes: a
    fifth is for validation. Nothing is yielded after a failed check.

    Raises FileNotFoundError where `root` is no folder, ValueError naming option, file and row.
    """
    told = Options(**options)
    require_folder(root, "the images and their table")
    scale = Scale.of(str(told.range), str(told.null))
    found = sources(root, str(told.labels))
    tables = [_understood(root, source, str(told.columns), scale) for source in found]
    tally = _Tally()
    for table in tables:
        _count(root, table, tally)
    try:
        vocabulary = Vocabulary(sorted(tally.words), str(told.classes))
    except ValueError as error:
        findings.check("classes", False, str(error))
        return
    by = cast(Split, told.split) if told.split else _way_to_split(tables)
    _judge(root, tables, tally, vocabulary, by, findings, allow_count=told.allow_count)
    if findings.failed:
        return
    keys: Counter[str] = Counter()
    for table in tables:
        for number, row in table.parsed():
            if isinstance(row, ValueError):
                continue  # passed over with --allow-count
            for sample in _samples(root, table, row, vocabulary, findings):
                group = _group(row, by)
                fold = row.fold if by == "given" else fold_by_hash(_salted(group, told.split_seed))
                chosen = (row.split or table.source.split) if by == "given" else None
                sample |= {"dataset": told.dataset, "extra": tally.kept.of(row.others) or None}
                yield _placed(sample, keys, fold, chosen, f"{table.source.path}: row {number}")


_NAMED = (*list(signature(read).parameters.values())[:2], *signature(Options).parameters.values())
vars(read).update(__signature__=Signature(_NAMED))  # by which options are checked and named


def _is_film(path: str) -> bool:
    return path.lower().endswith(VIDEO_SUFFIXES)


def _understood(root: Path, source: Source, columns: str, scale: Scale) -> _Table:
    roles = assign(source.columns, columns, str(source.path))
    beside = source.path if source.path.is_dir() else source.path.parent
    first = [row.get(roles["path"], "") for _, row in islice(source.rows(), 200)]
    places = [beside, root, beside / "images", root / "images"]
    hits = {place: sum((place / name).is_file() for name in first if name) for place in places}
    images = max(places, key=lambda place: hits[place])
    others = names_for(name for name in source.columns if name not in roles.values())
    return _Table(source, roles, others, scale, images)


# ---------------------------------------------------------------- one pass before


def _count(root: Path, table: _Table, tally: _Tally) -> None:
    last, films = "", set()
    for number, row in table.parsed():
        where = f"{table.source.path}: row {number}"
        tally.rows += 1
        if isinstance(row, ValueError):
            tally.problem(f"{where}: {row}")
            continue
        if row.path != last and _is_film(row.path):
            if row.path in films:
                tally.problem(f"{where}: rows of {row.path} do not stand together; sort the table")
            films.add(row.path)
        if _is_film(row.path) and row.frame is None and row.seconds is None:
            tally.problem(f"{where}: {row.path} is a film; say which frame, time, or start and end")
        if row.path != last:
            tally.missing += not os.path.isfile(table.images / row.path)  # noqa: PTH113  per row
        last = row.path
        face = (table.images, row.path, row.frame, row.seconds, row.box)
        if face in tally.seen:
            tally.problem(f"{where}: {row.path} is listed twice; keep one row")
        tally.seen.add(face)
        _note(table, row, tally)


def _note(table: _Table, row: Row, tally: _Tally) -> None:
    for axis, value in enumerate((row.valence, row.arousal)):
        if value is not None:
            tally.lows[axis] = min(tally.lows[axis], value)
            tally.highs[axis] = max(tally.highs[axis], value)
    if row.expression and len(tally.words) < _CLASSES:
        tally.words[row.expression] += 1
    split = row.split or table.source.split
    for group in (row.subject, row.video or (row.path if _is_film(row.path) else None)):
        if group and split:
            tally.splits.setdefault(group, set()).add(split)
    tally.kept.look(row.others)
    if len(tally.shown) < _SHOWN:
        facts = {name: value for name, value in row._asdict().items() if value not in (None, {})}
        tally.shown.append(str({**facts, **({"landmarks": "..."} if row.landmarks else {})}))


def _way_to_split(tables: list[_Table]) -> Split:
    """By what is there: the given split, else subjects, films or images are dealt."""
    if all(table.source.split or "split" in table.roles for table in tables):
        return "given"
    for by in ("subject", "video"):
        if all(by in table.roles for table in tables):
            return by
    return "image"


def _judge(
    root: Path,
    tables: list[_Table],
    tally: _Tally,
    vocabulary: Vocabulary,
    by: Split,
    findings: Findings,
    *,
    allow_count: bool,
) -> None:
    level = strictness(allow_count)
    for table in tables:
        said = ", ".join(f"{role} from {name!r}" for role, name in table.roles.items())
        findings.check("columns", True, f"{table.source.path}: {said}; images below {table.images}")
    _judge_kept(tables, tally.kept, findings)
    check_each(findings, "rows", tally.problems, f"{tally.rows:,} rows", level=level)
    findings.check("there are rows", tally.rows > 0, f"{tally.rows:,} rows below {root}")
    _judge_range(tables[0].scale, tally, findings)
    words = ", ".join(f"{word} {_mapped(vocabulary, word)}" for word in sorted(tally.words))
    if tally.words:
        findings.check("classes", True, f"{len(tally.words)} classes: {words[:2000]}")
    findings.check(
        "images",
        tally.missing == 0,
        f"{tally.missing:,} images of {tally.rows:,} rows are missing below {tables[0].images}"
        + ("; restore them, or pass --allow-count to leave them out" if tally.missing else ""),
        level=level,
    )
    both = sorted(group for group, splits in tally.splits.items() if len(splits) > 1)
    shared = [f"{group} is in {' and '.join(sorted(tally.splits[group]))}" for group in both]
    advice = "; scores will be too high, pass --option split=subject or video"
    check_each(
        findings,
        "no subject or film in two splits",
        [sentence + advice for sentence in shared if by == "given"],
        f"the split is {by}" if by == "given" else f"a fifth is val, dealt by {by}",
        level="warn",
    )
    for row in tally.shown:
        findings.check("example", True, row)


def _judge_range(scale: Scale, tally: _Tally, findings: Findings) -> None:
    if tally.highs[0] < tally.lows[0]:
        return
    found = " and ".join(
        f"{axis} {low:g}..{high:g}"
        for axis, low, high in zip(("valence", "arousal"), tally.lows, tally.highs, strict=True)
    )
    plausible = not (min(tally.lows) >= 0 and (scale.low, scale.high) == (-1, 1))
    findings.check(
        "range",
        plausible,
        f"{found} of {scale.low:g}..{scale.high:g} become [-1, 1]"
        + ("" if plausible else "; nothing is negative, is the scale 0..1? then pass range=0..1"),
        level="warn",
    )


def _judge_kept(tables: list[_Table], kept: Kept, findings: Findings) -> None:
    kinds = kept.listed
    columns = {name: column for table in tables for column, name in table.others.items()}
    said = [f"{columns[n]!r}{f' as {n}' * (n != columns[n])} ({kinds[n]})" for n in kinds]
    if said:
        findings.check("kept columns", True, f"kept for --where and --by: {', '.join(said)}")
    for name, why in kept.left_out.items():
        findings.check(
            "kept columns", False, f"column {columns[name]!r} is left out: {why}", level="warn"
        )


def _mapped(vocabulary: Vocabulary, word: str) -> str:
    code, canonical = vocabulary.of(word)
    return f"({code}, no expression of ours)" if canonical is None else f"({code} -> {canonical})"


# ---------------------------------------------------------------- samples


def _salted(group: str, seed: int | str) -> str:
    return f"{seed}/{group}" if seed else group


def _group(row: Row, by: Split) -> str:
    return {"subject": row.subject, "video": row.video}.get(by) or row.path


def _samples(
    root: Path, table: _Table, row: Row, vocabulary: Vocabulary, findings: Findings
) -> Iterator[dict]:
    """The fields of a row's images but for key and split."""
    path = table.images / row.path
    if not path.is_file():
        findings.skip("image is missing", row.path)
        return
    code, canonical = vocabulary.of(row.expression) if row.expression else (None, None)
    fields = {
        "original_path": path.relative_to(root).as_posix(),
        "variant": "table",
        "official_split": row.split or table.source.split,
        "subject_id": row.subject,
        "video_id": row.video,
        "frame_name": path.name,
        "frame_index": row.frame,
        "bbox_xyxy": row.box,
        "bbox_source": "table" if row.box else None,
        "landmarks": row.landmarks,
        "landmarks_source": "table" if row.landmarks else None,
        "expression_raw": code,
        "expression": canonical,
        "valence": table.scale.unit(row.valence),
        "arousal": table.scale.unit(row.arousal),
        "valence_raw": row.valence,
        "arousal_raw": row.arousal,
    }
    if not _is_film(row.path):
        yield fields
        return
    facts = _facts(root, path)
    for frame in _frames(row, facts):
        if frame >= facts.frames:
            findings.skip("frame beyond the end of its film", f"{row.path}, frame {frame}")
            break
        seconds = frame / facts.fps if facts.fps else None
        yield fields | {
            "video_id": row.video or path.stem,
            "frame_index": frame,
            "fps": facts.fps,
            "timestamp_s": seconds,
            "pixel_aspect": facts.pixel_aspect,
        }


@lru_cache(maxsize=1)
def _facts(root: Path, path: Path) -> VideoFacts:
    foreign.check(root, path, foreign.FILM)
    return video_facts(path)


def _frames(row: Row, facts: VideoFacts) -> range:
    """The frames a row is about: one, or those whose time lies in [start, end)."""
    if row.frame is not None or row.seconds is None:
        return range(row.frame or 0, (row.frame or 0) + 1)
    start, end = (moment * (facts.fps or 1.0) for moment in row.seconds)
    if start == end:
        return range(round(start), round(start) + 1)
    return range(math.ceil(start), math.ceil(end))


def _placed(
    fields: dict, keys: Counter[str], fold: int | None, split: str | None, where: str
) -> Sample:
    """The sample, under a key that no other row has."""
    name = key_part(fields["original_path"].rpartition(".")[0].replace("/", "_"))
    if len(name) > _KEY:
        digest = hashlib.sha256(fields["original_path"].encode()).hexdigest()[:12]
        name = f"{name[-_KEY + 13 :]}_{digest}"
    if "fps" in fields:  # a frame of a film
        name = f"{name}_{fields['frame_index']:06d}"
    keys[name] += 1
    key = name if keys[name] == 1 else f"{name}_{keys[name]}"
    try:
        return Sample(
            key=f"t_{key}", split=split or split_of_fold(fold if fold is not None else 1),
            fold=fold, **fields,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
