"""`fetch`, `cached`: shards of a bucket on a local disk, once, each tar checked by its index.

A shuffled epoch reads single images from everywhere. Asked of an object store that is one request
per image; a whole tar is one request per thousand. So remote shards are copied first and trained
on locally.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shards import LABELS, LabelIndex
from shards.durable import settle, sync
from shards.labels.opening import open_table
from shards.labels.schema import TAR


def cached(url: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """The shards at `url` under ~/.cache/avce (or $XDG_CACHE_HOME/avce), fetched where missing.

    The ranks of a machine may all ask: one copies, the others wait and find it done.
    Raises what `fetch` raises.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    scheme, _, rest = url.partition("://")
    if ".." in rest.split("/"):
        raise ValueError(f"{url} leads out of its bucket; name the folder without '..'")
    return fetch(url, Path(caches) / "avce" / scheme / rest.strip("/"), progress)


def fetch(
    url: str, folder: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None
) -> Path:
    """Copy the shards at `url` (s3://bucket/folder, or any fsspec address) to `folder`.

    What is there already is kept, so an interrupted copy goes on and a finished one costs one small
    request. Every tar is hashed before it appears under its name, and labels.arrow appears last.
    Of several that want the same folder one copies, the others wait and find it done.
    Returns `folder`, to be opened with `LabelIndex.open`.

    Raises FileNotFoundError where `url` has no shards, OSError where a tar is not the one its
    index was written for, ValueError where the index is damaged or names anything but tars, or
    where the address needs a package that is not installed.
    """
    store, root = _store(url)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        wanted = target / "incoming.arrow"
        try:
            _fetch(store, root, target, wanted, progress)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{url} has no {LABELS}, and it is written last: check the address, or write the "
                "shards there first"
            ) from None
        except ValueError as error:
            raise ValueError(f"{url}: {error}") from None
        finally:
            wanted.unlink(missing_ok=True)
    return target


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, and remove the halves of a copy that died; ends however the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for part in folder.glob("*.tar.part"):
            if TAR.fullmatch(part.stem):
                part.unlink()
        yield
    finally:
        os.close(descriptor)


def _fetch(
    store: Any,
    root: str,
    target: Path,
    wanted: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    store.get_file(f"{root}/{LABELS}", str(wanted))
    index = LabelIndex([open_table(wanted)], [target])  # no tar's name leads anywhere but here
    trusted = _is_same(wanted, target / LABELS)
    for done, tar in enumerate(index.tars):
        if progress:
            progress(done, len(index.tars))
        if not _is_there(tar, index.recorded(done), trusted):
            _copy(store, f"{root}/{tar.name}", tar, index.recorded(done))
    with open(wanted, "rb") as file:
        sync(file)
    settle(wanted, target / LABELS)
    if progress:
        progress(len(index.tars), len(index.tars))


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
    try:
        store.get_file(source, str(part))
    except FileNotFoundError:
        raise OSError(
            f"{source} is missing though its index names it; write the shards again"
        ) from None
    if (found := _sha256(part)) != facts["sha256"]:
        part.unlink()
        raise OSError(
            f"{source} has sha256 {found[:12]} and its index says {facts['sha256'][:12]}; it was "
            "changed or cut on the way: fetch again, or write the shards again"
        )
    with open(part, "rb") as file:
        sync(file)
    settle(part, tar)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
