"""`FaceFinder`: where the faces are in a picture, by MTCNN (Zhang et al. 2016), an optional extra.

Every picture is searched on its own. The published preprocessing of Aff-Wild2 fell back on the box
of the frame before when it found no face, which silently shifts what a label is about; here such
a frame has no face.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

SOURCE = "mtcnn"  # what `bbox_source` says of its boxes
INSTALL = "pip install --no-deps facenet-pytorch"  # it pins an old torch, but runs with ours
_SMALLEST = 20  # pixels: the least face, and the least picture it can be in

Faces = Literal["whole", "detect"]


def installed() -> bool:
    """Whether the detector is there."""
    return importlib.util.find_spec("facenet_pytorch") is not None


def finder_for(faces: str | None, device: str = "cpu") -> FaceFinder | None:
    """A finder for "detect", None for "whole"; without a choice, detect where that is possible.

    Raises ValueError where nothing was chosen and there is no detector.
    """
    if faces == "whole":
        return None
    if faces not in (None, "detect"):
        raise ValueError(f"faces={faces!r} is neither whole nor detect; choose one")
    if faces is None and not installed():
        raise ValueError(
            f"no face detector is installed: get one with `{INSTALL}`, or say --faces whole if "
            "every picture is one cropped face"
        )
    return FaceFinder(device)


@cache
def shared_finder() -> FaceFinder:
    """This process's finder, loaded once; on the CPU, since workers are many."""
    return FaceFinder()


class FaceFinder:
    """Finds faces; its weights come with the package, nothing is downloaded.

    Pictures larger than `side` pixels are searched at that size. `confidence` is the least
    probability of a face. Raises ValueError when the detector is not installed.
    """

    def __init__(self, device: str = "cpu", *, confidence: float = 0.9, side: int = 640) -> None:
        self.confidence, self.side = confidence, side
        self.network = _network(device)

    @property
    def facts(self) -> dict[str, str]:
        """Which detector this is, for whoever must know where a box comes from."""
        return {"detector": SOURCE, "detector_version": version("facenet-pytorch")}

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 5"]:
        """Left, top, right, bottom in pixels and the probability; the largest face first."""
        scale = min(1.0, self.side / max(picture.shape[:2]))
        small = _scaled(picture, scale)
        if min(small.shape[:2]) < _SMALLEST:
            return np.zeros((0, 5), np.float32)
        boxes, chances = self.network.detect(small)
        if boxes is None:
            return np.zeros((0, 5), np.float32)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4) / np.float32(scale)
        chances = np.asarray(chances, np.float32).reshape(-1, 1)
        return _sorted(np.concatenate([boxes, chances], 1), self.confidence)


def _sorted(faces: np.ndarray, confidence: float) -> np.ndarray:
    left, top, right, bottom, chance = faces.T
    area = (right - left) * (bottom - top)
    kept = (chance >= confidence) & (right > left) & (bottom > top)
    return faces[kept][np.argsort(-area[kept], kind="stable")]


def _scaled(picture: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1.0:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _network(device: str) -> Any:
    try:
        from facenet_pytorch import MTCNN
    except ImportError:
        raise ValueError(
            f"finding faces needs a detector, which is not installed; `{INSTALL}`"
        ) from None
    return MTCNN(keep_all=True, device=device, min_face_size=_SMALLEST, select_largest=True)
