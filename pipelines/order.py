"""`Order`: the order of an epoch as a value, the same for any number of ranks, open at any step.

Nothing here is stateful: which samples stand in global batch 7312 of epoch 3 is a function of
(length, batch size, seed) and, where draws are balanced, of who belongs to which group, computed
when asked. So a run resumes at (epoch, step) at no cost, and
two, seven or sixty-four ranks share out the very sequence of batches that one rank would see.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

BLOCK = 256  # samples that stay neighbours on disk: about 6 MB of 256 px faces, one ranged read
WINDOW = 64  # blocks shuffled into each other: 16,384 samples, about 400 MB of page cache
AHEAD = 16  # steps computed at once: 16 cost what one does, for numpy's price is by the call
_PASSAGES = 2**40  # where an epoch's number stands: no epoch is called so
_ROUNDS = 16  # of the bijection: with 8, some orders of 5 samples come too often; 16 shows no trace


class Steps(NamedTuple):
    """What one rank reads in some consecutive steps, each field of shape (steps, rank batch)."""

    positions: np.ndarray  # int64, in the selection
    places: np.ndarray  # int64, in the epoch: the same sample has the same place on any rank
    mask: np.ndarray  # bool, False where a position only fills up the last batch


@dataclass(frozen=True, eq=False)
class Groups:
    """Which samples are to be drawn as often, together, as those of any other group."""

    by: str  # what parts them
    names: tuple[str, ...]
    members: np.ndarray  # int64 (n,), positions in the selection, one group after another
    sizes: np.ndarray  # int64 (groups + 1,), none 0 but the last: samples that are in no group

    @classmethod
    def of(cls, by: str, words: list[str], codes: np.ndarray) -> Groups:
        """From each sample's place among `words`, below 0 where it is in no group.

        Raises ValueError where that holds for all.
        """
        found, counts = np.unique(codes[codes >= 0], return_counts=True)
        if not len(found):
            raise ValueError(f"{by}: none of {len(codes):,} samples has a value; choose another")
        last = np.where(codes < 0, len(words), codes)
        sizes = np.append(counts, len(codes) - counts.sum())
        names = tuple(words[code] for code in found.tolist())
        return cls(by, names, np.argsort(last, kind="stable"), sizes)

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each group begins in `members`."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def digest(self) -> str:
        """Equal for equal groups."""
        crc = zlib.crc32(self.members.tobytes(), zlib.crc32(self.sizes.tobytes()))
        return f"{self.by} {crc:08x}"


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

    With `groups` an epoch is as long and every group is drawn equally often in it, give or take
    one. Draws are numbered through all epochs and dealt to the groups in turn; a group passes
    through its own samples, in another order each time, so that after any epoch two samples of it
    have been drawn equally often, give or take one. Samples in no group are drawn as
    often as they would be without.

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
    groups: Groups | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("global", "blocks"):
            raise ValueError(f"order {self.kind!r} does not exist; choose 'global' or 'blocks'")
        if self.groups is not None and (self.kind != "global" or not self.shuffle):
            raise ValueError("groups are drawn from everywhere: shuffle, and leave kind=global")
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
    def drawn(self) -> int:
        """Samples in the batches of an epoch, over all ranks."""
        return min(self.length, self.steps * self.batch_size)

    @property
    def rank_batch(self) -> int:
        """Samples per batch on one rank."""
        return self.batch_size // self.world_size

    def expected(self) -> list[tuple[str, int, float]]:
        """Each group's name, samples and draws in an epoch; last those in no group, if any."""
        if self.groups is None:
            return []
        *sizes, rest = self.groups.sizes.tolist()
        apart = self.drawn * rest / self.length
        each = (self.drawn - apart) / len(sizes)
        found = [(name, n, each) for name, n in zip(self.groups.names, sizes, strict=True)]
        return [*found, ("no value", rest, apart)] if rest else found

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
        """The sample at each place of the epoch; without `groups` a bijection of 0..length-1."""
        if self.groups is not None:
            return self._in_turn(epoch, places, self.groups)
        if not self.shuffle:
            return places
        if self.kind == "global":
            return permuted(places, self.length, _keys(self.seed, epoch))
        return self._in_blocks(epoch, places)

    def _in_turn(self, epoch: int, places: np.ndarray, groups: Groups) -> np.ndarray:
        """The samples that the groups' turns fall on, the epoch's turns being shuffled."""
        draw = permuted(places, self.drawn, _keys(self.seed, epoch))
        ungrouped, after = (
            e * self.drawn * int(groups.sizes[-1]) // self.length for e in (epoch, epoch + 1)
        )  # draws of samples in no group, before this epoch and after it
        alone = draw < after - ungrouped
        turn = epoch * self.drawn + draw - after  # of the groups; one number for each of all epochs
        group = np.where(alone, len(groups.names), turn % len(groups.names))
        number = np.where(alone, ungrouped + draw, turn // len(groups.names))
        size = groups.sizes[group]
        passage, place = np.divmod(number, size)
        name = (passage * len(groups.sizes) + group).astype(np.uint64)
        keys = [_hash(name, key) for key in _keys(self.seed, _PASSAGES)]
        return groups.members[groups.starts[group] + permuted(place, size, keys)]

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


def permuted(
    places: np.ndarray, length: int | np.ndarray, keys: Sequence[int | np.ndarray]
) -> np.ndarray:
    """A keyed bijection of 0..length-1 at some places: a Feistel network over a x b >= length.

    A number is a pair (left, right); each round adds a hash of one half to the other, which can be
    undone whatever the hash, so the whole is a bijection of a*b numbers; those that fall on
    `length` or beyond are sent through again until they land inside (Black & Rogaway 2002).
    numpy's `permutation` of 10,000,000 takes 0.7-1.1 s and 80 MB; this takes nothing until asked
    and then 1 us a place. Length and keys are the same for all places, or one for each.
    """
    height = np.ceil(np.sqrt(length)).astype(np.int64)
    width = (length + height - 1) // height
    sides = [np.asarray(side, np.uint64) for side in (height, width, *keys)]
    found = _rounds(places.astype(np.uint64), *sides)
    while (outside := found >= length).any():
        rest = (np.broadcast_to(side, found.shape)[outside] for side in sides)
        found[outside] = _rounds(found[outside], *rest)
    return found.astype(np.int64)


def _rounds(
    numbers: np.ndarray, height: np.ndarray, width: np.ndarray, *keys: np.ndarray
) -> np.ndarray:
    left, right = np.divmod(numbers, width)
    for number, key in enumerate(keys):
        if number % 2:
            right = (right + _hash(left, key) % width) % width
        else:
            left = (left + _hash(right, key) % height) % height
    return left * width + right


def _hash(numbers: np.ndarray, key: int | np.ndarray) -> np.ndarray:
    """Steele, Lea & Flood 2014, the finaliser of SplitMix64, of each number under a key."""
    mixed = (numbers * np.uint64(0x9E3779B97F4A7C15)) ^ np.asarray(key, np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
