"""Frames of a film with their numbers and seconds, and what was left out of it."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from avce.inference.video import Part, Skipped, expected_frames, video_frames
from tests.shards.test_films import corners, film, quarters, spoiled


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


def test_what_is_not_shown_as_it_was_meant_is_said(tmp_path):
    """Two films in one file, of colours that reach beyond a screen's."""
    path, skipped = tmp_path / "v.mkv", Skipped()
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
            stream.codec_context.color_trc = 16  # PQ
        for number in range(4):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(quarters(number), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
    assert len(list(video_frames(path, skipped))) == 4
    assert skipped.counts == {
        "only the first of several video streams is read": 1,
        "high dynamic range, read without tone mapping": 1,
    }


@pytest.mark.parametrize(
    ("part", "numbers"),
    [
        (Part(), range(50)),
        (Part(stride=7), range(0, 50, 7)),
        (Part(fps=5.0), range(0, 50, 5)),
        (Part(fps=100.0), range(50)),
        (Part(start=0.4, end=0.8), range(10, 20)),
        (Part(stride=4, start=1.0), range(25, 50, 4)),
        (Part(fps=5.0, start=0.5), [13, 18, 23, 28, 33, 38, 43, 48]),
    ],
)
def test_a_part_of_a_film_is_looked_at(tmp_path, part, numbers):
    """25 frames a second, 50 in all."""
    path, skipped = film(tmp_path / "v.mp4", n=50), Skipped()
    assert [frame.number for frame in video_frames(path, skipped, part)] == list(numbers)
    assert not skipped.lines()
    assert abs(expected_frames(path, part) - len(list(numbers))) <= 1
    behind = [frame.number for frame in video_frames(path, skipped, part, after=3)]
    assert behind == list(numbers)[3:]


def test_a_part_without_a_frame_is_said(tmp_path):
    skipped = Skipped()
    assert not list(video_frames(film(tmp_path / "v.mp4", n=9), skipped, Part(start=7.0)))
    assert skipped.counts == {"no frame from --start to --end": 1}


@pytest.mark.parametrize("start", [0, 125])
def test_a_complete_film_is_not_called_cut_off(tmp_path, start):
    """Not for a late start (5 s), a longer sound, or a rate that varies."""
    skipped = Skipped()
    ticks = [start + t for t in (0, 1, 2, 30, 31, 60)]
    frames = list(video_frames(film(tmp_path / "v.mp4", ticks=ticks), skipped))
    assert len(frames) == 6 and frames[0].time == 0 and not skipped.lines()
    assert len(list(video_frames(film(tmp_path / "s.mkv", n=10, sound=True), skipped))) == 10
    assert not skipped.lines()
