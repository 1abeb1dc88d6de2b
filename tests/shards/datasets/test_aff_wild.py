"""Aff-Wild: which frame gets which label, what is kept, what is skipped and what stops."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from shards.datasets import aff_wild
from shards.datasets.card import CARD_NAME
from shards.datasets.video import video_facts
from shards.findings import Findings
from shards.standins.layouts import draw_aff_wild, write_video
from shards.standins.oddities import HARMLESS, STOPPING
from tests.shards.reading import Reading, assert_stops, read_tree, spoiled

VIDEOS, FRAMES = 3, 6


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "aff-wild"
    draw_aff_wild(root, VIDEOS, FRAMES)
    return root


def read_odd(clean: Path, out: Path, *oddities: str, **options: object) -> Reading:
    return read_tree(aff_wild, spoiled(clean, out, "affwild", *oddities), **options)


def first_id(clean: Path) -> str:
    return min(path.stem for path in clean.glob("annotations/train/valence/*.txt"))


def test_every_frame_has_its_own_line_box_and_points(clean: Path) -> None:
    reading = read_tree(aff_wild, clean)
    assert not reading.sentence
    assert len(reading.samples) == VIDEOS * FRAMES
    name = first_id(clean)
    lines = (clean / f"annotations/train/arousal/{name}.txt").read_text().split()
    for sample in reading.samples[:FRAMES]:
        assert sample.frame_index is not None and sample.bbox_xyxy is not None
        assert sample.arousal == float(lines[sample.frame_index])
        text = (clean / f"bboxes/train/{name}/{sample.frame_index + 1}.pts").read_text()
        left, top = map(float, text.splitlines()[3].split())
        assert sample.bbox_xyxy[:2] == (left, top)
        assert sample.landmarks is not None and len(sample.landmarks) == 136


def test_the_project_split_is_by_video(clean: Path) -> None:
    samples = read_tree(aff_wild, clean).samples
    assert {s.split for s in samples} == {"train", "val"}
    assert len({(s.video_id, s.split, s.fold) for s in samples}) == VIDEOS
    assert {s.official_split for s in samples} == {"train"}


def test_test_videos_are_listed_and_only_read_when_asked(clean: Path) -> None:
    assert read_tree(aff_wild, clean).skipped == {"test video, its labels are not distributed": 1}
    unlabelled = [
        s for s in read_tree(aff_wild, clean, unlabelled=True).samples if s.split == "unlabelled"
    ]
    assert len(unlabelled) == FRAMES
    assert {s.annotation_source for s in unlabelled} == {"none"}
    assert {(s.valence, s.bbox_xyxy) for s in unlabelled} == {(None, None)}


def test_every_harmless_oddity_at_once_is_read_around(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, *HARMLESS["affwild"])
    assert not reading.sentence
    assert len(reading.samples) == VIDEOS * FRAMES


def test_a_frame_without_box_never_gets_another_frames_box(clean: Path, tmp_path: Path) -> None:
    frame = read_odd(clean, tmp_path, "missing_pts").samples[2]
    assert (frame.bbox_xyxy, frame.landmarks, frame.bbox_source) == (None, None, None)
    assert frame.valence is not None


def test_a_cut_box_file_marks_its_frame(clean: Path, tmp_path: Path) -> None:
    frame = read_odd(clean, tmp_path, "cut_pts").samples[3]
    assert frame.bbox_xyxy is None
    assert frame.quality == ("bbox_unreadable",)


@pytest.mark.parametrize("oddity", ["two_spaces", "no_final_newline", "bboxs", "nested"])
def test_nothing_changes_for(oddity: str, clean: Path, tmp_path: Path) -> None:
    odd, plain = read_odd(clean, tmp_path, oddity), read_tree(aff_wild, clean)
    assert [(s.key, s.valence, s.bbox_xyxy, s.landmarks) for s in odd.samples] == [
        (s.key, s.valence, s.bbox_xyxy, s.landmarks) for s in plain.samples
    ]


def test_numbering_from_0_is_found_for_the_whole_data_set(clean: Path, tmp_path: Path) -> None:
    odd, plain = read_odd(clean, tmp_path, "zero_based"), read_tree(aff_wild, clean)
    assert odd.samples[0].bbox_xyxy is None  # the first video has no 0.pts, the others have
    assert [s.bbox_xyxy for s in odd.samples[1:]] == [s.bbox_xyxy for s in plain.samples[1:]]
    assert any("numbered from 0" in check["detail"] for check in odd.findings.checks)


def test_pts_base_overrides_and_says_so(clean: Path) -> None:
    overridden = read_tree(aff_wild, clean, pts_base=0)
    assert "--option pts_base=0 overrides it" in overridden.warnings
    assert overridden.samples[0].bbox_xyxy is None  # there is no 0.pts
    with pytest.raises(ValueError, match="pts_base=2: frames are numbered from 0 or from 1"):
        read_tree(aff_wild, clean, pts_base=2)


def test_one_label_more_or_less_is_listed(clean: Path, tmp_path: Path) -> None:
    more = read_odd(clean, tmp_path / "more", "one_label_more")
    assert more.skipped["label beyond the last frame"] == 1
    assert len(more.samples) == VIDEOS * FRAMES
    less = read_odd(clean, tmp_path / "less", "one_label_less")
    assert less.skipped["frame beyond the last label"] == 1
    assert len(less.samples) == VIDEOS * FRAMES - 1


def test_a_training_video_without_labels_is_listed(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "unannotated_video")
    assert reading.skipped["train video without usable labels"] == 1
    assert len(reading.samples) == VIDEOS * FRAMES


STOPS = {
    "many_labels_more": r"has 11 labels and .* has 6 frames, more than 2 apart",
    "unequal_axes": r"has 6 valence and 5 arousal labels",
    "out_of_range": r"txt: line 2 holds 1.5, outside \[-1, 1\]",
    "not_a_number": r"txt: line 1 reads 'valence' where 1 comma-separated number",
    "missing_video": r"is annotated and no videos/train/",
    "cut_video": r"has 6 labels and .* frames|cannot be read as a video",
    "unreadable_video": r"cannot be read as a video",
    "points_beyond": r"9999.pts belongs to no frame: .* has 6 frames numbered from 1",
    "train_in_test": r"lies in videos/train and in videos/test; keep one",
}


def test_each_stopping_oddity_has_its_sentence() -> None:
    assert STOPS.keys() == STOPPING["affwild"].keys()


@pytest.mark.parametrize(("oddity", "sentence"), STOPS.items())
def test_it_stops_before_the_first_sample(
    oddity: str, sentence: str, clean: Path, tmp_path: Path
) -> None:
    assert_stops(read_odd(clean, tmp_path, oddity), sentence)


def test_a_damaged_video_is_skipped_and_listed_when_asked(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "unequal_axes", allow_count=True)
    assert not reading.sentence
    assert "valence and 5 arousal labels" in reading.warnings
    assert reading.skipped["labels and frames do not pair"] == 1
    assert len(reading.samples) == (VIDEOS - 1) * FRAMES


def test_a_real_tree_must_have_the_published_number_of_videos(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "affwild")
    (root / CARD_NAME).unlink()
    assert (
        "3 of train videos and the published release has 252" in read_tree(aff_wild, root).sentence
    )
    assert len(read_tree(aff_wild, root, allow_count=True).samples) == VIDEOS * FRAMES


def test_two_containers_of_one_video_are_refused(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "affwild")
    video = min(root.glob("videos/train/*.avi"))
    shutil.copy(video, video.with_suffix(".mp4"))
    with pytest.raises(ValueError, match="keep the one of the release"):
        read_tree(aff_wild, root)


def test_an_empty_tree_says_what_to_unpack(tmp_path: Path) -> None:
    assert "unpack annotations/train.tar.gz" in read_tree(aff_wild, tmp_path).sentence
    with pytest.raises(FileNotFoundError, match="is no folder; unpack Aff-Wild there"):
        next(aff_wild.read(tmp_path / "absent", Findings()))


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_counted_frames_are_those_that_decode(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"video{suffix}"
    ramp = (np.full((48, 64, 3), 9 * number, np.uint8) for number in range(23))
    write_video(path, ramp, fps=30)
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    assert video_facts(path).frames == len(decoded) == 23
    assert decoded == sorted(decoded)
    assert video_facts(path).fps == pytest.approx(30)


def test_a_cut_avi_is_counted_by_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "video.avi"
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
    write_video(path, noise, fps=30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 5 < video_facts(path).frames < 25
