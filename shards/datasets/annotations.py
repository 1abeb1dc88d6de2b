"""What more than one data set says in the same way: ranges, boxes, person names, keys."""

from __future__ import annotations

import re

ROUNDING = 1e-6  # labels are printed with at most 6 decimals

_PERSON = re.compile(r"(?P<video>.+?)_(?P<slot>left|right)")
_NO_KEY = re.compile("[^A-Za-z0-9_-]")


def check_range(where: str, value: float, limit: float = 1.0) -> None:
    """Raise ValueError, naming the place, for a label outside [-limit, limit] (or NaN)."""
    if not abs(value) <= limit + ROUNDING:
        raise ValueError(
            f"{where} holds {value:g}, outside [-{limit:g}, {limit:g}]; labels are "
            "never clipped, so restore the file from the release"
        )


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
    return _NO_KEY.sub("-", name)
