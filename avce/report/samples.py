"""What a page carries of the samples: packed numbers for all, thumbnails for a chosen few.

Numbers are 16-bit integers, 4 bytes a sample and run, and beyond MOST_BYTES samples are thinned,
so that a page stays below 10 megabytes however many were predicted; faces are small JPEGs, and the
few are chosen to be worth a look.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from PIL import Image

from avce.scores.predictions import cells_of, is_classes, over_the_plane, pair_of, videos_of

SCALE = 16_000  # of a packed value: steps of 0.00006, room up to 2
THUMBNAIL = 72  # pixels
WORST = 24
MOST_BYTES = 5_000_000  # of the packed numbers

Thumbnail = Callable[[int], bytes]


class Thumbnails(NamedTuple):
    """The thumbnails of a chosen few: position in the ordered table -> JPEG address."""

    images: dict[int, str]
    worst: list[int]  # positions, largest error first


def thumbnails_of(
    table: pa.Table, thumbnail: Thumbnail | None, budget: int, seed: int
) -> Thumbnails:
    """The worst samples of an ordered table, and `budget` faces where `thumbnail` can give them."""
    worst = np.argsort(-_errors(table), kind="stable")[:WORST].tolist()
    if thumbnail is None:
        return Thumbnails({}, worst)
    rows = table["row"].to_numpy()
    images: dict[int, str] = {}
    for position in _chosen(table, worst, budget, seed):
        try:
            small = shrunk(thumbnail(int(rows[position])))
            images[position] = data_uri(small, "image/jpeg")
        except OSError:
            continue  # the page is about the numbers; a broken image costs its picture only
    return Thumbnails(images, worst)


def _errors(table: pa.Table) -> np.ndarray:
    """How wrong each prediction is: the distance in the plane, or minus the label's log odds."""
    preds, target = (t.numpy() for t in pair_of(table))
    if not is_classes(table):
        return np.hypot(*(preds - target).T)
    chance = preds - np.logaddexp.reduce(preds, axis=1, keepdims=True)
    return -chance[np.arange(len(target)), target]


def _chosen(table: pa.Table, worst: Sequence[int], budget: int, seed: int) -> list[int]:
    """The worst, then frames along the longest videos, then samples from all over the plane."""
    along = [
        int(at)
        for video in videos_of(table)[:20]
        for at in np.linspace(video["start"], video["stop"] - 1, 12)
    ]
    picked = dict.fromkeys([*worst, *along[: budget // 2]])
    for position in over_the_plane(table, seed):
        if len(picked) >= budget:
            break
        picked[position] = None
    return list(picked)[:budget]


def shrunk(encoded: bytes, side: int = THUMBNAIL) -> bytes:
    """A small square JPEG of an encoded image; OSError when it is none."""
    with Image.open(io.BytesIO(encoded)) as image:
        image.draft("RGB", (2 * side, 2 * side))  # JPEG decodes at a fraction of its size
        small = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    page = io.BytesIO()
    small.save(page, "JPEG", quality=72, optimize=True)
    return page.getvalue()


def thumbnail_of(thumbnail: Thumbnail, row: int, side: int = 32) -> np.ndarray | None:
    """A row's image as a small picture, uint8 (side, side, 3); None where it cannot be read."""
    try:
        with Image.open(io.BytesIO(shrunk(thumbnail(row), side))) as image:
            return np.asarray(image)
    except OSError:
        return None


# ---------------------------------------------------------------------------- the packed numbers


def thinned(
    table: pa.Table, runs: int, wanted: Sequence[int], seed: int, most_bytes: int = MOST_BYTES
) -> Int[np.ndarray, " m"]:
    """Positions of an ordered table, ascending, whose packed numbers stay within `most_bytes`.

    A systematic draw with a random start, along the frames of the videos or over the cells of the
    plane, so that each keeps its share; `wanted` positions are kept beside it.
    """
    most = most_bytes * 3 // (4 * 4 * (2 + runs))  # label, runs and frame, in base64
    if len(table) <= most:
        return np.arange(len(table))
    cells = cells_of(pair_of(table).target.numpy())
    along = np.arange(len(table)) if videos_of(table) else np.argsort(cells, kind="stable")
    start = np.random.default_rng(seed).uniform()
    drawn = along[((np.arange(most) + start) * (len(table) / most)).astype(np.int64)]
    return np.union1d(drawn, np.array(wanted, np.int64))


def store_of(
    tables: Mapping[str, pa.Table],
    colours: Mapping[str, tuple[str, str]],
    words: Sequence[Any],
    images: Mapping[int, str],
) -> dict[str, Any]:
    """Runs (name -> ordered table; name -> colour in light and dark) for the script; `images` are
    the thumbnails of positions."""
    first = next(iter(tables.values()))
    videos = videos_of(first)
    runs = [
        {
            "name": name,
            "light": colours[name][0],
            "dark": colours[name][1],
            "preds": packed(pair_of(table).preds.numpy()),
        }
        for name, table in tables.items()
    ]
    return {
        "n": len(first),
        "scale": SCALE,
        "label": packed(pair_of(first).target.numpy()),
        "runs": runs,
        "words": words,
        "videos": videos,
        "frames": _base64(first["frame_index"].to_numpy().astype("<i4")) if videos else None,
        "thumbnails": _thumbnails(first, images),
    }


def _thumbnails(table: pa.Table, images: Mapping[int, str]) -> list[dict[str, Any]]:
    column = "sample_key" if "sample_key" in table.column_names else "row"
    keys = table[column].take(pa.array(list(images), pa.int64())).to_pylist()
    return [
        {"at": position, "key": str(key), "image": uri}
        for (position, uri), key in zip(images.items(), keys, strict=True)
    ]


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address, such as data:image/png;base64,..."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def packed(values: np.ndarray) -> str:
    """Numbers in [-2, 2] as base64 of little-endian int16, in steps of 1 / SCALE."""
    return _base64(np.rint(values.clip(-2, 2) * SCALE).astype("<i2"))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
