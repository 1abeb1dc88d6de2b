"""The plan: every sample once, each shard one split, the same shuffle for the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards.building.plan import Plan, _at_least, arrange, sources_of, spill
from shards.findings import Findings
from shards.labels.rows import planned_rows
from shards.sample import Sample


def samples(count: int = 60, **values: Any) -> list[Sample]:
    return [
        Sample(
            key=f"k{i}", original_path=f"{i}.jpg", dataset="table", variant="v",
            split="val" if i % 5 == 0 else "train", **values,
        )
        for i in range(count)
    ]  # fmt: skip


def arranged(folder: Path, listed: list[Sample], **options: Any) -> tuple[Plan, Findings]:
    folder.mkdir(exist_ok=True)
    for sample in listed:
        if not (folder / sample.original_path).exists():
            (folder / sample.original_path).write_bytes(b"x" * 100)
    findings = Findings()
    spilled = spill(listed, folder, folder / "plan.spill", findings)
    known = {"seed": 0, "samples_per_shard": 10, "stored_bytes": None, "choices": {"a": 1}}
    return arrange(spilled, folder / "plan.arrow", **known | options), findings


def keys(plan: Plan) -> list[list[str]]:
    return [plan.rows(n)["sample_key"].to_pylist() for n in range(len(plan.shards))]


def test_every_sample_stands_in_one_shard_of_its_split(tmp_path: Path):
    plan, _ = arranged(tmp_path, samples())
    assert Counter(key for shard in keys(plan) for key in shard) == Counter(
        sample.key for sample in samples()
    )
    splits = [set(plan.rows(n)["split"].to_pylist()) for n in range(len(plan.shards))]
    assert splits == [{"train"}] * 5 + [{"val"}] * 2
    assert sum(plan.shards) == 60 and max(plan.shards) <= 10
    assert plan.names == [f"{n:05d}.tar" for n in range(7)]
    assert plan.first_rows == [0, *np.cumsum(plan.shards)[:-1].tolist()]
    assert [len(shard) for shard in keys(plan)] == list(plan.shards)


def test_rows_are_dealt_in_few_batches_and_stay_in_order(tmp_path: Path):
    listed = samples(100)
    small = [planned_rows(listed[start : start + 7]) for start in range(0, 100, 7)]
    found = list(_at_least(30, iter(small)))
    assert [rows.num_rows for rows in found] == [35, 35, 30]
    assert [key for rows in found for key in rows["sample_key"].to_pylist()] == [
        sample.key for sample in listed
    ]
    assert list(_at_least(30, iter([]))) == []


def test_a_seed_is_an_order_and_another_one_another(tmp_path: Path):
    first, again, other = (arranged(tmp_path, samples(), seed=seed)[0] for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest  # rows are of the newest plan on disk
    assert first.listing == other.listing and first.sources != ""
    shuffled = [key for shard in keys(other)[:5] for key in shard]
    assert shuffled != sorted(shuffled, key=lambda key: int(key[1:]))


def test_columns_that_say_nothing_are_dealt_as_those_that_do(tmp_path: Path):
    listed = [*samples(30), *samples(60, valence=0.5, arousal=0.0, landmarks=(1.0,) * 136)[30:]]
    arranged(tmp_path, listed)
    spilled = spill(listed, tmp_path, tmp_path / "again.spill", Findings())
    assert {"fold", "split_by_task", "subject_id", "extra"} <= spilled.empty
    assert not spilled.empty & {"sample_key", "quality", "valence", "landmarks", "split"}
    plans = [
        arrange(
            given,
            tmp_path / f"{number}.arrow",
            seed=0,
            samples_per_shard=7,
            stored_bytes=None,
            choices={},
        )
        for number, given in enumerate((spilled, spilled._replace(empty=frozenset())))
    ]
    assert plans[0].digest == plans[1].digest and keys(plans[0]) == keys(plans[1])
    assert all(one.equals(two) for one, two in zip(*map(rows_of, plans), strict=True))


def rows_of(plan: Plan) -> list[Any]:
    return [plan.rows(number) for number in range(len(plan.shards))]


def test_whatever_decides_bytes_is_in_the_digest(tmp_path: Path):
    plain, _ = arranged(tmp_path, samples())
    relabelled, _ = arranged(tmp_path, samples(valence=0.5, arousal=0.5))
    chosen, _ = arranged(tmp_path, samples(), choices={"a": 2})
    (tmp_path / "3.jpg").write_bytes(b"x" * 101)
    resized, _ = arranged(tmp_path, samples())
    assert len({plan.digest for plan in (plain, relabelled, chosen, resized)}) == 4
    assert plain.listing == relabelled.listing != resized.listing


def test_an_image_of_the_same_size_and_another_time_is_another_source(tmp_path: Path):
    before, _ = arranged(tmp_path, samples(10))
    old = sources_of(before.rows(0))
    (tmp_path / before.rows(0)["original_path"][0].as_py()).touch()
    after, _ = arranged(tmp_path, samples(10))
    assert (after.digest, after.listing) == (before.digest, before.listing)  # a copy is the same
    assert after.sources != before.sources and sources_of(after.rows(0)) != old


def test_missing_and_empty_files_are_left_out(tmp_path: Path):
    (tmp_path / "1.jpg").write_bytes(b"")
    listed = samples(5)
    (tmp_path / "2.jpg").symlink_to("nowhere")
    findings = Findings()
    for i in (0, 3, 4):
        (tmp_path / f"{i}.jpg").write_bytes(b"x")
    spilled = spill(listed, tmp_path, tmp_path / "plan.spill", findings)
    assert findings.skipped == {"empty file": 1, "missing file": 1}
    assert len(spilled.splits) == 3 and spilled.bytes == 3 and not spilled.videos


def test_two_samples_under_one_key_are_refused_with_both_paths(tmp_path: Path):
    twice = [*samples(10), samples(4)[3]]
    with pytest.raises(ValueError, match=r"key 'k3' comes twice, for 3\.jpg and 3\.jpg"):
        arranged(tmp_path, twice)


def test_shards_are_of_a_handy_size_where_none_is_asked_for(tmp_path: Path):
    few, _ = arranged(tmp_path, samples(60), samples_per_shard=None)
    assert few.shards == (48, 12)
    large, _ = arranged(tmp_path, samples(60), samples_per_shard=None, stored_bytes=16 << 20)
    assert max(large.shards) <= 8  # 128 MiB a shard
    assert arranged(tmp_path, [])[0].shards == ()
