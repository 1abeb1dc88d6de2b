"""Columns of a table that are nothing else: kept for `--where` and `--by`, of one kind each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shards.labels.extra import LONGEST, MOST, joined, wrong_name

NULLS = ("", "na", "n/a", "nan", "null")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17}|(?=\.[0-9]))(\.[0-9]*)?(e[+-]?[0-9]{1,2})?", re.I)
_TRUTH = {"true": True, "false": False}
_WHOLE = r"^[+-]?(0|[1-9][0-9]{0,17})$"  # as `_NUMBER` says it, for many at once
_ANY = r"^[+-]?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,2})?$"


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
            if self._takes(name, len(text)):
                self.kinds[name] = joined(self.kinds.get(name), _kind(text))

    def look_at(self, columns: Mapping[str, pa.Array]) -> None:
        """The same of many rows."""
        for name, texts in columns.items():
            if self._takes(name, pc.max(pc.utf8_length(texts)).as_py() or 0):
                self.kinds[name] = reduce(joined, _kinds(texts), self.kinds.get(name))

    def _takes(self, name: str, longest: int) -> bool:
        """Whether more words of a column, of so many characters, say anything about its kind."""
        if longest > LONGEST:
            self.left_out[name] = f"it holds words of more than {LONGEST} characters"
        elif name not in self.kinds and len(self.kinds) >= MOST:
            self.left_out[name] = f"an index has {MOST} columns of one's own at most"
        return name not in self.left_out and self.kinds.get(name) != pa.string()

    def columns(self, texts: Mapping[str, pa.Array], count: int) -> dict[str, pa.Array]:
        """The values of many rows by name, null where their table has no such column."""
        return {
            name: _values(texts[name], kind) if name in texts else pa.nulls(count, kind)
            for name, kind in self.types.items()
        }

    @property
    def types(self) -> dict[str, pa.DataType]:
        """What each column holds."""
        held = self.kinds.items()
        return {name: kind or pa.string() for name, kind in held if name not in self.left_out}

    def of(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """A row's values by name."""
        known = (name for name in texts if name in self.kinds and name not in self.left_out)
        return {name: _value(texts[name], self.kinds[name]) for name in known}

    @property
    def listed(self) -> dict[str, str]:
        """What each column holds, in one word."""
        words = {pa.int64(): "int", pa.float64(): "float", pa.bool_(): "bool"}
        return {name: words.get(kind, "string") for name, kind in self.types.items()}


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


def _kinds(texts: pa.Array) -> list[pa.DataType]:
    """Of all words of a column, as `_kind` says them."""
    words = pc.unique(pc.utf8_lower(pc.utf8_trim_whitespace(texts)))
    words = words.filter(pc.invert(pc.is_in(words, value_set=pa.array([*NULLS, "none"]))))
    truth = pc.is_in(words, value_set=pa.array([*_TRUTH]))
    number, whole = (pc.match_substring_regex(words, pattern) for pattern in (_ANY, _WHOLE))
    found = {
        pa.bool_(): truth,
        pa.int64(): whole,
        pa.float64(): pc.and_not(number, whole),
        pa.string(): pc.invert(pc.or_(truth, number)),
    }
    return [kind for kind, each in found.items() if pc.any(each).as_py()]


def _values(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Of a whole column, as `_value` gives them."""
    plain = pc.utf8_trim_whitespace(texts)
    words = pc.utf8_lower(plain)
    nulls = NULLS if pa.types.is_string(kind) else (*NULLS, "none")
    null, nothing = pc.is_in(words, value_set=pa.array(nulls)), pa.scalar(None, pa.string())
    if pa.types.is_string(kind):
        return pc.if_else(null, nothing, plain)
    words = pc.if_else(null, nothing, pc.utf8_ltrim(words, "+"))
    return pc.equal(words, "true") if pa.types.is_boolean(kind) else pc.cast(words, kind)
