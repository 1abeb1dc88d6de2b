"""`Predictor`: valence and arousal of anyone's pictures, prepared as the training's were.

    predictor = Predictor.load("runs/demo")
    predictor([picture, ...])  # (n, 2): each picture, uint8 (H, W, 3) RGB, is one face

`predict_stream` goes on from there to videos and many faces: frames are read, searched for faces
and cropped in a thread of their own while the network works on the batch before; memory holds a
few batches however long the video is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avce.config import Config
from avce.method.build import build_method
from avce.method.encoders import MEAN, STD
from avce.scores.evaluate import device_of, evaluating
from avce.training.checkpoint import read_safetensors
from avce.training.run_folder import Which, load_run

CENTRE = 224 / 256  # of the stored side: training sees crops of this share, evaluation the middle

Box = tuple[float, float, float, float]
Finder = Callable[[np.ndarray], np.ndarray]  # picture -> (n, 5): box and probability


class Face(NamedTuple):
    """One face and what the model says about it."""

    box: Box | None  # left, top, right, bottom in pixels; None: the whole picture
    confidence: float | None  # of the detector
    track: int | None  # the same number through a video
    preds: np.ndarray  # (2,) valence and arousal, or (classes,) logits


class Framing(NamedTuple):
    """How the training's crops were cut, as `shards.Crop` says it."""

    margin: float = 1 / 14  # around the box, as a share of its longer side
    size: int = 256  # pixels


class Predictor:
    """A trained model with the preprocessing it was trained with."""

    def __init__(self, model: nn.Module, config: Config, framing: Framing | None = None) -> None:
        self.model, self.config, self.framing = model, config, framing or Framing()

    @classmethod
    def load(
        cls, run: Path | str, which: Which = "best", device: torch.device | str | None = None
    ) -> Predictor:
        """From a run folder, or from a folder or file that `export` wrote.

        Raises FileNotFoundError or ValueError where there is no model in it.
        """
        run = Path(run)
        exported = run / "model.safetensors" if run.is_dir() else run
        if exported.suffix == ".safetensors" and exported.is_file():
            model, config, framing = _exported(exported)
        else:
            model, config, facts = load_run(run, which)
            framing = framing_of(facts)
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model.to(chosen).eval(), config, framing)

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
        """The pixels that the network sees of a face; without a box, of the whole picture."""
        if box is not None:
            picture = cut(picture, box, self.framing)
        return central(picture, self.config.image_size)

    def encode(
        self, pixels: UInt8[np.ndarray, "n s s 3"], batch_size: int = 64
    ) -> Float32[np.ndarray, "n k"]:
        """Predictions of prepared pixels."""
        return self._encode(torch.tensor(pixels).permute(0, 3, 1, 2), batch_size)

    def _encode(self, images: Tensor, batch_size: int) -> np.ndarray:
        predict = cast(Callable[[Tensor], Tensor], getattr(self.model, "predict", self.model))
        device = device_of(self.model)
        with evaluating(self.model), torch.inference_mode():
            parts = [
                predict(normalised(part.to(device))).float().cpu()
                for part in images.split(batch_size)
            ]
        return torch.cat(parts).numpy()


def framing_of(facts: dict[str, Any]) -> Framing:
    """The crop of the shards a run was trained on, from its run.json; the default where unsaid."""
    crop = (facts.get("shards") or {}).get("crop") or {}
    return Framing(**{name: crop[name] for name in Framing._fields if name in crop})


def _exported(path: Path) -> tuple[nn.Module, Config, Framing]:
    """A model from a file that `export` wrote."""
    weights = read_safetensors(path)
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["avce"])
    except (KeyError, json.JSONDecodeError, SafetensorError):
        raise ValueError(
            f"{path} was not written by export, so its preprocessing is unknown; give a run folder "
            "or an exported model.safetensors"
        ) from None
    config = Config.from_dict(facts["config"])
    model = build_method(config, pretrained=False).model
    model.load_state_dict(weights)
    return model, config, Framing(**facts["framing"])


# ---------------------------------------------------------------------------------- pixels


def cut(
    picture: UInt8[np.ndarray, "h w 3"], box: Sequence[float], framing: Framing
) -> UInt8[np.ndarray, "s s 3"]:
    """The square around a box, `margin` wider, resized as `shards.crop` does; black outside."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) * (1 + 2 * framing.margin)
    x0, y0 = (left + right - side) / 2, (top + bottom - side) / 2
    image = Image.fromarray(picture)
    x, y = int(np.floor(x0)), int(np.floor(y0))
    canvas = image.crop((x, y, int(np.ceil(x0 + side)), int(np.ceil(y0 + side))))
    region = (x0 - x, y0 - y, min(x0 - x + side, canvas.width), min(y0 - y + side, canvas.height))
    return np.asarray(
        canvas.resize((framing.size, framing.size), Image.Resampling.BILINEAR, box=region)
    )


def central(picture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The middle of a stored picture as evaluation sees it, `size` x `size` (pipelines/decode.py).

    A picture of that size is untouched, of another square one the middle 7/8 are taken; of any
    other the shorter side becomes size * 8/7 first.
    """
    height, width = picture.shape[:2]
    if height != width:
        scale = round(size / CENTRE) / min(height, width)
        wanted = (max(size, round(width * scale)), max(size, round(height * scale)))
        return _middle(_resized(picture, wanted), size)
    side = size if width == size else round(width * CENTRE)
    middle = _middle(picture, size if abs(side - size) <= 1 <= width - size else side)
    return middle if middle.shape[0] == size else _resized(middle, (size, size))


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = ((room - side + 1) // 2 for room in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def normalised(images: Tensor) -> Tensor:
    """uint8 (n, 3, h, w) to floats by ImageNet's mean and deviation; floats stay."""
    if images.is_floating_point():
        return images
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.float() / 255 - mean) / std


# ---------------------------------------------------------------------------------- sources


# ---------------------------------------------------------------------------------- the stream


# ---------------------------------------------------------------------------------- results
