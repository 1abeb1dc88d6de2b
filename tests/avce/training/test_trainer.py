"""The loop does what the phases say, writes what it promises, and can be stopped at any step."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from avce.config import Config
from avce.ranks import use_own_cores
from avce.scores.metrics import Scores
from avce.training.checkpoint import checkpoints, load_checkpoint
from avce.training.journal import read_log
from avce.training.record import Audited, read_record
from avce.training.run_folder import load_run
from avce.training.trainer import Interrupted, LossNotFinite, fit, lr_factor
from tests.avce.toy import ToyBatches, ToyMethod
from tests.devices import DEVICES

CONFIG = Config(
    weights="none",
    lr=2e-2,
    epochs=3,
    batch_size=8,
    milestones=(7, 13),
    log_every=4,
    keep_last=2,
    log_with="none",
)
CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads over a few numbers wait for each other, tenfold on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(run: Path, config: Config = CONFIG, **options: Any) -> Scores:
    method = options.pop("method", None) or ToyMethod(dropout=0.3, norm=True)
    batches = options.pop("batches", None) or ToyBatches()
    val = options.pop("val", None) or list(ToyBatches(20, 10, seed=1))
    scores = fit(method, config, batches, val, run=run, **options)
    assert isinstance(scores, Scores)
    return scores


def stop_at(step: int) -> Callable[[dict[str, Any]], None]:
    """A listener that does what a cluster does before it takes the machine away.

    The iteration after `step` is finished, then the run stops.
    """

    def listen(record: dict[str, Any]) -> None:
        if record["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return listen


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run / f"{which}.safetensors")


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


# ------------------------------------------------------------------------------ what it does


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_it_learns_and_returns_the_scores_of_the_best_weights(tmp_path, device):
    config = replace(CONFIG, epochs=12, milestones=())
    method = ToyMethod()
    scores = train(tmp_path, config, method=method, val=list(ToyBatches(40, 10)))
    assert {each.device.type for each in method.parameters()} == {device}
    facts = json.loads((tmp_path / "run.json").read_text())
    assert scores.mean_ccc > 0.8
    assert facts["scores"]["best"]["mean_ccc"] == scores.mean_ccc
    logged = [r["val"]["mean_ccc"] for r in read_log(tmp_path / "log.jsonl") if "val" in r]
    assert len(logged) == 13 and max(logged) == scores.mean_ccc


def test_a_phase_steps_only_the_networks_it_names(tmp_path):
    method = ToyMethod()
    method.phases = {"main": ("regressor",)}
    before = {name: value.clone() for name, value in method.state_dict().items()}
    train(tmp_path, replace(CONFIG, epochs=1), method=method)
    moved = {
        n.split(".")[0] for n, v in method.state_dict().items() if not torch.equal(v, before[n])
    }
    assert moved == {"regressor"}


def test_the_schedule_is_that_of_multisteplr(tmp_path):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 5], 0.8)
    for step in range(10):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr_factor(step, (3, 5, 5), 0.8))
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_the_log_tells_losses_rates_speed_and_where_the_time_went(tmp_path):
    told: list[dict[str, Any]] = []
    train(tmp_path, progress=told.append)
    told = [r for r in told if "evaluated" not in r]  # news of a slow evaluation
    assert read_log(tmp_path / "log.jsonl") == told
    steps = [r for r in told if "losses" in r]
    assert [r["step"] for r in steps] == [4, 8, 12, 16]
    first = steps[0]
    assert set(first["losses"]) == {"mse", "head", "discriminative"}
    assert first["lr"]["encoder"] == 2e-2 and steps[-1]["lr"]["encoder"] == pytest.approx(0.0128)
    assert {"forward", "backward", "optimizer"} <= set(first["share"])
    assert first["images_per_s"] > 0 and first["wait_ms"] >= 0 and first["steps"] == 18
    assert [r["step"] for r in told if "val" in r] == [0, 6, 12, 18]


def test_the_run_folder_holds_what_it_promises(tmp_path):
    train(tmp_path, shards_facts={"affectnet": "digest"})
    facts = json.loads((tmp_path / "run.json").read_text())
    assert Config.from_dict(facts["config"]) == CONFIG
    assert facts["shards"] == {"affectnet": "digest"} and facts["versions"]["torch"]
    assert facts["finished"] and facts["scores"]["last"]["step"] == 18 and facts["seed"] == 0
    names = {p.name for p in tmp_path.iterdir()}
    expected = {"run.json", "log.jsonl", "best.safetensors", "last.safetensors", "checkpoints"}
    assert names == expected
    assert [p.name for p in checkpoints(tmp_path / "checkpoints")] == [
        "step-00000012",
        "step-00000018",
    ]


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_the_same_seed_gives_the_same_weights(tmp_path):
    train(tmp_path / "a")
    train(tmp_path / "b")
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_channels_last_and_bf16_train_too(tmp_path):
    config = replace(CONFIG, channels_last=True, precision="bf16", epochs=1)
    train(tmp_path, config)
    state = load_checkpoint(checkpoints(tmp_path / "checkpoints")[-1])
    assert all(t.dtype != torch.bfloat16 for t in state.weights.values())


def test_training_mode_survives_evaluation(tmp_path):
    method = ToyMethod(dropout=0.3)
    modes: list[bool] = []
    train(tmp_path, method=method, progress=lambda _: modes.append(method.encoder.training))
    assert all(modes)


# ------------------------------------------------------------------------------ stop, go on


@pytest.mark.parametrize("stop", [4, 6, 17])  # mid-epoch, the end of an epoch, near the end
@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_a_resumed_run_is_bit_identical(tmp_path, stop):
    config = replace(CONFIG, log_every=1, eval_every=5)
    whole = train(tmp_path / "whole", config)
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path / "cut", config, progress=stop_at(stop - 1))
    assert stopped.value.step == stop
    assert stopped.value.checkpoint.name == f"step-{stop:08d}"
    random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002  another process's past
    resumed = train(tmp_path / "cut", config, resume=True, method=ToyMethod(0.3, True, seed=9))
    assert resumed == whole
    for which in ("best", "last"):
        assert_same(weights(tmp_path / "cut", which), weights(tmp_path / "whole", which))

    def facts(run: str) -> list[tuple[Any, ...]]:
        log = read_log(tmp_path / run / "log.jsonl")
        return [(r["step"], r["epoch"], r.get("losses"), r.get("lr"), r.get("val")) for r in log]

    assert facts("cut") == facts("whole")
    ends = [
        load_checkpoint(checkpoints(tmp_path / r / "checkpoints")[-1]) for r in ("cut", "whole")
    ]
    assert_same(ends[0].optimizers, ends[1].optimizers)
    assert_same(ends[0].rng, ends[1].rng)
    sessions = json.loads((tmp_path / "cut" / "run.json").read_text())["sessions"]
    assert [s["step"] for s in sessions] == [0, stop]


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    class Killed(Exception):
        pass

    def kill(record: dict[str, Any]) -> None:
        if record["step"] == 8:
            raise Killed

    config = replace(CONFIG, checkpoint_every_steps=3)
    train(tmp_path / "whole", config)
    with pytest.raises(Killed):
        train(tmp_path / "cut", config, progress=kill)
    with open(tmp_path / "cut" / "log.jsonl", "a") as file:
        file.write('{"step": 8, "los')  # the line being written when the power went
    train(tmp_path / "cut", config, resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    steps = [r["step"] for r in read_log(tmp_path / "cut" / "log.jsonl")]
    assert steps == [r["step"] for r in read_log(tmp_path / "whole" / "log.jsonl")]


def test_a_resume_says_that_the_log_it_goes_on_with_is_another(tmp_path):
    """It is cut where the checkpoint was written; what stands before is the past of the run."""
    log, told = tmp_path / "log.jsonl", []
    with pytest.raises(Interrupted):
        train(tmp_path, progress=stop_at(4))
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'"step": 4', b'"step": 3', 1))
    with pytest.raises(Interrupted):
        train(tmp_path, resume=True, progress=lambda r: (told.append(r), stop_at(8)(r)))
    train(tmp_path, resume=True, progress=told.append)
    (note,) = [r["note"] for r in told if "log.jsonl" in r.get("note", "")]
    assert "log.jsonl is not the one that" in note and "before step 5" in note


def test_plain_lists_of_batches_resume_by_skipping(tmp_path):
    batches = [batch[:2] for batch in ToyBatches()]
    train(tmp_path / "whole", batches=batches)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", batches=batches, progress=stop_at(8))
    train(tmp_path / "cut", batches=batches, resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_a_finished_run_can_be_made_longer(tmp_path):
    train(tmp_path / "whole", replace(CONFIG, epochs=4))
    train(tmp_path / "cut")
    train(tmp_path / "cut", replace(CONFIG, epochs=4), resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_checkpoints_come_every_so_many_minutes(tmp_path):
    train(tmp_path, replace(CONFIG, checkpoint_every_minutes=1e-9, keep_last=99))
    assert len(checkpoints(tmp_path / "checkpoints")) == 18


def test_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(tmp_path, replace(CONFIG, epochs=1))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


# ------------------------------------------------------------------------------ refusals


def test_a_folder_with_another_run_is_refused(tmp_path):
    train(tmp_path, replace(CONFIG, epochs=1))
    with pytest.raises(ValueError, match="already holds a run; resume it"):
        train(tmp_path)


def test_nothing_to_resume_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json does not exist"):
        train(tmp_path, resume=True)


def test_another_config_or_other_shards_are_refused(tmp_path):
    train(tmp_path, replace(CONFIG, epochs=1), shards_facts={"affectnet": "a"})
    with pytest.raises(ValueError, match=r"started with lr=0\.02, not 1\.0"):
        train(tmp_path, replace(CONFIG, lr=1.0), resume=True)
    with pytest.raises(ValueError, match="other shards"):
        train(tmp_path, resume=True, shards_facts={"affectnet": "b"})


def test_a_nan_stops_with_its_step_rows_and_batch(tmp_path):
    batches = ToyBatches()
    batches.target[17] = float("nan")
    with pytest.raises(LossNotFinite, match=r"step \d+: the loss is not finite.*17") as found:
        train(tmp_path, batches=batches)
    (saved,) = tmp_path.glob("bad-step-*.safetensors")
    assert str(saved) in str(found.value)
    batch = load_file(saved)
    assert set(batch) == {"image", "target", "row", "mask"} and 17 in batch["row"]
    for path in checkpoints(tmp_path / "checkpoints"):
        assert all(torch.isfinite(t).all() for t in load_checkpoint(path).weights.values())


def test_no_training_batches_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no batches"):
        fit(ToyMethod(), CONFIG, [], ToyBatches(), run=tmp_path)


def test_a_tracker_that_is_not_installed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="log_with=comet_ml is not installed"):
        train(tmp_path, replace(CONFIG, log_with="comet_ml"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("launcher", "given", "ranks", "threads"),
    [
        ("ACCELERATE_MIXED_PRECISION", "1", 1, CORES),
        ("TORCHELASTIC_RUN_ID", "1", 2 * CORES, 1),
        ("ACCELERATE_MIXED_PRECISION", "3", 1, 5),
        (None, "1", 1, 5),
    ],
    ids=["all cores", "more ranks than cores", "somebody's wish", "no launcher"],
)
def test_a_launchers_single_thread_becomes_the_share_of_the_cores(
    monkeypatch, launcher, given, ranks, threads
):
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    if launcher:
        monkeypatch.setenv(launcher, "no")
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    torch.set_num_threads(5)
    use_own_cores()
    assert torch.get_num_threads() == threads


def test_tensorboard_gets_the_same_numbers(tmp_path):
    train(tmp_path, replace(CONFIG, log_with=Config().log_with, epochs=1))
    events = list((tmp_path / "trackers").rglob("events.out.tfevents.*"))
    assert events and any(b"val/valence/ccc" in e.read_bytes() for e in events)


# ------------------------------------------------------------------------------ opening a run


def test_a_run_opens_as_the_method_it_trained(tmp_path):
    from avce.method.build import build_method

    config = replace(CONFIG, image_size=64, epochs=1, batch_size=4, log_every=1)
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3, 64, 64), torch.rand(4, 2) * 2 - 1) for _ in range(2)]
    method = build_method(config)
    fit(method, config, batches, batches, run=tmp_path)
    loaded, found, record = load_run(tmp_path, "last")
    assert found == config and record.scores and not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded.predict(batches[0][0]), method.eval().predict(batches[0][0]))
    steps = [r for r in read_log(tmp_path / "log.jsonl") if "share" in r]
    assert all(r["share"]["layers"] > 0 for r in steps) and len(steps) == 2

    facts = record.to_json()
    facts |= {"config": facts["config"] | {"encoder": "resnet18"}, "version": 2}
    del facts["sha256"]  # as a run of before the seal was written
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="holds another architecture than encoder=resnet18"):
        load_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a run"):
        load_run(tmp_path / "nothing")


@pytest.mark.parametrize("engine", ["closed", "ecos", "batched"])
def test_engines_train_alike_and_the_audit_is_logged(tmp_path, engine):
    from avce.method.build import build_method

    config = replace(
        CONFIG, image_size=64, epochs=1, batch_size=4, log_every=1, audit=1.0, layers=engine
    )
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3, 64, 64), torch.rand(4, 2) * 2 - 1)]
    fit(build_method(config), config, batches, batches, run=tmp_path)
    steps = [r for r in read_log(tmp_path / "log.jsonl") if "share" in r]
    assert 0 < steps[0]["audit"] < 1e-6  # float32 rows against programs solved in float64
    assert (steps[0]["audit_rows"], steps[0]["audit_left_out"]) == (4 * 2 * 2, 0)


def test_a_stopped_run_goes_on_with_what_was_audited(tmp_path):
    from avce.method.build import build_method

    config = replace(CONFIG, image_size=64, epochs=2, batch_size=4, log_every=1, audit=1.0)
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3, 64, 64), torch.rand(4, 2) * 2 - 1) for _ in range(2)]
    told: list[dict[str, Any]] = []

    def listen(record: dict[str, Any]) -> None:
        told.append(record)
        stop_at(1)(record)

    def audited() -> Audited:
        found = read_record(tmp_path).audit
        assert found is not None and found.rows + found.left_out == found.step * 4 * 2 * 2
        return found

    with pytest.raises(Interrupted):
        fit(build_method(config), config, batches, batches, run=tmp_path, progress=listen)
    assert audited().step == 2 and not audited().waiting
    assert told[-1]["note"] == str(audited())
    fit(build_method(config), config, batches, batches, run=tmp_path, resume=True)
    assert audited().step == 4 and audited().rows >= 2 * 4 * 2 * 2  # the end waits for all
