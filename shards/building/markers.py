"""Completion markers: what a finished shard says of itself, the last thing its task writes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from shards.building.store import PACKED, WORK, Store
from shards.building.tars import TarFacts
from shards.durable import write_aside
from shards.labels.schema import metadata_of, with_metadata

_SEAL = hashlib.sha256().digest_size  # bytes behind the Arrow file, which say that it is whole


class Marker(NamedTuple):
    """A finished shard: its rows, its proof, what it was made from and what it left out."""

    rows: pa.RecordBatch
    first_row: int
    tar: TarFacts
    plan: str
    skipped: dict[str, int]
    examples: dict[str, list[str]]
    sources: str = ""  # hash of the time stamps of its images
    written: int = 0  # when its tar was, in ns; 0 where it does not lie here


def write_marker(store: Store, name: str, marker: Marker) -> None:
    """Say that the shard `name` is finished."""
    facts = {**marker._asdict(), "tar": marker.tar._asdict()}
    del facts["rows"]
    sink = pa.BufferOutputStream()
    schema = with_metadata(marker.rows.schema, facts)
    with pa.ipc.new_file(sink, schema, options=PACKED) as file:
        file.write_batch(marker.rows)
    path = store.local / marker_name(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = sink.getvalue().to_pybytes()
    write_aside(path, content + hashlib.sha256(content).digest())
    store.publish(marker_name(name))


def read_marker(path: Path) -> Marker:
    """What `write_marker` wrote. Raises ValueError, naming the file, for anything else."""
    try:
        whole = path.read_bytes()
        content, seal = whole[:-_SEAL], whole[-_SEAL:]
        if hashlib.sha256(content).digest() != seal:
            raise ValueError("changed since")
        file = pa.ipc.open_file(content)
        rows, facts = file.get_batch(0), metadata_of(file.schema)
        facts["tar"] = TarFacts(**facts["tar"])
        return Marker(rows=rows, **facts)
    except FileNotFoundError:
        raise
    except Exception:  # a damaged file makes Arrow raise whatever it meets
        raise ValueError(
            f"{path} is cut or says nothing of a shard; run the same command again: the shard is "
            "then written again"
        ) from None


def marker_name(tar: str) -> str:
    """Where the marker of a tar lies in the store."""
    return f"{WORK}/{tar.removesuffix('.tar')}.arrow"


def index_name(tar: str) -> str:
    """The `.idx` beside a tar."""
    return f"{tar.removesuffix('.tar')}.idx"


def written_at(tar: Path) -> int:
    """When a tar was last written to, in ns; 0 where there is none."""
    return tar.stat().st_mtime_ns if tar.exists() else 0


class Proof(NamedTuple):
    """A task: whether a tar that an earlier run finished still holds what it wrote."""

    path: Path
    number: int
    sha256: str


def prove_tar(proof: Proof) -> tuple[int, bool]:
    """Number of the shard, and whether its tar is the one that was written."""
    with open(proof.path, "rb") as file:
        return proof.number, hashlib.file_digest(file, "sha256").hexdigest() == proof.sha256
