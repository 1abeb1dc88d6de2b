"""One writer of tables: as text for a terminal, as CSV, as LaTeX.

Names of runs, videos and subjects come from other people. Here nothing in them moves a terminal's
cursor, is run by a spreadsheet or ends a LaTeX table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"  # and what turns text around
)
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]\s*\S")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",  # < > | are other glyphs in LaTeX's oldest font encoding
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    }
)
_LEAST = 12  # characters that names keep beside their numbers


class Tex(str):
    """LaTeX that goes into a table as it is."""


def number(value: float | None) -> str:
    """Three digits; a dash for what is not known."""
    return "-" if value is None else f"{value:.3f}"


def printable(text: str) -> str:
    """Control characters, and bytes that were no text, as escapes: \\x1b, \\udc80."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def as_text(lines: Iterable[Sequence[str]], left: int = 1, width: int = 80) -> str:
    """Aligned columns, the first `left` to the left; where a name would make the table wider than
    `width` it stands in a line of its own."""
    shown = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) - 2 <= width else " "
    room = width - sum(widths[1:]) - len(gap) * (len(widths) - 1)
    widths[0] = min(widths[0], room) if room >= _LEAST else widths[0]
    text = []
    for name, *cells in shown:
        if len(name) > widths[0]:
            text.append(name)
            name = ""
        padded = (
            f"{cell:{'<' if column < left else '>'}{wide}}"
            for column, (cell, wide) in enumerate(zip([name, *cells], widths, strict=True))
        )
        text.append(gap.join(padded).rstrip())
    return "".join(f"{line}\n" for line in text)


def as_csv(lines: Iterable[Sequence[Any]]) -> str:
    """Numbers unrounded; an apostrophe before text that a spreadsheet would run as a formula."""
    page = io.StringIO()
    csv.writer(page, lineterminator="\n").writerows(
        [plain(cell) for cell in line] for line in lines
    )
    return page.getvalue()


def plain(cell: Any) -> Any:
    """A cell that is no formula and has no control characters; numbers stay."""
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if _FORMULA.match(cell) else printable(cell)


def as_latex(
    head: Sequence[str],
    groups: Iterable[Sequence[Sequence[str]]],
    left: int = 1,
    notes: Sequence[str] = (),
) -> str:
    """A tabular with booktabs, a rule above each group; notes as comments below."""
    columns = "l" * left + "c" * (len(head) - left)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(head)]
    for group in groups:
        lines += [r"\midrule", *map(_row, group)]
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {_one_line(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    line = " & ".join(cell if isinstance(cell, Tex) else escaped(cell) for cell in cells)
    guard = "{}" if line.startswith(("[", "*")) else ""  # the line break before would take them
    return rf"{guard}{line} \\"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it reads; line breaks become spaces."""
    return _one_line(text).translate(_LATEX)


def _one_line(text: str) -> str:
    return printable(" ".join(text.splitlines()))
