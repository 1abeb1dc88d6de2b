"""What a page carries of the samples comes back, and is small."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from avce.report.samples import SCALE, packed, shrunk, thinned
from avce.scores.predictions import cells_of, pair_of, videos_of
from tests.avce.report.runs import encoded_faces
from tests.avce.scores.verdicts import video_table


def test_packed_numbers_come_back():
    values = np.array([[-1.0, 0.25], [1.7, -3.0]])
    raw = np.frombuffer(base64.b64decode(packed(values)), "<i2").reshape(2, 2) / SCALE
    np.testing.assert_allclose(raw, [[-1, 0.25], [1.7, -2]], atol=0.5 / SCALE)


def test_a_thumbnail_is_small_and_square():
    with Image.open(io.BytesIO(shrunk(encoded_faces()[0]))) as image:
        assert image.size == (72, 72) and image.format == "JPEG"
    with pytest.raises(OSError):
        shrunk(b"no image")


def test_few_samples_are_all_drawn():
    assert thinned(video_table(2, 10), 1, [], seed=0).tolist() == list(range(20))


def test_every_video_keeps_its_share_of_the_drawn_samples():
    table = video_table(8, 100)
    kept = thinned(table, 1, [3, 799], seed=5, most_bytes=16 * 200)  # 16 bytes a sample
    assert 200 <= len(kept) <= 202 and {3, 799} <= set(kept) and (np.diff(kept) > 0).all()
    drawn = table.take(kept)
    assert {v["stop"] - v["start"] for v in videos_of(drawn)} <= {24, 25, 26, 27}
    steps = np.diff(drawn["frame_index"].to_numpy())
    assert set(steps[steps > 0]) <= {1, 2, 3, 4, 5}  # evenly along each
    assert kept.tolist() == thinned(table, 1, [3, 799], 5, 16 * 200).tolist()
    assert kept.tolist() != thinned(table, 1, [3, 799], 6, 16 * 200).tolist()


def test_without_videos_every_part_of_the_plane_keeps_its_share():
    table = video_table(40, 100).drop_columns(["video_id", "frame_index"])
    kept = thinned(table, 3, [], seed=0, most_bytes=26_680)  # 26 2/3 bytes a sample
    assert len(kept) == 1000
    cells = cells_of(pair_of(table).target.numpy())
    for cell in np.unique(cells):
        share = (cells[kept] == cell).sum() - (cells == cell).sum() / 4
        assert abs(share) < 1.001  # a systematic draw is off by less than one
