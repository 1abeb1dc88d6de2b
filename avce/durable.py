"""Files that are whole or absent: written aside, synced, renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_aside(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that readers see the old file or the new one, never a half."""
    part = path.with_name(f"{path.name}.part")
    try:
        write_synced(part, content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write and wait until the disk has it: a full disk must speak now, not at the next boot."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
