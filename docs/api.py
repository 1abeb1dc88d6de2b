"""Writes the API pages from the docstrings: `just docs`, or `python docs/api.py [FOLDER]`."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pdoc

ROOT = Path(__file__).parent.parent
ROOMS = ("shards", "pipelines", "avce")


def modules(room: str) -> list[str]:
    """A room and every module in it; names that it resolves when they are used are resolved."""
    module = import_module(room)
    for name in getattr(module, "_HOMES", ()):
        getattr(module, name)
    inside = (found.name for found in walk_packages(module.__path__, f"{room}."))
    return [room, *(name for name in inside if not name.endswith("__main__"))]


def write(folder: Path, rooms: tuple[str, ...] = ROOMS) -> None:
    """One page a module."""
    sys.path.insert(0, str(ROOT))  # the rooms need not be installed
    warnings.filterwarnings("ignore", module="pdoc")  # of annotations that only type checkers know
    pdoc.render.configure(math=True)
    pdoc.pdoc(*(name for room in rooms for name in modules(room)), output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "api")
