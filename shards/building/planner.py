"""The plan of a run: made once, sealed on the disk, and found again while nothing has changed.

A seal names what the plan was made from: options, our own source, and name, size and times of
every file below the raw folder, which a look into each folder tells in 3 us a file. Resumes, parts,
merges and reruns of the same then plan nothing; any change makes a new plan.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from shards.building import plan as planning
from shards.building.options import BuildOptions
from shards.building.plan import Plan, Spill
from shards.building.report import name_of_part
from shards.building.store import Store
from shards.building.videos import is_staged_whole, stage_videos
from shards.datasets.files import Listing, listing
from shards.durable import settle, write_aside
from shards.findings import Findings
from shards.labels.rows import InRows, workers
from shards.labels.schema import LABELS
from shards.sample import Sample

Reader = Callable[..., Iterator[Sample]]
_JPEG_BYTES = 0.35  # of a stored crop, per pixel
_TOLD = 4096  # files hashed at a time: a folder may have a million


@dataclass(slots=True)
class Planner:
    """Makes the plan of `raw`, or finds it; `findings` become those of the run that made it."""

    name: str
    raw: Path
    store: Store
    options: BuildOptions
    findings: Findings
    course: Callable[[str, int, int], None] = lambda *_: None
    listing: Listing = field(default_factory=Listing)

    def key(self, reader: Reader) -> str | None:
        """What a plan is made from, as one hash; None where a reader is not ours to know."""
        if not reader.__module__.startswith("shards."):
            return None
        digest = hashlib.sha256(_program().encode())
        options = dict(self.options.reader)
        said = [str(self.raw), self.options.choices(self.name), options]
        digest.update(json.dumps(said, sort_keys=True, default=str).encode())
        for value in options.values():
            for name in value if isinstance(value, list | tuple) else [value]:
                if isinstance(name, str | Path):
                    for place in (self.raw / name, Path(name)):
                        digest.update(repr(_facts(_stat(place))).encode())
        besides = {_identity(self.raw.stat()), _identity(self.store.local.stat())}
        planned = self.store.has(LABELS) or any(self.store.work.glob("plan-*.json"))
        seen = None if planned else self.listing  # of use to readers, who are hardly asked then
        files = 0
        for found in _look_into(str(self.raw), digest, besides, seen):
            files += found
            self.course("checking files", files, 0)
        return digest.hexdigest()

    def plan(self, reader: Reader, key: str | None) -> Plan:
        """The sealed plan of this key, else a new one. Raises ValueError where a check fails."""
        return self._sealed(key) or self._made(reader, key)

    def _sealed(self, key: str | None) -> Plan | None:
        path = self._place(key)
        try:
            total, _, text = path.with_suffix(".json").read_text().partition("\n")
            if key is None or hashlib.sha256(text.encode()).hexdigest() != total:
                return None
            said = json.loads(text)
            with open(path, "rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == said["sha256"]
        except (OSError, ValueError):
            return None
        staged = (is_staged_whole(self.store, file) for file in said["staged"])
        if said["key"] != key or not whole or not all(staged):
            return None
        self.findings.checks[:] = said["checks"]
        self.findings.skipped = Counter(said["skipped"])
        self.findings.examples = said["examples"]
        return Plan(path, tuple(said["shards"]), said["digest"], said["listing"], said["sources"])

    def _place(self, key: str | None) -> Path:
        name = name_of_part("plan", self.options.part) if key is None else f"plan-{key[:24]}"
        return self.store.work / f"{name}.arrow"

    def _made(self, reader: Reader, key: str | None) -> Plan:
        options, findings = self.options, self.findings
        path = self.store.work / (name_of_part("plan", options.part) + ".arrow")
        if options.part is None:  # else other parts may be reading them right now
            for old in self.store.work.glob("plan*"):
                old.unlink()
        read = reader.rows if isinstance(reader, InRows) else reader
        self.course("reading labels", 0, 0)
        samples = read(self.raw, findings, **options.reader)
        spilled = self._context().run(
            planning.spill, samples, self.raw, path.with_suffix(".spill"), findings, self.course
        )
        if findings.failed:
            raise ValueError("\n".join(findings.failed))
        staged = self._stage(spilled)
        plan = planning.arrange(
            staged,
            path,
            seed=options.seed,
            samples_per_shard=options.samples_per_shard,
            stored_bytes=self._stored_bytes(),
            choices=options.choices(self.name),
        )
        for spill in (spilled, staged):
            spill.path.unlink(missing_ok=True)
        return plan if key is None or not plan.shards else self._seal(plan, key, staged.staged)

    def _context(self) -> Context:
        """Where readers find our processes, and what the look for the key has seen."""
        context = copy_context()
        context.run(workers.set, self.options.engine.in_order)
        context.run(listing.set, self.listing)
        self.listing = Listing()  # 24 bytes a file are not kept any longer
        return context

    def _seal(self, plan: Plan, key: str, staged: tuple[str, ...]) -> Plan:
        """The plan under the name of its key: the rows, then what proves them."""
        with open(plan.path, "rb") as file:
            os.fsync(file.fileno())
            proof = hashlib.file_digest(file, "sha256").hexdigest()
        path = self._place(key)
        settle(plan.path, path)
        facts = {**plan._asdict(), "key": key, "sha256": proof, "staged": staged}
        del facts["path"]
        text = json.dumps(facts | self.findings.as_dict())
        total = hashlib.sha256(text.encode()).hexdigest()
        write_aside(path.with_suffix(".json"), f"{total}\n{text}".encode())
        return plan._replace(path=path)

    def _stage(self, spilled: Spill) -> Spill:
        """Decode the videos, if there are any."""
        first, parts = self.options.part or (0, 1)
        return stage_videos(
            spilled,
            self.raw,
            self.options.crop,
            self.store,
            self.options.engine,
            self.findings,
            course=self.course,
            turn=first / parts,
        )

    def _stored_bytes(self) -> int | None:
        crop = self.options.crop
        return None if crop.mode == "none" else int(_JPEG_BYTES * crop.size**2)


@cache
def _program() -> str:
    """One hash of the code that plans: an edited reader plans anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _look_into(
    folder: str, digest: Any, besides: set[tuple[int, int]], seen: Listing | None
) -> Iterator[int]:
    """Every name below a folder, with the facts of what is no folder, into `digest`, and where it
    is wanted into `seen`; how many files each folder has. Links to folders are followed as readers
    do, but not into the folders `besides`: the output, and those that led here."""
    files: list[str] = []
    folders: list[tuple[str, tuple[int, int]]] = []
    with suppress(OSError):  # whoever reads it says so
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:  # names beside an open folder are found in half the time of whole paths
            for entry in os.scandir(place):
                found = _stat(entry)
                if found and S_ISDIR(found.st_mode):
                    folders.append((entry.name, _identity(found)))
                else:
                    size, written, changed = _facts(found)
                    files.append(f"{entry.name} {size} {written} {changed}\n")
                    if seen:
                        seen.add(f"{folder}/{entry.name}", size, written)
        finally:
            os.close(place)
    files.sort()
    digest.update(os.fsencode(f"{folder}\n{len(files)}\n"))
    for start in range(0, len(files), _TOLD):
        digest.update(os.fsencode("".join(files[start : start + _TOLD])))
    yield len(files)
    for name, here in sorted(folders):
        if here not in besides:
            yield from _look_into(f"{folder}/{name}", digest, besides | {here}, seen)


def _stat(entry: os.DirEntry[str] | Path) -> os.stat_result | None:
    """Of what an entry leads to, through links; None where that is nothing."""
    try:
        return entry.stat()
    except (OSError, ValueError):
        return None


def _facts(found: os.stat_result | None) -> tuple[int, int, int]:
    """Size (of what is no regular file: -1) and times: the last of them nobody can set back."""
    if found is None:
        return -1, 0, 0
    size = found.st_size if S_ISREG(found.st_mode) else -1
    return size, found.st_mtime_ns, found.st_ctime_ns


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
