"""Encoded images: tell the format from the content, prove that it decodes, encode as JPEG or PNG.

Names of files lie: the extension of a distributed image does not say what is in it.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)
SUFFIXES = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
_JPEG_QUALITY = 92


class Unreadable(ValueError):
    """An image that cannot be stored; `reason` is the few words its skips are counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Header(NamedTuple):
    """What an image says about itself before it is decoded."""

    format: str  # jpeg, png, bmp, tiff
    width: int
    height: int
    plain: bool  # stored RGB or grey, upright: any decoder gives the same picture


class Stored(NamedTuple):
    """An image ready for a tar, and what is known of it now that it was read."""

    content: bytes
    extension: str  # jpg or png
    image_format: str  # of the source
    width: int
    height: int
    src_width: int
    src_height: int
    crop_affine: tuple[float, ...] | None = None  # source -> stored pixels
    crop_size: int | None = None
    ahash: int | None = None
    quality: tuple[str, ...] = ()
    found_box: tuple[float, ...] | None = None  # of a detector, where no box was published


def sniff(content: bytes) -> str:
    """The format of an encoded image from its first bytes."""
    for magic, name in _MAGIC:
        if content.startswith(magic):
            return name
    if not content.strip(b"\0"):
        raise Unreadable("empty file")
    raise Unreadable("not a JPEG, PNG, BMP or TIFF")


def probe(content: bytes) -> Header:
    """Format and size from the header alone, a few microseconds for a JPEG or a PNG."""
    kind = sniff(content)
    if kind == "jpeg" and b"Exif\0" not in content[:4096]:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        except ValueError:
            raise Unreadable("broken header") from None
        return Header(kind, int(width), int(height), colours in ("YCbCr", "Gray", "RGB"))
    if kind == "png" and content[12:16] == b"IHDR" and len(content) >= 29:
        width, height = (int.from_bytes(content[k : k + 4], "big") for k in (16, 20))
        return Header(kind, width, height, content[24] == 8 and content[25] in (0, 2))
    return _probe_slowly(content, kind)


def _probe_slowly(content: bytes, kind: str) -> Header:
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = image.getexif().get(0x0112, 1) == 1  # orientation
            return Header(kind, *image.size, image.mode in ("RGB", "L") and upright)
    except Exception:  # Pillow raises whatever a broken file makes it raise
        raise Unreadable("broken header") from None


def decode(content: bytes, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture as uint8 (H, W, 3) RGB, and remarks for the column `quality`.

    Pixels stay as stored: an EXIF orientation is not applied, since published boxes and landmarks
    refer to the stored pixels. Raises Unreadable where any part of the picture is missing.
    """
    if kind == "jpeg":
        return _decode_jpeg(content, "RGB")
    return _decode_with_pillow(content), ()


def prove(content: bytes, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """`decode` for those who only want to know that it can be done: a JPEG comes as grey (H, W, 1).

    The coded data of every component is read to its last bit, which is where damage shows, so what
    is refused is the same; only the colours are not put together, a quarter of the time.
    """
    return _decode_jpeg(content, "GRAY") if kind == "jpeg" else decode(content, kind)


def _decode_jpeg(content: bytes, colours: str) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        return simplejpeg.decode_jpeg(content, colours, fastdct=False, fastupsample=False), ()
    except ValueError as error:
        message = str(error)
    if "remature end" in message:  # of the file, or of its data where an end mark was put back
        raise Unreadable("truncated")
    if "Huffman" in message:
        raise Unreadable("does not decode")
    return _decode_with_pillow(content), ("jpeg_warning",)  # stray bytes, CMYK


def _decode_with_pillow(content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return np.asarray(_flattened(image))
    except Exception as error:  # Pillow raises whatever a broken file makes it raise
        truncated = "truncated" in str(error) or isinstance(error, EOFError)
        raise Unreadable("truncated" if truncated else "does not decode") from None


def _flattened(image: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes black, 16-bit grey keeps its upper 8 bits."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert(
            "RGB"
        )
    return image.convert("RGB")


def encode_jpeg(picture: np.ndarray) -> bytes:
    """A JPEG of quality 92 with 4:2:0 chroma: about 20 KB for a face of 256 pixels."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), _JPEG_QUALITY, "RGB", "420", fastdct=False
    )


def encode_png(picture: np.ndarray) -> bytes:
    """A lossless PNG."""
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "PNG", compress_level=4)
    return target.getvalue()


def average_hash(picture: np.ndarray) -> int | None:
    """64 bits that near-duplicates share: which cells of an 8x8 grid are brighter than the mean.

    Of the grey or green channel, at every n-th pixel so that the shorter side has 64 to 127 of
    them: a tenth of the cost of all. None where there are fewer than 8 x 8.
    """
    step = max(min(picture.shape[:2]) // 64, 1)
    bright = picture[::step, ::step, picture.shape[2] // 2]
    height, width = (side // 8 for side in bright.shape)
    if not height * width:
        return None
    rows = bright[: 8 * height, : 8 * width].reshape(8, height, -1).sum(1, dtype=np.int32)
    cells = rows.reshape(8, 8, width).sum(2, dtype=np.int64)
    return int.from_bytes(np.packbits(64 * cells > cells.sum()).tobytes(), "big")


def as_is(content: bytes, *, check: bool = True) -> Stored:
    """Keep an image byte for byte where every decoder reads it alike, else as a lossless PNG.

    TIFF, BMP, palettes, transparency, CMYK and rotated EXIF are what is not read alike. With
    `check` the whole image is decoded once to prove that it can be.
    """
    kind, width, height, plain = probe(content)
    keep = plain and kind in ("jpeg", "png")
    ahash, quality = None, ()
    if check or not keep:
        picture, quality = (prove if keep else decode)(content, kind)
        ahash = average_hash(picture)
        if not keep:
            content, quality = encode_png(picture), (*quality, "reencoded")
    extension = "jpg" if keep and kind == "jpeg" else "png"
    return Stored(
        content, extension, kind, width, height, width, height, ahash=ahash, quality=quality
    )
