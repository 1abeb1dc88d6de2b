"""Stand-ins of Aff-Wild, Aff-Wild2, AFEW-VA, RAF-DB and AffectNet 2021: drawn people on film and
in stills, written in the official layouts, so that the true readers run on them without a licence.

Each clip or picture owns a random stream, so the bytes depend on the arguments alone. Oddities of
the true releases are added to a finished tree by `shards.standins.oddities`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from shards.datasets.afew_va import ANAMORPHIC, PIXEL_ASPECT, SCALE
from shards.datasets.aff_wild2_tables import CANONICAL as AFF_WILD2_CODES
from shards.datasets.card import DataCard, write_card
from shards.datasets.folds import fold_by_hash
from shards.datasets.raf_db import ALIGNED_SIZE, BASIC
from shards.datasets.raf_db import CANONICAL as RAF_DB_CODES
from shards.datasets.raf_db_list import CODES
from shards.standins.face import Drawing, Identity, Scene, render, units_for, wanted_point
from shards.standins.oddities import apply_oddities, check_oddities

Progress = Callable[[int, int], None] | None
MARKER = "THESE_FACES_ARE_DRAWN.txt"
# With its assembly, x264 lets memory it has not written decide some bits: one film in fifty had
# other bytes. Frames that come out of order are kept, since true films have them.
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    ".avi": ("mpeg4", {}),
    ".mp4": ("libx264", {"preset": "ultrafast", "x264-params": "bframes=2:asm=0"}),
}
EXPRESSION_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
UNIT_HEADER = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
FACE = 128  # pixels of a drawn face's side, unless a layout asks for another

_SMALLEST = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a film: the picture, and the face as it lies in the whole picture."""

    image: np.ndarray  # (height, width, 3) uint8 RGB
    face: Drawing  # box and landmarks moved to the picture's pixels


def draw_aff_wild(
    out: Path,
    videos: int = 6,
    frames: int = 60,
    seed: int = 0,
    level: str = "normal",
    *,
    odd: Sequence[str] = (),
    progress: Progress = None,
) -> DataCard:
    """Draw `videos` annotated videos, .avi and .mp4 in turn, and one test video without labels.

    Ids are chosen so that the project's split has both sides. Returns the data card, written last.

    Raises ValueError for fewer than two videos or frames, an unknown oddity, or a folder that
    holds anything else.
    """
    begin(out, "affwild", odd, videos=videos, frames=frames)
    ids = _ids_on_both_sides(videos)
    for done, name in enumerate([*ids, "450"]):
        suffix = ".avi" if done % 2 == 0 else ".mp4"
        part = "train" if name in ids else "test"
        film = list(_film(np.random.default_rng([seed, done]), frames, level, size=(240, 180)))
        write_video(
            out / "videos" / part / f"{name}{suffix}", (f.image for f in film), 30 - done % 2
        )
        if part == "train":
            _annotate_aff_wild(out, name, film)
        if progress:
            progress(done + 1, videos + 1)
    return _finish(out, DataCard("affwild", seed, level, {"train videos": videos}), odd)


def draw_aff_wild2(
    out: Path,
    videos: int = 6,
    frames: int = 60,
    seed: int = 0,
    level: str = "normal",
    *,
    odd: Sequence[str] = (),
    progress: Progress = None,
) -> DataCard:
    """Draw the crops of `videos` videos (the second and the third with two people) and their
    labels for VA, EXPR and AU in the folders of the fifth challenge; one person has no labels.

    Every seventh frame has no crop (no face found), every eleventh row is null.
    """
    begin(out, "affwild2", odd, videos=videos, frames=frames)
    persons = _persons(videos)
    counts = {
        f"{task} {split} files": 0 for task in ("VA", "EXPR", "AU") for split in ("train", "val")
    }
    for done, (person, split) in enumerate(persons):
        film = list(_film(np.random.default_rng([seed, done]), frames, level, size=None))
        _save_crops(out / "cropped_aligned" / person, film)
        if split is not None:
            _annotate_aff_wild2(out / "5th_ABAW_Annotations", person, split, film)
            for task in ("VA", "EXPR", "AU"):
                counts[f"{task} {split} files"] += 1
        if progress:
            progress(done + 1, len(persons))
    return _finish(out, DataCard("affwild2", seed, level, counts), odd)


def draw_afew_va(
    out: Path,
    clips: int = 12,
    frames: int = 20,
    seed: int = 0,
    level: str = "normal",
    *,
    odd: Sequence[str] = (),
    progress: Progress = None,
) -> DataCard:
    """Draw `clips` clips of PNG frames; two in three actors play two of them. The second clip is
    anamorphic (720 x 576 pixels of a picture 960 wide), the others have square pixels."""
    begin(out, "afew_va", odd, clips=clips, frames=frames)
    for clip in range(clips):
        actor = clip // 2 if clip % 3 else clip
        rng = np.random.default_rng([seed, clip])
        size = (round(ANAMORPHIC[0] * PIXEL_ASPECT), ANAMORPHIC[1]) if clip == 1 else (240, 180)
        sitter = Identity.draw(np.random.default_rng([seed, 1000, actor]))
        film = _film(rng, frames, level, size=size, sitter=sitter)
        _save_clip(out / f"{clip + 1:03d}", f"Drawn Actor {actor}", film, squeeze=clip == 1)
        if progress:
            progress(clip + 1, clips)
    counts = {"clips": clips, "frames": clips * frames}
    return _finish(out, DataCard("afew_va", seed, level, counts), odd)


def draw_raf_db(
    out: Path,
    n: int = 240,
    seed: int = 0,
    level: str = "normal",
    *,
    odd: Sequence[str] = (),
    progress: Progress = None,
) -> DataCard:
    """Draw `n` pictures with basic expressions and a quarter as many with compound ones, original
    and aligned, with boxes, points and attributes; one in five is for testing."""
    begin(out, "raf_db", odd, n=n)
    counts: dict[str, int] = {}
    sizes = {"basic": n, "compound": max(_SMALLEST, n // 4)}
    done, total = 0, sum(sizes.values())
    for number, (subset, size) in enumerate(sizes.items()):
        lines = []
        for index in range(size):
            rng = np.random.default_rng([seed, number, index])
            split = "test" if index % 5 == 4 else "train"
            stem = _stem(split, 1 + (index // 5 if split == "test" else index - index // 5))
            code = _draw_still(out / subset, stem, subset, level, rng)
            lines.append((split, f"{stem}.jpg {code}"))
            names = [f"{subset} {split}"]
            names += [f"basic {split} {BASIC[code - 1]}"] if subset == "basic" else []
            for name in names:
                counts[name] = counts.get(name, 0) + 1
            done += 1
            if progress:
                progress(done, total)
        ordered = [line for part in ("train", "test") for split, line in lines if split == part]
        _write(out / subset / "EmoLabel" / "list_patition_label.txt", "\n".join(ordered))
    return _finish(out, DataCard("raf_db", seed, level, counts), odd)


def draw_affectnet_2021(
    out: Path,
    n: int = 120,
    seed: int = 0,
    level: str = "normal",
    *,
    odd: Sequence[str] = (),
    progress: Progress = None,
) -> DataCard:
    """Draw AffectNet as released in 2021: `n` pictures of 224 pixels with four .npy files each.

    One in six is for validation. Numbering has gaps, and labels are 0-d arrays of text.
    """
    begin(out, "affectnet", odd, n=n)
    counts = {"train": 0, "val": 0}
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        split = "val" if index % 6 == 5 else "train"
        sitter, scene = Identity.draw(rng), Scene.draw(rng, level)
        drawing = render(sitter, units_for(*wanted_point(rng), rng), scene, size=224)
        folder, stem = (
            out / f"{split}_set",
            str(index + index // 3),
        )  # every fourth number is absent
        _save_jpeg(drawing.image, folder / "images" / f"{stem}.jpg")
        _save_arrays(folder / "annotations", stem, drawing)
        counts[split] += 1
        if progress:
            progress(index + 1, n)
    return _finish(out, DataCard("affectnet", seed, level, counts), odd)


# ---------------------------------------------------------------- begin and end


def begin(out: Path, dataset: str, odd: Sequence[str], **amounts: int) -> None:
    """Refuse what cannot be drawn, and a folder that may hold someone's data, before drawing."""
    check_oddities(dataset, odd)
    for name, amount in amounts.items():
        if amount < _SMALLEST:
            raise ValueError(f"{name} {amount} is below {_SMALLEST}, which leaves a split empty")
    if out.exists() and any(out.iterdir()):
        raise ValueError(
            f"{out} is not empty, and what lies there may be true data; choose another folder or "
            "empty it yourself"
        )
    out.mkdir(parents=True, exist_ok=True)
    _write(
        out / MARKER,
        "No photographs: every face in this folder was drawn by shards/standins/face.py.\n",
    )


def _finish(out: Path, card: DataCard, odd: Sequence[str]) -> DataCard:
    apply_oddities(out, card.dataset, odd)
    os.sync()  # files were not synced one by one; the card vouches for all of them
    write_card(out, card)
    return card


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _save_jpeg(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, "JPEG", quality=92)


# ---------------------------------------------------------------- films


def write_video(path: Path, images: Iterable[np.ndarray], fps: int) -> None:
    """Encode pictures of one even size (.avi as MPEG-4, .mp4 as H.264), one packet a frame.

    The same pictures give the same bytes, so on one thread: more share the bits by their progress.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = None
        for image in images:
            if stream is None:
                codec, options = CODECS[path.suffix]
                stream = cast(VideoStream, container.add_stream(codec, rate=fps, options=options))
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
                stream.codec_context.time_base = Fraction(1, fps)
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())


def _film(
    rng: np.random.Generator,
    frames: int,
    level: str,
    *,
    size: tuple[int, int] | None,
    sitter: Identity | None = None,
) -> Iterator[Frame]:
    """One person whose emotion and head move smoothly; `size` (width, height) of the picture, or
    None for the face alone at 112 pixels, as Aff-Wild2's aligned crops are."""
    person = Identity.draw(rng) if sitter is None else sitter
    scene = replace(Scene.draw(rng, level), noise=0.0)
    path, sway = _wander(rng, frames, 2, reach=0.85), _wander(rng, frames, 3, reach=1.0)
    ease = int(rng.integers(1 << 31))
    wall = rng.integers(60, 200, 3).astype(np.uint8)
    for (valence, arousal), (x, y, turn) in zip(path, sway, strict=True):
        units = units_for(valence, arousal, np.random.default_rng(ease))
        turned = replace(scene, yaw=scene.yaw + 0.15 * turn)
        face = render(person, units, turned, size=FACE if size else 112)
        yield _on_wall(face, wall, size, x, y) if size else Frame(face.image, face)


def _wander(rng: np.random.Generator, frames: int, width: int, reach: float) -> np.ndarray:
    """(frames, width) smooth paths inside the ball of radius `reach`: slow sines."""
    time = np.arange(frames)[:, None, None] / 30
    rate, phase = rng.uniform(0.5, 2.5, (3, width)), rng.uniform(0, 2 * np.pi, (3, width))
    path = np.sin(rate * time + phase).sum(axis=1)
    norm = np.linalg.norm(path, axis=1, keepdims=True)
    return reach * path * np.tanh(norm) / np.maximum(norm, 1e-9)


def _on_wall(face: Drawing, wall: np.ndarray, size: tuple[int, int], x: float, y: float) -> Frame:
    """Hang the face in a larger picture; x and y in [-1, 1] say where."""
    width, height = size
    side = face.image.shape[0]
    left = round((width - side) * (0.5 + 0.4 * x))
    top = round((height - side) * (0.5 + 0.4 * y))
    image = np.tile(wall, (height, width, 1))
    image[top : top + side, left : left + side] = face.image
    x0, y0, x1, y1 = face.bbox_xyxy
    box = (x0 + left, y0 + top, x1 + left, y1 + top)
    landmarks = face.landmarks + np.array([left, top])
    return Frame(image, face._replace(bbox_xyxy=box, landmarks=landmarks))


# ---------------------------------------------------------------- Aff-Wild


def _ids_on_both_sides(count: int) -> list[str]:
    """Ids from 102 on, with one among them that the project's split holds out."""
    names = list(map(str, range(102, 450)))
    held = next(name for name in names if fold_by_hash(name) == 0)
    return sorted([held, *(name for name in names if name != held)][:count])


def _annotate_aff_wild(out: Path, name: str, film: list[Frame]) -> None:
    for axis in ("valence", "arousal"):
        lines = [f"{getattr(frame.face, axis):.6f}" for frame in film]
        _write(out / "annotations" / "train" / axis / f"{name}.txt", "\n".join(lines) + "\n")
    for number, frame in enumerate(film, 1):
        x0, y0, x1, y1 = map(float, frame.face.bbox_xyxy)
        corners = [(x0, y0), (x0, y1), (x1, y1), (x1, y0)]
        _write_points(out / "bboxes" / "train" / name / f"{number}.pts", corners)
        landmarks = frame.face.landmarks.tolist()
        _write_points(out / "landmarks" / "train" / name / f"{number}.pts", landmarks)


def _write_points(path: Path, points: Sequence[Sequence[float]]) -> None:
    lines = [f"{x:.3f} {y:.3f}" for x, y in points]
    _write(path, "\n".join(["version: 1", f"n_points: {len(points)}", "{", *lines, "}"]) + "\n")


# ---------------------------------------------------------------- Aff-Wild2


def _persons(videos: int) -> list[tuple[str, str | None]]:
    """Persons and their split: the second video has two people of whom the main one has no suffix,
    the third two with suffixes; every third video is for validation; the last has no labels."""
    persons: list[tuple[str, str | None]] = []
    for video in range(videos):
        name = f"{video + 1}-30-640x360" if video % 2 == 0 else f"video{video + 1}"
        suffixes = {1: ("", "_right"), 2: ("_left", "_right")}.get(video, ("",))
        split = "val" if video % 3 == 1 else "train"
        persons += [(name + suffix, split) for suffix in suffixes]
    return [*persons, (f"video{videos + 1}", None)]


def _save_crops(folder: Path, film: list[Frame]) -> None:
    for number, frame in enumerate(film, 1):
        if number % 7:
            _save_jpeg(frame.image, folder / f"{number:05d}.jpg")


def _annotate_aff_wild2(annotations: Path, person: str, split: str, film: list[Frame]) -> None:
    part = {"train": "Train_Set", "val": "Validation_Set"}[split]
    codes = {canonical: code for code, canonical in AFF_WILD2_CODES.items()}
    tables: dict[str, list[str]] = {"va": ["valence,arousal"], "expr": [EXPRESSION_HEADER]}
    tables["au"] = [UNIT_HEADER]
    for number, frame in enumerate(film, 1):
        face, null = frame.face, number % 11 == 0
        tables["va"].append("-5,-5" if null else f"{face.valence:.3f},{face.arousal:.3f}")
        tables["expr"].append("-1" if null else str(codes.get(face.expression, 7)))
        units = ["-1" if null else str(int(face.arousal > 0.08 * unit)) for unit in range(12)]
        tables["au"].append(",".join(units))
    challenges = (
        "VA_Estimation_Challenge",
        "EXPR_Classification_Challenge",
        "AU_Detection_Challenge",
    )
    for challenge, lines in zip(challenges, tables.values(), strict=True):
        _write(annotations / challenge / part / f"{person}.txt", "\n".join(lines) + "\n")


# ---------------------------------------------------------------- AFEW-VA


def _save_clip(folder: Path, actor: str, film: Iterable[Frame], *, squeeze: bool) -> None:
    """PNG frames and the clip's JSON; `squeeze` stores the picture with pixels 4/3 as wide."""
    frames = {}
    folder.mkdir(parents=True)
    for number, frame in enumerate(film):
        image, landmarks = Image.fromarray(frame.image), frame.face.landmarks
        if squeeze:
            image, landmarks = image.resize(ANAMORPHIC), landmarks / (PIXEL_ASPECT, 1)
        image.save(folder / f"{number:05d}.png", compress_level=1)
        frames[f"{number:05d}"] = {
            "valence": round(SCALE * frame.face.valence),
            "arousal": round(SCALE * frame.face.arousal),
            "landmarks": landmarks.round(3).tolist(),
        }
    clip = {"actor": actor, "frames": frames, "video_id": folder.name}
    _write(folder / f"{folder.name}.json", json.dumps(clip))


# ---------------------------------------------------------------- RAF-DB


def _stem(split: str, number: int) -> str:
    return f"train_{number:05d}" if split == "train" else f"test_{number:04d}"


def _draw_still(folder: Path, stem: str, subset: str, level: str, rng: np.random.Generator) -> int:
    """One picture with everything RAF-DB says of it; returns its code."""
    codes = {canonical: code for code, canonical in RAF_DB_CODES.items()}
    sitter, scene = Identity.draw(rng), Scene.draw(rng, level)
    face = render(sitter, units_for(*wanted_point(rng), rng), scene, size=FACE)
    while face.expression not in codes:  # RAF-DB has no contempt
        face = render(sitter, units_for(*wanted_point(rng), rng), scene, size=FACE)
    wall = rng.integers(60, 200, 3).astype(np.uint8)
    place = partial(_on_wall, face, wall, (160 + int(rng.integers(60)), 150))
    frame = place(*rng.uniform(-1, 1, 2).tolist())
    _save_jpeg(frame.image, folder / "Image" / "original" / f"{stem}.jpg")
    aligned = Image.fromarray(face.image).resize(ALIGNED_SIZE, box=face.bbox_xyxy)
    _save_jpeg(np.asarray(aligned), folder / "Image" / "aligned" / f"{stem}_aligned.jpg")
    _annotate_raf_db(folder / "Annotation", stem, frame.face, rng)
    return codes[face.expression] if subset == "basic" else 1 + int(rng.integers(CODES["compound"]))


def _annotate_raf_db(folder: Path, stem: str, face: Drawing, rng: np.random.Generator) -> None:
    marks = face.landmarks
    five = [marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]]
    lines = [f"{x:.3f}\t{y:.3f}" for x, y in five]
    lines += [str(int(rng.integers(limit))) for limit in (3, 3, 5)]
    _write(folder / "manual" / f"{stem}_manu_attri.txt", "\n".join(lines) + "\n")
    many = [f"{x:.3f}\t{y:.3f}" for x, y in marks[17:54]]
    _write(folder / "auto" / f"{stem}_auto_attri.txt", "\n".join(many) + "\n")
    box = " ".join(f"{value:.3f}" for value in face.bbox_xyxy)
    _write(folder / "boundingbox" / f"{stem}_boundingbox.txt", f"{box} \n")


# ---------------------------------------------------------------- AffectNet 2021


def _save_arrays(folder: Path, stem: str, drawing: Drawing) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{stem}_exp.npy", np.array(str(drawing.expression)))
    np.save(folder / f"{stem}_val.npy", np.array(f"{drawing.valence:.6f}"))
    np.save(folder / f"{stem}_aro.npy", np.array(f"{drawing.arousal:.6f}"))
    np.save(folder / f"{stem}_lnd.npy", drawing.landmarks.ravel())
