"""Which split a row is in: the one given, or one dealt so that nobody is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import pyarrow.compute as pc

from shards.datasets.folds import fold_by_hash, split_of_fold
from shards.datasets.table.columns import Row
from shards.datasets.table.plain import Columns
from shards.sample import VIDEO_SUFFIXES

By = Literal["given", "subject", "video", "image"]


class Dealing(NamedTuple):
    """By what splits are told, and the seed of those that are dealt."""

    by: By
    seed: int

    def place(self, row: Row, given: str | None) -> tuple[str, int | None]:
        """Split and fold of a row whose own split, or whose folder's, is `given`.

        Raises ValueError where a given split is missing.
        """
        if self.by != "given":
            fold = fold_by_hash(f"{self.seed}/{self.group(row)}" if self.seed else self.group(row))
            return split_of_fold(fold), fold
        if given is None and row.fold is None:
            raise ValueError("it has no split; write one, or pass --option split=subject")
        return given or split_of_fold(row.fold or 0), row.fold

    def places(
        self, columns: Columns, given: str | None
    ) -> tuple[Sequence[str | None], Sequence[int | None]]:
        """Splits and folds of many rows; no split where a given one is missing."""
        if self.by == "given":
            folds = [None if fold != fold else int(fold) for fold in columns.fold.tolist()]
            splits = pc.fill_null(columns.split, given) if given else columns.split
            each = zip(splits.to_pylist(), folds, strict=True)
            return [s or (None if f is None else split_of_fold(f)) for s, f in each], folds
        held = {"subject": [columns.subject, columns.video], "video": [columns.video]}
        groups = pc.coalesce(*held.get(self.by, []), columns.path).to_pylist()
        start = f"{self.seed}/" if self.seed else ""
        dealt = {group: fold_by_hash(f"{start}{group}") for group in set(groups)}
        folds = [dealt[group] for group in groups]
        return [split_of_fold(fold) for fold in folds], folds

    def group(self, row: Row) -> str:
        """What is never on two sides; a row without subject counts by its film or picture."""
        film = row.video or row.path
        return {"subject": row.subject or film, "video": film}.get(self.by) or (
            film if is_film(row.path) else row.path
        )


def dealing(asked: object, seed: int, roles: Sequence[dict[str, str]], folders: bool) -> Dealing:
    """As `asked`, else by what the tables hold: the given split or fold, subjects, films, images.

    `folders` says that tables lie in the folders of their splits. One that is given for some of the
    rows is not dealt for all: the others are then asked about. Raises ValueError where what
    is asked for stands in no column.
    """
    held = {
        "given": folders or any("split" in one or "fold" in one for one in roles),
        "subject": all("subject" in one for one in roles),
        "video": all("video" in one for one in roles),
        "image": True,
    }
    if asked is None:
        return Dealing(next(by for by in get_args(By) if held[by]), seed)
    (by,) = [by for by in get_args(By) if by == asked]
    if not held[by] and by != "video":  # every film is one, without a column
        role = "split or fold" if by == "given" else by
        raise ValueError(
            f"split={by}: no column holds {role}; name it with --option columns="
            f"{role.split()[0]}:COLUMN, or choose another of {', '.join(get_args(By))}"
        )
    return Dealing(by, seed)


def is_film(path: str) -> bool:
    """Whether a path names a film."""
    return path.lower().endswith(VIDEO_SUFFIXES)
