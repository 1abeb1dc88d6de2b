"""The run folder: run.json, best and last weights, and how to open a run again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor

from avce.config import Config
from avce.durable import write_aside
from avce.method.build import Method, build_method
from avce.training.checkpoint import as_safetensors, read_safetensors
from avce.training.journal import read_log
from avce.training.record import (
    VERSION,
    RunRecord,
    RunScores,
    Session,
    Shards,
    git_commit,
    now,
    read_record,
    versions,
)

Which = Literal["best", "last"]

# What a resumed run may change: how long it runs and how it reports, never what it learns.
CHANGEABLE = frozenset(
    {
        "epochs",
        "eval_every",
        "first_eval",
        "log_every",
        "checkpoint_every_steps",
        "checkpoint_every_minutes",
        "keep_last",
        "log_with",
        "check",
        "cache",
        "audit",
    }
)


@dataclass
class RunFolder:
    """One run on disk. Rank 0 alone calls what writes."""

    path: Path
    record: RunRecord
    commit: str | None  # of the code that runs now

    @classmethod
    def begin(
        cls, path: Path, config: Config, world_size: int, shards: dict[str, Any] | None
    ) -> RunFolder:
        """The record of a new run, not yet written; refuses a folder that holds another run."""
        if (path / "run.json").exists():
            raise ValueError(
                f"{path} already holds a run; resume it, or choose another folder for a new one"
            )
        commit = git_commit()
        record = RunRecord(
            version=VERSION,
            config=config,
            seed=config.seed,
            git_commit=commit,
            versions=versions(),
            world_size=world_size,
            shards=Shards(**(shards or {})),
            started=now(),
            finished=None,
            scores=None,
            sessions=[],
        )
        return cls(path, record, commit)

    @classmethod
    def reopen(cls, path: Path, config: Config, shards: dict[str, Any] | None) -> RunFolder:
        """The run in `path`, to go on with; refuses another config and other shards."""
        record = read_record(path)
        refuse_other_config(path, record.config, config)
        if shards is not None and not record.shards.same(Shards(**shards)):
            raise ValueError(
                f"{path} was trained on other shards than the ones given (digests differ); "
                "give the shards named in its run.json, or start a new run"
            )
        changes = {"version": VERSION, "config": config, "finished": None, "scores": None}
        return cls(path, record.model_copy(update=changes), git_commit())

    @property
    def checkpoints(self) -> Path:
        """Where the full states lie."""
        return self.path / "checkpoints"

    def record_session(self, step: int, world_size: int, note: str | None = None) -> None:
        """Write run.json with one more session, begun at `step`."""
        session = Session(
            started=now(), step=step, world_size=world_size, git_commit=self.commit, note=note
        )
        self.record.sessions = [*self.record.sessions, session]
        self.write()

    def record_scores(self, scores: dict[str, dict[str, Any]]) -> None:
        """Write run.json with the final scores: the run is finished."""
        self.record.finished = now()
        self.record.scores = cast(dict[str, RunScores], scores)
        self.write()

    def write(self) -> None:
        """Replace run.json at once."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_aside(self.path / "run.json", json.dumps(self.record.to_json(), indent=1).encode())

    def save_weights(self, which: Which, weights: dict[str, Tensor], step: int) -> None:
        """Replace best.safetensors or last.safetensors at once."""
        config = json.dumps(self.record.config.to_dict())
        content = as_safetensors(weights, step=step, config=config)
        write_aside(self.path / f"{which}.safetensors", content)


def load_run(run: Path | str, which: Which = "best") -> tuple[Method, Config, RunRecord]:
    """The trained method of a run folder in eval mode, its config, and its run.json.

    Raises FileNotFoundError when there is no run or nothing saved, ValueError when the weights
    belong to another architecture than run.json describes.
    """
    run = Path(run)
    record = read_record(run)
    config = record.config
    method = build_method(config, pretrained=False)
    weights_path = run / f"{which}.safetensors"
    load_weights(method, read_safetensors(weights_path), weights_path, config)
    return method.eval(), config, record


def load_weights(method: Method, weights: dict[str, Tensor], source: Path, config: Config) -> None:
    """Strictly: every tensor has a place of its shape, every place a tensor; else ValueError."""
    misfits = architecture_misfits(method.state_dict(), weights)
    if misfits:
        raise ValueError(
            f"{source} holds another architecture than encoder={config.encoder}, "
            f"formula={config.formula}, norm={config.norm}: {len(misfits)} tensors do not fit, "
            f"first {misfits[0]}; use the config it was trained with"
        )
    method.load_state_dict(weights)


def architecture_misfits(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """One phrase per tensor that is missing, unknown or of another shape."""
    missing = [f"{name} is missing" for name in expected if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in expected]
    shapes = [
        f"{name} has shape {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    return missing + unknown + shapes


def first_scores(run: Path) -> dict[str, Any] | None:
    """The first validation scores in the log of a run: those before training."""
    return next((r["val"] for r in read_log(run / "log.jsonl") if "val" in r), None)


def refuse_other_config(path: Path, before: Config, now: Config) -> None:
    """A resumed run learns as before; only its length and its reporting may change."""
    old, new = before.to_dict(), now.to_dict()
    changed = [name for name in old if old[name] != new[name] and name not in CHANGEABLE]
    if changed:
        name = changed[0]
        raise ValueError(
            f"{path} was started with {name}={old[name]}, not {new[name]}; resume with the same "
            f"settings (only {', '.join(sorted(CHANGEABLE))} may change), or start a new run"
        )
