"""Any images or films with a table of labels, or images in a folder for each class.

FOLDER/labels.csv        path,valence,arousal,...     also .tsv .jsonl .parquet .arrow .feather
FOLDER/[train/]metadata.csv (or .jsonl)               file_name,...   as Hugging Face has it
FOLDER/[train/]happy/1.jpg                            one folder a class
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import Signature, signature
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from shards.datasets.annotations import key_part
from shards.datasets.preflight import require_folder
from shards.datasets.table.classes import Vocabulary
from shards.datasets.table.columns import Row, Scale, assign, path_of
from shards.datasets.table.frames import film_at
from shards.datasets.table.kept import names_for
from shards.datasets.table.sources import Source, sources
from shards.datasets.table.splits import By, dealing, is_film
from shards.datasets.table.survey import Survey, Table, judge
from shards.findings import Findings
from shards.sample import DATASETS, Sample, is_dataset

_KEY = 80  # characters; a longer name is cut and told apart by a hash


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What `--option NAME=VALUE` says of a table; whole numbers come as such."""

    allow_count: bool = False  # go on without the rows that cannot be used
    labels: str | int = ""  # the table, below the root
    columns: str | int = ""  # that are not found by name: "valence:v,path:img"
    range: str | int = "-1..1"  # the published scale, or valence's and arousal's
    null: str | int = ""  # what means "not labelled"
    classes: str | int = ""  # their names in the order of their codes
    split: str | int | None = None
    split_seed: int | str = 0  # another one deals otherwise
    dataset: str | int = "table"  # what the index calls it
    films: str | int = ""  # "whole": a row may be about all of a film

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in get_args(By):
            raise ValueError(f"split={self.split}: choose one of {', '.join(get_args(By))}")
        if not isinstance(self.split_seed, int):
            raise ValueError(f"split_seed={self.split_seed}: write a whole number from 0")
        if self.films not in ("", "whole"):
            raise ValueError(f"films={self.films}: write whole, or leave it out")
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
    understood = (_understood(root, source, str(told.columns), scale) for source in found)
    tables = [table._replace(whole=told.films == "whole") for table in understood]
    roles, folders = [table.roles for table in tables], any(one.split for one in found)
    survey = Survey(dealing(told.split, int(told.split_seed), roles, folders))
    for table in tables:
        survey.count(table)
    try:
        vocabulary = Vocabulary(survey.words, str(told.classes))
    except ValueError as error:
        findings.check("classes", False, str(error))
        return
    judge(tables, survey, vocabulary, findings, allow_count=told.allow_count)
    if not findings.failed:
        yield from _read(root, told.dataset, tables, survey, vocabulary, findings)


def _read(
    root: Path,
    dataset: str | int,
    tables: list[Table],
    survey: Survey,
    vocabulary: Vocabulary,
    findings: Findings,
) -> Iterator[Sample]:
    keys, taken, last = Counter[str](), set[tuple](), ""
    for table in tables:
        for number, row in table.parsed():
            where = (table.source.path, number)
            if isinstance(row, ValueError) or where in survey.unfit:
                findings.skip("row that cannot be used", f"{where[0]}: row {number}")
                continue  # with --allow-count
            split, fold = survey.dealing.place(row, table.split_of(row))
            facts = {"dataset": dataset, "split": split, "fold": fold}
            facts["extra"] = survey.kept.of(row.others) or None
            for sample in _samples(root, table, row, vocabulary, findings):
                if sample["original_path"] != last:  # rows of a film stand together
                    taken.clear()
                    last = sample["original_path"]
                if (face := (sample["frame_index"], row.box)) in taken:
                    findings.skip(
                        "another row is about the same frame", f"{where[0]}: row {number}"
                    )
                    continue
                taken.add(face)
                yield _placed({**sample, **facts}, keys, f"{where[0]}: row {number}")


_NAMED = (*list(signature(read).parameters.values())[:2], *signature(Options).parameters.values())
vars(read).update(__signature__=Signature(_NAMED))  # by which options are checked and named


def _understood(root: Path, source: Source, columns: str, scale: Scale) -> Table:
    roles = assign(source.columns, columns, str(source.path))
    beside = source.path if source.path.is_dir() else source.path.parent
    first = [path_of(row, roles["path"]) for _, row in islice(source.rows(), 200)]
    places = [beside, root, beside / "images", root / "images"]
    hits = {place: sum((place / name).is_file() for name in first if name) for place in places}
    images = max(places, key=lambda place: hits[place])
    used = {*roles.values(), *(roles["path"].split("/"))}
    others = names_for(name for name in source.columns if name not in used)
    below = "" if images == root else f"{images.relative_to(root).as_posix()}/"
    return Table(source, roles, others, scale, images, below)


# ---------------------------------------------------------------- samples


def _samples(
    root: Path, table: Table, row: Row, vocabulary: Vocabulary, findings: Findings
) -> Iterator[dict]:
    """The fields of a row's images but for key, split and what is the table's own."""
    path = table.images / row.path
    if not os.path.isfile(path):  # noqa: PTH113  per row
        findings.skip("image is missing", row.path)
        return
    code, canonical = vocabulary.of(row.expression) if row.expression else (None, None)
    half = None in (row.valence, row.arousal)  # one sentinel is both
    fields = {
        "original_path": f"{table.below}{row.path}",
        "variant": "table",
        "official_split": table.split_of(row),
        "subject_id": row.subject,
        "video_id": row.video,
        "frame_name": path.name,
        "frame_index": row.frame,
        "timestamp_s": row.seconds[0] if row.seconds else None,
        "bbox_xyxy": row.box,
        "bbox_source": "table" if row.box else None,
        "landmarks": row.landmarks,
        "landmarks_source": "table" if row.landmarks else None,
        "expression_raw": code,
        "expression": canonical,
        "valence": None if half else table.scale.axis("valence").unit(row.valence),
        "arousal": None if half else table.scale.axis("arousal").unit(row.arousal),
        "valence_raw": row.valence,
        "arousal_raw": row.arousal,
    }
    if is_film(row.path):
        yield from _frames(root, path, row, fields, findings)
    else:
        yield fields


def _frames(
    root: Path, path: Path, row: Row, fields: dict[str, Any], findings: Findings
) -> Iterator[dict]:
    """The same of each frame that the row is about."""
    film = film_at(root, path)
    for frame in film.frames(row):
        if frame >= film.facts.frames:
            findings.skip("frame beyond the end of its film", f"{row.path}, frame {frame}")
            return
        yield fields | {
            "video_id": row.video or row.path.rpartition(".")[0],
            "frame_index": frame,
            "fps": film.facts.fps,
            "timestamp_s": film.times[frame],
            "pixel_aspect": film.facts.pixel_aspect,
        }


def _placed(fields: dict[str, Any], keys: Counter[str], where: str) -> Sample:
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
        return Sample(key=f"t_{key}", **fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
