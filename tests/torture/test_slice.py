"""A minute of the campaign, the same cases each time; `just torture` is the rest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

KINDS = (
    "shard killed",
    "predict killed",
    "foreign changed",
    "conditions",
    "settings",
    "rows",
    "programs",
)


@pytest.mark.skipif(sys.platform != "linux", reason="shared memory and sessions are looked at")
def test_a_slice_of_the_campaign_finds_nothing() -> None:
    chosen = [word for kind in KINDS for word in ("--only", kind)]
    command = [sys.executable, "-m", "tests.torture", "--cases", "3", *chosen]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
