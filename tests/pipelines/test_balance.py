"""What a selection is balanced by: classes, cells of the plane, any column of words or codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines import grouped
from pipelines.order import Groups
from shards import LabelIndex, write_shards
from tests.pipelines.conftest import N, encoded, sample

LABELS = [(-1.0, -1.0), (1.0, 1.0), (0.99, -0.01), (0.0, 0.0), (None, None)]


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    """90 rows in the shuffled order of their tars, with columns of their own."""
    samples = (
        replace(
            sample(n),
            valence=LABELS[n % 5][0],
            arousal=LABELS[n % 5][1],
            subject_id=None if n % 4 == 0 else f"s{n % 4}",
            extra={
                "group": n % 3 if n % 10 else None,
                "glasses": n % 2 == 0,
                "age": n / 7,
                "no": None,
            },
        )
        for n in range(N)
    )
    folder = tmp_path_factory.mktemp("shards")
    write_shards(((one, encoded(n)) for n, one in enumerate(samples)), folder)
    return LabelIndex.open(folder).where()


def of(selection, by) -> Groups:
    found = grouped(selection, by)
    assert found is not None
    return found


def members(groups) -> dict[str | None, list[int]]:
    ends = np.cumsum(groups.sizes)
    parts = np.split(groups.members, ends[:-1])
    assert sorted(groups.members.tolist()) == list(range(N))
    return dict(zip([*groups.names, None], (part.tolist() for part in parts), strict=True))


@pytest.mark.parametrize("column", ["expression", "subject_id", "group", "glasses", "dataset"])
def test_a_column_is_grouped_by_its_values(column, selection):
    values = selection.column(column)
    found = members(grouped(selection, column))
    missing = [i for i, v in enumerate(values) if v is None or v != v]
    assert found.pop(None) == missing
    assert sum(map(len, found.values())) == N - len(missing)
    for positions in found.values():
        assert len({values[i] for i in positions}) == 1


def test_classes_have_their_names(selection):
    assert {"happy", "neutral"} <= set(of(selection, "expression").names)


def test_cells_of_the_plane_are_half_open_and_the_last_holds_its_end(selection):
    found = members(grouped(selection, "plane:10"))
    targets = np.stack([selection.column(a) for a in ("valence", "arousal")], 1)
    names = ["valence -1.00, arousal -1.00", "valence +0.80, arousal +0.80",
             "valence +0.80, arousal -0.20", "valence +0.00, arousal +0.00"]  # fmt: skip
    for name, cell in zip(names, LABELS, strict=False):
        assert (
            found.pop(f"from {name}")
            == np.flatnonzero((targets == np.float32(cell)).all(1)).tolist()
        )
    assert found == {None: np.flatnonzero(np.isnan(targets[:, 0])).tolist()}


def test_nothing_is_balanced_unless_asked(selection):
    assert grouped(selection, "none") is None


@pytest.mark.parametrize(
    ("balance", "sentence"),
    [
        ("emotion", "no column 'emotion'; there are sample_key"),
        ("valence", "valence holds float; name a column of words.*plane:10"),
        ("age", "holds double"),
        ("landmarks", "holds list"),
        ("no", "balance=no: none of 90 samples has a value"),
    ],
)
def test_what_cannot_be_balanced_is_a_sentence(balance, sentence, selection):
    with pytest.raises(ValueError, match=sentence):
        grouped(selection, balance)


def test_equal_groups_have_equal_digests(selection):
    digests = [of(selection, by).digest for by in ("group", "group", "glasses", "plane:10")]
    assert digests[0] == digests[1] and len(set(digests)) == 3
