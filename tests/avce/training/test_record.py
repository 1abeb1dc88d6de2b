"""run.json is a type: what is written opens, what is not of its kind is one sentence."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from avce.config import Config
from avce.recipes import RECIPES
from avce.training.record import (
    VERSION,
    Ending,
    RunRecord,
    Shards,
    latest_run,
    read_record,
    versions,
)
from avce.training.run_folder import RunFolder
from pipelines.health import flavours

SHARDS = {"folders": ["a"], "fold": 1, "digest": "d", "datasets": ["affectnet"], "crop": {"s": 2}}


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(text)
    return folder


def test_what_is_written_is_read(tmp_path):
    folder = RunFolder.begin(tmp_path, RECIPES["demo"], 2, SHARDS)
    folder.record_session(0, 2)
    folder.record_scores({"best": {"step": 3, "valence": {"ccc": None}}})
    found = read_record(tmp_path)
    assert found == folder.record and found.version == VERSION
    assert found.config == RECIPES["demo"] and found.sessions[0].world_size == 2
    assert found.shards.model_dump() == SHARDS | {"parts": {}, "classes": []}
    assert set(json.loads((tmp_path / "run.json").read_text())) >= (
        set(RunRecord.model_fields) - {"imported", "precision", "audit"}
    )


def test_the_flavour_of_dali_is_among_the_versions():
    dali = [f"{name} {found}" for name, found in versions().items() if "dali" in name]
    assert dali == flavours() and len(dali) == 1


def test_a_file_of_the_time_before_versions_opens(tmp_path):
    old = {"config": {"lr": 1e-3}, "scores": None, "facts_nobody_reads": [1]}
    found = read_record(written(tmp_path, json.dumps(old)))
    assert found.version == 1 and found.config == Config(lr=1e-3) and found.shards == Shards()
    assert found.to_json()["facts_nobody_reads"] == [1]  # and stays when the run goes on


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", r"it is \[\]"),
        ("null", "it is None"),
        ("{}", "config is missing"),
        ('{"config": []}', r"config is \[\]"),
        ('{"config": {"lr": -1}}', "lr is -1, but the field holds"),
        ('{"config": {"lrr": 1}}', "no field 'lrr'; did you mean lr"),
        ('{"config": {}, "world_size": "2"}', "world_size is '2'"),
        ('{"config": {}, "shards": {"folders": "a"}}', "shards.folders is 'a'"),
        ('{"config": {}, "scores": {"best": {"valence": {"ccc": "x"}}}}', "ccc is 'x'"),
        ('{"config": {}, "scores": {"best": {"n": NaN}}}', "NaN is no number of JSON"),
        ('{"config": {}, "version": 99}', "version is 99"),
        ("[" * 100_000, "nested too deep"),
        ("{", "is not JSON"),
        ("\udcff", "is not JSON"),
    ],
)
def test_what_is_no_record_is_one_sentence(tmp_path, text, said):
    (tmp_path / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=said) as error:
        read_record(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "run.json")) and "\n" not in str(error.value)


def test_no_file_and_no_regular_file_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape("is not a run; train one first")):
        read_record(tmp_path)
    (tmp_path / "run.json").mkdir()
    with pytest.raises(ValueError, match="is no file"):
        read_record(tmp_path)


def test_whether_a_run_ended_needs_no_more_than_its_scores(tmp_path):
    assert read_record(written(tmp_path, "{}"), Ending).scores is None
    found = read_record(written(tmp_path, '{"scores": {"best": {}}}'), Ending)
    assert found.scores == {"best": {}}


def test_the_same_shards_are_known_wherever_they_lie(tmp_path):
    here, there = Shards(**SHARDS), Shards(**SHARDS | {"folders": ["/elsewhere"]})
    assert here.same(there) and not here.same(Shards(**SHARDS | {"digest": "other"}))
    data = tmp_path / "new" / "data" / "affectnet"
    data.mkdir(parents=True)
    moved = Shards(folders=[str(tmp_path / "old" / "data" / "affectnet"), str(data), "data/none"])
    run = tmp_path / "new" / "runs" / "one"
    assert moved.places(run) == [data, data, Path("data/none")]


def test_the_latest_run_is_the_newest_finished_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        latest_run(tmp_path)
    endings = (
        {"finished": "2026"},
        {"imported": {"a.pth": "0"}},
        {"finished": None},
        {"version": 99},
    )
    for number, ending in enumerate(endings):
        run = tmp_path / f"run{number}"
        run.mkdir()
        os.utime(
            written(run, json.dumps({"config": {}} | ending)) / "run.json", (number, 1000 + number)
        )
    assert latest_run(tmp_path) == tmp_path / "run1"
    os.utime(tmp_path / "run0/run.json")
    assert latest_run(tmp_path) == tmp_path / "run0"
    for number in (0, 1):
        (tmp_path / f"run{number}/run.json").unlink()
    with pytest.raises(FileNotFoundError, match="run3, has not ended"):
        latest_run(tmp_path)


def test_a_record_is_sealed_and_any_other_value_is_refused(tmp_path):
    record = RunRecord(version=VERSION, config=Config(lr=1e-3), seed=5, started="2026-11-25")
    facts = record.to_json()
    assert read_record(written(tmp_path / "a", json.dumps(facts))) == record
    for change in ({"seed": 6}, {"sha256": "0"}, {"config": facts["config"] | {"margin": 2.0}}):
        with pytest.raises(ValueError, match=r"run\.json is not what was written"):
            read_record(written(tmp_path / "b", json.dumps(facts | change)))
    del facts["sha256"]
    with pytest.raises(ValueError, match=r"run\.json is not what was written"):
        read_record(written(tmp_path / "c", json.dumps(facts)))


def test_a_model_that_is_not_there_is_not_asked_for_its_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors does not exist; give a run"):
        read_record(tmp_path / "gone.safetensors")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(FileNotFoundError, match=r"model\.onnx is no run; .* model\.safetensors of"):
        read_record(tmp_path / "model.onnx")
