"""Films of a folder, and how many frames each has, against films of known length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shards.datasets.video import video_facts, videos_by_id
from shards.standins.layouts import write_video


def test_a_film_has_the_frames_that_were_written(tmp_path: Path):
    frames = [np.full((32, 48, 3), 20 * i, np.uint8) for i in range(7)]
    write_video(tmp_path / "a.mp4", iter(frames), 25)
    facts = video_facts(tmp_path / "a.mp4")
    assert facts.frames == 7 and facts.pixel_aspect in (None, 1.0)
    assert facts.fps == 25


def test_what_is_no_film_is_one_sentence(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be read as a video .*; copy it again"):
        video_facts(tmp_path / "a.mp4")


def test_films_go_by_their_name_and_one_name_is_one_film(tmp_path: Path):
    for name in ("b.MP4", "a.avi", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert videos_by_id(tmp_path) == {"a": tmp_path / "a.avi", "b": tmp_path / "b.MP4"}
    assert videos_by_id(tmp_path / "none") == {}
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds a\.avi and a\.mp4; keep the one of the release"):
        videos_by_id(tmp_path)
