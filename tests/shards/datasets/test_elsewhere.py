"""Readers of others: found in a module of the working folder, shared by name, refused in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from avce.commands import app
from shards.datasets.elsewhere import imported, installed
from shards.findings import Findings
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


BROKEN = """
import sys
from shards.sample import Sample

def raises(root, findings):
    yield Sample(key="a", original_path="a", dataset="table", variant="v", split="val")
    raise KeyError("x")

def ends(root, findings): sys.exit(3)
def nothing(root, findings): pass
def without(): yield
def other(root, findings): yield {"key": "a"}
def beyond(root, findings):
    yield Sample(key="a", original_path="a", dataset="table", variant="v", split="val",
                 valence=3.0, arousal=0.0)
"""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("raises", r"reader 'broken:raises': KeyError at .*broken.py:7: 'x'; mend the reader"),
        ("ends", r"SystemExit at .*broken.py:9: 3; mend the reader"),
        ("nothing", "'NoneType' object is not iterable; mend the reader"),
        ("without", r"without\(\) takes 0 positional arguments but 2 were given; mend"),
        ("other", "it yields a dict and no shards.Sample"),
        ("beyond", r"^a: valence 3.0 is outside \[-1, 1\]; rescale it in its reader"),
    ],
)
def test_a_fault_of_the_reader_is_told_as_its_own(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        list(imported(f"broken:{name}")(tmp_path, Findings()))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [("1 / 0", "ZeroDivisionError at .*spoilt.py:1: division by zero"), ("def f(:", "SyntaxError")],
)
def test_a_module_that_cannot_be_imported_is_named(
    source: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spoilt.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"reader 'spoilt:read': {sentence}"):
        imported("spoilt:read")


def test_an_installed_reader_that_is_broken_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs-1.dist-info").mkdir()
    (tmp_path / "theirs-1.dist-info/METADATA").write_text("Name: theirs\nVersion: 1\n")
    entry = "[avce.readers]\ntheirs = no_such_package:read\n"
    (tmp_path / "theirs-1.dist-info/entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(tmp_path)
    assert installed()["theirs"] == "no_such_package:read"
    failed = CliRunner().invoke(app, ["shard", "table", "--raw", str(tmp_path / "none")])
    assert isinstance(failed.exception, FileNotFoundError)  # and not the other's import
    failed = CliRunner().invoke(app, ["shard", "theirs", "--raw", str(tmp_path)])
    assert "No module named 'no_such_package'" in str(failed.exception)


def test_a_reader_of_ours_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    command = ["shard", "raf-db", "--reader", "my_set:read", "--raw", str(tmp_path)]
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 2 and "raf-db has a reader of ours" in " ".join(
        failed.output.split()
    )
