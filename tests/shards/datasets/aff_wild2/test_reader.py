"""Aff-Wild2: which image gets which row, what is kept, what is skipped and what stops."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from shards import BuildOptions, Crop, Engine, build
from shards.datasets import aff_wild2
from shards.datasets.aff_wild2.tables import (
    AU,
    CANONICAL,
    EXPRESSION,
    NULL_VA,
    VA,
    WIDTH,
    label_columns,
)
from shards.datasets.card import CARD_NAME
from shards.findings import Findings
from shards.standins.layouts import draw_aff_wild2
from shards.standins.oddities import HARMLESS, STOPPING
from tests.shards.reading import Reading, assert_stops, read_tree, spoiled

VIDEOS, FRAMES = 4, 14  # frames 7 and 14 have no crop, row 11 is null
PERSONS = 6  # two videos have two people
FIRST = "1-30-640x360"


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "aff-wild2"
    draw_aff_wild2(root, VIDEOS, FRAMES)
    return root


def read_odd(clean: Path, out: Path, *oddities: str, **options: object) -> Reading:
    return read_tree(aff_wild2, spoiled(clean, out, "affwild2", *oddities), **options)


def table(root: Path, task: str, person: str = FIRST) -> list[str]:
    return next(root.glob(f"*/{task}_*/*/{person}.txt")).read_text().splitlines()


def test_row_k_after_the_header_belongs_to_image_k(clean: Path) -> None:
    reading = read_tree(aff_wild2, clean)
    assert not reading.sentence
    assert len(reading.samples) == PERSONS * (FRAMES - 2)
    va, expr, units = (table(clean, task) for task in ("VA", "EXPR", "AU"))
    for number in (1, 6, 8, 13):
        sample = reading.by_key[f"affwild2_{FIRST}_{number:05d}"]
        assert f"{sample.valence:.3f},{sample.arousal:.3f}" == va[number]
        assert str(sample.expression_raw) == expr[number]
        assert sample.action_units == tuple(map(int, units[number].split(",")))
        assert sample.frame_name == f"{number:05d}.jpg"
        assert (sample.frame_index, sample.fps) == (number - 1, 30.0)


def test_columns_are_what_each_row_says_alone() -> None:
    rng = np.random.default_rng(0)
    rows = np.full((400, WIDTH), np.nan)
    rows[:, VA] = rng.choice([NULL_VA, -1, -0.125, 0.3, np.nan], (400, 2))
    rows[:, EXPRESSION] = rng.choice([*range(-1, 8), np.nan], (400, 1))
    rows[:300, AU] = rng.integers(-1, 2, (300, 12))
    columns = label_columns(rows)
    for k, (v, a, code, *units) in enumerate(rows.tolist()):
        known, coded = v == v and a == a, code == code
        told = known and NULL_VA not in (v, a)
        assert {name: column[k].as_py() for name, column in columns.items()} == {
            "valence_raw": v if known else None,
            "arousal_raw": a if known else None,
            "valence": v if told else None,
            "arousal": a if told else None,
            "expression_raw": int(code) if coded else None,
            "expression": CANONICAL.get(int(code)) if coded else None,
            "action_units": [int(unit) for unit in units] if k < 300 else None,
        }


def test_the_tars_are_those_of_the_reader_of_single_samples(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "affwild2", "missing_crops", "half_null", "mtl")
    options = BuildOptions(engine=Engine(jobs=1), crop=Crop(mode="none"))
    build("aff-wild2", root, tmp_path / "out", options)
    names = hashlib.sha256()
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                row = content.read() if content and member.name.endswith(".row") else b""
                names.update(member.name.encode() + row)
    assert names.hexdigest()[:16] == "305f9a6e0b85bf63"  # of before rows were columns


def test_nulls_stay_null_and_keep_their_raw_values(clean: Path) -> None:
    sample = read_tree(aff_wild2, clean).by_key[f"affwild2_{FIRST}_00011"]
    assert (sample.valence, sample.arousal, sample.expression) == (None, None, None)
    assert (sample.valence_raw, sample.arousal_raw, sample.expression_raw) == (-5, -5, -1)
    assert sample.action_units == (-1,) * 12


def test_codes_become_the_canonical_ones(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "affwild2")
    path = next(root.glob(f"*/EXPR_*/*/{FIRST}.txt"))
    header = path.read_text().splitlines()[0]
    path.write_text("\n".join([header, *"01234567"]))
    by_key = read_tree(aff_wild2, root).by_key
    read = [by_key[f"affwild2_{FIRST}_{n:05d}"].expression for n in (1, 2, 3, 4, 5, 6, 8)]
    assert read == [0, 6, 5, 4, 1, 2, None]  # ours: neutral anger disgust fear happy sad, other


def test_both_persons_of_a_video_are_told_apart(clean: Path) -> None:
    samples = read_tree(aff_wild2, clean).samples
    slots = {(s.video_id, s.person_slot, s.split) for s in samples if s.video_id != FIRST}
    assert slots == {
        ("video2", "main", "val"),  # no suffix although there is a second person
        ("video2", "right", "val"),
        ("3-30-640x360", "left", "train"),
        ("3-30-640x360", "right", "train"),
        ("video4", "main", "train"),
    }


def test_labels_without_image_and_persons_without_labels_are_listed(clean: Path) -> None:
    assert read_tree(aff_wild2, clean).skipped == {
        "label without image": PERSONS,  # row 7
        "row beyond the last image": PERSONS,  # row 14
        "images of a person without label file (test set)": 1,
    }
    unlabelled = read_tree(aff_wild2, clean, unlabelled=True).samples[PERSONS * (FRAMES - 2) :]
    assert {(s.video_id, s.split, s.valence) for s in unlabelled} == {
        ("video5", "unlabelled", None)
    }


def test_every_harmless_oddity_at_once_is_read_around(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, *HARMLESS["affwild2"])
    assert not reading.sentence
    assert len(reading.samples) == (PERSONS - 1) * (FRAMES - 2)


def test_either_sentinel_makes_both_null(clean: Path, tmp_path: Path) -> None:
    sample = read_odd(clean, tmp_path, "half_null").by_key[f"affwild2_{FIRST}_00001"]
    assert (sample.valence, sample.arousal) == (None, None)
    assert (sample.valence_raw, sample.arousal_raw) == (-5, 0.5)


def test_strays_frame_0_and_crops_beyond_the_rows_are_not_paired(
    clean: Path, tmp_path: Path
) -> None:
    reading = read_odd(clean, tmp_path, "stray_files", "zero_frame", "crop_beyond")
    assert len(reading.samples) == PERSONS * (FRAMES - 2)
    assert reading.skipped["file name is no frame number"] == 2  # preview.gif and 00000.jpg
    assert reading.skipped["image without a row of labels"] == 1
    assert f"{FIRST} (14 rows, last image 99999)" in reading.warnings


@pytest.mark.parametrize("oddity", ["rows_one_more", "spaced_header", "nested_crops"])
def test_the_same_labels_are_read_with(oddity: str, clean: Path, tmp_path: Path) -> None:
    odd, plain = read_odd(clean, tmp_path, oddity), read_tree(aff_wild2, clean)
    assert not odd.sentence
    assert [(s.key, s.valence) for s in odd.samples] == [(s.key, s.valence) for s in plain.samples]


def test_a_label_file_without_crops_is_listed(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "missing_crops")
    assert reading.skipped["label file without images"] == 1
    assert f"{FIRST} has labels and no folder of images" in reading.warnings


def test_splits_are_kept_by_task(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "other_split_by_task")
    sample = reading.by_key[f"affwild2_{FIRST}_00001"]
    assert (sample.split, sample.official_split) == ("train", "train")
    assert sample.split_by_task == {"va": "train", "expr": "val", "au": "train"}


def test_other_action_units_are_left_null(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "other_units")
    assert {sample.action_units for sample in reading.samples} == {None}
    assert "not the twelve of later years" in reading.warnings


@pytest.mark.parametrize("alone", [False, True])
def test_mtl_files_give_the_same_valence(alone: bool, clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "affwild2", "mtl")
    if alone:
        shutil.rmtree(next(root.glob("*/VA_*")))
    odd, plain = read_tree(aff_wild2, root), read_tree(aff_wild2, clean)
    assert not odd.sentence
    assert [(s.key, s.valence) for s in odd.samples] == [(s.key, s.valence) for s in plain.samples]
    assert {sample.expression for sample in odd.samples} == {1}
    assert odd.samples[0].official_split == (None if alone else "train")  # that of the VA task
    assert odd.samples[0].split_by_task == {"mtl": "train"} | ({} if alone else {"va": "train"})


@pytest.mark.parametrize(
    ("folders", "year"),
    [
        ("annotations/VA_Set/Training_Set", "abaw1"),
        ("VA_Set/Train_Set", "abaw2"),
        ("Third ABAW Annotations/VA_Estimation_Challenge/Train_Set", "abaw3"),
        ("3rd_ABAW_Annotations/VA_Estimation_Challenge/Train_Set", "abaw3"),
        ("6th ABAW Annotations/VA_Estimation_Challenge/Train_Set", "abaw6"),
        ("8th_ABAW_Annotations/VA_Estimation_Challenge/Train_Set", "abaw8"),
    ],
)
def test_the_release_is_read_off_its_folders(
    folders: str, year: str, clean: Path, tmp_path: Path
) -> None:
    (tmp_path / folders).mkdir(parents=True)
    shutil.copy(next(clean.glob(f"*/VA_*/*/{FIRST}.txt")), tmp_path / folders)
    shutil.copytree(clean / "cropped_aligned" / FIRST, tmp_path / "cropped_aligned" / FIRST)
    samples = read_tree(aff_wild2, tmp_path, allow_count=True).samples
    assert {(s.variant, s.split) for s in samples} == {(year, "train")}
    assert len(samples) == FRAMES - 2


STOPS = {
    "no_header": r"the header is '.*' and not 'valence,arousal'",
    "va_out_of_range": r"txt: line 2 holds -2, outside \[-1, 1\]",
    "cut_row": r"txt: line 15 reads '0.12' where 2 comma-separated number",
    "unknown_code": r"txt: line 2 holds 8, and codes are whole numbers from -1 \(null\) to 7",
    "both_splits": r"video 3-30-640x360 is in both train and val of the va task",
    "two_releases": r"both hold labels of va train; keep one release",
    "person_twice": r"hold one person; keep one of them",
}


def test_each_stopping_oddity_has_its_sentence() -> None:
    assert STOPS.keys() == STOPPING["affwild2"].keys()


@pytest.mark.parametrize(("oddity", "sentence"), STOPS.items())
def test_it_stops_before_the_first_sample(
    oddity: str, sentence: str, clean: Path, tmp_path: Path
) -> None:
    assert_stops(read_odd(clean, tmp_path, oddity), sentence)


def test_a_damaged_file_is_skipped_and_listed_when_asked(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "cut_row", allow_count=True)
    assert not reading.sentence
    assert reading.skipped["label file unusable"] == 1
    assert len(reading.samples) == (PERSONS - 1) * (FRAMES - 2)


def test_a_real_tree_must_have_the_published_number_of_files(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "affwild2")
    (root / CARD_NAME).unlink()
    sentence = read_tree(aff_wild2, root).sentence
    assert "4 of VA train files and the published release has 356" in sentence
    assert "2 of VA val files and the published release has 76" in sentence


def test_videos_shared_with_aff_wild_are_named(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "affwild2")
    labels = tmp_path / "aff-wild" / "annotations" / "train" / "valence"
    labels.mkdir(parents=True)
    for name in ("video2", "105"):
        (labels / f"{name}.txt").write_text("0.1\n")
    assert aff_wild2.shared_videos(tmp_path / "aff-wild", {"video2", FIRST}) == ["video2"]
    reading = read_tree(aff_wild2, root)
    assert not reading.sentence
    assert "1 videos are in" in reading.warnings and "(video2)" in reading.warnings


def test_an_empty_tree_says_what_to_unpack(tmp_path: Path) -> None:
    sentence = read_tree(aff_wild2, tmp_path).sentence
    assert "unpack one year's annotations there" in sentence
    assert "cropped_aligned; unpack them there" in sentence
    with pytest.raises(FileNotFoundError, match="unpack Aff-Wild2 there"):
        next(aff_wild2.read(tmp_path / "absent", Findings()))
    with pytest.raises(ValueError, match="choose 'cropped_aligned' or 'cropped'"):
        next(aff_wild2.read(tmp_path, Findings(), images="aligned"))
