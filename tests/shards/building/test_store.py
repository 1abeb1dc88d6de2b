"""Where shards end up: a folder, or an address; one run at a time, and no file of others lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shards.building.store import Store, is_ours

HOLD = """
import sys
from shards.building.store import Store
with Store.at(sys.argv[1]).locked(None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["folder", "address"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store.at(tmp_path / "out")
    return Store(tmp_path / "local", f"memory://{tmp_path.name}/out")


def put(store: Store, name: str, content: bytes) -> None:
    path = store.local / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    store.publish(name)


def test_what_is_published_can_be_found_read_and_fetched(store: Store):
    put(store, "00000.tar", b"0123456789")
    put(store, ".work/00000.arrow", b"rows")
    assert store.sizes() == {"00000.tar": 10, ".work/00000.arrow": 4}
    assert store.has("00000.tar") and not store.has("00001.tar")
    assert store.read("00000.tar") == b"0123456789"
    assert store.read("00000.tar", 3, 4) == b"3456" and store.read("00000.tar", 8) == b"89"
    assert store.fetch("00000.tar").read_bytes() == b"0123456789"
    assert (store.local / ".work/00000.arrow").exists() == (store.url is None)


def test_removing_and_cleaning_leave_what_is_not_named(store: Store):
    for name in ("labels.arrow", "00000.tar", ".work/00000.arrow"):
        put(store, name, b"x")
    assert store.has_progress()
    store.remove(["00000.tar", "labels.arrow"])
    assert store.sizes() == {".work/00000.arrow": 1}
    put(store, "report.json", b"{}")
    store.clean()
    assert store.sizes() == {"report.json": 2} and not store.has_progress()


def test_an_address_has_its_own_local_folder_each():
    one, other = Store.at("s3://bucket/a/"), Store.at("s3://bucket/b")
    assert str(one) == "s3://bucket/a" and one.local != other.local
    assert Store.at("s3://bucket/a/").local == one.local
    assert Store.at("here").url is None


def test_an_address_of_an_unknown_kind_is_one_sentence(tmp_path: Path):
    store = Store(tmp_path, "nowhere://x")
    with pytest.raises(ValueError, match=r"nowhere://x cannot be written to .*pip install"):
        store.has("a")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("00000.tar", True), (".work/00000.arrow", True), ("00012.idx", True),
        ("holiday.tar", False), ("labels.arrow.bak", False), ("sub/00000.tar", False),
        ("0.tar", False), ("report.json", False),
    ],
)  # fmt: skip
def test_a_run_removes_its_own_names_alone(name: str, ours: bool):
    assert is_ours(name) == ours


def test_a_lock_sweeps_the_halves_of_a_dead_run_and_nothing_else(tmp_path: Path):
    store = Store.at(tmp_path)
    put(store, ".work/frames/a.part", b"x")
    for name in ("00000.tar.part", "labels.arrow.part", "report.json.part", "thesis.part", "a.tar"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".work" / "dealt-1").mkdir()
    with store.locked(None):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".work", "a.tar", "thesis.part"]
        assert not (tmp_path / ".work" / "dealt-1").exists()
        assert not (tmp_path / ".work/frames/a.part").exists()


def test_parts_share_an_output_and_nobody_shares_a_part(tmp_path: Path):
    store = Store.at(tmp_path)
    with store.locked((0, 2)), store.locked((1, 2)):
        for part in ((0, 2), None):
            with pytest.raises(OSError, match=f"is being written by process {os.getpid()} on"):
                store.locked(part).__enter__()
    with store.locked(None):
        assert (tmp_path / ".work" / "lock").exists()
    assert not (tmp_path / ".work" / "lock").exists()


def test_the_lock_of_a_killed_run_is_gone_with_it(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(OSError, match=f"process {holder.pid} on .*; wait for it, or choose"):
        Store.at(tmp_path).locked(None).__enter__()
    holder.kill()
    holder.communicate()
    with Store.at(tmp_path).locked(None):
        pass
