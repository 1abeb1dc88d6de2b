"""Trackers on drawn films of faces that cross, turn, hide and flicker: how often a number is wrong.

    python benchmarks/tracks.py [--films 2] [--frames 60]

Drawn faces move over a wall; RetinaFace looks for them in every frame, as in `predict`, and each
tracker gets the same boxes. Who is who is known from the drawing. `changes`: how often a person's
number differs from the one before (identity switches); `mixed`: numbers that stand for two people,
which is worse, since a course through time is then of nobody; `numbers`: how many were given.
Others are tried if installed: `pip install trackers boxmot`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from avce.inference.tracks import Tracker
from shards.finder import FaceFinder, overlap
from shards.standins.face import Identity, Scene, render, units_for

SIZE, SIDE = (360, 640), 130  # of the film; of a drawn face
Path = Callable[[np.ndarray], np.ndarray]  # (t,) in [0, 1] -> (t, 2) left, top of a face
Track = Callable[[np.ndarray], list[int]]  # (n, 15) faces of a frame -> their numbers, -1 for none


class Film(NamedTuple):
    """What the detector saw, and where everybody was; who comes later lies in front."""

    faces: list[np.ndarray]
    people: list[np.ndarray]


def line(start: tuple[float, float], end: tuple[float, float]) -> Path:
    return lambda t: np.array(start) + np.outer(t, np.subtract(end, start))


def turning(start: float, middle: float, top: float) -> Path:
    """To the middle and back."""
    return lambda t: np.stack([start + (middle - start) * (1 - abs(2 * t - 1)), 0 * t + top], 1)


def swaying(rng: np.random.Generator) -> Path:
    """Back and forth over the whole film, faster and slower."""
    phase, times = rng.uniform(0, 2 * np.pi, 2), rng.uniform(1, 3, 2)
    room = np.array([SIZE[1] - SIDE, SIZE[0] - SIDE])
    return lambda t: room * (0.5 + 0.5 * np.sin(phase + 2 * np.pi * np.outer(t, times)))


def scenes(rng: np.random.Generator) -> dict[str, tuple[list[Path], int, float]]:
    """Name -> paths, width of a post in the middle, share of frames in which a face is covered."""
    y = rng.uniform(60, 140)
    return {
        "crossing": ([line((0, y), (510, y)), line((510, y + 20), (0, y + 20))], 0, 0.0),
        "turning back": ([turning(60, 240, y), turning(450, 290, y + 10)], 0, 0.0),
        "behind a post": ([line((0, y), (510, y)), line((510, y), (0, y))], 150, 0.0),
        "flickering": ([line((60, y), (120, y)), line((400, y), (340, y))], 0, 0.3),
        "hand-held": ([lambda t: 180 + 120 * np.sin(np.outer(t * 60, [1.1, 0.8]))], 0, 0.0),
        "four people": ([swaying(rng) for _ in range(4)], 0, 0.0),
    }


def filmed(seed: int, name: str, frames: int, find: FaceFinder) -> Film:
    rng = np.random.default_rng([seed, len(name)])
    paths, post, covered = scenes(rng)[name]
    drawn = []
    for _ in paths:
        identity, scene = Identity.draw(rng), Scene.draw(rng, "easy")
        drawn.append(render(identity, units_for(0.3, 0.2, rng), scene, size=SIDE).image[..., :3])
    lies = [find(face)[0, :4] for face in drawn]  # within the drawing
    places = np.stack([path(np.linspace(0, 1, frames)) for path in paths], 1).round()
    film = Film([], [])
    for corners in places.astype(int):
        wall = np.full((*SIZE, 3), 170, np.uint8)
        for face, (x, y) in zip(drawn, corners, strict=True):
            x, y = np.clip([x, y], 0, [SIZE[1] - SIDE, SIZE[0] - SIDE])
            wall[y : y + SIDE, x : x + SIDE] = face if rng.random() >= covered else 90
        wall[:, SIZE[1] // 2 - post // 2 : SIZE[1] // 2 + post // 2] = 60
        film.faces.append(find(wall))
        film.people.append(
            np.array([b + np.tile(c, 2) for b, c in zip(lies, corners, strict=True)])
        )
    return film


def judged(film: Film, track: Track) -> Counter[str]:
    """Changes, mixed, numbers, of one film."""
    last: dict[int, int] = {}
    held: dict[int, set[int]] = {}
    found: Counter[str] = Counter()
    for faces, people in zip(film.faces, film.people, strict=True):
        shared = overlap(faces[:, :4], people) + 0.01 * np.arange(len(people))  # in front, if equal
        for who, number, near in zip(shared.argmax(1), track(faces), shared.max(1), strict=True):
            if number < 0 or near < 0.4:
                continue
            found["changes"] += last.setdefault(int(who), number) != number
            last[int(who)] = number
            held.setdefault(number, set()).add(int(who))
    found["mixed"] = sum(len(people) > 1 for people in held.values())
    found["numbers"] = len(held)
    return found


def ours() -> Track:
    tracker = Tracker()
    return lambda faces: tracker(faces[:, :4])


def roboflow() -> Track:
    """ByteTrack as supervision had it, now in a package of its own."""
    from supervision import Detections
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(lost_track_buffer=15, frame_rate=30, minimum_consecutive_frames=1)

    def track(faces: np.ndarray) -> list[int]:
        given = Detections(faces[:, :4], confidence=faces[:, 4], class_id=np.zeros(len(faces), int))
        given.data["at"] = np.arange(len(faces))
        named = tracker.update(given)
        numbers = dict(zip(named.data["at"], named.tracker_id, strict=True)) if len(faces) else {}
        return [int(numbers.get(i, -1)) for i in range(len(faces))]

    return track


def boxmot() -> Track:
    from boxmot.trackers.box.bytetrack.tracker import ByteTrack

    tracker, blank = ByteTrack(track_buffer=15), np.zeros((*SIZE, 3), np.uint8)

    def track(faces: np.ndarray) -> list[int]:
        named = tracker.update(np.hstack([faces[:, :5], np.zeros((len(faces), 1))]), blank)
        numbers = {int(row[7]): int(row[4]) for row in named}
        return [numbers.get(i, -1) for i in range(len(faces))]

    return track


TRACKERS = {"ours": ours, "trackers": roboflow, "boxmot": boxmot}


def main() -> None:
    parser = argparse.ArgumentParser(description="Trackers on drawn films.")
    parser.add_argument("--films", type=int, default=2, help="of each scene")
    parser.add_argument("--frames", type=int, default=60)
    words = parser.parse_args()
    find = FaceFinder()
    for name in scenes(np.random.default_rng(0)):
        films = [filmed(seed, name, words.frames, find) for seed in range(words.films)]
        seen = sum(len(faces) for film in films for faces in film.faces)
        for tracker, begin in TRACKERS.items():
            if tracker != "ours" and find_spec(tracker) is None:
                continue
            started = time.process_time()
            total = sum((judged(film, begin()) for film in films), Counter())
            spent = 1e3 * (time.process_time() - started) / words.films / words.frames
            counts = ", ".join(f"{what} {total[what]}" for what in ("changes", "mixed", "numbers"))
            print(
                f"{name:14} ({seen} boxes)  {tracker:9} {counts}; {spent:.2f} ms a frame",
                flush=True,
            )


if __name__ == "__main__":
    main()
