"""What a result says of a frame: a row a face, or one row without a face and the reason why."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avce.config import Config
from avce.inference.predictor import Face
from avce.inference.video import Frame
from avce.scores.circumplex import angle_of, intensity_of, nearest_word

POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")  # left in the picture
_BOX = ("left", "top", "right", "bottom")
_PLACES = (*_BOX, "confidence", *(f"{point}_{axis}" for point in POINTS for axis in "xy"))


@dataclass(frozen=True)
class Form:
    """How a result is laid out, beyond its kind.

    `wide` is one row a frame, its faces beside each other. `smooth` seconds of a causal filter
    along each track go into columns of their own. `crops` names the pictures of faces that are
    kept. `again`: the command can be given again and goes on, unless `anew` forgets how far it was.
    """

    wide: bool = False
    all_columns: bool = False
    smooth: float | None = None
    crops: bool = False
    again: bool = False
    anew: bool = False


class Columns:
    """The columns of a result and their values."""

    def __init__(self, config: Config, form: Form, classes: Sequence[str] = ()) -> None:
        self.config, self.form, self.classes = config, form, classes
        self.of_frame = {"source": pa.string(), "frame": pa.int64(), "time_s": pa.float64()}
        self.of_face = {
            "face": pa.int16(),
            "track": pa.int32(),
            **dict.fromkeys(_PLACES, pa.float32()),
            **_said(config, form),
            **({"class": pa.string()} if classes else {}),
            **({"crop": pa.string()} if form.crops else {}),
        }

    @property
    def schema(self) -> pa.Schema:
        """In order, of a row a face."""
        return pa.schema([*self.of_frame.items(), *self.of_face.items(), ("reason", pa.string())])

    def rows(self, frame: Frame, faces: list[Face]) -> list[dict[str, Any]]:
        """Plain values; of a frame without a face its place and the reason."""
        where = {"source": frame.source, "frame": frame.number, "time_s": frame.time}
        said = [self._face(frame, number, face) for number, face in enumerate(faces)]
        return [
            {**where, **values, "reason": None if faces else frame.reason}
            for values in said or [dict.fromkeys(self.of_face)]
        ]

    def wide(self, frame: Frame, faces: list[Face], most: int) -> dict[str, Any]:
        """One row: what is said of face 0, then of face 1, up to `most` faces."""
        rows = self.rows(frame, faces)
        whole = {name: rows[0][name] for name in self.of_frame} | {"faces": len(faces)}
        for k in range(most):
            row = rows[k] if k < len(faces) else {}
            whole |= {f"{name}_{k}": row.get(name) for name in self.of_face if name != "face"}
        return whole | {"reason": rows[0]["reason"]}

    def _face(self, frame: Frame, number: int, face: Face) -> dict[str, Any]:
        box = face.box or (None,) * 4
        points = [None] * 10 if face.points is None else list(face.points)
        return {
            "face": number,
            "track": face.track,
            **dict(zip(_PLACES, (*box, face.confidence, *points), strict=True)),
            **(self._plane(face) if self.config.task == "va" else self._class(face)),
            **({"crop": crop_name(frame, number)} if self.form.crops else {}),
        }

    def _plane(self, face: Face) -> dict[str, Any]:
        valence, arousal = (float(value) for value in face.preds)
        values: dict[str, Any] = {"valence": valence, "arousal": arousal}
        if self.form.smooth:
            calm = (None, None) if face.smooth is None else face.smooth
            values |= dict(zip(("valence_smooth", "arousal_smooth"), calm, strict=True))
        if self.form.all_columns:
            values["angle"] = angle_of(valence, arousal)
            values["intensity"] = intensity_of(valence, arousal)
            values["emotion"] = nearest_word(valence, arousal)
        return values

    def _class(self, face: Face) -> dict[str, Any]:
        chance = np.exp(face.preds - np.logaddexp.reduce(face.preds))
        code = int(chance.argmax())
        named = dict(enumerate(self.classes))
        values = {"expression": code, "probability": float(chance.max())}
        return values | ({"class": named.get(code, str(code))} if named else {})


def _said(config: Config, form: Form) -> dict[str, pa.DataType]:
    if config.task == "expression":
        return {"expression": pa.int16(), "probability": pa.float32()}
    names = ["valence", "arousal"]
    names += ["valence_smooth", "arousal_smooth"] if form.smooth else []
    names += ["angle", "intensity"] if form.all_columns else []
    words = {"emotion": pa.string()} if form.all_columns else {}
    return {**dict.fromkeys(names, pa.float32()), **words}


class Smoother:
    """A causal filter along each track: what is new counts 1 - exp(-dt / seconds).

    It looks at no later frame, so a film and a camera are told alike, and lags by about `seconds`.
    Without a time or a track there is nothing to filter.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.source = seconds, ""
        self.known: dict[int, tuple[float, np.ndarray]] = {}

    def __call__(self, frame: Frame, faces: list[Face]) -> list[Face]:
        """The faces with their `smooth`."""
        if frame.source != self.source:
            self.source, self.known = frame.source, {}
        return [self._filtered(frame.time, face) for face in faces]

    def _filtered(self, time: float | None, face: Face) -> Face:
        if time is None or face.track is None:
            return face
        value = np.asarray(face.preds, np.float64)
        if face.track in self.known:
            before, calm = self.known[face.track]
            value = calm - np.expm1((before - time) / self.seconds) * (value - calm)
        self.known[face.track] = (time, value)
        return face._replace(smooth=(float(value[0]), float(value[1])))


def crop_name(frame: Frame, number: int) -> str:
    """Of the picture of a face; the same name from two folders gives two names."""
    source = zlib.crc32(frame.source.encode(errors="surrogateescape"))
    at = "" if frame.number is None else f"-{frame.number:06d}"
    return f"{Path(frame.source).stem}-{source:08x}{at}-{number}.png"
