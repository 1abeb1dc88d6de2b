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
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from shards.building import plan as planning
from shards.building.markers import (
    Marker,
    Proof,
    index_name,
    marker_name,
    prove_tar,
    read_marker,
    write_marker,
    written_at,
)
from shards.building.options import BuildOptions
from shards.building.plan import Plan
from shards.building.planner import Planner
from shards.building.repair import mend_indexes
from shards.building.report import REPORT, Report, check_leaks, read_report, write_report
from shards.building.store import Store, is_ours
from shards.building.tars import Fragment, renumber, write_labels, write_tar
from shards.building.videos import load_staged
from shards.crop import Crop, store_found, store_image
from shards.datasets import afew_va, aff_wild, aff_wild2, affectnet, foreign, raf_db, table
from shards.datasets.card import read_card
from shards.datasets.preflight import require_folder
from shards.findings import Findings
from shards.image import Stored, Unreadable, decode, keep_freed, orientation_of, sniff
from shards.index import LabelIndex
from shards.labels.rows import PLANNED
from shards.labels.schema import LABELS
from shards.sample import Sample

READERS: dict[str, Callable[..., Iterator[Sample]]] = {
    "affectnet": affectnet.read,
    "aff-wild": aff_wild.read,
    "aff-wild2": aff_wild2.read,
    "afew-va": afew_va.read,
    "raf-db": raf_db.read,
    "table": table.read,
}
_EXAMPLES = 20

Progress = Callable[[int, int], None]
Course = Callable[[str, int, int], None]


def build(
    name: str,
    raw: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: BuildOptions | None = None,
    progress: Progress | None = None,
    heard: Callable[[dict[str, Any]], None] | None = None,
    course: Course | None = None,
) -> Report:
    """Convert the data set `name` (a key of `READERS`) in `raw` to shards in `out`.

    `out` is a folder or an fsspec address. `report.json` is written there in any case. `heard` is
    told each check as it is made, those of `raw` before anything is written; `course` the name of
    each phase ("checking files", "reading labels", "staging films", "writing", "sealing"), images
    (of the first: files) done and in all (0: not known yet), and `progress` the two numbers of the
    phases in which images are made.

    Raises ValueError with the sentences of the failed checks, for finished shards of other inputs,
    and where nothing could be stored; FileNotFoundError where `raw` is no folder; OSError where
    another run holds `out` or the disk is full.
    """
    if name not in READERS:
        raise ValueError(f"there is no data set {name!r}; choose one of {', '.join(READERS)}")
    require_folder(Path(raw), name)  # before anything is made in `out`
    store, options = Store.at(out), options or BuildOptions()
    report = Report(name, str(store), Findings(heard=heard))
    started = time.monotonic()

    def told(phase: str, done: int, total: int) -> None:
        if course:
            course(phase, done, total)
        if progress and phase in ("staging films", "writing"):
            progress(done, total)

    with _disk_errors_in_words(store), store.locked(options.part):
        before = read_report(store)
        try:
            _Build(store, Path(raw), options, report, told).go(READERS[name])
        except BaseException as error:
            report.error = str(error) or type(error).__name__
            report.plan = before.get("plan") or report.plan  # of the shards that are there
            report.sources = before.get("sources") or report.sources
            report.inputs = None  # nothing here is known to be of these
            raise
        finally:
            report.seconds = round(time.monotonic() - started, 3)
            write_report(store, report, options.part)
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


class _Build:
    """One call of `build`, holding its output."""

    def __init__(
        self,
        store: Store,
        raw: Path,
        options: BuildOptions,
        report: Report,
        course: Course,
    ) -> None:
        # absolute, since workers that are used again stand where the process once stood
        self.store = replace(store, local=store.local.absolute())
        self.raw, self.options = raw.absolute(), options
        self.report, self.course = report, course
        self.plan: Plan

    def go(self, reader: Callable[..., Iterator[Sample]]) -> None:
        """Plan, write what is missing, and finish unless this is one part of several."""
        planner = Planner(
            self.report.name,
            self.raw,
            self.store,
            self.options,
            self.report.findings,
            self.course,
        )
        key = planner.key(reader)
        self.report.stand_in = read_card(self.raw) is not None
        if known := self._known_plan(read_report(self.store), key):
            self._use(known, key)
            if self._is_finished():
                return
        self._use(planner.plan(reader, key), key)
        if not self.plan.shards:
            skipped = _in_words(self.report.findings.skipped)
            raise ValueError(f"{self.raw} gave no sample: {skipped}")
        self.report.shards = len(self.plan.shards)
        if self._is_finished():
            return
        done = self._finished_shards()
        self.report.reused = len(done)
        self._write_shards(done)
        if self.options.part is None:
            self._finish()

    def _use(self, plan: Plan, key: str | None) -> None:
        self.plan = plan
        self.report.plan, self.report.sources = plan.digest, plan.sources
        self.report.inputs = key

    def _known_plan(self, before: dict[str, Any], key: str | None) -> Plan | None:
        """What finished shards of the very same inputs were made by, without its rows."""
        if not before.get("complete") or key is None or before.get("inputs") != key:
            return None
        return Plan(self.store.work, (), str(before.get("plan")), "", str(before.get("sources")))

    def _is_finished(self) -> bool:
        """Whether the output is complete; refuses to mix with other finished shards."""
        sizes, before = self.store.sizes(), read_report(self.store)
        if LABELS not in sizes:
            return False
        try:
            index = LabelIndex.open(self.store.fetch(LABELS).parent)
            plan = index.metadata.get("plan")
        except ValueError as error:  # cut: the report says what it was of
            index, plan = None, before.get("plan")
            if plan != self.plan.digest and not self.options.overwrite:
                raise ValueError(f"{error}, or pass --overwrite") from None
        same = plan == self.plan.digest and before.get("sources") in (None, self.plan.sources)
        if not same and not self.options.overwrite:
            raise ValueError(
                f"{self.store} holds finished shards of other inputs or options (seed, crop, size, "
                "... or images that changed since); choose another --out, or pass --overwrite to "
                "replace them"
            )
        tars = index.metadata["tars"] if index and same else {}
        if not before.get("complete") and marker_name(self.plan.names[0]) in sizes:
            tars = {}  # killed between index and report: from its markers the end is done again
        if index and tars and {n: tar["size"] for n, tar in tars.items()}.items() <= sizes.items():
            self.report.reused = self.report.shards = len(tars)
            self._fill_report(index)
            self.report.recall(before)
            mend_indexes(self.store, index)
            return True
        self.store.remove([LABELS])
        return False

    def _finished_shards(self) -> set[int]:
        """Shards that an earlier run finished; whatever is not of this plan is removed.

        A tar that was written to since its marker is hashed: a copy is as good, a change is not.
        """
        sizes = self.store.sizes()
        found = {n: self._marker_if_done(n, sizes) for n in range(len(self.plan.names))}
        done = {number: marker for number, marker in found.items() if marker}
        if self.store.url is None and self.options.engine.kind == "joblib":
            tars = [(self.store.local / self.plan.names[number], number) for number in done]
            proofs = [
                Proof(tar, number, done[number].tar.sha256)
                for tar, number in tars
                if done[number].tar.samples and written_at(tar) != done[number].written
            ]
            for number, whole in self.options.engine.run(prove_tar, proofs):
                if not whole:
                    del done[number]
        keep = {name for number, marker in done.items() for name in self._files(number, marker)}
        if self.options.part is None:  # else other parts may be writing them right now
            self.store.remove([name for name in sizes if is_ours(name) and name not in keep])
        return set(done)

    def _files(self, number: int, marker: Marker) -> set[str]:
        name = self.plan.names[number]
        return {marker_name(name)} | ({name, index_name(name)} if marker.tar.samples else set())

    def _marker_if_done(self, number: int, sizes: dict[str, int]) -> Marker | None:
        """The shard's marker if all its files are there, of this plan and of these images."""
        name = self.plan.names[number]
        if marker_name(name) not in sizes:
            return None
        try:
            marker = self._marker(name)
        except ValueError:
            return None
        whole = self._files(number, marker) <= sizes.keys()
        same = (marker.plan, marker.sources) == (
            self.plan.digest,
            planning.sources_of(self.plan.rows(number)),
        )
        return marker if whole and same and sizes.get(name, 0) == marker.tar.size else None

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
        self.course("writing", count, total)
        for samples in self.options.engine.run(write_shard, self._jobs(done)):
            count += samples
            self.course("writing", count, total)

    def _finish(self) -> None:
        """Number the rows, write labels.arrow, fill the report."""
        row = 0
        for name in self.plan.names:
            marker = self._marker(name)
            if marker.plan != self.plan.digest:
                raise OSError(
                    f"{self.store}: {name} was written by another run meanwhile; run the same "
                    "command again"
                )
            self._count_skipped(marker)
            if marker.tar.samples and marker.first_row != row:
                self._renumber(name, marker, row)
            row += marker.tar.samples
            self.course("sealing", row, sum(self.plan.shards))
        if not row:
            raise ValueError(
                f"no image of {self.raw} could be stored: "
                f"{_in_words(self.report.findings.skipped)}; see {REPORT}"
            )
        check_leaks(self._fragments, self.report.findings)
        write_labels(self.store.local, self._fragments, self._metadata())
        index = LabelIndex.open(self.store.local)
        if self.report.reused:
            mend_indexes(self.store, index)
        self._fill_report(index)
        self.store.publish(LABELS)

    def _marker(self, name: str) -> Marker:
        return read_marker(self.store.fetch(marker_name(name)))

    def _renumber(self, name: str, marker: Marker, row: int) -> None:
        path = self.store.fetch(name)
        facts = renumber(path, marker.rows, row)
        changed = {"first_row": row, "tar": facts, "written": written_at(path)}
        self.store.publish(name)
        write_marker(self.store, name, marker._replace(**changed))

    def _fragments(self) -> Iterator[Fragment]:
        for name in self.plan.names:
            marker = self._marker(name)
            if marker.tar.samples:
                yield Fragment(name, marker.rows, marker.tar)

    def _count_skipped(self, marker: Marker) -> None:
        findings = self.report.findings
        findings.skipped.update(marker.skipped)
        for reason, names in marker.examples.items():
            known = findings.examples.setdefault(reason, [])
            known += names[: _EXAMPLES - len(known)]

    def _metadata(self) -> dict[str, Any]:
        own = self.report.findings.facts("classes")
        return {
            "name": self.report.name,
            "options": self.options.choices(self.report.name),
            "stand_in": self.report.stand_in,
            "plan": self.plan.digest,
            "listing": self.plan.listing,
            "skipped": dict(sorted(self.report.findings.skipped.items())),
            **({"classes": own["names"]} if own else {}),
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
    keep_freed()
    left_out = Findings()
    with store.working():
        shard = write_tar(
            store.local / job.name,
            job.rows.select([*PLANNED.names, *_names_of_extra(job.rows)]),
            _Loader(job),
            first_row=job.first_row,
            with_json=job.with_json,
        )
        for reason, path in shard.skipped:
            left_out.skip(reason, path)
        written = written_at(store.local / job.name)
        if shard.tar.samples:
            store.publish(job.name, index_name(job.name))
        marker = Marker(
            shard.rows,
            job.first_row,
            shard.tar,
            job.plan,
            dict(left_out.skipped),
            left_out.examples,
            planning.sources_of(job.rows),
            written,
        )
        write_marker(store, job.name, marker)
    return job.rows.num_rows


def _names_of_extra(rows: pa.RecordBatch) -> list[str]:
    return rows.schema.names[len(planning.SPILLED) - 1 :]  # JSON of them became columns


class _Loader:
    """The images of a shard, read and cropped one at a time."""

    def __init__(self, job: _Job) -> None:
        self.job = job
        columns = ["original_path", "dataset", "variant", "pixel_aspect", "bbox_xyxy"]
        columns += ["staged_file", "staged_offset", "staged_size", "staged_facts"]
        if job.crop.mode not in ("box", "none"):
            columns += ["landmarks", "landmarks5"]
        self.places = job.rows.select(columns).to_pylist()

    def __call__(self, i: int) -> Stored:
        job, place, crop = self.job, self.places[i], self.job.crop
        if place["staged_file"] is not None:
            return load_staged(job.store, place)
        find = crop.must_find(place)
        affine = None if find else crop.affine_of(place)
        try:
            content = foreign.content(job.root, job.root / place["original_path"])
        except FileNotFoundError:
            raise Unreadable("missing file") from None
        except foreign.Refused as error:
            raise Unreadable(error.reason) from None
        if find:
            kind = sniff(content)
            picture, quality = decode(content, kind, upright=True)  # as `predict` sees it
            return store_found(
                picture, place, crop, kind, quality, (orientation_of(content, kind), 1.0)
            )
        return store_image(content, affine, crop.size, check=job.check)


def _in_words(skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} x {reason}" for reason, count in skipped.items()) or "none found"
