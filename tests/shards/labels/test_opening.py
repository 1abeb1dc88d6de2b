"""What is refused before a row is trusted, and that damage never ends the process."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shards import LabelIndex, write_shards
from shards.durable import write_aside
from shards.labels import opening
from shards.labels.opening import open_table
from shards.labels.schema import LENGTHS, SCHEMA, WIDER, metadata_of, with_metadata
from tests.shards.building.test_tars import items


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    write_shards(items(), out, samples_per_shard=10)
    return out


def rewritten(clean: Path, out: Path, column: str = "", change=None, metadata=None) -> Path:
    """labels.arrow of `clean` in `out`, a column or the metadata changed by somebody."""
    table = open_table(clean)
    facts = metadata_of(table.schema)
    if change:
        values = table[column].to_pylist()
        change(values)
        kind = SCHEMA.field(column).type
        new = pa.array(values, kind.value_type if pa.types.is_dictionary(kind) else kind)
        if pa.types.is_dictionary(kind):
            new = new.dictionary_encode().cast(kind)
        # as a file says it, where nobody forbids a null
        table = table.set_column(table.schema.get_field_index(column), SCHEMA.field(column), new)
    if metadata:
        metadata(facts)
    schema = with_metadata(SCHEMA, facts)
    content = pa.BufferOutputStream()
    with pa.ipc.new_file(content, schema) as sink:
        sink.write_table(pa.table(table.columns, schema=schema).combine_chunks())
    write_aside(out / "labels.arrow", content.getvalue().to_pybytes())  # `clean` may be mapped
    return out


def put(row: int, value):
    return lambda values: values.__setitem__(row, value)


@pytest.mark.parametrize("at_once", [1, 20, 1000])
@pytest.mark.parametrize(
    ("column", "row", "value", "why"),
    [
        ("shard", 22, "00001.tar", "another order than its tars"),
        ("shard", 9, "00001.tar", "another order than its tars"),
        ("shard_offset", 22, 512, "over one another"),
        ("image_size", 9, 10**6, "behind the end"),
        ("arousal", 22, 2.0, "arousal outside"),
        ("landmarks", 22, [0.0], "landmarks of other than 136"),
    ],
)
def test_rows_are_checked_some_tars_at_a_time(
    clean, tmp_path, monkeypatch, column, row, value, why, at_once
):
    monkeypatch.setattr(opening, "_AT_ONCE", at_once)
    assert len(open_table(clean)) == 23
    with pytest.raises(ValueError, match=why):
        open_table(rewritten(clean, tmp_path, column, put(row, value)))


@pytest.mark.parametrize(
    ("column", "row", "value", "why"),
    [
        ("valence", 3, float("nan"), r"valence outside \[-1, 1\]"),
        ("valence", 3, 7.0, r"valence outside \[-1, 1\]"),
        ("arousal", 3, float("-inf"), r"arousal outside \[-1, 1\]"),
        ("arousal", 3, None, "va_valid that disagrees with arousal"),
        ("va_valid", 3, False, "va_valid that disagrees"),
        ("expression", 3, 99, "expression outside 0 to 7"),
        ("expression", 3, -1, "expression outside 0 to 7"),
        ("fold", 3, -2, "fold outside"),
        ("split", 3, "elsewhere", "a split that is none of train"),
        ("dataset", 3, "imagenet", "a dataset that is none of"),
        ("extension", 3, "exe", "neither jpg nor png"),
        ("shard", 3, "../../etc/00000.tar", "a shard that is none of"),
        ("shard", 3, "00001.tar", "another order than its tars"),
        ("shard_offset", 3, 513, "where no tar has any"),
        ("shard_offset", 3, -512, "where no tar has any"),
        ("shard_offset", 3, 512 * 10**9, "behind the end"),
        ("shard_offset", 3, 512, "over one another"),
        ("image_size", 3, 2**62, "behind the end"),
        ("image_size", 3, 0, "where no tar has any"),
        ("width", 3, 0, "without a pixel"),
        ("bbox_xyxy", 3, [1.0, 2.0], "bbox_xyxy of other than 4"),
        ("landmarks", 3, [0.0], "landmarks of other than 136"),
    ],
)
def test_rows_out_of_range_are_refused_at_every_open(clean, tmp_path, column, row, value, why):
    rewritten(clean, tmp_path, column, put(row, value))
    with pytest.raises(ValueError, match=why) as refused:
        LabelIndex.open(tmp_path)
    assert str(tmp_path / "labels.arrow") in str(refused.value)


def renamed(name: str):
    def change(facts):
        facts["tars"] = {name: facts["tars"]["00000.tar"], **facts["tars"]}
        del facts["tars"]["00000.tar"]

    return change


NAMES = ["/etc/00000.tar", "../00000.tar", "a/00000.tar", "..", "", "0.tar", "00000.tar\n"]
NAMES += ["00000.TAR", "a.tar", "labels.arrow"]
NAMES += ["\u0660\u0660\u0660\u0660\u0660.tar", "C:\\00000.tar", "00000.tar/../../x"]


@pytest.mark.parametrize("name", NAMES)
def test_a_tar_is_called_by_its_number_and_nothing_else(clean, tmp_path, name):
    rewritten(clean, tmp_path, metadata=renamed(name))
    with pytest.raises(ValueError, match="names a tar that is none"):
        LabelIndex.open(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.update(tars=[]),
        lambda facts: facts.update(tars={"00000.tar": 3}),
        lambda facts: facts["tars"]["00000.tar"].pop("size"),
        lambda facts: facts["tars"]["00000.tar"].update(size="x"),
        lambda facts: facts["tars"]["00000.tar"].update(samples=11),
        lambda facts: facts["tars"].pop("00001.tar"),
        lambda facts: facts.update(format="two"),
        lambda facts: facts.pop("digest"),
    ],
)
def test_metadata_of_another_shape_is_a_sentence(clean, tmp_path, change):
    rewritten(clean, tmp_path, metadata=change)
    with pytest.raises(ValueError, match=r"labels\.arrow .*; write the shards again"):
        LabelIndex.open(tmp_path)


def test_a_newer_format_asks_for_a_newer_program(clean, tmp_path):
    rewritten(clean, tmp_path, metadata=lambda facts: facts.update(format=WIDER + 1))
    with pytest.raises(ValueError, match="a newer version"):
        LabelIndex.open(tmp_path)


def test_an_arrow_file_of_somebody_else_is_a_sentence(tmp_path):
    table = pa.table({"x": [1, 2]})
    path = str(tmp_path / "labels.arrow")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as sink:
        sink.write_table(table)
    with pytest.raises(ValueError, match=r"labels\.arrow has another schema"):
        LabelIndex.open(tmp_path)


def _read_all(folder: Path, results) -> None:
    try:
        index = LabelIndex.open(folder)
        rows = json.dumps(index.table.to_pylist(), default=repr)
        results.put(("verified" if index.verify() == [] else "found", rows))
    except ValueError as error:
        results.put(("refused", str(error)))
    except BaseException as error:
        results.put(("raised", repr(error)))


def test_damaged_files_are_refused_or_found_and_never_end_the_process(clean, tmp_path):
    context = multiprocessing.get_context("fork")
    whole = (clean / "labels.arrow").read_bytes()
    for tar in clean.glob("*.tar"):
        (tmp_path / tar.name).hardlink_to(tar)
    rows = json.dumps(LabelIndex.open(clean).table.to_pylist(), default=repr)
    rng, outcomes = random.Random(0), set()
    for number in range(60):
        content = bytearray(whole)
        if number % 4 == 0:
            del content[rng.randrange(len(content)) :]
        else:
            at = rng.randrange(len(content))
            content[at : at + rng.choice((1, 4, 8, 64))] = rng.randbytes(rng.choice((1, 4, 8)))
            content = content[: len(whole)].ljust(len(whole), b"\0")
        (tmp_path / "labels.arrow").write_bytes(content)
        results = context.SimpleQueue()
        child = context.Process(target=_read_all, args=(tmp_path, results))
        child.start()
        child.join(30)
        assert child.exitcode == 0, f"damage {number} ended the process: {child.exitcode}"
        outcome, said = results.get()
        outcomes.add(outcome)
        assert outcome != "raised", said
        assert outcome != "refused" or str(tmp_path) in said
        assert outcome != "verified" or said == rows
    assert {"refused", "found"} <= outcomes


def as_format_1(clean: Path, out: Path) -> Path:
    """The folder as the first version wrote it: lists of fixed length, a hash of the picture."""
    table = open_table(clean)
    facts = metadata_of(table.schema) | {"format": 1}
    for name, length in LENGTHS.items():
        number, field = table.schema.get_field_index(name), table.schema.field(name)
        kind = pa.list_(field.type.value_type, length)
        values = pa.array(table[name].to_pylist(), kind)
        table = table.set_column(number, pa.field(name, kind), values)
    place = table.schema.get_field_index("crc")
    ahash = pa.field("ahash", pa.uint64())
    table = table.set_column(place, ahash, pa.array(range(len(table)), pa.uint64()))
    schema = with_metadata(table.schema, facts)
    with pa.OSFile(str(out / "labels.arrow"), "wb") as file, pa.ipc.new_file(file, schema) as sink:
        sink.write_table(pa.table(table.columns, schema=schema))
    for tar in clean.glob("*.tar"):
        (out / tar.name).hardlink_to(tar)
    return out


def test_an_index_of_format_1_opens_with_the_same_rows(clean, tmp_path):
    old, new = LabelIndex.open(as_format_1(clean, tmp_path)), LabelIndex.open(clean)
    assert old.table.schema == new.table.schema and old.digest == new.digest
    assert old.table.drop_columns("crc").equals(new.table.drop_columns("crc"))
    assert old.table["crc"].null_count == 23 and old.verify() == []
    assert old.read(7) == new.read(7)
    both = LabelIndex.open([clean, tmp_path])
    assert len(both) == 46 and both.verify() == []


def test_opening_is_cheap(clean, tmp_path):
    """The promise is 50 ms of a quiet core for 420,000 rows; twice that in a crowd."""
    from shards.building.tars import Fragment, TarFacts, write_labels

    n = 20_000
    rows = open_table(clean).take(np.arange(n) % 10).combine_chunks()
    number = rows.schema.get_field_index("shard_offset")
    places = pa.array(512 + 8192 * np.arange(n))
    rows = rows.set_column(number, SCHEMA.field("shard_offset"), places).to_batches()[0]
    facts = TarFacts(n, 8192 * (n + 1), "0" * 64)
    fragments = [Fragment(f"{number:05d}.tar", rows, facts) for number in range(21)]
    write_labels(tmp_path, lambda: fragments, {"skipped": {}})
    taken = []
    for _ in range(5):
        started = time.process_time()
        assert len(LabelIndex.open(tmp_path)) == 420_000
        taken.append(time.process_time() - started)
    assert np.median(taken) < 0.1
