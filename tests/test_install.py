"""What `pip install .` brings, and that it works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("shards", "pipelines", "avce")


def run(*words: object, **more) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=300, **more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, as building leaves folders behind."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for room in ROOMS:
        left = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / room, source / room, ignore=left)
    for folder in ("tests", "docs", "benchmarks"):  # which must not come along
        (source / folder).mkdir()
        (source / folder / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE", "cli.py"):
        shutil.copy(ROOT / name, source)
    quiet = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run("-m", "pip", "wheel", *quiet, "--wheel-dir", built, source)
    (found,) = built.glob("*.whl")
    return found


def test_the_wheel_holds_the_rooms_and_nothing_else(wheel):
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == set(ROOMS)
    ours = [p for room in ROOMS for p in (ROOT / room).rglob("*") if p.is_file()]
    wanted = {p.relative_to(ROOT).as_posix() for p in ours if p.suffix != ".pyc"}
    assert set(names) == wanted  # the page's assets too


def test_it_works_from_another_folder(wheel, tmp_path):
    place = tmp_path / "site"
    quiet = ("--quiet", "--no-deps", "--no-index")
    run("-m", "pip", "install", *quiet, "--target", place, wheel)
    assert (place / "bin/avce").is_file()
    known = os.environ | {"PYTHONPATH": str(place)}
    where = run("-c", "import avce; print(avce.__file__)", cwd=tmp_path, env=known)
    assert Path(where.strip()).is_relative_to(place)
    asked = run("-m", "avce", "--version", cwd=tmp_path, env=known)
    assert asked.startswith("avce 0.")
    assert "published" in run(place / "bin/avce", "table", "2", cwd=tmp_path, env=known)
    assert "next: python -m avce shard affectnet" in subprocess.run(
        [sys.executable, place / "bin/avce", "cartoon", "affectnet", "--n", "24"],
        cwd=tmp_path, env=known, capture_output=True, text=True, timeout=300,
    ).stderr  # fmt: skip
