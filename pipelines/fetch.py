"""`fetch`, `cached`: shards of a bucket on a local disk, once, each tar checked by its index.

A shuffled epoch reads single images from everywhere. Asked of an object store that is one request
per image; a whole tar is one request per thousand. So remote shards are copied first and trained
on locally.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shards import LABELS, LabelIndex


def cached(url: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """The shards at `url` under ~/.cache/avce (or $XDG_CACHE_HOME/avce), fetched where missing.

    The ranks of a machine may all ask: one copies, the others wait and find it done.
    Raises what `fetch` raises.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    scheme, _, rest = url.partition("://")
    folder = Path(caches) / "avce" / scheme / rest.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however it ends
        return fetch(url, folder, progress)


def fetch(
    url: str, folder: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None
) -> Path:
    """Copy the shards at `url` (s3://bucket/folder, or any fsspec address) to `folder`.

    What is there already is kept, so an interrupted copy goes on and a finished one costs one small
    request. Every tar is hashed before it appears under its name, and labels.arrow appears last.
    Returns `folder`, to be opened with `LabelIndex.open`.

    Raises FileNotFoundError where `url` has no shards, OSError where a tar is not the one its
    index was written for, ValueError where the address needs a package that is not installed.
    """
    store, root = _store(url)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    wanted = target / "incoming.arrow"
    try:
        store.get_file(f"{root}/{LABELS}", str(wanted))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{url} has no {LABELS}, and it is written last: check the address, or write the "
            "shards there first"
        ) from None
    tars = LabelIndex.open(wanted).metadata["tars"]
    trusted = _is_same(wanted, target / LABELS)
    for done, (name, facts) in enumerate(tars.items()):
        if progress:
            progress(done, len(tars))
        if not _is_there(target / name, facts, trusted):
            _copy(store, f"{root}/{name}", target / name, facts)
    wanted.replace(target / LABELS)
    if progress:
        progress(len(tars), len(tars))
    return target


def _store(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        store, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{url} cannot be read ({error}); install the extra for it, for S3 "
            "`pip install avce[s3]`"
        ) from None
    return store, root.rstrip("/")


def _is_same(incoming: Path, present: Path) -> bool:
    return present.is_file() and present.read_bytes() == incoming.read_bytes()


def _is_there(tar: Path, facts: dict[str, Any], trusted: bool) -> bool:
    """A tar under its name was hashed when it came; under another index it is hashed again."""
    if not tar.is_file() or tar.stat().st_size != facts["size"]:
        return False
    return trusted or _sha256(tar) == facts["sha256"]


def _copy(store: Any, source: str, tar: Path, facts: dict[str, Any]) -> None:
    part = tar.with_name(f"{tar.name}.part")
    store.get_file(source, str(part))
    if (found := _sha256(part)) != facts["sha256"]:
        part.unlink()
        raise OSError(
            f"{source} has sha256 {found[:12]} and its index says {facts['sha256'][:12]}; it was "
            "changed or cut on the way: fetch again, or write the shards again"
        )
    part.replace(tar)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
