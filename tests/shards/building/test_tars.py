"""What is in the tars and next to them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import LabelIndex, Sample, write_shards
from shards.building.tars import TarWriter, ustar_header
from shards.image import encode_jpeg, encode_png

READ_WITH_WEBDATASET = """  # in a process of its own: webdataset leaves its files open
import hashlib, sys, webdataset
for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False):
    extension = "jpg" if "jpg" in sample else "png"
    row = int.from_bytes(sample["row"], "little")
    print(sample["__key__"], extension, row, hashlib.sha256(sample[extension]).hexdigest())
"""


def picture(seed: int, size: int = 32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (size, size, 3), np.uint8)


def items(n: int = 23):
    for i in range(n):
        image = picture(i)
        sample = Sample(
            key=f"drawn_{i:03d}",
            original_path=f"a/{i}.jpg",
            dataset="affectnet",
            variant="manual2017",
            split="train" if i % 3 else "val",
            valence=i / n if i != 5 else None,
            arousal=-i / n if i != 5 else None,
            expression=i % 8,
            fold=i % 5,
            landmarks=tuple(float(k) for k in range(136)) if i % 2 else None,
        )
        yield sample, encode_jpeg(image) if i % 4 else encode_png(image)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> LabelIndex:
    return write_shards(items(), tmp_path_factory.mktemp("drawn"), samples_per_shard=10)


@given(
    name=st.text("abcXYZ019_-./", min_size=1, max_size=100).filter(lambda s: s[-1] != "/"),
    size=st.integers(0, 8**11 - 1),
)
def test_header_equals_tarfile(name: str, size: int):
    info = tarfile.TarInfo(name)
    info.size = size
    assert ustar_header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


LARGE = bytes(range(256)) * 10_000  # more than is written at a time


def test_tar_equals_tarfile(tmp_path: Path):
    ours = TarWriter(tmp_path / "a.tar")
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as theirs:
        for i, content in enumerate(
            [b"", b"x" * 511, b"x" * 512, b"x" * 513, b"y" * 20_000, LARGE, b"z" * 700, LARGE]
        ):
            ours.add(f"k{i}", {"jpg": content, "row": b"12345678"})
            for name, data in ((f"k{i}.jpg", content), (f"k{i}.row", b"12345678")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                theirs.addfile(info, io.BytesIO(data))
    facts = ours.finish()
    written = (tmp_path / "a.tar").read_bytes()
    assert written == expected.getvalue()
    assert ours.digests[5] == ours.digests[7] == hashlib.sha256(LARGE).digest()
    assert ours.checksums[6] == zlib.crc32(b"z" * 700)
    assert facts == (8, len(written), hashlib.sha256(written).hexdigest())


def test_idx_equals_wds2idx(index: LabelIndex, tmp_path: Path):
    for tar in index.tars:
        theirs = tmp_path / tar.with_suffix(".idx").name
        command = [sys.executable, "-m", "wds2idx", str(tar), str(theirs)]
        subprocess.run(command, check=True, capture_output=True)
        assert theirs.read_bytes() == tar.with_suffix(".idx").read_bytes()


def test_plain_webdataset_reads_the_shards(index: LabelIndex):
    command = [sys.executable, "-c", READ_WITH_WEBDATASET, *map(str, index.tars)]
    read = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    table = index.table
    for row, line in enumerate(read):
        key, extension, held, digest = line.split()
        assert (key, int(held)) == (table["sample_key"][row].as_py(), row)
        assert extension == table["extension"][row].as_py()
        assert bytes.fromhex(digest) == table["sha256"][row].as_py()
    assert len(read) == len(index)


def test_verify_finds_nothing_and_then_a_changed_byte(index: LabelIndex, tmp_path: Path):
    assert index.verify() == []
    other = write_shards(items(5), tmp_path / "copy")
    tar = other.tars[0]
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    assert "is not the tar its index was written for" in other.verify()[0]
    tar.unlink()
    assert "is missing" in other.verify()[0]


def test_where_finds_what_a_loop_finds(index: LabelIndex):
    rows = index.table.to_pylist()

    def expected(condition):
        return [i for i, row in enumerate(rows) if condition(row)]

    assert index.where(split="train").rows.tolist() == expected(lambda r: r["split"] == "train")
    assert index.where(fold=[0, 2]).rows.tolist() == expected(lambda r: r["fold"] in (0, 2))
    assert index.where(valence=None).rows.tolist() == [5]
    assert index.where(shard="00001.tar").rows.tolist() == list(range(10, 20))
    both = index.where(split="val", filter=pc.field("valence") > 0.3)
    assert both.rows.tolist() == expected(
        lambda r: r["split"] == "val" and (r["valence"] or 0) > 0.3
    )


def test_selection_gathers_in_its_own_order(index: LabelIndex):
    order = np.array([22, 0, 13, 0, 7])
    chosen = index.where().take(order)
    assert chosen.column("sample_key").tolist() == [f"drawn_{i:03d}" for i in order]
    np.testing.assert_array_equal(
        chosen.targets(), np.stack([order / 23, -order / 23], 1).astype(np.float32)
    )
    assert chosen.digest != index.where().digest


def test_nulls_in_wanted_targets_are_refused_with_the_count(index: LabelIndex):
    with pytest.raises(ValueError, match="1 of 23 selected rows have no valence"):
        index.where().targets()
    assert index.where(filter=pc.field("valence").is_valid()).targets().shape == (22, 2)


def test_fixed_lists_come_as_a_matrix(index: LabelIndex):
    chosen = index.where(filter=pc.field("landmarks").is_valid())
    assert chosen.column("landmarks").shape == (11, 136)


def test_several_folders_are_one_index(index: LabelIndex, tmp_path: Path):
    other = write_shards(items(7), tmp_path / "b", samples_per_shard=4)
    both = LabelIndex.open([index.folders[0], other.folders[0]])
    assert len(both) == 30 and len(both.tars) == 5
    rows = np.array([0, 22, 23, 29])
    assert both.folder_of_row(rows).tolist() == [0, 0, 1, 1]
    assert both.row_in_folder(rows).tolist() == [0, 22, 0, 6]
    assert both.read(25) == other.read(2)
    assert both.where(source=1).rows.tolist() == list(range(23, 30))
    assert both.verify() == []
    assert both.digest not in (index.digest, other.digest)


def test_same_input_same_bytes(index: LabelIndex, tmp_path: Path):
    again = write_shards(items(), tmp_path / "again", samples_per_shard=10)
    names = sorted(p.name for p in again.folders[0].iterdir())
    assert names == sorted(p.name for p in index.folders[0].iterdir())
    for name in names:
        assert (again.folders[0] / name).read_bytes() == (index.folders[0] / name).read_bytes()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda i: i.where(split="tain"), "split 'tain' does not exist; it is one of train"),
        (lambda i: i.where(colour=1), "no column 'colour'"),
        (lambda i: i.where(fold="x"), "fold holds int8"),
        (lambda i: i.where(filter=pc.field("nope") > 1), "does not fit the index"),
    ],
)
def test_wrong_conditions_are_named(index: LabelIndex, call, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        call(index)


def test_folders_without_shards_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"labels\.arrow does not exist"):
        LabelIndex.open(tmp_path)
    (tmp_path / "labels.arrow").write_bytes(b"cut")
    with pytest.raises(ValueError, match="is cut or no Arrow file"):
        LabelIndex.open(tmp_path)


def test_a_repeated_key_and_a_broken_image_are_named(tmp_path: Path):
    sample, content = next(items())
    with pytest.raises(ValueError, match="comes twice"):
        write_shards([(sample, content)] * 2, tmp_path)
    with pytest.raises(ValueError, match="drawn_000: the image is truncated"):
        write_shards([(sample, content[:-900])], tmp_path)
    assert not list(tmp_path.glob("*.part"))
