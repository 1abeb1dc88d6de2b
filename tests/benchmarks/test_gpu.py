"""The checks of a GPU, rehearsed on the CPU and read by their lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHEAP = ("environment", "parity", "damage", "waits", "cache", "predictions")


def test_the_checks_run_and_hold_on_a_cpu(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--quick", "--device", "cpu"]
    command += ["--json", str(tmp_path / "all.json"), "--only", *CHEAP]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines == json.loads((tmp_path / "all.json").read_text())
    assert all(set(line) == {"check", "of", "found", "holds", "must"} for line in lines)
    held = Counter(line["check"] for line in lines if line["holds"])
    assert held == {"environment": 1, "parity": 16, "damage": 4, "cache": 2, "predictions": 1}
    unanswered = [line["of"] for line in lines if line["holds"] is None]
    assert unanswered == ["torch", "waits in a batch"]
    rows = [row for row in done.stdout.splitlines() if row.startswith("| ")]
    assert len(rows) == 1 + len(lines)  # with its head
