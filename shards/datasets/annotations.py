"""Text that more than one video data set is annotated in: number columns, points, person names."""

from __future__ import annotations

import math
import re
from pathlib import Path

ROUNDING = 1e-6  # labels are printed with at most 6 decimals

_PERSON = re.compile(r"(?P<video>.+?)_(?P<slot>left|right)")


def text_lines(path: Path) -> list[str]:
    """The lines of a small text file, without a byte order mark and without empty last lines."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def number_rows(path: Path, lines: list[str], first: int, width: int) -> list[list[float]]:
    """Rows of `width` comma-separated numbers; `first` is the 1-based line number of `lines[0]`.

    Raises ValueError naming file and line: a skipped line would shift every label after it.
    """
    rows = []
    for number, line in enumerate(lines, first):
        try:
            row = [float(field) for field in line.strip().rstrip(",").split(",")]
        except ValueError:
            row = []
        if len(row) != width or any(map(math.isnan, row)):
            raise ValueError(
                f"{path}: line {number} reads {line[:60]!r} where {width} comma-separated "
                "number(s) belong; restore the file from the release"
            )
        rows.append(row)
    return rows


def check_range(where: str, value: float, limit: float = 1.0) -> None:
    """Raise ValueError, naming the place, for a label outside [-limit, limit] (or NaN)."""
    if not abs(value) <= limit + ROUNDING:
        raise ValueError(
            f"{where} holds {value:g}, outside [-{limit:g}, {limit:g}]; labels are "
            "never clipped, so restore the file from the release"
        )


def read_axis(path: Path) -> list[float]:
    """One label in [-1, 1] a line, no header (Aff-Wild). Raises ValueError naming file and line."""
    values = [row[0] for row in number_rows(path, text_lines(path), first=1, width=1)]
    for line, value in enumerate(values, 1):
        check_range(f"{path}: line {line}", value)
    return values


def read_points(path: Path, count: int) -> tuple[float, ...] | None:
    """`count` points x, y of a `.pts` file, flattened; None where there is no such file.

    A missing file means that no face was detected in that frame. The syntax is `version: 1`,
    `n_points: N`, then N pairs between braces, with any white space between numbers.

    Raises ValueError when the file is there and does not hold `count` points.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    numbers = text.partition("{")[2].partition("}")[0].split()
    try:
        points = tuple(float(number) for number in numbers)
    except ValueError:
        points = ()
    if len(points) != 2 * count:
        raise ValueError(f"{path} does not hold {count} points between braces")
    return points


def box_around(points: tuple[float, ...]) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom of points x, y in any order; None when they enclose no area."""
    xs, ys = points[0::2], points[1::2]
    box = min(xs), min(ys), max(xs), max(ys)
    return box if box[0] < box[2] and box[1] < box[3] else None


def split_person(name: str) -> tuple[str, str]:
    """Video id and slot of an annotation name: `video59_right` is the right person of video59.

    The main person of a video with two has no suffix at all.
    """
    match = _PERSON.fullmatch(name)
    return (match["video"], match["slot"]) if match else (name, "main")


def key_part(name: str) -> str:
    """`name` with every character that a tar key must not have replaced by '-'."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)
