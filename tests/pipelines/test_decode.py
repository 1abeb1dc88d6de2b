"""Pixels against an independent decoder and plain numpy."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from pipelines import Augment, batches
from pipelines.augment import Draws, draw
from pipelines.decode import LUMA, add_grey, inputs
from pipelines.pixels import MEAN, STD, Geometry, geometry
from shards import write_shards
from tests.devices import DEVICES
from tests.pipelines.conftest import encoded, picture, sample

EVERYTHING = Augment(brightness=0.4, contrast=0.5, saturation=2.0)
NVJPEG = 3 / 255 / 0.225  # nvJPEG's inverse transform differs by up to about 3 grey levels


def decoded(number: int, side: int = 64) -> np.ndarray:
    """By simplejpeg (libjpeg-turbo) and PIL, uint8 (H, W, 3)."""
    content = encoded(number, side)
    if number % 10 == 0:
        return np.asarray(Image.open(io.BytesIO(content)))
    return simplejpeg.decode_jpeg(content, fastdct=False, fastupsample=False)


def by_hand(number: int, size: int, augment: Augment, place: int) -> np.ndarray:
    """What the graph should give, one operation after the other as their papers have them."""
    stored = decoded(number).astype(np.float64)
    drawn = draw(augment, 0, 0, place, 1)
    left, top = (int(v * (64 - size + 1)) for v in drawn.crop[0])
    x = stored[top : top + size, left : left + size]
    if drawn.flip[0]:
        x = x[:, ::-1]
    x = x * drawn.brightness[0]
    x = (x - 128) * drawn.contrast[0] + 128
    grey = x @ [0.299, 0.587, 0.114]
    x = x * drawn.saturation[0] + grey[..., None] * (1 - drawn.saturation[0])
    return ((x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augment", [Augment(), Augment(brightness=0.4, contrast=0.5), EVERYTHING])
def test_training_pixels_are_numpys(index, augment, device):
    loader = batches(index.where(), 30, image_size=56, augment=augment, threads=2, device=device)
    tolerance = 1e-5 if device == "cpu" else 3 * NVJPEG
    for step, batch in enumerate(loader):
        for i, row in enumerate(batch.row.tolist()):
            expected = by_hand(row, 56, augment, place=step * 30 + i)
            np.testing.assert_allclose(batch.image[i].cpu(), expected, atol=tolerance)


@pytest.mark.parametrize("strength", [0.0, 1 / 300])
def test_no_colour_at_all_is_grey(strength):
    """Saturation 0 would divide by zero; it is rounded to half a grey level of colour."""
    pixels = torch.rand(1, 3, 5, 5) * 255
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    plain = Draws(np.zeros((1, 2), np.float32), np.zeros(1, bool), *np.ones((3, 1), np.float32))
    pale = np.full(1, strength, np.float32)
    fed = inputs(plain._replace(saturation=pale), Geometry(5, 5))
    shift, scale = (torch.from_numpy(numbers).reshape(3, 1, 1) for numbers in fed[3:])
    image = (pixels - shift) / scale
    add_grey(image, pale)
    grey = torch.einsum("nchw,c->nhw", pixels, torch.tensor(LUMA))[:, None]
    assert ((image * std + mean) - grey).abs().max() < 1


@pytest.mark.parametrize("device", DEVICES)
def test_evaluation_takes_the_centre(index, device):
    batch = next(iter(batches(index.where(), 30, image_size=56, threads=2, device=device)))
    tolerance = 1e-5 if device == "cpu" else NVJPEG
    for i, row in enumerate(batch.row.tolist()):
        expected = (decoded(row)[4:60, 4:60] - MEAN) / STD
        np.testing.assert_allclose(batch.image[i].permute(1, 2, 0).cpu(), expected, atol=tolerance)


def test_the_stored_size_is_not_touched(index):
    batch = next(
        iter(batches(index.where(), 10, image_size=64, augment=Augment(flip=0.0), threads=2))
    )
    for image, row in zip(batch.image, batch.row.tolist(), strict=True):
        expected = (decoded(row) - MEAN) / STD
        np.testing.assert_allclose(image.permute(1, 2, 0), expected, atol=1e-5)


def test_other_sizes_are_resized_from_the_same_crop(index):
    """64 stored, 28 wanted: the middle 56 pixels at half size. PIL's antialiased bilinear agrees to
    a grey level or two: both round to uint8, PIL twice."""
    batch = next(iter(batches(index.where(), 9, image_size=28, threads=2)))
    for image, row in zip(batch.image, batch.row.tolist(), strict=True):
        crop = Image.fromarray(decoded(row)[4:60, 4:60])
        expected = np.asarray(crop.resize((28, 28), Image.Resampling.BILINEAR), np.float32)
        found = image.permute(1, 2, 0).numpy() * STD + MEAN
        assert np.abs(found - expected).max() < 2.5
        assert np.abs(found - expected).mean() < 0.5


def test_images_of_different_sizes_meet_at_one(tmp_path):
    sizes = [64, 80, 120, 57]
    items = ((sample(n), encoded(n, side)) for n, side in enumerate(sizes, 1))
    index = write_shards(items, tmp_path)
    for augment in (False, True):
        loader = batches(index.where(), 4, image_size=56, threads=2, augment=augment)
        assert next(iter(loader)).image.shape == (4, 3, 56, 56)
    batch = next(iter(batches(index.where(), 4, image_size=56, threads=2)))
    whole = Image.fromarray(picture(3, 120)).resize((64, 64), Image.Resampling.BILINEAR)
    found = batch.image[2].permute(1, 2, 0).numpy() * STD + MEAN
    # the JPEG's own loss is in this difference
    assert np.abs(found - np.asarray(whole)[4:60, 4:60]).mean() < 4


@pytest.mark.parametrize(
    ("stored", "size", "crop"),
    [
        (256, 224, 224),
        (224, 224, 224),
        (128, 112, 112),
        (256, 112, 224),
        (100, 224, 88),
        (96, 84, 84),
    ],
)
def test_geometry(stored, size, crop):
    sides = np.full(3, stored)
    assert geometry(sides, sides, size) == Geometry(size, stored)
    assert Geometry(size, stored).crop == crop


def test_stored_sizes_that_differ_are_seen():
    assert geometry(np.array([64, 64]), np.array([64, 65]), 56).stored is None
    assert geometry(np.array([64, 80]), np.array([64, 80]), 56).stored is None


def test_every_crop_position_comes(index, tmp_path):
    """9 places on each axis from 64 to 56: all are used, the outermost too."""
    ramp = np.zeros((64, 64, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(64) * 4, np.arange(64)[:, None] * 4
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    ramps = write_shards(((sample(n), file.getvalue()) for n in range(1, 90)), tmp_path)
    loader = batches(ramps.where(), 89, image_size=56, augment=Augment(flip=0.0), threads=2)
    corners = [batch.image[:, :2, 0, 0] for _ in range(4) for batch in loader]
    left, top = ((torch.cat(corners) * torch.tensor(STD[:2]) + torch.tensor(MEAN[:2])) / 4).T
    assert set(left.round().int().tolist()) == set(range(9)) == set(top.round().int().tolist())


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_is_on_its_device_and_is_the_callers_to_keep(index, device):
    loader = batches(index.where(), 30, image_size=56, augment=True, device=device)
    kept = list(loader)
    assert {field.device.type for batch in kept for field in batch} == {device}
    copies = [batch.image.cpu().clone() for batch in kept]
    list(loader)
    assert all(
        torch.equal(batch.image.cpu(), copy) for batch, copy in zip(kept, copies, strict=True)
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("saturation", [0.0, 2.0])
def test_channels_last_moves_the_pixels_and_changes_none(index, saturation, device):
    options = {"augment": Augment(brightness=0.4, saturation=saturation), "device": device}
    first = batches(index.where(), 30, image_size=56, **options)
    last = batches(index.where(), 30, image_size=56, channels_last=True, **options)
    near = 0 if device == "cpu" else 1e-5  # a GPU may fuse multiplication and sum in one layout
    for one, other in zip(first, last, strict=True):
        torch.testing.assert_close(one.image, other.image, rtol=0, atol=near, check_stride=False)
        assert one.image.stride() == (3 * 56 * 56, 56 * 56, 56, 1)
        assert other.image.stride() == (3 * 56 * 56, 1, 3 * 56, 3)
