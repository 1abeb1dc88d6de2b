"""`Predictor`: valence and arousal of anyone's pictures, prepared as the training's were.

    predictor = Predictor.load("runs/demo")
    predictor([picture, ...])  # (n, 2): each picture, uint8 (H, W, 3) RGB, is one face

`predict_stream` goes on from there to videos and many faces: frames are read, searched for faces
and cropped in a thread of their own while the network works on the batch before; memory holds a
few batches however long the video is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from avce.config import Config
from avce.method.build import build_method
from avce.scores.evaluate import device_of, evaluating
from avce.training.checkpoint import metadata_in, read_safetensors, step_of
from avce.training.record import RunRecord, exported_in
from avce.training.run_folder import Which, load_run
from pipelines import pixels
from shards.crop import Crop, cut
from shards.sample import EXPRESSIONS

Box = tuple[float, float, float, float]
Finder = Callable[[np.ndarray], np.ndarray]  # picture -> (n, 5 or 15): box, probability, landmarks


class Face(NamedTuple):
    """One face and what the model says about it."""

    box: Box | None  # left, top, right, bottom in pixels; None: the whole picture
    confidence: float | None  # of the detector
    track: int | None  # the same number through a video
    preds: np.ndarray  # (2,) valence and arousal, or (classes,) logits
    points: list[float] | None = None  # x, y of eyes, nose, corners of the mouth; of the detector
    smooth: tuple[float, float] | None = None  # valence and arousal, filtered along the track


class Predictor:
    """A trained model with the preprocessing it was trained with."""

    def __init__(self, model: nn.Module, config: Config, framing: Crop | None = None) -> None:
        self.model, self.config, self.framing = model, config, framing or Crop()
        self.facts: dict[str, Any] = {}  # where its weights come from

    @classmethod
    def load(
        cls, run: Path | str, which: Which = "best", device: torch.device | str | None = None
    ) -> Predictor:
        """From a run folder, or from a folder or file that `export` wrote.

        Raises FileNotFoundError or ValueError where there is no model in it.
        """
        run = Path(run)
        if exported := exported_in(run):
            model, config, crop, said = _exported(exported)
            boxes, classes = said.get("boxes"), said.get("classes", [])
            facts: dict[str, Any] = {"run": str(run), "weights": exported.name}
        else:
            model, config, record = load_run(run, which)
            crop, boxes = crop_of(record), boxes_of(record)
            classes = class_names(config, record.shards.classes)
            exported = run / f"{which}.safetensors"
            facts = {"run": str(run), "weights": which, "commit": record.git_commit}
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        made = cls(model.to(chosen).eval(), config, crop)
        made.facts = {
            **facts,
            "step": step_of(exported),
            "sha256": hashlib.sha256(exported.read_bytes()).hexdigest(),
            "crop": {"margin": crop.margin, "size": crop.size, "boxes": boxes},
            **({"classes": classes} if classes else {}),
        }
        return made

    def __call__(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]] | Tensor, batch_size: int = 64
    ) -> Float32[np.ndarray, "n k"]:
        """Valence and arousal (or one logit a class) of pictures that are one face each.

        Pictures are uint8 (H, W, 3), RGB. A tensor is (n, 3, H, W): uint8 is prepared like
        pictures, floats are taken as normalised already.
        """
        if isinstance(images, Tensor) and images.is_floating_point():
            return self._encode(images, batch_size)
        if isinstance(images, Tensor):
            images = list(images.permute(0, 2, 3, 1).cpu().numpy())
        if not len(images):
            return np.zeros((0, self.outputs), np.float32)
        return self.encode(np.stack([self.prepare(image) for image in images]), batch_size)

    @property
    def outputs(self) -> int:
        """Numbers a face: 2, or one a class."""
        return 2 if self.config.task == "va" else self.config.classes

    def prepare(
        self, picture: UInt8[np.ndarray, "h w 3"], box: Box | None = None
    ) -> UInt8[np.ndarray, "s s 3"]:
        """The pixels that the network sees of a face; without a box, of the whole picture.

        What shards store of that box, before it is coded as JPEG. Raises Unreadable (a ValueError)
        for a box without area or outside the picture.
        """
        if box is not None:
            picture = cut(picture, self.framing.upright(box), self.framing.size)
        return pixels.central(picture, self.config.image_size)

    def encode(
        self, faces: UInt8[np.ndarray, "n s s 3"], batch_size: int = 64
    ) -> Float32[np.ndarray, "n k"]:
        """Predictions of prepared pixels."""
        return self._encode(torch.tensor(faces).permute(0, 3, 1, 2), batch_size)

    def _encode(self, images: Tensor, batch_size: int) -> np.ndarray:
        predict = cast(Callable[[Tensor], Tensor], getattr(self.model, "predict", self.model))
        device = device_of(self.model)
        with evaluating(self.model), torch.inference_mode():
            parts = [
                predict(normalised(part).to(device)).float().cpu()
                for part in images.split(batch_size)
            ]
        return torch.cat(parts).numpy()


def class_names(config: Config, own: Sequence[str]) -> list[str]:
    """What the codes mean that a run tells apart, by the vocabulary of its shards where it is their
    `own` one; none of a run on the plane."""
    named = {"expression": EXPRESSIONS, "expression_raw": own}.get(config.class_column, ())
    return list(named[: config.classes]) if config.task == "expression" else []


def crop_of(record: RunRecord) -> Crop:
    """How a run's shards were cut around a box, from its run.json; the default where unsaid."""
    crop = record.shards.crop
    return Crop(**{name: crop[name] for name in ("margin", "size") if name in crop})


def boxes_of(record: RunRecord) -> str | None:
    """Who said where the faces of a run's shards are: `published`, a detector with its version,
    or None where run.json does not say."""
    crop = record.shards.crop
    found = crop.get("detect")
    if found and crop.get("boxes") == [found["detector"]]:
        return " ".join(found.values())
    return "published" if crop else None


def normalised(images: Tensor) -> Tensor:
    """uint8 (n, 3, h, w) to floats by ImageNet's mean and deviation; floats stay."""
    if images.is_floating_point():
        return images
    levels = images.permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(pixels.normalised(levels)).to(images.device)


def _exported(path: Path) -> tuple[nn.Module, Config, Crop, dict[str, Any]]:
    """A model from a file that `export` wrote, how its faces were cut, and all that it says."""
    weights = read_safetensors(path)
    try:
        facts = json.loads(metadata_in(path)["avce"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} was not written by export, so its preprocessing is unknown; give a run folder "
            "or an exported model.safetensors"
        ) from None
    config = Config.from_dict(facts["config"])
    model = build_method(config, pretrained=False).model
    model.load_state_dict(weights)
    return model, config, Crop(**facts["framing"]), facts
