"""Files that are whole or absent, and folders with one writer: written aside, synced, locked."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

_LARGEST = 64 * 2**20  # bytes of a JSON file of ours


def write_aside(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that readers see the old file or the new one, never a half."""
    part = path.with_name(f"{path.name}.part")
    with aside(part):
        write_synced(part, content)
        part.replace(path)
    sync_folder(path.parent)


@contextmanager
def aside(part: Path) -> Iterator[None]:
    """Write `part` within; where the disk refuses, its error names it and nothing is left of it."""
    try:
        with naming(part):
            yield
    except OSError:
        part.unlink(missing_ok=True)
        raise


def write_synced(path: Path, content: bytes) -> None:
    """Write and wait until the disk has it: a full disk must speak now, not at the next boot."""
    with naming(path), open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what a disk says of writing to `path` name it; the system names files it opens alone."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """A JSON file of ours; ValueError naming it where it is none, too large, or holds NaN."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is no file of at most {_LARGEST} bytes; restore it")
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); restore it or write it anew") from None


def parsed(text: str) -> Any:
    """JSON as its standard has it; ValueError otherwise, however deep it is nested."""
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a lock on `folder`/lock while the block runs; ValueError while another process does.

    The kernel gives it back when its holder dies. Local disks have such locks (flock), NFS and
    Lustre mounted with them too; where a file system has none, nobody is kept out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock") as file:
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            Path(file.name).unlink(missing_ok=True)


def _locked(path: Path) -> TextIO:
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (its holder closes it)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            with file:
                raise ValueError(
                    f"{path.parent} is being written by another process ({file.read(200)}); wait "
                    "for its end or stop it, or choose another folder"
                ) from None
        except OSError:
            return file  # no locks here
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()  # its holder took it away in between
