"""Encoded pictures to RGB, in one way for shards and predictions: told by content, bounded, whole.

Names of files lie: what is in a file is told by its first bytes. What every picture becomes:

- 8 bits a channel; of 16 bits the upper 8. Floats and 32-bit integers are refused: nothing says
  which value of theirs is white.
- No transparency: it lies on black, as the outside of a crop does.
- CMYK as Adobe stores it, without its profile; LAB by its definition; an embedded colour profile is
  not applied, since the decoders of the training know none either.
- Of an animation or a file of several pages the first picture, with a remark; of a HEIC the one
  that it calls its primary, turned as it says.
- Nothing of more than `MOST_PIXELS`, by its header, before memory is asked for.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import simplejpeg
from PIL import Image, ImageFile

MOST_PIXELS = 2**28 // 3  # a quarter of a GiB as RGB; 9,000 x 9,900, and 8K films have 33 million

_MAGIC = {  # a GIF's with its screen: six letters alone are none
    "jpeg": rb"\xff\xd8\xff",
    "png": rb"\x89PNG\r\n\x1a\n",
    "bmp": rb"BM.{12}[\x0c(4@8l|]\0\0\0",
    "tiff": rb"II\*\0|MM\0\*|II\x2b\0|MM\0\x2b",
    "gif": rb"GIF8[79]a.{7}",
    "webp": rb"RIFF.{4}WEBP",
    "avif": rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1).{4}(?:.{4}){0,7}?avi[fs])",
    "jpeg2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "heic": rb".{4}ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)",
    "ppm": rb"P[1-6]\s(?:\s|#[^\n]*\n)*\d+\s(?:\s|#[^\n]*\n)*\d+\s",
}
_SNIFFER = re.compile(b"|".join(b"(?P<%b>%b)" % (k.encode(), m) for k, m in _MAGIC.items()), re.S)
NO_PICTURE = "not a JPEG, PNG, BMP, TIFF, GIF, WebP, AVIF, HEIC, JPEG 2000 or PPM"
_NEXT = b"\xff\xd9\xff\xd8\xff"  # of JPEGs in a row; in MPF the others only serve the first
_JPEG_QUALITY = 92
_KEPT = 16 * 2**20  # bytes; glibc learns from blocks of up to 32 MiB
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # as JPEG weighs colours
_PILLOW = threading.Lock()  # its limits are global to the process


class Unreadable(ValueError):
    """An image that cannot be stored; `reason` is the few words its skips are counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Header(NamedTuple):
    """What an image says about itself before it is decoded."""

    format: str  # a key of _MAGIC
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
    quality: tuple[str, ...] = ()
    found_box: tuple[float, ...] | None = None  # of a detector, where one was asked
    seen: tuple[int, float] = (1, 1.0)  # how the source lay: EXIF's turn, width of a pixel


def sniff(content: bytes) -> str:
    """The format of an encoded picture from its first bytes."""
    if found := _SNIFFER.match(content):
        return str(found.lastgroup)
    if not content.strip(b"\0"):
        raise Unreadable("empty file")
    raise Unreadable(NO_PICTURE)


def probe(content: bytes) -> Header:
    """Format and size from the header alone, a few microseconds for a JPEG or a PNG.

    Raises Unreadable for a picture of more than `MOST_PIXELS`.
    """
    kind = sniff(content)
    if kind == "jpeg" and not _has_exif(content):
        width, height, colours = _jpeg_header(content)
        return Header(kind, width, height, colours in ("YCbCr", "Gray", "RGB"))
    head = content[: content.find(b"IDAT")]
    if kind == "png" and content[12:16] == b"IHDR" and b"eXIf" not in head and len(content) >= 29:
        width, height = (int.from_bytes(content[k : k + 4], "big") for k in (16, 20))
        bounded(width, height)
        plain = content[24] == 8 and content[25] in (0, 2) and b"tRNS" not in head
        return Header(kind, width, height, plain)
    with _opened(content, kind, "broken header") as image:
        plain = image.mode in ("RGB", "L") and not image.has_transparency_data
        return Header(kind, *image.size, plain and _orientation(image) == 1)


def _has_exif(content: bytes) -> bool:
    """Whether a JPEG has EXIF, which lies before its coded data: nearly all of it is not read."""
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    plain = content[at : at + 1] == b"\xff"  # else what is odd is looked through
    return content.find(b"Exif\0", 0, at if plain else len(content)) >= 0


def _jpeg_header(content: bytes) -> tuple[int, int, str]:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        raise Unreadable("broken header") from None
    bounded(width, height)
    return int(width), int(height), colours


def bounded(width: int, height: int) -> None:
    """Raise Unreadable for more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise Unreadable(f"more than {MOST_PIXELS / 1e6:.0f} million pixels")


def decode(
    content: bytes, kind: str | None = None, *, upright: bool = False, colours: str = "RGB"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture as uint8 (H, W, 3) RGB, and remarks for the column `quality`.

    To Pillow four bytes a pixel are half the work: of `colours` RGBX a JPEG comes as (H, W, 4).

    Pixels stay as stored, since published boxes and landmarks refer to the stored pixels; who knows
    of none says `upright` and gets them turned as EXIF says the camera was held. Raises Unreadable
    where any part of the picture is missing, or where it is larger than `MOST_PIXELS`.
    """
    kind = kind or sniff(content)
    read = _decode_jpeg(content, colours) if kind == "jpeg" else _decode_with_pillow(content, kind)
    if not upright:
        return read
    return turned(read[0], orientation_of(content, kind)), read[1]


def prove(content: bytes, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """`decode` for those who only want to know that it can be done: a JPEG comes as grey (H, W, 1).

    The coded data of every component is read to its last bit, which is where damage shows, so what
    is refused is the same; only the colours are not put together, a quarter of the time.
    """
    return _decode_jpeg(content, "GRAY") if kind == "jpeg" else decode(content, kind)


def keep_freed() -> None:
    """Let this process keep the memory of pictures between them: taken from the system anew for
    each, 160 pages a crop, it costs a fifth of the crop.

    glibc hands back what is freed beyond twice the largest block it saw freed, so it is shown one.
    """
    bytearray(_KEPT)


def cells(content: bytes, rows: int, columns: int) -> np.ndarray:
    """The picture from afar: mean grey of each of rows x columns equal parts, float32."""
    picture = prove(content, sniff(content))[0]
    weights = _LUMA if picture.shape[2] == 3 else np.ones(1, np.float32)
    grey = Image.fromarray(picture.astype(np.float32) @ weights)
    return np.asarray(grey.resize((columns, rows), Image.Resampling.BOX))


def turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) as seen, of pixels that lie as one of EXIF's eight orientations says."""
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def turned_points(
    points: Sequence[float], shape: Sequence[int], orientation: int, aspect: float = 1.0
) -> list[float]:
    """Where x, y, x, y, ... of the stored pixels lie in the (H, W, ...) picture that `turned` gave,
    once pixels `aspect` times as wide as high were made square."""
    xs, ys = [x * aspect for x in points[0::2]], list(points[1::2])
    if orientation >= 5:
        xs, ys = ys, xs
    if orientation in (3, 4, 7, 8):
        ys = [shape[0] - y for y in ys]
    if orientation in (2, 3, 6, 7):
        xs = [shape[1] - x for x in xs]
    return [side for place in zip(xs, ys, strict=True) for side in place]


def turned_box(
    box: Sequence[float], shape: Sequence[int], orientation: int, aspect: float = 1.0
) -> tuple[float, float, float, float]:
    """`turned_points` of a box."""
    x0, y0, x1, y1 = turned_points(box, shape, orientation, aspect)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def orientation_of(content: bytes, kind: str) -> int:
    """Of a picture that decodes; TIFF and HEIC are turned as they are read."""
    if kind in ("tiff", "heic") or (kind == "jpeg" and not _has_exif(content)):
        return 1
    with _opened(content, kind, "broken header") as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:  # damage in what only describes the picture
        return 1
    return found if found in range(1, 9) else 1


def _decode_jpeg(content: bytes, colours: str) -> tuple[np.ndarray, tuple[str, ...]]:
    _jpeg_header(content)
    try:
        picture = simplejpeg.decode_jpeg(content, colours, fastdct=False, fastupsample=False)
        return picture, ("first_of_several",) if content.rfind(
            _NEXT
        ) >= 0 and b"MPF\0" not in content else ()
    except ValueError as error:
        message = str(error)
    if "remature end" in message:  # of the file, or of its data where an end mark was put back
        raise Unreadable("truncated")
    if "Huffman" in message:
        raise Unreadable("does not decode")
    picture, remarks = _decode_with_pillow(content, "jpeg")
    return picture, ("jpeg_warning", *remarks)  # stray bytes, CMYK


def _decode_with_pillow(content: bytes, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
    with _opened(content, kind, "does not decode") as image:
        picture = np.asarray(_flattened(image))
        several = kind != "jpeg" and _is_first_of_several(image)
        return picture, ("first_of_several",) if several else ()


@contextmanager
def _opened(content: bytes, kind: str, otherwise: str) -> Iterator[Image.Image]:
    """The opened picture; what goes wrong with it is Unreadable, `otherwise` if nobody knows why.

    Whatever this process told Pillow of limits and cut files, here its defaults or our rules hold.
    """
    reader = _reader(kind)
    with _PILLOW:
        told = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            with reader(io.BytesIO(content)) as image:
                bounded(*image.size)
                tags = getattr(image, "tag_v2", {})
                bounded(tags.get(322, 1), tags.get(323, 1))  # a tile of a TIFF
                if tags.get(284) == 2 and max(tags.get(258, (8,))) > 8:  # Pillow takes half of it
                    raise Unreadable("TIFF of 16 bits in separate planes; save it interleaved")
                yield image
        except Unreadable:
            raise
        except Exception as error:  # Pillow raises whatever a broken file makes it raise
            cut = "truncated" in str(error) or isinstance(error, EOFError)
            cut = cut and otherwise != "broken header"
            raise Unreadable("truncated" if cut else otherwise) from None
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = told


def _reader(kind: str) -> Callable[[io.BytesIO], Image.Image]:
    if kind != "heic":
        return partial(Image.open, formats=[kind.upper()])
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise Unreadable(
            "HEIC without pillow-heif: pip install 'avce[heic]', or save it as JPEG"
        ) from None
    return HeifImageFile


def _is_first_of_several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the second is damaged
        return True


def _flattened(image: Image.Image) -> Image.Image:
    """RGB of 8 bits, on black."""
    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise Unreadable("floats or 32-bit integers, of which nothing says what is white")
    if image.mode.startswith("I"):
        return Image.fromarray(_upper_bits(image)).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        black = Image.new("RGBA", picture.size, "black")
        return Image.alpha_composite(black, picture).convert("RGB")
    return image.convert("RGB")


def _upper_bits(image: Image.Image) -> np.ndarray:
    """8 of the 9 to 16 bits of a grey picture."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    grey = (values >> (tags.get(258, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(262) == 0:  # white is zero
        return 255 - grey
    return np.where(values == image.info.get("transparency", -1), 0, grey).astype(np.uint8)


def encode_jpeg(picture: np.ndarray) -> bytes:
    """A JPEG of quality 92 with 4:2:0 chroma: about 20 KB for a face of 256 pixels.

    Of (H, W, 3) RGB, or (H, W, 4) whose fourth says nothing.
    """
    colours = "RGBX" if picture.shape[2] == 4 else "RGB"
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), _JPEG_QUALITY, colours, "420", fastdct=False
    )


def lent(image: Image.Image) -> np.ndarray:
    """An RGB image for `encode_jpeg`: (H, W, 4) of Pillow's own memory, not copied, where it lies
    in one piece, else (H, W, 3)."""
    try:
        held = pa.array(image)
    except ValueError:
        return np.asarray(image)
    return held.values.to_numpy().reshape(image.height, image.width, 4)


def encode_png(picture: np.ndarray) -> bytes:
    """A lossless PNG."""
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "PNG", compress_level=4)
    return target.getvalue()


def as_is(content: bytes, *, check: bool = True) -> Stored:
    """Keep an image byte for byte where every decoder reads it alike, else as a lossless PNG.

    TIFF, BMP, palettes, transparency, CMYK and rotated EXIF are what is not read alike. With
    `check` the whole image is decoded once to prove that it can be.
    """
    kind, width, height, plain = probe(content)
    keep = plain and kind in ("jpeg", "png")
    quality = ()
    if check or not keep:
        picture, quality = (prove if keep else decode)(content, kind)
        if not keep:
            content, quality = encode_png(picture), (*quality, "reencoded")
    extension = "jpg" if keep and kind == "jpeg" else "png"
    return Stored(content, extension, kind, width, height, width, height, quality=quality)
