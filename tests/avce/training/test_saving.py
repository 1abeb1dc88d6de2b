"""What is on disk outlives any end: kills at any change of it, damage, two writers, signals."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from avce.config import with_settings
from avce.training.checkpoint import checkpoints, load_checkpoint, step_of
from avce.training.journal import read_log
from avce.training.record import read_record
from avce.training.saving import computed_in
from avce.training.trainer import Interrupted, fit
from tests.avce.toy import ToyBatches
from tests.avce.training.one_run import CONFIG, Fused, SlowBatches

ROOT = Path(__file__).parents[3]


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.avce.training.one_run", str(folder), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def run(folder: Path, *words: str) -> tuple[int, str]:
    process = begin(folder, *words)
    said, _ = process.communicate(timeout=200)
    return process.returncode, said


def here(folder: Path, settings: Sequence[str] = (), *, stop: int = 0, resume: bool = False) -> Any:
    """The same training in this process; `stop` asks it to stop after that step."""

    def listen(record: dict[str, Any]) -> None:
        if record["step"] == stop - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    torch.rand(3)
    config = with_settings(CONFIG, [*settings, *(["log_every=1"] if stop else [])])
    method = Fused(dropout=0.3, norm=True, seed=9 if resume else 0)
    val = SlowBatches(16, 8, seed=1)
    return fit(method, config, ToyBatches(), val, run=folder, resume=resume,
               progress=listen if stop else None)  # fmt: skip


def last(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "last.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def history(folder: Path) -> list[tuple[Any, ...]]:
    records = read_log(folder / "log.jsonl")
    return [(r["step"], "val" in r, r.get("losses"), r.get("val")) for r in records]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    here(folder)
    return folder


@pytest.mark.parametrize(
    ("layout", "precision", "optimizer"),
    [*itertools.product(("true", "false"), ("no", "bf16"), ("adam", "sgd"))],
)
def test_a_resumed_run_is_bit_identical_in_every_memory_format(
    tmp_path, layout, precision, optimizer
):
    settings = [f"channels_last={layout}", f"precision={precision}", f"optimizer={optimizer}"]
    here(tmp_path / "whole", settings)
    with pytest.raises(Interrupted):
        here(tmp_path / "cut", settings, stop=5)
    here(tmp_path / "cut", settings, resume=True)
    assert same(last(tmp_path / "cut"), last(tmp_path / "whole"))


@pytest.mark.parametrize("kill", [1, 7, 15, 24, 33, 41, 52, 60, 68, 76])
def test_a_run_killed_at_a_change_of_the_disk_ends_as_if_it_was_not(tmp_path, whole, kill):
    folder = tmp_path / "cut"
    code, said = run(folder, f"kill={kill}")
    if code == 0:
        pytest.skip(f"the run has fewer than {kill} changes")
    assert code == -signal.SIGKILL, said
    words = ["resume"] if (folder / "run.json").exists() else []
    code, said = run(folder, *words)
    assert code == 0, said
    assert same(last(folder), last(whole)) and history(folder) == history(whole)
    assert same(load_file(folder / "best.safetensors"), load_file(whole / "best.safetensors"))
    names = {p.name for p in folder.iterdir()}
    assert names == {p.name for p in whole.iterdir()}
    assert len(checkpoints(folder / "checkpoints")) == CONFIG.keep_last
    assert len(list((folder / "checkpoints").iterdir())) == CONFIG.keep_last


def test_last_weights_that_are_older_than_the_end_are_written_again(tmp_path, whole):
    folder = tmp_path / "run"
    here(folder)
    with pytest.raises(Interrupted):
        here(tmp_path / "early", stop=5)
    (folder / "last.safetensors").write_bytes(
        (tmp_path / "early" / "last.safetensors").read_bytes()
    )
    here(folder, resume=True)
    assert step_of(folder / "last.safetensors") == 12 and same(last(folder), last(whole))


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, whole):
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        here(folder, stop=8)
    newest = checkpoints(folder / "checkpoints")[-1]
    content = bytearray((newest / "optimizers.safetensors").read_bytes())
    content[-3] ^= 8
    (newest / "optimizers.safetensors").write_bytes(content)
    code, said = run(folder, "resume")
    assert code == 0, said
    assert same(last(folder), last(whole))
    note = read_record(folder).sessions[-1].note
    assert note and str(newest) in note and "gone on from" in note
    for path in checkpoints(folder / "checkpoints"):
        load_checkpoint(path)
    assert newest.with_name(f"{newest.name}.damaged").is_dir()


def test_a_run_without_any_whole_checkpoint_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        here(tmp_path, stop=2)
    for path in checkpoints(tmp_path / "checkpoints"):
        (path / "state.json").write_text("[]")
    with pytest.raises(ValueError, match=r"no checkpoint of .* is whole"):
        here(tmp_path, resume=True)


def test_a_run_has_one_writer(tmp_path):
    process = begin(tmp_path / "run", "slow=5", "n=512")
    try:
        while not (tmp_path / "run" / "log.jsonl").exists():
            time.sleep(0.05)
        for resume in (False, True):
            with pytest.raises(ValueError, match=rf"another process \(pid {process.pid} on "):
                here(tmp_path / "run", resume=resume)
    finally:
        process.kill()
        process.communicate()
    here(tmp_path / "run", resume=True)  # its holder is dead
    assert not (tmp_path / "run" / "lock").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_first_evaluation_stops_within_two_seconds(tmp_path, whole, number):
    folder = tmp_path / "run"
    process = begin(folder, "slow=0.3", "n=800")
    while not (folder / "log.jsonl").exists():
        time.sleep(0.02)
    time.sleep(0.5)
    asked = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3 and "stopped 0" in said
    assert time.monotonic() - asked < 10  # two seconds, and the end of a process on a busy machine
    assert read_log(folder / "log.jsonl") == []
    here(folder, resume=True)
    assert same(last(folder), last(whole)) and history(folder) == history(whole)


def test_the_first_evaluation_is_bounded_and_never_the_best(tmp_path):
    folder = tmp_path / "run"
    here(folder, ["first_eval=5"])
    counts = [(r["step"], r["val"]["n"]) for r in read_log(folder / "log.jsonl") if "val" in r]
    assert counts == [(0, 8), (4, 16), (8, 16), (12, 16)]
    assert (step_of(folder / "best.safetensors") or 0) > 0


def test_run_json_says_what_was_computed_with(tmp_path, whole):
    assert read_record(whole).precision == "float32"
    gpu = computed_in(CONFIG, torch.device("cuda"))
    assert gpu.startswith("float32, TF32 in ")
    assert computed_in(with_settings(CONFIG, ["precision=bf16"]), torch.device("cpu")) == (
        "bfloat16 by autocast, else float32"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("layout", ["true", "false"])
def test_a_checkpoint_of_a_gpu_gives_back_its_state(tmp_path, layout):
    settings = [f"channels_last={layout}"]
    with pytest.raises(Interrupted):
        here(tmp_path, settings, stop=5)
    found = load_checkpoint(checkpoints(tmp_path / "checkpoints")[-1])
    assert set(found.rng) == {"torch", "cuda"} and found.rng["cuda"].shape[0] == 1
    here(tmp_path, settings, resume=True)
    assert json.loads((tmp_path / "run.json").read_text())["finished"]
