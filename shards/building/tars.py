"""Samples to tars, `.idx` and, last of all, `labels.arrow`: same input, same bytes.

Per sample a tar holds KEY.jpg or KEY.png, KEY.row (8 bytes, little-endian int64: the row of the
index) and, if wanted, KEY.json. Plain ustar and nothing else: webdataset, DALI and tar read it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shards.durable import aside, settle, sync, write_aside
from shards.finder import DEFAULT
from shards.image import Stored, Unreadable, as_is, turned_points
from shards.index import LabelIndex
from shards.labels.extra import Kinds, aligned, extended, extra_in, note, with_columns
from shards.labels.integrity import digest_of
from shards.labels.packing import Packing
from shards.labels.rows import planned_rows
from shards.labels.schema import (
    BLOCK,
    FORMAT,
    LABELS,
    SCHEMA,
    WIDER,
    checksum,
    encoded,
    row_offset,
    with_metadata,
    words_of,
)
from shards.sample import DATASETS, EXPRESSIONS, Sample

_RECORD = 20 * BLOCK  # tar pads its end to this
_BATCH = 16384  # rows of labels.arrow written at a time, 18 MB
_AT_ONCE = 1 << 20  # bytes of a tar that are hashed and written at a time
_ZEROS = bytes(BLOCK)


class TarFacts(NamedTuple):
    """What proves that a tar is the one that was written."""

    samples: int
    size: int
    sha256: str


class Shard(NamedTuple):
    """A written shard: its rows, its proof, and what had to be left out (reason, path)."""

    rows: pa.RecordBatch
    tar: TarFacts
    skipped: list[tuple[str, str]]


def ustar_header(name: str, size: int) -> bytes:
    """The 512 bytes before a file in a tar: mode 644, no owner, time 0.

    Equal to `tarfile` in its USTAR format. `name` is ASCII of at most 100 bytes; `size` is under
    8 GiB.
    """
    words, digits = name.encode("ascii"), b"%011o" % size
    checksum = _CHECKSUM + sum(words) + sum(digits)
    return b"%b%b%b%b%06o%b" % (words.ljust(100, b"\0"), _OWNER, digits, _TIME, checksum, _END)


_OWNER = b"0000644\0" + b"0000000\0" * 2  # mode, user, group
_TIME = b"\0" + b"0" * 11 + b"\0"
_END = b"\0 0" + b"\0" * 100 + b"ustar\00000" + b"\0" * 247
_CHECKSUM = sum(_OWNER + _TIME + _END[2:]) + 8 * ord(" ")  # its own field counts as blanks


class TarWriter:
    """One tar, its `.idx` and its hashes in a single pass, under `.part` until `finish`.

    A thread hashes and writes by the megabyte, which needs no interpreter, while the next images
    are read. Two buffers take turns for the whole tar: fresh memory costs more than what is done
    to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._file = open(self._part, "wb")  # noqa: SIM115  closed by finish or abandon
        self._hash = hashlib.sha256()
        self.digests: list[bytes] = []  # sha256 of the first field of each sample, once finished
        self.checksums: list[int] = []  # and its CRC-32
        self._lines: list[str] = []
        self._buffer, self._spare = BytesIO(), BytesIO()
        self._firsts: list[tuple[int, int]] = []  # where they begin and end in the buffer
        self.size = 0
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] = self._thread.submit(lambda: None)

    def add(self, key: str, members: dict[str, bytes]) -> int:
        """Write the fields of a sample next to each other; the offset of the first one's data."""
        words, position, buffer = [], self.size, self._buffer
        begin, first = buffer.tell() + BLOCK, position + BLOCK
        self._firsts.append((begin, begin + len(next(iter(members.values())))))
        for extension, content in members.items():
            name, size = f"{key}.{extension}", len(content)
            position += BLOCK
            words.append(f"{extension} {position} {size} {name}")
            buffer.write(ustar_header(name, size))
            buffer.write(content)
            buffer.write(_ZEROS[: -size % BLOCK])
            position += size + -size % BLOCK
        self.size = position
        self._lines.append(" ".join(words))
        if buffer.tell() >= _AT_ONCE:
            self._write()
        return first

    def finish(self) -> TarFacts:
        """End the tar, make it and its `.idx` appear under their names."""
        end = 2 * BLOCK
        end += -(self.size + end) % _RECORD
        self._buffer.write(bytes(end))
        self.size += end
        self._write()
        self._writing.result()
        self._thread.shutdown()
        sync(self._file)
        self._file.close()
        index = "".join(line + "\n" for line in [f"v1.2 {len(self._lines)}", *self._lines])
        write_aside(self.path.with_suffix(".idx"), index.encode())
        settle(self._part, self.path)
        return TarFacts(len(self._lines), self.size, self._hash.hexdigest())

    def abandon(self) -> None:
        """Remove the unfinished file."""
        self._thread.shutdown()
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _write(self) -> None:
        """Hand what waits to the thread, once it is done with what came before."""
        self._writing.result()
        self._writing = self._thread.submit(self._put, self._buffer, self._firsts)
        self._buffer, self._spare, self._firsts = self._spare, self._buffer, []

    def _put(self, buffer: BytesIO, firsts: list[tuple[int, int]]) -> None:
        with buffer.getbuffer() as whole, whole[: buffer.tell()] as content:
            self._hash.update(content)
            for begin, end in firsts:
                with content[begin:end] as first:
                    self.digests.append(hashlib.sha256(first).digest())
                    self.checksums.append(checksum(first))
            self._file.write(content)
        buffer.seek(0)


def write_tar(
    path: Path,
    planned: pa.RecordBatch,
    load: Callable[[int], Stored],
    *,
    first_row: int = 0,
    with_json: bool = False,
) -> Shard:
    """Write one shard: `load(i)` gives the image of planned row `i` or raises `Unreadable`.

    Rows that cannot be loaded are left out and reported, and the later ones move up: KEY.row counts
    the kept rows from `first_row`. Raises ValueError, naming the tar, where none is left.
    """
    keys, paths = planned["sample_key"].to_pylist(), planned["original_path"].to_pylist()
    kept: list[int] = []
    facts: list[tuple[Any, ...]] = []
    skipped: list[tuple[str, str]] = []
    tar = TarWriter(path)
    try:
        for i, key in enumerate(keys):
            try:
                stored = load(i)
            except Unreadable as error:
                skipped.append((error.reason, paths[i]))
                continue
            row = first_row + len(kept)
            members = {stored.extension: stored.content, "row": row.to_bytes(8, "little")}
            if with_json:
                members["json"] = labels_json(planned, i)
            offset = tar.add(key, members)
            facts.append((offset, len(stored.content), *stored[1:]))
            kept.append(i)
        proof = tar.finish()
    except BaseException:
        tar.abandon()
        raise
    rows = _complete(planned, kept, facts, tar)
    return Shard(rows, proof, skipped)


def labels_json(planned: pa.RecordBatch, i: int) -> bytes:
    """The labels of a row for people who read the tars without the index; nulls are left out."""
    labels = planned.slice(i, 1).to_pylist()[0]
    return json.dumps({k: v for k, v in labels.items() if v not in (None, [])}).encode()


def renumber(path: Path, rows: pa.RecordBatch, first_row: int) -> TarFacts:
    """Let KEY.row of a finished tar count from `first_row`; as often as one likes."""
    places = zip(rows["shard_offset"].to_pylist(), rows["image_size"].to_pylist(), strict=True)
    with open(path, "r+b") as tar:
        for row, (offset, size) in enumerate(places, first_row):
            tar.seek(row_offset(offset, size))
            tar.write(row.to_bytes(8, "little"))
        sync(tar)
        tar.seek(0)
        digest = hashlib.file_digest(tar, "sha256").hexdigest()
    return TarFacts(rows.num_rows, path.stat().st_size, digest)


def _complete(
    planned: pa.RecordBatch,
    kept: list[int],
    facts: list[tuple[Any, ...]],
    tar: TarWriter,
) -> pa.RecordBatch:
    """All columns of the index for the rows that were written."""
    rows = planned.take(pa.array(kept, pa.int64()))
    names = ("shard_offset", "image_size", *Stored._fields[1:-3])
    known = {
        name: pa.array([fact[k] for fact in facts], SCHEMA.field(name).type)
        for k, name in enumerate(names)
    }
    known["sha256"] = pa.array(tar.digests, SCHEMA.field("sha256").type)
    known["crc"] = pa.array(tar.checksums, SCHEMA.field("crc").type)
    known["shard"] = pa.DictionaryArray.from_arrays(
        pa.array([0] * len(kept), pa.int32()), pa.array([tar.path.name])
    )
    known["va_valid"] = rows["valence"].is_valid()
    remarks = zip(rows["quality"].to_pylist(), facts, strict=True)
    known["quality"] = pa.array(
        [[*before, *fact[-3]] for before, fact in remarks], pa.list_(pa.string())
    )
    if any(fact[-2] for fact in facts):
        known |= _as_found(rows, [Stored(b"", *fact[2:]) for fact in facts])
    schema = extended(extra_in(rows.schema))
    columns = [known[name] if name in known else rows[name] for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as_found(rows: pa.RecordBatch, stored: list[Stored]) -> dict[str, pa.Array]:
    """Boxes and their source, the detector's where it found one, and landmarks in the same picture.

    It is upright and of square pixels, as the detector and `crop_affine` take it.
    """
    boxes = zip(stored, rows["bbox_xyxy"].to_pylist(), strict=True)
    sources = zip(stored, rows["bbox_source"].to_pylist(), strict=True)
    aspects = zip(stored, rows["pixel_aspect"].to_pylist(), strict=True)
    columns = {
        "bbox_xyxy": [face.found_box or old for face, old in boxes],
        "bbox_source": [DEFAULT if face.found_box else old for face, old in sources],
        "pixel_aspect": [old if face.seen[1] == 1 else None for face, old in aspects],
    }
    for name in ("landmarks", "landmarks5", "landmarks37"):
        columns[name] = [
            old and turned_points(old, (face.src_height, face.src_width), *face.seen)
            for face, old in zip(stored, rows[name].to_pylist(), strict=True)
        ]
    return {name: pa.array(column, SCHEMA.field(name).type) for name, column in columns.items()}


class Fragment(NamedTuple):
    """One shard as the index records it."""

    name: str  # of the tar
    rows: pa.RecordBatch
    tar: TarFacts


def write_labels(
    out: Path, fragments: Callable[[], Iterable[Fragment]], metadata: dict[str, Any]
) -> None:
    """Write labels.arrow, the promise that every tar it names is there.

    `fragments()` is gone through twice, one shard at a time: once for counts, digest and words,
    which stand in the file's first bytes, and once for the rows.
    """
    packing = Packing()
    summary = _summary(fragments(), packing)
    tars, own = list(summary["tars"]), summary.pop("own")
    extra = next((extra_in(fragment.rows.schema) for fragment in fragments()), [])
    summary["format"] = WIDER if own or extra else FORMAT
    schema = packing.schema(with_metadata(extended(extra), {**summary, **metadata}))
    with aside(out / LABELS) as file, pa.ipc.new_file(file, schema) as sink:
        for rows in _merged(fragments(), tars, own):
            sink.write_batch(packing.packed(rows, schema))


def _merged(
    fragments: Iterable[Fragment], tars: list[str], own: list[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of several shards as one batch: an index of few batches opens faster."""
    names = pa.array(tars, pa.string())
    held: list[pa.RecordBatch] = []
    for number, fragment in enumerate(fragments):
        held.append(recoded(_renamed(fragment.rows, number, names), own))
        if sum(rows.num_rows for rows in held) >= _BATCH:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


def _summary(fragments: Iterable[Fragment], packing: Packing) -> dict[str, Any]:
    """Counts, the proof of each tar, and one digest of images and labels together."""
    splits: Counter[str] = Counter()
    classes: dict[str, Counter[str]] = {}
    tars, own, digest = {}, set[str](), hashlib.sha256()
    for name, rows, tar in fragments:
        own.update(rows["dataset"].dictionary.to_pylist())
        pairs = Counter(zip(rows["split"].to_pylist(), rows["expression"].to_pylist(), strict=True))
        for (split, expression), count in pairs.items():
            splits[split] += count
            word = "none" if expression is None else EXPRESSIONS[expression]
            classes.setdefault(split, Counter())[word] += count
        tars[name] = tar._asdict()
        digest.update(digest_of(name, tar.sha256, rows))
        packing.see(rows)
    return {
        "format": FORMAT,
        "own": words_of("dataset", own)[len(DATASETS) :],
        "rows": sum(splits.values()),
        "splits": dict(sorted(splits.items())),
        "expressions": {split: dict(sorted(n.items())) for split, n in sorted(classes.items())},
        "tars": tars,
        "digest": digest.hexdigest(),
    }


def _renamed(rows: pa.RecordBatch, number: int, names: pa.Array) -> pa.RecordBatch:
    """The rows with the names of all tars as the dictionary of `shard`: a file has only one."""
    codes = pa.array(np.full(rows.num_rows, number, np.int32))
    column = pa.DictionaryArray.from_arrays(codes, names)
    return rows.set_column(SCHEMA.get_field_index("shard"), SCHEMA.field("shard"), column)


def recoded(rows: pa.RecordBatch, own: Iterable[str]) -> pa.RecordBatch:
    """The rows with one dictionary of data sets, whichever of `own` they are of."""
    if rows["dataset"].dictionary.to_pylist() == words_of("dataset", own):
        return rows
    column = encoded("dataset", rows["dataset"].to_pylist(), own)
    place = rows.schema.get_field_index("dataset")
    return rows.set_column(place, SCHEMA.field("dataset"), column)


def write_shards(
    items: Iterable[tuple[Sample, bytes]],
    out: str | os.PathLike[str],
    *,
    samples_per_shard: int = 1000,
    with_json: bool = False,
) -> LabelIndex:
    """Write samples whose encoded images are at hand, in their order, and open the result.

    The short way for tests, notebooks and small sets; `build` does whole data sets in parallel.
    Images are stored as they are. Raises ValueError, naming the sample, for an image that does not
    decode or a key that comes twice.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LABELS).unlink(missing_ok=True)
    fragments: list[Fragment] = []
    seen: set[str] = set()
    first_row = 0
    for number, chunk in enumerate(_chunks(items, samples_per_shard)):
        samples = [sample for sample, _ in chunk]
        _refuse_repeated(samples, seen)
        path = folder / f"{number:05d}.tar"
        load = _loader(chunk)
        kinds: Kinds = {}
        for sample in samples:
            note(kinds, sample.extra or {})
        planned = with_columns(planned_rows(samples), [s.extra for s in samples], kinds)
        shard = write_tar(path, planned, load, first_row=first_row, with_json=with_json)
        fragments.append(Fragment(path.name, shard.rows, shard.tar))
        first_row += shard.tar.samples
    if not fragments:
        raise ValueError(f"there are no samples to write to {folder}; DALI refuses an empty index")
    rows = aligned([fragment.rows for fragment in fragments])
    fragments = [f._replace(rows=same) for f, same in zip(fragments, rows, strict=True)]
    write_labels(folder, lambda: fragments, {"skipped": {}})
    return LabelIndex.open(folder)


def _chunks(
    items: Iterable[tuple[Sample, bytes]], size: int
) -> Iterator[list[tuple[Sample, bytes]]]:
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk


def _refuse_repeated(samples: Sequence[Sample], seen: set[str]) -> None:
    for sample in samples:
        if sample.key in seen:
            raise ValueError(f"key {sample.key!r} comes twice; keys are unique, prefix them")
        seen.add(sample.key)


def _loader(chunk: Sequence[tuple[Sample, bytes]]) -> Callable[[int], Stored]:
    def load(i: int) -> Stored:
        sample, content = chunk[i]
        try:
            return as_is(content)
        except Unreadable as error:
            raise ValueError(f"{sample.key}: the image is {error.reason}; leave it out") from None

    return load
