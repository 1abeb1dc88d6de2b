"""The prediction table: from batches, to disk, back, merged over folds."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from avce.scores.predictions import (
    aligned,
    in_order,
    merge_folds,
    one_table,
    over_the_plane,
    pair_of,
    predict_table,
    read_predictions,
    videos_of,
    write_predictions,
)
from tests.avce.scores.verdicts import class_table, video_table


class Corner(nn.Module):
    """Says the top left pixel, so that a mirror image changes the answer."""

    def predict(self, image: Tensor) -> Tensor:
        return image[:, :2, 0, 0]


def batches_of(image: Tensor, target: Tensor, rows: Tensor) -> list[tuple[Tensor, ...]]:
    mask = torch.ones(len(rows), dtype=torch.bool)
    mask[-1] = False  # the last one is padding
    return [(image, target, rows, mask)]


def test_a_table_is_sorted_by_row_and_knows_its_context():
    image, target = torch.rand(4, 3, 2, 2), torch.rand(4, 2) - 0.5
    labels = pa.table(
        {
            "sample_key": [f"k{i}" for i in range(10)],
            "dataset": pa.array(["afew_va"] * 10).dictionary_encode(),
        }
    )
    table = predict_table(Corner(), batches_of(image, target, torch.tensor([7, 2, 5, 9])), labels)
    assert table["row"].to_pylist() == [2, 5, 7]
    assert table["sample_key"].to_pylist() == ["k2", "k5", "k7"]
    assert table.schema.field("dataset").type == pa.string()
    assert table["arousal_pred"].to_pylist() == image[[1, 2, 0], 1, 0, 0].tolist()


def test_flip_averages_with_the_mirror_image():
    image = torch.rand(3, 3, 2, 2)
    batch = batches_of(image, torch.zeros(3, 2), torch.arange(3))
    found = predict_table(Corner(), batch, flip=True)["valence_pred"].to_numpy()
    expected = (image[:2, 0, 0, 0] + image[:2, 0, 0, -1]) / 2
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-7)


def test_classes_keep_their_logits():
    logits = torch.randn(3, 3, 1, 1)
    table = predict_table(
        nn.Flatten(), batches_of(logits, torch.tensor([2, 0, 1]), torch.arange(3))
    )
    assert table["expression_pred"].to_pylist() == logits.flatten(1).argmax(1)[:2].tolist()
    torch.testing.assert_close(pair_of(table).preds.float(), logits.flatten(1)[:2])


def test_a_table_comes_back_from_disk_with_its_facts(tmp_path):
    for table in (video_table(), class_table()):
        write_predictions(tmp_path / "deep" / "p.arrow", table, {"run": "runs/a"})
        again = read_predictions(tmp_path / "deep" / "p.arrow")
        assert again.equals(table) and json.loads(again.schema.metadata[b"avce"]) == {
            "run": "runs/a"
        }
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["p.arrow"]  # nothing set aside


def test_what_is_no_prediction_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.arrow"):
        read_predictions(tmp_path / "none.arrow")
    (tmp_path / "text.arrow").write_text("hello")
    with pytest.raises(ValueError, match="not an Arrow file"):
        read_predictions(tmp_path / "text.arrow")
    write_predictions(tmp_path / "other.arrow", pa.table({"a": [1]}))
    with pytest.raises(ValueError, match="holds no predictions"):
        read_predictions(tmp_path / "other.arrow")


def test_folds_merge_and_must_not_overlap():
    table = video_table(videos=4)
    parts = [table.slice(0, 80), table.slice(80)]
    merged = merge_folds(parts)
    assert merged.drop_columns("part").equals(table)
    assert merged["part"].to_pylist() == [0] * 80 + [1] * 80
    with pytest.raises(ValueError, match="80 samples stand in more than one fold"):
        merge_folds([table, parts[0]])


def test_named_runs_stand_below_each_other():
    table = video_table(videos=4)
    assert one_table({"alone": table}) is table
    both = one_table({"a": table, "b": table})
    assert both["part"].to_pylist() == ["a"] * len(table) + ["b"] * len(table)
    folds = one_table({"a": table.slice(0, 80), "b": table.slice(80)}, merged=True)
    assert folds["part"].to_pylist() == ["a"] * 80 + ["b"] * 80
    with pytest.raises(ValueError, match="more than one fold"):
        one_table({"a": table, "b": table}, merged=True)


def test_tables_align_by_row():
    table = video_table(videos=2)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert aligned([table, shuffled])[1].equals(table)


def test_no_sample_is_an_error():
    with pytest.raises(ValueError, match="no sample"):
        predict_table(Corner(), [])


def test_the_first_few_are_from_all_over_the_plane():
    table = video_table(videos=40, frames=30)
    first = over_the_plane(table, seed=0)[:24]
    target = pair_of(table.take(pa.array(first))).target.numpy()
    assert len({(v < 0, a < 0) for v, a in target}) == 4
    cells = np.unique(np.floor((target + 1) * 8), axis=0)
    assert len(cells) == 24  # no cell of the plane twice while another waits


def test_videos_lie_in_one_piece_in_frame_order():
    table = video_table(3, 5)
    shuffled = table.take(np.random.default_rng(1).permutation(15))
    ordered = in_order(shuffled)
    assert ordered["frame_index"].to_pylist() == list(range(5)) * 3
    assert [(v["start"], v["stop"]) for v in videos_of(ordered)] == [(0, 5), (5, 10), (10, 15)]
    slots = pa.array(["left", "right", None] * 5)
    assert all(v["stop"] - v["start"] > 1 for v in videos_of(ordered.append_column("s", slots)))
