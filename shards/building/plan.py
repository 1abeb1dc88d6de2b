"""The plan of a run: which samples go into which shard in which order, on disk, before any is read.

Samples stream from the reader into a spill file and from there, shuffled, into the plan: an Arrow
file with one batch a shard. Memory holds a few bytes a sample (its split, its place), not labels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain, groupby, islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.building.store import DEALT, PACKED
from shards.building.tars import recoded
from shards.findings import Findings
from shards.labels.extra import Kinds, fields_of, note, with_columns
from shards.labels.rows import PLANNED, SOURCE, own_columns, planned_rows
from shards.sample import FILM, SPLITS, Sample

_BATCH = 4096  # rows of the spill file
_GROUP = 32768  # rows dealt, then shuffled, in memory at a time, 36 MB
_GROUPS = 256  # and as many files open at most
_FEWEST, _MOST, _WANTED = 500, 4096, 64  # samples a shard, and shards where there are enough
_BYTES = 128 << 20  # of a shard, roughly

SPILLED = pa.schema(
    [
        *PLANNED,
        pa.field("extra", pa.string()),  # a JSON object of the columns of one's own
        pa.field("source_bytes", pa.int64(), nullable=False),
        pa.field("source_time", pa.int64(), nullable=False),  # ns; of no copy, so in no digest
        # where a frame of a video waits, already cropped (shards/building/videos.py):
        pa.field("staged_file", pa.string()),
        pa.field("staged_offset", pa.int64()),
        pa.field("staged_size", pa.int64()),
        pa.field("staged_facts", pa.string()),
    ]
)


class Plan(NamedTuple):
    """Where the plan lies and what it says."""

    path: Path
    shards: tuple[int, ...]  # samples in each
    digest: str  # of everything that decides the bytes of the shards
    listing: str  # hash of the sources' names and sizes
    sources: str = ""  # hash of their time stamps

    def rows(self, number: int) -> pa.RecordBatch:
        """The planned rows of a shard."""
        with pa.OSFile(str(self.path)) as file:
            return pa.ipc.open_file(file).get_batch(number)

    @property
    def names(self) -> list[str]:
        """Name of each shard."""
        return [f"{number:05d}.tar" for number in range(len(self.shards))]

    @property
    def first_rows(self) -> list[int]:
        """First row of each shard where no sample is rejected."""
        return np.cumsum([0, *self.shards])[:-1].tolist()


class Spill(NamedTuple):
    """The samples in the order of the reader, on disk, and what was learned as they went by."""

    path: Path
    splits: np.ndarray  # int8 (n,)
    keys: np.ndarray  # int64 (n,), hashes
    bytes: int
    videos: bool  # whether any is a frame of a video
    listing: str
    own: frozenset[str]  # names of data sets
    staged: tuple[str, ...]  # where frames of videos wait
    empty: frozenset[str] = frozenset()  # columns of nulls alone
    kinds: Mapping[str, pa.DataType | None] = MappingProxyType({})  # of the extra columns

    @property
    def schema(self) -> pa.Schema:
        """`SPILLED`, and the columns of one's own that came as columns."""
        with pa.OSFile(str(self.path)) as file:
            return pa.ipc.open_stream(file).schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a few thousand at a time."""
        with pa.OSFile(str(self.path)) as file:
            yield from pa.ipc.open_stream(file)

    def filled(self) -> Iterator[pa.RecordBatch]:
        """The same without the columns that say nothing of any row."""
        names = self.schema.names
        options = pa.ipc.IpcReadOptions(
            included_fields=[k for k, name in enumerate(names) if name not in self.empty]
        )
        with pa.OSFile(str(self.path)) as file:
            yield from pa.ipc.open_stream(file, options=options)


def write_spill(batches: Iterable[pa.RecordBatch], path: Path) -> Spill:
    """Write rows to `path` as they come."""
    splits, keys, total = [np.zeros(0, np.int8)], [np.zeros(0, np.int64)], 0
    videos, listing = False, hashlib.sha256()
    own, staged = set[str](), dict[str, None]()
    batches = iter(batches)
    first = list(islice(batches, 1))
    schema = first[0].schema if first else SPILLED
    empty = set(schema.names)
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_stream(file, schema, options=PACKED) as sink,
    ):
        for rows in chain(first, batches):
            sink.write_batch(rows)
            empty = {name for name in empty if rows[name].null_count == rows.num_rows}
            own.update(rows["dataset"].dictionary.to_pylist())
            splits.append(rows["split"].indices.to_numpy().copy())
            names = rows["sample_key"].to_pylist()
            keys.append(np.fromiter(map(hash, names), np.int64, len(names)))
            paths, sizes = rows["original_path"], rows["source_bytes"]
            total += pc.sum(sizes).as_py()
            videos |= pc.any(pc.match_substring_regex(paths, FILM, ignore_case=True)).as_py()
            words = pc.binary_join_element_wise(paths, "\t", sizes.cast(pa.string()), "\n", "")
            listing.update("".join(words.to_pylist()).encode())
            staged |= dict.fromkeys(rows["staged_file"].drop_null().unique().to_pylist())
    known = np.concatenate(splits), np.concatenate(keys)
    facts = total, videos, listing.hexdigest(), frozenset(own), tuple(staged), frozenset(empty)
    return Spill(path, *known, *facts)


def spill(
    samples: Iterable[Sample | pa.RecordBatch],
    root: Path,
    path: Path,
    findings: Findings,
    course: Callable[[str, int, int], None] = lambda *_: None,
) -> Spill:
    """Write the stream of a reader to `path`, without files that are missing or empty."""
    kinds: Kinds = {}
    batches = _existing(samples, _Sizes(root, findings), kinds)
    found = write_spill(_counted(batches, course), path)
    return found._replace(kinds=kinds)


def _counted(
    batches: Iterable[pa.RecordBatch], course: Callable[[str, int, int], None]
) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        course("reading labels", rows, 0)


def arrange(
    spill: Spill,
    path: Path,
    *,
    seed: int,
    samples_per_shard: int | None,
    stored_bytes: int | None,
    choices: dict[str, Any],
) -> Plan:
    """Shuffle what was spilled and cut it into shards, in the file `path`.

    Each shard holds one split, so that people without the index can read a split by its tars; a
    split is shuffled as a whole by `seed` and dealt in equal parts. `stored_bytes` is the size of a
    stored image where it is known beforehand, `choices` are the options that decide bytes.

    Raises ValueError where a key comes twice.
    """
    n = len(spill.splits)
    if not n:
        return Plan(path, (), "", spill.listing)
    _refuse_repeated(spill)
    each = stored_bytes or max(spill.bytes // n, 1)
    order = list(_deal(spill.splits, samples_per_shard or _samples_per_shard(n, each), seed))
    digest = hashlib.sha256(json.dumps(choices, sort_keys=True).encode())
    sources = hashlib.sha256()
    for rows in _write(spill, order, path):
        digest.update(rows.drop_columns(["source_time"]).serialize())
        sources.update(sources_of(rows).encode())
    sizes = tuple(len(part) for part in order)
    return Plan(path, sizes, digest.hexdigest(), spill.listing, sources.hexdigest())


def sources_of(rows: pa.RecordBatch) -> str:
    """One hash of when each source of these rows was last written: an image may be replaced by
    another of its size."""
    return hashlib.sha256(rows["source_time"].to_numpy()).hexdigest()[:16]


def _existing(
    given: Iterable[Sample | pa.RecordBatch], sizes: _Sizes, kinds: Kinds
) -> Iterator[pa.RecordBatch]:
    for in_rows, group in groupby(given, lambda item: isinstance(item, pa.RecordBatch)):
        items: Iterator[Any] = group
        for rows in items if in_rows else ():
            kinds |= {name: rows[name].type for name in own_columns(rows)}
            yield from _not_empty(rows, sizes.findings)
        while not in_rows and (chunk := list(islice(items, _BATCH))):
            found = [(sample, *file) for sample in chunk if (file := sizes.of(sample))]
            if found:
                samples_found, *facts = zip(*found, strict=True)
                extra = pa.array([_noted(sample, kinds) for sample in samples_found], pa.string())
                columns = (pa.array(fact, pa.int64()) for fact in facts)
                yield _spilled([*planned_rows(samples_found).columns, extra, *columns])


def _not_empty(rows: pa.RecordBatch, findings: Findings) -> Iterator[pa.RecordBatch]:
    """Rows of a reader of batches, which knows sizes and times already."""
    sizes = rows["source_bytes"].to_numpy()
    filled = sizes > 0
    for k in np.flatnonzero(~filled):
        reason = "empty file" if sizes[k] == 0 else "missing file"
        findings.skip(reason, rows["original_path"][k].as_py())
    rows = rows if filled.all() else rows.filter(pa.array(filled))
    if rows.num_rows:
        planned = [rows[field.name].cast(field.type) for field in PLANNED]
        extra = pa.nulls(rows.num_rows, pa.string())
        own = rows.select(own_columns(rows))
        yield _spilled([*planned, extra, *(rows[name] for name in SOURCE)], own)


def _spilled(arrays: list[pa.Array], own: pa.RecordBatch | None = None) -> pa.RecordBatch:
    empty = [pa.nulls(len(arrays[0]), column.type) for column in list(SPILLED)[-4:]]
    schema, columns = (own.schema, own.columns) if own is not None else ([], [])
    return pa.RecordBatch.from_arrays(
        [*arrays, *empty, *columns], schema=pa.schema([*SPILLED, *schema])
    )


def _noted(sample: Sample, kinds: Kinds) -> str | None:
    """The extra columns of a sample as JSON, their kinds noted."""
    if not sample.extra:
        return None
    try:
        note(kinds, sample.extra)
    except ValueError as error:
        raise ValueError(f"{sample.key}: {error}") from None
    return json.dumps(dict(sample.extra))


class _Sizes:
    """Size and time of each source file, asked once for all frames of a video."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self.root, self.findings = root, findings
        self._last: tuple[str, int, int] = ("", 0, 0)

    def of(self, sample: Sample) -> tuple[int, int] | None:
        """Bytes and nanoseconds, or None for a file that has to be left out."""
        path, size, time = self._last
        if path != sample.original_path:
            size, time = self._ask(sample.original_path)
            self._last = (sample.original_path, size, time)
        if size > 0:
            return size, time
        self.findings.skip("empty file" if size == 0 else "missing file", sample.original_path)
        return None

    def _ask(self, path: str) -> tuple[int, int]:
        try:
            found = os.stat(f"{self.root}/{path}")  # noqa: PTH116  once for every sample
            return found.st_size, found.st_mtime_ns
        except FileNotFoundError:
            return -1, 0


def _refuse_repeated(spill: Spill) -> None:
    """Two samples under one key overwrite each other for every reader of the tar."""
    hashes, counts = np.unique(spill.keys, return_counts=True)
    suspects = set(hashes[counts > 1].tolist())
    seen: dict[str, str] = {}
    for rows in spill.batches() if suspects else ():
        pairs = rows.select(["sample_key", "original_path"]).to_pylist()
        for key, path in (pair.values() for pair in pairs):
            if hash(key) in suspects and key in seen:
                raise ValueError(
                    f"key {key!r} comes twice, for {seen[key]} and {path}; keep one of the two"
                )
            if hash(key) in suspects:
                seen[key] = path


def _samples_per_shard(n: int, each: int) -> int:
    """About 64 shards of at least 500 samples and at most 4,096 or 128 MiB."""
    return max(1, min(_MOST, max(_FEWEST, n // _WANTED), _BYTES // each))


def _deal(splits: np.ndarray, most: int, seed: int) -> Iterator[np.ndarray]:
    """Positions in the spill for each shard."""
    for code in range(len(SPLITS)):
        members = np.flatnonzero(splits == code)
        if len(members):
            shuffled = np.random.default_rng([seed, code]).permutation(members)
            yield from np.array_split(shuffled, -(-len(members) // most))


def _write(spill: Spill, order: list[np.ndarray], path: Path) -> Iterator[pa.RecordBatch]:
    """Write the plan, one batch a shard: first deal the rows into groups of shards, on disk, then
    shuffle one group after the other in memory."""
    place = np.empty(len(spill.splits), np.int64)
    place[np.concatenate(order)] = np.arange(len(place))
    groups = list(_groups([len(shard) for shard in order]))
    part = path.with_suffix(".part")
    schema = pa.schema([*SPILLED.remove(len(PLANNED)), *fields_of(spill.kinds)])
    with (
        TemporaryDirectory(prefix=DEALT, dir=path.parent) as folder,
        pa.OSFile(str(part), "wb") as file,
        pa.ipc.new_file(file, schema, options=PACKED) as sink,
    ):
        buckets = _deal_to_disk(spill, place, [sum(group) for group in groups], Path(folder))
        for group, bucket in zip(groups, buckets, strict=True):
            with pa.OSFile(str(bucket)) as source:
                rows = pa.ipc.open_stream(source).read_all().combine_chunks()
            ranks = np.argsort(rows["place"].to_numpy())
            for shard in np.split(ranks, np.cumsum(group)[:-1]):
                batch = rows.drop_columns("place").take(pa.array(shard)).to_batches()[0]
                batch = _with_own(_with_empty(batch, spill.schema), spill)
                sink.write_batch(batch)
                yield batch
    part.replace(path)


def _with_empty(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows with the columns that were left out since they say nothing."""
    again = pa.array(np.zeros(rows.num_rows, np.int64))  # nulls that were taken serialize alike
    have = set(rows.schema.names)
    columns = (
        rows[field.name] if field.name in have else pa.nulls(1, field.type).take(again)
        for field in schema
    )
    return pa.RecordBatch.from_arrays(list(columns), schema=schema)


def _with_own(rows: pa.RecordBatch, spill: Spill) -> pa.RecordBatch:
    """Planned rows with the columns and names of one's own in place of their JSON."""
    extras = rows["extra"].to_pylist() if spill.kinds else []
    rows = rows.drop_columns(["extra"])
    if len(rows.schema) >= len(SPILLED):  # they are columns already
        return recoded(rows, spill.own)
    found = [json.loads(extra) if extra else None for extra in extras]
    return with_columns(recoded(rows, spill.own), found, spill.kinds)


def _groups(sizes: list[int]) -> Iterator[list[int]]:
    """Sizes of the shards that are shuffled together."""
    most = max(_GROUP, sum(sizes) // _GROUPS)
    group: list[int] = []
    for size in sizes:
        if group and sum(group) + size > most:
            yield group
            group = []
        group.append(size)
    yield group


def _at_least(count: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches, whose every part costs a millisecond to deal."""
    held: list[pa.RecordBatch] = []
    for rows in batches:
        held.append(rows)
        if sum(each.num_rows for each in held) >= count:
            whole = pa.concat_batches(held)
            held.clear()
            yield whole
    if held:
        yield pa.concat_batches(held)


def _deal_to_disk(spill: Spill, place: np.ndarray, sizes: list[int], folder: Path) -> list[Path]:
    """Each group's rows with their places, in one pass over the spill."""
    filled = [field for field in spill.schema if field.name not in spill.empty]
    schema = pa.schema([*filled, pa.field("place", pa.int64())])
    paths = [folder / str(number) for number in range(len(sizes))]
    stops = np.cumsum(sizes)
    first = 0
    with ExitStack() as open_files:
        sinks = []
        for path in paths:
            file = open_files.enter_context(pa.OSFile(str(path), "wb"))
            sinks.append(open_files.enter_context(pa.ipc.new_stream(file, schema, options=PACKED)))
        for rows in _at_least(_GROUP, spill.filled()):
            places = place[first : first + rows.num_rows]
            first += rows.num_rows
            groups = np.searchsorted(stops, places, side="right").astype(np.int16)
            order = np.argsort(groups, kind="stable")
            batch = pa.RecordBatch.from_arrays([*rows.columns, pa.array(places)], schema=schema)
            batch = batch.take(pa.array(order))
            starts = np.searchsorted(groups[order], np.arange(len(sinks) + 1)).tolist()
            for sink, (start, stop) in zip(sinks, pairwise(starts), strict=True):
                if start < stop:
                    sink.write_batch(batch.slice(start, stop - start))
    return paths
