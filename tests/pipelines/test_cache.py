"""A cache changes what an epoch costs and nothing else."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from pipelines import Augment, batches
from pipelines.cache import Pictures
from pipelines.decode import Graph
from pipelines.pixels import Geometry
from shards import write_shards
from tests.devices import DEVICES
from tests.pipelines.conftest import damage, encoded, sample

JITTER = Augment(brightness=0.3, contrast=0.3, saturation=0.5)


def stream(selection, cache="none", **options):
    options = {"augment": JITTER, "image_size": 56, **options}
    return batches(selection, 14, threads=2, cache=cache, **options)


def same(first, second) -> bool:
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("cache", ["memory", "device"])
@pytest.mark.parametrize("size", [56, 64, 28])
def test_three_epochs_are_the_same_bit_for_bit(index, cache, size):
    plain = stream(index.where(), image_size=size)
    kept = stream(index.where(), cache, image_size=size)
    for _ in range(3):
        assert same(list(plain), list(kept))


def test_evaluation_and_its_padding_too(index):
    options: dict[str, Any] = {"augment": False, "shuffle": False, "drop_last": False}
    plain, kept = stream(index.where(), **options), stream(index.where(), "memory", **options)
    for _ in range(2):
        assert same(list(plain), list(kept))


def test_epochs_after_the_first_read_and_decode_nothing(own_index):
    loader = stream(own_index.where(), "memory", drop_last=False)
    first = list(loader)
    assert len(first) == len(loader)
    list(loader)
    for tar in own_index.tars:
        tar.write_bytes(b"\0" * tar.stat().st_size)
    again = stream(own_index.where(), augment=JITTER)
    with pytest.raises(ValueError, match="cannot be decoded"):
        next(iter(again))
    assert len(list(loader)) == len(first)


def test_resuming_with_a_cold_cache_gives_the_same_pixels(index):
    expected = list(stream(index.where(), "memory"))
    first = stream(index.where(), "memory")
    list(islice(first, 2))
    second = stream(index.where(), "memory")
    second.load_state_dict(first.state_dict())
    assert same(list(second), expected[2:])


@pytest.mark.parametrize(
    ("marker", "harm"), [(b"\xff\xd8", b"\0" * 400), (b"\xff\xc4", b"\xff" * 20)]
)
def test_broken_images_are_the_same_too(own_index, marker, harm):
    """Seen by their markers, or only by the decoder: a Huffman table that cannot be."""
    for row in (17, 18, 41):
        damage(own_index, row, harm, skip=own_index.read(row).index(marker) + 4)
    options = {"on_corrupt": "skip", "drop_last": False}
    plain, kept = (
        stream(own_index.where(), **options),
        stream(own_index.where(), "memory", **options),
    )
    for _ in range(2):
        assert same(list(plain), list(kept))
    assert sorted(plain.corrupt) == sorted(kept.corrupt)
    assert len({*kept.corrupt}) == 3


def test_what_does_not_fit_is_refused():
    graph = Graph(Geometry(224, 256), batch_size=8, threads=1)
    with pytest.raises(ValueError, match=r"cache=memory needs 1,966\.1 GB .* GB are free"):
        Pictures(graph, 10_000_000, "memory")


def test_pictures_of_different_sizes_are_refused(tmp_path):
    items = ((sample(n), encoded(n, side)) for n, side in enumerate([64, 80, 120], 1))
    selection = write_shards(items, tmp_path).where()
    with pytest.raises(ValueError, match="cache=memory needs pictures of one size"):
        batches(selection, 3, cache="memory")


def test_another_cache_does_not_exist(index):
    with pytest.raises(ValueError, match="cache 'disk' does not exist; choose one of none, memory"):
        stream(index.where(), "disk")


@pytest.mark.parametrize("device", DEVICES)
def test_a_cache_on_a_device_gives_its_pixels(index, device):
    plain = stream(index.where(), device=device)
    kept = stream(index.where(), "device", device=device)
    for _ in range(2):
        assert same(list(plain), list(kept))
