"""The docs are true: worked examples run, the picture is its source's, the tour goes through."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def run(*words: object, cwd: Path) -> None:
    known = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=known, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


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
