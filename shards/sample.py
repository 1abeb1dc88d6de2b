"""`Sample`: the one record every data set becomes, with its units written on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DATASETS = ("affectnet", "affwild", "affwild2", "afew_va", "raf_db", "table")
SPLITS = ("train", "val", "test", "unlabelled")
EXPRESSIONS = (
    "neutral",
    "happy",
    "sad",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)  # AffectNet's codes 0..7, canonical for every data set
VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".mov", ".webm")
FILM = rf"\.({'|'.join(suffix[1:] for suffix in VIDEO_SUFFIXES)})$"  # of a path, in any case

_DATASET = re.compile(r"[a-z][a-z0-9_]{0,31}")  # a name of one's own
_KEY = re.compile(r"[A-Za-z0-9_-]{1,92}")  # with ".json" it still fits a ustar name of 100 bytes
ROUNDING = 1e-6  # labels are printed with 6 decimals


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One face image, or one frame of a video: where it lies and all that is known about it.

    It carries the place of the image and not its bytes, so that a reader can list millions of
    samples in constant memory and workers can load them shard by shard. Field names are the
    columns of the Arrow index (`shards.index.SCHEMA`); `key` becomes `sample_key`, and what is in
    `extra` becomes columns of its names. `None` means "not labelled" and never zero. Coordinates
    are source pixels, origin top left.

    Raises ValueError, naming the key, the value, the rule and the next step.
    """

    key: str  # for people and tars: letters, digits, _ and -; no dot
    original_path: str  # as on disk, relative to the data set's root, "/" between parts
    dataset: str  # one of DATASETS, or a name of one's own
    variant: str  # manual2017, auto2017, npy2021, abaw5, basic, compound, ...
    split: str  # ours; one of SPLITS
    official_split: str | None = None  # as distributed
    split_by_task: dict[str, str] | None = None  # Aff-Wild2
    fold: int | None = None
    subject_id: str | None = None
    video_id: str | None = None
    person_slot: str | None = None  # main, left, right
    frame_index: int | None = None  # 0-based; inside the file where original_path is a video
    frame_name: str | None = None
    fps: float | None = None
    timestamp_s: float | None = None
    pixel_aspect: float | None = None  # width of a source pixel over its height
    bbox_xyxy: tuple[float, float, float, float] | None = None
    bbox_source: str | None = None
    landmarks: tuple[float, ...] | None = None  # 68 points x, y; may leave the image
    landmarks5: tuple[float, ...] | None = None
    landmarks37: tuple[float, ...] | None = None
    landmarks_source: str | None = None
    expression_raw: int | None = None  # the distributed code
    expression: int | None = None  # canonical, 0..7
    expression_compound: int | None = None  # RAF-DB, 1..11
    valence: float | None = None  # [-1, 1]
    arousal: float | None = None  # [-1, 1]
    valence_raw: float | None = None  # before rescaling, sentinels included
    arousal_raw: float | None = None
    action_units: tuple[int, ...] | None = None  # Aff-Wild2, 12 values, -1 is null
    annotation_source: str = "manual"  # manual, auto, none
    gender: int | None = None
    race: int | None = None
    age_group: int | None = None
    emonet_clean: bool | None = None
    quality: tuple[str, ...] = field(default=())  # oddities met on the way, e.g. "case_fixed"
    extra: Mapping[str, str | int | float | bool | None] | None = None  # columns of one's own

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(
                f"key {self.key!r}: a key is 1 to 92 letters, digits, '_' or '-' (WebDataset cuts "
                "it at the first dot); replace the other characters in its reader"
            )
        if self.original_path.startswith("/") or ".." in self.original_path.split("/"):
            raise ValueError(
                f"{self.key}: path {self.original_path!r} leaves the data set's root; "
                "list paths relative to the root and without '..'"
            )
        if not is_dataset(self.dataset):
            raise ValueError(
                f"{self.key}: data set {self.dataset!r}: a name is a letter a-z, then up to 31 "
                "letters a-z, digits or '_'"
            )
        if self.split not in SPLITS:
            raise ValueError(f"{self.key}: split {self.split!r} is none of {SPLITS}")
        if (self.valence is None) != (self.arousal is None):
            raise ValueError(
                f"{self.key}: valence {self.valence} and arousal {self.arousal}: both are labelled "
                "or neither; make a sentinel on one axis null on both"
            )
        for axis in ("valence", "arousal"):
            value = getattr(self, axis)
            if value is not None and not abs(value) <= 1 + ROUNDING:  # NaN fails too
                raise ValueError(
                    f"{self.key}: {axis} {value} is outside [-1, 1]; rescale it in its reader "
                    "(AFEW-VA is published in [-10, 10]) or make its sentinel null (-2, -5)"
                )
        if self.expression is not None and not 0 <= self.expression < len(EXPRESSIONS):
            raise ValueError(
                f"{self.key}: expression {self.expression} is no canonical code 0..7; map the "
                "data set's own codes in its reader and keep them in expression_raw"
            )
        for name, count in (
            ("bbox_xyxy", 4),
            ("landmarks", 136),
            ("landmarks5", 10),
            ("landmarks37", 74),
            ("action_units", 12),
        ):
            numbers = getattr(self, name)
            if numbers is not None and len(numbers) != count:
                raise ValueError(
                    f"{self.key}: {name} has {len(numbers)} numbers, not {count}; "
                    "the annotation file is cut or of another format"
                )
        if self.bbox_xyxy is not None:
            left, top, right, bottom = self.bbox_xyxy
            if not (left < right and top < bottom):
                raise ValueError(
                    f"{self.key}: box {self.bbox_xyxy} is empty; boxes are left, top, right, "
                    "bottom in pixels"
                )

    @property
    def in_video(self) -> bool:
        """Whether the image is a frame inside a video file."""
        return self.original_path.lower().endswith(VIDEO_SUFFIXES)


def is_dataset(name: object) -> bool:
    """Whether a data set may be called so."""
    return isinstance(name, str) and bool(_DATASET.fullmatch(name))
