"""`batches(...)`: a selection of shard rows as this rank's endless, resumable stream of `Batch`.

The order of an epoch is ours (`order`), written out for DALI a window at a time (`plan`). DALI
reads and decodes ahead in its own threads (`decode`), and the next window is built while the
current one is used. Labels never pass through DALI: they are gathered by row, on the device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from nvidia.dali.pipeline import Pipeline
from torch import Tensor

from pipelines.augment import EVALUATION, Augment, Draws, draw
from pipelines.decode import Draw, Graph, add_grey, inputs
from pipelines.order import Order, Steps
from pipelines.pixels import geometry
from pipelines.plan import check_rows, check_tars, place, planned
from shards import Selection

WINDOW = 8192  # samples planned at a time: at most so many plan files, 32 MB of memory for them
CLASSES = ("expression", "expression_compound")  # columns that hold codes and not numbers


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
    shuffle: bool | None = None,
    drop_last: bool | None = None,
    threads: int | None = None,
    on_corrupt: str = "error",
) -> Batches:
    """The batches of `selection` for one rank.

    `batch_size` is the global batch; each rank gets an equal slice of it. With `augment` (True for
    the paper's, or an `Augment`) epochs are shuffled and their incomplete last batch is left out;
    without, rows come in tar order and the last batch is filled up under its mask. `shuffle` and
    `drop_last` overrule that. `targets` are columns of the index; a class column alone, such as
    "expression", gives int64. `threads` decode; by default the cores of this process, shared
    between the ranks of this machine. An image that does not decode raises with
    `on_corrupt="error"`; with "skip" a neighbour's copy takes its place under the mask and
    `Batches.corrupt` names it.

    Raises ValueError where labels are null or the settings admit no equal batches,
    FileNotFoundError where a tar is missing.
    """
    if on_corrupt not in ("error", "skip"):
        raise ValueError(f"on_corrupt {on_corrupt!r} does not exist; choose 'error' or 'skip'")
    visits = Order(
        length=len(selection),
        batch_size=batch_size,
        seed=seed,
        kind=order,
        shuffle=bool(augment) if shuffle is None else shuffle,
        drop_last=bool(augment) if drop_last is None else drop_last,
        rank=rank,
        world_size=world_size,
    )
    check_tars(selection)
    where = torch.device(device)
    if isinstance(augment, bool):
        augment = Augment() if augment else EVALUATION
    graph = Graph(
        geometry(selection.column("width"), selection.column("height"), image_size),
        visits.rank_batch,
        threads or _threads(),
        device=None if where.type == "cpu" else where.index or 0,
    )
    labels = _labels(selection, (targets,) if isinstance(targets, str) else tuple(targets))
    return Batches(selection, visits, graph, augment, labels.to(where), on_corrupt)


def _threads() -> int:
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _labels(selection: Selection, names: tuple[str, ...]) -> Tensor:
    labels = torch.from_numpy(selection.targets(names))
    return labels[:, 0].long() if len(names) == 1 and names[0] in CLASSES else labels


class _Window:
    """Some consecutive steps of one epoch on their way through DALI."""

    def __init__(self, steps: Steps, pipeline: Pipeline) -> None:
        self.steps = steps
        self._pipeline = pipeline
        self._started = False

    def __len__(self) -> int:
        return len(self.steps.positions)

    def start(self) -> None:
        """Begin to decode ahead."""
        if not self._started:
            self._started = True
            self._pipeline.schedule_run()

    def read(self) -> tuple[Tensor, np.ndarray]:
        """The next step's images, and the rows found beside them in the tars.

        Nothing is copied: the buffer belongs to the tensor, and DALI takes another one.
        """
        self.start()
        image, row = self._pipeline.share_outputs()
        self._pipeline.release_outputs()
        self._pipeline.schedule_run()
        return torch.from_dlpack(image.as_tensor()), np.asarray(row.as_tensor())[:, 0]


class Batches:
    """This rank's stream of batches; made by `batches`.

    Iterating yields what is left of the current epoch and ends with it; the next loop is the next
    epoch. A `state_dict` taken inside the loop stands after the batch in hand.
    """

    def __init__(
        self,
        selection: Selection,
        order: Order,
        graph: Graph,
        augment: Augment,
        labels: Tensor,
        on_corrupt: str,
    ) -> None:
        self.selection = selection
        self.order = order
        self.graph = graph
        self.augment = augment
        self.on_corrupt = on_corrupt
        self.epoch = 0
        self.step = 0  # batches of this epoch handed out
        self.wait_s = 0.0  # seconds that callers have waited for a batch, over all epochs
        self.corrupt: list[str] = []  # tar:offset:key of every image that was skipped
        self._labels = labels
        self._builder: ThreadPoolExecutor | None = None
        self._ahead: tuple[int, int, Future[_Window]] | None = None  # epoch, step, window

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
                    "resume with the same data, batch size, seed and order, or start a new run"
                )
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self._turn()

    def close(self) -> None:
        """Free what was built ahead. The stream can still be iterated."""
        self._ahead = None
        if self._builder is not None:
            self._builder.shutdown(cancel_futures=True)
            self._builder = None

    def _identity(self) -> dict[str, Any]:
        order = self.order
        return {
            "selection": self.selection.digest,
            "batch_size": order.batch_size,
            "seed": order.seed,
            "order": order.kind,
            "shuffle": order.shuffle,
            "drop_last": order.drop_last,
        }

    def _turn(self) -> None:
        """The end of an epoch is the start of the next."""
        if self.step >= len(self):
            self.epoch, self.step = self.epoch + 1, 0

    def _rest_of_epoch(self) -> Iterator[Batch]:
        self._turn()
        epoch = self.epoch
        while self.epoch == epoch:
            window = self._window()
            for number, steps in enumerate(zip(*window.steps, strict=True)):
                self._start_ahead(remaining=len(window) - number)
                batch, whole = self._batch(window, Steps(*steps))
                self.step += 1
                yield batch
                if not whole:
                    break  # DALI has lost its way: the rest of the window is built anew
            self._turn()

    def _window(self) -> _Window:
        """The window from here on, built ahead if all went as expected; the next one is ordered."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[:2] == (self.epoch, self.step):
            window = ahead[2].result()
        else:
            window = self._build(self.epoch, self.step)
        window.start()
        stop = self.step + len(window)
        epoch, step = (self.epoch, stop) if stop < len(self) else (self.epoch + 1, 0)
        if self._builder is None:
            self._builder = ThreadPoolExecutor(1, thread_name_prefix="plan")
        self._ahead = epoch, step, self._builder.submit(self._build, epoch, step)
        return window

    def _start_ahead(self, remaining: int) -> None:
        """Let the next window decode as soon as this one has nothing left to decode.

        Between epochs only while training: a validation set may wait for minutes.
        """
        if remaining > self.graph.prefetch or self._ahead is None:
            return
        epoch, _, window = self._ahead
        if window.done() and (epoch == self.epoch or self.order.shuffle):
            window.result().start()

    def _build(self, epoch: int, step: int) -> _Window:
        """Steps from `step` to the next multiple of the window's length.

        A batch is read tar by tar, which is one plan for each tar in it and not one for each
        sample, and put in order once read: a plan costs 40 us, a twelfth of decoding an image.
        """
        span = max(1, WINDOW // self.order.rank_batch)
        stop = min(len(self), (step // span + 1) * span)
        steps = self.order.at(epoch, step, stop - step)
        by_tar = np.argsort(self.selection.rows[steps.positions], axis=1)
        back = np.argsort(by_tar, axis=1).astype(np.int32)
        read = np.take_along_axis(steps.positions, by_tar, axis=1)
        numbers = (
            (found, *inputs(self._draws(epoch, places), self.graph.geometry))
            for found, places in zip(back, steps.places, strict=True)
        )
        with planned(self.selection.take(read.ravel())) as (tars, plans):
            return _Window(steps, self.graph.over_plan(tars, plans, numbers))

    def _draws(self, epoch: int, places: np.ndarray) -> Draws:
        return draw(self.augment, self.order.seed, epoch, int(places[0]), len(places))

    def _batch(self, window: _Window, steps: Steps) -> tuple[Batch, bool]:
        """A step's batch, and whether all its images decoded."""
        try:
            image, rows = window.read()
        except RuntimeError as error:  # DALI does not say which image it was
            return self._rescued(steps, error), False
        check_rows(self.selection.take(steps.positions), rows)
        if self.augment.saturation:
            add_grey(image, self._draws(self.epoch, steps.places).saturation)
        return self._with_labels(image, steps.positions, steps.mask), True

    def _with_labels(self, image: Tensor, positions: np.ndarray, mask: np.ndarray) -> Batch:
        device = self._labels.device
        rows = torch.from_numpy(self.selection.rows[positions])
        target = self._labels[torch.from_numpy(positions).to(device)]
        return Batch(image, target, rows.to(device), torch.from_numpy(mask).to(device))

    def _rescued(self, steps: Steps, error: RuntimeError) -> Batch:
        """Decode the images of a failed batch one by one, to name or replace the broken ones."""
        chosen = self.selection.take(steps.positions)
        drawn = self._draws(self.epoch, steps.places)
        numbers = inputs(drawn, self.graph.geometry)
        images = [
            self._decoded(chosen, i, tuple(n[i : i + 1] for n in numbers))
            for i in range(len(chosen))
        ]
        good = [i for i, image in enumerate(images) if image is not None]
        broken = [place(chosen, i) for i, image in enumerate(images) if image is None]
        if not broken:
            raise error  # not an image: out of memory, a driver
        if self.on_corrupt == "error" or not good:
            raise ValueError(
                f"{', '.join(broken)} cannot be decoded any more; write the shards again "
                "or go on without with on_corrupt=skip"
            ) from error
        self.corrupt += broken
        source = [i if image is not None else good[0] for i, image in enumerate(images)]
        found = torch.cat([images[i] for i in source])  # pyright: ignore[reportCallIssue, reportArgumentType]
        if self.augment.saturation:
            add_grey(found, drawn.saturation[source])
        intact = np.array([image is not None for image in images])
        return self._with_labels(found, steps.positions[source], steps.mask & intact)

    def _decoded(self, chosen: Selection, position: int, numbers: Draw) -> Tensor | None:
        content = chosen.index.read(int(chosen.rows[position]))
        if len(content) < chosen.column("image_size")[position]:
            return None
        pipeline = self.graph.over_bytes([content], numbers)
        try:
            (image,) = pipeline.run()
        except RuntimeError:
            return None
        return torch.from_dlpack(image.as_tensor())
