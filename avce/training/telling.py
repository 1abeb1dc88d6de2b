"""`Teller`: what a training says of its steps, to log.jsonl, trackers and whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from avce.config import Config
from avce.layers import SimplexMap
from avce.method.base import Method
from avce.ranks import Ranks
from avce.training.feed import Feed
from avce.training.journal import Journal, Record, Stopwatch, flat_numbers

Progress = Callable[[Record], None]
_TELL_EVERY = 1.0  # seconds between words about an evaluation


class Teller:
    """Counts images and waiting between two records of the log; rank 0 writes them."""

    def __init__(
        self,
        accelerator: Accelerator,
        ranks: Ranks,
        method: Method,
        config: Config,
        feed: Feed,
        run: Path,
        progress: Progress | None,
    ) -> None:
        self.accelerator, self.ranks, self.method = accelerator, ranks, method
        self.config, self.feed, self.progress = config, feed, progress
        self.layers = [m for m in method.modules() if isinstance(m, SimplexMap)]
        self.journal = Journal(run / "log.jsonl", [progress] if progress else [])
        self.clock: Stopwatch | None = None
        self.told_at = time.monotonic()

    def open(self, step: int, lines: int | None, notes: list[str]) -> None:
        """Begin the log, or cut it to the `lines` that the checkpoint of `step` had seen."""
        self.journal.cut(lines, step)
        for note in notes:
            self.tell({"step": step, "note": note})
        if self.accelerator.log_with:
            settings = {name: str(value) for name, value in self.config.to_dict().items()}
            self.accelerator.init_trackers("trackers", settings)
            self.journal.listeners.append(
                lambda record: self.accelerator.log(flat_numbers(record), step=record["step"])
            )

    def tell(self, record: Record) -> None:
        """Only who listens hears this: news that tomorrow nobody asks for."""
        if self.progress:
            self.progress(record)

    def write(self, record: Record) -> None:
        """One record more in the log; the next one counts from here."""
        self.ranks.lead(lambda: self.journal.write(record))
        self.restart(record["step"])

    def restart(self, step: int) -> None:
        """Begin to count images and waiting for the next record."""
        self.since, self.images, self.feed.waited = time.perf_counter(), 0, 0.0
        self.since_step = step

    def measure(self, step: int, device: torch.device) -> None:
        """Time the parts of a step whose record comes next."""
        self.clock = Stopwatch(device) if step % self.config.log_every == 0 else None

    def evaluating(self, step: int, done: int, batches: int) -> None:
        """A word about an evaluation that takes long."""
        if time.monotonic() - self.told_at > _TELL_EVERY:
            self.told_at = time.monotonic()
            self.tell({"step": step, "evaluated": done, "batches": batches})

    def report(self, place: Record, losses: Mapping[str, Tensor], rates: Mapping[str, Any]) -> None:
        """One record of the log: losses, learning rates, speed and where the time goes."""
        steps = place["step"] - self.since_step
        values = torch.stack(list(losses.values())).tolist()  # one wait for all of them
        seconds = time.perf_counter() - self.since
        record = place | {
            "losses": dict(zip(losses, values, strict=True)),
            "lr": rates,
            "images_per_s": round(self.images / seconds, 1),
            "wait_ms": round(1e3 * self.feed.waited / steps, 3),
            "share": self.clock.shares(seconds / steps) if self.clock else {},
        }
        record |= self.method.gauges()
        self.write(record)
