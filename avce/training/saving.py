"""`Saver`: what of a training is on disk: begun or taken up, saved, closed. Rank 0 writes."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from avce.config import Config
from avce.durable import only_writer
from avce.method.base import Method
from avce.ranks import Ranks
from avce.scores.metrics import ClassScores, Scores
from avce.training.checkpoint import (
    Checkpoint,
    checkpoints,
    get_rng,
    load_checkpoint,
    load_optimizers,
    optimizer_settings,
    optimizer_tensors,
    prune,
    save_checkpoint,
    seed_rng,
    set_rng,
    step_of,
)
from avce.training.feed import Feed
from avce.training.journal import Journal, crc_of
from avce.training.record import Audited, read_record
from avce.training.run_folder import RunFolder, load_weights

AnyScores = Scores | ClassScores


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


class Saver:
    """The run folder of a training in progress, held by a lock from `open` to `close`."""

    def __init__(
        self,
        accelerator: Accelerator,
        ranks: Ranks,
        method: Method,
        config: Config,
        feed: Feed,
        run: Path,
    ) -> None:
        self.accelerator, self.ranks, self.method = accelerator, ranks, method
        self.config, self.feed, self.run = config, feed, run
        self.device = accelerator.device
        self.optimizers = method.optimizers(config)
        self.base_lr = {  # before any milestone; those in a checkpoint have fallen already
            name: [group["lr"] for group in o.param_groups] for name, o in self.optimizers.items()
        }
        self.step = 0
        self.lines: int | None = 0  # of the log that the checkpoint taken up had seen
        self.best: Scored | None = None
        self.last: Scored | None = None
        self.audited: Audited | None = None
        self.notes: list[str] = []
        self.saved_at = time.monotonic()
        self.held = ExitStack()

    # ------------------------------------------------------------------ beginning and resuming

    def open(self, resume: bool, shards: dict[str, Any] | None) -> None:
        """Open the run folder; a new run seeds the ranks, a resumed one takes up its state."""
        if resume:
            read_record(self.run)  # no folder is made for a run that is not there
        self.ranks.lead(lambda: self.held.enter_context(only_writer(self.run)))
        size = self.accelerator.num_processes
        if resume:
            self.folder = RunFolder.reopen(self.run, self.config, shards)
        else:
            self.folder = RunFolder.begin(self.run, self.config, size, shards)
        self.folder.record.precision = computed_in(self.config, self.device)
        self.accelerator.wait_for_everyone()  # all have looked before rank 0 writes
        seed_rng(self.config.seed + self.accelerator.process_index)
        if resume:
            self.take_up_newest()
        self.ranks.lead(self.tidy)
        if self.best is None and self.last and self.last.step == self.step:
            self.keep(self.last)
        note = "; ".join(self.notes) or None
        self.ranks.lead(lambda: self.folder.record_session(self.step, size, note))

    def close(self) -> None:
        """Let others write into the folder."""
        self.held.close()

    def tidy(self) -> None:
        """Delete what a killed process left half-written or half-deleted."""
        prune(self.folder.checkpoints, self.config.keep_last)
        for part in self.run.glob("*.part"):
            part.unlink()

    def take_up_newest(self) -> None:
        """Go on from the newest checkpoint that is whole on every rank."""
        damaged: list[Path] = []
        for path in reversed(checkpoints(self.folder.checkpoints)):
            found, fault = _loaded(path)
            if not any(self.ranks.any(fault is not None)):
                assert found is not None
                self.take_up(found, path)
                break
            damaged.append(path)
            self.notes.append(fault or f"another rank cannot read {path}")
        else:
            if damaged:
                raise ValueError(
                    f"no checkpoint of {self.run} is whole ({self.notes[0]}); bring one back from "
                    "a copy, or start a new run"
                )
            return
        self.ranks.lead(lambda: [p.rename(p.with_name(f"{p.name}.damaged")) for p in damaged])
        if damaged:
            self.notes.append(f"gone on from {path}, the newest that is whole")

    def take_up(self, checkpoint: Checkpoint, path: Path) -> None:
        """Put everything where the checkpoint left it."""
        state, rank = checkpoint.state, self.accelerator.process_index
        load_weights(self.method, checkpoint.weights, path, self.config)
        load_optimizers(self.optimizers, checkpoint.optimizers, state["optimizers"])
        self.step, self.lines = state["step"], state.get("lines")
        log = self.run / "log.jsonl"
        if "log_crc" in state and crc_of(log, state["lines"]) != state["log_crc"]:
            self.notes.append(
                f"{log} is not the one that {path} has seen: records before step {self.step} were "
                "changed or are gone"
            )
        self.best = Scored.from_state(state["best"], self.config)
        self.last = Scored.from_state(state["last"], self.config)
        self.audited = self.counted(state.get("audit"))
        if self.best and step_of(self.run / "best.safetensors") != self.best.step:
            self.best = None  # its weights are gone: damaged, or of a future that did not happen
        self.feed.go_to(self.step, state["order"])
        if state["world_size"] == self.accelerator.num_processes:
            set_rng({name: rows[rank] for name, rows in checkpoint.rng.items()}, self.device)
        else:  # as many generators as ranks were saved; the order of samples does not need them
            seed_rng(self.config.seed + 1_000_003 * self.step + rank)

    def counted(self, audit: dict[str, Any] | None) -> Audited | None:
        """What was certified up to this step; run.json knows what came after the checkpoint."""
        found = self.folder.record.audit
        if found is not None and found.step == self.step:
            return found
        return None if audit is None else Audited.model_validate(audit)

    # ------------------------------------------------------------------ saving

    @property
    def weights(self) -> dict[str, Tensor]:
        """Every parameter and buffer of the method, without DDP's prefix."""
        return self.method.state_dict()

    @property
    def late(self) -> bool:
        """Whether the last checkpoint is too long ago."""
        return time.monotonic() - self.saved_at > 60 * self.config.checkpoint_every_minutes

    def keep(self, scored: Scored) -> None:
        """Remember scores; their weights too, if they are the best so far."""
        self.last = scored
        if scored.beats(self.best):
            self.best = scored
            weights = self.weights
            self.ranks.lead(lambda: self.folder.save_weights("best", weights, scored.step))

    def save(self, step: int, journal: Journal) -> Path:
        """Write the full state (once per step) and `last.safetensors`.

        A disk error on rank 0 ends all ranks, with the sentence on rank 0.
        """
        content = Checkpoint(
            weights=self.weights,
            optimizers=optimizer_tensors(self.optimizers),
            rng=self.all_rng(),
            state=self.state(step, journal),
        )

        def write() -> None:
            save_checkpoint(self.folder.checkpoints, content, keep=self.config.keep_last)
            self.folder.save_weights("last", content.weights, step)

        self.ranks.lead(write)
        self.saved_at = time.monotonic()
        return self.folder.checkpoints / f"step-{step:08d}"

    def all_rng(self) -> dict[str, Tensor]:
        """The generators of every rank, one row a rank."""
        mine = {n: t.to(self.device)[None] for n, t in get_rng(self.device).items()}
        return {n: torch.as_tensor(self.accelerator.gather(t)) for n, t in mine.items()}

    def state(self, step: int, journal: Journal) -> dict[str, Any]:
        """What is not a tensor."""
        return {
            "step": step,
            "lines": journal.lines,
            "log_crc": journal.crc,
            "order": self.feed.state(),
            "world_size": self.accelerator.num_processes,
            "optimizers": optimizer_settings(self.optimizers),
            "best": self.best.as_state() if self.best else None,
            "last": self.last.as_state() if self.last else None,
            "audit": self.audited.model_dump() if self.audited else None,
            "config": self.config.to_dict(),
            "git_commit": self.folder.commit,
        }

    def record_audit(self, audited: Audited | None) -> None:
        """What was certified, into run.json, however a run ends."""
        if audited is None or audited == self.folder.record.audit:
            return
        self.folder.record.audit = audited
        if self.ranks.leads:
            self.folder.write()

    def finish(self, step: int) -> AnyScores:
        """Close the run: its last weights are those of `step`, its scores stand in run.json."""
        assert self.best and self.last
        scores = {"best": self.best.for_people(), "last": self.last.for_people()}
        weights = self.weights

        def write() -> None:
            if step_of(self.run / "last.safetensors") != step:  # killed before it was written
                self.folder.save_weights("last", weights, step)
            self.folder.record_scores(scores)

        self.ranks.lead(write)
        return self.best.scores


def _loaded(path: Path) -> tuple[Checkpoint | None, str | None]:
    try:
        return load_checkpoint(path), None
    except (FileNotFoundError, ValueError) as error:
        return None, str(error)


def computed_in(config: Config, device: torch.device) -> str:
    """Which numbers are computed with, for run.json: TF32 is float32 with 10 bits of mantissa."""
    kind = "float32" if config.precision == "no" else "bfloat16 by autocast, else float32"
    if device.type != "cuda":
        return kind
    backends = torch.backends
    tf32 = {"convolutions": backends.cudnn.allow_tf32, "products": backends.cuda.matmul.allow_tf32}
    return f"{kind}, TF32 in {' and '.join(n for n, on in tf32.items() if on) or 'nothing'}"
