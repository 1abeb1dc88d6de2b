"""The switches of every data set's oddities, by name.

An oddity's sentence (its `__doc__`) says what becomes of it; the tests hold the readers to it.
`HARMLESS` oddities are read around, the others (`STOPPING`) must stop a run with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Oddity = Callable[[Path], None]
Change = Callable[[list[str]], Iterable[str]]
HARMLESS: dict[str, dict[str, Oddity]] = {}
STOPPING: dict[str, dict[str, Oddity]] = {}


def check_oddities(dataset: str, names: Sequence[str]) -> None:
    """Raise ValueError, listing the choices, for an oddity that `dataset` does not have.

    "all" stands for every harmless one.
    """
    known = ["all", *oddities_of(dataset)]
    for name in names:
        if name not in known:
            raise ValueError(f"oddity {name!r} of {dataset} is none of {', '.join(known)}")


def oddities_of(dataset: str) -> dict[str, Oddity]:
    """Every oddity of a data set by name."""
    return {**HARMLESS.get(dataset, {}), **STOPPING.get(dataset, {})}


def apply_oddities(root: Path, dataset: str, names: Sequence[str]) -> None:
    """Alter the tree at `root`, in the order of registration: contents before names of folders."""
    for name, oddity in oddities_of(dataset).items():
        if name in names or ("all" in names and name in HARMLESS[dataset]):
            oddity(root)


def register(dataset: str, *, stops: bool = False) -> Callable[[Oddity], Oddity]:
    """Decorate a function that alters a tree: its name is the switch."""

    def register(oddity: Oddity) -> Oddity:
        kind = STOPPING if stops else HARMLESS
        kind.setdefault(dataset, {})[oddity.__name__.removeprefix("_")] = oddity
        return oddity

    return register


def edit(path: Path, change: Change, end: str = "\n") -> None:
    """Replace the lines of a text file."""
    lines = list(change(path.read_text(encoding="utf-8").splitlines()))
    path.write_text("\n".join(lines) + end, encoding="utf-8", newline="\n")


def first(folder: Path, pattern: str) -> Path:
    return min(folder.glob(pattern))


def nest(folder: Path) -> None:
    """What an inner archive does: everything moves into a second folder of the same name."""
    inner = folder.with_name("inner")
    folder.rename(inner)
    folder.mkdir()
    inner.rename(folder / folder.name)
