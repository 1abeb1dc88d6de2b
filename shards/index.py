"""`LabelIndex`: the Arrow table that owns every label and knows where every image lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.labels.extra import aligned, extra_in
from shards.labels.integrity import PLACE, digest_of, stored, verify_idx, verify_tar
from shards.labels.opening import open_table
from shards.labels.packing import decoded, together
from shards.labels.schema import BLOCK as BLOCK
from shards.labels.schema import LABELS as LABELS
from shards.labels.schema import LENGTHS, VOCABULARY, kind_of, metadata_of
from shards.labels.schema import SCHEMA as SCHEMA
from shards.labels.schema import checksum as checksum
from shards.labels.schema import row_offset as row_offset


class LabelIndex:
    """All rows of one or several shard folders, memory-mapped, in tar order.

    Opening checks every number that is trusted later, at 0.1 us a row, and costs no memory per
    row. Several folders are one index: rows of the second follow those of the first.
    """

    def __init__(self, tables: Sequence[pa.Table], folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._metadata = [metadata_of(t.schema) for t in tables]
        self._tables = tables  # as they were written: their digests are over their own columns
        self.table: pa.Table = together(aligned(tables)).replace_schema_metadata(None)
        self.folder_starts = np.cumsum([0] + [t.num_rows for t in tables], dtype=np.int64)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> LabelIndex:
        """Open a shard folder, or several as one.

        Raises FileNotFoundError where a folder has no labels.arrow, ValueError where that file is
        cut, of another schema, or holds labels or places that are out of range.
        """
        paths = [path] if isinstance(path, str | os.PathLike) else list(path)
        folders = [Path(p) for p in paths]
        if not folders:
            raise ValueError("no shard folder was named; name at least one to open")
        return cls([open_table(folder) for folder in folders], folders)

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def metadata(self) -> dict[str, Any]:
        """What the writer recorded: options, versions, counts, tars with their sha256, digest.

        Of several folders, the first one's; `metadata_of_folder` has the others.
        """
        return self._metadata[0]

    def metadata_of_folder(self, number: int) -> dict[str, Any]:
        """The metadata of folder `number`."""
        return self._metadata[number]

    @property
    def digest(self) -> str:
        """One hash of all images and labels: equal digests, equal training data."""
        digests = [m["digest"] for m in self._metadata]
        return digests[0] if len(digests) == 1 else _sha256("\n".join(digests).encode())

    @cached_property
    def tars(self) -> tuple[Path, ...]:
        """Every tar, in row order."""
        return tuple(
            folder / name
            for folder, m in zip(self.folders, self._metadata, strict=True)
            for name in m["tars"]
        )

    @cached_property
    def tar_starts(self) -> np.ndarray:
        """First row of each of `tars`, and the number of rows at the end: int64 (tars + 1,)."""
        sizes = [tar["samples"] for m in self._metadata for tar in m["tars"].values()]
        return np.cumsum([0, *sizes], dtype=np.int64)

    def tar_of_row(self, rows: np.ndarray) -> np.ndarray:
        """Position in `tars` of the tar that holds each row."""
        return np.searchsorted(self.tar_starts, rows, side="right") - 1

    def folder_of_row(self, rows: np.ndarray) -> np.ndarray:
        """Position in `folders` of the folder each row comes from (int16)."""
        return (np.searchsorted(self.folder_starts, rows, side="right") - 1).astype(np.int16)

    def row_in_folder(self, rows: np.ndarray) -> np.ndarray:
        """The row within its own folder, which is what KEY.row holds (int64)."""
        return np.asarray(rows, np.int64) - self.folder_starts[self.folder_of_row(rows)]

    @property
    def extra(self) -> list[str]:
        """Columns that the data sets brought along, beside those of every index."""
        return [field.name for field in extra_in(self.table.schema)]

    @property
    def classes(self) -> list[str]:
        """Names of the codes of `expression_raw` from 0, where all folders have the same
        vocabulary of their own."""
        first, *others = (m.get("classes", []) for m in self._metadata)
        return [str(name) for name in first] if all(other == first for other in others) else []

    @property
    def splits(self) -> dict[str, int]:
        """Rows per split, without the empty ones."""
        return self.counts("split")

    def counts(self, name: str) -> dict[Any, int]:
        """Rows per value of a column of words or small numbers; nulls are not counted."""
        if pa.types.is_dictionary(self._column(name).type):
            words, codes = self._words(name), self._codes(name)
            numbers = np.bincount(codes[codes >= 0], minlength=len(words))
            counted = zip(words, numbers.tolist(), strict=True)
            counted = counted if name in VOCABULARY else sorted(counted)
        else:
            pairs = pc.value_counts(self._column(name).drop_null())
            counted = sorted(zip(*(pairs.field(k).to_pylist() for k in range(2)), strict=True))
        return {word: n for word, n in counted if n}

    def where(self, *, filter: pc.Expression | None = None, **columns: Any) -> Selection:
        """Rows that meet every condition, in row order.

        A column is compared with a value, with any of a list, or with None (is null); `filter`
        is any pyarrow expression over the columns. Columns on top of the schema: `source` (which
        folder) and `row` (row within it).

            index.where(split="train", dataset=["affectnet", "afew_va"])
            index.where(filter=pc.field("valence") > 0.5)
        """
        keep = np.ones(len(self), bool)
        for name, wanted in columns.items():
            keep &= self._matches(name, wanted)
        if filter is not None:
            keep &= self._satisfies(filter)
        return Selection(self, np.flatnonzero(keep))

    @property
    def held_out(self) -> str:
        """The split that scores a model: val, or test where the owner gives no val (RAF-DB)."""
        return "test" if "test" in self.splits and "val" not in self.splits else "val"

    def part(self, split: str, fold: int | None = None, **conditions: Any) -> Selection:
        """Rows of a split; with a fold, that one stands for what is held out, the others for train.

        Further conditions are those of `where`.
        """
        if fold is None:
            return self.where(split=split, **conditions)
        if split != "train":
            return self.where(fold=fold, **conditions)
        others = set(pc.unique(self.table["fold"]).to_pylist()) - {fold, None}
        return self.where(fold=others, **conditions)

    def read(self, row: int) -> bytes:
        """The stored image of `row`, straight from its tar, with its name, KEY.row and checksum.

        Raises FileNotFoundError where the tar is missing, ValueError where it is another one.
        """
        return self._stored(row, PLACE)

    def check_tar(self, number: int) -> None:
        """Raise as `read` does unless `tars[number]` has its size, first row and last row."""
        for row in (self.tar_starts[number], self.tar_starts[number + 1] - 1):
            self._stored(int(row), PLACE[:-1])

    def _stored(self, row: int, names: list[str]) -> bytes:
        rows = np.array([row])
        number = int(self.tar_of_row(rows)[0])
        place = self.table.slice(row, 1).select(names).to_pylist()[0]
        size = self.recorded(number)["size"]
        return stored(self.tars[number], size, place, int(self.row_in_folder(rows)[0]))

    def recorded(self, number: int) -> dict[str, Any]:
        """What the index says of `tars[number]`: samples, size, sha256."""
        folder = int(self.folder_of_row(self.tar_starts[number : number + 1])[0])
        return self._metadata[folder]["tars"][self.tars[number].name]

    def verify(
        self, progress: Callable[[int, int], None] | None = None, *, beside: bool = True
    ) -> list[str]:
        """Hash every tar and read every row again; the sentences say what is wrong.

        An empty list means that the labels and places are those that were written, that each tar
        is the one the index was written for, that name, content and KEY.row of each image agree
        with the index and, `beside` them, the `.idx` with its tar. An index of format 1 has no
        digest that its labels could be held to.
        """
        problems = []
        digests = [hashlib.sha256() for _ in self.folders]
        for number, tar in enumerate(self.tars):
            start, stop = (int(row) for row in self.tar_starts[number : number + 2])
            folder = int(self.folder_of_row(np.array([start]))[0])
            first, facts = start - int(self.folder_starts[folder]), self.recorded(number)
            rows = self._tables[folder].slice(first, stop - start)
            digests[folder].update(digest_of(tar.name, facts["sha256"], rows))
            problems += verify_tar(tar, facts, rows, first)
            problems += verify_idx(tar, rows) if beside else []
            if progress:
                progress(stop, len(self))
        for folder, facts, digest in zip(self.folders, self._metadata, digests, strict=True):
            if facts["format"] > 1 and facts["digest"] != digest.hexdigest():
                problems.append(
                    f"the labels or places in {folder} are not those that were written; write the "
                    "shards again"
                )
        return problems

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self.table.schema.names:
            raise ValueError(
                f"the index has no column {name!r}; there are "
                f"{', '.join([*self.table.schema.names, 'source', 'row'])}"
            )
        return self.table[name]

    def _words(self, name: str) -> list[str]:
        chunks = self._column(name).chunks
        return chunks[0].dictionary.to_pylist() if chunks else []

    def _codes(self, name: str) -> np.ndarray:
        """The number of each row's word, -1 where there is none."""
        chunks = self._column(name).chunks
        codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
        return np.concatenate(codes) if codes else np.zeros(0, np.int8)

    def _matches(self, name: str, wanted: Any) -> np.ndarray:
        values = list(wanted) if isinstance(wanted, list | tuple | set | range) else [wanted]
        if name in ("source", "row"):
            rows = np.arange(len(self))
            found = self.folder_of_row(rows) if name == "source" else self.row_in_folder(rows)
            return np.isin(found, values)
        column = self._column(name)
        if name in VOCABULARY:
            for value in values:
                self._require_word(name, value)
        kind = kind_of(self.table.schema.field(name))
        coded = pa.types.is_dictionary(column.type)
        try:
            value_set = pa.array(values, column.type.value_type if coded else kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"{name} holds {kind}, not {wanted!r}: {error}") from None
        if not coded:
            return pc.is_in(column, value_set=value_set).to_numpy()
        found = pc.is_in(pa.array([*self._words(name), None], value_set.type), value_set=value_set)
        return found.to_numpy(zero_copy_only=False)[self._codes(name)]  # the last for null

    def _require_word(self, name: str, value: Any) -> None:
        words = self._words(name)
        if words and value not in words:
            raise ValueError(f"{name} {value!r} does not exist; it is one of {', '.join(words)}")

    def _satisfies(self, expression: pc.Expression) -> np.ndarray:
        """Evaluate only the columns the expression names; null counts as no."""
        import pyarrow.dataset as pads  # 30 ms that only a filter needs

        named = [name for name in self.table.schema.names if name in str(expression)]
        fields = [f.with_type(kind_of(f)) if f.name in named else f for f in self.table.schema]
        batches = (
            pa.record_batch([decoded(b[f.name], f.type) for f in fields], schema=pa.schema(fields))
            for b in self.table.to_batches()
        )
        try:
            source = pads.Scanner.from_batches(
                batches, schema=pa.schema(fields), columns={"keep": expression}
            )
            keep = source.to_table()["keep"]
            return pc.fill_null(pc.cast(keep, pa.bool_()), False).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"expression {expression} does not fit the index: {reason}") from None


_FEW_VALUED = {pa.string(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()}


class Selection:
    """Some rows of an index: a split, a fold, a filter. A list of positions, never a copy."""

    def __init__(self, index: LabelIndex, rows: np.ndarray) -> None:
        self.index = index
        self.rows = np.asarray(rows, np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def digest(self) -> str:
        """One hash of which rows of which images these are."""
        return _sha256(self.index.digest.encode() + self.rows.astype("<i8").tobytes())

    def take(self, positions: np.ndarray | Sequence[int]) -> Selection:
        """The rows at these positions of the selection, in their order."""
        return Selection(self.index, self.rows[np.asarray(positions, np.int64)])

    def arrow(self, name: str) -> pa.Array:
        """A column of the selected rows as Arrow, in the selection's order."""
        column = self.index._column(name)
        return _gather(column, self.rows, kind_of(self.index.table.schema.field(name)))

    def column(self, name: str) -> np.ndarray:
        """A column of the selected rows: numbers as numbers, lists of one size as (n, size).

        Nulls of a number column make it float with NaN; words come as an object array.
        """
        if name == "source":
            return self.index.folder_of_row(self.rows)
        if name == "row":
            return self.index.row_in_folder(self.rows)
        values = self.arrow(name)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if name in LENGTHS and not values.null_count:
            return values.flatten().to_numpy(zero_copy_only=False).reshape(-1, LENGTHS[name])
        return values.to_numpy(zero_copy_only=False)

    def coded(self, name: str) -> tuple[list[Any], np.ndarray]:
        """A column as its different values and each row's place among them, int64, null as -1.

        Raises ValueError for a column of other than words, whole numbers or truth values.
        """
        values = self.arrow(name)
        if not pa.types.is_dictionary(values.type):
            if values.type not in _FEW_VALUED:
                raise ValueError(
                    f"{name} holds {values.type}; name a column of words, whole numbers or truth "
                    "values, or plane:10 for cells of valence and arousal"
                )
            values = values.dictionary_encode()
        codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return values.dictionary.to_pylist(), codes.astype(np.int64)

    def targets(self, names: Sequence[str] = ("valence", "arousal")) -> np.ndarray:
        """The wanted labels as float32 (n, len(names)).

        Raises ValueError with the count where a label is null: no null reaches a loss.
        """
        columns = [self.arrow(name) for name in names]
        for name, values in zip(names, columns, strict=True):
            if values.null_count:
                raise ValueError(
                    f"{values.null_count:,} of {len(self):,} selected rows have no {name}; add "
                    f"`filter=pc.field({name!r}).is_valid()` to where(...) to leave them out"
                )
        arrays = [pc.cast(v, pa.float32()).to_numpy(zero_copy_only=False) for v in columns]
        return np.stack(arrays, axis=1) if arrays else np.zeros((len(self), 0), np.float32)


def _gather(column: pa.ChunkedArray, rows: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Take `rows` chunk by chunk, as `kind`: `ChunkedArray.take` would first copy the column."""
    order = None if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
    ascending = rows if order is None else rows[order]
    pieces, start = [], 0
    for chunk in column.chunks:
        low, high = np.searchsorted(ascending, [start, start + len(chunk)])
        if low < high:
            pieces.append(decoded(chunk.take(pa.array(ascending[low:high] - start)), kind))
        start += len(chunk)
    if not pieces:
        return pa.array([], kind)
    if order is None:
        return pa.concat_arrays(pieces)
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.concat_arrays(pieces).take(pa.array(back))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
