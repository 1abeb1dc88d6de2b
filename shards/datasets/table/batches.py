"""Samples of a table: plain rows as columns, those of films and odd ones each by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.datasets.table.classes import Vocabulary
from shards.datasets.table.columns import Row
from shards.datasets.table.frames import film_at
from shards.datasets.table.plain import Columns
from shards.datasets.table.rows import Block
from shards.datasets.table.splits import is_film
from shards.datasets.table.survey import Piece, Survey, Table, file_at
from shards.findings import Findings
from shards.labels.extra import column_of
from shards.labels.rows import SOURCE, lists_of, planned_rows, rows_like
from shards.labels.schema import encoded
from shards.sample import Sample

_KEY = 80  # characters; a longer name is cut and told apart by a hash
_ROWS = 4096  # of a batch made of single samples


class Batches:
    """Makes them of rows that were surveyed, in the order of the tables, each under a key that no
    other has."""

    def __init__(
        self, root: Path, dataset: str, survey: Survey, vocabulary: Vocabulary, findings: Findings
    ) -> None:
        self.root, self.dataset, self.survey = root, dataset, survey
        self.vocabulary, self.findings = vocabulary, findings
        self._pieces = iter(survey.pieces)
        self._keys: dict[str, int] = {}
        self._taken, self._last = set[tuple](), ""

    def of(self, table: Table) -> Iterator[pa.RecordBatch]:
        """Raises ValueError where the table is no longer what was surveyed."""
        for block in table.source.blocks():
            start = 0
            while start < len(block):
                piece = next(self._pieces, None)
                part = block.part(start, piece.size if piece else 0)
                columns = table.at_once(part) if piece and piece.files is not None else None
                if not piece or len(part) < piece.size or (piece.files is None) != (not columns):
                    raise ValueError(
                        f"{table.source.path} was written to while it was read; run the same "
                        "command again"
                    )
                yield from (
                    self._at_once(table, columns, piece) if columns else self._each(table, part)
                )
                start += piece.size

    # ------------------------------------------------------------ as columns

    def _at_once(self, table: Table, c: Columns, piece: Piece) -> Iterator[pa.RecordBatch]:
        sizes, times = np.asarray(piece.files).T
        for path in c.path.filter(pa.array(sizes < 0)).to_pylist():
            self.findings.skip("image is missing", path)
        there = np.flatnonzero(sizes >= 0)
        places = there.tolist()
        if not len(there):
            return
        c = c.take(there)
        codes, canonical = self._classes(c.expression)
        half = np.isnan(c.valence) | np.isnan(c.arousal)  # one sentinel is both
        paths = pc.binary_join_element_wise(pa.scalar(table.below), c.path, "")
        no_box = np.isnan(c.box[:, 0])
        columns = {
            "sample_key": pa.array([f"t_{self._key(name)}" for name in _names(paths)]),
            "original_path": paths,
            "split": encoded("split", [piece.splits[k] for k in places]),
            "official_split": pc.fill_null(c.split, pa.scalar(table.source.split, pa.string())),
            "fold": pa.array([piece.folds[k] for k in places], pa.int8()),
            "subject_id": c.subject,
            "video_id": c.video,
            "frame_name": pc.replace_substring_regex(c.path, "^.*/", ""),
            "frame_index": _optional(c.frame).cast(pa.int32()),
            "timestamp_s": _optional(c.start),
            "bbox_xyxy": lists_of(c.box),
            "bbox_source": pa.array(["table"] * len(there), pa.string(), mask=no_box),
            "expression_raw": codes,
            "expression": canonical,
            "valence": self._unit(table, "valence", c.valence, half),
            "arousal": self._unit(table, "arousal", c.arousal, half),
            "valence_raw": _optional(c.valence),
            "arousal_raw": _optional(c.arousal),
            "source_bytes": pa.array(sizes[there]),
            "source_time": pa.array(times[there]),
        }
        if c.landmarks is not None:
            none = np.isnan(c.landmarks[:, 0])
            columns["landmarks"] = lists_of(c.landmarks)
            columns["landmarks_source"] = pa.array(["table"] * len(there), pa.string(), mask=none)
        columns |= self.survey.kept.columns(c.others, len(there))
        like = Sample(
            key="k", original_path="p", dataset=self.dataset, variant="table", split="val"
        )
        yield rows_like(like, len(there), columns)

    @staticmethod
    def _unit(table: Table, axis: str, values: np.ndarray, half: np.ndarray) -> pa.Array:
        return pa.array(table.scale.axis(axis).units(values), mask=half)

    def _classes(self, words: pa.Array) -> tuple[pa.Array, pa.Array]:
        found = words.dictionary_encode()
        pairs = [self.vocabulary.of(word) for word in found.dictionary.to_pylist()]
        raw, known = zip(*pairs, strict=True) if pairs else ((), ())
        codes = pa.array(raw, pa.int16()).take(found.indices)
        return codes, pa.array(known, pa.int8()).take(found.indices)

    # ------------------------------------------------------------ one by one

    def _each(self, table: Table, block: Block) -> Iterator[pa.RecordBatch]:
        found = self._samples(table, block)
        while chunk := list(islice(found, _ROWS)):
            samples, *files = zip(*chunk, strict=True)
            types = self.survey.kept.types
            own = {
                name: column_of([(s.extra or {}).get(name) for s in samples], kind)
                for name, kind in types.items()
            }
            rows = planned_rows(samples, exact=True)
            arrays = [*rows.columns, *(pa.array(fact, pa.int64()) for fact in files)]
            yield pa.RecordBatch.from_arrays(
                [*arrays, *own.values()], [*rows.schema.names, *SOURCE, *own]
            )

    def _samples(self, table: Table, block: Block) -> Iterator[tuple[Sample, int, int]]:
        for number, row in table.parsed(block):
            where = f"{table.source.path}: row {number}"
            if isinstance(row, ValueError) or (table.source.path, number) in self.survey.unfit:
                self.findings.skip("row that cannot be used", where)
                continue  # with --allow-count
            file = file_at(f"{table.images}/{row.path}")
            if file[0] < 0:
                self.findings.skip("image is missing", row.path)
                continue
            (name,) = _names(pa.array([f"{table.below}{row.path}"]))
            for fields in self._frames(table, row):
                if fields["original_path"] != self._last:  # rows of a film stand together
                    self._taken.clear()
                    self._last = fields["original_path"]
                if (face := (fields["frame_index"], row.box)) in self._taken:
                    self.findings.skip("another row is about the same frame", where)
                    continue
                self._taken.add(face)
                yield self._placed(name, fields, where), *file

    def _fields(self, table: Table, row: Row) -> dict[str, Any]:
        """Those of a row but for its key."""
        split, fold = self.survey.dealing.place(row, table.split_of(row))
        word = row.expression
        code, canonical = self.vocabulary.of(word) if word else (None, None)
        half = None in (row.valence, row.arousal)
        return {
            "original_path": f"{table.below}{row.path}",
            "dataset": self.dataset,
            "variant": "table",
            "split": split,
            "official_split": table.split_of(row),
            "fold": fold,
            "subject_id": row.subject,
            "video_id": row.video,
            "frame_name": row.path.rpartition("/")[2],
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
            "extra": self.survey.kept.of(row.others) or None,
        }

    def _frames(self, table: Table, row: Row) -> Iterator[dict[str, Any]]:
        """The fields of a row, or of each frame that it is about."""
        fields = self._fields(table, row)
        if not is_film(row.path):
            yield fields
            return
        film = film_at(self.root, table.images / row.path)
        for frame in film.frames(row):
            if frame >= film.facts.frames:
                beyond = "frame beyond the end of its film"
                self.findings.skip(beyond, f"{row.path}, frame {frame}")
                return
            yield fields | {
                "video_id": row.video or row.path.rpartition(".")[0],
                "frame_index": frame,
                "fps": film.facts.fps,
                "timestamp_s": film.times[frame],
                "pixel_aspect": film.facts.pixel_aspect,
            }

    def _placed(self, name: str, fields: dict[str, Any], where: str) -> Sample:
        if "fps" in fields:  # a frame of a film
            name = f"{name}_{fields['frame_index']:06d}"
        try:
            return Sample(key=f"t_{self._key(name)}", **fields)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def _key(self, name: str) -> str:
        """The name, numbered where another row has it."""
        again = self._keys[name] = self._keys.get(name, 0) + 1
        if again == 1:
            return name
        while (key := f"{name}_{again}") in self._keys:
            again += 1
        self._keys[key] = 1
        return key


def _optional(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _names(paths: pa.Array) -> list[str]:
    """What samples of these paths are called, without suffixes and odd characters."""
    stems = pc.replace_substring_regex(paths, r"\.[^./]*$", "")
    plain = pc.replace_substring_regex(pc.replace_substring(stems, "/", "_"), "[^A-Za-z0-9_-]", "-")
    names = plain.to_pylist()
    for k in np.flatnonzero(pc.greater(pc.binary_length(plain), _KEY).to_numpy(False)):
        digest = hashlib.sha256(paths[k].as_py().encode()).hexdigest()[:12]
        names[k] = f"{names[k][-_KEY + 13 :]}_{digest}"
    return names
