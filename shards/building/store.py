"""Where shards end up: a local folder, or any fsspec address such as s3://bucket/folder.

Files are always written locally first. In a local folder they are then in place already; elsewhere
`publish` uploads them, which object stores do whole or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.labels.schema import LABELS

WORK = ".work"  # plan, completion markers and lock, removed at the end
FRAMES = f"{WORK}/frames"  # crops of videos that wait for their shard
PACKED = pa.ipc.IpcWriteOptions(compression="lz4")  # half the disk, at a gigabyte a second
DEALT = "dealt-"  # begins the name of a folder of rows that are being shuffled
_OURS = re.compile(rf"({re.escape(WORK)}/)?[0-9]{{5,9}}\.(tar|idx|arrow)")
_REPORTS = r"report(-[0-9]+-of-[0-9]+)?\.json"
_HALF = re.compile(rf"({re.escape(LABELS)}|{_REPORTS}|[0-9]{{5,9}}\.(tar|idx|arrow))\.part")
_PATIENCE = 20.0  # seconds that a run waits for workers of one that ended


@dataclass(frozen=True, slots=True)
class Store:
    """An output: `local` is where files are written, `url` where they go, if elsewhere."""

    local: Path
    url: str | None = None

    @classmethod
    def at(cls, out: str | os.PathLike[str]) -> Store:
        """A store for a folder or an address with a scheme."""
        text = str(out)
        if "://" not in text:
            return cls(Path(out))
        name = "shards-" + sha256(text.encode()).hexdigest()[:16]
        return cls(Path(tempfile.gettempdir()) / name, text.rstrip("/"))

    @property
    def work(self) -> Path:
        """Local folder for what is needed only while the run goes on."""
        return self.local / WORK

    def __str__(self) -> str:
        return self.url or str(self.local)

    def publish(self, *names: str) -> None:
        """Upload files in this order and forget the local copies."""
        if self.url is None:
            return
        files = _files(self.url)
        for name in names:
            files.put_file(str(self.local / name), f"{self.url}/{name}")
            (self.local / name).unlink()

    def fetch(self, name: str) -> Path:
        """A local copy of a published file."""
        path = self.local / name
        if self.url is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _files(self.url).get_file(f"{self.url}/{name}", str(path))
        return path

    def has(self, name: str) -> bool:
        """Whether the file is here or published."""
        if (self.local / name).exists():
            return True
        return self.url is not None and _files(self.url).exists(f"{self.url}/{name}")

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes of a file from where it is: here, or published by a worker on another machine."""
        path = self.local / name
        if self.url is None or path.exists():
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(size)
        stop = None if size is None else offset + size
        return _files(self.url).cat_file(f"{self.url}/{name}", start=offset, end=stop)

    def sizes(self) -> dict[str, int]:
        """Name to size of every finished file at the top and in the work folder."""
        return self._sizes("") | {f"{WORK}/{n}": size for n, size in self._sizes(WORK).items()}

    def _sizes(self, folder: str) -> dict[str, int]:
        if self.url is None:
            path = self.local / folder
            found = os.scandir(path) if path.is_dir() else iter(())
            return {e.name: e.stat().st_size for e in found if e.is_file()}
        files = _files(self.url)
        try:
            listed = files.ls(f"{self.url}/{folder}", detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {
            entry["name"].rsplit("/", 1)[1]: entry["size"]
            for entry in listed
            if entry["type"] == "file"
        }

    def remove(self, names: list[str]) -> None:
        """Remove files, the promise (labels.arrow) first."""
        for name in sorted(names, key=lambda name: name != LABELS):
            if self.url is not None:
                _files(self.url).rm_file(f"{self.url}/{name}")
            (self.local / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self, part: tuple[int, int] | None) -> Iterator[None]:
        """Be the only run on this output, or the only one for its part.

        The lock is the operating system's, so that of a killed run is gone with it; the file says
        who holds it. Raises OSError naming the holder.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        with _lock(self, "lock", shared=part is not None):
            if part is None:
                self._wait_for_workers()
                self._sweep()
                yield
                return
            with _lock(self, f"lock-{part[0]}-of-{part[1]}", shared=False):
                yield

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around each task: whoever wants the output next waits until its last task has ended."""
        self.work.mkdir(parents=True, exist_ok=True)
        with open(self.work / "working", "a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def _wait_for_workers(self) -> None:
        until = time.monotonic() + _PATIENCE
        with open(self.work / "working", "a") as file:
            while True:
                try:
                    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    if time.monotonic() > until:
                        raise OSError(
                            f"{self} is still being written by workers of a run that has ended; "
                            "wait for them, or choose another --out"
                        ) from None
                    time.sleep(0.05)

    def _sweep(self) -> None:
        """Remove the halves that a dead run left, and nothing of another name."""
        halves = [path for path in self.local.glob("*.part") if _HALF.fullmatch(path.name)]
        for ending in ("*.part", "*.spill", "*.staged"):
            halves += self.work.rglob(ending)
        for path in halves:
            path.unlink(missing_ok=True)
        for folder in self.work.glob(f"{DEALT}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def has_progress(self) -> bool:
        """Whether the work folder holds anything that a later run could go on from."""
        frames = (self.local / FRAMES).is_dir()
        return frames or any(is_ours(name) for name in self._sizes(WORK))

    def clean(self) -> None:
        """Remove the work folder, and the local copies of what was uploaded."""
        if self.url is not None:
            for folder in (WORK, FRAMES):
                self.remove([f"{folder}/{name}" for name in self._sizes(folder)])
        shutil.rmtree(self.local if self.url else self.work, ignore_errors=True)


def is_ours(name: str) -> bool:
    """Whether a file of the output is one that a run makes and may remove."""
    return bool(_OURS.fullmatch(name))


def _files(url: str) -> Any:
    """The file system of an address."""
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{url} cannot be written to ({error}); install the extra for it, for S3 "
            "`pip install avce[s3]`"
        ) from None


@contextmanager
def _lock(store: Store, name: str, *, shared: bool) -> Iterator[None]:
    path = store.work / name
    while True:
        with open(path, "a+") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except OSError:
                raise OSError(_held_by(store, path)) from None
            if not _is_still(path, file.fileno()):
                continue  # its last holder removed it just now
            file.truncate(0)
            json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)
            file.flush()
            try:
                yield
            finally:
                if not shared:
                    path.unlink(missing_ok=True)
            return


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _held_by(store: Store, path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        who = f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return f"{store} is being written by {who}; wait for it, or choose another --out"
