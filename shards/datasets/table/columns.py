"""What stands in the columns of a table: found by name, rescaled, and checked row by row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np

from shards.datasets import foreign
from shards.sample import SPLITS

CORNERS, SIZE = ("left", "top", "right", "bottom"), ("x", "y", "w", "h")
_SIDES = {
    "left": ("x1", "xmin"), "top": ("y1", "ymin"),
    "right": ("x2", "xmax"), "bottom": ("y2", "ymax"),
    "x": ("face_x",), "y": ("face_y",), "w": ("face_width",), "h": ("face_height",),
}  # fmt: skip
_TOGETHER = (CORNERS, SIZE, ("start", "end"))  # roles that say nothing one by one
ROLES: dict[str, tuple[str, ...]] = {  # what a column may hold -> names it goes by
    "path": ("path", "file_name", "filename", "file", "image", "image_path", "image name", "img"),
    "valence": ("valence", "v"),
    "arousal": ("arousal", "a"),
    "expression": ("expression", "label", "emotion", "class"),
    "split": ("split", "set", "partition", "usage"),
    "fold": ("fold",),
    "subject": ("subject", "person", "actor", "subject_id", "identity"),
    "video": ("video", "video_id"),
    "frame": ("frame", "frame_index"),
    "time": ("time", "timestamp", "timestamp_s"),
    "start": ("start",),
    "end": ("end",),
    **{side: (side, *others) for side, others in _SIDES.items()},
    "box": ("bbox_xyxy",),  # four numbers in a cell
    "box_xywh": ("bbox_xywh",),
    "landmarks": ("landmarks", "facial_landmarks"),
}
SPLIT_NAMES = {
    **{split: split for split in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
    "publictest": "val",  # as FER2013 calls them
    "privatetest": "test",
    "unlabeled": "unlabelled",
}
NULLS = ("", "na", "n/a", "nan", "null", "none")  # in any column
FOLDS, FRAMES = 2**7, 2**31  # what an index can count
_PATH = re.compile(r"(?!\.)[^/\\\0]+(/(?!\.)[^/\\\0]+)*")
_WHOLE_ID = re.compile(r"^([0-9]+)\.0+$")
_RANGE = re.compile(r"([+-]?[0-9.]+)\.\.([+-]?[0-9.]+)")


Number = TypeVar("Number", float, np.ndarray)


class Row(NamedTuple):
    """One row, checked; what no column holds is None."""

    path: str
    valence: float | None  # as in the table, sentinels null
    arousal: float | None
    expression: str | None
    split: str | None
    fold: int | None
    subject: str | None
    video: str | None
    frame: int | None
    seconds: tuple[float, float] | None  # of a moment (twice the same) or an interval
    box: tuple[float, float, float, float] | None
    landmarks: tuple[float, ...] | None
    others: dict[str, str]  # texts of the columns that are nothing else


def assign(names: Sequence[str], given: str, where: str) -> dict[str, str]:
    """The column of each role: those in `given` ("valence:v,path:img"), the others by name; of
    "expression:" no column, of "path:folder/name" two that make it.

    Raises ValueError for an unknown role or column, where two columns may be meant, and without
    any column of paths.
    """
    wanted: dict[str, str] = {}
    for part in filter(None, given.split(",")):
        role, _, name = part.strip().partition(":")
        if role in wanted:
            raise ValueError(f"columns={given}: {role} is named twice; name one column for it")
        wanted[role] = name
        joined = role == "path" and all(part in names for part in name.split("/"))
        if role not in ROLES or not (name in (*names, "") or joined):
            raise ValueError(
                f"columns={given}: {role}:{name} is no role and column; roles are "
                f"{', '.join(ROLES)}, and {where} has the columns {', '.join(names)}"
            )
    for role, words in ROLES.items():
        found = [name for name in names if name.casefold() in words]
        if role not in wanted and len(found) > 1:
            raise ValueError(
                f"{where}: columns {' and '.join(map(repr, found))} may both hold {role}; say "
                f"which with --option columns={role}:{found[0]}"
            )
        if role not in wanted and found:
            wanted[role] = found[0]
    wanted = {role: name for role, name in wanted.items() if name}
    _complete(wanted, given, where)
    if "path" not in wanted:
        raise ValueError(
            f"{where} has the columns {', '.join(names)} and none of them is called path, "
            "file_name or image; name it with --option columns=path:COLUMN"
        )
    return wanted


def _complete(wanted: dict[str, str], given: str, where: str) -> None:
    """Give up roles that lack their others, as "x" without "w": their columns are then kept."""
    labels = [axis for axis in ("valence", "arousal") if axis in wanted]
    if len(labels) == 1:
        (found,) = labels
        lacking = "arousal" if found == "valence" else "valence"
        raise ValueError(
            f"{where}: column {wanted[found]!r} holds {found} and none holds {lacking}; name it "
            f"with --option columns={lacking}:COLUMN, or keep {wanted[found]!r} as a column of "
            f"your own with columns={found}:"
        )
    asked = {part.strip().partition(":")[0] for part in given.split(",")}
    for roles in _TOGETHER:
        lacking = [role for role in roles if role not in wanted]
        if lacking and asked & {role for role in roles if role in wanted}:
            raise ValueError(f"columns={given}: name the columns of {', '.join(lacking)} too")
        if lacking or (roles == SIZE and "left" in wanted):
            for role in roles:
                wanted.pop(role, None)


@dataclass(frozen=True, slots=True)
class Scale:
    """The range that labels were published in, and the words that mean "not labelled"."""

    low: float  # of valence, and of arousal unless `second` says otherwise
    high: float
    nulls: frozenset[str]
    numbers: frozenset[float | None]  # those of `nulls` that are numbers
    second: Scale | None = None

    @classmethod
    def of(cls, range_: str, null: str) -> Scale:
        """From `1..9`, or `-1..1,0..1` where arousal has its own, and `-2,-5,NA`; raises ValueError
        for others."""
        found = [_ends(part) for part in range_.split(",")]
        ends = [pair for pair in found if pair and pair[0] < pair[1]]
        if len(ends) < len(found) or len(found) > 2:
            raise ValueError(
                f"range={range_}: write the ends of the published scale, as in 1..9, or of "
                "valence and of arousal, as in -1..1,0..1"
            )
        nulls = frozenset(word.strip().casefold() for word in null.split(","))
        numbers = frozenset(map(_number_or_none, nulls)) - {None}
        second = cls(*ends[1], nulls, numbers) if len(ends) > 1 else None
        return cls(*ends[0], nulls, numbers, second)

    def axis(self, name: str) -> Scale:
        """That of valence or of arousal."""
        return (self.second or self) if name == "arousal" else self

    def value(self, text: str) -> float | None:
        """A label in the table's own scale; ValueError for one outside."""
        if self.is_null(text):
            return None
        value = foreign.number(text)
        if not self.low <= value <= self.high:
            raise ValueError(f"{value:g} is outside {self.low:g}..{self.high:g}")
        return value

    def is_null(self, text: str) -> bool:
        """Whether the text means that there is no label: -2 does where -2.0 is named."""
        word = text.strip().casefold()
        if word in NULLS or word in self.nulls:
            return True
        return bool(self.numbers) and _number_or_none(word) in self.numbers

    def unit(self, value: float | None) -> float | None:
        """The label in [-1, 1]."""
        return None if value is None else self.units(value)

    def units(self, values: Number) -> Number:
        """Labels in [-1, 1]."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return (values - middle) / half


def _ends(text: str) -> tuple[float, float] | None:
    match = _RANGE.fullmatch(text.strip())
    low, high = map(_number_or_none, match.groups()) if match else (None, None)
    return None if low is None or high is None else (low, high)


def _number_or_none(word: str) -> float | None:
    try:
        return foreign.number(word)
    except ValueError:
        return None


def parse(
    row: Mapping[str, str],
    roles: Mapping[str, str],
    scale: Scale,
    others: Mapping[str, str] = MappingProxyType({}),
) -> Row:
    """A row by roles, and under their names what stands in the columns `others`; raises ValueError
    with column and value where one is wrong."""

    def text(role: str) -> str | None:
        if role not in roles:
            return None
        found = row.get(roles[role], "").strip()
        return None if found.casefold() in NULLS else found

    def number(role: str) -> float | None:
        found = text(role)
        return None if found is None else foreign.number(found)

    def whole(role: str, limit: int) -> int | None:
        found = number(role)
        if found is not None and not (0 <= found < limit and found.is_integer()):
            raise ValueError(f"{found:g} is no whole number from 0 to {limit - 1:,}")
        return None if found is None else int(found)

    role = "path"
    try:
        path = path_of(row, roles.get("path", ""))
        if not _PATH.fullmatch(path):
            raise ValueError("it names no file below the table; write folders with '/'")
        values = []
        for role in ("valence", "arousal"):
            found = text(role)
            values.append(None if found is None else scale.axis(role).value(found))
        role = "expression"
        word = text("expression")
        expression = None if word is None or scale.is_null(word) else word
        role = "split"
        split = text("split")
        if split is not None and split.casefold() not in SPLIT_NAMES:
            raise ValueError(f"a split is one of {', '.join(SPLIT_NAMES)}")
        role = "box"
        box = _box([number(side) for side in CORNERS], corners=True)
        box = box or _box([number(side) for side in SIZE], corners=False)
        for role in ("box", "box_xywh"):
            box = box or _box(_cell(text(role), 4), corners=role == "box")
        role = "landmarks"
        landmarks = _landmarks(text("landmarks"))
        role = "time" if "start" not in roles else "start"
        seconds = _seconds(number("time"), number("start"), number("end"))
        role = "fold"
        fold = whole("fold", FOLDS)
        role = "frame"
        frame = whole("frame", FRAMES)
    except ValueError as error:
        shown = row.get(roles.get(role, ""), "")
        step = _next_step(role, roles, shown[:60])
        raise ValueError(f"{role} {shown[:60]!r}: {error}{step}") from None
    return Row(
        path=path,
        valence=values[0],
        arousal=values[1],
        expression=expression,
        split=SPLIT_NAMES[split.casefold()] if split else None,
        fold=fold,
        subject=_id(text("subject")),
        video=_id(text("video")),
        frame=frame,
        seconds=seconds,
        box=box,
        landmarks=landmarks,
        others={name: row.get(column, "") for column, name in others.items()},
    )


def _next_step(role: str, roles: Mapping[str, str], text: str) -> str:
    """What to type where a column is not written as its role is, or holds something else."""
    if role in ("valence", "arousal"):
        if "," in text:
            return "; pass --option decimal=, where 0,5 is a half"
        null = f"or pass --option null={text} if it means that there is no label"
        return f"; name the published scale with --option range=LOW..HIGH, {null}"
    if role == "path" or role not in roles:
        return ""
    none = "start:,end:" if role == "start" else f"{role}:"
    return f"; if {roles[role]!r} is no column of that kind, pass --option columns={none}"


def _id(text: str | None) -> str | None:
    """The number of a subject or film as others write it: 12.0, as pandas does beside nulls, is 12,
    or one person would be two."""
    return text if text is None else _WHOLE_ID.sub(r"\1", text)


def _seconds(
    time: float | None, start: float | None, end: float | None
) -> tuple[float, float] | None:
    if (start is None) != (end is None):
        raise ValueError("it is an interval with one end; write start and end, or neither")
    if start is None or end is None:
        start = end = time
    elif not start < end:
        raise ValueError(f"an interval ends after its start, and {start:g} to {end:g} does not")
    if start is None or end is None:
        return None
    if start < 0:
        raise ValueError(f"{start:g} s lies before the film begins")
    return start, end


def _box(
    sides: Sequence[float | None], *, corners: bool
) -> tuple[float, float, float, float] | None:
    known = [side for side in sides if side is not None]
    if not known:
        return None
    if len(known) < len(sides):
        raise ValueError("a side of the box is missing; write all four, or none")
    left, top, right, bottom = known
    box = (left, top, right, bottom) if corners else (left, top, left + right, top + bottom)
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(f"the box {box} is empty")
    if min(box[2] - box[0], box[3] - box[1]) <= 1:
        raise ValueError(
            f"the box {box} is not larger than a pixel; boxes are in pixels, so multiply shares by "
            "the width and the height of the picture"
        )
    return box


def path_of(row: Mapping[str, str], column: str) -> str:
    """What one column holds, or several joined as folders are."""
    columns = [column] if column in row else column.split("/")
    parts = [
        part for name in columns if (part := row.get(name, "").strip()).casefold() not in NULLS
    ]
    return "/".join([*(part.rstrip("/") for part in parts[:-1]), *parts[-1:]]).removeprefix("./")


def _cell(text: str | None, count: int, what: str = "") -> tuple[float, ...]:
    """The numbers of a cell, in brackets or without, also in pairs; none of an empty one."""
    plain = re.sub(r"[][(),;\s]+", ";", text or "").strip(";")
    found = foreign.numbers(plain, ";") if plain else ()
    if len(found) not in (0, count):
        raise ValueError(f"it has {len(found)} numbers, not {count}{what}")
    return found


def _landmarks(text: str | None) -> tuple[float, ...] | None:
    found = _cell(text, 136, " (68 points x, y)")
    if not found:
        return None
    if max(map(abs, found)) <= 1:
        raise ValueError("they lie within one pixel; landmarks are in pixels, so multiply shares")
    return found
