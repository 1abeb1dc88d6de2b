"""`RunRecord`: what a run says of itself, run.json as a type.

It holds what a reader needs to repeat or to doubt a number: the full config, git commit, package
versions, precision, world size, the digests of the shards, one entry a session (start, resume) and
the final scores. A file without a version is of the time before it; one of a later version, or
whose values are not of their kind, is refused in one sentence.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)
from typing_extensions import TypedDict

from avce.config import Config
from avce.durable import read_json

VERSION = 3  # of run.json: raised when a field changes its meaning; from 3 on it is sealed

PACKAGES = (
    "avce", "torch", "torchvision", "accelerate", "numpy", "pyarrow", "pydantic", "safetensors",
    "cvxpy", "cvxpylayers", "ecos",
)  # fmt: skip

_OPEN = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Axis(TypedDict, total=False):
    """Scores of valence or arousal; None where undefined."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    rmse: float | None
    sagr: float | None
    pcc: float | None
    ccc: float | None


class RunScores(TypedDict, total=False):
    """`Scores.as_dict()` or `ClassScores.as_dict()` of the weights after `step`."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    step: int
    n: int
    valence: Axis
    arousal: Axis
    accuracy: float | None


class Shards(BaseModel):
    """What a run was trained on, so that it can be found again and told from others."""

    model_config = _OPEN
    folders: list[str] = []
    fold: int | None = None
    datasets: list[str] = []
    digest: str | None = None
    crop: dict[str, Any] = {}
    classes: list[str] = []  # names of the data sets' own codes
    parts: dict[str, dict[str, int | str]] = {}  # split -> n, digest of its rows

    def same(self, other: Shards) -> bool:
        """Whether both hold the same rows, wherever they lie."""
        where = {"folders", "datasets", "crop"}
        return self.model_dump(exclude=where) == other.model_dump(exclude=where)

    def places(self, run: Path) -> list[Path]:
        """The folders where they were, or beside the run if both were moved together."""
        return [_found(Path(folder), run.resolve()) for folder in self.folders]


def _found(folder: Path, run: Path) -> Path:
    if folder.exists():
        return folder
    tails = [Path(*folder.parts[k:]) for k in range(folder.is_absolute(), len(folder.parts))]
    moved = (parent / tail for tail in tails for parent in run.parents)
    return next((place for place in moved if place.is_dir()), folder)


class Audited(BaseModel):
    """What ECOS found behind a training (`audit`): rows of z solved again, how far p was off."""

    model_config = _OPEN
    step: int = 0  # up to which this was counted
    rows: int = 0  # certified, of both maps and of all ranks
    left_out: int = 0  # rows drawn for which there was no time, or that ECOS could not solve
    waiting: int = 0  # rows drawn and not answered when this was written
    largest_difference: float | None = None  # of an entry of p
    warning: str | None = None  # the first difference above the tolerance, or why the audit ended

    def __add__(self, other: Audited) -> Audited:
        largest = [x.largest_difference for x in (self, other) if x.largest_difference is not None]
        return Audited(
            step=max(self.step, other.step),
            rows=self.rows + other.rows,
            left_out=self.left_out + other.left_out,
            waiting=self.waiting + other.waiting,
            largest_difference=max(largest, default=None),
            warning=self.warning or other.warning,
        )

    def __str__(self) -> str:
        apart = "" if self.largest_difference is None else f", {self.largest_difference:.1e} apart"
        return f"audit: ECOS certified {self.rows:,} rows{apart}, {self.left_out:,} left out"


class Session(BaseModel):
    """A start or a resume."""

    model_config = _OPEN
    started: str
    step: int
    world_size: int
    git_commit: str | None = None
    note: str | None = None  # what was unusual, such as damaged checkpoints that were passed over


class Ending(BaseModel):
    """What tells whether a run went to its end: its scores are the last thing it writes."""

    model_config = _OPEN
    version: Annotated[int, Field(ge=1, le=VERSION)] = 1
    finished: str | None = None
    scores: dict[str, RunScores] | None = None  # best, last
    imported: dict[str, str] | None = None  # file -> digest, of weights made elsewhere


def _config(value: Any) -> Config:
    if isinstance(value, Config):
        return value
    if not isinstance(value, dict):
        raise ValueError("it holds no object of fields")
    return Config.from_dict(value)


class RunRecord(Ending):
    """run.json; `avce.training.run_folder` writes it, everybody else reads it."""

    config: Annotated[Config, BeforeValidator(_config), PlainSerializer(Config.to_dict)]
    git_commit: str | None = None
    versions: dict[str, str] = {}
    precision: str | None = None  # what was computed with, such as "float32, TF32 off"
    seed: int = 0
    world_size: int = 1
    shards: Shards = Shards()
    started: str | None = None
    sessions: list[Session] = []
    audit: Audited | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values: what was said, and no default that was not; sealed by their sha256."""
        values = self.model_dump(mode="json", exclude_unset=True)
        return values | {"sha256": _seal(values)}


def _seal(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


R = TypeVar("R", bound=Ending)


def read_record(run: Path | str, kind: type[R] = RunRecord) -> R:
    """run.json of a folder, or so much of it as `kind` asks for.

    A folder without one is not a run: FileNotFoundError; whatever else is wrong: ValueError.
    """
    path = Path(run) / "run.json"
    if Path(run).suffix in (".safetensors", ".onnx"):
        what = "is no run" if Path(run).exists() else "does not exist"
        raise FileNotFoundError(
            f"{run} {what}; give a run folder or, to predict, the model.safetensors of an export"
        )
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist, so {run} is not a run; train one first")
    content = read_json(path)
    seal = content.pop("sha256", None) if isinstance(content, dict) else None
    record = checked(path, kind, content)
    if (record.version >= 3 or seal is not None) and seal != _seal(content):
        raise ValueError(
            f"{path} is not what was written: its sha256 is of other values; restore the file"
        )
    return record


def latest_run(folder: Path) -> Path:
    """The run under `folder` that ended last: one that still goes on, or broke off, is none.

    Raises FileNotFoundError where there is none.
    """
    runs = sorted(folder.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in runs:
        if _is_finished(path.parent):
            return path.parent
    if runs:
        raise FileNotFoundError(
            f"{folder} holds no finished run, and the latest, {runs[0].parent}, has not ended; go "
            "on with it (`train --resume`), or name a run"
        )
    raise FileNotFoundError(
        f"{folder} holds no run; train one first (`accelerate launch cli.py train`)"
    )


def exported_in(place: Path) -> Path | None:
    """The model that `export` wrote: `place` itself, or in that folder; None where a run is."""
    file = place if place.suffix == ".safetensors" else place / "model.safetensors"
    return file if file.is_file() and not (place / "run.json").exists() else None


def _is_finished(run: Path) -> bool:
    try:
        record = read_record(run, Ending)
    except ValueError:  # damaged, so nobody knows; whoever names it is told
        return False
    return bool(record.finished or record.imported)


M = TypeVar("M", bound=BaseModel)


def checked(path: Path, kind: type[M], content: Any) -> M:
    """`content` of a file of ours as its type; ValueError with path, field, value and rule."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        field = ".".join(map(str, found["loc"])) or "it"
        value = "missing" if found["type"] == "missing" else f"{found['input']!r:.60}"
        raise ValueError(
            f"{path}: {field} is {value} ({found['msg']}); restore the file, or train anew"
        ) from None


# ---------------------------------------------------------------------------------- provenance


def git_commit() -> str | None:
    """The commit of the source tree this file lies in, '+' appended when files differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+" if _git("status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or installed without its repository


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    here = Path(__file__).parent
    return subprocess.run(
        command, cwd=here, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def versions() -> dict[str, str]:
    """Versions of the packages a result depends on; of DALI the flavour that is installed."""
    dali = (each for each in distributions() if each.name.startswith("nvidia-dali-"))
    found = {each.name: each.version for each in dali}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # an optional one, or avce run from its source tree
    return found


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
