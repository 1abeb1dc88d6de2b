"""Columns of a table that are nothing else: kept for `--where` and `--by`, of one kind each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from shards.labels.extra import LONGEST, MOST, joined, wrong_name

NULLS = ("", "na", "n/a", "nan", "null")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17}|(?=\.[0-9]))(\.[0-9]*)?(e[+-]?[0-9]{1,2})?", re.I)
_TRUTH = {"true": True, "false": False}


class Kept:
    """The kinds of such columns over all rows: whole numbers, numbers, true or false, else words.

    Look at every row first; then `of` gives a row's values. 007 is a word, and a column with one
    word holds words as they stand.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, pa.DataType | None] = {}
        self.left_out: dict[str, str] = {}  # name -> why

    def look(self, texts: Mapping[str, str]) -> None:
        """Let the kinds hold one more row."""
        for name, text in texts.items():
            if len(text) > LONGEST:
                self.left_out[name] = f"it holds words of more than {LONGEST} characters"
            elif name not in self.kinds and len(self.kinds) >= MOST:
                self.left_out[name] = f"an index has {MOST} columns of one's own at most"
            else:
                known = self.kinds.get(name)
                if known is None or not pa.types.is_string(known):
                    self.kinds[name] = joined(known, _kind(text))

    def of(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """A row's values by name."""
        known = (name for name in texts if name in self.kinds and name not in self.left_out)
        return {name: _value(texts[name], self.kinds[name]) for name in known}

    @property
    def listed(self) -> dict[str, str]:
        """What each column holds, in one word."""
        words = {pa.int64(): "int", pa.float64(): "float", pa.bool_(): "bool"}
        held = ((name, kind) for name, kind in self.kinds.items() if name not in self.left_out)
        return {name: words.get(kind, "string") for name, kind in held}


def names_for(columns: Iterable[str]) -> dict[str, str]:
    """What each column is called in an index: as in the table, where that can be."""
    names: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"\W+", "_", column, flags=re.A).strip("_")[:50]
        name = plain if plain and not wrong_name(plain) else f"table_{plain}"
        again = sum(one.rpartition("__")[0] == name or one == name for one in names.values())
        names[column] = f"{name}__{again + 1}" if again else name
    return names


def _kind(text: str) -> pa.DataType | None:
    word = text.strip().casefold()
    if word in (*NULLS, "none"):
        return None
    if word in _TRUTH:
        return pa.bool_()
    number = _NUMBER.fullmatch(word)
    return pa.string() if number is None else pa.float64() if number.lastindex else pa.int64()


def _value(text: str, kind: pa.DataType | None) -> Any:
    word = text.strip().casefold()
    if word in NULLS or kind is None:
        return None
    if kind == pa.string():
        return text.strip()
    if word == "none":
        return None
    return _TRUTH[word] if kind == pa.bool_() else (int if kind == pa.int64() else float)(word)
