"""`batches(...)`: a selection of shard rows as this rank's endless, resumable stream of `Batch`.

The order of an epoch is ours (`order`). A thread reads the bytes of one step after the other and
looks them over (`tars`); one pipeline for good decodes them ahead in DALI's threads (`decode`).
Labels never pass through DALI: they are gathered by row, on the device.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipelines.augment import EVALUATION, Augment, Draws, draw
from pipelines.cache import Pictures, check_place
from pipelines.decode import Decoder, Graph, Undecodable, add_grey, inputs
from pipelines.order import Groups, Order, Steps
from pipelines.pixels import geometry
from pipelines.tars import Tars
from shards import Selection
from shards.image import Unreadable, prove, sniff

CLASSES = ("expression", "expression_raw", "expression_compound")  # codes, not numbers


class Batch(NamedTuple):
    """One rank's samples of one step, on the device it asked for."""

    image: Tensor  # float32 (B, 3, H, W), RGB normalised by ImageNet's mean and std
    target: Tensor  # float32 (B, k), or int64 (B,) where the target is a class
    row: Tensor  # int64 (B,), position in the table of the selection's index
    mask: Tensor  # bool (B,), False: only fills up the batch, not to be counted


def batches(
    selection: Selection,
    batch_size: int,
    *,
    targets: str | Sequence[str] = ("valence", "arousal"),
    augment: bool | Augment = False,
    image_size: int = 224,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: str | torch.device = "cpu",
    order: str = "global",
    groups: Groups | None = None,
    shuffle: bool | None = None,
    drop_last: bool | None = None,
    threads: int | None = None,
    on_corrupt: str = "error",
    check: str = "markers",
    cache: str = "none",
    channels_last: bool = False,
) -> Batches:
    """The batches of `selection` for one rank.

    `batch_size` is the global batch; each rank gets an equal slice of it. With `augment` (True for
    the paper's, or an `Augment`) epochs are shuffled and their incomplete last batch is left out;
    without, rows come in tar order and the last batch is filled up under its mask. `shuffle` and
    `drop_last` overrule that; `groups` are drawn equally often (`pipelines.grouped` makes
    them). `targets` are columns of the index; a class column alone, such as
    "expression", gives int64. `threads` decode; by default one more than the cores of this
    process, shared between the ranks of this machine. An image that does not decode raises with
    `on_corrupt="error"`; with "skip" a neighbour's copy takes its place under the mask and
    `Batches.corrupt` names it. Before decoding each image is looked over by its markers; with
    `check="crc"` by its checksum too, which sees any changed byte. `cache="memory"` keeps the
    decoded pictures, so that epochs after the first decode nothing; "device" keeps them on
    `device`. The pixels are the same. With `channels_last` they lie in that memory format.

    Raises ValueError where labels are null, the settings admit no equal batches or the cache does
    not fit, FileNotFoundError where a tar is missing.
    """
    if on_corrupt not in ("error", "skip"):
        raise ValueError(f"on_corrupt {on_corrupt!r} does not exist; choose 'error' or 'skip'")
    check_place(cache)
    visits = Order(
        length=len(selection),
        batch_size=batch_size,
        seed=seed,
        kind=order,
        shuffle=bool(augment) if shuffle is None else shuffle,
        drop_last=bool(augment) if drop_last is None else drop_last,
        rank=rank,
        world_size=world_size,
        groups=groups,
    )
    where = _device(device)
    tars = Tars(selection, check)
    graph = Graph(
        geometry(tars.sides[:, 0], tars.sides[:, 1], image_size),
        visits.rank_batch,
        threads or _threads(),
        device=where.index,
        channels_last=channels_last,
    )
    if isinstance(augment, bool):
        augment = Augment() if augment else EVALUATION
    labels = _labels(selection, (targets,) if isinstance(targets, str) else tuple(targets))
    pictures = None if cache == "none" else Pictures(graph, len(selection), cache)
    return Batches(tars, visits, graph, augment, labels.to(where), on_corrupt, pictures)


def _device(named: str | torch.device) -> torch.device:
    """With its number; "cuda" alone is the device that is current, as everywhere in torch."""
    device = torch.device(named)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device if device.type == "cuda" else torch.device("cpu")


def _threads() -> int:
    """One more than cores: two that wake on one core would leave another idle for some ms."""
    return 1 + len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _labels(selection: Selection, names: tuple[str, ...]) -> Tensor:
    labels = torch.from_numpy(selection.targets(names))
    return labels[:, 0].long() if len(names) == 1 and names[0] in CLASSES else labels


class _Step:
    """A step on its way: what is shown in each of its n slots."""

    def __init__(self, at: tuple[int, int], steps: Steps, draws: Draws) -> None:
        self.at = at  # epoch, step
        self.positions, _, self.mask = steps
        self.draws = draws
        self.images: Any = None  # encoded, or pictures of the cache
        self.lost = np.zeros(len(self.positions), bool)
        self.broken: list[int] = []  # positions

    def lose(self, slots: Sequence[int]) -> bool:
        """Let the first whole image stand in for the broken ones; False if there is none.

        What stands in is another row, with its labels and random numbers, under the mask.
        """
        broken = np.unique(self.positions[slots])
        self.broken += broken.tolist()
        self.lost |= np.isin(self.positions, broken)
        if self.lost.all():
            return False
        source = np.where(self.lost, np.argmin(self.lost), np.arange(len(self.lost)))
        self.positions = self.positions[source]
        self.mask = self.mask & ~self.lost
        self.draws = Draws(*(numbers[source] for numbers in self.draws))
        self.images = self.images and [self.images[i] for i in source.tolist()]
        return True


class Batches:
    """This rank's stream of batches; made by `batches`.

    Iterating yields what is left of the current epoch and ends with it; the next loop is the next
    epoch. A `state_dict` taken inside the loop stands after the batch in hand.
    """

    def __init__(
        self,
        tars: Tars,
        order: Order,
        graph: Graph,
        augment: Augment,
        labels: Tensor,
        on_corrupt: str,
        pictures: Pictures | None,
    ) -> None:
        self.selection = tars.selection
        self.order = order
        self.graph = graph
        self.augment = augment
        self.on_corrupt = on_corrupt
        self.epoch = 0
        self.step = 0  # batches of this epoch handed out
        self.wait_s = 0.0  # seconds that callers have waited for a batch, over all epochs
        self.corrupt: list[str] = []  # tar:offset:key of every image that was skipped
        self._tars = tars
        self._labels = labels
        self._pictures = pictures
        self._decoder = Decoder(
            graph.pixels if pictures is None else graph.pixels_of_pictures, graph.device
        )
        self._flying: deque[_Step] = deque()  # being decoded
        self._ahead: Future[_Step] | None = None  # being read
        self._reader: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        """Batches per epoch, the same on every rank."""
        return self.order.steps

    def __iter__(self) -> Iterator[Batch]:
        asked = time.perf_counter()
        for batch in self._rest_of_epoch():
            self.wait_s += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()
        self.wait_s += time.perf_counter() - asked

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands and what it is a stream of, as plain values."""
        return {"epoch": self.epoch, "step": self.step, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, on this or any other number of ranks.

        Raises ValueError where the samples, batch size, seed or order differ: the step would then
        mean another place of another sequence.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise ValueError(
                    f"the saved stream has {name} {state.get(name)!r} and this one {value!r}; "
                    "resume with the same data, batch size, seed, order and groups, or start anew"
                )
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self._turn()

    def close(self) -> None:
        """Free what was read and decoded ahead. The stream can still be iterated."""
        self._forget()
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
            self._reader = None

    def _identity(self) -> dict[str, Any]:
        order = self.order
        return {
            "selection": self.selection.digest,
            "batch_size": order.batch_size,
            "seed": order.seed,
            "order": order.kind,
            "shuffle": order.shuffle,
            "drop_last": order.drop_last,
            "groups": order.groups and order.groups.digest,
        }

    def _turn(self) -> None:
        """The end of an epoch is the start of the next."""
        if self.step >= len(self):
            self.epoch, self.step = self.epoch + 1, 0

    def _rest_of_epoch(self) -> Iterator[Batch]:
        self._turn()
        epoch = self.epoch
        while self.epoch == epoch:
            batch = self._batch()
            self.step += 1
            yield batch
            self._turn()

    def _batch(self) -> Batch:
        """The batch of (epoch, step), and those behind it on their way."""
        try:
            if not self._flying or self._flying[0].at != (self.epoch, self.step):
                self._forget()
                self._ahead = self._read((self.epoch, self.step))
            self._fly(self.graph.prefetch)
            step = self._flying[0]
            image = self._decoded(step)
            self._fly(1 + self.graph.prefetch)
        except BaseException:
            self._forget()
            raise
        self._flying.popleft()
        self.corrupt += map(self._tars.place, step.broken)
        return self._labelled(image, step)

    def _forget(self) -> None:
        self._flying.clear()
        self._decoder.drop()
        self._ahead = None

    def _fly(self, most: int) -> None:
        """Let up to `most` steps be decoded; what is wrong with one is told when its turn comes."""
        while len(self._flying) < most and self._ahead is not None:
            if self._flying and self._ahead.exception() is not None:
                return
            step = self._ahead.result()
            self._put(step)
            self._flying.append(step)
            self._ahead = self._read(self._after(step.at))

    def _put(self, step: _Step) -> None:
        self._decoder.put(step.images, inputs(step.draws, self.graph.geometry))

    def _after(self, at: tuple[int, int]) -> tuple[int, int] | None:
        """The next step; across epochs only while training: a validation set may wait for long."""
        epoch, step = at
        if step + 1 < len(self):
            return epoch, step + 1
        return (epoch + 1, 0) if self.order.shuffle else None

    def _read(self, at: tuple[int, int] | None) -> Future[_Step] | None:
        if at is None:
            return None
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="tars")
        return self._reader.submit(self._prepared, at)

    def _prepared(self, at: tuple[int, int]) -> _Step:
        """A step with its images, whole ones only: nothing else may reach DALI."""
        steps = self.order.step(*at)
        first, n = int(steps.places[0]), self.order.rank_batch
        step = _Step(at, steps, draw(self.augment, self.order.seed, at[0], first, n))
        if self._pictures is None:
            step.images, broken = self._tars.read(step.positions)
            self._lose(step, broken)
        else:
            self._fill(self._pictures, step)
            step.images = self._pictures.at(step.positions)
        return step

    def _fill(self, pictures: Pictures, step: _Step) -> None:
        """Decode what the cache does not have yet; again without what turns out to be broken."""
        while missing := pictures.missing(step.positions):
            encoded, broken = self._tars.read(step.positions[missing])
            if not broken:
                try:
                    pictures.keep(step.positions[missing], encoded)
                except Undecodable as error:
                    broken = _broken(encoded, error)
            self._lose(step, [missing[i] for i in broken])

    def _decoded(self, step: _Step) -> Tensor:
        """The pixels of the step that was put first."""
        while True:
            try:
                image = self._decoder.get()
                break
            except Undecodable as error:
                self._lose(step, _broken(step.images, error))
                for flying in self._flying:
                    self._put(flying)
        if self.graph.channels_last:
            image = image.permute(0, 3, 1, 2)
        if self.augment.saturation:
            add_grey(image, step.draws.saturation)
        return image

    def _lose(self, step: _Step, slots: Sequence[int]) -> None:
        """Broken images are named and end the stream, or others stand in for them."""
        if slots and (not step.lose(slots) or self.on_corrupt == "error"):
            raise ValueError(
                f"{', '.join(map(self._tars.place, step.broken))} cannot be decoded any more; "
                "write the shards again or go on without with on_corrupt=skip"
            )

    def _labelled(self, image: Tensor, step: _Step) -> Batch:
        positions, rows, mask = map(
            self._moved, (step.positions, self.selection.rows[step.positions], step.mask)
        )
        return Batch(image, self._labels[positions], rows, mask)

    def _moved(self, numbers: np.ndarray) -> Tensor:
        """To the labels' device; a GPU is not waited for."""
        device, host = self._labels.device, torch.from_numpy(numbers)
        return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def _broken(images: Sequence[np.ndarray], error: Undecodable) -> list[int]:
    """Which of these DALI refused: the one it names, or those that do not decode elsewhere either.

    Raises `error` where there are none: it was memory or a driver, and not an image.
    """
    if error.sample is not None:
        return [error.sample]
    broken = [i for i, image in enumerate(images) if not _decodes(image.tobytes())]
    if not broken:
        raise error
    return broken


def _decodes(content: bytes) -> bool:
    try:
        prove(content, sniff(content))
    except Unreadable:
        return False
    return True
