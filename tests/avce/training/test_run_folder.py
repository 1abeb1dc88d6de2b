"""A run on disk: begun once, reopened as it was, its weights strictly in their places."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from avce.config import Config
from avce.training.checkpoint import read_safetensors
from avce.training.record import read_record
from avce.training.run_folder import (
    CHANGEABLE,
    RunFolder,
    architecture_misfits,
    first_scores,
    load_weights,
    refuse_other_config,
)
from tests.avce.toy import ToyMethod

CONFIG = Config(weights="none", epochs=2)
SHARDS = {"folders": ["data/shards/a"], "digest": "1" * 64}


def begun(path: Path) -> RunFolder:
    folder = RunFolder.begin(path, CONFIG, 1, SHARDS)
    folder.record_session(0, 1)
    return folder


def test_a_run_says_who_it_is_from_its_first_step(tmp_path: Path):
    begun(tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert record.config == CONFIG and record.seed == CONFIG.seed
    assert record.finished is None and record.scores is None
    assert [session.step for session in record.sessions] == [0]
    assert record.shards.digest == "1" * 64 and "torch" in record.versions


def test_a_folder_holds_one_run(tmp_path: Path):
    begun(tmp_path)
    with pytest.raises(ValueError, match="already holds a run; resume it, or choose another"):
        RunFolder.begin(tmp_path, CONFIG, 1, None)


def test_a_finished_run_that_is_reopened_is_unfinished_again(tmp_path: Path):
    begun(tmp_path).record_scores({"best": {"step": 3, "n": 2}})
    assert read_record(tmp_path).finished is not None
    longer = RunFolder.reopen(tmp_path, replace(CONFIG, epochs=5), SHARDS)
    longer.record_session(4, 2)
    record = read_record(tmp_path)
    assert record.finished is record.scores is None and record.config.epochs == 5
    assert [(s.step, s.world_size) for s in record.sessions] == [(0, 1), (4, 2)]


def test_the_same_shards_may_lie_elsewhere_and_others_are_refused(tmp_path: Path):
    begun(tmp_path)
    moved = {**SHARDS, "folders": ["/other/place"]}
    assert RunFolder.reopen(tmp_path, CONFIG, moved).record.shards.folders == SHARDS["folders"]
    with pytest.raises(ValueError, match="trained on other shards than the ones given"):
        RunFolder.reopen(tmp_path, CONFIG, {**SHARDS, "digest": "2" * 64})


def test_a_resumed_run_may_change_how_it_reports_and_nothing_it_learns_by(tmp_path: Path):
    assert {field.name for field in fields(Config)} >= CHANGEABLE
    for changes in ({"epochs": 9}, {"log_every": 7}, {"keep_last": 1}, {"log_with": "none"}):
        refuse_other_config(tmp_path, CONFIG, replace(CONFIG, **changes))
    for name, value in (("lr", 0.5), ("seed", 3), ("batch_size", 7), ("encoder", "resnet18")):
        with pytest.raises(ValueError, match=f"was started with {name}=.*, not {value}; resume"):
            refuse_other_config(tmp_path, CONFIG, replace(CONFIG, **{name: value}))


def test_saved_weights_come_back_bit_for_bit_with_step_and_config(tmp_path: Path):
    folder, method, other = begun(tmp_path), ToyMethod(seed=0), ToyMethod(seed=1)
    folder.save_weights("best", method.state_dict(), 7)
    found = read_safetensors(tmp_path / "best.safetensors")
    load_weights(other, found, tmp_path / "best.safetensors", CONFIG)
    for name, tensor in method.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert not list(tmp_path.glob("*.part"))


def test_every_misfit_is_named_and_one_is_enough(tmp_path: Path):
    method = ToyMethod()
    expected = method.state_dict()
    found = {**expected, "regressor.weight": torch.zeros(2, 3), "stray": torch.zeros(1)}
    del found["head.bias"]
    assert architecture_misfits(expected, found) == [
        "head.bias is missing",
        "stray is unknown",
        "regressor.weight has shape (2, 3) instead of (2, 36)",
    ]
    before = {name: tensor.clone() for name, tensor in expected.items()}
    with pytest.raises(ValueError, match=r"x\.safetensors holds another architecture .* 3 tensors"):
        load_weights(method, found, Path("x.safetensors"), CONFIG)
    assert all(torch.equal(method.state_dict()[n], t) for n, t in before.items())  # untouched


def test_the_scores_before_training_are_the_first_of_the_log(tmp_path: Path):
    lines = [
        '{"step": 0, "loss": 1}',
        '{"step": 0, "val": {"n": 1}}',
        '{"step": 9, "val": {"n": 2}}',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    assert first_scores(tmp_path) == {"n": 1}
