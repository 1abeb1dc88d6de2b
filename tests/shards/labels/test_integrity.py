"""Labels and places are those that were written, and each image is its row's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shards import LabelIndex, write_shards
from shards.building.repair import repair
from shards.image import encode_png
from shards.index import checksum
from shards.labels.integrity import digest_of
from shards.labels.opening import open_table
from tests.shards.building.test_tars import items
from tests.shards.labels.test_opening import put, rewritten


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    write_shards(items(), out, samples_per_shard=10)
    return out


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("valence", -4 / 23),  # one bit: its sign
        ("expression", 5),
        ("fold", None),
        ("landmarks", [0.5] * 136),
        ("official_split", "val"),
        ("split_by_task", [("va", "val")]),
        ("quality", ["case_fixed"]),
        ("subject_id", "x"),
        ("crop_affine", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        ("width", 31),
        ("sha256", bytes(32)),
        ("image_size", 900),
        ("crc", 3),
    ],
)
def test_a_changed_label_or_place_is_found_by_the_digest(clean, copy, column, value):
    rewritten(clean, copy, column, put(4, value))
    problems = LabelIndex.open(copy).verify()
    assert any("the labels or places in" in problem for problem in problems)


def test_the_digest_is_of_values_and_not_of_how_they_lie(clean):
    whole = open_table(clean)
    cut = pa.concat_tables([whole.slice(0, 3), whole.slice(3)])
    copied = pa.Table.from_pylist(whole.to_pylist(), schema=whole.schema)
    first = digest_of("00000.tar", "0", whole)
    assert first == digest_of("00000.tar", "0", cut) == digest_of("00000.tar", "0", copied)
    assert first != digest_of("00000.tar", "0", whole.slice(1))
    assert first != digest_of("00000.tar", "1", whole)


def test_every_image_has_its_checksum(clean):
    import zlib

    index = LabelIndex.open(clean)
    for row, crc in enumerate(index.table["crc"].to_pylist()):
        assert crc == checksum(index.read(row)) == zlib.crc32(index.read(row))


def test_swapped_tars_are_refused_by_whoever_reads(clean, copy):
    """Images of one size, so that two tars differ in nothing but whose faces they hold."""
    folder = copy / "swapped"
    flat = [encode_png(np.full((8, 8, 3), 10 + i, np.uint8)) for i in range(20)]
    pairs = [(sample, image) for (sample, _), image in zip(items(20), flat, strict=True)]
    index = write_shards(pairs, folder, samples_per_shard=10)
    first, second = (tar.read_bytes() for tar in index.tars)
    assert len(first) == len(second)
    index.tars[0].write_bytes(second)
    index.tars[1].write_bytes(first)
    swapped = LabelIndex.open(folder)
    for row in (0, 5, 19):
        with pytest.raises(ValueError, match="should be drawn_"):
            swapped.read(row)
    with pytest.raises(ValueError, match="should be drawn_"):
        swapped.check_tar(0)
    assert len(swapped.verify()) >= 2


def test_a_row_number_that_is_another_one_is_refused(copy):
    index = LabelIndex.open(copy)
    offset, size = (index.table[name][3].as_py() for name in ("shard_offset", "image_size"))
    content = bytearray(index.tars[0].read_bytes())
    place = content.index((3).to_bytes(8, "little"), offset + size)
    content[place] = 4
    index.tars[0].write_bytes(content)
    with pytest.raises(ValueError, match=r"drawn_003\.row holds KEY\.row 4, not 3"):
        index.read(3)
    assert index.read(4)


def test_a_changed_image_and_a_cut_or_lost_tar_are_refused(copy):
    index = LabelIndex.open(copy)
    offset = index.table["shard_offset"][2].as_py()
    content = bytearray(index.tars[0].read_bytes())
    content[offset + 100] ^= 1
    index.tars[0].write_bytes(content)
    with pytest.raises(ValueError, match=r"the image of row 2 .* is not the one that was written"):
        index.read(2)
    index.check_tar(0)  # size, first and last row: an image is for whoever reads it
    index.tars[0].write_bytes(content[:-512])
    with pytest.raises(ValueError, match="it is cut or another tar"):
        index.read(3)
    index.tars[0].unlink()
    with pytest.raises(FileNotFoundError, match="is missing though its index names it"):
        index.check_tar(0)


@pytest.mark.parametrize(
    "harm", ["cut", "emptied", "swapped", "removed", "longer", "tail", "bare", "other"]
)
def test_a_changed_idx_is_found_and_repaired(copy, harm):
    first, second = copy / "00000.idx", copy / "00001.idx"
    whole = first.read_bytes()
    line = whole.split(b"\n")[1]
    _, _, _, _, _, row, _, held = line.split()
    json = b" json %d 9 %s.json" % (int(row) + 1024, held.removesuffix(b".row"))
    if harm == "removed":
        first.unlink()
    else:
        changed = {
            "cut": whole[:-9],
            "emptied": b"",
            "swapped": second.read_bytes(),
            "longer": whole + b"\n",
            "tail": whole.replace(b"\n", b" json 1 2 x.json\n", 2),
            "bare": whole.replace(line, json),  # what may follow, behind nothing
            "other": whole.replace(line, line + json.replace(b" 9 ", b" -9 ")),
        }
        first.write_bytes(changed[harm])
    (problem,) = LabelIndex.open(copy).verify()
    assert "00000.idx" in problem and f"inspect {copy} --repair" in problem
    repair(copy)
    assert first.read_bytes() == whole and not LabelIndex.open(copy).verify()
