"""Face box or landmarks to a square crop: one convention, written down per row as an affine map.

The crop is a square around the face, `margin` of its side wider on each of the four sides, resized
to `size` x `size`. `crop_affine` (a, b, c, d, e, f) maps source to stored pixels:

    x' = a x + b y + c        y' = d x + e y + f

with pixels as squares: pixel (0, 0) covers 0 to 1, its centre is (0.5, 0.5). What lies outside the
source is black. Source pixels that are not square (`pixel_aspect`) become square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from jaxtyping import Float
from PIL import Image

from shards.finder import overlap, shared_finder
from shards.image import (
    MOST_PIXELS,
    Stored,
    Unreadable,
    as_is,
    decode,
    encode_jpeg,
    lent,
    probe,
    turned_box,
)

Mode = Literal["box", "landmarks", "aligned", "none", "detect"]
Affine = tuple[float, float, float, float, float, float]
Point = tuple[float, float]

_WHOLE = {"npy2021"}  # variants that are published as face crops
_MODES: dict[str, Mode] = {
    "affectnet": "box",
    "affwild": "box",
    "affwild2": "none",  # cropped_aligned
    "afew_va": "landmarks",
    "raf_db": "box",
}  # of other names: box where there is one


@dataclass(frozen=True, slots=True)
class Crop:
    """What to cut out of a source image.

    `mode`: the published `box`; the box around the 68 `landmarks`; `aligned`, a square rotated so
    that the eyes are level; `none`, the image as it is; `detect`, the box that the detector of
    `predict` finds in the upright picture, so that a model sees at training what it will see later.
    None takes what suits the data set. The default margin of 1/14 makes the centre 224 of 256
    pixels exactly the box. The field `detect` looks for a box only where none is published.
    """

    mode: str | None = None  # one of Mode
    margin: float = 1 / 14
    size: int = 256
    detect: bool = False

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in get_args(Mode):
            raise ValueError(f"crop {self.mode!r} is none of {', '.join(get_args(Mode))}")
        if not -0.5 < self.margin <= 10:
            raise ValueError(f"margin {self.margin} is a share of the face's side, 0 to 10")
        if not 16 <= self.size <= 4096:
            raise ValueError(f"crop size {self.size} is outside 16 to 4096 pixels")

    @property
    def searches(self) -> bool:
        """Whether a detector decides on bytes."""
        return self.detect or self.mode == "detect"

    def mode_of(self, row: dict[str, Any]) -> str:
        """The mode for a row of the plan."""
        if self.mode is not None:
            return self.mode
        if row["variant"] in _WHOLE or (row["dataset"] == "raf_db" and row["bbox_xyxy"] is None):
            return "none"  # published as crops
        if row["dataset"] not in _MODES and row["bbox_xyxy"] is None and not self.detect:
            return "none"
        return _MODES.get(row["dataset"], "box")

    def must_find(self, row: dict[str, Any]) -> bool:
        """Whether the box of a row is for the detector to find."""
        if self.mode == "detect":
            return True
        return self.detect and row["bbox_xyxy"] is None and self.mode_of(row) == "box"

    def affine_of(self, row: dict[str, Any]) -> Affine | None:
        """Source to stored pixels for a row of the plan; None where the image stays as it is.

        Raises Unreadable where the row lacks what the mode needs.
        """
        mode = self.mode_of(row)
        aspect = row["pixel_aspect"] or 1.0
        if mode == "none":
            return None
        if mode == "box":
            if row["bbox_xyxy"] is None:
                raise Unreadable("no face box")
            return self.upright(row["bbox_xyxy"], aspect)
        if mode == "landmarks":
            if row["landmarks"] is None:
                raise Unreadable("no landmarks")
            xs, ys = row["landmarks"][0::2], row["landmarks"][1::2]
            return self.upright((min(xs), min(ys), max(xs), max(ys)), aspect)
        return self.levelled(*_eyes_and_mouth(row), aspect)

    def upright(self, box: Sequence[float], aspect: float = 1.0) -> Affine:
        """The square around the middle of a box: left, top, right, bottom in source pixels."""
        left, top, right, bottom = box
        longer = max((right - left) * aspect, bottom - top)
        if not 0 < longer < math.inf:
            raise Unreadable("empty face box")
        scale = self.size / (longer * (1 + 2 * self.margin))
        x, y = (left + right) / 2 * aspect, (top + bottom) / 2
        half = self.size / 2
        return (aspect * scale, 0.0, half - x * scale, 0.0, scale, half - y * scale)

    def levelled(self, left: Point, right: Point, mouth: Point, aspect: float = 1.0) -> Affine:
        """The square around eyes and mouth, rotated so that the eyes are level.

        Its side is twice the distance between the eyes, or between eyes and mouth if that is
        longer, which takes in brows and chin.
        """
        (x0, y0), (x1, y1), (x2, y2) = left, right, mouth
        x0, x1, x2 = x0 * aspect, x1 * aspect, x2 * aspect
        eyes, middle = math.hypot(x1 - x0, y1 - y0), ((x0 + x1) / 2, (y0 + y1) / 2)
        longer = 2 * max(eyes, math.hypot(x2 - middle[0], y2 - middle[1]))
        if not eyes > 0:
            raise Unreadable("eyes coincide")
        scale = self.size / (longer * (1 + 2 * self.margin))
        cos, sin = scale * (x1 - x0) / eyes, scale * (y1 - y0) / eyes
        x, y = (middle[0] + x2) / 2, (middle[1] + y2) / 2
        half = self.size / 2
        return (
            *(cos * aspect, sin, half - cos * x - sin * y),
            *(-sin * aspect, cos, half + sin * x - cos * y),
        )


def _eyes_and_mouth(row: dict[str, Any]) -> tuple[Point, Point, Point]:
    """Centres of both eyes, left in the picture first, and of the mouth."""
    if row["landmarks"] is not None:
        points = np.asarray(row["landmarks"], np.float64).reshape(68, 2)
        found = points[36:42].mean(0), points[42:48].mean(0), points[48:68].mean(0)
    elif row["landmarks5"] is not None:
        points = np.asarray(row["landmarks5"], np.float64).reshape(5, 2)
        eyes = points[:2][np.argsort(points[:2, 0])]
        found = eyes[0], eyes[1], points[3:5].mean(0)
    else:
        raise Unreadable("no landmarks")
    left, right, mouth = (cast(Point, tuple(point.tolist())) for point in found)
    return left, right, mouth


def cut(picture: np.ndarray, affine: Affine, size: int) -> np.ndarray:
    """Resample uint8 (H, W, 3) through `affine` to (size, size, 3), without aliasing.

    Raises Unreadable where the square does not touch the picture.
    """
    return np.asarray(_resampled(picture, affine, size))


def _resampled(picture: np.ndarray, affine: Affine, size: int) -> Image.Image:
    a, b, c, d, e, f = affine
    height, width, bytes_each = picture.shape
    held = "RGBX" if bytes_each == 4 else "RGB"
    image = Image.frombytes("RGB", (width, height), np.ascontiguousarray(picture), "raw", held)
    if b == 0 and d == 0:
        region = (-c / a, -f / e, (size - c) / a, (size - f) / e)
        return _resize(image, region, size)
    return _warp(image, affine, size)


def _resize(
    image: Image.Image, region: tuple[float, float, float, float], size: int
) -> Image.Image:
    left, top, right, bottom = region
    if left >= image.width or top >= image.height or right <= 0 or bottom <= 0:
        raise Unreadable("face outside the image")
    if left < 0 or top < 0 or right > image.width or bottom > image.height:
        if (right - left) * (bottom - top) > MOST_PIXELS:
            raise Unreadable("face box far larger than the image")
        x, y = math.floor(left), math.floor(top)
        image = image.crop((x, y, math.ceil(right), math.ceil(bottom)))  # black outside
        region = (left - x, top - y, min(right - x, image.width), min(bottom - y, image.height))
    return image.resize((size, size), Image.Resampling.BILINEAR, box=region)


def _warp(image: Image.Image, affine: Affine, size: int) -> Image.Image:
    """Pillow's warp reads four pixels only, so a large source is averaged down first."""
    a, b, _, d, e, _ = affine
    factor = max(int(1 / math.sqrt(abs(a * e - b * d))), 1)
    small = image.reduce(factor) if factor > 1 else image
    to_stored = np.array([affine[:3], affine[3:], (0, 0, 1)]) @ np.diag([factor, factor, 1])
    back = np.linalg.inv(to_stored)[:2].ravel().tolist()
    return small.transform(
        (size, size), Image.Transform.AFFINE, tuple(back), Image.Resampling.BICUBIC
    )


def store_picture(
    picture: np.ndarray, affine: Affine, size: int, kind: str, quality: tuple[str, ...] = ()
) -> Stored:
    """Crop a decoded picture and encode it as JPEG."""
    height, width = picture.shape[:2]
    crop = lent(_resampled(picture, affine, size))
    facts = (size, size, width, height, affine, size, quality)
    return Stored(encode_jpeg(crop), "jpg", kind, *facts)


def store_found(
    picture: np.ndarray,
    row: dict[str, Any],
    crop: Crop,
    kind: str,
    quality: tuple[str, ...] = (),
    seen: tuple[int, float] = (1, 1.0),
) -> Stored:
    """Crop around a face found in this very picture; Unreadable where there is none.

    The published box is of the source's pixels; `picture` shows those turned and widened as `seen`
    says.
    """
    published = row["bbox_xyxy"] and turned_box(row["bbox_xyxy"], picture.shape, *seen)
    box, remarks = chosen(shared_finder()(picture)[:, :4], published)
    affine = crop.upright(box, 1.0 if seen[1] != 1 else row["pixel_aspect"] or 1.0)
    stored = store_picture(picture, affine, crop.size, kind, quality + remarks)
    return stored._replace(found_box=tuple(box), seen=seen)


def chosen(
    faces: Float[np.ndarray, "n 4"], published: Sequence[float] | None
) -> tuple[list[float], tuple[str, ...]]:
    """Whose labels these are: the face that overlaps the published box most, else the largest.

    `faces` come largest first. Remarks for the column `quality`: `face_by_box` or `face_by_size`
    where there was a choice, `face_off_box` where nothing found overlaps what was published.
    """
    if not len(faces):
        raise Unreadable("no face found")
    shared = overlap(faces, np.array([published or [0] * 4], np.float64))[:, 0]
    best = int(shared.argmax())  # the first, so the largest, of equals
    remarks = [] if len(faces) == 1 else ["face_by_box" if shared[best] else "face_by_size"]
    off = published is not None and not shared[best]
    return faces[best].tolist(), (*remarks, *(["face_off_box"] if off else []))


def store_image(content: bytes, affine: Affine | None, size: int, *, check: bool = True) -> Stored:
    """An encoded source image, cropped and encoded again, or as it is where `affine` is None."""
    if affine is None:
        return as_is(content, check=check)
    kind = probe(content).format
    picture, quality = decode(content, kind, colours="RGBX")
    return store_picture(picture, affine, size, kind, quality)
