"""Frames by number, moment or interval, by the time at which each is shown."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from shards.datasets.table.columns import Scale, parse
from shards.datasets.table.frames import WHOLE, Film, film_at
from shards.datasets.video import VideoFacts
from shards.films import FilmReader, FilmWriter
from tests.shards.trees import blob

UNIT = Scale.of("-1..1", "")


def frames(film: Film, **columns: float) -> list[int]:
    row = {"path": "a.mp4", **{name: repr(value) for name, value in columns.items()}}
    return list(film.frames(parse(row, {name: name for name in row}, UNIT)))


def steady(rate: float, count: int) -> Film:
    return Film(VideoFacts(count, float(rate), None), [number / rate for number in range(count)])


def test_an_interval_holds_the_frames_shown_in_it() -> None:
    film = steady(10, 20)
    assert frames(film, start=0.45, end=0.8) == [5, 6, 7]
    assert frames(film, start=0.0, end=0.1) == [0]
    assert frames(film, start=0.0, end=WHOLE) == list(range(20))
    assert frames(film, start=1.8, end=2.0) == [18, 19]
    assert frames(film, start=1.8, end=9.0) == [18, 19, 20]  # one more says that it goes beyond


@pytest.mark.parametrize("rate", [10, 23.976, 25, 29.97, 30, 60])
def test_intervals_side_by_side_share_no_frame_and_lose_none(rate: float) -> None:
    film = steady(rate, 300)
    for digits in (3, 9):  # as published, and as computed
        cuts = [round(number / rate, digits) for number in range(0, 300, 3)]
        found = [frames(film, start=a, end=b) for a, b in pairwise(cuts)]
        assert found == [[k, k + 1, k + 2] for k in range(0, 297, 3)]


def test_a_moment_is_the_frame_next_to_it() -> None:
    film = steady(10, 20)
    assert [frames(film, time=t) for t in (0.0, 0.04, 0.06, 0.5, 1.94)] == [
        [0],
        [0],
        [1],
        [5],
        [19],
    ]
    assert frames(film, time=5.0) == [20]  # not in the film


def test_each_frame_has_its_own_time_where_the_rate_varies(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 1.0, 1.04, 3.0]
    writer = FilmWriter(tmp_path / "a.mp4", Fraction(25))
    for number, time in enumerate(times):
        writer.add(blob(number, 64), time)
    writer.close()
    film = film_at(tmp_path, tmp_path / "a.mp4")
    assert film.times == pytest.approx(times, abs=1e-4)  # of a clock of 90 kHz
    assert frames(film, start=0.9, end=2.0) == [3, 4]
    assert frames(film, time=3.0) == [5]


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv"])
def test_times_are_those_that_decoding_finds(name: str, tmp_path: Path) -> None:
    writer = FilmWriter(tmp_path / name, Fraction(25))
    for number in range(12):
        writer.add(blob(number, 64))
    writer.close()
    with FilmReader(tmp_path / name) as film:
        expected = [shot.time for shot in film.shots()]
    assert film_at(tmp_path, tmp_path / name).times == pytest.approx(expected, abs=1e-9)
