"""The docs are true: worked examples run, the picture is its source's, the tour goes through."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from avce.commands import app
from shards import LabelIndex
from shards.standins.layouts import write_video
from tests.shards.trees import blob

KINDS = (".jpg", ".png", ".mp4")
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def run(*words: object, cwd: Path) -> None:
    known = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=known, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def tables(page: str) -> tuple[dict[str, list[list[str]]], list[list[str]]]:
    """The tables and lists of files that a page shows, and the commands it types, by block."""
    blocks = re.findall(r"```(\S+)(?: (\S+))?\n(.*?)```", page, re.DOTALL)
    shown = {name: list(csv.reader(io.StringIO(text))) for kind, name, text in blocks if name}
    typed = [text.replace("\\\n", " ").splitlines() for kind, _, text in blocks if kind == "bash"]
    return shown, typed


def draw(name: str, rows: list[list[str]], place: Path) -> None:
    """A table where the page says, with the pictures and films that it names; or those files."""
    listed = not name.endswith(".csv")
    root = place / (name if listed else Path(name).parent)
    root.mkdir(exist_ok=True)
    if not listed:
        with (place / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    for number, row in enumerate(rows if listed else rows[1:]):
        joined = (Path(*pair) for pair in pairwise(row))
        for path in (root / one for one in [*map(Path, row), *joined] if one.suffix in KINDS):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".mp4":
                write_video(path, [blob(100 * number + k, 64) for k in range(25)], 25)
            else:
                Image.fromarray(blob(number, 96)).save(path)


ROWS = {"photos": 5, "faces": 5, "talks": 30, "emotic": 3, "omg": 75, "fer": 4}


def test_anyones_data_becomes_shards_as_the_page_types_it(tmp_path, monkeypatch):
    page = (DOCS / "datasets.md").read_text().partition("### From your labels")[2]
    shown, typed = tables(page)
    for name, rows in shown.items():
        draw(name, rows, tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = [line for block in typed for line in block if line.startswith("python cli.py ")]
    for line in lines:
        if line.split()[2] in ("shard", "inspect"):
            done = CliRunner().invoke(app, shlex.split(line)[2:])
            assert done.exit_code == 0, f"{line}: {done.output} {done.exception!r}"
    found = {name: LabelIndex.open(f"data/shards/{name}") for name in ROWS}
    assert {name: len(index) for name, index in found.items()} == ROWS
    assert found["faces"].classes == ["bored", "curious"]
    assert found["faces"].splits == {"train": 3, "val": 2}
    assert found["emotic"].splits == {"train": 2, "val": 1}
    assert found["emotic"].extra == ["Dominance", "Gender"]
    assert found["omg"].classes[4] == "neutral" and len(found["omg"].where(va_valid=True)) == 75
    assert found["fer"].splits == {"train": 2, "val": 1, "test": 1}
    assert found["fer"].extra == ["neutral", "happiness", "surprise"]
    assert found["photos"].extra == ["site"] and len(found["photos"].where(va_valid=True)) == 4


def test_the_worked_examples_of_the_architecture_run_in_their_order(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "architecture.md").read_text(), re.DOTALL)
    assert len(blocks) == 6
    (tmp_path / "worked.py").write_text("\n".join(blocks))
    run("worked.py", cwd=tmp_path)


PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_to_exists(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), ROOT / "README.md"], ids=lambda p: p.name)
def test_what_a_page_types_is_understood(page):
    group: Any = get_command(app)
    lines = [line for block in tables(page.read_text())[1] for line in block]
    typed = [line.partition("cli.py ")[2] for line in lines if " cli.py " in line]
    for name, *words in (shlex.split(line, comments=True) for line in typed):
        group.commands[name].make_context(name, words)  # raises for a word that means nothing


def test_the_reading_order_names_every_page():
    order = (DOCS / "README.md").read_text()
    pages = {p.name for p in DOCS.glob("*.md")} | {p.name for p in DOCS.glob("*.ipynb")}
    assert {name for name in pages - {"README.md"} if f"]({name})" not in order} == set()


def test_the_picture_is_what_its_source_draws():
    sys.path.insert(0, str(DOCS))
    try:
        from flow import drawn
    finally:
        sys.path.remove(str(DOCS))
    assert (DOCS / "flow.svg").read_text() == drawn()


def test_a_room_has_pages_made_of_its_docstrings(tmp_path):
    words = "from pathlib import Path; import api; api.write(Path('pages'), ('pipelines',))"
    run("-c", f"import sys; sys.path.insert(0, {str(DOCS)!r}); {words}", cwd=tmp_path)
    assert "Batches" in (tmp_path / "pages/pipelines/loader.html").read_text()


def test_the_tour_runs_and_was_run(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    tour = nbformat.read(DOCS / "tour.ipynb", 4)
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert all(cell.outputs and cell.execution_count for cell in code), "execute it and save it"
    assert str(ROOT) not in str(tour)
    nbclient.NotebookClient(tour, timeout=280, resources={"metadata": {"path": tmp_path}}).execute()
    assert (tmp_path / "tour.html").is_file()
