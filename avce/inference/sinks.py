"""Where predictions go: CSV, Arrow, or a film with the faces marked.

A file is written aside and takes its place once everything was predicted. If that ends early, what
was predicted stands there if nothing stood there before, and else beside it as NAME.partial.SUFFIX;
without a face nothing is written at all. Each says in `facts` which run and which detector spoke:
Arrow and film in their metadata, CSV in NAME.csv.json.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from avce.config import Config
from avce.durable import sync_folder, write_aside
from avce.inference.overlay import Overlay
from avce.inference.predictor import Face
from avce.inference.video import Film, Frame
from avce.scores.sheet import plain


def row_of(frame: Frame, number: int, face: Face, config: Config) -> dict[str, Any]:
    """A face as plain values; columns of `schema_of`."""
    left, top, right, bottom = face.box or (None,) * 4
    said: dict[str, Any]
    if config.task == "va":
        said = {"valence": float(face.preds[0]), "arousal": float(face.preds[1])}
    else:
        chance = np.exp(face.preds - np.logaddexp.reduce(face.preds))
        said = {"expression": int(chance.argmax()), "probability": float(chance.max())}
    return {
        "source": frame.source,
        "frame": frame.number,
        "time_s": frame.time,
        "face": number,
        "track": face.track,
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "confidence": face.confidence,
        **said,
    }


def schema_of(config: Config) -> pa.Schema:
    """The columns of a result: where, which face, and what the model says."""
    places = [(name, pa.float32()) for name in ("left", "top", "right", "bottom", "confidence")]
    said = [("valence", pa.float32()), ("arousal", pa.float32())]
    if config.task == "expression":
        said = [("expression", pa.int16()), ("probability", pa.float32())]
    where = [("source", pa.string()), ("frame", pa.int64()), ("time_s", pa.float64())]
    return pa.schema([*where, ("face", pa.int16()), ("track", pa.int32()), *places, *said])


class _Aside:
    """An output that says who speaks, and where it lies until it is finished."""

    def __init__(self, path: Path, config: Config, facts: Mapping[str, Any] | None) -> None:
        self.path, self.config, self.faces = path, config, 0
        self.facts = json.dumps(facts, indent=1) if facts else ""
        self.part = Path(f"{path}.part")  # stdout has no path, and no part

    def place(self, whole: bool) -> Path | None:
        """Where what was written belongs; None where there is nothing to keep."""
        if not self.faces:
            return None
        if whole or not self.path.exists():
            return self.path
        return self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")

    def settled(self, whole: bool) -> Path | None:
        """Put the finished part there."""
        target = self.place(whole)
        if target is None:
            self.part.unlink()
            return None
        with open(self.part, "rb") as file:
            os.fsync(file.fileno())
        self.part.replace(target)
        sync_folder(target.parent)
        return target


class CsvSink(_Aside):
    """A line a face; floats with 4 decimals, empty where there is nothing to say.

    An apostrophe stands before a name that a spreadsheet would run as a formula.
    """

    def __init__(
        self,
        target: Path | TextIO,
        config: Config,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.to_file = isinstance(target, Path)
        super().__init__(target if isinstance(target, Path) else Path(), config, facts)
        self.file = (
            self.part.open("w", newline="", encoding="utf-8")
            if isinstance(target, Path)
            else target
        )
        self.lines = csv.DictWriter(self.file, schema_of(config).names, lineterminator="\n")
        self.lines.writeheader()

    def add(self, frame: Frame, faces: list[Face]) -> None:
        self.faces += len(faces)
        for number, face in enumerate(faces):
            row = row_of(frame, number, face, self.config)
            self.lines.writerow(
                {k: f"{v:.4f}" if isinstance(v, float) else plain(v) for k, v in row.items()}
            )

    def close(self, whole: bool = True) -> Path | None:
        self.file.flush()
        if not self.to_file:
            return None
        self.file.close()
        kept = self.settled(whole)
        if kept is not None and self.facts:
            write_aside(kept.with_name(f"{kept.name}.json"), self.facts.encode())
        return kept


class ArrowSink(_Aside):
    """An Arrow file of record batches, written as they come."""

    _ROWS = 4096

    def __init__(self, path: Path, config: Config, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(path, config, facts)
        self.schema = schema_of(config)
        if self.facts:
            self.schema = self.schema.with_metadata({"avce": self.facts})
        self.rows: list[dict[str, Any]] = []
        self.file = pa.OSFile(str(self.part), "wb")
        self.writer = pa.ipc.new_file(self.file, self.schema)

    def add(self, frame: Frame, faces: list[Face]) -> None:
        self.faces += len(faces)
        self.rows += [row_of(frame, n, face, self.config) for n, face in enumerate(faces)]
        if len(self.rows) >= self._ROWS:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            self.writer.write_batch(pa.RecordBatch.from_pylist(self.rows, self.schema))
            self.rows = []

    def close(self, whole: bool = True) -> Path | None:
        self._flush()
        self.writer.close()
        self.file.close()
        return self.settled(whole)


class FilmSink(_Aside):
    """The film with boxes and the circumplex drawn on it, at its own times and with its sound."""

    def __init__(self, path: Path, config: Config, facts: Mapping[str, Any] | None = None) -> None:
        if config.task != "va":
            raise ValueError(f"{path}: the overlay shows valence and arousal; write .csv or .arrow")
        super().__init__(path, config, facts)
        self.overlay = Overlay()
        self.film: Film | None = None
        self.source = ""

    def add(self, frame: Frame, faces: list[Face]) -> None:
        if frame.number is None:
            raise ValueError(
                f"{frame.source} is a still image and {self.path} a video; write .csv or .arrow"
            )
        if self.film is None:
            self.source, sound = frame.source, Path(frame.source)
            heard = sound if sound.is_file() else None  # no camera's
            self.film = Film(self.path, frame.rate, sound=heard, facts=self.facts)
        if frame.source != self.source:
            raise ValueError(
                f"{self.path} holds {self.source} so far; predict {frame.source} on its own"
            )
        self.faces += len(faces)
        marks = [(face.box, face.track or 0, face.preds) for face in faces]
        self.film.add(self.overlay.drawn(frame.picture, marks), frame.time)

    def close(self, whole: bool = True) -> Path | None:
        target = self.place(whole)
        if self.film is not None:
            self.film.path = target or self.path
            self.film.close(keep=target is not None)
        return target


Sink = CsvSink | ArrowSink | FilmSink  # add(frame, faces); close(whole) says where it is kept
_SINKS = {".csv": CsvSink, ".arrow": ArrowSink, ".mp4": FilmSink}


def sink_for(
    path: Path | str | None, config: Config, facts: Mapping[str, Any] | None = None
) -> Sink:
    """By the ending of `path`: .csv, .arrow, .mp4 (annotated video); None is CSV on stdout.

    `facts` are who speaks. Raises ValueError for another ending, a folder, or a place among shards.
    """
    if path is None:
        return CsvSink(sys.stdout, config)
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; name a file in it by its kind, such as {path / 'seen.csv'}"
        )
    if (kind := _SINKS.get(path.suffix.lower())) is None:
        raise ValueError(
            f"{path} ends in none of .csv, .arrow and .mp4; name the output by its kind"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return kind(path, config, facts)
