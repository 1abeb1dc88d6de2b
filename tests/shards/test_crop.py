"""One crop convention: the recorded map says where every source pixel went."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shards import Crop
from shards.crop import cut, store_image
from shards.image import Unreadable, decode, encode_png, probe, prove, sniff
from tests.shards.trees import blob, encoded

ROW = {
    "dataset": "affectnet",
    "variant": "manual2017",
    "pixel_aspect": None,
    "bbox_xyxy": [10.0, 20.0, 40.0, 60.0],
    "landmarks": None,
    "landmarks5": None,
}


def moved(affine, x: float, y: float) -> np.ndarray:
    a, b, c, d, e, f = affine
    return np.array([a * x + b * y + c, d * x + e * y + f])


def test_the_default_margin_makes_the_centre_224_the_box():
    affine = Crop().affine_of({**ROW, "bbox_xyxy": [10.0, 10.0, 60.0, 60.0]})
    np.testing.assert_allclose(moved(affine, 10, 10), [16, 16])
    np.testing.assert_allclose(moved(affine, 60, 60), [240, 240])


@given(
    left=st.floats(-50, 200),
    top=st.floats(-50, 200),
    width=st.floats(1, 300),
    height=st.floats(1, 300),
    margin=st.floats(0, 1),
    aspect=st.sampled_from([1.0, 4 / 3]),
)
def test_a_box_becomes_a_centred_square(left, top, width, height, margin, aspect):
    affine = Crop(margin=margin, size=128).upright((left, top, left + width, top + height), aspect)
    middle = moved(affine, left + width / 2, top + height / 2)
    np.testing.assert_allclose(middle, [64, 64], atol=1e-6)
    corner = moved(affine, left, top)
    inner = 128 / (1 + 2 * margin)
    assert max(128 - 2 * corner) == pytest.approx(inner)  # the longer side fills the inner square
    assert affine[0] == pytest.approx(aspect * affine[4])  # square pixels


@given(angle=st.floats(-1.2, 1.2), scale=st.floats(0.3, 4))
def test_aligned_levels_the_eyes(angle: float, scale: float):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    left, right, mouth = (
        tuple((turn @ p + 90).tolist()) for p in ([-10.0, 0.0], [10.0, 0.0], [0.0, 18.0])
    )
    affine = Crop(mode="aligned", margin=0.0, size=100).levelled(left, right, mouth)
    found = [moved(affine, *p) for p in (left, right, mouth)]
    # side 2 * max(20, 18) = 40 is 100 pixels; the middle of eyes and mouth is the centre
    np.testing.assert_allclose(found, [[25, 27.5], [75, 27.5], [50, 72.5]], atol=1e-6)


@pytest.mark.parametrize("mode", ["box", "aligned"])
def test_a_dot_lands_where_the_map_says(mode: str):
    picture = np.zeros((200, 220, 3), np.uint8)
    picture[95:99, 103:107] = 255
    crop = Crop(mode="box", margin=0.1, size=96)
    affine = crop.upright((60.0, 50.0, 150.0, 140.0))
    if mode == "aligned":
        affine = crop.levelled((80.0, 80.0), (120.0, 95.0), (95.0, 130.0))
    stored = cut(picture, affine, 96).astype(float).mean(-1)
    y, x = np.mgrid[0:96, 0:96] + 0.5
    found = [(stored * x).sum() / stored.sum(), (stored * y).sum() / stored.sum()]
    np.testing.assert_allclose(found, moved(affine, 105, 97), atol=0.1)  # a tenth of a pixel


def test_what_lies_outside_is_black():
    picture = np.full((60, 60, 3), 200, np.uint8)
    stored = cut(picture, Crop(margin=0.0, size=64).upright((-30.0, 0.0, 30.0, 60.0)), 64)
    assert (stored[:, :31] == 0).all() and (stored[:, 33:] == 200).all()
    with pytest.raises(Unreadable, match="face outside the image"):
        cut(picture, Crop(size=64).upright((300.0, 0.0, 330.0, 30.0)), 64)


def test_resizing_down_does_not_alias():
    checker = np.indices((400, 400)).sum(0) % 2 * 255
    picture = np.repeat(checker[..., None], 3, -1).astype(np.uint8)
    for affine in (
        Crop(margin=0.0, size=40).upright((0.0, 0.0, 400.0, 400.0)),
        Crop(margin=0.0, size=40).levelled((120.0, 150.0), (280.0, 160.0), (200.0, 250.0)),
    ):
        inside = cut(picture, affine, 40)[8:32, 8:32]
        assert abs(inside.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("size", [96, 2100])  # the second lies in two pieces of Pillow's
@pytest.mark.parametrize("colour", ["RGB", "L"])
def test_what_is_stored_is_the_cut(size: int, colour: str):
    pixels = np.random.default_rng(0).integers(0, 256, (120, 150, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).convert(colour).save(target, "JPEG")
    for affine in (
        Crop(size=size).upright((-20.5, 10.25, 60.0, 100.0)),
        Crop(size=size).levelled((40.0, 50.0), (80.0, 60.0), (60.0, 90.0)),
    ):
        picture = cut(decode(target.getvalue())[0], affine, size)
        stored = store_image(target.getvalue(), affine, size)
        assert stored.content == simplejpeg.encode_jpeg(picture, 92, "RGB", "420", fastdct=False)


CROPS = """
import resource, simplejpeg, numpy as np
from shards.crop import Crop, store_image
from shards.image import keep_freed
content = simplejpeg.encode_jpeg(np.zeros((256, 256, 3), np.uint8))
affine = Crop().upright((20.0, 20.0, 236.0, 236.0))
keep_freed()
for number in range(60):
    if number == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    store_image(content, affine, 256)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's memory")
def test_crops_share_their_memory():
    """Each took 160 pages anew: a fifth of its time. Where glibc is told what to hand back, as Dask
    tells it in its process for good, it learns nothing."""
    untold = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    words = [sys.executable, "-c", CROPS]
    asked = subprocess.run(words, check=True, capture_output=True, env=untold).stdout
    assert float(asked) < 10


def test_each_data_set_has_its_own_default():
    modes = {
        ("affectnet", "manual2017"): "box",
        ("affectnet", "npy2021"): "none",
        ("affwild", "2017"): "box",
        ("affwild2", "abaw5"): "none",
        ("afew_va", "2017"): "landmarks",
        ("raf_db", "basic"): "box",
    }
    for (dataset, variant), mode in modes.items():
        assert Crop().mode_of({**ROW, "dataset": dataset, "variant": variant}) == mode
    assert Crop().mode_of({**ROW, "dataset": "raf_db", "bbox_xyxy": None}) == "none"


@pytest.mark.parametrize(("mode", "reason"), [("box", "no face box"), ("aligned", "no landmarks")])
def test_what_is_lacking_is_named(mode, reason: str):
    with pytest.raises(Unreadable, match=reason):
        Crop(mode=mode).affine_of({**ROW, "bbox_xyxy": None})


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"mode": "face"}, "none of box"), ({"margin": -1.0}, "margin"), ({"size": 2}, "16 to 4096")],
)
def test_wrong_settings_are_named(wrong: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Crop(**wrong)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_images_pass_through_byte_for_byte(kind: str, mode: str):
    content = encoded(blob(1), kind, mode)
    stored = store_image(content, None, 256)
    assert stored.content == content and stored.crop_affine is None and stored.quality == ()
    assert (stored.width, stored.height, stored.image_format) == (48, 48, kind.lower())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("BMP", "RGB"), ("TIFF", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "CMYK")],
)
def test_what_decoders_read_differently_becomes_png(kind: str, mode: str):
    content = encoded(blob(1), kind, mode)
    stored = store_image(content, None, 256, check=False)
    assert stored.extension == "png" and stored.image_format == kind.lower()
    assert "reencoded" in stored.quality
    if (kind, mode) in [("BMP", "RGB"), ("TIFF", "RGB"), ("PNG", "RGBA")]:
        picture, _ = decode(stored.content, "png")
        np.testing.assert_array_equal(picture, blob(1))


def test_an_exif_rotation_is_not_applied_and_does_not_reach_decoders():
    import io

    from PIL import Image

    target, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(blob(1)[:, :40]).save(target, "JPEG", exif=exif)
    stored = store_image(target.getvalue(), None, 256)
    assert (stored.width, stored.height, stored.extension) == (40, 48, "png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\0" * 900, "empty file"),
        (b"GIF89a...", "not a JPEG"),
        (encoded(blob(1))[:-100], "truncated"),
        (encoded(blob(1))[:-2], "truncated"),
        (encoded(blob(1))[:100], "broken header"),
        (encoded(blob(1), "PNG")[:900], "truncated"),
        (encode_png(blob(1))[:20], "broken header"),
        (encoded(blob(1), "TIFF")[:300], "broken header|truncated|does not decode"),
    ],
)
def test_broken_images_are_told_by_reason(content: bytes, reason: str):
    with pytest.raises(Unreadable, match=reason):
        store_image(content, None, 256)


def test_stray_bytes_before_the_end_are_kept_with_a_remark():
    content = encoded(blob(1))
    stray = content[:-2] + bytes(range(1, 60)) + content[-2:]
    assert store_image(stray, None, 256).quality == ("jpeg_warning",)


def test_probe_and_decode_agree():
    for kind in ("JPEG", "PNG", "BMP", "TIFF"):
        content = encoded(blob(2)[:, :40], kind)
        assert sniff(content) == kind.lower()
        assert probe(content)[1:3] == (40, 48) == decode(content, kind.lower())[0].shape[1::-1]


def test_proving_without_colours_refuses_what_decoding_refuses():
    rng = np.random.default_rng(0)
    whole = encoded(blob(1))
    kinds = set()
    for kind in rng.integers(3, size=400):
        damaged, at = bytearray(whole), int(rng.integers(len(whole) // 2, len(whole) - 1))
        if kind == 0:
            del damaged[at:]
        elif kind == 1:
            damaged[at] ^= 1 << int(rng.integers(8))
        else:
            damaged[at : at + 8] = rng.bytes(8)
        found = verdict(decode, bytes(damaged))
        assert verdict(prove, bytes(damaged)) == found
        kinds.add(found)
    assert {(), ("jpeg_warning",), "truncated", "does not decode"} <= kinds


def verdict(read, content: bytes) -> str | tuple[str, ...]:
    try:
        return read(content, "jpeg")[1]
    except Unreadable as error:
        return error.reason
