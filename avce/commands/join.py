"""Where the rooms meet: shards become batches, runs become predictions, for every command alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from avce.commands.options import Which
from avce.commands.terminal import bar, tell

if TYPE_CHECKING:
    from avce.config import Config
    from avce.method.build import Method
    from avce.report.pictures import Exhibit, Picture
    from avce.scores.scoreboard import Setting
    from pipelines import Batches
    from shards import LabelIndex, Selection

SHARDS, RUNS = Path("data/shards"), Path("runs")


@dataclass(frozen=True)
class Choice:
    """Which samples a command is about, and which weights speak of them."""

    shards: list[Path] | None = None
    split: str | None = None  # of these shards, the one that is held out
    fold: int | None = None
    where: str | None = None
    which: Which = "best"


@dataclass(frozen=True)
class Seen:
    """What a run said about a selection, where both come from, and the run itself."""

    run: Path
    table: Any  # a pyarrow table
    facts: dict[str, Any]
    index: LabelIndex
    split: str
    method: Method
    config: Config

    def setting(self, choice: Choice, convention: str = "ours", flip: bool = False) -> Setting:
        """What decides whether printed numbers are comparable."""
        from avce.scores.scoreboard import Setting

        return Setting(
            self.index.table["dataset"][0].as_py(),
            self.split,
            convention=convention,
            flip=flip,
            stand_in=bool(self.index.metadata.get("stand_in")),
            subset=choice.where is not None,
        )

    def exhibit(self) -> Exhibit:
        """The run as the pictures ask it about more images."""
        from avce.report.pictures import Exhibit
        from shards import Selection

        def images(rows: Any) -> Batches:
            return stream(Selection(self.index, rows), self.config)

        return Exhibit(self.run.name, self.method, self.table, images, self.log)

    @property
    def log(self) -> list[dict[str, Any]]:
        """Of its training; none of an imported run."""
        from avce.training.journal import read_log

        path = self.run / "log.jsonl"
        return read_log(path) if path.is_file() else []


def look(run: Path | None, choice: Choice, flip: bool = False) -> Seen:
    """Let a run predict a split of its shards, or of others."""
    from avce.scores.predictions import predict_table
    from avce.training.run_folder import load_run
    from shards import LabelIndex

    folder = run or latest()
    method, config, facts = load_run(folder, choice.which)
    method.to(device())
    index = LabelIndex.open(choice.shards or facts["shards"]["folders"])
    own = None if choice.shards else facts["shards"]["fold"]
    fold = own if choice.fold is None else choice.fold
    split = choice.split or held_out(index)
    selection = labelled(index, config, split, fold, choice.where)
    with bar(f"evaluating {folder}") as progress:
        table = predict_table(
            method, stream(selection, config), index.table, flip=flip, progress=progress
        )
    return Seen(folder, table, facts, index, split, method, config)


def latest() -> Path:
    """The run under runs/ that went on last."""
    from avce.training.run_folder import latest_run

    return latest_run(RUNS)


def filmed(
    runs: list[Path],
    which: Which,
    film: Path,
    faces: str | None,
    frames: list[int],
    maps: Literal["linear", "grad-cam"],
) -> Picture:
    """A video file, frame by frame, as some runs see it."""
    from avce.inference.predictor import Predictor
    from avce.inference.video import Skipped, video_frames
    from avce.report.pictures import fluctuation_of_film
    from shards.finder import finder_for

    predictors = {folder.name: Predictor.load(folder, which, device()) for folder in runs}
    find = finder_for(faces, device())
    with bar(f"watching {film}") as progress:
        return fluctuation_of_film(
            predictors, lambda: video_frames(film, Skipped()), find, frames, maps, progress
        )


def configured(
    recipe: str, settings: Sequence[str], resume: Path | None
) -> tuple[Config, dict[str, Any] | None]:
    """The config of a recipe, or of the run to go on with and what that run was trained on."""
    from avce.config import Config, with_settings
    from avce.recipes import recipe as recipe_of
    from avce.training.run_folder import read_facts

    facts = read_facts(resume) if resume else None
    try:
        config = Config.from_dict(facts["config"]) if facts else recipe_of(recipe)
        chosen = with_settings(config, settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if facts or not lacks_weights(chosen, settings):
        return chosen, facts and facts["shards"]
    tell(
        f"no ImageNet weights of {chosen.encoder} on this disk: training starts from random ones "
        "(--weights imagenet downloads them, --weights PATH reads a file)"
    )
    return with_settings(chosen, ["weights=none"]), None


def lacks_weights(config: Config, settings: Sequence[str]) -> bool:
    """Whether ImageNet's weights are wanted, not on this disk, and nobody asked for a download."""
    from avce.method.pretrained import imagenet_at_hand

    asked = any(setting.startswith("weights=") for setting in settings)
    return not asked and config.weights == "imagenet" and not imagenet_at_hand(config.encoder)


def labelled(
    index: LabelIndex,
    config: Config,
    split: str,
    fold: int | None = None,
    where: str | None = None,
) -> Selection:
    """The rows of a split, or of the folds that stand for it, that have the task's label."""
    from shards.where import condition

    on_plane = config.task == "va"
    wanted: dict[str, Any] = (
        {"va_valid": True} if on_plane else {"expression": range(config.classes)}
    )
    if fold is None:
        wanted["split"] = split
    else:
        wanted["fold"] = [f for f in range(100) if f != fold] if split == "train" else fold
    found = index.where(filter=condition(where) if where else None, **wanted)
    if not len(found):
        also = f" and {where}" if where else ""
        mend = "choose another --split, --fold or --where, or other shards"
        if on_plane and not len(index.where(va_valid=True)):
            mend = "no row of them has valence and arousal, so use --recipe avce_discrete"
        raise ValueError(
            f"{', '.join(map(str, index.folders))}: no row meets {wanted}{also}; the splits are "
            f"{index.splits}; {mend}"
        )
    return found


def held_out(index: LabelIndex) -> str:
    """The split that scores a model: val, or test where the owner gives no val (RAF-DB)."""
    return "test" if "test" in index.splits and "val" not in index.splits else "val"


def stream(selection: Selection, config: Config, *, training: bool = False) -> Batches:
    """This rank's batches of a selection."""
    from pipelines import Augment, batches

    augment = Augment(
        brightness=config.jitter_brightness,
        contrast=config.jitter_contrast,
        saturation=config.jitter_saturation,
    )
    return batches(
        selection,
        config.batch_size,
        targets=("valence", "arousal") if config.task == "va" else ("expression",),
        augment=augment if training else False,
        image_size=config.image_size,
        seed=config.seed,
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        device=device(),
        order=config.order,
        on_corrupt=config.on_corrupt,
    )


def pictures(sources: Sequence[str], skipped: Any) -> tuple[Any, bool]:
    """Frames of the sources, and whether they are cropped faces already, as shards are."""
    from avce.inference.sources import encoded_frames, frames_of
    from shards import LABELS, LabelIndex

    folders = [source for source in sources if (Path(source) / LABELS).is_file()]
    if not folders:
        return frames_of(sources, skipped), False
    if len(folders) < len(sources):
        raise typer.BadParameter("shards hold cropped faces, other sources do not; predict apart")
    index = LabelIndex.open(folders)
    keys = index.table["sample_key"]
    stored = ((keys[row].as_py(), index.read(row)) for row in range(len(index)))
    return encoded_frames(stored, skipped), True


def sure_scores(run: Path, which: Which) -> dict[str, Any] | None:
    """A run's scores with intervals on what it held out; None where its shards are not here."""
    from avce.scores.intervals import assess
    from avce.training.run_folder import read_facts
    from shards import LABELS

    folders = (read_facts(run).get("shards") or {}).get("folders") or []
    if not folders or not all((Path(folder) / LABELS).is_file() for folder in folders):
        tell("the run's shards are not here: the card has its scores without intervals")
        return None
    return assess(look(run, Choice(which=which)).table, str(run)).as_dict()


def room_checks(room: str, *about: Any) -> list[tuple[str, str, str, str]]:
    """What a room says of itself; one that cannot be imported is a finding, not the end."""
    try:
        return list(import_module(f"{room}.health").checks(*about))
    except ImportError as error:
        missing = error.name or str(error)
        return [(room, "fail", f"{missing} cannot be imported", f"just setup ({error})")]


def device() -> str:
    """This rank's GPU, or the CPU."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def launcher() -> list[str]:
    """What starts a training on all GPUs of this machine; on one, or none, Python alone."""
    import torch

    several = torch.cuda.device_count() > 1
    return [sys.executable, *(["-m", "accelerate.commands.launch"] if several else [])]


def stamp() -> str:
    """The time, as part of a folder's name."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def folder_of(name: str) -> Path:
    """A shard folder by its path, or by its name under data/shards."""
    return Path(name) if Path(name).is_dir() else SHARDS / name
