"""Completion markers: what is written is read, and what is damaged says so."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from shards import Sample, write_shards
from shards.building.markers import (
    Marker,
    Proof,
    index_name,
    marker_name,
    prove_tar,
    read_marker,
    write_marker,
)
from shards.building.store import Store
from shards.building.tars import TarFacts
from shards.image import encode_jpeg
from shards.index import LabelIndex
from tests.shards.trees import blob


@pytest.fixture
def written(tmp_path: Path) -> tuple[Store, Marker]:
    """A real shard of three images and its marker."""
    samples = (
        Sample(key=f"k{i}", original_path=f"{i}.jpg", dataset="table", variant="v", split="val")
        for i in range(3)
    )
    write_shards(((sample, encode_jpeg(blob(0))) for sample in samples), tmp_path / "out")
    index = LabelIndex.open(tmp_path / "out")
    facts = TarFacts(**index.metadata["tars"]["00000.tar"])
    (rows,) = index.table.combine_chunks().to_batches()
    skipped, examples = {"truncated": 2}, {"truncated": ["a.jpg", "ü.jpg"]}
    marker = Marker(rows, 7, facts, "plan", skipped, examples, "times")
    store = Store.at(tmp_path / "out")
    write_marker(store, "00000.tar", marker)
    return store, marker


def test_a_marker_says_what_it_was_told(written: tuple[Store, Marker]):
    store, marker = written
    found = read_marker(store.local / marker_name("00000.tar"))
    assert found.rows.equals(marker.rows)
    assert found[1:] == marker[1:]


def test_a_marker_lies_packed_beside_the_tars(written: tuple[Store, Marker]):
    store, marker = written
    many = marker._replace(rows=marker.rows.take(pa.array([0, 1, 2] * 300)))
    write_marker(store, "00000.tar", many)
    path = store.local / marker_name("00000.tar")
    assert path.stat().st_size < many.rows.nbytes / 3
    assert read_marker(path).rows.equals(many.rows)


def test_a_tar_is_proved_by_every_one_of_its_bytes(written: tuple[Store, Marker]):
    store, marker = written
    path = store.local / "00000.tar"
    proof = Proof(path, 0, marker.tar.sha256)
    assert prove_tar(proof) == (0, True)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert prove_tar(proof) == (0, False)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_cut_marker_is_one_sentence(written: tuple[Store, Marker], share: float):
    path = written[0].local / marker_name("00000.tar")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"00000\.arrow is cut or says nothing of a shard; run"):
        read_marker(path)


def test_a_table_of_others_is_no_marker_and_a_missing_one_is_missing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_marker(tmp_path / "none.arrow")
    table = pa.table({"a": [1]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    with pytest.raises(ValueError, match="says nothing of a shard"):
        read_marker(tmp_path / "a.arrow")


def test_names_follow_from_the_tar():
    assert marker_name("00012.tar") == ".work/00012.arrow"
    assert index_name("00012.tar") == "00012.idx"


def test_a_marker_with_any_bit_flipped_is_refused(written: tuple[Store, Marker]):
    path = written[0].local / marker_name("00000.tar")
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"00000\.arrow is cut or says nothing"):
            read_marker(path)
