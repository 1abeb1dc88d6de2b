"""Planned indexes: what DALI does with them is not documented, so it is pinned here.

When one of the first tests fails after an update of DALI, the reader no longer follows a plan and
`pipelines.plan` must be thought over; the rest of the suite then only shows the damage.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import nvidia.dali.fn as fn
import nvidia.dali.types as types
import pytest
from nvidia.dali.pipeline import Pipeline

from pipelines.plan import check_rows, planned
from shards import LabelIndex
from shards.index import row_offset


def read(tars, plans, batch_size: int, steps: int, **options) -> tuple[list[bytes], np.ndarray]:
    """All images, encoded, and rows that DALI's reader gives for these pairs."""
    pipeline = Pipeline(batch_size=batch_size, num_threads=1, device_id=None)
    with pipeline:
        image, row = fn.readers.webdataset(
            paths=tars, index_paths=plans, ext=["jpg;png", "row"],
            dtypes=[types.UINT8, types.INT64], missing_component_behavior="error",
            pad_last_batch=True, **options,
        )  # fmt: skip
        pipeline.set_outputs(image, row)
    images, rows = [], []
    for _ in range(steps):
        image, row = pipeline.run()
        images += [np.asarray(one).tobytes() for one in image]
        rows.append(np.asarray(row.as_tensor())[:, 0])
    return images, np.concatenate(rows)


ORDERS = {
    "a subset": np.array([3, 4, 50, 51, 89]),
    "a permutation": np.random.default_rng(0).permutation(90),
    "backwards": np.arange(90)[::-1].copy(),
    "repeated": np.array([7, 7, 80, 7, 80, 80]),
    "one row": np.array([42]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_dali_follows_the_plan(index, name):
    selection = index.where().take(ORDERS[name])
    with planned(selection) as (tars, plans):
        images, rows = read(tars, plans, len(selection), 1)
    assert np.array_equal(rows, selection.rows)
    assert images == [index.read(int(row)) for row in selection.rows]  # every byte


def test_the_plan_is_followed_again_and_again(index):
    order = np.random.default_rng(1).permutation(90)
    with planned(index.where().take(order)) as (tars, plans):
        _, rows = read(tars, plans, 10, 18)
    assert np.array_equal(rows, [*order, *order])


def test_plans_may_go_once_the_pipeline_is_built(index):
    pipeline = Pipeline(batch_size=90, num_threads=1, device_id=None)
    with planned(index.where()) as (tars, plans):
        with pipeline:
            _, row = fn.readers.webdataset(
                paths=tars, index_paths=plans, ext=["jpg", "row"], dtypes=[types.UINT8, types.INT64]
            )
            pipeline.set_outputs(row)
        pipeline.build()
    assert not any(Path(plan).exists() for plan in plans)
    (row,) = pipeline.run()
    assert np.array_equal(np.asarray(row.as_tensor())[:, 0], np.arange(90))


def test_dali_does_not_look_at_headers(index, tmp_path):
    """Why `check_rows` exists: a plan for other bytes is read without a word."""
    plan = tmp_path / "wrong.idx"
    plan.write_text("v1.2 1\njpg 512 100 x.jpg row 1024 8 x.row\n")
    images, _ = read([str(index.tars[0])], [str(plan)], 1, 1)
    assert images == [index.tars[0].read_bytes()[512:612]]


def test_an_empty_plan_is_an_error_in_dali(index, tmp_path):
    plan = tmp_path / "empty.idx"
    plan.write_text("v1.2 0\n")
    with pytest.raises(RuntimeError):
        read([str(index.tars[0])], [str(plan)], 1, 1)


def test_a_plan_points_at_what_tarfile_finds(index):
    """The three descriptions of a place agree: the tar's headers, the index, the plan."""
    for number, path in enumerate(index.tars):
        start, stop = index.tar_starts[number : number + 2]
        with tarfile.open(path) as tar:
            members = {m.name: (m.offset_data, m.size) for m in tar}
        selection = index.where().take(np.arange(start, stop))
        with planned(selection) as (tars, plans):
            (plan,) = plans
            lines = Path(plan).read_text().splitlines()[1:]
        assert tars == [str(path)]
        for line, key, extension in zip(
            lines, selection.column("sample_key"), selection.column("extension"), strict=True
        ):
            _, at, size, _, _, row_at, row_size, _ = line.split()
            assert members[f"{key}.{extension}"] == (int(at), int(size))
            assert members[f"{key}.row"] == (int(row_at), int(row_size))
            assert int(row_at) == row_offset(int(at), int(size))


def test_a_plan_is_short_where_neighbours_share_a_tar(index):
    with planned(index.where()) as (tars, plans):
        assert tars == [str(tar) for tar in index.tars]
        assert len(set(plans)) == len(plans)


def test_rows_of_a_second_folder_count_from_zero(index):
    both = LabelIndex.open([*index.folders, *index.folders])
    selection = both.where().take([0, 90, 179, 89])
    with planned(selection) as (tars, plans):
        _, rows = read(tars, plans, 4, 1)
    assert rows.tolist() == [0, 0, 89, 89]
    check_rows(selection, rows)


def test_no_plan_is_left_behind(index, monkeypatch, tmp_path):
    monkeypatch.setattr("pipelines.plan.MEMORY", tmp_path)
    with pytest.raises(KeyError), planned(index.where()):
        assert list(tmp_path.iterdir())
        raise KeyError
    assert not list(tmp_path.iterdir())
