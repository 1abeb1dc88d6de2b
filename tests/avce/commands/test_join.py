"""How a config's words reach the feed."""

from __future__ import annotations

import pytest
import torch

from avce.commands.join import stream
from avce.config import with_settings
from avce.recipes import RECIPES
from tests.pipelines.conftest import damage, write

SMALL = with_settings(RECIPES["demo"], ["batch_size=15", "image_size=64", "channels_last=false"])


def test_a_checksum_sees_what_markers_do_not(tmp_path):
    index = write(tmp_path, range(1, 31))
    damage(index, 7, b"\x55", skip=900)  # inside the scan: it still decodes
    faces = index.where()
    unseen = with_settings(SMALL, ["check=markers"])
    assert sum(1 for _ in stream(faces, unseen, training=True)) == 2
    with pytest.raises(ValueError, match="checksum"):
        list(stream(faces, SMALL, training=True))
    with pytest.raises(ValueError, match="checksum"):  # no score is of other pictures
        list(stream(faces, unseen))


def test_a_cache_and_an_order_in_memory_change_no_pixel(tmp_path):
    index = write(tmp_path, range(30))
    plain, kept, last = (
        list(stream(index.where(), with_settings(SMALL, words)))
        for words in ([], ["cache=memory"], ["channels_last=true"])
    )
    for a, b, c in zip(plain, kept, last, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.image, c.image)
        assert c.image.is_contiguous(memory_format=torch.channels_last)
