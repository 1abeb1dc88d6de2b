"""Files that are whole or absent: written aside, synced, renamed. Folders are synced too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def aside(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` when the block ends, and goes when it fails."""
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            yield file
            sync(file)
        settle(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def write_aside(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that readers see the old file or the new one, never a half."""
    with aside(path) as file:
        file.write(content)


def sync(file: IO[bytes]) -> None:
    """Wait until the disk has it: a full disk must speak now, not at the next boot."""
    file.flush()
    os.fsync(file.fileno())


def settle(part: Path, path: Path) -> None:
    """Rename a synced file to its name, and wait until its folder says so."""
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
