"""The engine: complete, reproducible, resumable, alone on its output."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shards import BuildOptions, Crop, Engine, LabelIndex, build
from shards.datasets import foreign
from shards.sample import Sample
from tests.shards.labels.test_packing import as_before
from tests.shards.trees import Tree2017, blob, encoded, write_2021

ALONE = Engine(jobs=1)
SMALL = BuildOptions(samples_per_shard=8, engine=ALONE, crop=Crop(size=32))

BUILD = """
import sys
from shards import BuildOptions, Crop, Engine, build
raw, out, jobs, part = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
part = tuple(map(int, part.split("/"))) if part != "-" else None
options = BuildOptions(samples_per_shard=8, engine=Engine(jobs=jobs), crop=Crop(size=32), part=part)
try:
    build("affectnet", raw, out, options, progress=lambda done, total: print(done, flush=True))
except (OSError, ValueError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def in_a_process(raw: Path, out: Path, jobs: int = 1, part: str = "-", before: str = ""):
    command = [sys.executable, "-c", before + BUILD, str(raw), str(out), str(jobs), part]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the report, which holds the time it took."""
    names = sorted(p.name for p in out.iterdir() if p.name != "report.json")
    return {name: (out / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """60 faces of which three cannot be stored, early, in the middle and late."""
    tree = Tree2017(tmp_path_factory.mktemp("raw")).fill(48, 12)
    for i in (3, 20, 50):
        path = tree.images / f"{1 + i % 7}"
        victim = sorted(path.iterdir())[0]
        victim.write_bytes(victim.read_bytes()[:-200])
    tree.add(70, box="NULL,NULL,-1,-1")
    tree.add(71, content=b"")
    tree.add(72, extension="TIF", content=encoded(blob(72), "TIFF"))
    return tree.write()


@pytest.fixture(scope="module")
def done(raw: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done")
    build("affectnet", raw, out, SMALL)
    return out


def test_killed_between_index_and_report_the_report_is_whole(raw: Path, done: Path, tmp_path: Path):
    kill = """
import os, signal, sys
def hear(event, args):
    if event == "os.rename" and str(args[1]).endswith("report.json"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hear)
"""
    killed = in_a_process(raw, tmp_path, before=kill)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "labels.arrow").exists() and not (tmp_path / "report.json").exists()
    build("affectnet", raw, tmp_path, SMALL)
    assert contents(tmp_path) == contents(done)
    reports = [json.loads((out / "report.json").read_text()) for out in (done, tmp_path)]
    for report in reports:
        for varies in ("out", "seconds", "reused"):
            del report[varies]
    assert reports[0] == reports[1]


def test_everything_is_stored_or_reported(raw: Path, done: Path):
    index = LabelIndex.open(done)
    report = json.loads((done / "report.json").read_text())
    assert report["skipped"] == {"empty file": 1, "no face box": 1, "truncated": 3}
    assert len(index) == report["rows"] == 63 - 5 and report["complete"]
    assert report["splits"] == index.splits == index.metadata["splits"]
    assert len(report["examples"]["truncated"]) == 3
    assert index.metadata["skipped"] == report["skipped"]
    assert index.verify() == []
    assert not (done / ".work").exists() and not list(done.glob("*.part"))


def test_what_stands_under_an_index_of_the_format_before_is_finished(raw, done, tmp_path):
    """Labels lie otherwise since then, tars do not: nothing is written again."""
    copied = as_before(LabelIndex.open(done), tmp_path / "out")
    shutil.copy(done / "report.json", copied)
    before = contents(copied)
    report = build("affectnet", raw, copied, SMALL)
    assert report.reused == report.shards == len(LabelIndex.open(done).tars)
    assert contents(copied) == before
    assert LabelIndex.open(copied).metadata["options"]["format"] == 2


def test_rows_hold_what_the_reader_said_and_where_the_crop_lies(done: Path):
    index = LabelIndex.open(done)
    rows = index.table.to_pylist()
    assert {row["width"] for row in rows} == {32} == {row["crop_size"] for row in rows}
    assert {row["src_width"] for row in rows} == {48}
    for row in rows:
        a, b, c, d, e, f = row["crop_affine"]
        assert (b, d) == (0, 0)
        np.testing.assert_allclose([a * 8 + c, e * 40 + f], [2, 30], atol=1e-5)
    tiff = [row for row in rows if row["image_format"] == "tiff"]
    assert len(tiff) == 1 and tiff[0]["extension"] == "jpg"


def test_a_shard_holds_one_split_and_no_order_of_the_list(done: Path):
    index = LabelIndex.open(done)
    for tar in index.tars:
        assert len(set(index.where(shard=tar.name).column("split"))) == 1
    keys = index.where(split="train").column("sample_key").tolist()
    assert keys != sorted(keys)


@pytest.mark.parametrize("jobs", [1, 2])
def test_same_input_same_bytes_for_any_number_of_jobs(raw: Path, done: Path, tmp_path, jobs):
    options = BuildOptions(samples_per_shard=8, engine=Engine(jobs=jobs), crop=Crop(size=32))
    build("affectnet", raw, tmp_path, options)
    assert contents(tmp_path) == contents(done)


def test_workers_that_stand_elsewhere_find_relative_paths(raw, done, tmp_path, monkeypatch):
    list(Engine(jobs=2).run(abs, [-1, -2]))  # these two stay where we stand now
    monkeypatch.chdir(tmp_path)
    options = replace(SMALL, engine=Engine(jobs=2))
    build("affectnet", os.path.relpath(raw), "out", options)
    assert contents(tmp_path / "out") == contents(done)


def test_another_seed_is_another_order_of_the_same_images(raw: Path, done: Path, tmp_path: Path):
    options = BuildOptions(samples_per_shard=8, engine=ALONE, crop=Crop(size=32), seed=1)
    build("affectnet", raw, tmp_path, options)
    ours, theirs = LabelIndex.open(tmp_path), LabelIndex.open(done)
    assert ours.digest != theirs.digest
    assert sorted(ours.table["sha256"].to_pylist()) == sorted(theirs.table["sha256"].to_pylist())


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(raw: Path, done: Path, tmp_path: Path):
    process = in_a_process(raw, tmp_path)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 24:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "labels.arrow").exists()
    (tmp_path / "00006.tar.part").write_bytes(b"half")
    report = build("affectnet", raw, tmp_path, SMALL)
    assert report.reused >= 3
    assert contents(tmp_path) == contents(done)


def test_killed_while_numbering_rows_it_goes_on_to_the_same_bytes(raw, done, tmp_path, monkeypatch):
    from shards.building import build as convert

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convert, "write_marker", _counting(convert.write_marker, 10, killed))
        build("affectnet", raw, tmp_path, SMALL)
    build("affectnet", raw, tmp_path, SMALL)
    assert contents(tmp_path) == contents(done)


def _counting(function, calls: int, then):
    """`function` for some calls, then something else: a process that dies at a known place."""
    left = iter(range(calls))
    return lambda *args: function(*args) if next(left, None) is not None else then(*args)


def test_each_phase_is_named_and_counts_images_to_its_end(raw: Path, done: Path, tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    made: list[tuple[int, int]] = []
    build(
        "affectnet", raw, tmp_path, SMALL,
        progress=lambda *numbers: made.append(numbers), course=lambda *said: told.append(said),
    )  # fmt: skip
    last = {phase: (count, total) for phase, count, total in told}
    assert list(last) == ["checking files", "reading labels", "writing", "sealing"]
    assert told == sorted(told, key=lambda said: (list(last).index(said[0]), said[1]))
    files = sum(1 for path in raw.rglob("*") if path.is_file())
    planned = last["reading labels"][0]
    assert last["checking files"] == (files, 0) and last["writing"] == (planned, planned)
    assert last["sealing"] == (len(LabelIndex.open(tmp_path)), planned)
    assert made == [said[1:] for said in told if said[0] == "writing"]


def test_a_finished_output_is_left_alone(raw: Path, done: Path):
    before = {p: p.stat().st_mtime_ns for p in done.glob("*.tar")}
    report = build("affectnet", raw, done, SMALL)
    assert report.complete and report.rows == 58 and report.reused == report.shards == 9
    assert {p: p.stat().st_mtime_ns for p in done.glob("*.tar")} == before


def test_finished_shards_of_other_options_are_refused_or_replaced(raw: Path, tmp_path: Path):
    build("affectnet", raw, tmp_path, SMALL)
    other = BuildOptions(samples_per_shard=20, engine=ALONE, crop=Crop(size=32))
    with pytest.raises(ValueError, match="finished shards of other inputs or options"):
        build("affectnet", raw, tmp_path, other)
    assert LabelIndex.open(tmp_path).verify() == []
    other = BuildOptions(samples_per_shard=20, engine=ALONE, crop=Crop(size=32), overwrite=True)
    build("affectnet", raw, tmp_path, other)
    index = LabelIndex.open(tmp_path)
    assert len(index.tars) == 4 == len(list(tmp_path.glob("*.tar"))) and index.verify() == []


def test_a_lost_tar_of_a_finished_output_is_written_again(raw: Path, done: Path, tmp_path: Path):
    build("affectnet", raw, tmp_path, SMALL)
    (tmp_path / "00002.tar").unlink()
    build("affectnet", raw, tmp_path, SMALL)
    assert contents(tmp_path) == contents(done)


def test_parts_of_a_job_array_and_the_run_that_joins_them(raw: Path, done: Path, tmp_path: Path):
    runs = [in_a_process(raw, tmp_path, part=f"{i}/2") for i in range(2)]
    for run in runs:
        _, errors = run.communicate()
        assert run.returncode == 0, errors
    assert not (tmp_path / "labels.arrow").exists()
    assert json.loads((tmp_path / "report-1-of-2.json").read_text())["complete"] is False
    report = build("affectnet", raw, tmp_path, SMALL)
    assert report.reused == 9
    assert {k: v for k, v in contents(tmp_path).items() if "report" not in k} == contents(done)


def test_two_runs_on_one_output(raw: Path, done: Path, tmp_path: Path):
    first = in_a_process(raw, tmp_path, before=SLOWLY)
    assert first.stdout is not None
    first.stdout.readline()
    with pytest.raises(OSError, match=rf"is being written by process {first.pid} on .*; wait"):
        build("affectnet", raw, tmp_path, SMALL)
    first.send_signal(signal.SIGKILL)  # its lock dies with it
    first.communicate()
    build("affectnet", raw, tmp_path, SMALL)
    assert contents(tmp_path) == contents(done)


SLOWLY = """
import shards.building.build as c, time
old = c.write_shard
def slowly(job):
    time.sleep(1)
    return old(job)
c.write_shard = slowly
"""


def test_a_full_disk_is_a_sentence_and_then_continues(raw: Path, done: Path, tmp_path: Path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, 15_000))\n"
    limit += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    run = in_a_process(raw, tmp_path, before=limit)
    _, errors = run.communicate()
    assert run.returncode == 1 and "Traceback" not in errors
    assert "cannot be written to: File too large; make room and run the same command" in errors
    assert not list(tmp_path.glob("*.tar")) and not (tmp_path / "labels.arrow").exists()
    build("affectnet", raw, tmp_path, SMALL)
    assert contents(tmp_path) == contents(done)


def test_failed_checks_stop_before_a_byte_and_are_reported(tmp_path: Path):
    root = Tree2017(tmp_path / "raw").fill(5, 2).write(card=False)
    with pytest.raises(ValueError, match="the published release has 414800"):
        build("affectnet", root, tmp_path / "out", SMALL)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert "414800" in report["error"] and not report["complete"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.json"]


def test_nothing_is_made_for_what_does_not_exist(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        build("affectnet", tmp_path / "none", tmp_path / "out", SMALL)
    with pytest.raises(ValueError, match="there is no data set 'imagenet'; choose one of"):
        build("imagenet", tmp_path, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_a_tree_without_a_readable_image_is_a_sentence(tmp_path: Path):
    tree = Tree2017(tmp_path / "raw")
    for i in range(3):
        tree.add(i, csv="validation.csv" if i == 2 else "training.csv", content=b"no image at all")
    with pytest.raises(ValueError, match="could be stored: 3 x not a JPEG"):
        build("affectnet", tree.write(), tmp_path / "out", SMALL)
    assert not (tmp_path / "out/labels.arrow").exists()


def test_a_shard_that_loses_all_its_samples_is_no_tar(tmp_path: Path):
    tree = Tree2017(tmp_path / "raw").fill(6, 2)
    for path in tree.images.rglob("*.jpg"):
        if path.read_bytes() in (encoded(blob(6)), encoded(blob(7))):
            path.write_bytes(b"lost")
    build("affectnet", tree.write(), tmp_path / "out", SMALL)
    index = LabelIndex.open(tmp_path / "out")
    assert [t.name for t in index.tars] == ["00000.tar"] and index.splits == {"train": 6}
    assert index.verify() == []


def test_a_key_that_comes_twice_is_named(tmp_path: Path):
    tree = Tree2017(tmp_path / "raw").fill(3, 1)
    tree.add(1)
    with pytest.raises(ValueError, match=r"key 'affectnet-a_2_.*' comes twice"):
        build("affectnet", tree.write(), tmp_path / "out", SMALL)


def test_the_same_image_in_two_splits_is_warned_about(tmp_path: Path):
    tree = Tree2017(tmp_path / "raw").fill(5, 2)
    tree.add(30, csv="validation.csv", content=encoded(blob(1)))
    report = build("affectnet", tree.write(), tmp_path / "out", SMALL)
    leak = next(c for c in report.findings.checks if c["check"] == "images in several splits")
    assert leak["outcome"] == "warn" and leak["detail"].startswith("1 images stand in more")
    assert re.search(
        r"the first as affectnet-a_2_\w+ \(train\), affectnet-a_\d_\w+ \(val\)", leak["detail"]
    )


def test_the_release_of_2021_passes_through_unchanged(tmp_path: Path):
    root = write_2021(tmp_path / "raw")
    build("affectnet", root, tmp_path / "out", BuildOptions(engine=ALONE))
    index = LabelIndex.open(tmp_path / "out")
    for row, path in enumerate(index.table["original_path"].to_pylist()):
        assert index.read(row) == (root / path).read_bytes()
    assert index.splits == {"train": 12, "val": 4}


def test_json_labels_for_plain_users(tmp_path: Path):
    import tarfile

    root = Tree2017(tmp_path / "raw").fill(5, 2).write()
    build("affectnet", root, tmp_path / "out", BuildOptions(with_json=True, engine=ALONE))
    with tarfile.open(tmp_path / "out/00000.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".json")]
        labels = json.loads(tar.extractfile(names[0]).read())  # type: ignore[union-attr]
    assert labels["sample_key"] == names[0].removesuffix(".json")
    assert {"valence", "arousal", "expression", "split"} <= labels.keys()
    assert "fold" not in labels


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: BuildOptions(part=(2, 2)),
        lambda: BuildOptions(samples_per_shard=0),
        lambda: Engine(kind="spark"),
        lambda: Engine(kind="dask"),
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match=r"part 2/2|0 samples|'spark'|needs --address"):
        wrong()


def test_the_plan_keeps_every_sample_once_in_any_size(tmp_path: Path):
    from shards.building import plan
    from shards.findings import Findings

    n = 9000  # more than a batch of the spill
    (tmp_path / "x").write_bytes(b"1")

    def samples():
        for i in range(n):
            split = "val" if i % 10 == 0 else "train"
            yield Sample(
                key=f"k{i}", original_path="x", dataset="affectnet", variant="v", split=split
            )

    spill = plan.spill(samples(), tmp_path, tmp_path / "plan.spill", Findings())
    arranged = plan.arrange(
        spill, tmp_path / "plan.arrow", seed=0, samples_per_shard=700, stored_bytes=1, choices={}
    )
    batches = [arranged.rows(number) for number in range(len(arranged.shards))]
    assert tuple(batch.num_rows for batch in batches) == arranged.shards
    assert arranged.shards == (675,) * 12 + (450,) * 2  # equal parts of each split
    keys = [key for batch in batches for key in batch["sample_key"].to_pylist()]
    assert sorted(keys) == sorted(f"k{i}" for i in range(n))


def same_size(path: Path) -> None:
    """Another picture of as many bytes in the place of one."""
    content = path.read_bytes()
    other = encoded(blob(1234))
    assert len(other) < len(content) + 600
    padded = other[:-2] + b"\xff\xfe" + (len(content) - len(other) - 2).to_bytes(2, "big")
    padded += bytes(len(content) - len(padded) - 2) + b"\xff\xd9"
    path.write_bytes(padded)
    assert path.stat().st_size == len(content)


def largest(raw: Path) -> Path:
    return max(raw.rglob("*.jpg"), key=lambda path: path.stat().st_size)


@pytest.fixture
def own_raw(tmp_path: Path) -> Path:
    tree = Tree2017(tmp_path / "raw").fill(20, 6)
    tree.add(80, content=encoded(blob(80, 64)))  # room for a comment
    return tree.write()


def killed_after_writing(raw: Path, out: Path) -> None:
    """A run that dies between its last shard and its index."""
    before = "import os, shards.building.build as b\n"
    before += "b.check_leaks = lambda *_: os.kill(os.getpid(), 9)\n"
    run = in_a_process(raw, out, before=before)
    run.communicate()
    assert run.returncode == -signal.SIGKILL and not (out / "labels.arrow").exists()


def test_an_image_replaced_by_one_of_its_size_is_read_again(own_raw: Path, tmp_path: Path):
    out = tmp_path / "out"
    killed_after_writing(own_raw, out)
    same_size(largest(own_raw))
    report = build("affectnet", own_raw, out, SMALL)
    assert 0 < report.reused < report.shards
    build("affectnet", own_raw, tmp_path / "new", SMALL)
    assert contents(out) == contents(tmp_path / "new")


def test_an_image_replaced_under_finished_shards_is_not_passed_over(own_raw: Path, tmp_path: Path):
    out = tmp_path / "out"
    build("affectnet", own_raw, out, SMALL)
    before = contents(out)
    same_size(largest(own_raw))
    for _ in range(2):  # a refusal is no reason to pass it over the next time
        with pytest.raises(ValueError, match="images that changed since"):
            build("affectnet", own_raw, out, SMALL)
    assert contents(out) == before
    build("affectnet", own_raw, out, replace(SMALL, overwrite=True))
    assert contents(out) != before


@pytest.mark.parametrize("damage", ["cut", "empty", "garbled"])
def test_a_damaged_marker_is_a_shard_to_write(own_raw, tmp_path, damage):
    out = tmp_path / "out"
    killed_after_writing(own_raw, out)
    marker = out / ".work/00001.arrow"
    whole = marker.read_bytes()
    garbled = whole[:300] + bytes(100) + whole[400:]
    marker.write_bytes({"cut": whole[:-300], "empty": b"", "garbled": garbled}[damage])
    build("affectnet", own_raw, out, SMALL)
    assert LabelIndex.open(out).verify() == []


def test_a_corrupt_part_is_written_again_at_the_merge(own_raw: Path, tmp_path: Path):
    out = tmp_path / "out"
    killed_after_writing(own_raw, out)
    content = bytearray((out / "00001.tar").read_bytes())
    content[2000] ^= 1
    (out / "00001.tar").write_bytes(content)
    report = build("affectnet", own_raw, out, SMALL)
    assert report.reused == report.shards - 1 and LabelIndex.open(out).verify() == []


def test_a_resume_reads_no_tar_that_nobody_wrote_to(own_raw: Path, tmp_path: Path):
    """Of 40 GB that were once hashed at every resume; `verify` still finds what disks lose."""
    out = tmp_path / "out"
    killed_after_writing(own_raw, out)
    rotten, copied = out / "00001.tar", out / "00002.tar"
    time = rotten.stat().st_mtime_ns
    rotten.write_bytes(rotten.read_bytes().replace(b"JFIF", b"JFIX", 1))
    os.utime(rotten, ns=(time, time))
    os.utime(copied)
    report = build("affectnet", own_raw, out, SMALL)
    assert report.reused == report.shards
    assert any("00001.tar" in problem for problem in LabelIndex.open(out).verify())


def test_a_cut_index_is_mended_by_the_command_its_sentence_names(own_raw: Path, tmp_path: Path):
    out = tmp_path / "out"
    build("affectnet", own_raw, out, SMALL)
    before = contents(out)
    os.truncate(out / "labels.arrow", 5000)
    with pytest.raises(ValueError, match="write the shards again"):
        LabelIndex.open(out)
    build("affectnet", own_raw, out, SMALL)
    assert contents(out) == before
    os.truncate(out / "labels.arrow", 5000)
    (out / "report.json").unlink()  # nothing says which options these shards are of
    with pytest.raises(ValueError, match="--overwrite"):
        build("affectnet", own_raw, out, SMALL)
    build("affectnet", own_raw, out, replace(SMALL, overwrite=True))
    assert contents(out) == before


@pytest.mark.parametrize("damage", [None, b"", b"v1.2 3\n", "other"])
def test_an_index_of_a_tar_that_is_lost_or_garbled_is_written_again(own_raw, tmp_path, damage):
    out = tmp_path / "out"
    build("affectnet", own_raw, out, SMALL)
    before = contents(out)
    if damage is None:
        (out / "00001.idx").unlink()
    else:
        other = (out / "00002.idx").read_bytes()
        (out / "00001.idx").write_bytes(other if damage == "other" else damage)
    assert build("affectnet", own_raw, out, SMALL).complete
    assert contents(out) == before


def test_the_report_keeps_what_the_first_run_found(raw: Path, tmp_path: Path):
    build("affectnet", raw, tmp_path, SMALL)
    first = json.loads((tmp_path / "report.json").read_text())
    for _ in range(2):
        build("affectnet", raw, tmp_path, SMALL)
    again = json.loads((tmp_path / "report.json").read_text())
    for name in ("skipped", "rows", "splits", "digest", "plan", "sources", "stand_in"):
        assert again[name] == first[name]
    assert {c["check"] for c in again["checks"]} == {c["check"] for c in first["checks"]}
    assert again["examples"].keys() == first["examples"].keys()


def test_a_start_cleans_what_a_dead_run_left_and_nothing_else(own_raw: Path, tmp_path: Path):
    out = tmp_path / "out"
    killed_after_writing(own_raw, out)
    ours = ["labels.arrow.part", "report.json.part", "00003.tar.part", "00003.idx.part"]
    ours += [".work/plan.part", ".work/plan.spill", ".work/00003.arrow.part", ".work/dealt-x/3"]
    ours += ["00777.tar", "00777.idx"]
    theirs = ["notes.part", "12.tar", "my.00001.tar", "labels.csv", "00001.tar.bak"]
    for name in (*ours, *theirs):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"x")
    build("affectnet", own_raw, out, SMALL)
    names = {path.name for path in out.rglob("*")}
    assert set(theirs) <= names
    assert not names & {Path(name).name for name in ours} and not (out / ".work").exists()


def test_workers_end_with_their_parent_and_a_rerun_of_another_seed_is_whole(raw, tmp_path):
    import psutil

    out = tmp_path / "out"
    run = in_a_process(raw, out, jobs=2, before=SLOWLY)
    children: list[psutil.Process] = []
    while not list(out.glob(".work/0*.arrow")):
        children = psutil.Process(run.pid).children(recursive=True)
        time.sleep(0.05)
    assert len(children) >= 2
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert not psutil.wait_procs(children, timeout=10)[1]
    other = replace(SMALL, seed=1)
    build("affectnet", raw, out, other)
    build("affectnet", raw, tmp_path / "new", other)
    assert contents(out) == contents(tmp_path / "new")


def test_a_run_waits_for_tasks_of_one_that_ended(raw: Path, tmp_path: Path, monkeypatch):
    from shards.building import store as stores

    monkeypatch.setattr(stores, "_PATIENCE", 0.2)
    a_worker_that_outlived_its_run = stores.Store(tmp_path).working()
    with a_worker_that_outlived_its_run, pytest.raises(OSError, match="workers of a run that has"):
        build("affectnet", raw, tmp_path, SMALL)
    assert build("affectnet", raw, tmp_path, SMALL).complete


def test_a_worker_that_is_killed_is_a_sentence(tmp_path: Path):
    started = time.monotonic()
    with pytest.raises(OSError, match="a worker process was killed"):
        list(Engine(jobs=2).run(_die, [1, 2]))
    assert time.monotonic() - started < 60


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_image_that_leads_out_of_the_root_or_is_no_file_is_left_out(tmp_path: Path):
    tree = Tree2017(tmp_path / "raw").fill(8, 4)
    paths = [tree.add(20 + i) for i in range(5)]
    (disk := tmp_path / "disk").mkdir()
    for path, kind in zip(paths, ("out", "folder", "pipe", "within", "large"), strict=True):
        content = path.read_bytes()
        path.unlink()
        if kind == "out":
            (disk / "secret.jpg").write_bytes(content)
            path.symlink_to(disk / "secret.jpg")
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "within":
            (tree.root / "own.jpg").write_bytes(content)
            path.symlink_to(tree.root / "own.jpg")
        else:
            with path.open("wb") as sparse:
                sparse.truncate(foreign.IMAGE + 1)
    report = build("affectnet", tree.write(), tmp_path / "out", SMALL)
    assert report.findings.skipped == {
        "leads out of the root": 1,
        "no regular file": 1,
        "empty file": 1,  # a pipe holds nothing before it is opened
        "file too large": 1,
    }
    assert report.rows == 12 + 1  # the link that stays within is read
    assert report.findings.examples["leads out of the root"] == [
        paths[0].relative_to(tree.root).as_posix()
    ]


def test_images_on_a_disk_that_a_folder_of_the_root_links_to_are_read(raw, done, tmp_path: Path):
    for path in raw.iterdir():
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / path.name).symlink_to(path)
    (tmp_path / "raw" / "data_card.json").unlink()
    (tmp_path / "raw" / "data_card.json").write_bytes((raw / "data_card.json").read_bytes())
    build("affectnet", tmp_path / "raw", tmp_path / "out", SMALL)
    assert contents(tmp_path / "out") == contents(done)
