"""Stand-in data sets of drawn faces, written in the official layouts, so that the true converters
run on them without a licence.

AffectNet as it was released in 2017: `Manually_Annotated_Images/<dir>/<56 hex>.<ext>` and two CSV
files of nine columns. A person is the unit of work and owns a random stream, so the bytes depend
on the seed alone and not on the number of processes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, cpu_count, delayed
from PIL import Image

from shards.datasets.affectnet.release_2017 import COLUMNS as COLUMNS
from shards.datasets.card import CARD_NAME, seal
from shards.standins.face import Identity, Scene, acting_in, render
from shards.standins.layouts import MARKER, check_wishes, mark, write
from shards.standins.oddities import apply_oddities
from shards.standins.oddities.affectnet import IMAGES, LISTS
from shards.standins.oddities.affectnet import NAME_2017 as NAME
from shards.standins.wild.emotions import draw_person

FILES = {"train": "training.csv", "val": "validation.csv"}

NONE, UNCERTAIN, NO_FACE = 8, 9, 10  # AffectNet's codes beyond the eight expressions
NOT_LABELLED = -2.0

_PER_PERSON = 4  # images
_VALIDATION = 6  # every sixth person
_FOLDERS = 1381
_PER_TASK = 8  # persons: about a quarter of a second of work
_SIZES = (264, 345)  # pixels; the face box is then 203 to 265, and shards are stored at 256
_WILD_SIZES = (120, 176)  # smaller, faster, and blurred as small photographs are

_RULE = "shards.standins.anatomy.label (action units to valence and arousal)"
_WILD_RULE = "shards.standins.wild.emotions (a mixture of emotions to their published places)"

# Shares of the odd rows. The extensions follow the mixture counted in public file lists.
_EXTENSIONS = ("jpg", "png", "JPG", "jpeg", "PNG", "bmp", "tif")
_EXTENSION_SHARES = (0.89, 0.04, 0.04, 0.02, 0.005, 0.003, 0.002)
_CODE_SHARES = {NONE: 0.02, UNCERTAIN: 0.02, NO_FACE: 0.02}
_CUT_SHARE = 0.03  # faces that leave the picture, landmarks and all
_FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "bmp": "BMP", "tif": "TIFF"}


class Row(NamedTuple):
    """One line of a list file."""

    path: str  # "<dir>/<56 hex>.<ext>"
    box: tuple[int, int, int, int]  # x, y, width, height
    landmarks: np.ndarray  # (68, 2) pixels
    expression: int
    valence: float
    arousal: float

    def line(self) -> str:
        marks = ";".join(f"{value:.2f}" for value in self.landmarks.ravel())
        box = ",".join(map(str, self.box))
        return f"{self.path},{box},{marks},{self.expression},{self.valence:.6f},{self.arousal:.6f}"


@dataclass(frozen=True, slots=True)
class Cast:
    """What is to be drawn: the same plan gives the same bytes."""

    n: int  # images, both files together
    seed: int
    level: str
    odd: bool

    @property
    def persons(self) -> int:
        return -(-self.n // _PER_PERSON)

    def images_of(self, person: int) -> int:
        return min(_PER_PERSON, self.n - person * _PER_PERSON)

    def split_of(self, person: int) -> str:
        return "val" if person % _VALIDATION == _VALIDATION - 1 else "train"

    def path_of(self, person: int, image: int, extension: str) -> str:
        digest = hashlib.sha224(f"{self.seed}/{self.level}/{person}/{image}".encode()).hexdigest()
        folders = max(1, min(_FOLDERS, self.n // 50))
        return f"{1 + int(digest[:8], 16) % folders}/{digest}.{extension}"


def draw_affectnet(
    out: Path,
    n: int = 6000,
    seed: int = 0,
    level: str = "normal",
    *,
    odd: bool | Sequence[str] = True,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Draw a stand-in AffectNet of `n` images into `out` and return its data card.

    Every sixth person goes to validation with all of their images. `odd` adds the oddities of the
    true release: other extensions, classes 8 to 10 (9 and 10 carry -2), faces cut by the border.
    Names in `odd` (`oddities/affectnet.py`; "all" for the harmless) add those on top.
    `data_card.json` comes last: a folder without it is not finished, and drawing again starts over.

    Raises ValueError for an unknown level, too few images, or a folder that holds anything else.
    """
    names = () if isinstance(odd, bool) else tuple(odd)
    plan = Cast(n, seed, level, bool(odd))
    check_wishes(NAME, names, level)
    _check(plan, out)
    _start_over(out)
    rows: dict[str, list[Row]] = {split: [] for split in FILES}
    done = 0
    for person, drawn in _draw_all(plan, out, jobs or cpu_count()):
        rows[plan.split_of(person)] += drawn
        done += len(drawn)
        if progress:
            progress(done, n)
    for split, name in FILES.items():
        lines = sorted(row.line() for row in rows[split])
        write(out / LISTS / name, "\n".join([",".join(COLUMNS), *lines]) + "\n")
    apply_oddities(out, NAME, names)
    os.sync()  # images were not synced one by one; the card below vouches for all of them
    card = _card(plan, rows)
    seal(out, json.dumps(card, indent=2) + "\n")
    return card


def check_amount(n: int) -> None:
    """Raise ValueError for too few images."""
    least = _PER_PERSON * _VALIDATION
    if n < least:
        raise ValueError(f"n {n} is below {least}, which leaves no validation; ask for more")


def _check(plan: Cast, out: Path) -> None:
    check_amount(plan.n)
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise ValueError(
            f"{out}: the folder is not empty and holds no {MARKER}, so it may be true data; "
            "choose another --out or empty it yourself"
        )


def _start_over(out: Path) -> None:
    """Leave nothing of an earlier run; the marker says that all in here was drawn."""
    mark(out)
    (out / CARD_NAME).unlink(missing_ok=True)
    for name in (LISTS, IMAGES):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir()


def _draw_all(plan: Cast, out: Path, jobs: int) -> Iterator[tuple[int, list[Row]]]:
    """Each person with their rows, in any order."""
    everyone = range(plan.persons)
    tasks = [everyone[first : first + _PER_TASK] for first in everyone[::_PER_TASK]]
    run = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for drawn in run(delayed(_draw_some)(plan, out, persons) for persons in tasks):
        yield from drawn


def _draw_some(plan: Cast, out: Path, persons: range) -> list[tuple[int, list[Row]]]:
    return [(person, list(_draw_person(plan, out, person))) for person in persons]


def _draw_person(plan: Cast, out: Path, person: int) -> Iterator[Row]:
    rng = np.random.default_rng([plan.seed, person])
    sitter = draw_person(rng) if plan.level == "wild" else Identity.draw(rng)
    if plan.level == "easy":
        sitter = sitter.bare()
    for image in range(plan.images_of(person)):
        yield _draw_image(plan, out, person, image, sitter, rng)


def _draw_image(
    plan: Cast, out: Path, person: int, image: int, sitter: Identity, rng: np.random.Generator
) -> Row:
    code, extension, cut = _oddities(plan.odd, rng)
    scene = Scene.draw(rng, plan.level)
    if cut:
        scene = replace(scene, zoom=1.15, shift=(rng.uniform(-0.1, 0.1), rng.uniform(0.18, 0.3)))
    if code == NO_FACE:
        scene = replace(scene, shift=(3.0, 0.0))  # the sitter has left the picture
    acting, sizes = acting_in(scene, rng), _SIZES if scene.look is None else _WILD_SIZES
    drawing = render(sitter, acting, scene, size=int(rng.integers(*sizes)))
    path = plan.path_of(person, image, extension)
    _save(drawing.image, out / IMAGES / path)
    left, top, right, bottom = drawing.bbox_xyxy
    labelled = code not in (UNCERTAIN, NO_FACE)
    return Row(
        path,
        (left, top, right - left, bottom - top),
        drawing.landmarks,
        drawing.expression if code is None else code,
        drawing.valence if labelled else NOT_LABELLED,
        drawing.arousal if labelled else NOT_LABELLED,
    )


def _oddities(odd: bool, rng: np.random.Generator) -> tuple[int | None, str, bool]:
    """A class beyond the eight, an extension, and whether the border cuts the face."""
    extension = str(rng.choice(_EXTENSIONS, p=_EXTENSION_SHARES))
    codes = [*_CODE_SHARES, None]
    code = codes[rng.choice(len(codes), p=[*_CODE_SHARES.values(), 1 - sum(_CODE_SHARES.values())])]
    cut = bool(rng.random() < _CUT_SHARE)
    return (code, extension, cut) if odd else (None, "jpg", False)


def _save(image: np.ndarray, path: Path) -> None:
    kind = _FORMATS[path.suffix[1:].lower()]
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, kind, **({"quality": 92} if kind == "JPEG" else {}))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded.getvalue())


def _card(plan: Cast, rows: dict[str, list[Row]]) -> dict[str, Any]:
    people = Counter(plan.split_of(person) for person in range(plan.persons))
    return {
        "dataset": "affectnet",
        "stand_in": True,
        "what": "Vector drawings of invented people in AffectNet's 2017 layout. No photograph, "
        "no licensed image, list or label was used; scores on it say nothing about AffectNet.",
        "licence": "none needed: drawn by shards/standins/face.py of this project",
        "label_rule": _WILD_RULE if plan.level == "wild" else _RULE,
        "level": plan.level,
        "seed": plan.seed,
        "odd": plan.odd,
        "counts": {FILES[split]: len(rows[split]) for split in FILES},
        "identities": {FILES[split]: people[split] for split in FILES},
        "shared_identities": 0,
        "labelled": {
            FILES[split]: sum(row.valence != NOT_LABELLED for row in rows[split]) for split in FILES
        },
    }
