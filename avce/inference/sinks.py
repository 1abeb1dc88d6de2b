"""Where predictions go: CSV, Arrow, or a film with the faces marked."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from avce.config import Config
from avce.inference.overlay import Overlay
from avce.inference.predictor import Face
from avce.inference.video import Film, Frame


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
        said = [("expression", pa.int8()), ("probability", pa.float32())]
    where = [("source", pa.string()), ("frame", pa.int64()), ("time_s", pa.float64())]
    return pa.schema([*where, ("face", pa.int16()), ("track", pa.int32()), *places, *said])


class CsvSink:
    """A line a face; floats with 4 decimals, empty where there is nothing to say."""

    def __init__(self, target: Path | TextIO, config: Config) -> None:
        self.config, self.path = config, target if isinstance(target, Path) else None
        self.file = _part(target).open("w", newline="") if isinstance(target, Path) else target
        self.lines = csv.DictWriter(self.file, schema_of(config).names, lineterminator="\n")
        self.lines.writeheader()

    def add(self, frame: Frame, faces: list[Face]) -> None:
        for number, face in enumerate(faces):
            row = row_of(frame, number, face, self.config)
            self.lines.writerow(
                {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}
            )

    def close(self) -> None:
        self.file.flush()
        if self.path is not None:
            self.file.close()
            _part(self.path).replace(self.path)


class ArrowSink:
    """An Arrow file of record batches, written as they come."""

    _ROWS = 4096

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config, self.schema = path, config, schema_of(config)
        self.rows: list[dict[str, Any]] = []
        self.file = pa.OSFile(str(_part(path)), "wb")
        self.writer = pa.ipc.new_file(self.file, self.schema)

    def add(self, frame: Frame, faces: list[Face]) -> None:
        self.rows += [row_of(frame, n, face, self.config) for n, face in enumerate(faces)]
        if len(self.rows) >= self._ROWS:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            self.writer.write_batch(pa.RecordBatch.from_pylist(self.rows, self.schema))
            self.rows = []

    def close(self) -> None:
        self._flush()
        self.writer.close()
        self.file.close()
        _part(self.path).replace(self.path)


class FilmSink:
    """The video with boxes and the circumplex drawn on it."""

    def __init__(self, path: Path, config: Config) -> None:
        if config.task != "va":
            raise ValueError(f"{path}: the overlay shows valence and arousal; write .csv or .arrow")
        self.path, self.overlay = path, Overlay()
        self.film: Film | None = None
        self.source = ""

    def add(self, frame: Frame, faces: list[Face]) -> None:
        if frame.number is None:
            raise ValueError(
                f"{frame.source} is a still image and {self.path} a video; write .csv or .arrow"
            )
        if self.film is None:
            self.film, self.source = Film(self.path, frame.rate), frame.source
        if frame.source != self.source:
            raise ValueError(
                f"{self.path} holds {self.source} so far; predict {frame.source} on its own"
            )
        marks = [(face.box, face.track or 0, face.preds) for face in faces]
        self.film.add(self.overlay.drawn(frame.picture, marks))

    def close(self) -> None:
        if self.film is not None:
            self.film.close()


Sink = CsvSink | ArrowSink | FilmSink  # add(frame, faces); what was added is kept by close()


def sink_for(path: Path | str | None, config: Config) -> Sink:
    """By the ending of `path`: .csv, .arrow, .mp4 (annotated video); None is CSV on stdout."""
    if path is None:
        return CsvSink(sys.stdout, config)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        return CsvSink(path, config)
    if path.suffix == ".arrow":
        return ArrowSink(path, config)
    if path.suffix == ".mp4":
        return FilmSink(path, config)
    raise ValueError(f"{path} ends in none of .csv, .arrow and .mp4; name the output by its kind")


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")
