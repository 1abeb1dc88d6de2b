"""`Predictor`: valence and arousal of anyone's pictures, prepared as the training's were.

    predictor = Predictor.load("runs/demo")
    predictor([picture, ...])  # (n, 2): each picture, uint8 (H, W, 3) RGB, is one face

`predict_stream` goes on from there to videos and many faces: frames are read, searched for faces
and cropped in a thread of their own while the network works on the batch before; memory holds a
few batches however long the video is.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avce.checkpoint import read_safetensors
from avce.config import Config
from avce.evaluate import device_of, evaluating
from avce.footage import VIDEOS, Film, Frame, Skipped, camera_frames, video_frames
from avce.methods import build_method
from avce.models import MEAN, STD
from avce.overlay import Overlay
from avce.runs import Which, load_run
from avce.tracks import Tracker

CENTRE = 224 / 256  # of the stored side: training sees crops of this share, evaluation the middle
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_HELD = 128 << 20  # bytes of pictures waiting for their batch

Box = tuple[float, float, float, float]
Finder = Callable[[np.ndarray], np.ndarray]  # picture -> (n, 5): box and probability


class Face(NamedTuple):
    """One face and what the model says about it."""

    box: Box | None  # left, top, right, bottom in pixels; None: the whole picture
    confidence: float | None  # of the detector
    track: int | None  # the same number through a video
    preds: np.ndarray  # (2,) valence and arousal, or (classes,) logits


class Framing(NamedTuple):
    """How the training's crops were cut, as `shards.Crop` says it."""

    margin: float = 1 / 14  # around the box, as a share of its longer side
    size: int = 256  # pixels


class Predictor:
    """A trained model with the preprocessing it was trained with."""

    def __init__(self, model: nn.Module, config: Config, framing: Framing | None = None) -> None:
        self.model, self.config, self.framing = model, config, framing or Framing()

    @classmethod
    def load(
        cls, run: Path | str, which: Which = "best", device: torch.device | str | None = None
    ) -> Predictor:
        """From a run folder, or from a folder or file that `export` wrote.

        Raises FileNotFoundError or ValueError where there is no model in it.
        """
        run = Path(run)
        exported = run / "model.safetensors" if run.is_dir() else run
        if exported.suffix == ".safetensors" and exported.is_file():
            model, config, framing = _exported(exported)
        else:
            model, config, facts = load_run(run, which)
            framing = framing_of(facts)
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model.to(chosen).eval(), config, framing)

    def __call__(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]] | Tensor, batch_size: int = 64
    ) -> Float32[np.ndarray, "n k"]:
        """Valence and arousal (or one logit a class) of pictures that are one face each.

        Pictures are uint8 (H, W, 3), RGB. A tensor is (n, 3, H, W): uint8 is prepared like
        pictures, floats are taken as normalised already.
        """
        if isinstance(images, Tensor) and images.is_floating_point():
            return self._encode(images, batch_size)
        if isinstance(images, Tensor):
            images = list(images.permute(0, 2, 3, 1).cpu().numpy())
        if not len(images):
            return np.zeros((0, self.outputs), np.float32)
        return self.encode(np.stack([self.prepare(image) for image in images]), batch_size)

    @property
    def outputs(self) -> int:
        """Numbers a face: 2, or one a class."""
        return 2 if self.config.task == "va" else self.config.classes

    def prepare(
        self, picture: UInt8[np.ndarray, "h w 3"], box: Box | None = None
    ) -> UInt8[np.ndarray, "s s 3"]:
        """The pixels that the network sees of a face; without a box, of the whole picture."""
        if box is not None:
            picture = cut(picture, box, self.framing)
        return central(picture, self.config.image_size)

    def encode(
        self, pixels: UInt8[np.ndarray, "n s s 3"], batch_size: int = 64
    ) -> Float32[np.ndarray, "n k"]:
        """Predictions of prepared pixels."""
        return self._encode(torch.tensor(pixels).permute(0, 3, 1, 2), batch_size)

    def _encode(self, images: Tensor, batch_size: int) -> np.ndarray:
        predict = cast(Callable[[Tensor], Tensor], getattr(self.model, "predict", self.model))
        device = device_of(self.model)
        with evaluating(self.model), torch.inference_mode():
            parts = [
                predict(normalised(part.to(device))).float().cpu()
                for part in images.split(batch_size)
            ]
        return torch.cat(parts).numpy()


def framing_of(facts: dict[str, Any]) -> Framing:
    """The crop of the shards a run was trained on, from its run.json; the default where unsaid."""
    crop = (facts.get("shards") or {}).get("crop") or {}
    return Framing(**{name: crop[name] for name in Framing._fields if name in crop})


def _exported(path: Path) -> tuple[nn.Module, Config, Framing]:
    """A model from a file that `export` wrote."""
    weights = read_safetensors(path)
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["avce"])
    except (KeyError, json.JSONDecodeError, SafetensorError):
        raise ValueError(
            f"{path} was not written by export, so its preprocessing is unknown; give a run folder "
            "or an exported model.safetensors"
        ) from None
    config = Config.from_dict(facts["config"])
    model = build_method(config, pretrained=False).model
    model.load_state_dict(weights)
    return model, config, Framing(**facts["framing"])


# ---------------------------------------------------------------------------------- pixels


def cut(
    picture: UInt8[np.ndarray, "h w 3"], box: Sequence[float], framing: Framing
) -> UInt8[np.ndarray, "s s 3"]:
    """The square around a box, `margin` wider, resized as `shards.crop` does; black outside."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) * (1 + 2 * framing.margin)
    x0, y0 = (left + right - side) / 2, (top + bottom - side) / 2
    image = Image.fromarray(picture)
    x, y = int(np.floor(x0)), int(np.floor(y0))
    canvas = image.crop((x, y, int(np.ceil(x0 + side)), int(np.ceil(y0 + side))))
    region = (x0 - x, y0 - y, min(x0 - x + side, canvas.width), min(y0 - y + side, canvas.height))
    return np.asarray(
        canvas.resize((framing.size, framing.size), Image.Resampling.BILINEAR, box=region)
    )


def central(picture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The middle of a stored picture as evaluation sees it, `size` x `size` (pipelines/decode.py).

    A picture of that size is untouched, of another square one the middle 7/8 are taken; of any
    other the shorter side becomes size * 8/7 first.
    """
    height, width = picture.shape[:2]
    if height != width:
        scale = round(size / CENTRE) / min(height, width)
        wanted = (max(size, round(width * scale)), max(size, round(height * scale)))
        return _middle(_resized(picture, wanted), size)
    side = size if width == size else round(width * CENTRE)
    middle = _middle(picture, size if abs(side - size) <= 1 <= width - size else side)
    return middle if middle.shape[0] == size else _resized(middle, (size, size))


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = ((room - side + 1) // 2 for room in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def normalised(images: Tensor) -> Tensor:
    """uint8 (n, 3, h, w) to floats by ImageNet's mean and deviation; floats stay."""
    if images.is_floating_point():
        return images
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.float() / 255 - mean) / std


# ---------------------------------------------------------------------------------- sources


def frames_of(sources: Sequence[str | Path], skipped: Skipped) -> Iterator[Frame]:
    """Frames of images, folders, globs, videos and webcam numbers, one source after the other.

    Missing sources are refused before the first frame; files that cannot be read are skipped.
    """
    files = [file for source in sources for file in _files(str(source))]
    return (frame for file in files for frame in _frames(file, skipped))


def _files(source: str) -> list[str]:
    """The files of a source; a camera stays its number."""
    path = Path(source)
    if source.isdigit() and not path.exists():
        return [source]
    if path.is_dir():
        known = (*IMAGES, *VIDEOS)
        found = [str(p) for p in sorted(path.rglob("*")) if p.suffix.lower() in known]
        if not found:
            raise FileNotFoundError(
                f"{source} holds no image or video ({', '.join(known)}); give another folder"
            )
        return found
    if path.exists():
        return [source]
    found = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (a pattern may be absolute)
    if not found:
        raise FileNotFoundError(
            f"{source} does not exist; give an image, a folder, a glob, a video or a camera number"
        )
    return found


def _frames(file: str, skipped: Skipped) -> Iterator[Frame]:
    if file.isdigit() and not Path(file).exists():
        return camera_frames(int(file))
    if Path(file).suffix.lower() in VIDEOS:
        return video_frames(file, skipped)
    return encoded_frames(_contents([file], skipped), skipped)


def _contents(files: Iterable[str], skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            yield file, Path(file).read_bytes()
        except OSError as error:
            skipped.add(f"not readable ({error.strerror})", file)


def encoded_frames(images: Iterable[tuple[str, bytes]], skipped: Skipped) -> Iterator[Frame]:
    """Frames of (name, encoded image), upright as their camera was held."""
    for name, content in images:
        try:
            with Image.open(io.BytesIO(content)) as image:
                upright = ImageOps.exif_transpose(image)
                picture = np.asarray(upright.convert("RGB"))
        except UnidentifiedImageError:
            skipped.add("not an image", name)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            skipped.add("image cut off or damaged", name)
        else:
            yield Frame(picture, name)


# ---------------------------------------------------------------------------------- the stream


class _Batch(NamedTuple):
    """Frames with their faces, and the faces' pixels in the same order."""

    frames: list[Frame]
    boxes: list[np.ndarray]  # (faces, 5) a frame; a NaN box is the whole picture
    tracks: list[list[int | None]]
    pixels: list[np.ndarray]


def predict_stream(
    predictor: Predictor,
    frames: Iterable[Frame],
    *,
    find: Finder | None = None,
    skipped: Skipped | None = None,
    batch_size: int = 64,
) -> Generator[tuple[Frame, list[Face]], None, None]:
    """Every frame in order with its faces, found by `find`; without it each frame is one face.

    A frame without a face comes with none, and is told to `skipped`.
    """
    skipped = skipped or Skipped()
    for batch in ahead(_batched(predictor, frames, find, skipped, batch_size)):
        preds = predictor.encode(np.stack(batch.pixels), batch_size) if batch.pixels else []
        said = iter(preds)
        for frame, boxes, tracks in zip(batch.frames, batch.boxes, batch.tracks, strict=True):
            pairs = zip(boxes, tracks, strict=True)
            yield frame, [_face(box, track, next(said)) for box, track in pairs]


def _face(box: np.ndarray, track: int | None, preds: np.ndarray) -> Face:
    if np.isnan(box[0]):
        return Face(None, None, track, preds)
    left, top, right, bottom, confidence = box.tolist()
    return Face((left, top, right, bottom), confidence, track, preds)


def _batched(
    predictor: Predictor,
    frames: Iterable[Frame],
    find: Finder | None,
    skipped: Skipped,
    batch_size: int,
) -> Iterator[_Batch]:
    batch, held = _Batch([], [], [], []), 0
    source, tracker = None, Tracker()
    for frame in frames:
        if frame.source != source:
            source, tracker = frame.source, Tracker()
        boxes = _boxes(frame, find, skipped)
        batch.frames.append(frame)
        batch.boxes.append(boxes)
        batch.tracks.append(_tracks(frame, boxes, tracker))
        batch.pixels.extend(_pixels(predictor, frame.picture, box) for box in boxes)
        held += frame.picture.nbytes
        if len(batch.pixels) >= batch_size or held >= _HELD:
            yield batch
            batch, held = _Batch([], [], [], []), 0
    if batch.frames:
        yield batch


def _boxes(frame: Frame, find: Finder | None, skipped: Skipped) -> np.ndarray:
    if find is None:
        return np.full((1, 5), np.nan, np.float32)
    boxes = find(frame.picture)
    if not len(boxes):
        skipped.add("no face found", frame.place)
    return boxes


def _tracks(frame: Frame, boxes: np.ndarray, tracker: Tracker) -> list[int | None]:
    """Faces of a still image have no past."""
    if frame.number is None:
        return [None] * len(boxes)
    if np.isnan(boxes).any():
        return [0]
    return list(tracker(boxes[:, :4].astype(np.float64)))


def _pixels(predictor: Predictor, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    left, top, right, bottom = box[:4].tolist()
    return predictor.prepare(picture, None if np.isnan(left) else (left, top, right, bottom))


def ahead(items: Iterable[Any], depth: int = 2) -> Iterator[Any]:
    """`items`, made in a thread up to `depth` before they are asked for; its errors come here."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    left = threading.Event()
    thread = threading.Thread(target=_make, args=(items, ready, left), daemon=True)
    thread.start()
    try:
        while (got := ready.get())[0] == "item":
            yield got[1]
        if got[0] == "error":
            raise got[1]
    finally:
        left.set()
        while thread.is_alive():  # it may wait for room
            _drain(ready)
            thread.join(0.05)


def _make(items: Iterable[Any], ready: queue.Queue[Any], left: threading.Event) -> None:
    try:
        for item in items:
            ready.put(("item", item))
            if left.is_set():
                return
        ready.put(("end", None))
    except BaseException as error:  # raised again where the items are used
        ready.put(("error", error))


def _drain(ready: queue.Queue[Any]) -> None:
    while not ready.empty():
        ready.get_nowait()


# ---------------------------------------------------------------------------------- results


def row_of(frame: Frame, number: int, face: Face, config: Config) -> dict[str, Any]:
    """A face as plain values; columns of `schema_of`."""
    left, top, right, bottom = face.box or (None,) * 4
    said: dict[str, Any]
    if config.task == "va":
        said = {"valence": float(face.preds[0]), "arousal": float(face.preds[1])}
    else:
        chance = np.exp(face.preds - np.logaddexp.reduce(face.preds))
        said = {"expression": int(chance.argmax()), "probability": float(chance.max())}
    return {
        "source": frame.source,
        "frame": frame.number,
        "time_s": frame.time,
        "face": number,
        "track": face.track,
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "confidence": face.confidence,
        **said,
    }


def schema_of(config: Config) -> pa.Schema:
    """The columns of a result: where, which face, and what the model says."""
    places = [(name, pa.float32()) for name in ("left", "top", "right", "bottom", "confidence")]
    said = [("valence", pa.float32()), ("arousal", pa.float32())]
    if config.task == "expression":
        said = [("expression", pa.int8()), ("probability", pa.float32())]
    where = [("source", pa.string()), ("frame", pa.int64()), ("time_s", pa.float64())]
    return pa.schema([*where, ("face", pa.int16()), ("track", pa.int32()), *places, *said])


class CsvSink:
    """A line a face; floats with 4 decimals, empty where there is nothing to say."""

    def __init__(self, target: Path | TextIO, config: Config) -> None:
        self.config, self.path = config, target if isinstance(target, Path) else None
        self.file = _part(target).open("w", newline="") if isinstance(target, Path) else target
        self.lines = csv.DictWriter(self.file, schema_of(config).names, lineterminator="\n")
        self.lines.writeheader()

    def add(self, frame: Frame, faces: list[Face]) -> None:
        for number, face in enumerate(faces):
            row = row_of(frame, number, face, self.config)
            self.lines.writerow(
                {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}
            )

    def close(self) -> None:
        self.file.flush()
        if self.path is not None:
            self.file.close()
            _part(self.path).replace(self.path)


class ArrowSink:
    """An Arrow file of record batches, written as they come."""

    _ROWS = 4096

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config, self.schema = path, config, schema_of(config)
        self.rows: list[dict[str, Any]] = []
        self.file = pa.OSFile(str(_part(path)), "wb")
        self.writer = pa.ipc.new_file(self.file, self.schema)

    def add(self, frame: Frame, faces: list[Face]) -> None:
        self.rows += [row_of(frame, n, face, self.config) for n, face in enumerate(faces)]
        if len(self.rows) >= self._ROWS:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            self.writer.write_batch(pa.RecordBatch.from_pylist(self.rows, self.schema))
            self.rows = []

    def close(self) -> None:
        self._flush()
        self.writer.close()
        self.file.close()
        _part(self.path).replace(self.path)


class FilmSink:
    """The video with boxes and the circumplex drawn on it."""

    def __init__(self, path: Path, config: Config) -> None:
        if config.task != "va":
            raise ValueError(f"{path}: the overlay shows valence and arousal; write .csv or .arrow")
        self.path, self.overlay = path, Overlay()
        self.film: Film | None = None
        self.source = ""

    def add(self, frame: Frame, faces: list[Face]) -> None:
        if frame.number is None:
            raise ValueError(
                f"{frame.source} is a still image and {self.path} a video; write .csv or .arrow"
            )
        if self.film is None:
            self.film, self.source = Film(self.path, frame.rate), frame.source
        if frame.source != self.source:
            raise ValueError(
                f"{self.path} holds {self.source} so far; predict {frame.source} on its own"
            )
        marks = [(face.box, face.track or 0, face.preds) for face in faces]
        self.film.add(self.overlay.drawn(frame.picture, marks))

    def close(self) -> None:
        if self.film is not None:
            self.film.close()


Sink = CsvSink | ArrowSink | FilmSink  # add(frame, faces); what was added is kept by close()


def sink_for(path: Path | str | None, config: Config) -> Sink:
    """By the ending of `path`: .csv, .arrow, .mp4 (annotated video); None is CSV on stdout."""
    if path is None:
        return CsvSink(sys.stdout, config)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        return CsvSink(path, config)
    if path.suffix == ".arrow":
        return ArrowSink(path, config)
    if path.suffix == ".mp4":
        return FilmSink(path, config)
    raise ValueError(f"{path} ends in none of .csv, .arrow and .mp4; name the output by its kind")


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


class Summary(NamedTuple):
    """What a run over some sources did."""

    frames: int
    faces: int
    seconds: float
    interrupted: bool = False

    def __str__(self) -> str:
        rate = self.frames / max(self.seconds, 1e-9)
        end = "; interrupted, what was predicted is kept" if self.interrupted else ""
        return f"{self.faces:,} faces in {self.frames:,} frames, {rate:,.1f} frames/s{end}"


def predict_to(
    sink: Sink,
    predictor: Predictor,
    frames: Iterable[Frame],
    *,
    find: Finder | None = None,
    skipped: Skipped | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Predict `frames` into `sink`; interrupted or failed, what was predicted is kept.

    Ctrl-C ends the sources: a camera has no other end. Raises ValueError when there was not one
    face in all of them.
    """
    start, done, faces_seen = time.perf_counter(), 0, 0
    skipped = skipped or Skipped()
    stream = predict_stream(predictor, frames, find=find, skipped=skipped, batch_size=batch_size)
    interrupted = False
    try:
        for frame, faces in stream:
            sink.add(frame, faces)
            done, faces_seen = done + 1, faces_seen + len(faces)
            if progress:
                progress(done, 0)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        stream.close()
        sink.close()
    if not faces_seen and not interrupted:
        why = "; ".join(skipped.lines()) or "there was no picture"
        raise ValueError(f"nothing was predicted: {why}; check the sources, or say --faces whole")
    return Summary(done, faces_seen, time.perf_counter() - start, interrupted)
