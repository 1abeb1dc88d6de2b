"""`repair`: what follows from the tars is written again; what does not is refused.

Labels stand in labels.arrow, whose digest says whether they are those that were written, and in
KEY.json where the shards were made with it. Places, checksums and `.idx` follow from the tars.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shards.building.markers import index_name
from shards.building.report import REPORT, Report, read_report, write_report
from shards.building.store import Store
from shards.building.tars import Fragment, TarFacts, write_labels
from shards.durable import write_aside
from shards.findings import Findings
from shards.image import Unreadable, probe
from shards.index import LabelIndex
from shards.labels.extra import Kinds, aligned, extended, extra_in, note, with_columns
from shards.labels.integrity import digest_of, is_idx
from shards.labels.opening import read_table
from shards.labels.packing import plain
from shards.labels.rows import PLANNED
from shards.labels.schema import FORMAT, LABELS, SCHEMA, TAR, checksum, encoded, metadata_of


class Member(NamedTuple):
    """A file in a tar."""

    name: str
    offset: int  # of its data
    size: int


def repair(folder: Path) -> list[str]:
    """Write again what can be in a folder of shards; what was done, in sentences.

    Raises FileNotFoundError where there are no tars, ValueError where labels or images are lost:
    nothing is changed then but halves of dead runs.
    """
    if not any(TAR.fullmatch(path.name) for path in folder.glob("*.tar")):
        raise FileNotFoundError(f"{folder} holds no tar of shards, so nothing follows from it")
    store = Store(folder)
    with store.locked(None):
        try:
            done = _repair_index(store)
            index = LabelIndex.open(folder)
            done += [f"wrote {name}" for name in mend_indexes(store, index)]
            if not read_report(store):
                _report(store, index)
                done.append(f"wrote {REPORT}")
        finally:
            if not store.has_progress():
                store.clean()
    return done


def mend_indexes(store: Store, index: LabelIndex) -> list[str]:
    """Write every `.idx` that is missing or of another tar; their names."""
    mended = []
    for number, tar in enumerate(index.tars):
        name, (start, stop) = index_name(tar.name), index.tar_starts[number : number + 2].tolist()
        rows = index.table.slice(start, stop - start)
        if store.has(name) and is_idx(store.read(name), rows):
            continue
        members = _members(store.fetch(tar.name))
        (store.local / name).unlink(missing_ok=True)
        write_aside(store.local / name, _idx(members))
        store.publish(name)
        mended.append(name)
    return mended


def _members(tar: Path) -> list[list[Member]]:
    """The files of each sample. Raises ValueError where this is no tar of shards."""
    samples: dict[str, list[Member]] = {}
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                key = member.name.partition(".")[0]
                place = Member(member.name, member.offset_data, member.size)
                samples.setdefault(key, []).append(place)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{tar} is cut or no tar ({error}); write the shards again") from None
    for members in samples.values():
        kinds = [member.name.partition(".")[2] for member in members]
        if kinds[0] not in ("jpg", "png") or kinds[1:2] != ["row"]:
            raise ValueError(f"{tar}: {members[0].name} is no sample of shards; leave it out")
    return list(samples.values())


def _idx(samples: list[list[Member]]) -> bytes:
    lines = [f"v1.2 {len(samples)}"]
    for members in samples:
        words = [f"{m.name.partition('.')[2]} {m.offset} {m.size} {m.name}" for m in members]
        lines.append(" ".join(words))
    return "".join(f"{line}\n" for line in lines).encode()


def _repair_index(store: Store) -> list[str]:
    """Let labels.arrow be what was written; nothing to do where it is."""
    folder = store.local
    try:
        table = read_table(folder / LABELS)
        facts = metadata_of(table.schema)
        index = LabelIndex.open(folder)
        problems = index.verify(beside=False)
        if not problems and facts["format"] >= FORMAT:
            return []
        if problems and facts["format"] < 2:  # without a digest
            raise ValueError("\n".join(problems))
    except FileNotFoundError:
        table, facts = None, {}
    except ValueError:
        table, facts = _readable(folder / LABELS)
    fragments = list(_fragments(folder, table))
    rows = aligned([fragment.rows for fragment in fragments])
    fragments = [f._replace(rows=same) for f, same in zip(fragments, rows, strict=True)]
    lines = b"".join(digest_of(f.name, f.tar.sha256, f.rows) for f in fragments)
    if facts.get("format", 1) > 1 and hashlib.sha256(lines).hexdigest() != facts["digest"]:
        raise ValueError(
            f"{folder}: labels or images are not those that were written, and stand nowhere else; "
            "write the shards again with --overwrite"
        )
    before = read_report(store)
    known = {key: before.get(key) for key in ("name", "plan", "stand_in") if key in before}
    kept = {key: value for key, value in facts.items() if key not in _COUNTED}
    write_labels(folder, lambda: fragments, {"skipped": before.get("skipped", {}), **known, **kept})
    return [f"wrote {LABELS}"]


_COUNTED = ("format", "rows", "splits", "expressions", "tars", "digest")  # by `write_labels`


def _readable(path: Path) -> tuple[pa.Table | None, dict[str, Any]]:
    try:
        table = read_table(path)
    except ValueError:
        return None, {}
    return table, metadata_of(table.schema)


def _fragments(folder: Path, table: pa.Table | None) -> Iterator[Fragment]:
    """Every tar with its rows: places from the tar, labels from the table or from KEY.json."""
    first = 0
    for tar in sorted(path for path in folder.glob("*.tar") if TAR.fullmatch(path.name)):
        samples = _members(tar)
        keys = [members[0].name.partition(".")[0] for members in samples]
        with open(tar, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            contents = [[_content(file, member) for member in members] for members in samples]
        numbers = [int.from_bytes(content[1], "little", signed=True) for content in contents]
        if numbers != list(range(first, first + len(keys))):
            raise ValueError(f"{tar} does not follow the tar before it; one is missing or changed")
        labels = plain(table.slice(first, len(keys))) if table else _from_json(tar, contents)
        if labels["sample_key"].to_pylist() != keys:
            raise ValueError(f"{folder / LABELS} names other samples than {tar}")
        places = _places(tar, samples, [content[0] for content in contents])
        columns = [places.get(name, labels[name]) for name in labels.schema.names]
        schema = extended(extra_in(labels.schema))
        rows = pa.table(columns, schema=schema).combine_chunks().to_batches()[0]
        first += len(keys)
        yield Fragment(tar.name, rows, TarFacts(len(keys), tar.stat().st_size, digest))


def _content(file: Any, member: Member) -> bytes:
    file.seek(member.offset)
    return file.read(member.size)


def _places(tar: Path, samples: list[list[Member]], images: list[bytes]) -> dict[str, pa.Array]:
    """The columns that follow from a tar."""
    firsts = [members[0] for members in samples]
    try:
        headers = [probe(image) for image in images]
    except Unreadable as error:
        raise ValueError(f"{tar}: an image is {error.reason}; write the shards again") from None
    values = {
        "shard_offset": [member.offset for member in firsts],
        "image_size": [member.size for member in firsts],
        "extension": [member.name.partition(".")[2] for member in firsts],
        "width": [header.width for header in headers],
        "height": [header.height for header in headers],
        "sha256": [hashlib.sha256(image).digest() for image in images],
        "crc": [checksum(image) for image in images],
    }
    shard = pa.DictionaryArray.from_arrays(np.zeros(len(firsts), np.int32), pa.array([tar.name]))
    columns = {name: pa.array(column, SCHEMA.field(name).type) for name, column in values.items()}
    return {**columns, "shard": shard}


def _from_json(tar: Path, contents: list[list[bytes]]) -> pa.Table:
    """The labels in KEY.json; what the sources were like stands nowhere and becomes null."""
    try:
        rows = [json.loads(content[2]) for content in contents]
        for row, content in zip(rows, contents, strict=True):
            row["image_format"] = probe(content[0]).format
            row["va_valid"] = row.get("valence") is not None
            row.setdefault("quality", [])
        columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
        columns["split_by_task"] = [v and [tuple(p) for p in v] for v in columns["split_by_task"]]
        arrays = {
            name: encoded(name, column, column if name == "dataset" else ())
            if name in ("dataset", "split")
            else pa.array(column, SCHEMA.field(name).type)
            for name, column in columns.items()
            if name in (*PLANNED.names, "image_format", "va_valid")
        }
        empty = {f.name: pa.nulls(len(rows), f.type) for f in SCHEMA if f.name not in arrays}
        known = pa.table({**arrays, **empty}).select(SCHEMA.names)
        kinds: Kinds = {}
        own = [{k: v for k, v in row.items() if k not in SCHEMA.names} for row in rows]
        for extra in own:
            note(kinds, extra)
        return with_columns(known, own, kinds)
    except (IndexError, TypeError, KeyError, ValueError):
        raise ValueError(
            f"{tar.parent / LABELS} is lost and {tar} holds no KEY.json (--with-json) to take the "
            "labels from: write the shards again with --overwrite"
        ) from None


def _report(store: Store, index: LabelIndex) -> None:
    facts = index.metadata
    report = Report(facts.get("name", ""), str(store), Findings(), complete=True)
    report.rows, report.shards, report.splits = len(index), len(index.tars), index.splits
    report.digest, report.plan, report.stand_in = (
        index.digest,
        facts.get("plan"),
        facts.get("stand_in"),
    )
    report.findings.skipped |= Counter(facts.get("skipped", {}))
    write_report(store, report, None)
