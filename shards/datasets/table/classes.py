"""Classes of a table: their codes, their names, and which are AffectNet's expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shards.sample import EXPRESSIONS

MOST = 1000  # more different words are no classes
CANONICAL = {
    **{name: code for code, name in enumerate(EXPRESSIONS)},
    "happiness": 1,
    "joy": 1,
    "sadness": 2,
    "surprised": 3,
    "fearful": 4,
    "disgusted": 5,
    "angry": 6,
    "contemptuous": 7,
    "neutrality": 0,
    "afraid": 4,
    "suprise": 3,
}
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_CODE = re.compile(r"0*([0-9]{1,3})(\.0*)?")  # pandas writes 3.0 where a column has nulls
_NAMED = re.compile(r"([0-9]{1,3}):(.+)")


class Vocabulary:
    """Codes of the classes: as numbered, in the order of `names`, or by the alphabet.

    `names` are "neutral,happy" or, with codes, "1:surprise,2:fear". Raises ValueError for words
    that are no classes, or that `names` does not name.
    """

    def __init__(self, words: Iterable[str], names: str = "") -> None:
        found = {word.casefold(): word for word in sorted(words, reverse=True)}
        if len(found) > MOST:
            raise ValueError(
                f"the column of classes holds more than {MOST:,} different words; if it is none, "
                "pass --option columns=expression:"
            )
        numbers = [word for word in found.values() if _NUMBER.fullmatch(word)]
        self.numbered = len(numbers) == len(found)
        codes = [word for word in numbers if _CODE.fullmatch(word)]
        if numbers and (not self.numbered or len(codes) < len(numbers)):
            wrong = next(word for word in sorted(found.values()) if word not in codes)
            raise ValueError(
                f"class {wrong!r} stands among the codes {', '.join(sorted(numbers)[:5])}: codes "
                f"are whole numbers from 0 to {MOST - 1}; write one kind, or --option null={wrong} "
                "if it means that there is no label, or --option columns=expression: if the column "
                "holds no classes"
            )
        self.names = _named(names) if names else self._own(found)
        self.codes = {name.casefold(): code for code, name in self.names.items()}
        known = {str(code) for code in self.names} if self.numbered else self.codes
        unknown = sorted(w for w in found.values() if self._plain(w) not in known)
        if unknown:
            raise ValueError(
                f"classes={names} does not name {', '.join(unknown[:5])}; write all in the order "
                "of their codes from 0, or with them: 1:surprise,2:fear"
            )

    def _own(self, found: dict[str, str]) -> dict[int, str]:
        if self.numbered:
            return {int(self._plain(word)): self._plain(word) for word in found.values()}
        return dict(enumerate(found[word] for word in sorted(found)))

    def _plain(self, word: str) -> str:
        match = _CODE.fullmatch(word) if self.numbered else None
        return match[1] if match else word.casefold()

    def of(self, word: str) -> tuple[int, int | None]:
        """The table's own code, and AffectNet's where the name is one of its expressions."""
        plain = self._plain(word)
        code = int(plain) if self.numbered else self.codes[plain]
        return code, self.canonical(code)

    def canonical(self, code: int) -> int | None:
        """AffectNet's code of a class, where its name is one of its expressions."""
        return CANONICAL.get(self.names[code].casefold())

    @property
    def listed(self) -> list[str]:
        """A name for each code from 0; that of a code without one is the code."""
        return [self.names.get(code, str(code)) for code in range(max(self.names, default=-1) + 1)]


def _named(names: str) -> dict[int, str]:
    parts = [part.strip() for part in names.split(",") if part.strip()]
    coded = [match for part in parts if (match := _NAMED.fullmatch(part))]
    if coded and len(coded) < len(parts):
        raise ValueError(f"classes={names}: write a code before every name, or before none")
    pairs = [(int(m[1]), m[2].strip()) for m in coded] or list(enumerate(parts))
    words = {name.casefold() for _, name in pairs}
    if not len(words) == len({code for code, _ in pairs}) == len(pairs):
        raise ValueError(f"classes={names} names a code or a class twice")
    return dict(pairs)
