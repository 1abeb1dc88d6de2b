"""Every coding of a picture gives one RGB array, whoever reads it; what has none is refused."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageFile

from avce.inference.sources import encoded_frames
from avce.inference.video import Skipped
from shards.crop import store_image
from shards.image import (
    MOST_PIXELS,
    Unreadable,
    decode,
    encode_jpeg,
    probe,
    sniff,
    turned,
    turned_box,
)
from tests.shards.trees import blob

pillow_heif.register_heif_opener()  # for writing; what reads it asks nobody
PICTURE = blob(5)  # 48 x 48
GREY = PICTURE[..., 1]


def saved(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(target, kind, **options)
    return target.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    size, check = struct.pack(">I", len(content)), struct.pack(">I", zlib.crc32(name + content))
    return size + name + content + check


def png(depth: int, colours: int, width: int, height: int, lines: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def deep_png() -> bytes:
    """16 bits a channel, RGB; the lower byte is noise."""
    lower = np.random.default_rng(0).integers(0, 256, PICTURE.shape, dtype=np.uint16)
    deep = (PICTURE.astype(np.uint16) << 8 | lower).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in deep)
    return png(16, 2, 48, 48, lines)


def on_black(alpha: np.ndarray) -> np.ndarray:
    return np.rint(PICTURE * (alpha[..., None] / 255)).astype(np.uint8)


ALPHA = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (48, 1))
SEEN_THROUGH = Image.fromarray(np.dstack([PICTURE, ALPHA]))
STEPS = np.linspace(0, 65535, 2304).astype(np.uint16).reshape(48, 48)
SRGB, LAB = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
IN_LAB = ImageCms.profileToProfile(Image.fromarray(PICTURE), SRGB, LAB, outputMode="LAB")
PALETTE = Image.fromarray(PICTURE).quantize(64)
NEAR_BLACK = Image.fromarray(GREY).convert("1")


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, -1)


CODINGS: dict[str, tuple[bytes, np.ndarray, float]] = {  # content, expected, mean grey levels off
    "jpeg": (saved(PICTURE, "JPEG", quality=95), PICTURE, 3),
    "progressive jpeg": (saved(PICTURE, "JPEG", quality=95, progressive=True), PICTURE, 3),
    "grey jpeg": (saved(GREY, "JPEG", quality=95), grey(GREY), 2),
    "cmyk jpeg": (saved(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95), PICTURE, 4),
    "png": (saved(PICTURE, "PNG"), PICTURE, 0),
    "16-bit grey png": (saved(STEPS, "PNG"), grey((STEPS >> 8).astype(np.uint8)), 0),
    "16-bit rgb png": (deep_png(), PICTURE, 0),
    "palette png": (saved(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "palette with a hole": (
        saved(PALETTE, "PNG", transparency=3),
        np.where(np.asarray(PALETTE)[..., None] == 3, 0, np.asarray(PALETTE.convert("RGB"))),
        0,
    ),
    "alpha png": (saved(SEEN_THROUGH, "PNG"), on_black(ALPHA), 1),
    "grey alpha png": (
        saved(Image.fromarray(np.dstack([GREY, ALPHA])), "PNG"),
        np.rint(grey(GREY) * (ALPHA[..., None] / 255)),
        1,
    ),
    "rgb png with a transparent colour": (
        saved(PICTURE, "PNG", transparency=tuple(PICTURE[0, 0].tolist())),
        np.where((PICTURE[0, 0] == PICTURE).all(-1, keepdims=True), 0, PICTURE),
        0,
    ),
    "1-bit png": (saved(NEAR_BLACK, "PNG"), np.asarray(NEAR_BLACK.convert("RGB")), 0),
    "1-bit tiff": (
        saved(NEAR_BLACK, "TIFF", compression="group4"),
        np.asarray(NEAR_BLACK.convert("RGB")),
        0,
    ),
    "tiff": (saved(PICTURE, "TIFF", compression="tiff_lzw"), PICTURE, 0),
    "16-bit grey tiff": (saved(STEPS, "TIFF"), grey((STEPS >> 8).astype(np.uint8)), 0),
    "lab tiff": (saved(IN_LAB, "TIFF"), PICTURE, 2),
    "cmyk tiff": (saved(Image.fromarray(PICTURE).convert("CMYK"), "TIFF"), PICTURE, 1),
    "ycbcr tiff": (saved(Image.fromarray(PICTURE).convert("YCbCr"), "TIFF"), PICTURE, 2),
    "bmp": (saved(PICTURE, "BMP"), PICTURE, 0),
    "ppm": (saved(PICTURE, "PPM"), PICTURE, 0),
    "pgm": (saved(GREY, "PPM"), grey(GREY), 0),
    "16-bit pgm": (saved(STEPS, "PPM"), grey((STEPS >> 8).astype(np.uint8)), 0),
    "gif": (saved(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "webp": (saved(PICTURE, "WEBP", lossless=True), PICTURE, 0),
    "alpha webp": (saved(SEEN_THROUGH, "WEBP", lossless=True, exact=True), on_black(ALPHA), 1),
    "jpeg 2000": (saved(PICTURE, "JPEG2000", irreversible=False), PICTURE, 0),
    "avif": (saved(PICTURE, "AVIF", quality=95), PICTURE, 4),
    "heic": (saved(PICTURE, "HEIF", quality=95), PICTURE, 4),
    "grey heic": (saved(GREY, "HEIF", quality=95), grey(GREY), 2),
    "alpha heic": (saved(SEEN_THROUGH, "HEIF", quality=95), on_black(ALPHA), 4),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_shards_and_predictions_see_the_same_picture(coding):
    content, expected, off = CODINGS[coding]
    picture, _ = decode(content)
    (frame,) = encoded_frames([(coding, content)], Skipped())
    np.testing.assert_array_equal(frame.picture, picture)
    stored = store_image(content, None, 256)
    np.testing.assert_array_equal(decode(stored.content)[0], picture)
    assert picture.dtype == np.uint8 and picture.shape == (48, 48, 3)
    assert np.abs(picture.astype(float) - expected).mean() <= off


def test_16_bits_reach_from_black_to_white():
    picture, _ = decode(CODINGS["16-bit grey png"][0])
    assert picture[0, 0, 0] == 0 and picture[-1, -1, 0] == 255


def test_white_may_be_zero():
    """A TIFF tag: photometric 0 instead of 1."""
    content = saved(STEPS, "TIFF")
    tag = struct.pack("<HHI", 262, 3, 1)
    at = content.index(tag) + len(tag)
    inverted = content[:at] + b"\0\0" + content[at + 2 :]
    np.testing.assert_array_equal(decode(inverted)[0], 255 - decode(content)[0])


@pytest.mark.parametrize("levels", [STEPS.astype(np.float32), STEPS.astype(np.int32)])
def test_levels_without_a_white_are_refused(levels):
    content = saved(levels, "TIFF")
    with pytest.raises(Unreadable, match="nothing says what is white"):
        decode(content)
    skipped = Skipped()
    assert not list(encoded_frames([("x.tiff", content)], skipped))
    assert "nothing says what is white: 1, such as x.tiff" in skipped.lines()[0]


def in_planes(depth: int, order: str) -> bytes:
    """A TIFF of three planes behind each other, not compressed."""
    planes = [
        np.ascontiguousarray(PICTURE[..., k], f"{order}u{depth // 8}").tobytes() for k in range(3)
    ]
    head, size = 8, len(planes[0])
    lists = {
        258: struct.pack(f"{order}3H", *[depth] * 3),
        273: struct.pack(f"{order}3I", *(head + size * k for k in range(3))),
        279: struct.pack(f"{order}3I", *[size] * 3),
    }
    at, extra, tags = head + 3 * size, b"", b""
    short = {256: 48, 257: 48, 259: 1, 262: 2, 277: 3, 278: 48, 284: 2}
    for tag in sorted({**lists, **short}):
        if tag in short:
            tags += struct.pack(f"{order}HHIHH", tag, 3, 1, short[tag], 0)
        else:
            kind = 3 if tag == 258 else 4
            tags += struct.pack(f"{order}HHII", tag, kind, 3, at + len(extra))
            extra += lists[tag]
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", at + len(extra))
    count = struct.pack(f"{order}H", len(short) + len(lists))
    return start + b"".join(planes) + extra + count + tags + bytes(4)


@pytest.mark.parametrize("order", "<>")
def test_planes_are_put_together_or_refused(order):
    """Of 16 bits Pillow would read every other byte as a pixel: other pictures, no error."""
    np.testing.assert_array_equal(decode(in_planes(8, order))[0], PICTURE)
    with pytest.raises(Unreadable, match="16 bits in separate planes; save it interleaved"):
        decode(in_planes(16, order))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_turn_is_undone(kind, orientation):
    """The eight ways a camera is held; published places refer to the pixels as stored."""
    seen = np.zeros((32, 48, 3), np.uint8)
    seen[:16, :16] = 230  # the corner of the upright picture that must be bright
    back = {6: 8, 8: 6}.get(orientation, orientation)  # all others undo themselves
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(turned(seen, back), kind, exif=exif.tobytes())  # of HEIF irot and imir too
    (frame,) = encoded_frames([("x", content)], Skipped())
    assert frame.picture.shape == seen.shape
    assert np.abs(frame.picture[2:14, 2:14].astype(int) - 230).max() < 30
    assert frame.picture[20:].max() < 60 and frame.picture[:, 20:].max() < 60
    if kind not in ("TIFF", "HEIF"):  # which are turned as they are read
        assert decode(content)[0].shape == turned(seen, back).shape


def test_heic_without_its_package_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    skipped = Skipped()
    assert not list(encoded_frames([("x", CODINGS["heic"][0])], skipped))
    assert skipped.lines()[0].startswith("HEIC without pillow-heif: pip install 'avce[heic]'")


def test_the_brand_of_a_heif_may_stand_second():
    """Major brand mif1, as some phones and encoders write it; the codec is among the others."""
    for coding, kind in (("heic", "heic"), ("avif", "avif")):
        content = bytearray(CODINGS[coding][0])
        content[8:12] = b"mif1"
        assert sniff(bytes(content)) == kind
        assert decode(bytes(content))[0].shape == (48, 48, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_turns_with_its_picture(orientation):
    lying = np.zeros((32, 48), np.uint8)
    lying[3:9, 5:17] = 1
    seen = turned(lying, orientation)
    left, top, right, bottom = map(int, turned_box((5.0, 3.0, 17.0, 9.0), seen.shape, orientation))
    assert seen[top:bottom, left:right].all() and seen.sum() == (bottom - top) * (right - left)


def test_a_turn_behind_other_segments_is_seen():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(PICTURE[:, :40], "JPEG", exif=exif)
    scan = b"\xff\xda"  # as coded data begins, but in another segment
    long = b"\xff\xe2" + struct.pack(">H", 60_000) + scan * 29_999
    assert not probe(content[:2] + long + content[2:]).plain
    assert not probe(content[:2] + long + b"\xff\xff" + content[2:]).plain  # fill bytes


def test_the_first_of_several_is_read_and_said():
    others = [Image.fromarray(blob(n)) for n in (6, 7)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = saved(PICTURE, kind, save_all=True, append_images=others, **options)
        picture, remarks = decode(content)
        assert "first_of_several" in remarks
        assert np.abs(picture.astype(int) - PICTURE).mean() < 12  # a GIF has 256 colours
        skipped = Skipped()
        assert len(list(encoded_frames([("a", content)], skipped))) == 1
        assert skipped.lines() == ["only the first picture of several is read: 1, such as a"]


def test_jpegs_in_a_row_are_several():
    """A bare MJPEG stream; but of a phone's file in MPF the others only serve the first."""
    others = [Image.fromarray(blob(6))]
    row, mpf = (
        saved(PICTURE, "JPEG") * 3,
        saved(PICTURE, "MPO", save_all=True, append_images=others),
    )
    assert decode(row)[1] == ("first_of_several",) and decode(mpf)[1] == ()
    np.testing.assert_array_equal(decode(row)[0], decode(saved(PICTURE, "JPEG"))[0])


@pytest.mark.parametrize("primary", [0, 1])
def test_the_primary_of_a_heic_is_read_and_the_rest_said(primary):
    both = pillow_heif.from_pillow(Image.fromarray(PICTURE))
    both.add_from_pillow(Image.fromarray(blob(6)))
    target = io.BytesIO()
    both.save(target, quality=95, primary_index=primary)
    picture, remarks = decode(target.getvalue())
    assert remarks == ("first_of_several",)
    assert np.abs(picture.astype(int) - (PICTURE, blob(6))[primary]).mean() < 4


# ------------------------------------------------------------------------------- what is too large


def jpeg_bomb(side: int) -> bytes:
    """A small JPEG whose header says `side` x `side`."""
    content = bytearray(encode_jpeg(PICTURE))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(content)


def exif_bomb(side: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(saved(PICTURE, "JPEG", exif=exif))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(content)


def tiff_bomb(side: int) -> bytes:
    content = bytearray(saved(PICTURE, "TIFF"))
    for tag in (256, 257):
        at = next(
            content.index(entry) + len(entry)
            for kind in (3, 4)
            if (entry := struct.pack("<HHI", tag, kind, 1)) in content
        )
        content[at : at + 4] = struct.pack("<I", side)
    return bytes(content)


def bmp_bomb(side: int) -> bytes:
    content = bytearray(saved(PICTURE, "BMP"))
    content[18:26] = struct.pack("<ii", side, side)
    return bytes(content)


def webp_bomb(side: int) -> bytes:
    content = bytearray(saved(SEEN_THROUGH, "WEBP", xmp=b"makes it an extended file"))
    at = content.index(b"VP8X") + 12
    content[at : at + 6] = (side - 1).to_bytes(3, "little") * 2
    return bytes(content)


def gif_bomb(side: int) -> bytes:
    content = bytearray(saved(PALETTE, "GIF"))
    content[6:10] = struct.pack("<HH", side, side)
    return bytes(content)


def heic_bomb(side: int) -> bytes:
    content = bytearray(saved(np.tile(PICTURE, (4, 4, 1)), "HEIF"))  # whole blocks: no crop
    at = content.index(b"ispe") + 8
    content[at : at + 8] = struct.pack(">II", side, side)
    return bytes(content)


def png_bomb(side: int) -> bytes:
    return png(8, 2, side, side, b"")


@pytest.mark.parametrize(
    "bomb", [jpeg_bomb, exif_bomb, tiff_bomb, bmp_bomb, webp_bomb, gif_bomb, heic_bomb, png_bomb]
)
@pytest.mark.parametrize("side", [10_000, 16_000, 65_500])
def test_the_size_is_bounded_before_memory_is_asked_for(bomb: Callable, side: int, monkeypatch):
    content = bomb(side)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # whatever others told Pillow
    tracemalloc.start()
    for read in (
        probe,
        decode,
        lambda c: decode(c, upright=True),
        lambda c: store_image(c, None, 9),
    ):
        with pytest.raises(Unreadable, match=r"more than 89 million pixels|broken|not decode"):
            read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


def test_what_is_just_small_enough_is_read():
    assert MOST_PIXELS < 9000 * 9950
    wide = saved(Image.new("1", (44_000, 2_000)), "PNG")  # 88 million
    assert decode(wide)[0].shape == (2_000, 44_000, 3)


# ------------------------------------------------------------------------------- what is damaged


@pytest.mark.parametrize("coding", CODINGS)
def test_a_file_cut_short_is_refused_whatever_pillow_was_told(coding, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = CODINGS[coding][0]
    with pytest.raises(Unreadable):
        decode(content[: len(content) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # theirs again


def test_what_is_no_picture_has_a_reason():
    for content, reason in (
        (b"", "empty file"),
        (b"no pixels", "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a JPEG"),  # would run a program
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "broken header"),
    ):
        with pytest.raises(Unreadable, match=reason):
            probe(content)
    assert sniff(saved(PICTURE, "AVIF")) == "avif"
