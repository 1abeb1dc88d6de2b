"""The data card: what a drawn stand-in says about itself, so that nobody mistakes it for data.

A stand-in carries `data_card.json` at its root. Its counts replace the published ones, which a
drawing of a few hundred faces can never have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shards.datasets import foreign
from shards.durable import write_aside

CARD_NAME = "data_card.json"


@dataclass(frozen=True, slots=True)
class DataCard:
    """Which data set a stand-in stands in for, how it was drawn, and how much of it there is."""

    dataset: str  # one of shards.sample.DATASETS
    seed: int
    level: str  # of detail or difficulty, named by the drawing
    counts: dict[str, int]  # by the names that the data set's reader counts
    stand_in: bool = True


def write_card(root: Path, card: DataCard) -> None:
    """Write the card of a finished drawing."""
    seal(root, json.dumps(asdict(card), indent=2, sort_keys=True))


def seal(root: Path, text: str) -> None:
    """Write a card's text last: it says that the drawing beside it is complete."""
    write_aside(root / CARD_NAME, text.encode())


def read_card(root: Path) -> DataCard | None:
    """The card at `root`, or None where there is none (a real data set).

    Raises ValueError when the file is there and is no card.
    """
    path = root / CARD_NAME
    try:
        fields = foreign.json_object(root, path, "data card", foreign.MIB)
        counts = {name: _count(number) for name, number in fields["counts"].items()}
        words = str(fields["dataset"]), _count(fields["seed"]), str(fields["level"])
        card = DataCard(*words, counts, bool(fields["stand_in"]))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no data card ({type(error).__name__}: {error}); draw the stand-in again, "
            "or remove the file if this is a real data set"
        ) from None
    return card


def _count(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{str(value)[:60]!r} is no whole number")
    return value


def expected_counts(
    root: Path, dataset: str, published: Mapping[str, int]
) -> tuple[dict[str, int], str]:
    """The counts that the tree at `root` must have, and in words where they come from.

    Raises ValueError when the card is that of another data set.
    """
    card = read_card(root)
    if card is None or not card.stand_in:
        return dict(published), "the published release"
    if card.dataset != dataset:
        raise ValueError(
            f"{root / CARD_NAME} says {card.dataset!r}, and it is read as {dataset!r}; "
            "pass the folder of the data set you name"
        )
    return card.counts, f"the drawing's own {CARD_NAME}"
