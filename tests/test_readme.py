"""The README's code blocks run as written, and its commands exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder that looks like the checkout, without its data."""
    place = tmp_path_factory.mktemp("readme")
    for name in ("cli.py", "shards", "pipelines", "avce", "Justfile"):
        (place / name).symlink_to(ROOT / name)
    return place


def run(command: list[str], place: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_there_are_the_blocks_we_think_of():
    assert [kind for kind, _ in BLOCKS] == ["bash", "bash", "python"]


def test_the_two_commands_exist(place):
    if shutil.which("just") is None:
        pytest.skip("just is not installed; the README's first command installs it")
    assert "just demo" in BLOCKS[0][1]
    assert "just test" in BLOCKS[0][1]
    run(["just", "--dry-run", "demo"], place)
    run(["just", "--dry-run", "test"], place)


def test_the_blocks_run_in_order(place):
    run(["bash", "-euc", BLOCKS[1][1]], place)
    run([sys.executable, "-c", BLOCKS[2][1]], place)
    assert (place / "runs/notebook/best.safetensors").is_file()
