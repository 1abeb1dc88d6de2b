"""Stand-ins of Aff-Wild, Aff-Wild2, AFEW-VA, RAF-DB and AffectNet 2021: drawn people on film and
in stills, written in the official layouts, so that the true readers run on them without a licence.

Each clip or picture owns a random stream, so the bytes depend on the arguments alone. Oddities of
the true releases are added to a finished tree by `shards.standins.oddities`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import partial, wraps
from pathlib import Path

import numpy as np
from PIL import Image

from shards.datasets.afew_va import ANAMORPHIC, PIXEL_ASPECT, SCALE
from shards.datasets.aff_wild2.tables import CANONICAL as AFF_WILD2_CODES
from shards.datasets.card import DataCard, write_card
from shards.datasets.folds import fold_by_hash
from shards.datasets.raf_db import ALIGNED_SIZE, BASIC, CODES
from shards.datasets.raf_db import CANONICAL as RAF_DB_CODES
from shards.films import Coding, FilmWriter
from shards.sample import EXPRESSIONS
from shards.standins.face import (
    LEVELS,
    Drawing,
    Identity,
    Scene,
    acting_in,
    render,
)
from shards.standins.motion import FACE, Frame, film, on_wall
from shards.standins.oddities import apply_oddities, check_oddities

Progress = Callable[[int, int], None] | None
Work = list[Callable[[], dict[str, int]]]  # each draws a part and returns what it counts for
Draw = Callable[..., DataCard]
MARKER = "THESE_FACES_ARE_DRAWN.txt"
# With its assembly, x264 lets memory it has not written decide some bits: one film in fifty had
# other bytes. Frames that come out of order are kept, since true films have them.
_X264 = {"preset": "ultrafast", "x264-params": "bframes=2:asm=0"}
CODINGS = {
    ".avi": Coding("mpeg4", {}, bit_rate=2_000_000, threads=1),
    ".mp4": Coding("libx264", _X264, bit_rate=2_000_000, threads=1),
}
EXPRESSION_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
UNIT_HEADER = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"

_SMALLEST = 2


def _stand_in(
    dataset: str, **defaults: int
) -> Callable[[Callable[..., Work]], Callable[..., DataCard]]:
    """Make a command of a function that lists the work of one layout; amounts by `defaults`.

    The command is `draw(out, *amounts, seed=0, level="normal", odd=(), progress=None)`. It returns
    the data card, written last, and raises ValueError for an amount below two, an unknown level or
    oddity, or a folder that holds anything else.
    """

    def decorate(work_of: Callable[..., Work]) -> Draw:
        @wraps(work_of)
        def draw(
            out: Path,
            *given: int,
            seed: int = 0,
            level: str = "normal",
            odd: Sequence[str] = (),
            progress: Progress = None,
            **named: int,
        ) -> DataCard:
            amounts = defaults | dict(zip(defaults, given, strict=False)) | named
            _begin(out, dataset, odd, level, amounts)
            work, counts = work_of(out, seed, level, **amounts), Counter()
            for done, draw_part in enumerate(work, 1):
                counts.update(draw_part())
                if progress:
                    progress(done, len(work))
            apply_oddities(out, dataset, odd)
            os.sync()  # files were not synced one by one; the card vouches for all of them
            card = DataCard(dataset, seed, level, dict(counts))
            write_card(out, card)
            return card

        return draw

    return decorate


def _begin(
    out: Path, dataset: str, odd: Sequence[str], level: str, amounts: dict[str, int]
) -> None:
    """Refuse what cannot be drawn, and a folder that may hold someone's data, before drawing."""
    check_wishes(dataset, odd, level)
    for name, amount in amounts.items():
        if amount < _SMALLEST:
            raise ValueError(f"{name} {amount} is below {_SMALLEST}, which leaves a split empty")
    if out.exists() and any(out.iterdir()):
        raise ValueError(
            f"{out} is not empty, and what lies there may be true data; choose another folder or "
            "empty it yourself"
        )
    mark(out)


def check_wishes(dataset: str, odd: Sequence[str], level: str) -> None:
    """Raise ValueError, listing the choices, for an unknown oddity or level."""
    check_oddities(dataset, odd)
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is none of {', '.join(LEVELS)}; choose one of them")


def mark(out: Path) -> None:
    """Say in the folder that all in it was drawn."""
    about = "No photographs: every face in this folder was drawn by shards/standins/face.py.\n"
    write(out / MARKER, about)


@_stand_in("affwild", videos=6, frames=60)
def draw_aff_wild(out: Path, seed: int, level: str, videos: int, frames: int) -> Work:
    """Draw `videos` annotated videos, .avi and .mp4 in turn, and one test video without labels.

    Ids are chosen so that the project's split has both sides.
    """
    return [
        partial(_save_video, out, name, number, film([seed, number], frames, level, (240, 180)))
        for number, name in enumerate([*_ids_on_both_sides(videos), _UNLABELLED])
    ]


@_stand_in("affwild2", videos=6, frames=60)
def draw_aff_wild2(out: Path, seed: int, level: str, videos: int, frames: int) -> Work:
    """Draw the crops of `videos` videos (the second and the third with two people) and their
    labels for VA, EXPR and AU in the folders of the fifth challenge; one person has no labels.

    Every seventh frame has no crop (no face found), every eleventh row is null.
    """
    return [
        partial(_save_person, out, person, split, film([seed, number], frames, level, None))
        for number, (person, split) in enumerate(_persons(videos))
    ]


@_stand_in("afew_va", clips=12, frames=20)
def draw_afew_va(out: Path, seed: int, level: str, clips: int, frames: int) -> Work:
    """Draw `clips` clips of PNG frames; two in three actors play two of them. The second clip is
    anamorphic (720 x 576 pixels of a picture 960 wide), the others have square pixels."""
    work: Work = []
    for clip in range(clips):
        actor = clip // 2 if clip % 3 else clip
        size = (round(ANAMORPHIC[0] * PIXEL_ASPECT), ANAMORPHIC[1]) if clip == 1 else (240, 180)
        sitter = Identity.draw(np.random.default_rng([seed, 1000, actor]))
        moving = film([seed, clip], frames, level, size, sitter)
        folder, name = out / f"{clip + 1:03d}", f"Drawn Actor {actor}"
        work.append(partial(_save_clip, folder, name, moving, squeeze=clip == 1))
    return work


@_stand_in("raf_db", n=240)
def draw_raf_db(out: Path, seed: int, level: str, n: int) -> Work:
    """Draw `n` pictures with basic expressions and a quarter as many with compound ones, original
    and aligned, with boxes, points and attributes; one in five is for testing."""
    work: Work = []
    for number, (subset, size) in enumerate(
        {"basic": n, "compound": max(_SMALLEST, n // 4)}.items()
    ):
        for index in sorted(range(size), key=lambda index: index % 5 == 4):  # as the list has them
            rng = np.random.default_rng([seed, number, index])
            test = index % 5 == 4
            stem = f"test_{1 + index // 5:04d}" if test else f"train_{1 + index - index // 5:05d}"
            work.append(partial(_save_still, out / subset, stem, level, rng))
    return work


@_stand_in("affectnet", n=120)
def draw_affectnet_2021(out: Path, seed: int, level: str, n: int) -> Work:
    """Draw AffectNet as released in 2021: `n` pictures of 224 pixels with four .npy files each.

    One in six is for validation. Numbering has gaps, and labels are 0-d arrays of text.
    """
    work: Work = []
    for index in range(n):
        rng, split = np.random.default_rng([seed, index]), "val" if index % 6 == 5 else "train"
        stem = str(index + index // 3)  # every fourth number is absent
        work.append(partial(_save_labelled, out / f"{split}_set", split, stem, level, rng))
    return work


@_stand_in("table", n=60)
def draw_table(out: Path, seed: int, level: str, n: int) -> Work:
    """Draw `n` pictures, four of a person, and a table of what is true of them: labels.csv."""
    write(out / "labels.csv", "path,valence,arousal,expression,person,left,top,right,bottom\n")
    held = next(k for k in range(102, 450) if fold_by_hash(f"person{k}") == 0)  # both sides
    return [
        partial(_save_listed, out, index, level, seed, f"person{held + index // 4}")
        for index in range(n)
    ]


def write(path: Path, text: str) -> None:
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
    film = FilmWriter(path, Fraction(fps), CODINGS[path.suffix])
    for image in images:
        film.add(image)
    film.close()


# ---------------------------------------------------------------- Aff-Wild

_UNLABELLED = "450"  # the test video


def _ids_on_both_sides(count: int) -> list[str]:
    """Ids from 102 on, with one among them that the project's split holds out."""
    names = list(map(str, range(102, 450)))
    held = next(name for name in names if fold_by_hash(name) == 0)
    return sorted([held, *(name for name in names if name != held)][:count])


def _save_video(out: Path, name: str, number: int, frames: Iterable[Frame]) -> dict[str, int]:
    shown, labelled = list(frames), name != _UNLABELLED
    path = (
        out
        / "videos"
        / ("train" if labelled else "test")
        / f"{name}.{'mp4' if number % 2 else 'avi'}"
    )
    write_video(path, (frame.image for frame in shown), 30 - number % 2)
    if labelled:
        _annotate_aff_wild(out, name, shown)
    return {"train videos": int(labelled)}


def _annotate_aff_wild(out: Path, name: str, film: list[Frame]) -> None:
    for axis in ("valence", "arousal"):
        lines = [f"{getattr(frame.face, axis):.6f}" for frame in film]
        write(out / "annotations" / "train" / axis / f"{name}.txt", "\n".join(lines) + "\n")
    for number, frame in enumerate(film, 1):
        x0, y0, x1, y1 = map(float, frame.face.bbox_xyxy)
        corners = [(x0, y0), (x0, y1), (x1, y1), (x1, y0)]
        _write_points(out / "bboxes" / "train" / name / f"{number}.pts", corners)
        landmarks = frame.face.landmarks.tolist()
        _write_points(out / "landmarks" / "train" / name / f"{number}.pts", landmarks)


def _write_points(path: Path, points: Sequence[Sequence[float]]) -> None:
    lines = [f"{x:.3f} {y:.3f}" for x, y in points]
    write(path, "\n".join(["version: 1", f"n_points: {len(points)}", "{", *lines, "}"]) + "\n")


# ---------------------------------------------------------------- Aff-Wild2

_PARTS = {"train": "Train_Set", "val": "Validation_Set"}


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


def _save_person(
    out: Path, person: str, split: str | None, frames: Iterable[Frame]
) -> dict[str, int]:
    shown = list(frames)
    for number, frame in enumerate(shown, 1):
        if number % 7:
            _save_jpeg(frame.image, out / "cropped_aligned" / person / f"{number:05d}.jpg")
    if split:
        _annotate_aff_wild2(out / "5th_ABAW_Annotations", person, split, shown)
    counted = (f"{task} {part} files" for task in ("VA", "EXPR", "AU") for part in _PARTS)
    return {name: int(f" {split} " in name) for name in counted}


def _annotate_aff_wild2(annotations: Path, person: str, split: str, film: list[Frame]) -> None:
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
        write(annotations / challenge / _PARTS[split] / f"{person}.txt", "\n".join(lines) + "\n")


# ---------------------------------------------------------------- AFEW-VA


def _save_clip(folder: Path, actor: str, film: Iterable[Frame], *, squeeze: bool) -> dict[str, int]:
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
    write(folder / f"{folder.name}.json", json.dumps(clip))
    return {"clips": 1, "frames": len(frames)}


# ---------------------------------------------------------------- RAF-DB


def _save_still(folder: Path, stem: str, level: str, rng: np.random.Generator) -> dict[str, int]:
    """One picture with everything RAF-DB says of it, and its line in the list."""
    codes, basic = {ours: code for code, ours in RAF_DB_CODES.items()}, folder.name == "basic"
    sitter, scene = Identity.draw(rng), Scene.draw(rng, level)
    face = render(sitter, acting_in(scene, rng), scene, size=FACE)
    while face.expression not in codes:  # RAF-DB has no contempt
        face = render(sitter, acting_in(scene, rng), scene, size=FACE)
    wall = rng.integers(60, 200, 3).astype(np.uint8)
    place = partial(on_wall, face, wall, (160 + int(rng.integers(60)), 150))
    frame = place(*rng.uniform(-1, 1, 2).tolist())
    _save_jpeg(frame.image, folder / "Image" / "original" / f"{stem}.jpg")
    aligned = Image.fromarray(face.image).resize(ALIGNED_SIZE, box=face.bbox_xyxy)
    _save_jpeg(np.asarray(aligned), folder / "Image" / "aligned" / f"{stem}_aligned.jpg")
    _annotate_raf_db(folder / "Annotation", stem, frame.face, rng)
    code = codes[face.expression] if basic else 1 + int(rng.integers(CODES["compound"]))
    _list_still(folder / "EmoLabel" / "list_patition_label.txt", f"{stem}.jpg {code}")
    part = f"{folder.name} {stem.partition('_')[0]}"
    return {part: 1, **({f"{part} {BASIC[code - 1]}": 1} if basic else {})}


def _list_still(path: Path, line: str) -> None:
    """The list has no newline at its end."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"\n{line}" if file.tell() else line)


def _annotate_raf_db(folder: Path, stem: str, face: Drawing, rng: np.random.Generator) -> None:
    marks = face.landmarks
    five = [marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]]
    lines = [f"{x:.3f}\t{y:.3f}" for x, y in five]
    lines += [str(int(rng.integers(limit))) for limit in (3, 3, 5)]
    write(folder / "manual" / f"{stem}_manu_attri.txt", "\n".join(lines) + "\n")
    many = [f"{x:.3f}\t{y:.3f}" for x, y in marks[17:54]]
    write(folder / "auto" / f"{stem}_auto_attri.txt", "\n".join(many) + "\n")
    box = " ".join(f"{value:.3f}" for value in face.bbox_xyxy)
    write(folder / "boundingbox" / f"{stem}_boundingbox.txt", f"{box} \n")


# ---------------------------------------------------------------- AffectNet 2021


def _save_labelled(
    folder: Path, split: str, stem: str, level: str, rng: np.random.Generator
) -> dict[str, int]:
    sitter, scene = Identity.draw(rng), Scene.draw(rng, level)
    drawing = render(sitter, acting_in(scene, rng), scene, size=224)
    _save_jpeg(drawing.image, folder / "images" / f"{stem}.jpg")
    (folder / "annotations").mkdir(exist_ok=True)
    for label, array in {
        "exp": np.array(str(drawing.expression)),
        "val": np.array(f"{drawing.valence:.6f}"),
        "aro": np.array(f"{drawing.arousal:.6f}"),
        "lnd": drawing.landmarks.ravel(),
    }.items():
        np.save(folder / "annotations" / f"{stem}_{label}.npy", array)
    return {name: int(name == split) for name in ("train", "val")}


# ---------------------------------------------------------------- a table


def _save_listed(out: Path, index: int, level: str, seed: int, person: str) -> dict[str, int]:
    rng = np.random.default_rng([seed, index])
    sitter = Identity.draw(np.random.default_rng([seed, 1000, index // 4]))
    scene = Scene.draw(rng, level)
    face = render(sitter, acting_in(scene, rng), scene, size=FACE)
    path = f"images/{index:05d}.jpg"
    _save_jpeg(face.image, out / path)
    labels = [f"{face.valence:.4f}", f"{face.arousal:.4f}", EXPRESSIONS[face.expression]]
    fields = [path, *labels, person, *map(str, face.bbox_xyxy)]
    with (out / "labels.csv").open("a", encoding="utf-8", newline="\n") as file:
        file.write(",".join(fields) + "\n")
    return {"images": 1}
