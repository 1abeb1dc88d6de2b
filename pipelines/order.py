"""`Order`: the order of an epoch as a value, the same for any number of ranks, open at any step.

Nothing here is stateful: which samples stand in global batch 7312 of epoch 3 is a function of
(length, batch size, seed), computed when asked. So a run resumes at (epoch, step) at no cost, and
two, seven or sixty-four ranks share out the very sequence of batches that one rank would see.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

BLOCK = 256  # samples that stay neighbours on disk: about 6 MB of 256 px faces, one ranged read
WINDOW = 64  # blocks shuffled into each other: 16,384 samples, about 400 MB of page cache
AHEAD = 16  # steps computed at once: 16 cost what one does, for numpy's price is by the call
_ROUNDS = 16  # of the bijection: with 8, some orders of 5 samples come too often; 16 shows no trace


class Steps(NamedTuple):
    """What one rank reads in some consecutive steps, each field of shape (steps, rank batch)."""

    positions: np.ndarray  # int64, in the selection
    places: np.ndarray  # int64, in the epoch: the same sample has the same place on any rank
    mask: np.ndarray  # bool, False where a position only fills up the last batch


@dataclass(frozen=True, kw_only=True)
class Order:
    """The order in which `length` samples are visited, and this rank's part of it.

    A global batch is `batch_size` consecutive places of the epoch; rank r takes the r-th equal
    slice of each, so every rank sees equally many batches of equal size, never an empty one, and
    the sequence of global batches does not depend on `world_size`. With `drop_last` (training) the
    incomplete last batch is left out: other samples in every epoch. Without it (evaluation) it is
    filled up with samples whose mask is False, so that each sample counts once.

    `kind="global"` draws one permutation of all samples. `kind="blocks"` keeps reads local, for
    network disks: blocks of 256 neighbours are permuted, and the samples of every 64 successive
    blocks are shuffled among each other. Over all samples that moves a sample as far as the global
    permutation does (a third of the epoch on average), but two neighbours in one block meet
    again within one window: 5,460 places apart on average, where the global order has a third of
    the epoch. Shards are written in shuffled order, so neighbours have nothing in common
    but their shard.

    Raises ValueError where the settings admit no equal batches.
    """

    length: int
    batch_size: int  # global
    seed: int = 0
    kind: str = "global"  # or "blocks"
    shuffle: bool = True
    drop_last: bool = True
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("global", "blocks"):
            raise ValueError(f"order {self.kind!r} does not exist; choose 'global' or 'blocks'")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"rank {self.rank} is not below world size {self.world_size}; count from 0"
            )
        if self.batch_size < 1 or self.batch_size % self.world_size:
            raise ValueError(
                f"a global batch of {self.batch_size} does not divide into {self.world_size} equal "
                f"parts; choose a multiple of {self.world_size}"
            )
        if self.length < 1:
            raise ValueError("the selection is empty; check its split and filters")
        if self.steps == 0:
            raise ValueError(
                f"{self.length} samples do not fill one batch of {self.batch_size}; "
                "choose a smaller batch or keep the last one (drop_last=False)"
            )
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative; choose 0 or more")

    @property
    def steps(self) -> int:
        """Batches in an epoch, the same on every rank."""
        whole, rest = divmod(self.length, self.batch_size)
        return whole + bool(rest and not self.drop_last)

    @property
    def rank_batch(self) -> int:
        """Samples per batch on one rank."""
        return self.batch_size // self.world_size

    def at(self, epoch: int, step: int, steps: int = 1) -> Steps:
        """What this rank reads in `steps` steps from (epoch, step) on; O(what is returned)."""
        first = np.arange(step, step + steps, dtype=np.int64)[:, None] * self.batch_size
        places = first + self.rank * self.rank_batch + np.arange(self.rank_batch)
        return Steps(self.positions(epoch, places % self.length), places, places < self.length)

    def step(self, epoch: int, step: int) -> Steps:
        """One step of `at`, each field of shape (rank batch,) and the caller's own."""
        first = step - step % AHEAD
        return Steps(*(field[step - first].copy() for field in _ahead(self, epoch, first)))

    def positions(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """The sample at each place of the epoch: a bijection of 0..length-1."""
        if not self.shuffle:
            return places
        if self.kind == "global":
            return permuted(places, self.length, _keys(self.seed, epoch))
        return self._in_blocks(epoch, places)

    def _in_blocks(self, epoch: int, places: np.ndarray) -> np.ndarray:
        blocks, starts = _windows(self.length, self.seed, epoch)
        window = np.searchsorted(starts, places, side="right") - 1
        found = np.empty_like(places)
        for w in np.unique(window):
            inside = window == w
            found[inside] = self._window(epoch, int(w), blocks)[places[inside] - starts[w]]
        return found

    def _window(self, epoch: int, window: int, blocks: np.ndarray) -> np.ndarray:
        first = blocks[window * WINDOW : (window + 1) * WINDOW, None] * BLOCK
        members = (first + np.arange(BLOCK)).ravel()
        members = members[members < self.length]
        return np.random.default_rng([self.seed, epoch, window]).permutation(members)


@lru_cache(maxsize=4)  # a training stream's and a validation stream's, before and after a turn
def _ahead(order: Order, epoch: int, first: int) -> Steps:
    return order.at(epoch, first, min(AHEAD, order.steps - first))


@lru_cache(maxsize=4)
def _windows(length: int, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The epoch's order of blocks, and the place where each window of them starts."""
    blocks = np.random.default_rng([seed, epoch]).permutation(-(-length // BLOCK))
    before = np.cumsum([0, *np.minimum(length - blocks * BLOCK, BLOCK)])
    return blocks, before[:-1:WINDOW]


@lru_cache(maxsize=4)
def _keys(seed: int, epoch: int) -> tuple[int, ...]:
    words = np.random.SeedSequence([seed, epoch]).generate_state(_ROUNDS, np.uint64)
    return tuple(int(word) for word in words)


def permuted(places: np.ndarray, length: int, keys: tuple[int, ...]) -> np.ndarray:
    """A keyed bijection of 0..length-1 at some places: a Feistel network over a x b >= length.

    A number is a pair (left, right); each round adds a hash of one half to the other, which can be
    undone whatever the hash, so the whole is a bijection of a*b numbers; those that fall on
    `length` or beyond are sent through again until they land inside (Black & Rogaway 2002).
    numpy's `permutation` of 10,000,000 takes 0.7-1.1 s and 80 MB; this takes nothing until asked
    and then 1 us a place.
    """
    height = int(np.ceil(np.sqrt(length)))
    width = -(-length // height)
    found = _rounds(places.astype(np.uint64), height, width, keys)
    while (outside := found >= length).any():
        found[outside] = _rounds(found[outside], height, width, keys)
    return found.astype(np.int64)


def _rounds(numbers: np.ndarray, height: int, width: int, keys: tuple[int, ...]) -> np.ndarray:
    left, right = np.divmod(numbers, np.uint64(width))
    for number, key in enumerate(keys):
        if number % 2:
            right = (right + _hash(left, key) % np.uint64(width)) % np.uint64(width)
        else:
            left = (left + _hash(right, key) % np.uint64(height)) % np.uint64(height)
    return left * np.uint64(width) + right


def _hash(numbers: np.ndarray, key: int) -> np.ndarray:
    """Steele, Lea & Flood 2014, the finaliser of SplitMix64, of each number under a key."""
    mixed = (numbers * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
