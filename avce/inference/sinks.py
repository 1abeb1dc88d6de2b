"""Where predictions go: CSV, Arrow, Parquet, JSON lines, or a film with the faces marked.

What was said is kept batch by batch in NAME.resume, from which a command can go on; a result
is written aside and takes its place once everything was predicted. If that ends early, what was
predicted stands there if nothing stood there before, and else beside it as NAME.partial.SUFFIX;
without a face nothing is written at all. Each says in `facts` which run and which detector spoke:
Arrow, Parquet and film in their metadata, CSV and JSON lines in NAME.json beside them.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from avce.config import Config
from avce.durable import aside, sync_folder, write_aside
from avce.inference.journal import At, Journal
from avce.inference.overlay import Overlay
from avce.inference.predictor import Face
from avce.inference.rows import Columns, Form, Smoother
from avce.inference.sources import Reading
from avce.inference.video import Film, Frame
from avce.scores.sheet import plain

_ROWS = 4096  # that are written at once


class _Aside:
    """An output that says who speaks, and where it lies until it is finished."""

    journal: Journal | None

    def __init__(
        self,
        path: Path,
        config: Config,
        facts: Mapping[str, Any] | None = None,
        form: Form = Form(),  # noqa: B008 (frozen)
    ) -> None:
        self.path, self.form = path, form
        self.columns = Columns(config, form, (facts or {}).get("classes", ()))
        self.facts = json.dumps(facts, indent=1) if facts else ""
        self.part = path.with_name(f"{path.name}.part")
        self.smoother = Smoother(form.smooth) if form.smooth else None
        anew = form.anew or not form.again
        self.journal = Journal(path.with_name(f"{path.name}.resume"), json.dumps(facts), anew=anew)
        self.faces = self.journal.faces

    def add(self, frame: Frame, faces: list[Face]) -> None:
        """What is said of the next frame."""
        self.faces += len(faces)
        assert self.journal is not None
        self.journal.note(frame, faces)

    def commit(self, left: list[tuple[str, str]], at: At) -> None:
        """The batch is whole, and was left out so much on the way to where the next begins."""
        if self.journal is not None:
            self.journal.commit(left, at)

    def begin_again(self, reading: Reading) -> None:
        """Take up what the journal knows."""

    def place(self, whole: bool) -> Path | None:
        """Where what was written belongs; None where there is nothing to keep."""
        if not self.faces:
            return None
        if whole or not self.path.exists():
            return self.path
        return self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")

    @contextmanager
    def ending(self, again: bool) -> Iterator[None]:
        """Let the journal go once the result is there, unless there is more to come `again`."""
        assert self.journal is not None
        try:
            yield
        except BaseException:
            self.journal.close(keep=True)
            raise
        self.journal.close(keep=again and self.form.again and self.faces > 0)

    def smoothed(self, frame: Frame, faces: list[Face]) -> list[Face]:
        return self.smoother(frame, faces) if self.smoother else faces


class _Table(_Aside):
    """A result of rows, written from the journal at the end."""

    def close(self, whole: bool = True, *, again: bool = False) -> Path | None:
        """Put what was said where it belongs, and say where that is."""
        with self.ending(again and not whole):
            target = self.place(whole)
            if target is not None:
                with aside(self.part):
                    self.write(self.part)
                    with open(self.part, "rb") as file:
                        os.fsync(file.fileno())
                    self.part.replace(target)
                sync_folder(target.parent)
                self.sign(target)
        return target

    def write(self, path: Path) -> None:
        """The whole table."""
        raise NotImplementedError

    def sign(self, target: Path) -> None:
        """Say beside a result who spoke."""
        if self.facts:
            write_aside(target.with_name(f"{target.name}.json"), self.facts.encode())

    def told(self) -> Iterator[tuple[Frame, list[Face]]]:
        """Frame by frame."""
        assert self.journal is not None
        for batch in self.journal.told():
            for frame, faces in batch.frames:
                yield frame, self.smoothed(frame, faces)

    def rows(self) -> Iterator[dict[str, Any]]:
        for frame, faces in self.told():
            yield from self.columns.rows(frame, faces)


class CsvSink(_Table):
    """A line a face, or wide a line a frame; floats with 4 decimals, empty where nothing is said.

    An apostrophe stands before a name that a spreadsheet would run as a formula.
    """

    def write(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            if not self.form.wide:
                lines = _csv_lines(file, self.columns.schema.names)
                lines.writerows(_cells(row) for row in self.rows())
                return
            most = max(len(faces) for _, faces in self.told())
            wide = (self.columns.wide(frame, faces, most) for frame, faces in self.told())
            lines = None
            for row in wide:
                lines = lines or _csv_lines(file, list(row))
                lines.writerow(_cells(row))


class LinesSink(_Table):
    """A JSON object a line; floats with 6 decimals."""

    def write(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{_object(row)}\n" for row in self.rows())


class ArrowSink(_Table):
    """An Arrow file of record batches."""

    def write(self, path: Path) -> None:
        with pa.OSFile(str(path), "wb") as file, self.writer(file) as writer:
            every = self.rows()
            while rows := list(islice(every, _ROWS)):
                writer.write_batch(pa.RecordBatch.from_pylist(rows, self.columns.schema))

    def writer(self, file: Any) -> Any:
        return pa.ipc.new_file(file, self.signed)

    @property
    def signed(self) -> pa.Schema:
        """The columns, and who spoke."""
        facts = {"avce": self.facts} if self.facts else None
        return self.columns.schema.with_metadata(facts)

    def sign(self, target: Path) -> None:
        """Its schema says it."""


class ParquetSink(ArrowSink):
    """A Parquet file."""

    def writer(self, file: Any) -> Any:
        return parquet.ParquetWriter(file, self.signed)


class FilmSink(_Aside):
    """The film with boxes and the circumplex drawn on it, at its own times and with its sound."""

    def __init__(
        self,
        path: Path,
        config: Config,
        facts: Mapping[str, Any] | None = None,
        form: Form = Form(),  # noqa: B008 (frozen)
    ) -> None:
        if config.task != "va":
            raise ValueError(f"{path}: the overlay shows valence and arousal; write .csv or .arrow")
        super().__init__(path, config, facts, form)
        self.overlay = Overlay()
        self.film: Film | None = None
        self.source = ""

    def add(self, frame: Frame, faces: list[Face]) -> None:
        if frame.number is None:
            raise ValueError(
                f"{frame.source} is a still image and {self.path} a video; write .csv or .arrow"
            )
        if self.source and frame.source != self.source:
            raise ValueError(
                f"{self.path} holds {self.source} so far; predict {frame.source} on its own"
            )
        super().add(frame, faces)
        self.draw(frame, faces)

    def draw(self, frame: Frame, faces: list[Face]) -> None:
        """A frame of the film; a smoothed face is drawn so."""
        if self.film is None:
            self.source, sound = frame.source, Path(frame.source)
            heard = sound if sound.is_file() else None  # no camera's
            self.film = Film(self.path, frame.rate, sound=heard, facts=self.facts)
        said = self.smoothed(frame, faces)
        marks = [(face.box, face.track or 0, _drawn(face)) for face in said]
        self.film.add(self.overlay.drawn(frame.picture, marks, frame.time), frame.time)

    def begin_again(self, reading: Reading) -> None:
        """Draw what was said before: the film is read again, nothing is predicted."""
        assert self.journal is not None
        told = (pair for batch in self.journal.told() for pair in batch.frames)
        for frame, (known, faces) in zip(reading, told, strict=False):
            assert (frame.source, frame.number) == (known.source, known.number)
            self.draw(frame, faces)
            if reading.at == self.journal.at:
                break

    def close(self, whole: bool = True, *, again: bool = False) -> Path | None:
        with self.ending(again and not whole):
            target = self.place(whole)
            if self.film is not None:
                self.film.path = target or self.path
                with aside(self.film.part):
                    self.film.close(keep=target is not None)
        return target


class Printed(_Aside):
    """On stdout as it comes: CSV, or one JSON object."""

    def __init__(
        self, file: TextIO, config: Config, facts: Mapping[str, Any] | None, form: Form, kind: str
    ) -> None:
        self.file, self.form = file, form
        self.columns = Columns(config, form, (facts or {}).get("classes", ()))
        self.faces, self.journal = 0, None
        self.smoother = Smoother(form.smooth) if form.smooth else None
        self.lines = None if kind == "json" else _csv_lines(file, self.columns.schema.names)
        if kind == "json":
            file.write(f'{{"facts": {json.dumps(facts or {})}, "rows": [')
        self.comma = ""

    def add(self, frame: Frame, faces: list[Face]) -> None:
        self.faces += len(faces)
        for row in self.columns.rows(frame, self.smoothed(frame, faces)):
            if self.lines:
                self.lines.writerow(_cells(row))
                continue
            self.file.write(f"{self.comma}\n{_object(row)}")
            self.comma = ","

    def close(self, whole: bool = True, *, again: bool = False) -> Path | None:
        if not self.lines:
            self.file.write(f'\n], "whole": {json.dumps(whole)}}}\n')
        self.file.flush()
        return None


def _drawn(face: Face) -> Any:
    return face.preds if face.smooth is None else np.array(face.smooth, np.float32)


def _csv_lines(file: TextIO, names: list[str]) -> csv.DictWriter[str]:
    lines = csv.DictWriter(file, names, lineterminator="\n")
    lines.writeheader()
    return lines


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: f"{v:.4f}" if isinstance(v, float) else plain(v) for k, v in row.items()}


def _object(row: Mapping[str, Any]) -> str:
    return json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})


Sink = CsvSink | LinesSink | ArrowSink | ParquetSink | FilmSink | Printed
_SINKS = {
    ".csv": CsvSink,
    ".arrow": ArrowSink,
    ".parquet": ParquetSink,
    ".jsonl": LinesSink,
    ".mp4": FilmSink,
}


def sink_for(
    path: Path | str | None,
    config: Config,
    facts: Mapping[str, Any] | None = None,
    form: Form = Form(),  # noqa: B008 (frozen)
    kind: str = "csv",
) -> Sink:
    """By the ending of `path`: .csv, .arrow, .parquet, .jsonl, .mp4 (annotated video).

    None is stdout, where `kind` is csv or json. `facts` are who speaks. Raises ValueError for
    another ending, or a folder.
    """
    if path is None:
        return Printed(sys.stdout, config, facts, form, kind)
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; name a file in it by its kind, such as {path / 'seen.csv'}"
        )
    if (made := _SINKS.get(path.suffix.lower())) is None:
        *kinds, last = _SINKS
        raise ValueError(
            f"{path} ends in none of {', '.join(kinds)} and {last}; name the output by its kind"
        )
    if form.wide and made is not CsvSink:
        raise ValueError(f"{path}: wide is a way of CSV; name a .csv, or leave --wide out")
    path.parent.mkdir(parents=True, exist_ok=True)
    return made(path, config, facts, form)
