"""What the commands share: options of the same name and meaning, and how typed words are read.

A word that cannot be read is wrong usage (typer.BadParameter), as an unknown option is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from avce.commands.terminal import bar

Level = Literal["easy", "normal", "hard"]
Which = Literal["best", "last"]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Set a field of the recipe; repeatable."),
]
Form = Literal["text", "csv", "latex"]
RunsArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="RUN...", help="Default: the latest under runs/.")
]
RunOption = Annotated[Path | None, typer.Option(help="Default: the latest under runs/.")]
SplitOption = Annotated[
    str | None,
    typer.Option(help="train, val or test. Default: val, or test where there is no val."),
]
FoldOption = Annotated[
    int | None,
    typer.Option(help="This fold instead of a split. Default: the one the run held out."),
]
WhereOption = Annotated[
    str | None,
    typer.Option(metavar="CONDITION", help="Only such rows: \"valence > 0 and split == 'val'\"."),
]
MapsOption = Annotated[
    Literal["linear", "grad-cam"], typer.Option(help="Which activation maps are drawn.")
]
FacesOption = Annotated[
    Literal["detect", "whole"] | None,
    typer.Option(help="Find faces, or take each picture as one."),
]
WhichOption = Annotated[Which, typer.Option(help="The best weights or the last.")]


def here(address: str) -> Path:
    """A shard folder on this disk: the one named, or the copy of the one in a bucket."""
    if "://" not in address:
        return Path(address)
    from pipelines import cached

    with bar(f"fetching {address}") as progress:
        return cached(address, progress)


ShardsOption = Annotated[
    list[Path] | None,
    typer.Option(parser=here, help="Shard folder or s3://...; repeatable. Default: the run's own."),
]


def one_of(name: str, known: Sequence[str] | dict[str, Any], kind: str) -> str:
    """`name`, if it is known; wrong usage otherwise."""
    if name not in known:
        raise typer.BadParameter(f"there is no {kind} {name!r}; choose {', '.join(known)}")
    return name


def fraction(text: str | None) -> tuple[int, int] | None:
    """ "3/8" as (3, 8)."""
    if text is None:
        return None
    number, slash, total = text.partition("/")
    if not (slash and number.isdigit() and total.isdigit()):
        raise typer.BadParameter(f"--part {text!r}: write I/N, the first part of eight is 0/8")
    return int(number), int(total)


def numbers_in(text: str | None) -> list[int]:
    """ "313,1350" as [313, 1350]."""
    parts = text.split(",") if text else []
    if not all(part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"--frames {text!r}: write whole numbers such as 313,1350")
    return [int(part) for part in parts]


def reader_options(
    reader: Callable[..., Any], options: Sequence[str], allow_count: bool
) -> dict[str, Any]:
    """NAME=VALUE pairs that the reader knows, as values: true, false, whole numbers, else text."""
    known = list(signature(reader).parameters)[2:]  # after the root and the findings
    values: dict[str, Any] = {"allow_count": True} if allow_count else {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise typer.BadParameter(f"--option {option!r}: write NAME=VALUE")
        plain = {"true": True, "false": False}.get(text.lower(), text)
        values[one_of(name, known, "option")] = int(text) if text.isdigit() else plain
    return values
