"""What follows from tars is written again, byte for byte; what does not is refused untouched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shards import LabelIndex, write_shards
from shards.building.repair import repair
from shards.labels.schema import FORMAT
from tests.shards.building.test_tars import items
from tests.shards.labels.test_opening import as_format_1, put, rewritten


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    write_shards(items(), out, samples_per_shard=10)
    repair(out)  # writes the report that `write_shards` does not
    return out


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean, tmp_path / "copy")
    return tmp_path / "copy"


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "report.json"}


def test_nothing_is_done_where_all_is_well(clean, copy):
    assert repair(copy) == [] and files(copy) == files(clean)


def test_every_idx_and_the_report_come_back(clean, copy):
    (copy / "00000.idx").unlink()
    (copy / "00001.idx").write_bytes(b"garbled")
    (copy / "report.json").unlink()
    assert repair(copy) == ["wrote 00000.idx", "wrote 00001.idx", "wrote report.json"]
    assert files(copy) == files(clean)


@pytest.mark.parametrize(
    ("column", "value"),
    [("shard_offset", 512 * 9), ("image_size", 7), ("crc", 0), ("width", 1), ("sha256", bytes(32))],
)
def test_places_come_back_from_the_tars_and_the_digest_proves_them(clean, copy, column, value):
    rewritten(clean, copy, column, put(4, value))
    assert repair(copy) == ["wrote labels.arrow"]
    mended = LabelIndex.open(copy)
    assert mended.verify() == [] and mended.table.equals(LabelIndex.open(clean).table)
    assert mended.digest == LabelIndex.open(clean).digest


@pytest.mark.parametrize(
    ("column", "value"), [("valence", -0.5), ("expression", 2), ("fold", None)]
)
def test_a_changed_label_is_refused(clean, copy, column, value):
    rewritten(clean, copy, column, put(4, value))
    before = files(copy)
    with pytest.raises(ValueError, match="are not those that were written, and stand nowhere else"):
        repair(copy)
    assert files(copy) == before


def test_a_changed_image_is_refused(copy):
    content = bytearray((copy / "00001.tar").read_bytes())
    content[700] ^= 1
    (copy / "00001.tar").write_bytes(content)
    with pytest.raises(ValueError, match="write the shards again"):
        repair(copy)


def test_labels_that_are_lost_are_refused_unless_the_tars_hold_them(clean, copy, tmp_path):
    (copy / "labels.arrow").unlink()
    with pytest.raises(ValueError, match=r"labels\.arrow is lost and .* holds no KEY\.json"):
        repair(copy)
    out = tmp_path / "json"
    whole = write_shards(items(), out, samples_per_shard=10, with_json=True)
    rows, files_before = whole.table.to_pylist(), files(out)
    os.truncate(out / "labels.arrow", 900)
    (out / "00002.idx").unlink()
    assert repair(out) == ["wrote labels.arrow", "wrote 00002.idx", "wrote report.json"]
    mended = LabelIndex.open(out)
    assert mended.verify() == []
    lost = ("src_width", "src_height")
    for found, row in zip(mended.table.to_pylist(), rows, strict=True):
        assert {k: v for k, v in found.items() if k not in lost} == {
            k: v for k, v in row.items() if k not in lost
        }
    assert {n: c for n, c in files(out).items() if n != "labels.arrow"} == {
        n: c for n, c in files_before.items() if n != "labels.arrow"
    }


def test_an_index_of_format_1_is_written_as_now(clean, tmp_path):
    as_format_1(clean, tmp_path)
    assert "wrote labels.arrow" in repair(tmp_path)
    now = LabelIndex.open(tmp_path)
    assert now.metadata["format"] == FORMAT and now.verify() == []
    assert now.table.equals(LabelIndex.open(clean).table)


def test_a_folder_without_tars_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no tar"):
        repair(tmp_path)
    assert not list(tmp_path.iterdir())
