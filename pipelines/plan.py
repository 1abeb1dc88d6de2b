"""A window of the epoch as planned `.idx` files, and the bytes behind a row.

DALI's webdataset reader takes pairs (tar, index) and yields the lines of each index in turn. One
tar may be listed many times and a line may point anywhere in it. So any order of samples is a list
of such pairs: one for each run of successive samples in the same tar.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from shards import Selection
from shards.index import row_offset

MEMORY = Path("/dev/shm")  # thousands of plans cost 30 us each here, up to 900 us on a busy disk


@contextmanager
def planned(selection: Selection) -> Iterator[tuple[list[str], list[str]]]:
    """Tars and plan files that visit `selection` in its order; the files go when the block ends."""
    folder = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="plan-", dir=folder) as plans:
        yield _write(selection, Path(plans))


def _write(selection: Selection, folder: Path) -> tuple[list[str], list[str]]:
    index, rows = selection.index, selection.rows
    tar = index.tar_of_row(rows)
    starts = np.flatnonzero(np.diff(tar, prepend=-1)).tolist()
    lines = _lines(selection)
    tars, plans = [], []
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        plan = f"{folder}/{start}"
        _write_small(plan, f"v1.2 {stop - start}\n{''.join(lines[start:stop])}")
        tars.append(str(index.tars[tar[start]]))
        plans.append(plan)
    return tars, plans


def _lines(selection: Selection) -> list[str]:
    offsets, sizes = selection.column("shard_offset"), selection.column("image_size")
    return [
        f"jpg {offset} {size} {row}.jpg row {row_offset(offset, size)} 8 {row}.row\n"
        for offset, size, row in zip(
            offsets.tolist(), sizes.tolist(), selection.rows.tolist(), strict=True
        )
    ]  # DALI tells PNG from JPEG by content, so every image may be called jpg


def _write_small(path: str, content: str) -> None:
    """`Path.write_text` without its layers: this is done once per sample in the worst case."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(file, content.encode())
    os.close(file)


def check_tars(selection: Selection) -> None:
    """Raise where a tar of `selection` is missing or has not the size its index recorded."""
    index = selection.index
    for number in np.flatnonzero(np.bincount(index.tar_of_row(selection.rows))).tolist():
        tar = index.tars[number]
        first = index.tar_starts[number : number + 1]
        recorded = index.metadata_of_folder(int(index.folder_of_row(first)[0]))["tars"][tar.name]
        if not tar.is_file():
            raise FileNotFoundError(
                f"{tar} is missing though its index names it; write the shards again or fetch it"
            )
        if tar.stat().st_size != recorded["size"]:
            raise ValueError(
                f"{tar} has {tar.stat().st_size:,} bytes and its index recorded "
                f"{recorded['size']:,}; it is cut or another tar: write the shards again"
            )


def check_rows(selection: Selection, found: np.ndarray) -> None:
    """Raise where KEY.row in the tars (`found`) is not the row the index promised.

    DALI reads whatever lies at an offset: without this, a tar that was replaced under its index
    would train on shifted labels.
    """
    expected = selection.column("row")
    if np.array_equal(found, expected):
        return
    first = int(np.flatnonzero(found != expected)[0])
    raise ValueError(
        f"{place(selection, first)} holds KEY.row {found[first]} and its index says "
        f"{expected[first]}; the tar is not the one the index was written for: "
        "write the shards again"
    )


def place(selection: Selection, position: int) -> str:
    """Where an image lies, for people: tar:offset:key."""
    one = selection.take([position])
    tar = one.index.tars[int(one.index.tar_of_row(one.rows)[0])]
    return f"{tar}:{one.column('shard_offset')[0]}:{one.column('sample_key')[0]}"
