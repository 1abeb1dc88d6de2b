"""Aff-Wild2's label files, of every challenge year: where they are and what is in them.

    valence,arousal     Neutral,...,Other     AU1,...,AU26       of MTL one file a split:
    0.123,-0.045        4                     0,1,0,...          video/00001.jpg,v,a,e,au1,...

All that is known of one person becomes one array: a row a frame, a column a number, NaN where no
file has a row for that frame, and the distributed sentinels (-5, -1) otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from shards.datasets import foreign
from shards.datasets.annotations import check_range, split_person
from shards.datasets.preflight import check_each
from shards.findings import Findings
from shards.labels.rows import lists_of

VA, EXPRESSION, AU = slice(0, 2), slice(2, 3), slice(3, 15)  # columns of a person's array
WIDTH = 15
NULL_VA = -5.0
CANONICAL = {0: 0, 1: 6, 2: 5, 3: 4, 4: 1, 5: 2, 6: 3}  # 7 (other) and -1 are null

_AU_HEADER = "au1,au2,au4,au6,au7,au10,au12,au15,au23,au24,au25,au26"
_EXPRESSIONS = "neutral,anger,disgust,fear,happiness,sadness,surprise"
_HEADERS = {  # lower case, without spaces
    "va": ("valence,arousal",),
    "expr": (f"{_EXPRESSIONS},other", _EXPRESSIONS),  # the first two challenges had no "other"
    "au": (_AU_HEADER,),
}
_COLUMNS = {"va": VA, "expr": EXPRESSION, "au": AU}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_MTL_ROW = re.compile(r"[^/,]+/0*([1-9][0-9]{0,5})\.jpe?g,(.*)", re.IGNORECASE)
_DEPTH = 4  # folders between the root and a task's folder


@dataclass(slots=True)
class Annotations:
    """The label files of one release: but for MTL's two lists, memory grows with the persons."""

    root: Path
    year: str  # "abaw5", or "abaw" where no folder name tells
    files: dict[str, dict[str, Path]] = field(default_factory=dict)  # task -> split -> place
    listed: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # persons of a place
    mtl: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # numbered lines
    persons: dict[str, dict[str, str]] = field(default_factory=dict)  # person -> task -> split

    @property
    def counts(self) -> dict[str, int]:
        """Label files by task and split, as the card of a stand-in names them."""
        return {
            f"{task.upper()} {split} files": len(names)
            for (task, split), names in self.listed.items()
        }

    def videos_by_split(self) -> dict[str, dict[str, set[str]]]:
        """Videos (both persons as one) by task and split."""
        videos: dict[str, dict[str, set[str]]] = {}
        for (task, split), names in self.listed.items():
            videos.setdefault(task, {})[split] = {split_person(name)[0] for name in names}
        return videos


def find_annotations(root: Path, findings: Findings) -> Annotations:
    """Find the one release of label files below `root`, whatever its year calls its folders."""
    places: dict[tuple[str, str], list[Path]] = {}
    for task, folder in _task_folders(root, _DEPTH):
        for split, place in _split_places(task, folder):
            places.setdefault((task, split), []).append(place)
    twice = {key: found for key, found in places.items() if len(found) > 1}
    check_each(
        findings,
        "one release of label files",
        [
            f"{' and '.join(map(str, sorted(found)))} both hold labels of {task} {split}; keep one "
            "release below the root, the sets differ by year"
            for (task, split), found in twice.items()
        ],
        f"{len(places)} folders of labels below {root}",
    )
    findings.check(
        "label files",
        bool(places),
        f"{root} holds labels of {sorted({task for task, _ in places})}"
        if places
        else f"{root} has no folder such as VA_Estimation_Challenge/Train_Set with .txt files; "
        "unpack one year's annotations there",
    )
    annotations = Annotations(root, _year(root, [found[0] for found in places.values()]))
    for (task, split), found in sorted(places.items()):
        annotations.files.setdefault(task, {})[split] = found[0]
    _drop_other_units(annotations, findings)
    _list_persons(annotations)
    _check_splits(annotations, findings)
    return annotations


def _task_folders(folder: Path, depth: int) -> Iterator[tuple[str, Path]]:
    """Folders whose first word is va, expr, au or mtl; folders of images are not entered."""
    for path in foreign.folders(folder):
        name = path.name.casefold()
        if name.startswith(("cropped", "batch")):
            continue
        task = re.split(r"[^a-z]", name)[0]
        if task in (*_HEADERS, "mtl"):
            yield task, path
        elif depth > 1:
            yield from _task_folders(path, depth - 1)


def _split_places(task: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Train and validation folders with label files; of MTL the one file of each split."""
    inside = [folder, *foreign.folders(folder)] if task == "mtl" else []
    places = [inner / name for inner in inside for name in foreign.names(inner, ".txt")]
    for path in places or [folder / name for name in foreign.names(folder)]:
        for split, start in (("train", "train"), ("val", "val")):
            if not path.name.casefold().startswith(start):
                continue
            if path.is_file() if task == "mtl" else foreign.names(path, ".txt"):
                yield split, path


def _year(root: Path, places: list[Path]) -> str:
    """The challenge by the folder names on the way to the labels: `5th_ABAW_Annotations`."""
    parts = {root.name} | {part for path in places for part in path.relative_to(root).parts}
    for part in sorted(name.casefold() for name in parts if "abaw" in name.casefold()):
        digits = re.search(r"(\d+)(?:st|nd|rd|th)", part)
        words = [rank for rank, word in enumerate(_ORDINALS, 1) if word in part]
        if digits or words:
            return f"abaw{digits[1] if digits else words[0]}"
    if "VA_Set" in parts:  # the first two years have no folder of their own
        return "abaw1" if "Training_Set" in parts else "abaw2"
    return "abaw"


def _drop_other_units(annotations: Annotations, findings: Findings) -> None:
    """The first challenge had eight other action units; the index has room for the twelve."""
    for place in annotations.files.get("au", {}).values():
        path = place / foreign.names(place, ".txt")[0]
        header = _header(foreign.lines(annotations.root, path))
        if header in _HEADERS["au"]:
            continue
        findings.check(
            "action units",
            False,
            f"{path} names the units {header[:60]!r} and not the twelve of later years; action "
            "units are left null",
            level="warn",
        )
        del annotations.files["au"]
        return


def _header(found: list[str]) -> str:
    return "".join(found[0].lower().split()) if found else ""


def _list_persons(annotations: Annotations) -> None:
    for task, splits in annotations.files.items():
        for split, place in splits.items():
            if task == "mtl":
                names = sorted(_list_mtl(annotations, place))
            else:
                names = [name[:-4] for name in foreign.names(place, ".txt")]
            annotations.listed[task, split] = names
            for name in names:
                annotations.persons.setdefault(name, {})[task] = split
    annotations.persons = dict(sorted(annotations.persons.items()))


def _list_mtl(annotations: Annotations, path: Path) -> set[str]:
    """Keep the rows of an MTL file by person; the persons."""
    names = set()
    for number, line in foreign.numbered_lines(annotations.root, path):
        person, slash, _ = line.partition("/")
        if slash:  # neither the header nor an empty line
            names.add(person)
            annotations.mtl.setdefault(person, []).append((number, line))
    return names


def person_rows(annotations: Annotations, person: str) -> np.ndarray:
    """All labels of one person, (frames, 15): row k - 1 belongs to the image of number k.

    Raises ValueError, naming file and line, for a header, row or value that cannot be.
    """
    tables = []
    for task, split in annotations.persons[person].items():
        place = annotations.files[task][split]
        if task == "mtl":
            tables.append(_mtl_table(place, annotations.mtl[person]))
        else:
            tables.append(_table(annotations.root, place / f"{person}.txt", task))
    rows = np.full((max(map(len, tables)), WIDTH), np.nan)
    for table in tables:  # a task's own file before MTL, which repeats a part of them
        part = rows[: len(table)]
        part[np.isnan(part)] = table[np.isnan(part)]
    return rows


def _table(root: Path, path: Path, task: str) -> np.ndarray:
    columns = _COLUMNS[task]
    width = columns.stop - columns.start
    header, _, text = foreign.content(root, path, foreign.TEXT).partition(b"\n")
    if "".join(header.decode("latin-1").lower().split()) in _HEADERS[task]:
        plain = foreign.number_table(text.replace(b"\r\n", b"\n"), width)
        if plain is not None:
            return _checked(path, plain, columns)
    lines = foreign.lines(root, path)
    if _header(lines) not in _HEADERS[task]:
        raise ValueError(
            f"{path}: the header is {(lines or [''])[0][:60]!r} and not {_HEADERS[task][0]!r}; a "
            "file without its header would shift every label by a frame, so restore it"
        )
    rows = foreign.number_rows(path, lines[1:], first=2, width=width)
    return _checked(path, np.array(rows).reshape(-1, width), columns)


def _checked(path: Path, rows: np.ndarray, columns: slice) -> np.ndarray:
    table = np.full((len(rows), WIDTH), np.nan)
    if len(rows):
        table[:, columns] = rows
    _check_values(path, table, first=2)
    return table


def _mtl_table(path: Path, lines: list[tuple[int, str]]) -> np.ndarray:
    rows: dict[int, tuple[float, ...]] = {}
    for number, line in lines:
        match = _MTL_ROW.fullmatch(line)
        if not match:
            raise ValueError(
                f"{path}: line {number} reads {line[:60]!r}, which does not begin with "
                "<person>/<00001>.jpg; restore the file from the release"
            )
        (row,) = foreign.number_rows(path, [match[2]], first=number, width=WIDTH)
        _check_values(path, np.array([row]), first=number)
        rows[int(match[1]) - 1] = row
    table = np.full((max(rows) + 1, WIDTH), np.nan)
    table[list(rows)] = list(rows.values())
    return table


def _check_values(path: Path, table: np.ndarray, first: int) -> None:
    """Raise ValueError for the first value that is neither a label nor its sentinel."""
    va = np.where((table[:, VA] == NULL_VA).any(axis=1, keepdims=True), 0, table[:, VA])
    for row in np.flatnonzero((np.abs(va) > 1).any(axis=1)):
        for value in va[row]:
            check_range(f"{path}: line {row + first}", float(value))
    for columns, last in ((EXPRESSION, 7), (AU, 1)):
        codes = table[:, columns]
        known = np.isnan(codes) | ((codes >= -1) & (codes <= last) & (codes == np.round(codes)))
        for row, column in np.argwhere(~known)[:1]:
            raise ValueError(
                f"{path}: line {row + first} holds {codes[row, column]:g}, and codes are whole "
                f"numbers from -1 (null) to {last}; restore the file from the release"
            )


def _check_splits(annotations: Annotations, findings: Findings) -> None:
    """Both persons of a video must be on one side: they share light, camera and talk."""
    for task, splits in annotations.videos_by_split().items():
        both = sorted(splits.get("train", set()) & splits.get("val", set()))
        check_each(
            findings,
            f"no video in both train and val of {task}",
            [f"video {name} is in both train and val of the {task} task" for name in both],
            "train and val share no video",
            level="fail" if task == "va" else "warn",
        )


def label_columns(rows: np.ndarray) -> dict[str, pa.Array]:
    """Columns of rows of labels, with each sentinel made null and its raw value kept."""
    va, codes, units = rows[:, VA], rows[:, EXPRESSION][:, 0], rows[:, AU]
    unknown = np.isnan(va).any(axis=1)
    void = unknown | (va == NULL_VA).any(axis=1)
    no_code, no_units = np.isnan(codes), np.isnan(units).any(axis=1)
    whole = np.where(no_code, -1, codes).astype(np.int64)
    canonical = np.array([CANONICAL.get(code, -1) for code in range(8)] + [-1])[whole]
    return {
        "valence_raw": pa.array(va[:, 0], mask=unknown),
        "arousal_raw": pa.array(va[:, 1], mask=unknown),
        "valence": pa.array(va[:, 0], mask=void),
        "arousal": pa.array(va[:, 1], mask=void),
        "expression_raw": pa.array(whole, pa.int16(), mask=no_code),
        "expression": pa.array(canonical, pa.int8(), mask=canonical < 0),
        "action_units": lists_of(np.where(no_units.reshape(-1, 1), np.nan, units)).cast(
            pa.list_(pa.int8())
        ),
    }
