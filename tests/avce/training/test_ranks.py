"""Two real processes on this machine train as one does: the same code that runs on many GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from avce.training.checkpoint import checkpoints, load_checkpoint
from avce.training.journal import read_log
from avce.training.record import read_record

ROOT = Path(__file__).parents[3]


def launch(launcher: list[str], folder: Path, *tasks: str) -> None:
    """Run `tests.avce.training.two_ranks` under `launcher`."""
    command = [
        sys.executable,
        *launcher,
        "-m",
        "tests.avce.training.two_ranks",
        str(folder),
        *tasks,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
    )
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything two ranks do, and then what one rank does, in two launches."""
    folder = tmp_path_factory.mktemp("ranks")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launch(
        torchrun,
        folder,
        "two=train",
        "norm=norm",
        "bad=poison",
        "cut=stop",
        "avce2=avce",
        "pair=stop",
        "pair=resume",
    )
    launch([], folder, "one=train", "cut=resume", "avce1=avce")
    return folder


def answer(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    """What a rank saw of the task, such as "two.train"."""
    return json.loads((folder / f"{name}.rank-{rank}.json").read_text())


def losses(run: Path) -> list[dict[str, float]]:
    return [r["losses"] for r in read_log(run / "log.jsonl") if "losses" in r]


def test_one_and_two_ranks_train_the_same_weights(folder):
    one, two = (load_file(folder / name / "last.safetensors") for name in ("one", "two"))
    # float32 sums in another order, over twelve steps of Adam
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_what_two_ranks_have_audited_adds_up(folder):
    for name in ("avce1", "avce2"):
        audited = read_record(folder / name).audit
        assert audited is not None and audited.step == 3 and not audited.waiting
        assert audited.rows + audited.left_out == 3 * 8 * 2 * 2  # steps, rows, maps, phases
        assert audited.rows and 0 < (audited.largest_difference or 0) < 1e-6


def test_losses_over_the_gathered_batch_are_those_of_one_rank(folder):
    one, two = losses(folder / "avce1"), losses(folder / "avce2")
    assert len(one) == len(two) == 3
    assert one[0] == pytest.approx(two[0], rel=1e-4, abs=1e-6)
    # the second comes after one whole update; later Adam makes noise of the smallest gradients
    assert one[1]["mse"] == pytest.approx(two[1]["mse"], rel=1e-2)
    assert one[1]["ccc"] == pytest.approx(two[1]["ccc"], rel=1e-2)


@pytest.mark.parametrize("run", ["two.train", "norm.norm"])
def test_every_rank_gets_the_scores_of_the_whole_set(folder, run):
    first, second = (answer(folder, run, rank)["scores"] for rank in (0, 1))
    assert first["n"] == 20  # the padding of both ranks left out
    # batch norm: each rank has statistics of its own until rank 0's are handed out
    assert first == second  # to the last bit: all merge in the same order


def test_scores_of_one_and_two_ranks_agree(folder):
    one, two = (answer(folder, name)["scores"]["ccc"] for name in ("one.train", "two.train"))
    assert one == pytest.approx(two, abs=1e-4)


def test_rank_0_alone_writes(folder):
    run = folder / "two"
    log = read_log(run / "log.jsonl")
    assert [r["step"] for r in log if "losses" in r] == list(range(1, 13))
    assert [r["step"] for r in log if "val" in r] == [0, 4, 8, 12]
    facts = json.loads((run / "run.json").read_text())
    assert facts["world_size"] == 2 and len(facts["sessions"]) == 1
    newest = load_checkpoint(checkpoints(run / "checkpoints")[-1])
    assert newest.rng["torch"].shape[0] == 2  # the generators of both ranks
    assert not torch.equal(*newest.rng["torch"])


def test_ranks_stop_together_and_another_number_goes_on(folder):
    stopped = [answer(folder, "cut.stop", rank) for rank in (0, 1)]
    assert [rank["ended"] for rank in stopped] == ["stopped 6", "stopped 6"]
    served = stopped[0]["served"] + answer(folder, "cut.resume")["served"]
    assert served == answer(folder, "one.train")["served"]  # the same global batches, each once
    one, cut = (load_file(folder / name / "last.safetensors") for name in ("one", "cut"))
    torch.testing.assert_close(one, cut, atol=1e-5, rtol=1e-4)


def test_two_ranks_go_on_as_two_bit_for_bit(folder):
    ended = [answer(folder, f"pair.{task}", rank)["ended"] for task in ("stop", "resume")
             for rank in (0, 1)]  # fmt: skip
    assert ended == ["stopped 6", "stopped 6", "finished", "finished"]
    two, pair = (load_file(folder / name / "last.safetensors") for name in ("two", "pair"))
    torch.testing.assert_close(pair, two, atol=0, rtol=0)


def test_a_nan_on_one_rank_stops_both(folder):
    first, second = (answer(folder, "bad.poison", rank)["ended"] for rank in (0, 1))
    assert "mse" in second and (folder / "bad" / "bad-step-00000001-rank-1.safetensors").exists()
    # rank 0's labels are sound: it fails later in the same step, by the gradients it was sent
    assert "mse" not in first and "not finite" in first
