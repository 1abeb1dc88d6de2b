"""RAF-DB: codes, paddings, aligned against original images, what is kept and what stops."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from shards.datasets import raf_db
from shards.datasets.card import CARD_NAME
from shards.findings import Findings
from shards.sample import EXPRESSIONS
from shards.standins.layouts import draw_raf_db
from shards.standins.oddities import HARMLESS, STOPPING
from tests.shards.reading import Reading, assert_stops, read_tree, spoiled

N = 30


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "raf-db"
    draw_raf_db(root, N)
    return root


def read_odd(clean: Path, out: Path, *oddities: str, **options: object) -> Reading:
    return read_tree(raf_db, spoiled(clean, out, "raf_db", *oddities), **options)


def listed(clean: Path, subset: str = "basic") -> dict[str, int]:
    lines = (clean / subset / "EmoLabel" / "list_patition_label.txt").read_text().splitlines()
    return {line.split()[0].removesuffix(".jpg"): int(line.split()[1]) for line in lines}


def test_every_line_is_a_sample_with_its_canonical_code(clean: Path) -> None:
    reading = read_tree(raf_db, clean)
    assert not reading.sentence
    names = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "anger", 7: "neutral"}
    assert len(reading.samples) == N
    for stem, code in listed(clean).items():
        sample = reading.by_key[f"raf_db_basic_{stem}"]
        assert sample.expression is not None
        assert (sample.expression_raw, EXPRESSIONS[sample.expression]) == (code, names[code])
        assert sample.split == sample.official_split == stem.split("_")[0]
        assert (sample.valence, sample.landmarks) == (None, None)


def test_compound_codes_are_no_basic_expression(clean: Path) -> None:
    samples = read_tree(raf_db, clean, subset="compound").samples
    assert [s.expression_compound for s in samples] == list(listed(clean, "compound").values())
    assert {(s.expression, s.variant) for s in samples} == {(None, "compound")}
    basic = {s.key for s in read_tree(raf_db, clean).samples}
    assert not basic & {s.key for s in samples}  # both call their first image train_00001


def test_box_and_points_belong_to_the_original_image(clean: Path) -> None:
    for sample in read_tree(raf_db, clean).samples:
        assert (sample.bbox_xyxy, sample.landmarks5, sample.landmarks37) == (None, None, None)
    for sample in read_tree(raf_db, clean, images="original").samples:
        assert sample.bbox_xyxy is not None and sample.landmarks5 is not None
        assert sample.landmarks37 is not None and len(sample.landmarks37) == 74
        left, top, right, bottom = sample.bbox_xyxy
        nose_x, nose_y = sample.landmarks5[4:6]
        assert left < nose_x < right and top < nose_y < bottom
        assert sample.original_path.startswith("basic/Image/original/")


def test_sensitive_attributes_come_only_when_asked(clean: Path) -> None:
    assert {(s.gender, s.race, s.age_group) for s in read_tree(raf_db, clean).samples} == {
        (None, None, None)
    }
    for sample in read_tree(raf_db, clean, attributes=True).samples:
        assert sample.gender in range(3) and sample.race in range(3)
        assert sample.age_group in range(5)


def test_every_harmless_oddity_at_once_is_read_around(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, *HARMLESS["raf_db"])
    assert not reading.sentence
    assert {s.key for s in reading.samples} == {s.key for s in read_tree(raf_db, clean).samples}


def test_test_images_of_five_digits_are_found_and_marked(clean: Path, tmp_path: Path) -> None:
    samples = read_odd(clean, tmp_path, "five_digits").samples
    marks = {(s.split, s.quality) for s in samples}
    assert marks == {("train", ()), ("test", ("padding_fixed",))}
    assert "raf_db_basic_test_0001" in {s.key for s in samples}


@pytest.mark.parametrize("oddity", ["final_newline", "plain_names", "no_annotations"])
def test_the_same_labels_are_read_with(oddity: str, clean: Path, tmp_path: Path) -> None:
    odd, plain = read_odd(clean, tmp_path, oddity), read_tree(raf_db, clean)
    assert not odd.sentence
    assert [(s.key, s.expression) for s in odd.samples] == [
        (s.key, s.expression) for s in plain.samples
    ]


def test_missing_annotations_are_null(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "no_annotations", images="original", attributes=True)
    facts = {(s.bbox_xyxy, s.landmarks5, s.landmarks37, s.gender) for s in reading.samples}
    assert facts == {(None, None, None, None)}


@pytest.mark.parametrize(
    ("oddity", "warning"),
    [
        ("spelled_list", "the release spells it list_patition_label.txt"),
        ("unlisted_image", "1 images of .* are in no line of the list and are left out"),
        ("other_size", r"have another size \(train_00001_aligned.jpg \(112, 112\)"),
    ],
)
def test_it_is_read_with_a_warning(oddity: str, warning: str, clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, oddity)
    assert len(reading.samples) == N
    assert re.search(warning, reading.warnings)


def test_an_emptied_list_is_named(clean: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(clean, tmp_path / "copy")
    (copied / "basic" / "EmoLabel" / "list_patition_label.txt").write_text("")
    assert re.search(r"list_patition_label\.txt holds no line", read_tree(raf_db, copied).sentence)


STOPS = {
    "missing_image": r"aligned/test_0001 of line 25 is missing; restore it",
    "detected_faces": r"of basic test and the drawing's own data_card.json has",
    "tabs": r"line 1 reads 'train_00001.jpg\\t\d' where '<name>.jpg <code>'",
    "codes_from_0": r"reads '\w+.jpg 0' where '<name>.jpg <code>' with a code 1..7 belongs",
    "line_twice": r"train_00001 is found twice",
    "class_folders": r"has class folders train/1..7: this is a copy from the web",
}


def test_each_stopping_oddity_has_its_sentence() -> None:
    assert STOPS.keys() == STOPPING["raf_db"].keys()


@pytest.mark.parametrize(("oddity", "sentence"), STOPS.items())
def test_it_stops_before_the_first_sample(
    oddity: str, sentence: str, clean: Path, tmp_path: Path
) -> None:
    assert_stops(read_odd(clean, tmp_path, oddity), sentence)


def test_a_missing_image_is_listed_when_asked(clean: Path, tmp_path: Path) -> None:
    reading = read_odd(clean, tmp_path, "missing_image", allow_count=True)
    assert not reading.sentence
    assert reading.skipped == {"listed image is missing": 1}
    assert len(reading.samples) == N - 1


def test_a_real_tree_must_have_the_published_table(clean: Path, tmp_path: Path) -> None:
    root = spoiled(clean, tmp_path, "raf_db")
    (root / CARD_NAME).unlink()
    sentence = read_tree(raf_db, root).sentence
    assert "24 of basic train and the published release has 12271" in sentence
    assert "of basic test happiness and the published release has 1185" in sentence
    assert sum(raf_db.PUBLISHED["basic"][f"basic {s}"] for s in ("train", "test")) == 15_339


def test_the_root_may_be_the_subset_itself(clean: Path) -> None:
    reading = read_tree(raf_db, clean / "basic", allow_count=True)
    assert reading.samples[0].original_path == "Image/aligned/train_00001_aligned.jpg"


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="unpack RAF-DB there"):
        next(raf_db.read(tmp_path / "absent", Findings()))
    with pytest.raises(ValueError, match="RAF-DB has no 'both'; choose one of"):
        next(raf_db.read(tmp_path, Findings(), subset="both"))
    assert "list_patition_label.txt is missing" in read_tree(raf_db, tmp_path).sentence
