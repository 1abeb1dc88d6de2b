"""Switches: found by name, applied in order, each with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards.standins.oddities import HARMLESS, STOPPING, apply_oddities, check_oddities, oddities_of
from shards.standins.oddities.switches import edit, first, nest


def test_every_oddity_has_a_sentence_and_one_name() -> None:
    for dataset in HARMLESS.keys() | STOPPING.keys():
        assert not HARMLESS.get(dataset, {}).keys() & STOPPING.get(dataset, {}).keys()
        for oddity in oddities_of(dataset).values():
            assert oddity.__doc__ and oddity.__doc__.rstrip().endswith(".")


def test_unknown_names_are_refused_with_the_known() -> None:
    check_oddities("raf_db", ["all", "tabs"])
    with pytest.raises(ValueError, match="oddity 'green' of raf_db is none of all, final_newline"):
        check_oddities("raf_db", ["green"])


def test_all_means_the_harmless(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kept")
    apply_oddities(tmp_path, "raf_db", [])
    assert (tmp_path / "a").read_text() == "kept"
    with pytest.raises(FileNotFoundError):
        apply_oddities(tmp_path, "raf_db", ["tabs"])  # there is no list to alter


def test_lines_are_edited_and_folders_nested(tmp_path: Path) -> None:
    path = tmp_path / "train" / "a.txt"
    path.parent.mkdir()
    path.write_text("1\n2\n")
    edit(path, lambda lines: lines[::-1], end="")
    nest(path.parent)
    assert first(tmp_path, "train/train/*").read_text() == "2\n1"
