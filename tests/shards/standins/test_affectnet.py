"""The stand-in AffectNet: its layout, its oddities, and that a seed fixes every byte."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards import Findings
from shards.datasets import affectnet
from shards.standins.affectnet import COLUMNS, draw_affectnet

IMAGES, LISTS = "Manually_Annotated_Images", "Manually_Annotated_file_lists"


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def rows(root: Path, name: str) -> list[dict[str, str]]:
    with open(root / LISTS / name, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("cartoon") / "affectnet"
    steps: list[tuple[int, int]] = []
    card = draw_affectnet(
        root, n=144, level="normal", jobs=2, progress=lambda *step: steps.append(step)
    )
    return root, card, steps


def test_the_layout_is_the_official_one(drawn):
    root, card, _ = drawn
    for name, count in card["counts"].items():
        listed = rows(root, name)
        assert tuple(listed[0]) == COLUMNS and len(listed) == count
        for row in listed:
            assert re.fullmatch(r"\d+/[0-9a-f]{56}\.\w+", row["subDirectory_filePath"])
            assert (root / IMAGES / row["subDirectory_filePath"]).is_file()
            assert len(row["facial_landmarks"].split(";")) == 136
    assert sum(card["counts"].values()) == 144
    assert len([p for p in (root / IMAGES).rglob("*") if p.is_file()]) == 144


def test_images_are_square_with_the_box_in_the_middle(drawn):
    root, _, _ = drawn
    for row in rows(root, "validation.csv"):
        with Image.open(root / IMAGES / row["subDirectory_filePath"]) as image:
            assert image.mode == "RGB"
            width, height = image.size
        x, y, side = (int(row[f"face_{k}"]) for k in ("x", "y", "width"))
        assert width == height == side + 2 * x and x == y and int(row["face_height"]) == side
        assert 0.12 < x / side < 0.18


def test_labels_are_in_range_and_minus_two_only_where_the_class_says_so(drawn):
    root, card, _ = drawn
    listed = rows(root, "training.csv") + rows(root, "validation.csv")
    for row in listed:
        values = float(row["valence"]), float(row["arousal"])
        if row["expression"] in ("9", "10"):
            assert values == (-2, -2)
        else:
            assert max(map(abs, values)) <= 1
    codes = Counter(int(row["expression"]) for row in listed)
    assert set(codes) <= set(range(11)) and codes[9] and codes[10] and codes[8]
    assert sum(card["labelled"].values()) == 144 - codes[9] - codes[10]


def test_the_oddities_are_there(drawn):
    root, _, _ = drawn
    listed = rows(root, "training.csv") + rows(root, "validation.csv")
    endings = Counter(row["subDirectory_filePath"].rsplit(".")[-1] for row in listed)
    assert endings["jpg"] > 100 and endings["png"] and endings["JPG"]
    outside = 0
    for row in listed:
        size = int(row["face_width"]) + 2 * int(row["face_x"])
        marks = np.array(row["facial_landmarks"].split(";"), float)
        outside += bool((marks > size).any()) and row["expression"] != "10"
    assert 1 <= outside <= 30


def test_the_labels_cover_the_plane(tmp_path):
    from shards.standins.face import label, units_for, wanted_point

    rng = np.random.default_rng(0)
    points = np.array([label(units_for(*wanted_point(rng), rng)) for _ in range(300)])
    quadrants = Counter(map(tuple, (points > 0).tolist()))
    assert min(quadrants.values()) > 30
    assert (points.std(axis=0) > 0.35).all()


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_jobs(tmp_path):
    for name, jobs in (("first", 1), ("second", 2)):
        draw_affectnet(tmp_path / name, n=48, seed=5, level="easy", jobs=jobs)
    assert tree(tmp_path / "first") == tree(tmp_path / "second")


def test_another_seed_gives_other_faces(tmp_path):
    for seed in (1, 2):
        draw_affectnet(tmp_path / str(seed), n=24, seed=seed, jobs=1)
    names = [{p.name for p in (tmp_path / str(seed) / IMAGES).rglob("*.*")} for seed in (1, 2)]
    assert not names[0] & names[1]


def test_people_are_never_shared(drawn):
    from shards.standins.affectnet import Cast

    _, card, _ = drawn
    plan = Cast(144, 0, "normal", True)
    split = {person: plan.split_of(person) for person in range(plan.persons)}
    assert Counter(split.values()) == {
        "train": card["identities"]["training.csv"],
        "val": card["identities"]["validation.csv"],
    }
    people = [plan.path_of(person, k, "jpg") for person in split for k in range(4)]
    assert len(set(people)) == 144


def test_the_card_says_that_it_is_a_stand_in(drawn):
    root, card, steps = drawn
    assert json.loads((root / "data_card.json").read_text()) == card
    assert card["stand_in"] is True and card["level"] == "normal" and card["seed"] == 0
    assert "No photograph" in card["what"] and card["shared_identities"] == 0
    assert steps[-1] == (144, 144) and [done for done, _ in steps] == sorted(d for d, _ in steps)


def test_easy_faces_are_whole_without_oddities(tmp_path):
    draw_affectnet(tmp_path / "raw", n=24, level="easy", odd=False, jobs=1)
    for row in rows(tmp_path / "raw", "training.csv") + rows(tmp_path / "raw", "validation.csv"):
        marks = np.array(row["facial_landmarks"].split(";"), float)
        low, high = int(row["face_x"]), int(row["face_x"]) + int(row["face_width"])
        assert marks.min() >= low and marks.max() <= high
        assert row["subDirectory_filePath"].endswith(".jpg") and int(row["expression"]) < 8


def test_a_killed_run_is_drawn_again(tmp_path):
    root = tmp_path / "raw"
    draw_affectnet(root, n=24, jobs=1)
    whole = tree(root)
    (root / "data_card.json").unlink()  # as if it had been killed before its end
    next(iter((root / IMAGES).rglob("*.jpg"))).write_bytes(b"cut")
    (root / IMAGES / "1" / "left-over.jpg").write_bytes(b"of an earlier run")
    draw_affectnet(root, n=24, jobs=1)
    assert tree(root) == whole


def test_true_data_is_never_overwritten(tmp_path):
    photograph = tmp_path / "Manually_Annotated_Images" / "1" / "photo.jpg"
    photograph.parent.mkdir(parents=True)
    photograph.write_bytes(b"licensed")
    with pytest.raises(ValueError, match=r"may be true data; choose another --out"):
        draw_affectnet(tmp_path, n=24)
    assert photograph.read_bytes() == b"licensed"


def test_bad_wishes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="level 'silly' is none of easy, normal, hard"):
        draw_affectnet(tmp_path, level="silly")
    with pytest.raises(ValueError, match="n 5 is below 24"):
        draw_affectnet(tmp_path, n=5)
    assert not any(tmp_path.iterdir())


def test_oddities_are_added_by_name(tmp_path: Path):
    draw_affectnet(tmp_path / "raw", n=24, level="easy", odd=["all"], jobs=1)
    findings = Findings()
    rows = [s.original_path for s in affectnet.read(tmp_path / "raw", findings)]
    assert not findings.failed
    assert len(rows) == 24  # the box, the empty and the cut image are for the task to find
    assert sum((tmp_path / "raw" / path).stat().st_size == 0 for path in rows) == 1
    lists = tmp_path / "raw" / "Manually_Annotated_file_lists"
    assert "NULL" in (lists / "training.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("oddity", "sentence"),
    [("missing_images", "1 of 20 images .* are missing"), ("cut_list", "line 21 has . fields")],
)
def test_oddities_that_stop_a_run(oddity: str, sentence: str, tmp_path: Path):
    draw_affectnet(tmp_path / "raw", n=24, level="easy", odd=[oddity], jobs=1)
    findings = Findings()
    assert not list(affectnet.read(tmp_path / "raw", findings))
    assert re.search(sentence, "\n".join(findings.failed))


def test_an_unknown_oddity_lists_the_known(tmp_path: Path):
    with pytest.raises(ValueError, match="'silly' of affectnet_2017 is none of all, null_box"):
        draw_affectnet(tmp_path / "raw", n=24, odd=["silly"])
    assert not (tmp_path / "raw").exists()
