"""`fit`: one loop for every method, on any number of ranks, that can be stopped and gone on with.

The trainer knows phases, not methods: for each phase of an iteration it asks the method for its
losses (through `forward`, so that data-parallel ranks average gradients), goes backward, and steps
the optimizers of the networks the phase names. `Saver` is what of it lies on disk, `Teller` what
is said of it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from avce.config import Config, check_rows
from avce.durable import write_aside
from avce.method.build import Method
from avce.ranks import (
    Ranks,
    by_launcher,
    launched,
    ranks_on_cpu,
    refuse_other_launch,
    use_own_cores,
)
from avce.scores.evaluate import evaluate
from avce.training.audit import Audit
from avce.training.checkpoint import as_safetensors, get_rng, set_rng
from avce.training.feed import Batch, Feed, first_of
from avce.training.journal import Record, Stopwatch
from avce.training.saving import AnyScores, Saver, Scored
from avce.training.stopping import StopSignals
from avce.training.telling import Progress, Teller


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
    `val` is scored before the first step (its first `config.first_eval` samples), every
    `config.eval_every` steps (0: once an epoch) and at the end; best is the highest mean CCC
    (accuracy for expressions) on all of it.

    In `run` appear run.json, log.jsonl, best.safetensors, last.safetensors and checkpoints/.
    `progress` gets each record of the log, and between them news: {"step", "note"} and
    {"step", "evaluated", "batches"}. `shards_facts` (digests) go to run.json, and a resumed run
    must give the same.

    Raises Interrupted after SIGTERM or Ctrl-C, LossNotFinite, OSError when the disk is full (the
    last good checkpoint stays), ValueError when `run` holds another run or another config, or is
    being written by another process.
    """
    accelerator = open_accelerator(config, Path(run), unused=leaves_idle(method))
    if accelerator.device.type == "cpu":
        use_own_cores()
    method.to(accelerator.device)
    if config.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = (accelerator, Ranks(), method, config, Feed(train), Path(run))
    saver, teller = Saver(*parts), Teller(*parts, progress)
    try:
        many = accelerator.num_processes > 1
        with StopSignals(forgiving=many, launched=by_launcher()) as stop:
            saver.open(resume, shards_facts)
            training = Training(saver, teller, val, stop)
            try:
                return training.loop()
            finally:
                saver.record_audit(training.audit.close())
    finally:
        saver.close()
        for tracker in accelerator.trackers:
            tracker.finish()


# ---------------------------------------------------------------------------------- set-up


def open_accelerator(config: Config, run: Path, *, unused: bool) -> Accelerator:
    """Devices, ranks and trackers. Mixed precision is ours: Accelerate keeps it process-wide."""
    refuse_other_launch(config.precision)
    tracker = None if config.log_with == "none" else config.log_with
    if tracker:
        refuse_missing_tracker(tracker)
    accelerator = Accelerator(
        cpu=ranks_on_cpu(),
        mixed_precision="no",
        log_with=tracker,
        project_dir=str(run),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
    )
    check_rows(config, accelerator.num_processes)
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


_PATIENCE, _SHORT_PATIENCE = 30.0, 1.0  # seconds for ECOS at the end, and at a stop


class Taken(NamedTuple):
    """An iteration whose losses have not been looked at yet."""

    step: int
    batch: Batch
    losses: dict[str, Tensor]
    finite: Tensor  # on the host, once `copied` has happened
    copied: torch.cuda.Event | None

    @classmethod
    def of(cls, step: int, batch: Batch, losses: dict[str, Tensor]) -> Taken:
        """Ask whether the losses are finite; a GPU answers later, and is not waited for."""
        finite = torch.isfinite(torch.stack(list(losses.values()))).all()
        if not finite.is_cuda:
            return cls(step, batch, losses, finite, None)
        flag = torch.empty((), dtype=torch.bool, pin_memory=True)
        flag.copy_(finite, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        return cls(step, batch, losses, flag, copied)

    def is_bad(self) -> bool:
        """Whether a loss is not finite."""
        if self.copied is not None:
            self.copied.synchronize()
        return not bool(self.finite)


class _Halted(Exception):
    """An evaluation was given up: who asked to stop has waited long enough."""


class Training:
    """A run in progress: what is trained, and how far it is."""

    def __init__(self, saver: Saver, teller: Teller, val: Any, stop: StopSignals) -> None:
        self.saver, self.teller, self.val, self.stop = saver, teller, val, stop
        self.accelerator, self.ranks = saver.accelerator, saver.ranks
        self.method, self.config, self.feed = saver.method, saver.config, saver.feed
        self.device, self.step = saver.device, saver.step
        self.optimizers, self.base_lr = saver.optimizers, saver.base_lr
        # Accelerate's optimizer only adds what we do not use (scaler, accumulation) and looks for a
        # package on disk at every step: 0.6 ms each, with seven steps an iteration
        self.wrapped = self.accelerator.prepare_model(self.method)
        self.unread: deque[Taken] = deque()
        self.audit = Audit(teller.layers, self.config.audit, self.ranks, saver.audited)
        self.total = self.config.epochs * self.feed.length

    @property
    def place(self) -> Record:
        """Where the training is; epochs are counted from 0, of the last iteration."""
        return {"step": self.step, "epoch": max(self.step - 1, 0) // self.feed.length}

    # ------------------------------------------------------------------ iterations

    def loop(self) -> AnyScores:
        """All iterations that are left; then the final weights and run.json."""
        saver = self.saver
        self.ranks.lead(lambda: self.teller.open(self.step, saver.lines, saver.notes))
        self.method.train()
        self.audit.open()
        if self.due and (saver.last is None or saver.last.step != self.step):
            self.score()  # before the first step: what there is to beat
        self.teller.restart(self.step)
        while self.step < self.total:
            for batch in self.feed:
                self.iterate(Batch(*batch))
                self.look_after()
        self.settle(0.0)  # all had time before the last record
        return saver.finish(self.step)

    def iterate(self, batch: Batch) -> None:
        """One batch through every phase."""
        self.step += 1
        self.teller.measure(self.step, self.device)
        image, target, *_ = batch.on(self.device, channels_last=self.config.channels_last)
        self.audit.at(self.step, batch.row)
        self.set_learning_rates()
        losses: dict[str, Tensor] = {}
        clock = self.teller.clock
        with clock.watching(self.teller.layers, "layers") if clock else nullcontext():
            for phase, trained in self.method.phases.items():
                found = self.take_step(image, target, phase, trained)
                losses |= {name: loss.detach() for name, loss in found.items()}
        self.teller.images += len(image) * self.accelerator.num_processes
        self.unread.append(Taken.of(self.step, batch, losses))
        self.losses = losses

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
        return self.teller.clock.part(name) if self.teller.clock else nullcontext()

    def set_learning_rates(self) -> None:
        """The schedule counts iterations and applies to every optimizer."""
        factor = lr_factor(self.step - 1, self.config.milestones, self.config.factor)
        for name, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_lr[name], strict=True):
                group["lr"] = base * factor

    # ------------------------------------------------------------------ between iterations

    def look_after(self) -> None:
        """What is due after an iteration, in the same order on every rank."""
        bad = self.first_bad(keep=1 if self.device.type == "cuda" else 0)
        late = self.saver.late and self.ranks.leads
        asked, late, broken = self.ranks.any(self.stop.asked, late, bad is not None)
        if broken:
            self.refuse_loss(bad)
        if self.step == self.total:
            waited = self.audit.drain(_PATIENCE, lambda: self.stop.asked)
            self.teller.since += waited  # no part of the training's speed
        if self.step % self.config.log_every == 0:
            rates = {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()}
            place = self.place | {"steps": self.total} | self.audit.gauges()
            self.teller.report(place, self.losses, rates)
            self.warn()
        if self.due:
            self.score()
        every = self.config.checkpoint_every_steps or self.feed.length
        if asked and self.step < self.total:
            raise self.interrupted()
        if late or self.step % every == 0 or self.step == self.total:
            self.save()

    @property
    def due(self) -> bool:
        """Whether this is a step to evaluate after; the first and the last are."""
        every = self.config.eval_every or self.feed.length
        return self.step % every == 0 or self.step == self.total

    def first_bad(self, keep: int) -> Taken | None:
        """The first unread iteration with a loss that is not finite.

        On a GPU the newest stays unread: to look at it would stop the device from running ahead.
        """
        while len(self.unread) > keep:
            taken = self.unread.popleft()
            if taken.is_bad():
                return taken
        return None

    def refuse_loss(self, bad: Taken | None) -> None:
        """Stop: name step, losses and rows, and save the batch for a look at it."""
        if bad is None:
            raise LossNotFinite(f"a loss of another rank is not finite near step {self.step}")
        name = f"bad-step-{bad.step:08d}-rank-{self.accelerator.process_index}.safetensors"
        path = self.saver.run / name
        write_aside(path, as_safetensors(bad.batch.tensors(), step=bad.step))
        rows = "not known" if bad.batch.row is None else bad.batch.row.tolist()
        culprits = {n: float(v) for n, v in bad.losses.items() if not math.isfinite(float(v))}
        raise LossNotFinite(
            f"step {bad.step}: the loss is not finite ({culprits}); rows of the batch: {rows}; "
            f"the batch is saved as {path}; look for a bad image or label there, or lower lr, and "
            "resume from the last checkpoint"
        )

    def save(self) -> Path:
        """A checkpoint, never of bad weights over a good one."""
        bad = self.first_bad(keep=0)
        if any(self.ranks.any(bad is not None)):
            self.refuse_loss(bad)
        self.saver.audited = self.audit.meet()
        path = self.saver.save(self.step, self.teller.journal)
        self.teller.restart(self.step)
        return path

    def interrupted(self) -> Interrupted:
        """What to raise after a stop that was asked for, all being saved."""
        stopped = Interrupted(self.saver.run, self.save(), self.step)
        self.settle(_SHORT_PATIENCE)
        return stopped

    def settle(self, patience: float) -> None:
        """Certify what is left in this time, end the audit, and say what came of it."""
        self.audit.drain(patience)
        self.audit.close()
        audited = self.audit.meet()
        self.saver.record_audit(audited)
        self.warn()
        if audited is not None and self.ranks.leads:
            self.teller.tell({"step": self.step, "note": str(audited)})

    def warn(self) -> None:
        """Say once that ECOS disagrees."""
        if (warning := self.audit.news()) and self.ranks.leads:
            self.teller.tell({"step": self.step, "note": warning})

    # ------------------------------------------------------------------ evaluation

    def score(self) -> None:
        """Evaluate on `val`, log it, and keep the weights if they are the best so far."""
        clock = Stopwatch(self.device)
        self.share_buffers()
        batches = len(self.val)
        asked = -(-self.config.first_eval // self.config.batch_size) or batches
        count = min(batches, asked) if self.step == 0 else batches
        with clock.part("eval"):
            scores = self.scores(count)
        if count == batches:
            self.saver.keep(Scored(self.step, scores))
        record = {"val": scores.as_dict(), "eval_s": round(clock.seconds["eval"], 3)}
        self.teller.write(self.place | record)

    def scores(self, count: int) -> AnyScores:
        """Of the first `count` batches; given up, all as before it, once a stop is overdue."""
        before = get_rng(self.device)

        def heard(done: int, _: int) -> None:
            if any(self.ranks.any(self.stop.overdue)):
                raise _Halted
            self.teller.evaluating(self.step, done, count)

        try:
            with closing(first_of(self.val, count)) as batches:
                return evaluate(self.method, batches, config=self.config, progress=heard)
        except _Halted:
            set_rng(before, self.device)
            raise self.interrupted() from None

    def share_buffers(self) -> None:
        """Give all ranks rank 0's BatchNorm statistics, as DDP does only before a forward."""
        if self.accelerator.num_processes > 1:
            for buffer in self.method.buffers():
                dist.broadcast(buffer, 0)
