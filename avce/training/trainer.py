"""`fit`: one loop for every method, on any number of ranks, that can be stopped and gone on with.

The trainer knows phases, not methods: for each phase of an iteration it asks the method for its
losses (through `forward`, so that data-parallel ranks average gradients), goes backward, and steps
the optimizers of the networks the phase names.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from avce.config import Config
from avce.durable import write_aside
from avce.layers import SoftMax, SparseMax
from avce.method.build import Method
from avce.ranks import launched, ranks_on_cpu, use_own_cores
from avce.scores.evaluate import evaluate
from avce.scores.metrics import ClassScores, Scores
from avce.training.checkpoint import (
    Checkpoint,
    as_safetensors,
    get_rng,
    load_checkpoint,
    load_optimizers,
    newest_checkpoint,
    optimizer_settings,
    optimizer_tensors,
    save_checkpoint,
    seed_rng,
    set_rng,
)
from avce.training.feed import Feed
from avce.training.journal import Journal, Record, Stopwatch, flat_numbers
from avce.training.run_folder import RunFolder, load_weights
from avce.training.stopping import StopSignals

Progress = Callable[[Record], None]
AnyScores = Scores | ClassScores


class Interrupted(Exception):
    """Training was asked to stop (SIGTERM, Ctrl-C) and has saved all it needs to go on."""

    def __init__(self, run: Path, checkpoint: Path, step: int) -> None:
        super().__init__(f"stopped after step {step}; {checkpoint} has everything to go on")
        self.run, self.checkpoint, self.step = run, checkpoint, step


class LossNotFinite(ValueError):
    """A loss became NaN or infinite; the message names the step, the rows and the saved batch."""


def fit(
    method: Method,
    config: Config,
    train: Iterable[Any],
    val: Iterable[Any],
    *,
    run: Path | str,
    resume: bool = False,
    progress: Progress | None = None,
    shards_facts: dict[str, Any] | None = None,
) -> AnyScores:
    """Train `method` for `config.epochs` passes over `train`; the scores of the best weights.

    `train` and `val` are sized iterables of tuples (image, target) or (image, target, row, mask),
    this rank's part of each global batch, equally many on every rank. A `train` with `state_dict`
    and `load_state_dict` is resumed by them; another one by skipping the batches already seen.
    Masks count in validation only: a masked training sample is a copy of another one, and to leave
    it out would give the ranks unequal batches.
    `val` is scored before the first step, every `config.eval_every` steps (0: once an epoch) and
    at the end; best is the highest mean CCC (accuracy for expressions), on validation data.

    In `run` appear run.json, log.jsonl, best.safetensors, last.safetensors and checkpoints/.
    `progress` gets each record of the log. `shards_facts` (digests) go to run.json, and a resumed
    run must give the same.

    Raises Interrupted after SIGTERM or Ctrl-C, LossNotFinite, OSError when the disk is full (the
    last good checkpoint stays), ValueError when `run` holds another run or another config.
    """
    accelerator = open_accelerator(config, Path(run), unused=leaves_idle(method))
    if accelerator.device.type == "cpu":
        use_own_cores()
    training = Training(accelerator, method, config, Feed(train), val, Path(run), progress)
    training.begin(resume, shards_facts)
    try:
        with StopSignals(forgiving=accelerator.num_processes > 1) as stop:
            return training.loop(stop)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


# ---------------------------------------------------------------------------------- set-up


def open_accelerator(config: Config, run: Path, *, unused: bool) -> Accelerator:
    """Devices, ranks and trackers. Mixed precision is ours: Accelerate keeps it process-wide."""
    tracker = None if config.log_with == "none" else config.log_with
    if tracker:
        refuse_missing_tracker(tracker)
    accelerator = Accelerator(
        cpu=ranks_on_cpu(),
        log_with=tracker,
        project_dir=str(run),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
    )
    if accelerator.num_processes != launched():
        raise ValueError(
            f"{launched()} processes were launched but {accelerator.num_processes} found each "
            "other; see docs/scale.md for launch lines that work, and restart Python after a "
            "training on one process"
        )
    return accelerator


def refuse_missing_tracker(name: str) -> None:
    """Accelerate only warns about a tracker that is not installed, and then logs nowhere."""
    installed = [str(tracker) for tracker in get_available_trackers()]
    if name not in installed:
        raise ValueError(
            f"log_with={name} is not installed (installed: {', '.join(installed) or 'none'}); "
            f"pip install {name}, or set log_with=none"
        )


def leaves_idle(method: Method) -> bool:
    """Whether some phase leaves a network without gradients, which DDP has to be told."""
    return any(set(trained) != set(method.networks) for trained in method.phases.values())


def lr_factor(step: int, milestones: Iterable[int], factor: float) -> float:
    """`factor` to the number of milestones at or before `step`: MultiStepLR, without a state."""
    return factor ** bisect_right(sorted(milestones), step)


# ---------------------------------------------------------------------------------- the loop


@dataclass(frozen=True)
class Scored:
    """Scores with the step they belong to."""

    step: int
    scores: AnyScores

    def beats(self, other: Scored | None) -> bool:
        """Whether these weights are better; an undefined score (NaN) beats nothing defined."""
        if other is None or math.isnan(other.scores.headline):
            return True
        return self.scores.headline > other.scores.headline

    def for_people(self) -> dict[str, Any]:
        """For run.json."""
        return {"step": self.step, **self.scores.as_dict()}

    def as_state(self) -> dict[str, Any]:
        """For a checkpoint: everything, so that `from_state` gives an equal value."""
        return {"step": self.step, "scores": asdict(self.scores)}

    @staticmethod
    def from_state(state: dict[str, Any] | None, config: Config) -> Scored | None:
        """The inverse of `as_state`; JSON has turned the tuples into lists."""
        if state is None:
            return None
        kind = ClassScores if config.task == "expression" else Scores
        fields = {name: _tuples(value) for name, value in state["scores"].items()}
        return Scored(state["step"], kind(**fields))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


class Taken(NamedTuple):
    """An iteration whose losses have not been looked at yet."""

    step: int
    batch: tuple[Tensor, ...]
    losses: dict[str, Tensor]


class Training:
    """A run in progress: what is trained, how far it is, and where it is written."""

    def __init__(
        self,
        accelerator: Accelerator,
        method: Method,
        config: Config,
        feed: Feed,
        val: Iterable[Any],
        run: Path,
        progress: Progress | None,
    ) -> None:
        self.accelerator, self.config, self.feed, self.val = accelerator, config, feed, val
        self.device, self.run = accelerator.device, run
        self.method = method.to(self.device)
        if config.channels_last:
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = method.optimizers(config)
        self.base_lr = {
            name: [group["lr"] for group in o.param_groups] for name, o in self.optimizers.items()
        }
        # Accelerate's optimizer only adds what we do not use (scaler, accumulation) and looks for a
        # package on disk at every step: 0.6 ms each, with seven steps an iteration
        self.wrapped = accelerator.prepare_model(method)
        self.layers = [m for m in method.modules() if isinstance(m, SoftMax | SparseMax)]
        self.step = 0
        self.losses: dict[str, Tensor] = {}
        self.best: Scored | None = None
        self.last: Scored | None = None
        self.journal = Journal(run / "log.jsonl", [progress] if progress else [])
        self.unread: deque[Taken] = deque()
        self.clock: Stopwatch | None = None
        self.saved_at = time.monotonic()

    @property
    def leads(self) -> bool:
        """Rank 0, which alone writes."""
        return self.accelerator.is_main_process

    @property
    def epoch(self) -> int:
        """Counted from 0, of the last iteration."""
        return max(self.step - 1, 0) // self.feed.length

    # ------------------------------------------------------------------ beginning and resuming

    def begin(self, resume: bool, shards: dict[str, Any] | None) -> None:
        """Open the run folder; a new run seeds the ranks, a resumed one takes up its state."""
        ranks = self.accelerator.num_processes
        if resume:
            self.folder = RunFolder.reopen(self.run, self.config, shards)
        else:
            self.folder = RunFolder.begin(self.run, self.config, ranks, shards)
        self.accelerator.wait_for_everyone()  # all have looked before rank 0 writes
        seed_rng(self.config.seed + self.accelerator.process_index)
        newest = newest_checkpoint(self.folder.checkpoints) if resume else None
        if newest is not None:
            self.take_up(load_checkpoint(newest), newest)
        if self.leads:
            self.folder.record_session(self.step, ranks)
            self.journal.drop_after(self.step)
            self.start_trackers()

    def take_up(self, checkpoint: Checkpoint, path: Path) -> None:
        """Put everything where the checkpoint left it."""
        state, rank = checkpoint.state, self.accelerator.process_index
        load_weights(self.method, checkpoint.weights, path, self.config)
        load_optimizers(self.optimizers, checkpoint.optimizers, state["optimizers"])
        self.step = state["step"]
        self.best = Scored.from_state(state["best"], self.config)
        self.last = Scored.from_state(state["last"], self.config)
        self.feed.go_to(self.step, state["order"])
        if state["world_size"] == self.accelerator.num_processes:
            set_rng({name: rows[rank] for name, rows in checkpoint.rng.items()}, self.device)
        else:  # as many generators as ranks were saved; the order of samples does not need them
            seed_rng(self.config.seed + 1_000_003 * self.step + rank)

    def start_trackers(self) -> None:
        """Rank 0 opens the trackers of `log_with` and hands them the config."""
        if self.accelerator.log_with:
            settings = {name: str(value) for name, value in self.config.to_dict().items()}
            self.accelerator.init_trackers("trackers", settings)
            self.journal.listeners.append(
                lambda record: self.accelerator.log(flat_numbers(record), step=record["step"])
            )

    # ------------------------------------------------------------------ iterations

    def loop(self, stop: StopSignals) -> AnyScores:
        """All iterations that are left; then the final evaluation, weights and run.json."""
        total = self.config.epochs * self.feed.length
        self.method.train()
        if self.step == 0:
            self.score()  # what there is to beat
        self.restart_window()
        while self.step < total:
            for batch in self.feed:
                self.iterate(batch)
                self.look_after(stop, total)
        return self.finish()

    def iterate(self, batch: tuple[Tensor, ...]) -> None:
        """One batch through every phase."""
        self.step += 1
        measured = self.step % self.config.log_every == 0
        self.clock = Stopwatch(self.device) if measured else None
        image, target = self.to_device(batch)
        self.set_learning_rates()
        losses: dict[str, Tensor] = {}
        with self.clock.watching(self.layers, "layers") if self.clock else nullcontext():
            for phase, trained in self.method.phases.items():
                found = self.take_step(image, target, phase, trained)
                losses |= {name: loss.detach() for name, loss in found.items()}
        self.images += len(image) * self.accelerator.num_processes
        self.losses = losses
        self.unread.append(Taken(self.step, batch, losses))

    def take_step(
        self, image: Tensor, target: Tensor, phase: str, trained: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Forward, backward, and one step of the networks this phase trains."""
        bf16 = self.config.precision == "bf16"
        with self.part("forward"), torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            losses = self.wrapped(image, target, phase=phase)
        with self.part("backward"):
            self.accelerator.backward(torch.stack(list(losses.values())).sum())
        with self.part("optimizer"):
            for name in trained:
                self.optimizers[name].step()
            self.method.zero_grad(set_to_none=self.config.gradients == "none")
        return losses

    def part(self, name: str) -> Any:
        """Time a block when this step is measured."""
        return self.clock.part(name) if self.clock else nullcontext()

    def to_device(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Image and target on the device; from pinned memory the copy does not block."""
        image, target = (tensor.to(self.device, non_blocking=True) for tensor in batch[:2])
        if self.config.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return image, target

    def set_learning_rates(self) -> None:
        """The schedule counts iterations and applies to every optimizer."""
        factor = lr_factor(self.step - 1, self.config.milestones, self.config.factor)
        for name, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_lr[name], strict=True):
                group["lr"] = base * factor

    # ------------------------------------------------------------------ between iterations

    def look_after(self, stop: StopSignals, total: int) -> None:
        """What is due after an iteration, in the same order on every rank."""
        bad = self.first_bad(keep=1 if self.device.type == "cuda" else 0)
        late = time.monotonic() - self.saved_at > 60 * self.config.checkpoint_every_minutes
        asked, late, broken = self.agree(stop.asked, late and self.leads, bad is not None)
        if broken:
            self.refuse_loss(bad)
        if self.step % self.config.log_every == 0:
            self.report(total)
        if self.step % (self.config.eval_every or self.feed.length) == 0:
            self.score()
        if asked or late or self.step % self.save_every == 0 or self.step == total:
            self.save()
        if asked and self.step < total:
            raise Interrupted(self.run, self.save(), self.step)

    @property
    def save_every(self) -> int:
        """Steps between checkpoints."""
        return self.config.checkpoint_every_steps or self.feed.length

    def agree(self, *flags: bool) -> list[bool]:
        """True where any rank says so: ranks must stop, save and fail at the same step."""
        if self.accelerator.num_processes == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def first_bad(self, keep: int) -> Taken | None:
        """The first unread iteration with a loss that is not finite.

        On a GPU the newest stays unread: to look at it would stop the device from running ahead.
        """
        while len(self.unread) > keep:
            taken = self.unread.popleft()
            if not bool(torch.isfinite(torch.stack(list(taken.losses.values()))).all()):
                return taken
        return None

    def refuse_loss(self, bad: Taken | None) -> None:
        """Stop: name step, losses and rows, and save the batch for a look at it."""
        if bad is None:
            raise LossNotFinite(f"a loss of another rank is not finite near step {self.step}")
        rank = self.accelerator.process_index
        path = self.run / f"bad-step-{bad.step:08d}-rank-{rank}.safetensors"
        names = ("image", "target", "row", "mask")
        write_aside(path, as_safetensors(dict(zip(names, bad.batch, strict=False)), step=bad.step))
        rows = bad.batch[2].tolist() if len(bad.batch) > 2 else "not known"
        culprits = {n: float(v) for n, v in bad.losses.items() if not math.isfinite(float(v))}
        raise LossNotFinite(
            f"step {bad.step}: the loss is not finite ({culprits}); rows of the batch: {rows}; "
            f"the batch is saved as {path}; look for a bad image or label there, or lower lr, and "
            "resume from the last checkpoint"
        )

    # ------------------------------------------------------------------ telling

    def restart_window(self) -> None:
        """Begin to count images and waiting for the next record."""
        self.window, self.images, self.feed.waited = time.perf_counter(), 0, 0.0
        self.window_step = self.step

    def report(self, total: int) -> None:
        """One record of the log: losses, learning rates, speed and where the time goes."""
        seconds = time.perf_counter() - self.window
        steps = self.step - self.window_step
        record: Record = {
            "step": self.step,
            "steps": total,
            "epoch": self.epoch,
            "losses": {name: float(loss) for name, loss in self.losses.items()},
            "lr": {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()},
            "images_per_s": round(self.images / seconds, 1),
            "wait_ms": round(1e3 * self.feed.waited / steps, 3),
            "share": self.clock.shares(seconds / steps) if self.clock else {},
        }
        record |= self.method.gauges()
        if self.config.audit:
            record["audit"] = max((x.largest_difference for x in self.layers), default=0.0)
        self.on_lead(lambda: self.journal.write(record))
        self.restart_window()

    def score(self) -> None:
        """Evaluate on `val`, log it, and keep the weights if they are the best so far."""
        start = time.perf_counter()
        self.share_buffers()
        scores = evaluate(self.method, self.val, config=self.config)
        self.last = Scored(self.step, scores)
        if self.last.beats(self.best):
            self.best = self.last
            weights = self.weights()
            self.on_lead(lambda: self.folder.save_weights("best", weights, self.step))
        record = {"step": self.step, "epoch": self.epoch, "val": scores.as_dict()}
        record["eval_s"] = round(time.perf_counter() - start, 3)
        self.on_lead(lambda: self.journal.write(record))
        self.restart_window()

    def share_buffers(self) -> None:
        """Give all ranks rank 0's BatchNorm statistics, as DDP does only before a forward."""
        if self.accelerator.num_processes > 1:
            for buffer in self.method.buffers():
                dist.broadcast(buffer, 0)

    # ------------------------------------------------------------------ saving

    def weights(self) -> dict[str, Tensor]:
        """Every parameter and buffer of the method, without DDP's prefix."""
        return self.method.state_dict()

    def save(self) -> Path:
        """Write the full state (once per step) and `last.safetensors`; rank 0 writes for all.

        A disk error on rank 0 ends all ranks, with the sentence on rank 0.
        """
        bad = self.first_bad(keep=0)
        if any(self.agree(bad is not None)):
            self.refuse_loss(bad)  # never over a good checkpoint
        path = self.folder.checkpoints / f"step-{self.step:08d}"
        content = Checkpoint(
            weights=self.weights(),
            optimizers=optimizer_tensors(self.optimizers),
            rng=self.all_rng(),
            state=self.state(),
        )
        self.on_lead(lambda: self.write(content))
        self.saved_at = time.monotonic()
        self.restart_window()
        return path

    def write(self, content: Checkpoint) -> None:
        """Rank 0's part of `save`."""
        save_checkpoint(self.folder.checkpoints, content, keep=self.config.keep_last)
        self.folder.save_weights("last", content.weights, self.step)

    def on_lead(self, write: Callable[[], object]) -> None:
        """Rank 0 writes; a disk error there ends every rank, or the others would wait for ever."""
        failure = None
        try:
            if self.leads:
                write()
        except OSError as error:
            failure = error
        if any(self.agree(failure is not None)):
            raise failure or OSError("rank 0 could not write to disk; its message says where")

    def all_rng(self) -> dict[str, Tensor]:
        """The generators of every rank, one row a rank."""
        mine = {n: t.to(self.device)[None] for n, t in get_rng(self.device).items()}
        return {n: torch.as_tensor(self.accelerator.gather(t)) for n, t in mine.items()}

    def state(self) -> dict[str, Any]:
        """What is not a tensor."""
        return {
            "step": self.step,
            "order": self.feed.state(),
            "world_size": self.accelerator.num_processes,
            "optimizers": optimizer_settings(self.optimizers),
            "best": self.best.as_state() if self.best else None,
            "last": self.last.as_state() if self.last else None,
            "config": self.config.to_dict(),
            "git_commit": self.folder.commit,
        }

    def finish(self) -> AnyScores:
        """Score the final weights unless they just were, and close the run."""
        if self.last is None or self.last.step != self.step:
            self.score()
            self.save()
        assert self.best and self.last
        scores = {"best": self.best.for_people(), "last": self.last.for_people()}
        self.on_lead(lambda: self.folder.record_scores(scores))
        return self.best.scores
