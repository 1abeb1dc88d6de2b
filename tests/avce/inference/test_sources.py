"""What is a picture or a film, its content says; what is left out is told."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avce.inference.sources import frames_of, source_files
from avce.inference.video import Skipped
from tests.shards.test_films import film


def picture(path: Path, kind: str = "PNG", level: int = 90) -> Path:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(file, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())
    return path


def names(sources, skipped: Skipped | None = None) -> list[str]:
    """The files that gave frames, each once, in order."""
    frames = frames_of(sources, skipped or Skipped())
    return list(dict.fromkeys(Path(frame.source).name for frame in frames))


def test_content_decides_and_not_the_name(tmp_path):
    for name, kind in (("a", "PNG"), ("b.txt", "JPEG"), ("c.mp4", "GIF"), ("d.dat", "AVIF")):
        picture(tmp_path / name, kind)
    for name, codec in (("e.wmv", "wmv2"), ("f.flv", "flv1"), ("g.3gp", "h263")):
        film(tmp_path / name, codec, 2)
    film(tmp_path / "h.mp4", n=2).rename(tmp_path / "h.jpg")
    film(tmp_path / "i.mkv", n=2).rename(tmp_path / "i")
    skipped = Skipped()
    expected = ["a", "b.txt", "c.mp4", "d.dat", "e.wmv", "f.flv", "g.3gp", "h.jpg", "i"]
    assert names([tmp_path], skipped) == expected
    assert not skipped.lines()


def test_a_folder_of_shards_that_lost_its_index_is_named(tmp_path):
    (tmp_path / "00000.tar").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"tars without their labels\.arrow.* --repair"):
        names([tmp_path])


def test_what_is_left_out_is_counted_and_listed(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("no pixels")
    (tmp_path / "c.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "d.mkv").write_text("no film")
    (tmp_path / "empty.png").touch()
    for number in range(9):
        (tmp_path / f"notes{number}.txt").write_text("not listed")
    os.mkfifo(tmp_path / "pipe.jpg")
    listed: list[tuple[str, str]] = []
    skipped = Skipped(listing=listed.append)
    assert names([tmp_path], skipped) == ["a.png"]
    assert skipped.counts == {
        "not an image": 1,
        "image cut off or damaged": 1,
        "not a readable video": 1,
        "empty file": 1,
        "not a regular file": 1,
    }
    assert skipped.lines()[-1].startswith("neither a picture nor a film: 9, such as ")
    assert len(listed) == 5 + 9  # all of them, not only examples


def test_hidden_files_are_passed_over(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / ".cache/b.png")
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")  # AppleDouble
    (tmp_path / ".DS_Store").write_bytes(b"x")
    skipped = Skipped()
    assert names([tmp_path], skipped) == ["a.png"] and not skipped.lines()
    assert names([tmp_path / ".cache"]) == ["b.png"]  # which was asked for


def test_a_file_is_read_once(tmp_path):
    one = picture(tmp_path / "photos/a.png")
    (tmp_path / "photos/z.png").symlink_to(one)
    skipped = Skipped()
    sources = [tmp_path / "photos", one, f"{one.parent}/../photos/a.png", f"{one.parent}/*.png"]
    assert names(sources, skipped) == ["a.png"]
    assert skipped.counts["the same file again"] == 5


def test_a_name_of_other_bytes_is_escaped_and_the_rest_is_read(tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    picture(tmp_path / "b.png").rename(odd)
    picture(tmp_path / "z.png")
    film(tmp_path / "v.mp4", n=2).rename(os.fsdecode(os.fsencode(tmp_path) + b"/f\xff.mp4"))
    found = names([tmp_path])
    assert found == ["caf\\udce9.png", "f\\udcff.mp4", "z.png"]
    assert all(name.encode() for name in found)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(FileNotFoundError, match="holds no image or video"):
        frames_of([tmp_path], Skipped())


def test_every_file_of_the_sources_is_known(tmp_path):
    one, other = picture(tmp_path / "x/a.png"), picture(tmp_path / "x/y/b.png")
    assert source_files([tmp_path / "x", str(one)]) == [one, other, one]
