"""Where the rooms meet: shards become batches, runs become predictions, for every command alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from avce.commands.options import (
    RUNS,
    Choice,
    Learning,
    Scoring,
    Which,
    one_of,
    output,
    read_in,
    typed,
)
from avce.commands.terminal import bar, resampling, tell

if TYPE_CHECKING:
    from avce.config import Config
    from avce.inference.onnx_model import OnnxModel
    from avce.report.figures import Picture
    from avce.report.maps import Kind
    from avce.report.trained_run import TrainedRun
    from avce.scores.scoreboard import Setting
    from avce.training.record import RunRecord, Shards
    from pipelines import Batches
    from shards import LabelIndex, Selection


@dataclass(frozen=True)
class Evaluated:
    """What a run said about a selection, where both come from, and the run itself."""

    run: Path
    table: Any  # a pyarrow table
    record: RunRecord
    part: Selection
    split: str
    method: Any  # a Method, or an OnnxModel
    config: Config

    @property
    def index(self) -> LabelIndex:
        """Of the shards."""
        return self.part.index

    def setting(self, choice: Choice, convention: str = "ours", flip: bool = False) -> Setting:
        """What decides whether printed numbers are comparable: to none, over several data sets."""
        from avce.scores.scoreboard import Setting

        cards = (self.index.metadata_of_folder(n) for n in range(len(self.index.folders)))
        return Setting(
            ", ".join(sorted(self.part.arrow("dataset").unique().to_pylist())),
            self.split,
            convention=convention,
            flip=flip,
            stand_in=any(card.get("stand_in") for card in cards),
            subset=choice.where is not None,
        )

    def trained(self) -> TrainedRun:
        """The run as the pictures ask it about more images."""
        from avce.report.trained_run import TrainedRun
        from shards import Selection

        def images(rows: Any) -> Batches:
            return stream(Selection(self.index, rows), self.config)

        return TrainedRun(self.run.name, self.method, self.table, images, self.log)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the codes that the run tells apart."""
        from shards import EXPRESSIONS

        named = {"expression": EXPRESSIONS, "expression_raw": self.index.classes}
        return named.get(self.config.class_column, ())

    @property
    def log(self) -> list[dict[str, Any]]:
        """Of its training; none of an imported run."""
        from avce.training.journal import read_log

        path = self.run / "log.jsonl"
        return read_log(path) if path.is_file() else []


def chosen_runs(runs: list[Path] | None, choice: Choice, to: Path | None = None) -> list[Path]:
    """The runs a command is about, or the latest; what can be refused at once is.

    Raises FileNotFoundError or ValueError: no run, no weights, no shards, or an output `to` in the
    place of any of them.
    """
    found = runs or [latest()]
    records = [with_weights(run, choice.which) for run in found]
    from shards import LABELS

    for run, record in zip(found, records, strict=True):
        folders = choice.shards or record.shards.places(run)
        for folder in folders:
            if not (folder / LABELS).is_file():
                raise FileNotFoundError(
                    f"{folder / LABELS} does not exist; write the shards (`python cli.py shard "
                    "NAME`), or name others by --shards"
                )
        if to:
            output(to, read_in([run, *folders]))
    return found


def with_weights(run: Path, which: Which) -> RunRecord:
    """What a run says of itself, if its weights are there too."""
    from avce.training.record import read_record

    record = read_record(run)
    if not (run / f"{which}.safetensors").is_file():
        raise FileNotFoundError(
            f"{run}/{which}.safetensors does not exist: nothing is saved yet; go on with "
            "`train --resume`, or choose another run"
        )
    return record


def predict_split(run: Path, choice: Choice, scoring: Scoring | None = None) -> Evaluated:
    """Let a run predict a split of its shards, or of others."""
    from avce.training.record import read_record
    from avce.training.run_folder import load_run
    from shards import LabelIndex

    scoring, record = scoring or Scoring(), read_record(run)
    index = LabelIndex.open(choice.shards or record.shards.places(run))
    own = record.config.class_column == "expression_raw"
    if own and index.classes != record.shards.classes:
        raise ValueError(
            f"{run} tells {', '.join(record.shards.classes)[:200]} apart, and these shards hold "
            f"{', '.join(index.classes)[:200] or 'no classes of their own'}; name shards of the "
            "same classes with --shards"
        )
    if choice.fold is None and not choice.shards:
        choice = replace(choice, fold=record.shards.fold)
    part, split = _part(index, choice, record.config, scoring)
    method, config, record = load_run(run, choice.which)
    table = _predicted(run, method.to(device()), config, part, scoring)
    return Evaluated(run, table, record, part, split, method, config)


def predict_onnx(
    model: OnnxModel, choice: Choice, scoring: Scoring, beside: Sequence[Evaluated] = ()
) -> Evaluated:
    """Let a foreign model predict what a run did, or a split of shards that are named."""
    from avce.config import Config
    from avce.training.record import RunRecord, Shards
    from shards import LabelIndex

    if not (beside or choice.shards):
        raise typer.BadParameter("--onnx alone knows no shards; name them by --shards, or a RUN")
    with typed():
        config = Config(image_size=model.size)
    if beside:
        part, split = beside[0].part, beside[0].split
    else:
        part, split = _part(LabelIndex.open(choice.shards or ()), choice, config, scoring)
    table = _predicted(model.path, model, config, part, scoring)
    folders, digest = list(map(str, part.index.folders)), part.index.digest
    shards = Shards(folders=folders, digest=digest)
    return Evaluated(
        model.path, table, RunRecord(config=config, shards=shards), part, split, model, config
    )


def _part(
    index: LabelIndex, choice: Choice, config: Config, scoring: Scoring
) -> tuple[Selection, str]:
    """The samples that are meant, and the split they are of; of what cannot be, refused."""
    from avce.scores.predictions import CONTEXT

    split = choice.split or index.held_out
    if choice.split:
        one_of(split, index.splits, "split")
    part = labelled(index, config, split, choice.fold, choice.where)
    scoring.check(index.table.select([*CONTEXT, *index.extra]), part.rows)
    return part, split


def _predicted(run: Path, model: Any, config: Config, part: Selection, scoring: Scoring) -> Any:
    from avce.scores.predictions import CONTEXT, predict_table

    labels = part.index.table.select([*CONTEXT, *part.index.extra])
    with bar(f"evaluating {run}") as progress:
        return predict_table(
            model, stream(part, config), labels, flip=scoring.flip, progress=progress
        )


def latest() -> Path:
    """The newest finished run under runs/, said by name."""
    from avce.training.record import latest_run

    found = latest_run(RUNS)
    tell(f"the newest finished run is {found}")
    return found


def filmed(
    runs: list[Path],
    which: Which,
    film: Path,
    faces: str | None,
    frames: list[int],
    maps: Kind,
) -> Picture:
    """A video file, frame by frame, as some runs see it."""
    from avce.inference.predictor import Predictor
    from avce.inference.video import Skipped, video_frames
    from avce.report.course import fluctuation_of_film
    from shards.finder import finder_for

    predictors = {folder.name: Predictor.load(folder, which, device()) for folder in runs}
    find = finder_for(faces, device())
    with bar(f"watching {film}") as progress:
        return fluctuation_of_film(
            predictors, lambda: video_frames(film, Skipped()), find, frames, maps, progress
        )


def configured(learning: Learning, resume: Path | None) -> tuple[Config, Shards | None]:
    """The config of a recipe, or of the run to go on with and what that run was trained on."""
    from avce.config import with_settings
    from avce.recipes import recipe as recipe_of
    from avce.training.record import read_record

    record = read_record(resume) if resume else None
    with typed():
        config = record.config if record else recipe_of(learning.recipe)
        chosen = with_settings(config, learning.changes)
        if chosen.encoder.startswith("timm/"):
            from avce.method.encoders import check_encoder

            check_encoder(chosen.encoder, chosen.image_size)
    named = chosen.weights in ("imagenet", "none", "starter")
    if not (record or named or Path(chosen.weights).is_file()):
        raise typer.BadParameter(
            f"weights {chosen.weights} does not exist; give imagenet, none, starter, or the path "
            "of a safetensors or torch file"
        )
    return chosen, record and record.shards


def first_weights(config: Config, settings: Sequence[str]) -> Config:
    """`config`, from random weights where ImageNet's are neither here nor asked for."""
    from avce.config import with_settings

    if not lacks_weights(config, settings):
        return config
    tell(
        f"no ImageNet weights of {config.encoder} on this disk: training starts from random ones "
        "(--weights imagenet downloads them, --weights PATH reads a file)"
    )
    return with_settings(config, ["weights=none"])


def with_classes(config: Config, index: LabelIndex, changes: Sequence[str]) -> Config:
    """The classes of the shards' own vocabulary, where they have one and none were asked for."""
    asked = {change.partition("=")[0] for change in changes} & {"classes", "class_column"}
    if config.task != "expression" or asked:
        return config
    if not index.classes:
        cards = (index.metadata_of_folder(number) for number in range(len(index.folders)))
        if any(card.get("classes") for card in cards):
            tell("the shards have different classes of their own: only AffectNet's are trained")
        return config
    from avce.config import with_settings

    tell(f"{len(index.classes)} classes, as the shards have them: {', '.join(index.classes)[:200]}")
    return with_settings(config, [f"classes={len(index.classes)}", "class_column=expression_raw"])


def lacks_weights(config: Config, settings: Sequence[str]) -> bool:
    """Whether ImageNet's weights are wanted, not on this disk, and nobody asked for a download."""
    if config.weights != "imagenet" or any(s.startswith("weights=") for s in settings):
        return False
    from avce.method.pretrained import imagenet_at_hand

    return not imagenet_at_hand(config.encoder)


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
        {"va_valid": True} if on_plane else {config.class_column: range(config.classes)}
    )
    if fold is not None:
        one_of(fold, index.counts("fold"), "fold")
    with typed():
        met = condition(where, index.table.schema) if where else None
    found = index.part(split, fold, filter=met, **wanted)
    if not len(found):
        place = f"split {split}" if fold is None else f"fold {fold} as {split}"
        label = "valence and arousal" if on_plane else f"expression below {config.classes}"
        also = f", {where}" if where else ""
        splits = ", ".join(f"{name} ({n:,})" for name, n in index.splits.items())
        mend = "choose another --split, --fold or --where, or other shards"
        if on_plane and not len(index.where(va_valid=True)):
            mend = "no row of them has valence and arousal, so use --recipe avce_discrete"
        raise ValueError(
            f"{', '.join(map(str, index.folders))}: no row meets {place}, {label} known{also}; "
            f"the splits are {splits}; {mend}"
        )
    return found


def stream(selection: Selection, config: Config, *, training: bool = False) -> Batches:
    """This rank's batches of a selection."""
    from pipelines import Augment, batches, grouped

    ranks = int(os.environ.get("WORLD_SIZE") or 1)
    augment = Augment(
        brightness=config.jitter_brightness,
        contrast=config.jitter_contrast,
        saturation=config.jitter_saturation,
    )
    by = config.class_column if config.balance == "expression" else config.balance
    try:
        groups = grouped(selection, by) if training else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return batches(
        selection,
        config.batch_size,
        targets=("valence", "arousal") if config.task == "va" else (config.class_column,),
        augment=augment if training else False,
        image_size=config.image_size,
        seed=config.seed,
        rank=int(os.environ.get("RANK", "0")) if ranks > 1 else 0,
        world_size=ranks,
        device=device(),
        order=config.order,
        groups=groups,
        on_corrupt=config.on_corrupt,
        check=config.check if training else "crc",  # a score holds for every byte
        cache=config.cache,
        channels_last=config.channels_last,
    )


class Seen(NamedTuple):
    """What is to be predicted."""

    frames: Any  # a Reading
    cropped: bool  # faces already, as shards are
    files: list[Path]  # that are read
    sources: dict[str, str | None]  # and what each was, None of a camera


def pictures(sources: Sequence[str], part: Any, skipped: Any) -> Seen:
    """Pictures, films and cameras, of films a part; or shards."""
    from avce.inference.sources import checksum_of, reading_of, source_files
    from avce.scores.sheet import printable
    from shards import LABELS

    folders = [source for source in sources if (Path(source) / LABELS).is_file()]
    if folders and len(folders) < len(sources):
        raise typer.BadParameter("shards hold cropped faces, other sources do not; predict apart")
    if folders:
        return _stored(folders, skipped)
    frames = reading_of(sources, skipped, part)
    sums = {printable(source): checksum_of(source) for source in sources}
    return Seen(frames, False, source_files(sources), sums)


def _stored(folders: list[str], skipped: Any) -> Seen:
    from avce.inference.sources import Reading, encoded_frames
    from shards import LabelIndex

    index = LabelIndex.open(folders)
    keys = index.table["sample_key"]

    def behind(first: int) -> Iterator[Any]:
        stored = ((keys[row].as_py(), index.read(row)) for row in range(first, len(index)))
        return encoded_frames(stored, skipped)

    sums = {folder: LabelIndex.open(folder).digest for folder in folders}
    return Seen(Reading([behind], [len(index)]), True, [], dict(sums))


def sure_scores(run: Path, which: Which) -> dict[str, Any] | None:
    """A run's scores with intervals on what it held out; None where its shards are not here."""
    from avce.scores.intervals import assess
    from avce.training.record import read_record
    from shards import LABELS

    folders = read_record(run).shards.places(run)
    if not folders or not all((folder / LABELS).is_file() for folder in folders):
        tell("the run's shards are not here: the card has its scores without intervals")
        return None
    table = predict_split(run, Choice(which=which)).table
    with resampling():
        return assess(table, str(run)).as_dict()


def room_checks(room: str, *about: Any) -> Iterator[tuple[str, str, str, str]]:
    """What a room says of itself; one that cannot be imported is a finding, not the end."""
    try:
        yield from import_module(f"{room}.health").checks(*about)
    except ImportError as error:
        missing = error.name or str(error)
        yield room, "fail", f"{missing} cannot be imported", f"just setup ({error})"


def device() -> str:
    """This rank's GPU, or the CPU."""
    from avce.ranks import local_device

    return str(local_device())


def launcher() -> list[str]:
    """What starts a training on all GPUs of this machine; on one, or none, Python alone."""
    import torch

    several = torch.cuda.device_count() > 1
    return [sys.executable, *(["-m", "accelerate.commands.launch"] if several else [])]


def stamp() -> str:
    """The time, as part of a folder's name."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")
