"""What a page carries of the samples comes back, and is small."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from avce.report.samples import SCALE, packed, shrunk
from tests.avce.report.runs import encoded_faces


def test_packed_numbers_come_back():
    values = np.array([[-1.0, 0.25], [1.7, -3.0]])
    raw = np.frombuffer(base64.b64decode(packed(values)), "<i2").reshape(2, 2) / SCALE
    np.testing.assert_allclose(raw, [[-1, 0.25], [1.7, -2]], atol=0.5 / SCALE)


def test_a_thumbnail_is_small_and_square():
    with Image.open(io.BytesIO(shrunk(encoded_faces()[0]))) as image:
        assert image.size == (72, 72) and image.format == "JPEG"
    with pytest.raises(OSError):
        shrunk(b"no image")
