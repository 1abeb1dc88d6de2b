"""Words of `predict` that cannot be meant are refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from avce.commands.use import Frames, Result


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: Frames(fps=0.0).value(), "--fps 0: no frame"),
        (lambda: Frames(fps=2.0, stride=2).value(), "give one of them"),
        (lambda: Frames(start=3.0, end=3.0).value(), "--end 3 is not behind --start 3"),
        (lambda: Result(smooth=0.0).check(), "seconds above 0"),
        (lambda: Result(to=Path("o.csv"), as_json=True).check(), "--json is for stdout"),
        (lambda: Result(to=Path("o.arrow"), wide=True).check(), "a CSV file"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(asked, said):
    with pytest.raises(typer.BadParameter, match=said):
        asked()
