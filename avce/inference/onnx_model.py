"""`OnnxModel`: any ONNX model as one that says valence and arousal of our batches.

    model = OnnxModel("enet_b0_8.onnx").asked("valence=8,arousal=9", "imagenet")
    predict_table(model, batches)  # and scored as our own are

It sees the pictures that our models see, at its own size; colours are scaled as it wants them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from pipelines import pixels

AXES = ("valence", "arousal")
NORMALISE = "imagenet, half, unit, raw, or MEAN/STD of colours in [0, 1] such as 0.5,0.5,0.5/0.5"
_NAMED = {  # (p / 255 - mean) / deviation
    "imagenet": (pixels.MEAN / 255, pixels.STD / 255),
    "half": (np.full(3, 0.5), np.full(3, 0.5)),
    "unit": (np.zeros(3), np.ones(3)),
    "raw": (np.zeros(3), np.full(3, 1 / 255)),
}
_TYPES = {f"tensor({name})": np.dtype(kind) for name, kind in (
    ("float", "f4"), ("float16", "f2"), ("double", "f8"), ("uint8", "u1"),
)}  # fmt: skip
_SIZE = 224  # pixels, where a model takes any


class Scaling(NamedTuple):
    """How colours are given to a model."""

    mean: np.ndarray  # (3,), of colours in [0, 1]
    std: np.ndarray
    reverse: bool = False  # blue, green, red

    @classmethod
    def read(cls, text: str) -> Scaling:
        """From a name or MEAN/STD, `:bgr` behind it for blue first. ValueError for other words."""
        words, _, order = text.partition(":")
        found = _NAMED.get(words) or _numbers(words)
        if found is None or order not in ("", "rgb", "bgr"):
            raise ValueError(f"normalise {text!r}: give {NORMALISE}; `:bgr` behind it reverses")
        return cls(found[0], found[1], order == "bgr")

    def of(self, images: Float32[np.ndarray, "b 3 h w"]) -> np.ndarray:
        """Pictures that our models see, float32 (b, 3, h, w), as this one wants them."""
        seen = images.transpose(0, 2, 3, 1) * pixels.STD + pixels.MEAN
        scaled = (np.rint(seen) / 255 - self.mean) / self.std  # they were whole grey levels
        return (scaled[..., ::-1] if self.reverse else scaled).transpose(0, 3, 1, 2)


def _numbers(text: str) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        mean, std = (np.array([float(n) for n in part.split(",")]) for part in text.split("/"))
    except ValueError:
        return None
    if {mean.size, std.size} - {1, 3} or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        return None
    return np.broadcast_to(mean, 3), np.broadcast_to(std, 3)


def outputs_in(text: str) -> dict[str, str]:
    """ "valence=8,arousal=9" as a mapping; ValueError for anything else."""
    parts = (part.strip().partition("=") for part in text.split(","))
    found = {axis: place for axis, _, place in parts}
    if set(found) != set(AXES) or not all(found.values()) or text.count("=") != 2:
        raise ValueError(
            f"outputs {text!r}: say which of the model's numbers are which, valence=8,arousal=9; "
            "NAME or NAME:INDEX picks one of several outputs"
        )
    return found


class OnnxModel(nn.Module):
    """The model of a file. Raises FileNotFoundError or ValueError where it is none of pictures."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.path = Path(path)
        self.session = _session(self.path)
        self.given = _Given.of(self.session, self.path)
        self.size = self.given.size  # of the pictures it is shown, pixels a side
        self.outputs, self.normalise = _own(self.session)

    def asked(self, outputs: str | None = None, normalise: str | None = None) -> OnnxModel:
        """Itself, told where its numbers are and what it is shown; a file of `export` says both.

        An output is an index into all numbers it gives for a picture, one output after the other,
        or NAME, or NAME:INDEX: "valence=8,arousal=9". Raises ValueError for what it has not.
        """
        self.outputs = outputs_in(outputs) if outputs else self.outputs
        self.normalise = normalise or self.normalise
        if self.normalise is None:
            raise ValueError(f"{self.path} does not say how to normalise its input: {NORMALISE}")
        self.scaling = Scaling.read(self.normalise)
        self.columns = self._columns()
        return self

    @property
    def facts(self) -> dict[str, str]:
        """Where predictions come from."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        outputs = ",".join(f"{axis}={place}" for axis, place in self.outputs.items())
        said = {"onnx": str(self.path), "sha256": digest, "size": str(self.size)}
        return {**said, "outputs": outputs, "normalise": str(self.normalise)}

    def predict(self, image: Float32[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 2"]:
        """Valence and arousal of normalised pictures."""
        scaled = self.scaling.of(image.cpu().numpy())
        found = np.concatenate([part for _, part in self._said(scaled)], 1)[:, self.columns]
        return torch.from_numpy(found.astype(np.float32)).to(image.device)

    def _said(self, scaled: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Every output by name, (b, numbers); batches as large as the model takes them."""
        n, names = len(scaled), [one.name for one in self.session.get_outputs()]
        try:
            parts = [self.session.run(None, feed) for feed in self.given.feeds(scaled)]
            whole = [np.concatenate(each)[:n].reshape(n, -1) for each in zip(*parts, strict=True)]
        except Exception as error:  # onnxruntime has its own for each way to fail
            raise ValueError(
                f"{self.path} gives no row of numbers a picture: {_first_line(error)}; "
                "give a model of single pictures"
            ) from None
        return list(zip(names, whole, strict=True))

    def _columns(self) -> list[int]:
        """Where valence and arousal stand in all numbers, from one black picture."""
        black = np.zeros((1, 3, self.size, self.size))
        said = [(name, part.shape[1]) for name, part in self._said(black)]
        offers = ", ".join(f"{name} ({n})" for name, n in said)
        if not self.outputs:
            raise ValueError(
                f"{self.path} gives {offers}; say which outputs are which, valence=8,arousal=9"
            )
        places = _places(said)
        wanted = [self.outputs[axis] for axis in AXES]
        if missing := [place for place in wanted if place not in places]:
            raise ValueError(f"{self.path} has no output {missing[0]}: it gives {offers}")
        return [places[place] for place in wanted]


def _places(said: list[tuple[str, int]]) -> dict[str, int]:
    """Every way to name a number of the model, and where it stands."""
    found, first = {}, 0
    for name, n in said:
        found |= {name: first} if n == 1 else {}
        found |= {f"{name}:{k}": first + k for k in range(n)}
        first += n
    return found | {str(k): k for k in range(first)}


class _Given(NamedTuple):
    """The one input of a model."""

    name: str
    kind: np.dtype
    batch: int | None  # pictures at once; None: any
    size: int
    last: bool  # colours: (b, h, w, 3)

    @classmethod
    def of(cls, session: Any, path: Path) -> _Given:
        inputs = session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        last = len(shape) == 4 and shape[1] != 3 and shape[3] == 3
        sides = [s for s in (shape[1:3] if last else shape[2:]) if isinstance(s, int)]
        colours = len(shape) == 4 and (last or shape[1] == 3)
        if not colours or len(set(sides)) > 1 or inputs[0].type not in _TYPES:
            told = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise ValueError(
                f"{path} takes {told}; a model of one square picture in colours is scored here, "
                "(batch, 3, side, side) or (batch, side, side, 3)"
            )
        batch = shape[0] if isinstance(shape[0], int) else None
        return cls(
            inputs[0].name, _TYPES[inputs[0].type], batch, sides[0] if sides else _SIZE, last
        )

    def feeds(self, scaled: np.ndarray) -> list[dict[str, np.ndarray]]:
        """The batches as the model takes them; the last is filled up where it takes no fewer."""
        laid = scaled.transpose(0, 2, 3, 1) if self.last else scaled
        many = self.batch or len(laid)
        short = math.ceil(len(laid) / many) * many - len(laid)
        full = np.concatenate([laid, np.repeat(laid[-1:], short, 0)])
        cast = np.ascontiguousarray(np.rint(full) if self.kind.kind == "u" else full, self.kind)
        return [{self.name: part} for part in np.split(cast, len(cast) // many)]


def _session(path: Path) -> Any:
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the file of an ONNX model")
    onnxruntime.set_default_logger_severity(3)  # it warns where it finds no GPU
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own for each way to fail
        raise ValueError(f"{path} is not read as an ONNX model: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error).partition("\n")[0])[:200]


def _own(session: Any) -> tuple[dict[str, str], str | None]:
    """Outputs and scaling, as a file that `export` wrote says of itself."""
    try:
        names = json.loads(session.get_modelmeta().custom_metadata_map["avce"])["outputs"]
        return {axis: str(names.index(axis)) for axis in AXES}, "imagenet"
    except (KeyError, TypeError, ValueError):
        return {}, None
