"""Remote shards come once, whole and checked; fsspec's memory store stands for the bucket.

One test asks a real S3 server on loopback, through the command line's own option.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from avce.commands.options import here
from pipelines import batches, cached
from pipelines.fetch import fetch
from shards import LabelIndex
from tests.shards.labels.test_opening import renamed, rewritten

BUCKET = "memory://bucket/shards"


@pytest.fixture
def bucket(index):
    store = fsspec.filesystem("memory")
    (folder,) = index.folders
    store.put(str(folder) + "/", "/bucket/shards/", recursive=True)
    yield store
    store.rm("/bucket", recursive=True)


def test_a_fetched_folder_trains_like_the_original(index, bucket, tmp_path):
    seen = []
    fetched = LabelIndex.open(fetch(BUCKET, tmp_path, lambda done, of: seen.append((done, of))))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert fetched.digest == index.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["labels.arrow", *(tar.name for tar in index.tars)]
    )
    assert sum(int(b.mask.sum()) for b in batches(fetched.where(), 30, image_size=56)) == 90


def test_only_what_is_missing_comes(bucket, tmp_path, monkeypatch):
    fetch(BUCKET, tmp_path)
    (tmp_path / "00002.tar").unlink()
    came = []
    get_file = type(bucket).get_file
    monkeypatch.setattr(
        type(bucket), "get_file", lambda s, a, b: came.append(Path(a).name) or get_file(s, a, b)
    )
    fetch(BUCKET, tmp_path)
    assert came == ["labels.arrow", "00002.tar"]


def test_a_changed_tar_is_refused_and_nothing_is_promised(bucket, tmp_path):
    content = bytearray(bucket.cat("/bucket/shards/00001.tar"))
    content[700] ^= 1
    bucket.pipe("/bucket/shards/00001.tar", bytes(content))
    with pytest.raises(OSError, match=r"00001\.tar has sha256"):
        fetch(BUCKET, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert "00000.tar" in names and not names & {"labels.arrow", "00001.tar", "00001.tar.part"}


@pytest.mark.parametrize("name", ["/tmp/avce_outside/00000.tar", "../../00000.tar", "x.tar", ".."])
def test_an_index_that_names_a_file_elsewhere_writes_nothing(index, bucket, tmp_path, name):
    folder, out = tmp_path / "theirs", tmp_path / "deep/ours"
    folder.mkdir()
    name = name.replace("/tmp/avce_outside", str(tmp_path / "outside"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/00000.tar").write_bytes(b"precious")
    rewritten(index.folders[0], folder, metadata=renamed(name))
    bucket.put(str(folder / "labels.arrow"), "/bucket/shards/labels.arrow")
    bucket.pipe("/bucket/00000.tar", b"evil")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    with pytest.raises(ValueError, match=r"memory://bucket/shards: .* names a tar that is none"):
        fetch(BUCKET, out)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")} == before
    assert not list(out.iterdir())


def test_an_address_out_of_its_bucket_is_refused(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="leads out of its bucket"):
        cached("memory://bucket/../../../shards")
    assert not list(tmp_path.iterdir())


def test_a_tar_that_is_not_there_is_named(bucket, tmp_path):
    bucket.rm("/bucket/shards/00001.tar")
    with pytest.raises(OSError, match=r"00001\.tar is missing though its index names it"):
        fetch(BUCKET, tmp_path)
    assert not (tmp_path / "labels.arrow").exists()


def test_halves_of_a_copy_that_died_go_and_nothing_else(index, bucket, tmp_path):
    for name in ("00001.tar.part", "00099.tar.part", "incoming.arrow", "mine.tar.part", "mine"):
        (tmp_path / name).write_bytes(b"x")
    fetch(BUCKET, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "labels.arrow",
        "mine.tar.part",
        "mine",
        *(tar.name for tar in index.tars),
    }


def test_another_tar_under_a_known_name_is_replaced(index, bucket, tmp_path):
    size = index.tars[0].stat().st_size
    (tmp_path / "00000.tar").write_bytes(bytes(size))
    fetch(BUCKET, tmp_path)
    assert (tmp_path / "00000.tar").read_bytes() == index.tars[0].read_bytes()


def test_addresses_without_shards_are_sentences(bucket, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no labels\.arrow"):
        fetch("memory://bucket/elsewhere", tmp_path)
    with pytest.raises(ValueError, match="nonsense://x cannot be read"):
        fetch("nonsense://x", tmp_path)


def test_the_cache_is_filled_once_by_whoever_comes_first(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    came = []
    get_file = type(bucket).get_file
    monkeypatch.setattr(
        type(bucket), "get_file", lambda s, a, b: came.append(Path(a).name) or get_file(s, a, b)
    )
    with ThreadPoolExecutor(2) as ranks:  # a lock is of an open file: threads wait as processes do
        first, second = ranks.map(cached, [BUCKET, BUCKET + "/"])
    assert first == second == tmp_path / "avce/memory/bucket/shards"
    assert (
        sorted(came) == ["00000.tar", "00001.tar", "00002.tar", "00003.tar"] + ["labels.arrow"] * 2
    )


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # botocore and moto on this Python
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_the_command_line_takes_a_bucket_for_a_folder(index, s3_folder, tmp_path, monkeypatch):
    import s3fs

    files = s3fs.S3FileSystem()
    files.put(str(index.folders[0]) + "/", f"{s3_folder}/shards/", recursive=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = here(f"{s3_folder}/shards")
    assert folder == tmp_path / "avce/s3" / s3_folder.removeprefix("s3://") / "shards"
    assert LabelIndex.open(folder).verify() == []
    assert LabelIndex.open(folder).digest == index.digest
    assert here(str(folder)) == folder
    with pytest.raises(FileNotFoundError, match=r"no labels\.arrow"):
        here("s3://faces/elsewhere")
