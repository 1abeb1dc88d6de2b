"""AFEW-VA: which frame gets which label, folds by actor, what is kept and what stops."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.datasets import afew_va
from shards.datasets.card import CARD_NAME
from shards.datasets.folds import deal_groups
from shards.findings import Findings
from shards.standins.layouts import draw_afew_va
from shards.standins.oddities import HARMLESS, STOPPING
from tests.shards.reading import Reading, assert_stops, read_tree, spoiled

CLIPS, FRAMES = 10, 3


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "afew-va"
    draw_afew_va(root, CLIPS, FRAMES)
    return root


def read_odd(clean: Path, out: Path, *oddities: str, **options: object) -> Reading:
    return read_tree(afew_va, spoiled(clean, out, "afew_va", *oddities), **options)


def test_labels_become_tenths_and_points_stay_pixels(clean: Path) -> None:
    reading = read_tree(afew_va, clean)
    assert not reading.sentence
    assert len(reading.samples) == CLIPS * FRAMES
    frames = json.loads((clean / "003" / "003.json").read_text())["frames"]
    for key, frame in frames.items():
        sample = reading.by_key[f"afew_va_003_{key}"]
        assert sample.valence == frame["valence"] / 10
        assert sample.arousal_raw == frame["arousal"]
        assert sample.landmarks == tuple(v for point in frame["landmarks"] for v in point)
        assert sample.original_path == f"003/{key}.png"


def test_only_anamorphic_clips_have_wide_pixels(clean: Path) -> None:
    wide = {s.video_id for s in read_tree(afew_va, clean).samples if s.pixel_aspect == 4 / 3}
    assert wide == {"002"}
    assert {s.pixel_aspect for s in read_tree(afew_va, clean).samples} == {None, 4 / 3}


def test_no_actor_is_in_two_folds(clean: Path) -> None:
    samples = read_tree(afew_va, clean).samples
    actors = {(s.subject_id, s.fold) for s in samples}
    assert len(actors) == len({actor for actor, _ in actors}) < CLIPS
    assert {s.fold for s in samples} == set(range(5))
    assert {s.fold for s in samples if s.split == "val"} == {0}


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=4), st.integers(1, 50), max_size=40))
def test_dealing_is_even_and_ignores_the_order(sizes: dict[str, int]) -> None:
    dealt = deal_groups(sizes)
    assert dealt == deal_groups(dict(reversed(sizes.items())))
    filled = [sum(sizes[name] for name in sizes if dealt[name] == fold) for fold in range(5)]
    assert max(filled) - min(filled) <= max(sizes.values(), default=0)  # greedy never does worse


def test_every_harmless_oddity_at_once_is_read_around(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, *HARMLESS["afew_va"])
    assert not reading.sentence
    assert len(reading.samples) == CLIPS * FRAMES


@pytest.mark.parametrize("oddity", ["float_labels", "spelled_actor", "archive_folders"])
def test_the_same_is_read_with(oddity: str, clean: Path, tmp_path: Path) -> None:
    def facts(reading: Reading) -> list[tuple]:
        return [(s.key, s.valence, s.fold, s.subject_id) for s in reading.samples]

    odd = read_odd(clean, tmp_path, oddity)
    assert facts(odd) == facts(read_tree(afew_va, clean))


def test_a_clip_without_actor_is_its_own_group(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "no_actor")
    assert reading.by_key["afew_va_001_00000"].subject_id is None
    assert "no actor is named, and the clip is a group of its own" in reading.warnings


def test_the_folder_counts_where_video_id_differs(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "other_video_id")
    assert reading.by_key["afew_va_001_00000"].video_id == "001"
    assert "says it is video '777'; the folder's name is used" in reading.warnings


def test_frames_may_begin_late(clean: Path, tmp_path: Path) -> None:
    samples = read_odd(clean, tmp_path, "late_start").samples[:FRAMES]
    assert [s.frame_index for s in samples] == [7, 8, 9]


STOPS = {
    "missing_png": r"001: labelled frames and PNG files differ by 00001",
    "unlabelled_png": r"001: labelled frames and PNG files differ by 00001",
    "label_of_11": r"001.json: frame 00001 holds 11, outside \[-10, 10\]",
    "scaled_labels": r"001.json: frame 00001 holds 0.3, and labels of the release are whole",
    "67_points": r"001.json: frame 00001 has 67 landmarks, not 68",
    "cut_json": r"001.json is no clip annotation",
    "jpeg_copy": r"this is a copy from the web whose landmarks no longer fit",
    "cropped_copy": r"_cropped holds JPEG or cropped frames.* copy from the web",
    "clip_twice": r"001 is found twice below the root",
}


@pytest.mark.parametrize("value", ["true", '"3"', "null", "1e999", "[1]", "9" * 400])
def test_only_numbers_of_json_are_labels(value: str, clean: Path, tmp_path: Path) -> None:
    path = spoiled(clean, tmp_path, "afew_va") / "001" / "001.json"
    path.write_text(re.sub(r'("valence": )-?\d+', rf"\g<1>{value}", path.read_text(), count=1))
    assert_stops(read_tree(afew_va, path.parent.parent), r"001\.json: frame '00000' lacks a number")


def test_each_stopping_oddity_has_its_sentence() -> None:
    assert STOPS.keys() == STOPPING["afew_va"].keys()


@pytest.mark.parametrize(("oddity", "sentence"), STOPS.items())
def test_it_stops_before_the_first_sample(
    oddity: str, sentence: str, clean: Path, tmp_path: Path
) -> None:
    assert_stops(read_odd(clean, tmp_path, oddity), sentence)


@pytest.mark.parametrize(
    ("oddity", "reason"),
    [("missing_png", "label without image"), ("unlabelled_png", "image without label")],
)
def test_a_partial_clip_is_joined_when_asked(
    oddity: str, reason: str, clean: Path, tmp_path: Path
) -> None:
    reading = read_odd(clean, tmp_path, oddity, allow_count=True)
    assert not reading.sentence
    assert reading.skipped == {reason: 1}
    assert len(reading.samples) == CLIPS * FRAMES - 1


def test_a_real_tree_must_have_600_clips(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "afew_va")
    (root / CARD_NAME).unlink()
    reading = read_tree(afew_va, root)
    assert "10 of clips and the published release has 600" in reading.sentence
    assert "30 of frames and the published release has 30051" in reading.warnings


def test_an_absent_tree_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="unpack AFEW-VA there"):
        next(afew_va.read(tmp_path / "absent", Findings()))
