"""`build`: a data set as its owner ships it, to tars and one label index, in parallel by shard.

    preflight -> plan (which sample in which shard) -> one task a shard -> labels.arrow

A task ends with a completion marker that holds its rows and the hash of its tar. A killed run
starts again from those markers and ends with the same bytes. Rows are numbered from the plan; only
where an image proved unreadable are the numbers of the later shards written again at the end,
since no task can know what the others will reject.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shards.building import plan as planning
from shards.building.engine import Engine
from shards.building.plan import Plan, Spill
from shards.building.store import WORK, Store
from shards.building.tars import (
    PLANNED,
    Fragment,
    TarFacts,
    renumber,
    write_labels,
    write_tar,
)
from shards.building.videos import load_staged, stage_videos
from shards.crop import Crop, store_found, store_image
from shards.datasets import afew_va, aff_wild, aff_wild2, affectnet, raf_db
from shards.datasets.card import read_card
from shards.datasets.preflight import require_folder
from shards.durable import write_aside
from shards.findings import Findings
from shards.image import Stored, Unreadable, decode, sniff
from shards.index import LabelIndex
from shards.labels.schema import FORMAT, LABELS, SCHEMA, metadata_of, with_metadata
from shards.sample import Sample

READERS: dict[str, Callable[..., Iterator[Sample]]] = {
    "affectnet": affectnet.read,
    "aff-wild": aff_wild.read,
    "aff-wild2": aff_wild2.read,
    "afew-va": afew_va.read,
    "raf-db": raf_db.read,
}
REPORT = "report.json"
_JPEG_BYTES = 0.35  # of a stored crop, per pixel
_EXAMPLES = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How shards are made. What does not decide bytes comes after the blank line."""

    crop: Crop = field(default_factory=Crop)
    with_json: bool = False  # add KEY.json with the labels for plain WebDataset users
    check: bool = True  # decode every image once to prove it
    seed: int = 0  # of the shuffle
    samples_per_shard: int | None = None  # default: about 64 shards of 500 to 4,096
    reader: Mapping[str, Any] = field(default_factory=dict)  # options of the data set's reader

    engine: Engine = field(default_factory=Engine)
    part: tuple[int, int] | None = None  # (i, n): write only the shards i, i + n, i + 2n, ...
    overwrite: bool = False  # replace finished shards of other inputs or options

    def __post_init__(self) -> None:
        if self.part is not None and not 0 <= self.part[0] < self.part[1]:
            raise ValueError(f"part {self.part[0]}/{self.part[1]}: parts of n are 0/n to n-1/n")
        if self.samples_per_shard is not None and self.samples_per_shard < 1:
            raise ValueError(f"{self.samples_per_shard} samples a shard: there is at least one")

    def choices(self, name: str) -> dict[str, Any]:
        """What decides the bytes, as plain values."""
        return {
            "format": FORMAT,
            "data_set": name,
            "crop": self.crop.mode or "default",
            "margin": self.crop.margin,
            "size": self.crop.size,
            **({"detect": True} if self.crop.detect else {}),
            "with_json": self.with_json,
            "check": self.check,
            "seed": self.seed,
            "samples_per_shard": self.samples_per_shard,
        }


@dataclass(slots=True)
class Report:
    """What became of a data set; `report.json` holds the same."""

    name: str
    out: str
    findings: Findings
    complete: bool = False  # False for one part of several
    reused: int = 0  # shards that an earlier run had finished
    shards: int = 0
    rows: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    digest: str | None = None
    plan: str | None = None
    seconds: float = 0.0
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = ("name", "out", "complete", "reused", "shards", "rows", "splits", "digest", "plan")
        own = {name: getattr(self, name) for name in (*names, "seconds", "error")}
        return {**own, **self.findings.as_dict()}


def build(
    name: str,
    raw: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> Report:
    """Convert the data set `name` (a key of `READERS`) in `raw` to shards in `out`.

    `out` is a folder or an fsspec address. `report.json` is written there in any case.

    Raises ValueError with the sentences of the failed checks, for finished shards of other inputs,
    and where nothing could be stored; FileNotFoundError where `raw` is no folder; OSError where
    another run holds `out` or the disk is full.
    """
    if name not in READERS:
        raise ValueError(f"there is no data set {name!r}; choose one of {', '.join(READERS)}")
    require_folder(Path(raw), name)  # before anything is made in `out`
    store, options = Store.at(out), options or BuildOptions()
    report = Report(name, str(store), Findings())
    started = time.monotonic()
    with _disk_errors_in_words(store), store.locked(options.part):
        try:
            _Run(store, Path(raw), options, report, progress).go(READERS[name])
        except BaseException as error:
            report.error = str(error) or type(error).__name__
            raise
        finally:
            report.seconds = round(time.monotonic() - started, 3)
            _write_report(store, report, options.part)
            if options.part is None and (report.complete or not store.has_progress()):
                store.clean()
    return report


@contextmanager
def _disk_errors_in_words(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            f"{store} cannot be written to: {os.strerror(error.errno)}; make room and run the same "
            "command again: finished shards are kept"
        ) from None


class _Job(NamedTuple):
    """All a worker needs for one shard; it travels to other machines."""

    name: str  # of the tar
    first_row: int  # if no earlier shard rejects a sample
    rows: pa.RecordBatch
    plan: str
    root: Path
    store: Store
    crop: Crop
    with_json: bool
    check: bool


class _Marker(NamedTuple):
    """What a finished shard says of itself: its rows, its proof, what it left out."""

    rows: pa.RecordBatch
    first_row: int
    tar: TarFacts
    plan: str
    skipped: dict[str, int]
    examples: dict[str, list[str]]


class _Run:
    """One call of `build`, holding its output."""

    def __init__(
        self,
        store: Store,
        raw: Path,
        options: BuildOptions,
        report: Report,
        progress: Progress | None,
    ) -> None:
        # absolute, since workers that are used again stand where the process once stood
        self.store = replace(store, local=store.local.absolute())
        self.raw, self.options = raw.absolute(), options
        self.report, self.progress = report, progress
        self.plan: Plan

    def go(self, reader: Callable[..., Iterator[Sample]]) -> None:
        """Plan, write what is missing, and finish unless this is one part of several."""
        self.plan = self._make_plan(reader)
        self.report.plan = self.plan.digest
        self.report.shards = len(self.plan.shards)
        if self._is_finished():
            return
        done = self._finished_shards()
        self.report.reused = len(done)
        self._write_shards(done)
        if self.options.part is None:
            self._finish()
        else:
            self.plan.path.unlink()

    def _make_plan(self, reader: Callable[..., Iterator[Sample]]) -> Plan:
        findings, options = self.report.findings, self.options
        path = self.store.work / (_name_of_part("plan", options.part) + ".arrow")
        samples = reader(self.raw, findings, **options.reader)
        spilled = planning.spill(samples, self.raw, path.with_suffix(".spill"), findings)
        if findings.failed:
            raise ValueError("\n".join(findings.failed))
        staged = self._stage(spilled)
        plan = planning.arrange(
            staged,
            path,
            seed=options.seed,
            samples_per_shard=options.samples_per_shard,
            stored_bytes=self._stored_bytes(),
            choices=options.choices(self.report.name),
        )
        for spill in (spilled, staged):
            spill.path.unlink(missing_ok=True)
        if not plan.shards:
            raise ValueError(f"{self.raw} gave no sample: {_in_words(findings.skipped)}")
        return plan

    def _stage(self, spilled: Spill) -> Spill:
        """Decode the videos, if there are any."""
        first, parts = self.options.part or (0, 1)
        return stage_videos(
            spilled,
            self.raw,
            self.options.crop,
            self.store,
            self.options.engine,
            self.report.findings,
            progress=self.progress,
            turn=first / parts,
        )

    def _stored_bytes(self) -> int | None:
        crop = self.options.crop
        return None if crop.mode == "none" else int(_JPEG_BYTES * crop.size**2)

    def _is_finished(self) -> bool:
        """Whether the output is complete; refuses to mix with other finished shards."""
        sizes = self.store.sizes()
        if LABELS not in sizes:
            return False
        index = LabelIndex.open(self.store.fetch(LABELS).parent)
        found = index.metadata
        tars = {name: tar["size"] for name, tar in found["tars"].items()}
        if found.get("plan") == self.plan.digest and tars.items() <= sizes.items():
            self.report.reused = self.report.shards = len(tars)
            self._fill_report(index)
            return True
        if found.get("plan") != self.plan.digest and not self.options.overwrite:
            raise ValueError(
                f"{self.store} holds finished shards of other inputs or options (seed, crop, size, "
                "...); choose another --out, or pass --overwrite to replace them"
            )
        self.store.remove([LABELS])
        return False

    def _finished_shards(self) -> set[int]:
        """Shards that an earlier run finished; whatever is not of this plan is removed."""
        sizes = self.store.sizes()
        done, keep = set(), set()
        for number, name in enumerate(self.plan.names):
            if (files := self._files_if_done(name, sizes)) is not None:
                done.add(number)
                keep |= files
        if self.options.part is None:  # else other parts may be writing them right now
            self.store.remove([name for name in sizes if _is_ours(name) and name not in keep])
        return done

    def _files_if_done(self, name: str, sizes: dict[str, int]) -> set[str] | None:
        """Names of the shard's files if all of them are there and of this plan."""
        marker_name = _marker_name(name)
        if marker_name not in sizes:
            return None
        marker = read_marker(self.store.fetch(marker_name))
        files = {marker_name}
        if marker.tar.samples:
            files |= {name, _index_name(name)}
        whole = files <= sizes.keys() and sizes.get(name, 0) == marker.tar.size
        return files if whole and marker.plan == self.plan.digest else None

    def _jobs(self, done: set[int]) -> Iterator[_Job]:
        first, step = self.options.part or (0, 1)
        for number in range(first, len(self.plan.shards), step):
            if number not in done:
                yield _Job(
                    self.plan.names[number],
                    self.plan.first_rows[number],
                    self.plan.rows(number),
                    self.plan.digest,
                    self.raw,
                    self.store,
                    self.options.crop,
                    self.options.with_json,
                    self.options.check,
                )

    def _write_shards(self, done: set[int]) -> None:
        first, step = self.options.part or (0, 1)
        mine = range(first, len(self.plan.shards), step)
        total = sum(self.plan.shards[number] for number in mine)
        count = sum(self.plan.shards[number] for number in mine if number in done)
        if self.progress:
            self.progress(count, total)
        for samples in self.options.engine.run(write_shard, self._jobs(done)):
            count += samples
            if self.progress:
                self.progress(count, total)

    def _finish(self) -> None:
        """Number the rows, write labels.arrow, fill the report."""
        row = 0
        for name in self.plan.names:
            marker = self._marker(name)
            self._count_skipped(marker)
            if marker.tar.samples and marker.first_row != row:
                self._renumber(name, marker, row)
            row += marker.tar.samples
        if not row:
            raise ValueError(
                f"no image of {self.raw} could be stored: "
                f"{_in_words(self.report.findings.skipped)}; see {REPORT}"
            )
        check_leaks(self._fragments(), self.report.findings)
        write_labels(self.store.local, self._fragments, self._metadata())
        index = LabelIndex.open(self.store.local)
        self._fill_report(index)
        self.store.publish(LABELS)

    def _marker(self, name: str) -> _Marker:
        return read_marker(self.store.fetch(_marker_name(name)))

    def _renumber(self, name: str, marker: _Marker, row: int) -> None:
        path = self.store.fetch(name)
        facts = renumber(path, marker.rows, row)
        self.store.publish(name)
        write_marker(self.store, name, marker._replace(first_row=row, tar=facts))

    def _fragments(self) -> Iterator[Fragment]:
        for name in self.plan.names:
            marker = self._marker(name)
            if marker.tar.samples:
                yield Fragment(name, marker.rows, marker.tar)

    def _count_skipped(self, marker: _Marker) -> None:
        findings = self.report.findings
        findings.skipped.update(marker.skipped)
        for reason, names in marker.examples.items():
            known = findings.examples.setdefault(reason, [])
            known += names[: _EXAMPLES - len(known)]

    def _metadata(self) -> dict[str, Any]:
        return {
            "name": self.report.name,
            "options": self.options.choices(self.report.name),
            "stand_in": read_card(self.raw) is not None,  # drawn faces, not the data set itself
            "plan": self.plan.digest,
            "listing": self.plan.listing,
            "skipped": dict(sorted(self.report.findings.skipped.items())),
            "versions": {
                package: importlib.metadata.version(package)
                for package in ("pyarrow", "pillow", "simplejpeg", "numpy")
            },
        }

    def _fill_report(self, index: LabelIndex) -> None:
        report = self.report
        report.rows, report.splits = len(index), index.splits
        report.digest, report.complete = index.digest, True
        report.shards = len(index.tars)
        report.findings.skipped |= Counter(index.metadata["skipped"])


def write_shard(job: _Job) -> int:
    """One task: read, check, crop and store the samples of a shard. Returns how many it handled."""
    store = job.store
    (store.work).mkdir(parents=True, exist_ok=True)
    shard = write_tar(
        store.local / job.name,
        job.rows.select(PLANNED.names),
        _Loader(job),
        first_row=job.first_row,
        with_json=job.with_json,
    )
    if shard.tar.samples:
        store.publish(job.name, _index_name(job.name))
    counts = Counter(reason for reason, _ in shard.skipped)
    examples: dict[str, list[str]] = {}
    for reason, path in shard.skipped:
        examples.setdefault(reason, []).append(path)
    examples = {reason: paths[:_EXAMPLES] for reason, paths in examples.items()}
    marker = _Marker(shard.rows, job.first_row, shard.tar, job.plan, dict(counts), examples)
    write_marker(store, job.name, marker)
    return job.rows.num_rows


class _Loader:
    """The images of a shard, read and cropped one at a time."""

    def __init__(self, job: _Job) -> None:
        self.job, self.root = job, str(job.root)  # joining paths costs as much as hashing them
        columns = ["original_path", "dataset", "variant", "pixel_aspect", "bbox_xyxy"]
        columns += ["staged_file", "staged_offset", "staged_size", "staged_facts"]
        if job.crop.mode not in ("box", "none"):
            columns += ["landmarks", "landmarks5"]
        self.places = job.rows.select(columns).to_pylist()

    def __call__(self, i: int) -> Stored:
        place, crop = self.places[i], self.job.crop
        if place["staged_file"] is not None:
            return load_staged(self.job.store, place)
        find = crop.must_find(place)
        affine = None if find else crop.affine_of(place)
        try:
            with open(f"{self.root}/{place['original_path']}", "rb", buffering=0) as file:
                content = file.readall()
        except FileNotFoundError:
            raise Unreadable("missing file") from None
        if find:
            kind = sniff(content)
            picture, quality = decode(content, kind, upright=True)  # no published place to keep
            return store_found(picture, place, crop, kind, quality)
        return store_image(content, affine, crop.size, check=self.job.check)


def write_marker(store: Store, name: str, marker: _Marker) -> None:
    """Say that a shard is finished: the last thing a task does."""
    facts = {**marker._asdict(), "tar": marker.tar._asdict()}
    del facts["rows"]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, with_metadata(SCHEMA, facts)) as file:
        file.write_batch(marker.rows)
    path = store.local / _marker_name(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, sink.getvalue().to_pybytes())
    store.publish(_marker_name(name))


def read_marker(path: Path) -> _Marker:
    """What `write_marker` wrote."""
    with pa.OSFile(str(path)) as source:
        file = pa.ipc.open_file(source)
        facts = metadata_of(file.schema)
        facts["tar"] = TarFacts(**facts["tar"])
        return _Marker(rows=file.get_batch(0), **facts)


def check_leaks(fragments: Iterator[Fragment], findings: Findings) -> None:
    """Warn where the very same stored image stands in more than one split."""
    hashes, splits = [np.zeros(0, np.uint64)], [np.zeros(0, np.int8)]
    for fragment in fragments:
        digests = b"".join(fragment.rows["sha256"].to_pylist())
        hashes.append(np.frombuffer(digests, np.uint64)[::4].copy())
        splits.append(fragment.rows["split"].indices.to_numpy().copy())  # a view holds all
    both = np.rec.fromarrays([np.concatenate(hashes), np.concatenate(splits)])
    leaks = len(np.unique(both)) - len(np.unique(both["f0"]))
    findings.check(
        "images in several splits",
        leaks == 0,
        f"{leaks:,} images stand in more than one split, pixel by pixel",
        level="warn",
    )


def _write_report(store: Store, report: Report, part: tuple[int, int] | None) -> None:
    name = _name_of_part("report", part) + ".json"
    try:
        store.local.mkdir(parents=True, exist_ok=True)
        write_aside(store.local / name, json.dumps(report.as_dict(), indent=2).encode() + b"\n")
        store.publish(name)
    except OSError:
        if report.error is None:
            raise


def _name_of_part(name: str, part: tuple[int, int] | None) -> str:
    return name if part is None else f"{name}-{part[0]}-of-{part[1]}"


def _marker_name(tar: str) -> str:
    return f"{WORK}/{tar.removesuffix('.tar')}.arrow"


def _index_name(tar: str) -> str:
    return f"{tar.removesuffix('.tar')}.idx"


def _is_ours(name: str) -> bool:
    """Whether a file of the output is one that a run makes and may remove."""
    stem, _, ending = name.removeprefix(f"{WORK}/").partition(".")
    return stem.isdecimal() and ending.removesuffix(".part") in ("tar", "idx", "arrow")


def _in_words(skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} x {reason}" for reason, count in skipped.items()) or "none found"
