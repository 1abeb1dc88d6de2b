"""A sweep: every run once, whoever trains it, whatever breaks, whenever it is stopped.

Short Python programs stand for trainings: real processes with real signals and exit codes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avce.paper.published import Row
from avce.paper.sweep import claimed, sweep
from avce.paper.tables import finished, missing, run_folder, table

EFFECT = table(5)  # two rows that train
BEGIN = "import os, pathlib, signal, sys, time; run = pathlib.Path(sys.argv[1]); "
BEGIN += "run.mkdir(parents=True, exist_ok=True); (run / 'run.json').write_text('{}'); "
NOTE = "open(run.parent.parent / 'log', 'a').write(f'{run.parent.name}/{run.name}\\n'); "
END = """(run / 'run.json').write_text('{"scores": {"best": {}}}'); """
WHOLE = BEGIN + NOTE + END


def as_training(program: str, **others: str) -> Callable[[Row, int, Path], list[str]]:
    """What trains a row: `program`, or the one that is named for it."""
    return lambda row, _, run: [sys.executable, "-c", others.get(row.name, program), str(run)]


def trained(root: Path) -> list[str]:
    return (root / "table5" / "log").read_text().split()


def test_what_is_missing_is_trained_in_order(tmp_path):
    done = run_folder(EFFECT, EFFECT.rows[0], 1, tmp_path)
    done.mkdir(parents=True)
    (done / "run.json").write_text('{"scores": {"best": {}}}')
    swept = sweep(EFFECT, range(2), tmp_path, as_training(WHOLE))
    assert trained(tmp_path) == ["paper/seed0", "without_avce/seed0", "without_avce/seed1"]
    assert missing(EFFECT, range(2), tmp_path) == []
    assert not (swept.failed or swept.elsewhere or swept.stopped)


def test_a_training_that_breaks_off_keeps_no_other_from_its_turn(tmp_path):
    broken = as_training(WHOLE, paper=BEGIN + "sys.exit(1)")
    swept = sweep(EFFECT, range(1), tmp_path, broken)
    assert swept.failed == [run_folder(EFFECT, EFFECT.rows[0], 0, tmp_path)]
    assert trained(tmp_path) == ["without_avce/seed0"] and not swept.stopped


def test_a_training_that_cannot_begin_ends_the_sweep(tmp_path):
    with pytest.raises(ValueError, match="paper/seed0 could not begin"):
        sweep(EFFECT, range(1), tmp_path, as_training(WHOLE, paper="raise SystemExit(1)"))
    assert not (tmp_path / "table5" / "log").exists()


def test_two_sweeps_share_a_table(tmp_path):
    slow = as_training(BEGIN + NOTE + "time.sleep(0.3); " + END)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(sweep, EFFECT, range(2), tmp_path, slow) for _ in range(2)]
        assert not any(sweeping.result().failed for sweeping in both)
    assert sorted(trained(tmp_path)) == [
        "paper/seed0",
        "paper/seed1",
        "without_avce/seed0",
        "without_avce/seed1",
    ]


def test_a_stop_reaches_the_training_and_begins_no_other(tmp_path):
    asks = "signal.signal(signal.SIGTERM, lambda *_: (open(run / 'saved', 'w'), sys.exit(0))); "
    asks += "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"  # as somebody's kill would
    swept = sweep(EFFECT, range(1), tmp_path, as_training(WHOLE, paper=BEGIN + asks))
    first = run_folder(EFFECT, EFFECT.rows[0], 0, tmp_path)
    assert swept.stopped and not swept.failed
    assert (first / "saved").exists() and not finished(first)
    assert not (tmp_path / "table5" / "log").exists()
    assert not sweep(EFFECT, range(1), tmp_path, as_training(WHOLE)).stopped  # and it goes on
    assert trained(tmp_path) == ["paper/seed0", "without_avce/seed0"]


def test_a_training_that_was_stopped_alone_stops_the_sweep(tmp_path):
    swept = sweep(EFFECT, range(1), tmp_path, as_training(WHOLE, paper=BEGIN))
    assert swept.stopped and not (tmp_path / "table5" / "log").exists()


def test_a_claim_outlives_a_killed_sweep_while_its_training_lives(tmp_path):
    run = tmp_path / "seed0"
    with claimed(run) as lock:
        assert lock is not None
        orphan = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock]
        )
    with claimed(run) as lock:
        assert lock is None
    orphan.communicate(b"\n")
    with claimed(run) as lock:
        assert lock is not None
        os.fstat(lock)
