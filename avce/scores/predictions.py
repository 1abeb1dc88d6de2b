"""Predictions as an Arrow table: one row a sample, what a run said beside what was labelled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from avce.durable import write_aside
from avce.scores.evaluate import Progress, predict_batches, predictor_of

CONTEXT = (  # what else a table says about a sample, of the columns that every index has
    "sample_key",
    "dataset",
    "split",
    "fold",
    "video_id",
    "person_slot",
    "subject_id",
    "frame_index",
    "expression",
)
_FACTS = b"avce"  # the schema's metadata: one JSON object under this key


class Pair(NamedTuple):
    """Predictions and labels of the same samples, as scores want them."""

    preds: Tensor  # (n, 2) float64, or (n, classes) logits
    target: Tensor  # (n, 2) float64, or (n,) int64 codes


def predict_table(
    model: nn.Module,
    batches: Iterable[Any],
    labels: pa.Table | None = None,
    *,
    flip: bool = False,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """What `model` says about every sample of `batches`, sorted by row.

    Columns: row, then valence, arousal, valence_pred, arousal_pred (or expression,
    expression_pred, logits), then the other columns of `labels`, in which `row` is a position.
    `flip` averages with the mirror image, as EmoNet's evaluator does, in twice the time. Raises
    ValueError without a sample.
    """
    once = predictor_of(model)

    def twice(image: Tensor) -> Tensor:
        return (once(image) + once(image.flip(-1))) / 2

    predict = twice if flip else once
    found = predict_batches(model, batches, predict=predict, device=device, progress=progress)
    parts = list(found)
    if not parts:
        raise ValueError("there is no sample to predict; does the selection hold this split?")
    row, preds, target = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    order = row.argsort(stable=True)
    table = tabled(row[order].numpy(), preds[order].float().numpy(), target[order].numpy())
    return table if labels is None else _with_context(table, labels)


def tabled(row: np.ndarray, preds: np.ndarray, target: np.ndarray) -> pa.Table:
    """Columns from arrays: (n,), (n, 2) and (n, 2); or (n,), (n, classes) and (n,) codes."""
    columns: dict[str, Any] = {"row": pa.array(row, pa.int64())}
    if target.ndim == 1:
        flat = pa.array(preds.reshape(-1), pa.float32())
        columns["expression"] = pa.array(target, pa.int16())
        columns["expression_pred"] = pa.array(preds.argmax(1), pa.int16())
        columns["logits"] = pa.FixedSizeListArray.from_arrays(flat, preds.shape[1])
    else:
        for k, axis in enumerate(("valence", "arousal")):
            columns[axis] = pa.array(target[:, k], pa.float32())
            columns[f"{axis}_pred"] = pa.array(preds[:, k], pa.float32())
    return pa.table(columns)


def _with_context(table: pa.Table, labels: pa.Table) -> pa.Table:
    names = [name for name in labels.column_names if name not in table.column_names]
    taken = labels.select(names).take(table["row"])
    for name in names:
        table = table.append_column(name, _plain(taken[name]))
    return table


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries decoded: tables of several indexes must concatenate."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def is_classes(table: pa.Table) -> bool:
    """Whether the table predicts expressions and not valence and arousal."""
    return "expression_pred" in table.column_names


def pair_of(table: pa.Table) -> Pair:
    """The table's predictions and labels as tensors; a null is a ValueError with the count."""
    if is_classes(table):
        logits = _whole(table, "logits").combine_chunks()
        shape = (len(table), logits.type.list_size)
        preds = torch.from_numpy(np.array(logits.flatten().to_numpy()).reshape(shape))
        return Pair(preds.double(), torch.from_numpy(_numbers(table, "expression")).long())
    preds = np.stack([_numbers(table, f"{axis}_pred") for axis in ("valence", "arousal")], 1)
    target = np.stack([_numbers(table, axis) for axis in ("valence", "arousal")], 1)
    return Pair(torch.from_numpy(preds).double(), torch.from_numpy(target).double())


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.array(_whole(table, name).to_numpy())  # a copy: tensors want writable memory


def _whole(table: pa.Table, name: str) -> pa.ChunkedArray:
    column = table[name]
    if column.null_count:
        raise ValueError(
            f"{column.null_count} of {len(table)} rows have no {name}, so no score is defined "
            "over them; select labelled samples"
        )
    return column


def write_predictions(
    path: Path | str, table: pa.Table, facts: dict[str, Any] | None = None
) -> None:
    """Save as an Arrow file, at once; `facts` (run, commands, digests) ride in its metadata."""
    metadata = {_FACTS: json.dumps(facts or {}).encode()}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.replace_schema_metadata(metadata).schema) as file:
        file.write_table(table.replace_schema_metadata(metadata))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_aside(Path(path), sink.getvalue().to_pybytes())


def read_predictions(path: Path | str) -> pa.Table:
    """A table that `write_predictions` saved; FileNotFoundError or ValueError otherwise."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; make it with eval, which saves predictions"
        )
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is not an Arrow file ({error}); save the predictions again"
        ) from error
    wanted = {"row", "expression_pred"} if is_classes(table) else {"row", "valence_pred"}
    if not wanted <= set(table.column_names):
        raise ValueError(
            f"{path} holds no predictions: it has the columns {', '.join(table.column_names)}; "
            "give a file saved by eval"
        )
    return table


def _below(tables: Sequence[pa.Table]) -> pa.Table:
    parts = [
        table.append_column("part", pa.array(np.full(len(table), number, np.int16)))
        for number, table in enumerate(tables)
    ]
    return pa.concat_tables(parts, promote_options="default")


def merge_folds(tables: Sequence[pa.Table]) -> pa.Table:
    """The predictions of a k-fold, each sample from the run that did not train on it.

    A column `part` says which table a row came from. Raises ValueError when a sample stands in
    two of them: their folds overlap.
    """
    merged = _below(tables)
    name = "sample_key" if "sample_key" in merged.column_names else "row"
    keys = merged[name].to_numpy(zero_copy_only=False)
    values, counts = np.unique(keys, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"{int((counts > 1).sum())} samples stand in more than one fold, first "
            f"{name} {values[counts > 1][0]}; give each run the fold it did not train on"
        )
    return merged


def one_table(tables: Mapping[str, pa.Table], merged: bool = False) -> pa.Table:
    """The predictions of named runs below each other, `part` saying whose; `merged` as the folds
    of one run, in which no sample stands twice (ValueError). A table alone stays as it is."""
    if len(tables) == 1:
        return next(iter(tables.values()))
    parts = list(tables.values())
    whole = merge_folds(parts) if merged else _below(parts)
    names = pa.array(list(tables))
    at = whole.column_names.index("part")
    return whole.set_column(at, "part", names.take(whole["part"].combine_chunks()))


def aligned(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The same samples in the same order in every table, for comparisons sample by sample.

    Raises ValueError when the tables are about different samples.
    """
    ordered = [table.sort_by("row") for table in tables]
    first = ordered[0]["row"].to_numpy()
    for number, table in enumerate(ordered[1:], start=2):
        if not np.array_equal(first, table["row"].to_numpy()):
            raise ValueError(
                f"the first run predicts {len(first)} samples, run {number} predicts "
                f"{len(table)} and not the same ones; evaluate all on one selection"
            )
    return ordered


MOST_VIDEOS = 400  # in the timeline's list


def in_order(table: pa.Table) -> pa.Table:
    """Videos one after another, each in the order of its frames; all else by row."""
    keys = [k for k in ("video_id", "person_slot", "frame_index") if k in table.column_names]
    return table.sort_by([*((key, "ascending") for key in keys), ("row", "ascending")])


def videos_of(table: pa.Table, most: int | None = MOST_VIDEOS) -> list[dict[str, Any]]:
    """Where each video (and person in it) lies in the ordered table; the `most` longest first."""
    needed = ("video_id", "frame_index")
    if any(n not in table.column_names or table[n].null_count for n in needed):
        return []
    names = np.array(table["video_id"].to_pylist(), object)
    if "person_slot" in table.column_names:
        slots = table["person_slot"].to_pylist()
        pairs = zip(names, slots, strict=True)
        names = np.array([f"{n} ({s})" if s else n for n, s in pairs], object)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    stops = np.r_[starts[1:], len(names)]
    found = [
        {"name": str(names[a]), "start": int(a), "stop": int(b)}
        for a, b in zip(starts, stops, strict=True)
        if b - a > 1
    ]
    return sorted(found, key=lambda v: v["start"] - v["stop"])[:most]


def cells_of(target: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
    """A code for the cell of the plane, a sixteenth wide and high, that each label lies in."""
    return np.floor((target + 1) * 8).astype(int) @ np.array([100, 1])


def over_the_plane(table: pa.Table, seed: int) -> list[int]:
    """Positions in an order that visits every cell of the plane before any cell twice."""
    order = np.random.default_rng(seed).permutation(len(table))
    if is_classes(table):
        return order.tolist()
    target = pair_of(table).target.numpy()[order]
    cell = cells_of(target)
    by_cell = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cell[by_cell]) != 0])
    lengths = np.diff(np.r_[starts, len(cell)])
    turn = np.arange(len(cell)) - np.repeat(starts, lengths)
    return order[by_cell[np.lexsort((by_cell, turn))]].tolist()  # within a turn as drawn
