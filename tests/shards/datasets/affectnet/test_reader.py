"""Every oddity of AffectNet: what is kept, what is skipped and why, what stops the run."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from shards import Findings, Sample
from shards.datasets import affectnet
from tests.shards.trees import LANDMARKS, Tree2017, blob, encoded, name_of, write_2021, write_card


def read(root: Path, **options) -> tuple[list[Sample], Findings]:
    findings = Findings()
    return list(affectnet.read(root, findings, **options)), findings


def warnings(findings: Findings) -> list[str]:
    return [c["detail"] for c in findings.checks if c["outcome"] == "warn"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree2017:
    return Tree2017(tmp_path).fill(10, 4)


def test_a_plain_tree_comes_in_the_order_of_its_lists(tree: Tree2017):
    samples, findings = read(tree.write())
    assert not findings.failed and not warnings(findings)
    assert [s.split for s in samples] == ["train"] * 10 + ["val"] * 4
    first = samples[0]
    assert first.key == f"affectnet-a_1_{name_of(0)}"
    assert first.original_path == f"Manually_Annotated_Images/1/{name_of(0)}.jpg"
    assert first.bbox_xyxy == (8, 8, 40, 40)
    assert first.landmarks is not None and len(first.landmarks) == 136
    assert (first.valence, first.arousal, first.expression) == (-1, 0, 0)
    assert (first.variant, first.official_split) == ("manual2017", "training")


@pytest.mark.parametrize("start", ["#", "\ufeff", "\ufeff#", "no header"])
def test_header_variants(tree: Tree2017, start: str):
    tree.header = "" if start == "no header" else start + tree.header
    samples, findings = read(tree.write())
    assert len(samples) == 14 and not findings.failed


def test_columns_in_another_order_are_read_by_name(tree: Tree2017):
    swapped = tree.header.replace("valence,arousal", "arousal,valence")
    tree.header = swapped
    samples, _ = read(tree.write())
    assert (samples[0].valence, samples[0].arousal) == (0, -1)


def test_wrong_columns_name_the_file_and_the_columns(tree: Tree2017):
    tree.header = "path,label,relFCs\n"
    with pytest.raises(ValueError, match=r"training\.csv: line 1 has the columns 'path,label"):
        read(tree.write())


@pytest.mark.parametrize(
    ("images", "lists"),
    [
        ("Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated"),
        ("a/Manually_Annotated_Images/Manually_Annotated_Images", "a/lists"),
        (".", "."),
    ],
)
def test_nested_roots_are_found(tmp_path: Path, images: str, lists: str):
    tree = Tree2017(tmp_path, images)
    tree.lists = lists
    samples, findings = read(tree.fill(3, 2).write())
    assert len(samples) == 5 and not findings.failed
    assert all((tmp_path / s.original_path).is_file() for s in samples)


def test_uncertain_and_no_face_are_null_and_none_keeps_its_valence(tree: Tree2017):
    tree.add(20, code=8, va="0.1,0.2")
    tree.add(21, code=9, va="-2,-2")
    tree.add(22, code=10, va="-2.000000,-2.000000")
    samples, findings = read(tree.write())
    kept, uncertain, no_face = samples[10:13]
    assert (kept.valence, kept.expression, kept.expression_raw) == (0.1, None, 8)
    for sample, code in ((uncertain, 9), (no_face, 10)):
        assert (sample.valence, sample.arousal, sample.expression) == (None, None, None)
        assert (sample.expression_raw, sample.valence_raw) == (code, -2)
    assert not warnings(findings)


def test_a_sentinel_elsewhere_is_null_and_warned_about(tree: Tree2017):
    tree.add(20, code=1, va="-2,0.5")
    samples, findings = read(tree.write())
    assert (samples[10].valence, samples[10].arousal) == (None, None)
    assert "1 rows of training.csv hold -2 outside the classes" in warnings(findings)[0]


def test_the_null_box_is_kept_without_a_box(tree: Tree2017):
    tree.add(20, box="NULL,NULL,-1,-1")
    tree.add(21, box="134.0,20.0,30.0,30.0")
    samples, _ = read(tree.write())
    assert samples[10].bbox_xyxy is None and samples[10].quality == ("no_box",)
    assert samples[11].bbox_xyxy == (134, 20, 164, 50)


def test_the_case_of_a_name_is_mended(tree: Tree2017):
    path = tree.add(20)
    path.rename(path.with_suffix(".JPG"))
    samples, _ = read(tree.write())
    assert samples[10].original_path.endswith(".JPG")
    assert samples[10].quality == ("case_fixed",)


def test_few_missing_images_are_skipped_and_many_stop(tree: Tree2017):
    tree.add(20).unlink()
    samples, findings = read(tree.write())
    assert samples == [] and "more than 0.1 % means a wrong or partial tree" in findings.failed[0]
    samples, findings = read(tree.root, allow_count=True)
    assert len(samples) == 14 and findings.skipped == {"image is missing": 1}


def test_landmarks_outside_the_image_are_kept(tree: Tree2017):
    tree.add(20, landmarks=LANDMARKS.replace("20.00", "-300.25"))
    samples, findings = read(tree.write())
    assert min(samples[10].landmarks or ()) == -300.25 and not findings.failed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"landmarks": "1;2;3"}, "line 12 has 3 landmark numbers, not 136"),
        ({"va": "1.7,0.5"}, "line 12 has valence 1.7, arousal 0.5, neither -2 nor in"),
        ({"va": "nan,0.5"}, "line 12 has valence nan"),
        ({"va": "0_1,0.5"}, "line 12 has valence 0_1"),
        ({"va": "\u0660,0.5"}, "line 12 has valence \u0660"),
        ({"code": 11}, "line 12 has expression 11, not 0 to 10"),
        ({"code": "inf"}, "line 12 has expression inf, not 0 to 10"),
        ({"code": "2.7"}, "line 12 has expression 2.7, not 0 to 10"),
        ({"code": "1_0"}, "line 12 has expression 1_0, not 0 to 10"),
        ({"code": "\u0663"}, "line 12 has expression \u0663, not 0 to 10"),
        ({"code": "9" * 5000}, "line 12 has expression 999"),
        ({"code": "true"}, "line 12 has expression true"),
        ({"box": "8,8,1e308,32"}, "line 12 has a face box ['8', '8', '1e308', '32'] that is no"),
        ({"box": "inf,8,32,32"}, "line 12 has a face box"),
        ({"box": "a,b,c,d"}, "line 12 has a face box"),
        ({"va": "0.5"}, "line 12 has 8 fields, not 9"),
    ],
)
def test_wrong_rows_stop_with_file_line_and_rule(tree: Tree2017, change: dict, sentence: str):
    tree.add(20, **change)
    samples, findings = read(tree.write())
    assert samples == [] and sentence in findings.failed[0]
    assert "training.csv" in findings.failed[0]


@pytest.mark.parametrize("name", ["", "1/", "../../secret.jpg", "/etc/passwd", "1/../x"])
def test_a_row_that_names_no_file_below_the_images_stops(tree: Tree2017, name: str):
    tree.add(20)
    lines = tree.lines["training.csv"]
    lines[-1] = f"{name},{lines[-1].partition(',')[2]}"
    samples, findings = read(tree.write())
    assert samples == [] and f"training.csv: line 12 names {name!r}" in findings.failed[0]


def test_backslashes_are_said_to_be_backslashes(tree: Tree2017):
    lines = tree.lines["training.csv"]
    lines[:] = [line.replace("/", "\\", 1) for line in lines]
    samples, findings = read(tree.write())
    (sentence,) = findings.failed
    assert samples == [] and "with backslashes, as Windows writes them; write '/'" in sentence


def test_landmarks_that_are_no_pixels_stop_with_file_and_line(tree: Tree2017):
    tree.add(20, landmarks=LANDMARKS.replace("20.00", "1e308"))
    with pytest.raises(ValueError, match=r"training\.csv: line 12: '1e308.* plain numbers up to"):
        read(tree.write())


def test_the_automatic_list_is_added_by_an_option_that_exists(tree: Tree2017):
    tree.lines["automatically_annotated.csv"] = []
    tree.add(20, csv="automatically_annotated.csv")
    findings = read(tree.write())[1]
    details = [check["detail"] for check in findings.checks]
    assert any("add it with --option automatic=true" in detail for detail in details)
    assert len(read(tree.root, automatic=True, allow_count=True)[0]) == 15


def test_a_list_in_another_encoding_is_named(tree: Tree2017):
    path = tree.write() / tree.lists / "training.csv"
    path.write_bytes(path.read_bytes() + "é".encode("latin-1"))
    with pytest.raises(ValueError, match=r"training\.csv: line 12 is no UTF-8 text"):
        read(tree.root)
    text = path.read_bytes()[:-1].decode()
    path.write_bytes(text.encode("utf-16"))
    assert len(read(tree.root)[0]) == 14


def test_a_list_cut_in_the_middle_stops(tree: Tree2017):
    root = tree.write()
    path = root / tree.lists / "training.csv"
    path.write_text(path.read_text()[:-400])
    samples, findings = read(root)
    assert samples == [] and "line 11" in findings.failed[0]


def test_other_counts_than_published_stop_a_true_tree(tree: Tree2017):
    samples, findings = read(tree.write(card=False))
    assert samples == []
    assert any(
        "10 of training.csv and the published release has 414800" in s for s in findings.failed
    )
    samples, findings = read(tree.root, allow_count=True)
    assert len(samples) == 14 and len(warnings(findings)) == 2


def test_a_missing_list_and_missing_images_are_named(tree: Tree2017):
    root = tree.write()
    (root / tree.lists / "validation.csv").unlink()
    assert "validation.csv is missing below" in read(root)[1].failed[0]
    tree.images.rename(root / "elsewhere_gone")
    for folder in (root / "elsewhere_gone").iterdir():
        folder.rename(folder.with_name("x" + folder.name))
    assert "none of the first images listed" in read(root)[1].failed[0]


def test_the_automatic_list_is_added_on_request(tree: Tree2017):
    auto = Tree2017(tree.root, "Automatically_Annotated/Automatically_Annotated_Images")
    auto.lines = {"automatically_annotated.csv": []}
    auto.lists = "Automatically_Annotated/Automatically_annotated_file_list"
    auto.add(30, csv="automatically_annotated.csv", code="Neutral")
    auto.add(31, csv="automatically_annotated.csv", code=3)
    auto.write(card=False)
    root = tree.write()
    assert len(read(root)[0]) == 14
    samples, findings = read(root, automatic=True)
    assert not findings.failed
    found = [s for s in samples if s.annotation_source == "auto"]
    assert [s.expression for s in found] == [0, 3]
    assert {s.variant for s in found} == {"auto2017"}


def test_emonet_fills_a_column_and_never_runs_code(tree: Tree2017, tmp_path: Path):
    root = tree.write()
    names = [f"{1 + i % 7}/{name_of(i)}.jpg" for i in (10, 12)]
    pkl = tmp_path / "val_fullpath.pkl"
    pkl.write_bytes(pickle.dumps({name: {"landmarks_fan": np.zeros((68, 2))} for name in names}))
    samples, _ = read(root, emonet=[pkl])
    assert [s.emonet_clean for s in samples[10:]] == [True, False, True, False]
    assert {s.emonet_clean for s in samples[:10]} == {None}
    pkl.write_bytes(pickle.dumps(read))
    with pytest.raises(ValueError, match=r"no pickled dictionary of names.*wants to load"):
        read(root, emonet=[pkl])


def test_a_web_copy_is_refused_with_the_reason(tmp_path: Path):
    for name in ("Anger", "Contempt", "Disgust", "Fear", "Happy", "Neutral", "Sad"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert "one folder per expression, which is a web copy" in read(tmp_path)[1].failed[0]


def test_an_empty_folder_and_no_folder(tmp_path: Path):
    assert "holds neither training.csv" in read(tmp_path)[1].failed[0]
    with pytest.raises(FileNotFoundError, match="is no folder; unpack AffectNet there"):
        read(tmp_path / "none")


def test_the_release_of_2021(tmp_path: Path):
    samples, findings = read(write_2021(tmp_path / "train_set_and_more"))
    assert not findings.failed and not warnings(findings)
    assert [s.key for s in samples[:3]] == [f"affectnet-b_train_{n}" for n in (0, 3, 6)]
    assert len(samples) == 16 and {s.variant for s in samples} == {"npy2021"}
    assert (samples[5].expression, samples[5].valence, samples[5].arousal) == (5, 0.5, -0.25)
    assert samples[0].landmarks == tuple(map(float, range(136)))


def test_2021_nested_and_renamed_sets(tmp_path: Path):
    write_2021(tmp_path)
    (tmp_path / "val_set").rename(tmp_path / "valid_set")
    (tmp_path / "train_set").rename(tmp_path / "inner")
    (tmp_path / "train_set").mkdir()
    (tmp_path / "inner").rename(tmp_path / "train_set" / "train_set")
    (tmp_path / "test_set" / "images").mkdir(parents=True)
    (tmp_path / "test_set" / "annotations").mkdir()
    samples, findings = read(tmp_path)
    assert len(samples) == 16 and not findings.failed
    assert "is no part of the release" in warnings(findings)[0]


@pytest.mark.parametrize("value", [np.array(3), np.array([3.0]), np.array("3"), np.array("3.0")])
def test_2021_labels_of_any_plain_type(tmp_path: Path, value: np.ndarray):
    root = write_2021(tmp_path)
    np.save(root / "train_set/annotations/0_exp.npy", value)
    assert read(root)[0][0].expression == 3


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.array(8), "holds 8, not a class 0 to 7"),
        (np.array("happy"), "no number"),
        (np.frombuffer(b"\xff\xff\xff\xff", "<U1"), "no number"),  # no Unicode: a SystemError
        (np.array({"a": 1}, dtype=object), "pickles are never opened"),
    ],
)
def test_2021_wrong_labels_stop(tmp_path: Path, value: np.ndarray, sentence: str):
    root = write_2021(tmp_path)
    np.save(root / "train_set/annotations/0_exp.npy", value, allow_pickle=True)
    samples, findings = read(root)
    assert samples == [] and sentence in findings.failed[0] and "0_exp.npy" in findings.failed[0]


def test_2021_missing_files(tmp_path: Path):
    root = write_2021(tmp_path)
    (root / "train_set/annotations/3_aro.npy").unlink()
    assert "lack their image or a label file" in read(root)[1].failed[0]
    samples, findings = read(root, allow_count=True)
    assert len(samples) == 15 and findings.skipped == {"image or label file is missing": 1}


def test_both_releases_at_once_are_refused(tree: Tree2017):
    root = tree.write()
    write_2021(root / "b")
    write_card(root, {})
    assert "holds both the release of 2017" in read(root)[1].failed[0]


def test_squares_that_are_none_are_warned_about(tmp_path: Path):
    tree = Tree2017(tmp_path).fill(4, 1)
    for i in range(20, 30):
        tree.add(i, content=encoded(blob(i)[:, :40]))
    assert "are squares with the box in the middle" in warnings(read(tree.write())[1])[0]
