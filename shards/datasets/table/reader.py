"""Any images or films with a table of labels, or images in a folder for each class.

FOLDER/labels.csv        path,valence,arousal,...     also .tsv .jsonl .parquet .arrow .feather
FOLDER/[train/]metadata.csv (or .jsonl)               file_name,...   as Hugging Face has it
FOLDER/[train/]happy/1.jpg                            one folder a class
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import Signature, signature
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from shards.datasets.preflight import require_folder
from shards.datasets.table.batches import Batches
from shards.datasets.table.classes import Vocabulary
from shards.datasets.table.columns import Scale, assign, path_of
from shards.datasets.table.kept import names_for
from shards.datasets.table.rows import has_commas
from shards.datasets.table.sources import Source, sources
from shards.datasets.table.splits import By, dealing
from shards.datasets.table.survey import Survey, Table, file_at, judge
from shards.findings import Findings
from shards.labels.rows import InRows
from shards.sample import DATASETS, is_dataset


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
    encoding: str | int = ""  # of the table, if not UTF-8
    decimal: str | int = ""  # "," where its numbers have a comma; "." where they never do

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in get_args(By):
            raise ValueError(f"split={self.split}: choose one of {', '.join(get_args(By))}")
        if not isinstance(self.split_seed, int):
            raise ValueError(f"split_seed={self.split_seed}: write a whole number from 0")
        if self.films not in ("", "whole"):
            raise ValueError(f"films={self.films}: write whole, or leave it out")
        if self.decimal not in ("", ".", ","):
            raise ValueError(f"decimal={self.decimal}: write , or .")
        try:
            io.TextIOWrapper(io.BytesIO(), str(self.encoding) or "utf-8")
        except (LookupError, ValueError):
            raise ValueError(
                f"encoding={self.encoding}: no text is encoded so; write one such as cp1252, "
                "latin-1, utf-16 or shift_jis"
            ) from None
        if not is_dataset(self.dataset) or self.dataset in DATASETS[:-1]:
            raise ValueError(
                f"dataset={self.dataset}: a name is a letter a-z, then up to 31 letters a-z, "
                f"digits or '_', and none of {', '.join(DATASETS[:-1])}"
            )


def _rows(root: Path, findings: Findings, **options: Any) -> Iterator[pa.RecordBatch]:
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
    found = sources(root, str(told.labels), str(told.encoding))
    understood = (_understood(root, source, told, scale) for source in found)
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
        batches = Batches(root, str(told.dataset), survey, vocabulary, findings)
        for table in tables:
            yield from batches.of(table)


_NAMED = (*list(signature(_rows).parameters.values())[:2], *signature(Options).parameters.values())
vars(_rows).update(__signature__=Signature(_NAMED))  # by which options are checked and named
read = InRows(_rows)


def _understood(root: Path, source: Source, told: Options, scale: Scale) -> Table:
    roles = assign(source.columns, str(told.columns), str(source.path))
    beside = source.path if source.path.is_dir() else source.path.parent
    rows = (row for block in source.blocks() for _, row in block.rows())
    rows = list(islice(rows, 200))
    first = [path_of(row, roles["path"]) for row in rows]
    axes = [roles[name] for name in ("valence", "arousal") if name in roles]
    labels = [row.get(column, "") for column in axes for row in rows]
    if commas := told.decimal == "," or (not told.decimal and has_commas(labels)):
        blocks = source.blocks
        source = source._replace(blocks=lambda: (block.pointed() for block in blocks()))
    places = [beside, root, beside / "images", root / "images"]
    hits = {
        place: sum(file_at(f"{place}/{name}")[0] >= 0 for name in first if name) for place in places
    }
    images = max(places, key=lambda place: hits[place])
    used = {*roles.values(), *(roles["path"].split("/"))}
    others = names_for(name for name in source.columns if name not in used)
    below = "" if images == root else f"{images.relative_to(root).as_posix()}/"
    return Table(source, roles, others, scale, images, below, commas=commas)
