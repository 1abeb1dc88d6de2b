"""Groups of options are laid out as Typer reads them, and given back as one object."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from avce.commands.options import grouped, output, read_in


@dataclass(frozen=True)
class Size:
    """A group."""

    wide: Annotated[int, typer.Option(min=1, help="In cells.")] = 3
    high: Annotated[list[int] | None, typer.Option("--tall")] = None


def test_a_group_is_laid_out_in_its_place_and_given_as_one():
    app, seen = typer.Typer(), []

    @app.command()
    @grouped
    def draw(name: str, size: Size, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
        """Draw."""
        seen.append((name, size, loud))

    run = CliRunner().invoke
    assert list(inspect.signature(draw).parameters) == ["name", "wide", "high", "loud"]
    assert run(app, ["a", "--wide", "5", "--tall", "1", "--tall", "2", "--loud"]).exit_code == 0
    assert run(app, ["b"]).exit_code == 0
    assert seen == [("a", Size(5, [1, 2]), True), ("b", Size(), False)]
    assert run(app, ["a", "--wide", "0"]).exit_code == 2
    assert "In cells." in run(app, ["--help"]).output


def test_an_output_replaces_no_source_however_it_is_named(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "best.safetensors", "report.html"):
        (run / name).touch()
    (tmp_path / "link.html").symlink_to(run / "run.json")
    os.link(run / "best.safetensors", tmp_path / "hard.arrow")
    for path in ("run/run.json", "run/../run/best.safetensors", "link.html", "hard.arrow"):
        with pytest.raises(ValueError, match="which is read here"):
            output(tmp_path / path, read_in([run]))
    assert output(run / "report.html", read_in([run]))  # what was written there before


def test_an_output_takes_the_place_of_no_device_and_no_pipe(tmp_path):
    """Renamed over, /dev/null would be a file for everybody."""
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (Path("/dev/null"), Path("/dev/stdout"), tmp_path / "pipe.csv"):
        with pytest.raises(ValueError, match=r"is a device or a pipe, and a file is to be"):
            output(path)


def test_an_output_is_a_file_or_a_folder_as_it_is_meant(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a folder, and a file"):
        output(tmp_path)
    with pytest.raises(ValueError, match="is a file, and a folder"):
        output(tmp_path / "file", folder=True)
    assert output(tmp_path / "new" / "page.html").parent.is_dir()
    with pytest.raises(OSError):
        output(Path(tmp_path / "file" / "page.html"))
