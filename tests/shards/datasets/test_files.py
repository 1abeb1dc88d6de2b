"""Sizes and times are those of the files, whether they were seen in one look or are asked for."""

from __future__ import annotations

import hashlib
import os
from contextvars import copy_context
from pathlib import Path

import numpy as np
import pytest

from shards.building.planner import _look_into
from shards.datasets.files import Listing, files_at, known, listing, size_and_time


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("a", "a/b", "c"):
        (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
        for k in range(40):
            path = tmp_path / f"raw/{folder}/{k}.jpg"
            path.write_bytes(b"x" * k)
            os.utime(path, ns=(0, 10**18 + k))
    raw = tmp_path / "raw"
    (raw / "link.jpg").symlink_to("a/7.jpg")
    (raw / "away").symlink_to("c")
    (raw / "nowhere.jpg").symlink_to("gone")
    os.mkfifo(raw / "pipe.jpg")
    return raw


@pytest.fixture
def seen(tree: Path) -> Listing:
    found = Listing()
    list(_look_into(str(tree), hashlib.sha256(), set(), found))
    return found


def paths_of(tree: Path) -> list[str]:
    names = [*(f"{folder}/{k}.jpg" for folder in ("a", "a/b", "c", "away") for k in range(40))]
    return [f"{tree}/{name}" for name in (*names, "link.jpg")]


def test_one_look_tells_what_the_system_tells_of_each_file(tree: Path, seen: Listing):
    paths = paths_of(tree)
    assert seen.of(paths).tolist() == [[*size_and_time(path)] for path in paths]
    assert seen.of([]).shape == (0, 2)


def test_odd_names_are_left_to_the_system(tree: Path, seen: Listing):
    odd = [f"{tree}/{name}" for name in ("gone.jpg", "nowhere.jpg", "pipe.jpg", "a", "a/./1.jpg")]
    assert (seen.of(odd)[:, 0] == -1).all()
    asked = copy_context()
    asked.run(listing.set, seen)
    found = asked.run(files_at, odd)
    assert found.tolist() == [[*size_and_time(path)] for path in odd] and found[-1, 0] == 1


def test_without_a_look_each_file_is_asked_for(tree: Path):
    paths = paths_of(tree)
    assert (known(paths) == [-1, 0]).all()
    assert files_at(paths).tolist() == [[*size_and_time(path)] for path in paths]
    assert files_at(paths, lambda path: (len(path), 1)).T[0].tolist() == [*map(len, paths)]


def test_two_files_of_one_hash_are_unknown():
    found = Listing()
    for path, size in (("/raw/a", 1), ("/raw/b", 4), ("/raw/a", 7)):
        found.add(path, size, 2)
    assert np.array_equal(found.of(["/raw/a", "/raw/b"])[:, 0], [-1, 4])
