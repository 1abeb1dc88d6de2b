"""Some minutes of the campaign, the same cases each time; `just torture` is the rest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CASES = {  # so many of each kind, dear ones apart from cheap ones
    6: ("ours damaged", "foreign changed", "conditions", "settings"),
    2: ("shard killed", "predict killed", "disk full", "rows", "programs"),
    1: ("train killed", "two ranks killed", "sweep killed"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="shared memory and sessions are looked at")
@pytest.mark.parametrize("cases", CASES)
def test_a_slice_of_the_campaign_finds_nothing(cases: int) -> None:
    chosen = [word for kind in CASES[cases] for word in ("--only", kind)]
    command = [sys.executable, "-m", "tests.torture", "--cases", str(cases), *chosen]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
