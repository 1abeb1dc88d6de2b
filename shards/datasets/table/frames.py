"""Frames of a film that a row is about: one, that at a time, or those of an interval."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from shards.datasets import foreign
from shards.datasets.table.columns import Row
from shards.datasets.video import VideoFacts, frame_times, video_facts

WHOLE = 1e6  # seconds; an interval up to here ends with its film
_ROUNDED = 6e-4  # seconds; published times are cut to thousandths


class Film(NamedTuple):
    """A film and when each of its frames is shown."""

    facts: VideoFacts
    times: list[float]

    def frames(self, row: Row) -> range:
        """Numbers of the frames; those beyond the last are not in the film.

        Times are those of the frames themselves, since a rate may vary; of an interval those in
        [start, end), at a moment the nearest.
        """
        if row.frame is not None:
            return range(row.frame, row.frame + 1)
        start, end = row.seconds or (0.0, WHOLE)
        if start < end:
            first, stop = (self._first(moment) for moment in (start, end))
            beyond = end < WHOLE and end > self._end + _ROUNDED
            return range(first, stop + beyond)
        after = self._first(start)
        if after == len(self.times):
            after -= start <= self._end + _ROUNDED
        elif after and start - self.times[after - 1] < self.times[after] - start:
            after -= 1
        return range(after, after + 1)

    def _first(self, moment: float) -> int:
        return bisect_left(self.times, moment - _ROUNDED)

    @property
    def _end(self) -> float:
        return self.times[-1] + 1 / (self.facts.fps or 1.0) if self.times else 0.0


@lru_cache(maxsize=1)  # rows of a film stand together
def film_at(root: Path, path: Path) -> Film:
    """Raises ValueError naming the file where it is no film, or one without times."""
    foreign.check(root, path, foreign.FILM)
    return Film(video_facts(path), frame_times(path))
