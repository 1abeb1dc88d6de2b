"""What prediction costs beside the bare network, and whether a long video needs more memory.

    python benchmarks/predict.py [--batch 64] [--rounds 12] [--seconds 10 600] [--quick]

`Predictor` against the plain module (AlexNet, 224 x 224, inference mode), in turn, medians: once on
normalised tensors, once on uint8 pixels, which it also normalises. Then videos of drawn faces, 10
frames a second, each predicted to CSV in a process of its own, whose peak memory is read at its
end. Random weights: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from avce.inference.predictor import Predictor
from avce.inference.sinks import sink_for
from avce.inference.sources import frames_of
from avce.inference.stream import predict_to
from avce.inference.video import Film, Skipped
from avce.method.build import build_method
from avce.recipes import RECIPES
from shards.finder import finder_for

TARGET, MEMORY_TARGET = 1.10, 1.10
RATE = 10  # frames a second of the made videos
SIZE = (240, 320)


def predictor() -> Predictor:
    """AlexNet as the paper has it."""
    config = replace(RECIPES["paper"], weights="none")
    torch.manual_seed(0)
    return Predictor(build_method(config).eval(), config)


def overhead(batch: int, rounds: int) -> dict[str, float]:
    """Median milliseconds a batch: the bare forward, and Predictor on tensors and on pixels."""
    mine = predictor()
    side = mine.config.image_size
    image = torch.randn(batch, 3, side, side)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)

    def bare() -> None:
        with torch.inference_mode():
            mine.model.predict(image)  # type: ignore[operator]

    routes: dict[str, Callable[[], Any]] = {
        "bare": bare,
        "tensor": lambda: mine(image, batch),
        "pixels": lambda: mine.encode(pixels, batch),
    }
    times: dict[str, list[float]] = {name: [] for name in routes}
    for turn in range(rounds + 2):  # two to warm up
        for name, route in routes.items():
            started = time.perf_counter()
            route()
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}


def make_video(path: Path, seconds: int) -> None:
    """A drawn face that moves, in a loop of 40 frames."""
    from shards.standins.face import Identity, Scene, render, units_for

    rng = np.random.default_rng(0)
    identity, scene = Identity.draw(rng), Scene.draw(rng, "easy")
    loop = []
    for turn in np.linspace(0, 2 * np.pi, 40, endpoint=False):
        units = units_for(0.7 * np.cos(turn), 0.7 * np.sin(turn), np.random.default_rng(1))
        canvas = np.full((*SIZE, 3), 200, np.uint8)
        left = int(40 + 40 * np.cos(turn))
        face = render(identity, units, scene, size=200).image[..., :3]
        canvas[20:220, left : left + 200] = face
        loop.append(canvas)
    film = Film(path, Fraction(RATE))
    for number in range(seconds * RATE):
        film.add(loop[number % len(loop)])
    film.close()


def watch(path: Path, faces: str) -> dict[str, float]:
    """In a process of its own: predict a video, and say how fast and in how much memory."""
    sink = sink_for(path.with_suffix(".csv"), RECIPES["paper"])
    frames = frames_of([path], Skipped())
    done = predict_to(sink, predictor(), frames, find=finder_for(faces))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"frames": done.frames, "frames_per_s": done.frames / done.seconds, "peak_mib": peak}


def videos(lengths: list[int], faces: str) -> dict[int, dict[str, float]]:
    """Length in seconds -> what `watch` found."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            path = Path(folder) / f"{seconds}.mp4"
            make_video(path, seconds)
            command = [sys.executable, __file__, "--watch", str(path), "--faces", faces]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[seconds] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 600])
    parser.add_argument("--faces", choices=["whole", "detect"], default="whole")
    parser.add_argument("--quick", action="store_true", help="3 rounds, 5 and 30 seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.watch:
        print(json.dumps(watch(chosen.watch, chosen.faces)))
        return
    rounds, lengths = (3, [5, 30]) if chosen.quick else (chosen.rounds, chosen.seconds)
    times, seen = overhead(chosen.batch, rounds), videos(lengths, chosen.faces)
    found = {"batch": chosen.batch, "threads": torch.get_num_threads(), "ms": times, "video": seen}
    print(json.dumps(found) if chosen.json else table(found))


def table(found: dict[str, Any]) -> str:
    """What was measured beside its targets."""
    bare = found["ms"]["bare"]
    lines = [f"AlexNet, batch {found['batch']}, {found['threads']} threads; target {TARGET}x"]
    lines += [f"{name:8} {ms:9.1f} ms  {ms / bare:.3f}x" for name, ms in found["ms"].items()]
    first = next(iter(found["video"].values()))["peak_mib"]
    lines.append(f"videos at {RATE} frames/s; memory target {MEMORY_TARGET}x of the shortest")
    lines += [
        f"{seconds:5} s  {v['frames']:6,.0f} frames  {v['frames_per_s']:7.1f} frames/s  "
        f"peak {v['peak_mib']:7.0f} MiB  {v['peak_mib'] / first:.3f}x"
        for seconds, v in found["video"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
