"""Readers of others: found in a module of the working folder, shared by name, refused in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from shards.datasets.elsewhere import imported, installed
from tests.shards.trees import blob

CLI = Path(__file__).parents[3] / "cli.py"
MODULE = """
from shards.sample import Sample

def read(root, findings, *, allow_count=False, split="train"):
    for path in sorted(root.glob("*.png")):
        yield Sample(key=path.stem, original_path=path.name, dataset="table", variant="mine",
                     split=split, valence=0.5, arousal=-0.5)
"""


def test_a_reader_in_the_working_folder_makes_shards(tmp_path: Path) -> None:
    (tmp_path / "my_set.py").write_text(MODULE)
    (tmp_path / "raw").mkdir()
    for number in range(3):
        Image.fromarray(blob(number)).save(tmp_path / "raw" / f"{number}.png")
    command = ["shard", "mine", "--reader", "my_set:read", "--raw", "raw", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, CLI, *command, "--option", "split=val"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/shards/mine/labels.arrow").exists()


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("my_set", "write package.module:function"),
        (":read", "write package.module:function"),
        ("no.such.module:read", "No module named 'no'; install it or run where it lies"),
        ("shards.sample:read", "has no attribute 'read'"),
        ("shards.sample:DATASETS", r"is no function read\(root, findings\)"),
    ],
)
def test_a_reader_that_is_none_is_refused(place: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        imported(place)


def test_installed_readers_are_functions() -> None:
    assert all(map(callable, installed().values()))
