"""Frames of a film with their numbers and seconds, and what was left out of it."""

from __future__ import annotations

import numpy as np
import pytest

from avce.inference.video import Skipped, video_frames
from tests.shards.test_films import corners, film, spoiled


def test_a_phone_film_is_read_upright(tmp_path):
    path, skipped = film(tmp_path / "v.mov", n=3, turn=(-90, False)), Skipped()
    frames = list(video_frames(path, skipped))
    assert corners(frames[0].picture) == ["blue", "red", "white", "green"]
    assert [frame.number for frame in frames] == [0, 1, 2] and frames[2].rate == 25
    assert not skipped.lines()


def test_damage_is_counted_and_gone_past(tmp_path):
    path, skipped = spoiled(film(tmp_path / "v.mp4", n=60, options={"bf": "0"}), 30), Skipped()
    frames = list(video_frames(path, skipped))
    assert len(frames) == 59 and frames[-1].number == 59
    np.testing.assert_allclose([f.time for f in frames], [f.number / 25 for f in frames])
    (line,) = skipped.lines()
    assert line.endswith(f"{path} after 30 frames; 1 damaged, 59 read")


@pytest.mark.parametrize("start", [0, 125])
def test_a_complete_film_is_not_called_cut_off(tmp_path, start):
    """Not for a late start (5 s), a longer sound, or a rate that varies."""
    skipped = Skipped()
    ticks = [start + t for t in (0, 1, 2, 30, 31, 60)]
    frames = list(video_frames(film(tmp_path / "v.mp4", ticks=ticks), skipped))
    assert len(frames) == 6 and frames[0].time == 0 and not skipped.lines()
    assert len(list(video_frames(film(tmp_path / "s.mkv", n=10, sound=True), skipped))) == 10
    assert not skipped.lines()
