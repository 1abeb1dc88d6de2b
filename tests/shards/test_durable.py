"""A file is whole or absent, also when its writer dies or the disk is full."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shards.durable import aside, write_aside


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path):
    path = tmp_path / "x"
    write_aside(path, b"old")
    with aside(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "x"
    write_aside(path, b"old")
    with pytest.raises(KeyboardInterrupt), aside(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_by_the_file_it_had_no_room_for(tmp_path: Path):
    path = tmp_path / "x"
    with pytest.raises(OSError, match="No space") as caught, aside(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(path) and not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "x"
    write_aside(path, b"old")
    code = "import os, pathlib, sys\nfrom shards.durable import aside\n"
    code += "with aside(pathlib.Path(sys.argv[1])) as file:\n"
    code += "    file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)\n"
    killed = subprocess.run([sys.executable, "-c", code, str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_aside(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
