"""Stand-ins: the same arguments draw the same bytes, nothing of anyone is overwritten, and what is
drawn passes for what it stands in for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from shards.datasets import aff_wild, aff_wild2, affectnet
from shards.datasets.card import CARD_NAME, DataCard, expected_counts, read_card, write_card
from shards.standins import layouts
from shards.standins.oddities import HARMLESS, STOPPING, oddities_of
from tests.shards.reading import read_tree

SMALL: dict[Callable[..., DataCard], dict[str, int]] = {
    layouts.draw_aff_wild: {"videos": 2, "frames": 3},
    layouts.draw_aff_wild2: {"videos": 2, "frames": 3},
    layouts.draw_afew_va: {"clips": 2, "frames": 2},
    layouts.draw_raf_db: {"n": 6},
    layouts.draw_affectnet_2021: {"n": 6},
}


def digest(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("draw", SMALL, ids=lambda draw: draw.__name__)
def test_the_same_seed_draws_the_same_bytes(draw: Callable[..., DataCard], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    card = draw(tmp_path / "a", **SMALL[draw], progress=lambda *step: steps.append(step))
    assert card == read_card(tmp_path / "a")
    assert card == draw(tmp_path / "b", **SMALL[draw])
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert steps[-1][0] == steps[-1][1] == len(steps)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_film_has_the_same_bytes_whatever_memory_held(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (144, 176, 3), dtype=np.uint8)
    frames = [np.roll(picture, 3 * i, axis=1) for i in range(30)]
    path, seen = tmp_path / f"film{suffix}", set()
    for i in range(60):  # x264's assembly gave one film in thirty other bytes
        rng.integers(0, 255, 500_000 + 37 * i, dtype=np.uint8)  # what freed memory now holds
        layouts.write_video(path, frames, 25)
        seen.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(seen) == 1
    with av.open(str(path)) as container:
        order = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert len(order) == len(frames)
    assert (order != sorted(order)) == (suffix == ".mp4")  # H.264 sends frames out of order


def test_another_seed_draws_other_people(tmp_path: Path) -> None:
    for seed in (0, 1):
        layouts.draw_affectnet_2021(tmp_path / str(seed), n=2, seed=seed)
    first, second = (digest(tmp_path / str(seed)) for seed in (0, 1))
    assert first.keys() == second.keys()
    name = "train_set/images/0.jpg"
    assert first[name] != second[name]


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("true data")
    with pytest.raises(ValueError, match="may be true data; choose another folder"):
        layouts.draw_raf_db(tmp_path, n=6)
    assert (tmp_path / "mine.txt").read_text() == "true data"


def test_impossible_wishes_are_refused_before_drawing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"oddity 'green' of affwild is none of all, missing_pts"):
        layouts.draw_aff_wild(tmp_path / "out", odd=["green"])
    with pytest.raises(ValueError, match="videos 1 is below 2"):
        layouts.draw_aff_wild(tmp_path / "out", videos=1)
    assert not (tmp_path / "out").exists()


def test_labels_and_faces_move_smoothly(tmp_path: Path) -> None:
    layouts.draw_aff_wild(tmp_path / "film", videos=2, frames=12)
    samples = read_tree(aff_wild, tmp_path / "film").samples[:12]
    labels = np.array([(s.valence, s.arousal) for s in samples])
    boxes = np.array([s.bbox_xyxy for s in samples])
    assert 0 < np.abs(np.diff(labels, axis=0)).max() < 0.35
    assert 0 < np.abs(np.diff(boxes, axis=0)).max() < 16


def test_oddities_are_switched_by_name(tmp_path: Path) -> None:
    layouts.draw_aff_wild2(tmp_path / "odd", videos=2, frames=3, odd=["half_null"])
    sample = read_tree(aff_wild2, tmp_path / "odd").samples[0]
    assert (sample.valence, sample.valence_raw) == (None, -5)


def test_every_oddity_says_what_becomes_of_it() -> None:
    for dataset in HARMLESS.keys() | STOPPING.keys():
        assert all(oddity.__doc__ for oddity in oddities_of(dataset).values())


def test_affectnet_2021_is_read_by_its_reader(tmp_path: Path) -> None:
    layouts.draw_affectnet_2021(tmp_path / "clean", n=12)
    layouts.draw_affectnet_2021(tmp_path / "odd", n=12, odd=["all"])
    clean, odd = (read_tree(affectnet, tmp_path / name) for name in ("clean", "odd"))
    assert not clean.sentence and not odd.sentence
    assert len(clean.samples) == 12
    assert [(s.key, s.valence) for s in clean.samples] == [(s.key, s.valence) for s in odd.samples]


def test_a_card_replaces_the_published_counts(tmp_path: Path) -> None:
    published = {"clips": 600}
    assert expected_counts(tmp_path, "afew_va", published)[0] == published
    write_card(tmp_path, DataCard("afew_va", 0, "easy", {"clips": 3}))
    assert expected_counts(tmp_path, "afew_va", published)[0] == {"clips": 3}
    with pytest.raises(ValueError, match="says 'afew_va', and it is read as 'raf_db'"):
        expected_counts(tmp_path, "raf_db", {})


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"counts": {}}), json.dumps({"counts": 3})])
def test_a_broken_card_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / CARD_NAME).write_text(text)
    with pytest.raises(ValueError, match="is no data card"):
        read_card(tmp_path)
