"""`LabelIndex`: the Arrow table that owns every label and knows where every image lies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from shards.sample import DATASETS, SPLITS

LABELS = "labels.arrow"
BLOCK = 512  # everything in a tar starts at a multiple of it
_METADATA = b"shards"  # the schema's metadata: one JSON object under this key
_NAMES = pa.dictionary(pa.int8(), pa.string())


def _need(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


SCHEMA = pa.schema(
    [
        _need("sample_key", pa.string()),
        _need("dataset", _NAMES),
        _need("variant", pa.string()),
        _need("shard", pa.dictionary(pa.int32(), pa.string())),  # file name inside its folder
        _need("shard_offset", pa.int64()),  # of the image's data, not of its header
        _need("image_size", pa.int64()),  # bytes
        _need("extension", pa.string()),  # jpg or png
        _need("split", _NAMES),
        pa.field("official_split", pa.string()),
        pa.field("split_by_task", pa.map_(pa.string(), pa.string())),
        pa.field("fold", pa.int8()),
        pa.field("subject_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("person_slot", pa.string()),
        pa.field("frame_index", pa.int32()),
        pa.field("frame_name", pa.string()),
        pa.field("fps", pa.float32()),
        pa.field("timestamp_s", pa.float32()),
        _need("original_path", pa.string()),
        _need("image_format", pa.string()),  # of the source: jpeg, png, bmp, tiff, video
        _need("width", pa.int32()),  # of the stored image
        _need("height", pa.int32()),
        pa.field("src_width", pa.int32()),
        pa.field("src_height", pa.int32()),
        pa.field("pixel_aspect", pa.float32()),
        _need("sha256", pa.binary(32)),  # of the stored image
        pa.field("ahash", pa.uint64()),  # 8x8 average hash of the stored image
        pa.field("bbox_xyxy", pa.list_(pa.float32(), 4)),
        pa.field("bbox_source", pa.string()),
        pa.field("landmarks", pa.list_(pa.float32(), 136)),
        pa.field("landmarks5", pa.list_(pa.float32(), 10)),
        pa.field("landmarks37", pa.list_(pa.float32(), 74)),
        pa.field("landmarks_source", pa.string()),
        pa.field("expression_raw", pa.int16()),
        pa.field("expression", pa.int8()),
        pa.field("expression_compound", pa.int8()),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
        pa.field("valence_raw", pa.float32()),
        pa.field("arousal_raw", pa.float32()),
        _need("va_valid", pa.bool_()),
        pa.field("action_units", pa.list_(pa.int8(), 12)),
        _need("annotation_source", pa.string()),
        pa.field("gender", pa.int8()),
        pa.field("race", pa.int8()),
        pa.field("age_group", pa.int8()),
        pa.field("emonet_clean", pa.bool_()),
        pa.field("crop_affine", pa.list_(pa.float32(), 6)),  # source -> stored pixels, see crop.py
        pa.field("crop_size", pa.int16()),
        _need("quality", pa.list_(pa.string())),
    ]
)
_VOCABULARY = {"dataset": DATASETS, "split": SPLITS}


def row_offset(shard_offset: int, image_size: int) -> int:
    """Where the 8 bytes of KEY.row lie: after the image, its padding and one header."""
    return shard_offset + -(-image_size // BLOCK) * BLOCK + BLOCK


def encoded(name: str, values: Sequence[str]) -> pa.DictionaryArray:
    """`values` as the dictionary column `name`, with the same fixed dictionary in every batch."""
    words = _VOCABULARY[name]
    numbers = {word: number for number, word in enumerate(words)}
    codes = pa.array([numbers[value] for value in values], pa.int8())
    return pa.DictionaryArray.from_arrays(codes, pa.array(words))


class LabelIndex:
    """All rows of one or several shard folders, memory-mapped, in tar order.

    Opening costs no time or memory per row. Several folders are one index: rows of the second
    follow those of the first.
    """

    def __init__(self, tables: Sequence[pa.Table], folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._metadata = [metadata_of(t.schema) for t in tables]
        table = pa.concat_tables([t.replace_schema_metadata(None) for t in tables])
        self.table: pa.Table = table.unify_dictionaries() if len(tables) > 1 else table
        self.folder_starts = np.cumsum([0] + [t.num_rows for t in tables], dtype=np.int64)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> LabelIndex:
        """Open a shard folder, or several as one.

        Raises FileNotFoundError where a folder has no labels.arrow, ValueError where that file is
        cut or of another schema.
        """
        paths = [path] if isinstance(path, str | os.PathLike) else list(path)
        folders = [Path(p) for p in paths]
        if not folders:
            raise ValueError("no shard folder was named; name at least one to open")
        return cls([_open_table(folder) for folder in folders], folders)

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
    def splits(self) -> dict[str, int]:
        """Rows per split, without the empty ones."""
        codes = self._codes("split")
        words = self._words("split")
        counts = np.bincount(codes, minlength=len(words))
        return {word: int(n) for word, n in zip(words, counts, strict=True) if n}

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
        """The stored image of `row`, straight from its tar."""
        place = self.table.slice(row, 1)
        with open(self.tars[int(self.tar_of_row(np.array([row]))[0])], "rb") as tar:
            tar.seek(place["shard_offset"][0].as_py())
            return tar.read(place["image_size"][0].as_py())

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Hash every tar and read every row again; the sentences say what is wrong.

        An empty list means that each tar is the one the index was written for, and that name,
        content and KEY.row of each image agree with the index.
        """
        problems = []
        for number, tar in enumerate(self.tars):
            problems += self._verify_tar(number, tar)
            if progress:
                progress(int(self.tar_starts[number + 1]), len(self))
        return problems

    def _verify_tar(self, number: int, path: Path) -> list[str]:
        start, stop = (int(r) for r in self.tar_starts[number : number + 2])
        folder = int(self.folder_of_row(np.array([start]))[0])
        recorded = self._metadata[folder]["tars"][path.name]
        if not path.is_file():
            return [f"{path} is missing; write the shards again"]
        with open(path, "rb") as tar:
            if hashlib.file_digest(tar, "sha256").hexdigest() != recorded["sha256"]:
                return [f"{path} is not the tar its index was written for; write the shards again"]
            columns = ["sample_key", "extension", "shard_offset", "image_size", "sha256"]
            rows = self.table.slice(start, stop - start).select(columns).to_pylist()
            base = start - int(self.folder_starts[folder])
            checked = (_verify_row(tar, path, row, base + i) for i, row in enumerate(rows))
            return [problem for problem in checked if problem]

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
        chunks = [chunk.indices.to_numpy() for chunk in self._column(name).chunks]
        return np.concatenate(chunks) if chunks else np.zeros(0, np.int8)

    def _has_code(self, name: str, wanted: list[int]) -> np.ndarray:
        """Rows whose word is one of these."""
        table = np.zeros(len(self._words(name)), bool)
        table[[code for code in wanted if code >= 0]] = True
        return table[self._codes(name)]

    def _matches(self, name: str, wanted: Any) -> np.ndarray:
        values = list(wanted) if isinstance(wanted, list | tuple | set | range) else [wanted]
        if name in ("source", "row"):
            rows = np.arange(len(self))
            found = self.folder_of_row(rows) if name == "source" else self.row_in_folder(rows)
            return np.isin(found, values)
        column = self._column(name)
        if name in _VOCABULARY:
            return self._has_code(name, [self._code(name, value) for value in values])
        if pa.types.is_dictionary(column.type):
            words = self._words(name)
            return self._has_code(name, [words.index(v) for v in values if v in words])
        try:
            value_set = pa.array(values, column.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"{name} holds {column.type}, not {wanted!r}: {error}") from None
        found = pc.call_function("is_in", [column], pc.SetLookupOptions(value_set))
        return found.to_numpy()

    def _code(self, name: str, value: Any) -> int:
        words = self._words(name)
        if len(words) and value not in words:
            raise ValueError(f"{name} {value!r} does not exist; it is one of {', '.join(words)}")
        return words.index(value) if words else -1

    def _satisfies(self, expression: pc.Expression) -> np.ndarray:
        """Evaluate only the columns the expression names; null counts as no."""
        source = pads.InMemoryDataset(self.table)
        try:
            keep = source.scanner(columns={"keep": expression}).to_table()["keep"]
            return pc.fill_null(pc.cast(keep, pa.bool_()), False).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"expression {expression} does not fit the index: {reason}") from None


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
        return _gather(self.index._column(name), self.rows)

    def column(self, name: str) -> np.ndarray:
        """A column of the selected rows: numbers as numbers, lists of fixed size as (n, size).

        Nulls of a number column make it float with NaN; words come as an object array.
        """
        if name == "source":
            return self.index.folder_of_row(self.rows)
        if name == "row":
            return self.index.row_in_folder(self.rows)
        values = self.arrow(name)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_fixed_size_list(values.type) and not values.null_count:
            size = values.type.list_size
            return values.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
        return values.to_numpy(zero_copy_only=False)

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


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """What the writer recorded in a schema."""
    return json.loads((schema.metadata or {}).get(_METADATA, b"{}"))


def with_metadata(schema: pa.Schema, metadata: dict[str, Any]) -> pa.Schema:
    """`schema` carrying `metadata` (plain values), the same bytes for the same values."""
    return schema.with_metadata({_METADATA: json.dumps(metadata, sort_keys=False).encode()})


def _open_table(folder: Path) -> pa.Table:
    path = folder / LABELS if folder.suffix != ".arrow" else folder
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, and it is written last: write the shards "
            "(`python cli.py shard NAME`), or let an interrupted run finish"
        )
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    except pa.ArrowInvalid:
        raise ValueError(f"{path} is cut or no Arrow file; write the shards again") from None
    if not table.schema.equals(SCHEMA) or "digest" not in metadata_of(table.schema):
        raise ValueError(
            f"{path} has another schema than this version of shards writes; write the shards again"
        )
    return table


def _gather(column: pa.ChunkedArray, rows: np.ndarray) -> pa.Array:
    """Take `rows` chunk by chunk: `ChunkedArray.take` would first copy the whole column."""
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    pieces, start = [], 0
    for chunk in column.chunks:
        low, high = np.searchsorted(ascending, [start, start + len(chunk)])
        if low < high:
            pieces.append(chunk.take(pa.array(ascending[low:high] - start)))
        start += len(chunk)
    if not pieces:
        return pa.array([], column.type)
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.concat_arrays(pieces).take(pa.array(back))


def _verify_row(tar: Any, path: Path, place: dict[str, Any], row: int) -> str | None:
    offset, size = place["shard_offset"], place["image_size"]
    tar.seek(offset - BLOCK)
    name = tar.read(100).rstrip(b"\0").decode("ascii", "replace")
    if name != f"{place['sample_key']}.{place['extension']}":
        return f"{path}: row {row} should be {place['sample_key']} but is {name}"
    tar.seek(offset)
    if hashlib.sha256(tar.read(size)).digest() != place["sha256"]:
        return f"{path}: the image of row {row} ({name}) is not the one that was written"
    tar.seek(row_offset(offset, size))
    held = int.from_bytes(tar.read(8), "little", signed=True)
    return None if held == row else f"{path}: {place['sample_key']}.row holds {held}, not {row}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
