"""Our own files: whole or absent when a writer dies, and JSON as its standard has it."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from avce.durable import naming, parsed, read_json, sync_folder, write_aside, write_synced

DIE = """
import os, pathlib, sys
from avce import durable
durable.{step} = lambda *_: os.kill(os.getpid(), 9)
durable.write_aside(pathlib.Path(sys.argv[1]), b"new" * 1000)
"""


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path):
    path = tmp_path / "run.json"
    for content in (b"old", b"new", b""):
        write_aside(path, content)
        assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
    write_synced(path, b"more")
    sync_folder(tmp_path)
    assert path.read_bytes() == b"more"


def test_what_a_disk_says_names_the_file(tmp_path: Path):
    """A full disk answers a write, which knows no name."""
    path = str(tmp_path / "run.json")
    for said, name in (((errno.ENOSPC, "No space left"), path), ((errno.EIO, "bad", "o"), "o")):
        with pytest.raises(OSError) as caught, naming(Path(path)):
            raise OSError(*said)
        assert (caught.value.errno, caught.value.filename) == (said[0], name)


@pytest.mark.parametrize(
    ("step", "content"), [("write_synced", b"old"), ("sync_folder", b"new" * 1000)]
)
def test_a_writer_killed_between_its_steps_leaves_one_of_both_files(
    step: str, content: bytes, tmp_path: Path
):
    path = tmp_path / "run.json"
    write_aside(path, b"old")
    killed = subprocess.run([sys.executable, "-c", DIE.format(step=step), str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == content


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "run.json"
    write_aside(path, b"old")
    (tmp_path / "run.json.part").mkdir()  # where the new one would be written
    with pytest.raises(OSError, match="run"):
        write_aside(path, b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", ""),
        (b"[NaN]", "NaN is no number of JSON"),
        (b"[-Infinity]", "-Infinity is no number of JSON"),
        (b"\xff\xfe", ""),
        (b"[" * 200_000, "nested too deep"),
        (b"", ""),
    ],
)
def test_what_is_no_json_is_named(content: bytes, sentence: str, tmp_path: Path):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"run\.json is not JSON .*{sentence}"):
        read_json(path)


def test_folders_missing_and_huge_files_are_not_read(tmp_path: Path):
    with (tmp_path / "huge.json").open("wb") as sparse:
        sparse.truncate(2**26 + 1)
    for name in ("none.json", "huge.json", "."):
        with pytest.raises(ValueError, match="is no file of at most 67108864 bytes; restore it"):
            read_json(tmp_path / name)


def test_what_was_written_is_read(tmp_path: Path):
    said = {"ü": [1, 2.5, None, True], "deep": {"a": []}}
    write_aside(tmp_path / "a.json", json.dumps(said, ensure_ascii=False).encode())
    assert read_json(tmp_path / "a.json") == said == parsed(json.dumps(said))
