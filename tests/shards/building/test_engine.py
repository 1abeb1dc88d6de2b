"""The same tasks on a Dask cluster, and the same files in an object store."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from shards import BuildOptions, Crop, Engine, LabelIndex, build
from shards.building.store import Store
from tests.shards.building.test_build import contents
from tests.shards.building.test_videos import OPTIONS, two_videos
from tests.shards.trees import Tree2017

SMALL = {"samples_per_shard": 6, "crop": Crop(size=32)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    tree = Tree2017(tmp_path_factory.mktemp("raw")).fill(30, 6)
    victim = next((tree.images / "3").iterdir())
    victim.write_bytes(victim.read_bytes()[:-200])
    return tree.write()


@pytest.fixture(scope="module")
def done(raw: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done")
    build("affectnet", raw, out, BuildOptions(engine=Engine(jobs=1), **SMALL))
    return out


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # the cluster's own sockets, when a worker was killed
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_dask_with_a_killed_worker_gives_the_same_bytes(raw: Path, done: Path, tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        victim = next(iter(cluster.workers.values())).pid
        engine = Engine(kind="dask", address=cluster.scheduler_address)
        killed = []

        def kill_once(finished: int, total: int) -> None:
            if 0 < finished < total and not killed:
                os.kill(victim, signal.SIGKILL)
                killed.append(finished)

        build("affectnet", raw, tmp_path, BuildOptions(engine=engine, **SMALL), kill_once)
    assert killed and contents(tmp_path) == contents(done)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # botocore and moto on this Python
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_an_object_store_holds_the_same_bytes(
    raw: Path, done: Path, tmp_path: Path, s3_folder: str
):
    import s3fs

    class Killed(BaseException):
        pass

    def killed(finished: int, total: int) -> None:
        if finished > 12:
            raise Killed

    options = BuildOptions(engine=Engine(jobs=1), **SMALL)
    with pytest.raises(Killed):
        build("affectnet", raw, s3_folder, options, killed)
    files = s3fs.S3FileSystem()
    assert not files.exists(f"{s3_folder}/labels.arrow")
    report = build("affectnet", raw, s3_folder, options)
    assert report.reused >= 2
    assert build("affectnet", raw, s3_folder, options).reused == report.shards
    names = [name.rsplit("/", 1)[1] for name in files.find(s3_folder)]
    assert sorted(names) == sorted([*contents(done), "report.json"])
    files.get(s3_folder + "/", str(tmp_path / "copy") + "/", recursive=True)
    assert contents(tmp_path / "copy") == contents(done)
    assert LabelIndex.open(tmp_path / "copy").verify() == []


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # botocore and moto on this Python
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_workers_without_a_common_folder_hand_frames_on_through_the_store(
    tmp_path: Path, s3_folder: str, monkeypatch: pytest.MonkeyPatch
):
    import s3fs

    distributed = pytest.importorskip("distributed")
    videos = two_videos(tmp_path, monkeypatch)
    build("aff-wild", videos, tmp_path / "local", OPTIONS)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        engine = Engine(kind="dask", address=cluster.scheduler_address)
        here = []

        def look(finished: int, total: int) -> None:
            here.extend(Store.at(s3_folder).work.rglob("*.jpgs"))

        build("aff-wild", videos, s3_folder, replace(OPTIONS, engine=engine), look)
    assert not here  # on this machine, as on those of other workers
    files = s3fs.S3FileSystem()
    files.invalidate_cache()
    assert not [name for name in files.find(s3_folder) if ".work" in name]
    files.get(s3_folder + "/", str(tmp_path / "copy") + "/", recursive=True)
    assert contents(tmp_path / "copy") == contents(tmp_path / "local")


def test_an_address_that_nobody_knows_is_a_sentence(raw: Path):
    with pytest.raises(ValueError, match="nowhere://x cannot be written to"):
        build("affectnet", raw, "nowhere://x", BuildOptions(engine=Engine(jobs=1)))


def slower_first(number: int) -> int:
    time.sleep(0.2 / (number + 1))
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_in_order_come_in_the_order_of_the_tasks(jobs: int):
    assert list(Engine(jobs=jobs).in_order(slower_first, range(5))) == list(range(5))
