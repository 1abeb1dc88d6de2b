"""Proof that rows and tars are those that were written: one digest of the rows, and the bytes."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.labels.extra import extra_in
from shards.labels.schema import BLOCK, LABELS, SCHEMA, checksum, kind_of, row_offset

PLACE = ["sample_key", "extension", "shard_offset", "image_size", "crc"]  # what `stored` needs
_AND_JSON = re.compile(r"(.*) json ([0-9]+) [0-9]+ (.*)\.json")  # a line of an `.idx` with one


def digest_of(tar: str, sha256: str, rows: pa.Table | pa.RecordBatch) -> bytes:
    """One line for a tar and its rows, labels and places; the index's digest is over all lines.

    Of values alone: neither Arrow's version nor its layout in memory or on disk shows in it.
    """
    digest = hashlib.sha256()
    for name in SCHEMA.names:
        if name != "shard":  # its name is in the line
            _feed(digest, rows[name])
    for field in extra_in(rows.schema):
        digest.update(f"{field.name} {kind_of(field)}\n".encode())
        _feed(digest, rows[field.name])
    return f"{tar} {sha256} {digest.hexdigest()}\n".encode()


def _feed(digest: Any, column: Any) -> None:
    """Which values are null, then how long each is, then the values; zero stands for null."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_map(kind):
        column = column.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])))
    digest.update(np.packbits(column.is_valid().to_numpy(zero_copy_only=False)))
    if pa.types.is_list(kind) or pa.types.is_map(kind):
        digest.update(_numbers(pc.list_value_length(column)))
        _feed(digest, column.flatten())
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            _feed(digest, part)
    elif pa.types.is_string(kind):
        digest.update(_numbers(pc.binary_length(column)))
        digest.update("".join(column.fill_null("").to_pylist()).encode())
    elif pa.types.is_fixed_size_binary(kind):
        digest.update(b"".join(column.drop_null().to_pylist()))
    else:
        digest.update(_numbers(column))


def _numbers(column: pa.Array) -> np.ndarray:
    zero = pa.scalar(0, pa.int8()).cast(column.type)
    return np.ascontiguousarray(column.fill_null(zero).to_numpy(zero_copy_only=False))


def stored(path: Path, size: int, place: dict[str, Any], row: int) -> bytes:
    """The image at a place (`PLACE`) of a tar, whose name, KEY.row and checksum are as promised.

    Without a `crc` in the place the image itself is not checked. Raises FileNotFoundError where
    there is no tar, ValueError where it is not the one of `size` bytes that the index was written
    for.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing though its index names it; write the shards again or fetch it"
        )
    with open(path, "rb") as tar:
        if (found := os.fstat(tar.fileno()).st_size) != size:
            raise ValueError(
                f"{path} has {found:,} bytes and its index recorded {size:,}; it is cut or "
                "another tar: write the shards again"
            )
        content, problem = _read(tar, place, row)
    if problem:
        raise ValueError(
            f"{path} and {path.parent / LABELS} do not belong together: {problem}; bring back the "
            "one that was changed, or write the shards again"
        )
    return content


def _read(tar: Any, place: dict[str, Any], row: int) -> tuple[bytes, str | None]:
    """An image, and what is wrong with it."""
    offset, size = place["shard_offset"], place["image_size"]
    held_at = row_offset(offset, size)
    tar.seek(offset - BLOCK)
    whole = tar.read(held_at + 8 - offset + BLOCK)
    name = whole[:100].rstrip(b"\0").decode("ascii", "replace")
    content = whole[BLOCK : BLOCK + size]
    held = int.from_bytes(whole[-8:], "little", signed=True)
    if name != f"{place['sample_key']}.{place['extension']}":
        return content, f"row {row} should be {place['sample_key']} but is {name}"
    if held != row:
        return content, f"{place['sample_key']}.row holds KEY.row {held}, not {row}"
    if place.get("crc") is not None and checksum(content) != place["crc"]:
        return content, f"the image of row {row} ({name}) is not the one that was written"
    return content, None


def verify_tar(path: Path, recorded: dict[str, Any], rows: pa.Table, first_row: int) -> list[str]:
    """Hash a tar and read every image of it again; the sentences say what is wrong."""
    if not path.is_file():
        return [f"{path} is missing; write the shards again"]
    with open(path, "rb") as tar:
        if hashlib.file_digest(tar, "sha256").hexdigest() != recorded["sha256"]:
            return [f"{path} is not the tar its index was written for; write the shards again"]
        problems = []
        for row, place in enumerate(rows.select([*PLACE, "sha256"]).to_pylist(), first_row):
            content, problem = _read(tar, place, row)
            if not problem and hashlib.sha256(content).digest() != place["sha256"]:
                problem = f"the image of row {row} is not the one that was written"
            problems += [f"{path}: {problem}"] if problem else []
        return problems


def is_idx(content: bytes, rows: pa.Table) -> bool:
    """Whether an `.idx` holds, and ends with, a line for each image that says what the index says.

    The index does not know how long a KEY.json is; the line that names one must say where it lies.
    """
    head, *lines = content.decode(errors="replace").split("\n")
    names = ("sample_key", "extension", "shard_offset", "image_size")
    places = zip(*(rows[name].to_pylist() for name in names), strict=True)
    if head != f"v1.2 {len(rows)}" or len(lines) != len(rows) + 1 or lines.pop():
        return False
    return all(_says(line, *place) for line, place in zip(lines, places, strict=True))


def _says(line: str, key: str, kind: str, offset: int, size: int) -> bool:
    """Whether a line of an `.idx` says of an image what is true, and no more than a KEY.json."""
    row = row_offset(offset, size)
    start = f"{kind} {offset} {size} {key}.{kind} row {row} 8 {key}.row"
    if line == start:
        return True
    more = _AND_JSON.fullmatch(line)
    return more is not None and more.groups() == (start, str(row + 2 * BLOCK), key)


def verify_idx(tar: Path, rows: pa.Table) -> list[str]:
    """What is wrong with the `.idx` beside a tar; a copy of the tars alone has none at all."""
    path = tar.with_suffix(".idx")
    if path.is_file():
        wrong = "is of another tar" if not is_idx(path.read_bytes(), rows) else ""
    else:
        wrong = "is missing" if any(tar.parent.glob("*.idx")) else ""
    mend = shlex.join(["python", "cli.py", "inspect", str(tar.parent), "--repair"])
    return [f"{path} {wrong}; `{mend}` writes it again"] if wrong else []
