"""An index says the same however its words lie: in every row, or once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import LabelIndex, repair, write_shards
from shards.durable import write_aside
from shards.image import encode_jpeg
from shards.labels.opening import open_table
from shards.labels.packing import MOST, Packing, Words, _keys, decoded, plain
from shards.labels.schema import FORMAT, SCHEMA, WIDER, kind_of, metadata_of, with_metadata
from shards.where import condition
from tests.shards.building.test_tars import items, picture

N = 300
TASKS = [{"va": "train", "au": "val"}, {"va": "train"}, None, {}]


def written(folder: Path, *, first: int = 0, videos: int = 7, extra: bool = False) -> LabelIndex:
    """300 rows with words that repeat, some of them missing."""
    image, (one, _) = encode_jpeg(picture(0)), next(items(1))
    samples = (
        dataclasses.replace(
            one,
            key=f"k{first + i}",
            video_id=f"video {first + i % videos}" if i % 5 else None,
            frame_name=f"{i % 150:05d}.jpg",  # more than int8 counts
            subject_id=f"person {first + i}",  # each another one
            split_by_task=TASKS[i % 4],
            extra={"place": f"room {i % 3}"} if extra and i % 4 else None,
        )
        for i in range(N)
    )
    return write_shards(((sample, image) for sample in samples), folder, samples_per_shard=70)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> LabelIndex:
    return written(tmp_path_factory.mktemp("packed"), extra=True)


def as_before(index: LabelIndex, out: Path) -> Path:
    """The folder as formats 2 and 3 were: every word in every row, every column there."""
    folder = index.folders[0]
    table = plain(open_table(folder))
    facts = metadata_of(table.schema)
    facts["format"] -= FORMAT - 2
    schema = with_metadata(pa.schema([*SCHEMA, *list(table.schema)[len(SCHEMA) :]]), facts)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as file:
        file.write_table(pa.table(table.columns, schema=schema))
    out.mkdir(exist_ok=True)
    write_aside(out / "labels.arrow", sink.getvalue().to_pybytes())
    for path in folder.glob("0*"):
        (out / path.name).hardlink_to(path)
    return out


def test_words_that_repeat_lie_once_and_what_has_no_value_not_at_all(packed, tmp_path):
    with pa.memory_map(str(packed.folders[0] / "labels.arrow")) as file:
        schema = pa.ipc.open_file(file).schema
    kinds = {field.name: field.type for field in schema}
    words = {name for name in kinds if pa.types.is_dictionary(kinds[name])}
    assert {"variant", "video_id", "frame_name", "split_by_task", "place"} <= words
    assert (
        kinds["frame_name"].index_type == pa.int16() and kinds["video_id"].index_type == pa.int8()
    )
    assert not words & {"sample_key", "subject_id", "official_split"}
    assert not {"fps", "bbox_xyxy", "landmarks37", "gender"} & {*kinds}
    old = as_before(packed, tmp_path) / "labels.arrow"
    new = packed.folders[0] / "labels.arrow"
    assert new.stat().st_size < 0.7 * old.stat().st_size


@pytest.mark.parametrize("extra", [False, True])
def test_an_index_of_the_format_before_opens_with_the_same_rows(extra, tmp_path):
    new = written(tmp_path / "new", extra=extra)
    old = LabelIndex.open(as_before(new, tmp_path / "old"))
    assert new.metadata["format"] == (WIDER if extra else FORMAT)
    assert old.metadata["format"] == (3 if extra else 2)
    assert old.table.to_pylist() == new.table.to_pylist() and len(old) == N
    assert old.digest == new.digest and old.verify() == new.verify() == []
    assert [kind_of(f) for f in new.table.schema][: len(SCHEMA)] == SCHEMA.types
    assert old.extra == new.extra == (["place"] if extra else [])
    assert "wrote labels.arrow" in repair(tmp_path / "old")
    again = LabelIndex.open(tmp_path / "old")
    assert again.table.equals(new.table) and again.digest == new.digest and again.verify() == []


CONDITIONS = [
    "video_id == 'video 3'",
    "video_id in ['video 1', 'video 2', 'nobody']",
    "video_id not in ['video 1']",
    "video_id is None and frame_name < '00050.jpg'",
    "not variant == 'manual2017' or place == 'room 2'",
    "split_by_task is None",
    "fps is None and official_split is None",
]


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_find_the_same_rows(packed, tmp_path, text):
    old = LabelIndex.open(as_before(packed, tmp_path))
    rows, same = (
        index.where(filter=condition(text, index.table.schema)).rows for index in (packed, old)
    )
    np.testing.assert_array_equal(rows, same)
    assert 0 < len(rows) <= N


@pytest.mark.parametrize(
    "expression",
    [
        pc.match_substring(pc.field("video_id"), "3"),
        pc.starts_with(pc.field("place"), "room"),
        pc.equal(pc.utf8_upper(pc.field("variant")), "MANUAL2017"),
        pc.field("frame_name").isin(["00003.jpg"]) | (pc.field("valence") > 2),
        pc.field("video_id").is_null(),
    ],
)
def test_any_expression_over_words_still_holds(packed, tmp_path, expression):
    old = LabelIndex.open(as_before(packed, tmp_path)).table.to_batches()
    (keep,) = {tuple(pa.Table.from_batches(old).filter(expression)["sample_key"].to_pylist())}
    found = packed.where(filter=expression)
    assert tuple(found.arrow("sample_key").to_pylist()) == keep and keep


def test_columns_are_asked_and_given_as_ever(packed, tmp_path):
    old = LabelIndex.open(as_before(packed, tmp_path))
    order = np.random.default_rng(0).permutation(N)
    for name in [*SCHEMA.names, "place"]:
        ours, theirs = (index.where().take(order) for index in (packed, old))
        assert ours.arrow(name).equals(theirs.arrow(name)), name
        assert ours.arrow(name).type == theirs.arrow(name).type, name
    for name in ("video_id", "frame_name", "place", "variant", "subject_id", "fold", "gender"):
        assert packed.counts(name) == old.counts(name), name
        assert list(packed.counts(name)) == list(old.counts(name)), name
        selections = [index.where().take(order) for index in (packed, old)]
        (words, codes), (others, numbers) = (chosen.coded(name) for chosen in selections)
        assert words == others and codes.tolist() == numbers.tolist(), name
        ours, theirs = (chosen.column(name) for chosen in selections)
        np.testing.assert_array_equal(ours, theirs)
    for wanted in ("video 3", ["video 3", None], None, ["nobody"], []):
        found = [index.where(video_id=wanted).rows.tolist() for index in (packed, old)]
        assert found[0] == found[1]
    assert packed.where(gender=None).rows.size == N == packed.where(bbox_source=None).rows.size
    with pytest.raises(ValueError, match="video_id holds string, not 5"):
        packed.where(video_id=5)


def test_several_folders_have_one_dictionary_however_many_words(tmp_path):
    """Three of 100 words each, which int8 does not count together, and one without any of them."""
    parts = [written(tmp_path / str(k), first=1000 * k, videos=100) for k in range(3)]
    parts.append(write_shards(items(), tmp_path / "plain"))
    parts.append(LabelIndex.open(as_before(parts[0], tmp_path / "old")))
    for kept in (parts, parts[::-1], parts[3:], parts[:1]):
        index = LabelIndex.open([part.folders[0] for part in kept])
        rows = [row for part in kept for row in part.table.to_pylist()]
        assert index.table.to_pylist() == rows and index.verify() == []
        for name in ("video_id", "frame_name", "variant", "subject_id"):
            counted = Counter(row[name] for row in rows if row[name] is not None)
            assert index.counts(name) == dict(sorted(counted.items()))
        wanted = [k for k, row in enumerate(rows) if row["video_id"] in ("video 1007", "video 7")]
        assert index.where(video_id=["video 1007", "video 7"]).rows.tolist() == wanted
        tasks = index.where().arrow("split_by_task")
        assert tasks.type == SCHEMA.field("split_by_task").type
        assert tasks.to_pylist() == [row["split_by_task"] for row in rows]
    assert parts[0].table.schema.field("video_id").type.index_type == pa.int8()


def test_as_many_words_as_a_number_has(tmp_path):
    """127 is the highest of int8: 128 words, and none."""
    index = written(tmp_path, videos=128)
    assert index.table.schema.field("video_id").type.index_type == pa.int8()
    rows = index.table["video_id"].to_pylist()
    assert index.counts("video_id") == dict(sorted(Counter(r for r in rows if r).items()))
    assert index.where(video_id="video 127").rows.tolist() == [127]
    assert index.where(video_id=None).rows.tolist() == list(range(0, N, 5))


@pytest.mark.parametrize(
    ("words", "kind"), [(40_000, pa.int32()), (MOST, pa.int32()), (99, pa.int8())]
)
def test_a_dictionary_is_where_it_saves_bytes(words, kind):
    """Of rows that each come thrice; of rows that are all different it saves none."""
    column = pa.array([f"word number {i}" for i in range(words)])
    thrice, once = Words(pa.string()), Words(pa.string())
    for _ in range(3):
        thrice.see(column)
    once.see(column)
    assert thrice.kind == pa.dictionary(kind, pa.string()) and once.kind is None
    assert thrice.coded(column).to_pylist() == column.to_pylist()


def test_words_without_end_are_not_remembered():
    packing = Packing()
    batches = [
        pa.record_batch({"place": pa.array([f"{k} {i}" for i in range(MOST)] * 2)})
        for k in range(3)
    ]
    for batch in batches:
        packing.see(batch)
    assert packing.schema(batches[0].schema).field("place").type == pa.string()
    assert len(packing._words["place"].values) <= 2 * MOST


letters = st.text("ab:1\x00", max_size=3)
maps = st.none() | st.lists(st.tuples(letters, letters | st.none()), max_size=3)


@given(st.lists(maps, max_size=8), st.integers(0, 3))
def test_maps_have_one_key_only_if_they_are_equal(values, start):
    column = pa.array(values, pa.map_(pa.string(), pa.string()))[start:]
    values = values[start:]
    keys = _keys(column).to_pylist()
    for value, key in zip(values, keys, strict=True):
        assert (key is None) == (value is None)
        assert [k == key for k in keys] == [v == value for v in values]
    words = Words(column.type)
    words.see(column)
    assert decoded(words.coded(column), column.type).to_pylist() == values


def test_columns_without_a_value_cost_no_memory(tmp_path):
    """Of 100,000 rows, these would hold 6 MB."""
    from shards.building.tars import Fragment, TarFacts, write_labels

    n = 10_000
    rows = open_table(written(tmp_path).folders[0]).take(np.zeros(n, np.int64))
    place = rows.schema.get_field_index("shard_offset")
    offsets = pa.array(512 + 8192 * np.arange(n))
    rows = rows.set_column(place, SCHEMA.field("shard_offset"), offsets)
    (batch,) = plain(rows).combine_chunks().to_batches()
    facts = TarFacts(n, 8192 * (n + 1), "0" * 64)
    fragments = [Fragment(f"{number:05d}.tar", batch, facts) for number in range(10)]
    (tmp_path / "big").mkdir()
    write_labels(tmp_path / "big", lambda: fragments, {"skipped": {}})
    before = pa.total_allocated_bytes()
    index = LabelIndex.open(tmp_path / "big")
    assert len(index) == 10 * n and pa.total_allocated_bytes() - before < 3 << 20
    assert index.table["landmarks"].null_count == len(index.where(gender=None)) == 10 * n


@pytest.mark.parametrize("words", [["a", "a"], ["a", None]])
def test_a_dictionary_that_says_one_thing_twice_is_refused(packed, tmp_path, words):
    table = open_table(packed.folders[0])
    facts = metadata_of(table.schema)
    codes = pa.array(np.arange(N) % 2, pa.int8())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(words))
    place = table.schema.get_field_index("video_id")
    table = table.set_column(place, pa.field("video_id", column.type), column)
    schema = with_metadata(table.schema, facts)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as file:
        file.write_table(table)
    write_aside(tmp_path / "labels.arrow", sink.getvalue().to_pybytes())
    with pytest.raises(ValueError, match="has a video_id under two numbers, or none under one"):
        LabelIndex.open(tmp_path)
