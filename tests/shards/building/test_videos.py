"""Frames of videos: each from its own place, none repeated, none invented."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from shards import BuildOptions, Crop, Engine, Findings, LabelIndex, Sample, build
from shards.building import build as convert
from shards.image import decode

OPTIONS = BuildOptions(samples_per_shard=12, engine=Engine(jobs=1), crop=Crop(size=64, margin=0.0))


def level(video: int, frame: int) -> int:
    """The grey level of a frame: it says which video and frame it is."""
    return 40 + 10 * frame if video == 0 else 235 - 10 * frame  # at least 5 from each other


def write_video(path: Path, video: int, frames: int, size: int = 96) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "1"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            grey = np.full((size, size, 3), level(video, number), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def reader(root: Path, findings: Findings) -> Iterator[Sample]:
    """Two videos of 15 frames; of the first, frame 3 has no box and labels go on after its end."""
    for video in range(2):
        for frame in range(18 if video == 0 else 15):
            box = None if (video, frame) == (0, 3) else (16.0, 16.0, 80.0, 80.0)
            yield Sample(
                key=f"affwild_{video}_{frame:05d}",
                original_path=f"videos/{video}.avi",
                dataset="affwild",
                variant="2017",
                split="train",
                video_id=str(video),
                frame_index=frame,
                bbox_xyxy=box,
                valence=0.5,
                arousal=0.0,
            )


def two_videos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "raw/videos").mkdir(parents=True)
    for video in range(2):
        write_video(folder / f"raw/videos/{video}.avi", video, 15)
    monkeypatch.setitem(convert.READERS, "aff-wild", reader)
    return folder / "raw"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return two_videos(tmp_path, monkeypatch)


def test_every_row_is_its_own_frame_and_the_rest_is_reported(raw: Path, tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    build("aff-wild", raw, tmp_path / "out", OPTIONS, course=lambda *said: told.append(said))
    staged = [said[1:] for said in told if said[0] == "staging films"]
    rows = max(count for phase, count, _ in told if phase == "reading labels")
    assert staged[-1] == (rows, rows) and staged == sorted(staged)
    index = LabelIndex.open(tmp_path / "out")
    skipped = json.loads((tmp_path / "out/report.json").read_text())["skipped"]
    assert skipped == {"no face box": 1, "video ends before this frame": 3}
    assert len(index) == 29 and index.verify() == []
    for row, place in enumerate(index.table.to_pylist()):
        picture, _ = decode(index.read(row), "jpeg")
        expected = level(int(place["video_id"]), place["frame_index"])
        assert abs(picture.mean() - expected) < 5
        assert (place["width"], place["src_width"], place["image_format"]) == (64, 96, "video")
        np.testing.assert_allclose(place["crop_affine"], [1, 0, -16, 0, 1, -16])
    assert not (tmp_path / "out/.work").exists()


def test_a_video_cut_short_gives_the_frames_it_has(raw: Path, tmp_path: Path):
    path = raw / "videos/1.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = build("aff-wild", raw, tmp_path / "out", OPTIONS)
    lost = report.findings.skipped["video ends before this frame"]
    assert lost > 3 and report.rows == 33 - 1 - lost
    for row, place in enumerate(LabelIndex.open(tmp_path / "out").table.to_pylist()):
        picture, _ = decode(LabelIndex.open(tmp_path / "out").read(row), "jpeg")
        assert abs(picture.mean() - level(int(place["video_id"]), place["frame_index"])) < 5


def test_a_video_damaged_in_its_midst_says_so(raw: Path, tmp_path: Path):
    """Frames behind damage may be other frames: they are left out, and not for their lateness."""
    with av.open(str(raw / "videos/1.avi")) as container:
        at, size = [(p.pos, p.size) for p in container.demux(video=0)][6]
    content = bytearray((raw / "videos/1.avi").read_bytes())
    content[at : at + size] = np.random.default_rng(0).bytes(size)
    (raw / "videos/1.avi").write_bytes(content)
    report = build("aff-wild", raw, tmp_path / "out", OPTIONS)
    assert report.findings.skipped["video is damaged before this frame"] == 9
    assert report.findings.skipped["video ends before this frame"] == 3  # of the other


def test_staged_videos_are_found_again(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    build("aff-wild", raw, tmp_path / "whole", OPTIONS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convert, "write_shard", _interrupted)
        build("aff-wild", raw, tmp_path / "out", OPTIONS)
    staged = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/.work/frames").iterdir()}
    assert len(staged) == 4  # crops and marker of two videos
    with monkeypatch.context() as patch:
        patch.setattr(
            "shards.building.videos._crops", _interrupted
        )  # decoding again would end here
        build("aff-wild", raw, tmp_path / "out", OPTIONS)
    for name in ("00000.tar", "00002.tar", "labels.arrow"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _interrupted(_):
    raise KeyboardInterrupt


def test_whole_frames_without_a_crop(raw: Path, tmp_path: Path):
    options = BuildOptions(engine=Engine(jobs=1), crop=Crop(mode="none"))
    build("aff-wild", raw, tmp_path / "out", options)
    index = LabelIndex.open(tmp_path / "out")
    assert len(index) == 30 and set(index.where().column("width")) == {96}
    assert index.table["crop_affine"].null_count == 30


def test_a_frame_without_a_box_is_searched_and_a_wall_has_no_face(raw: Path, tmp_path: Path):
    options = replace(OPTIONS, crop=Crop(size=64, margin=0.0, detect=True))
    report = build("aff-wild", raw, tmp_path / "out", options)
    assert report.findings.skipped["no face found"] == 1  # the one frame without a box
    assert report.rows == 29


def test_only_those_who_have_videos_load_what_reads_them():
    heavy = "{'av', 'skia', 'torch', 'distributed', 'facenet_pytorch'}"
    code = f"import shards, sys; sys.exit(str({heavy} & sys.modules.keys() or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.stderr.strip()


@pytest.mark.parametrize("damage", ["cut", "changed", "marker", "before"])
def test_staged_crops_that_are_not_whole_are_made_again(raw, tmp_path, monkeypatch, damage):
    build("aff-wild", raw, tmp_path / "whole", OPTIONS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convert, "write_shard", _interrupted)
        build("aff-wild", raw, tmp_path / "out", OPTIONS)
    ending = "*.json" if damage in ("marker", "before") else "*.jpgs"
    for path in (tmp_path / "out/.work/frames").glob(ending):
        content = bytearray(path.read_bytes())
        if damage == "before":  # each place with its own facts, as once
            content = content.replace(b'"facts"', b'"other"')
        content[len(content) // 2] ^= 0xFF if damage == "changed" else 0
        half = len(content) // 2 if damage in ("cut", "marker") else None
        path.write_bytes(content[:half])
    build("aff-wild", raw, tmp_path / "out", OPTIONS)
    for name in ("00000.tar", "00002.tar", "labels.arrow"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
