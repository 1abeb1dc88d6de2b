"""What is typed: groups of options that commands share, and how typed words are read.

A command takes one object a group; `grouped` lays the group's fields out as options. A word that
cannot be read is wrong usage (typer.BadParameter), as an unknown option is; `typed` says where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from avce.commands.terminal import bar

if TYPE_CHECKING:
    from shards import Crop, Engine

RAW, SHARDS, RUNS = Path("data/raw"), Path("data/shards"), Path("runs")
Level = Literal["easy", "normal", "hard", "wild"]
Which = Literal["best", "last"]
T = TypeVar("T")
Form = Literal["text", "csv", "latex"]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as Typer reads it: each parameter that is a dataclass becomes its fields."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    laid_out: list[Parameter] = []
    for one in signature(command).parameters.values():
        if one.name in groups:
            laid_out += _parameters(groups[one.name])
        else:
            laid_out.append(one.replace(annotation=hints[one.name]))

    @wraps(command)
    def typed(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{one.name: values.pop(one.name) for one in fields(group)})
        command(**values)

    by_name = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in laid_out]
    vars(typed).update(__signature__=Signature(by_name), __annotations__={})
    return typed


def _parameters(group: type) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    init = signature(group).parameters.values()
    return [one.replace(annotation=hints[one.name]) for one in init]


def here(address: str) -> Path:
    """A shard folder on this disk: the one named, or the copy of the one in a bucket."""
    if "://" not in address:
        return Path(address)
    from pipelines import cached

    with bar(f"fetching {address}") as progress:
        return cached(address, progress)


JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
FormOption = Annotated[Form, typer.Option("--format", help="text, csv or latex.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Set a field of the recipe; repeatable."),
]
RunsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RUN...", help="Default: the newest finished one under runs/."),
]
RunOption = Annotated[
    Path | None, typer.Option(help="Default: the newest finished one under runs/.")
]
RootOption = Annotated[Path, typer.Option(help="Where finished runs lie.")]
ShardsOption = Annotated[
    list[Path] | None,
    typer.Option(parser=here, help="Shard folder or s3://...; repeatable. Default: the run's own."),
]
FacesOption = Annotated[
    Literal["detect", "mtcnn", "whole"] | None,
    typer.Option(help="Find faces, by RetinaFace or MTCNN, or take each picture as one."),
]
WhichOption = Annotated[Which, typer.Option(help="The best weights or the last.")]
MapsOption = Annotated[
    Literal["integrated", "early", "linear", "grad-cam"],
    typer.Option(help="Which activation maps are drawn; `early` is the quickest that locates."),
]


@dataclass(frozen=True)
class Choice:
    """Which samples a command is about, and which weights speak of them."""

    shards: ShardsOption = None
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test. Default: val, or test where there is no val."),
    ] = None
    fold: Annotated[
        int | None,
        typer.Option(help="This fold instead of a split. Default: the one the run held out."),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION", help="Only such rows: \"valence > 0 and split == 'val'\"."
        ),
    ] = None
    which: WhichOption = "best"


@dataclass(frozen=True)
class Scoring:
    """How predictions become scores."""

    merge: Annotated[
        bool | None,
        typer.Option(help="The runs are the folds of one; default: where their folds differ."),
    ] = None
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also per video, subject, fold, dataset ...; repeatable."),
    ] = None
    convention: Annotated[
        Literal["ours", "authors", "torchmetrics"],
        typer.Option(help="Whose formulas; see docs/reading-a-report.md."),
    ] = "ours"
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirror image.")] = False
    published: Annotated[
        bool, typer.Option("--published", help="Also the paper's rows; \u00d7: not comparable.")
    ] = False
    clusters: Annotated[
        str, typer.Option(help="What the bootstrap draws: auto, image, or a column of the index.")
    ] = "auto"

    @property
    def columns(self) -> list[str]:
        """Of the index, by which scores are asked for."""
        return [
            {"video": "video_id", "subject": "subject_id"}.get(one, one) for one in self.by or []
        ]

    def check(self, labels: Any, rows: Any) -> None:
        """Refuse, before any row is scored, columns that do not say of each where it belongs."""
        from avce.scores.intervals import clusters_of, column_of

        if not self.by and self.clusters in ("auto", "image"):
            return
        with typed():
            scored = labels.take(rows)
            clusters_of(scored, self.clusters)
            for column in self.columns:
                column_of(scored, column)


@dataclass(frozen=True)
class Watching:
    """A video, and which of its frames are drawn."""

    video: Annotated[
        str | None,
        typer.Option(help="A video of the selection, or a video file. Default the longest."),
    ] = None
    frames: Annotated[
        str | None,
        typer.Option(help="Of the video, with maps: 313,1350. Default the peak of each quarter."),
    ] = None
    faces: FacesOption = None

    @property
    def film(self) -> Path | None:
        """The video, where it is a file."""
        return Path(self.video) if self.video and Path(self.video).is_file() else None


@dataclass(frozen=True)
class Learning:
    """A recipe and what is changed in it."""

    recipe: Annotated[str, typer.Option(help="One of `avce recipes`.")] = "paper"
    epochs: Annotated[int | None, typer.Option(min=1)] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help="Over all ranks.")] = None
    weights: Annotated[
        str | None,
        typer.Option(
            help="The encoder's first ones: imagenet (downloads), none, or a file. "
            "Default: the recipe's, or none where ImageNet's are not on this disk."
        ),
    ] = None
    settings: SettingsOption = None

    @property
    def changes(self) -> list[str]:
        """Each as `name=value`."""
        named = {name: getattr(self, name) for name in ("epochs", "batch_size", "weights")}
        return [f"{k}={v}" for k, v in named.items() if v is not None] + (self.settings or [])


@dataclass(frozen=True)
class Storing:
    """Where images come from and how they are kept."""

    raw: Annotated[Path | None, typer.Option(help="Default data/raw/NAME.")] = None
    to: Annotated[
        str | None, typer.Option("--out", help="Folder or s3://...; default data/shards/NAME.")
    ] = None
    seed: Annotated[int, typer.Option(help="Of the shuffle at write time.")] = 0
    with_json: Annotated[
        bool, typer.Option("--with-json", help="Add KEY.json for plain WebDataset users.")
    ] = False
    check: Annotated[bool, typer.Option(help="Decode every image once to prove it.")] = True


@dataclass(frozen=True)
class Cutting:
    """How faces are cut out."""

    crop: Annotated[
        Literal["box", "landmarks", "aligned", "none", "detect"] | None,
        typer.Option(help="Default what suits the data set; detect: as predict finds it."),
    ] = None
    margin: Annotated[
        float | None, typer.Option(help="Around the face, as a share of its side.")
    ] = None
    size: Annotated[int, typer.Option(help="Side of the stored crop, pixels.")] = 256
    detect: Annotated[
        bool, typer.Option("--detect", help="Find the face where no box is published.")
    ] = False

    def value(self) -> Crop:
        """As `shards` takes it."""
        from shards import Crop

        margin = {} if self.margin is None else {"margin": self.margin}
        return Crop(mode=self.crop, size=self.size, detect=self.detect, **margin)


@dataclass(frozen=True)
class Reading:
    """What a data set's reader may be told."""

    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of the reader, e.g. automatic=true, pts_base=0, subset=compound; repeatable.",
        ),
    ] = None
    allow_count: Annotated[
        bool, typer.Option("--allow-count", help="Go on with a partial copy.")
    ] = False
    reader: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Your own reader, for a NAME that we do not have."
        ),
    ] = None

    def values(self, reader: Callable[..., Any]) -> dict[str, Any]:
        """What the reader knows, as values: true, false, whole numbers, else text."""
        known = list(signature(reader).parameters)[2:]  # after the root and the findings
        values: dict[str, Any] = {"allow_count": True} if self.allow_count else {}
        for option in self.option or []:
            name, equals, text = option.partition("=")
            if not equals:
                raise typer.BadParameter(f"--option {option!r}: write NAME=VALUE")
            plain = {"true": True, "false": False}.get(text.lower(), text)
            values[one_of(name, known, "option")] = int(text) if text.isdigit() else plain
        return values


@dataclass(frozen=True)
class Working:
    """Who does the work, and which part of it."""

    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default all cores.")] = None
    engine: Annotated[
        Literal["joblib", "dask"], typer.Option(help="joblib here, or dask across machines.")
    ] = "joblib"
    address: Annotated[str | None, typer.Option(help="tcp://host:port of Dask.")] = None
    part: Annotated[str | None, typer.Option(metavar="I/N", help="For job arrays: 0/8.")] = None
    merge: Annotated[
        bool, typer.Option("--merge", help="After the last part: check all and write the index.")
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace finished shards of other options.")
    ] = False

    def value(self) -> Engine:
        """As `shards` takes it."""
        from shards import Engine

        return Engine(self.engine, jobs=self.jobs, address=self.address)

    def fraction(self) -> tuple[int, int] | None:
        """ "3/8" as (3, 8)."""
        if self.part is None:
            return None
        if self.merge:
            raise typer.BadParameter(
                "--merge comes after the parts; give one of --part and --merge"
            )
        number, slash, total = self.part.partition("/")
        if not (slash and number.isdigit() and total.isdigit()):
            raise typer.BadParameter(
                f"--part {self.part!r}: write I/N, the first part of eight is 0/8"
            )
        return int(number), int(total)


@contextmanager
def typed() -> Iterator[None]:
    """Around what reads typed words alone: a ValueError there is wrong usage, and no failure."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def one_of(name: T, known: Iterable[T], kind: str) -> T:
    """`name`, if it is known; wrong usage otherwise."""
    if name not in known:
        choice = ", ".join(map(str, known)) or "another way: there is none at all"
        raise typer.BadParameter(f"there is no {kind} {name!r}; choose {choice}")
    return name


def numbers_in(text: str | None) -> list[int]:
    """ "313,1350" as [313, 1350]."""
    parts = text.split(",") if text else []
    if not all(part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"--frames {text!r}: write whole numbers such as 313,1350")
    return [int(part) for part in parts]


def output(path: Path, sources: Iterable[Path] = (), *, folder: bool = False) -> Path:
    """`path` as a place to write to: no source, and a folder only where one is meant.

    The folder it lies in is made. Raises ValueError where writing would fail, or would cost a
    source, before anything is computed.
    """
    kind, fits = ("folder", Path.is_dir) if folder else ("file", Path.is_file)
    stream = path.is_symlink() and path.readlink().is_relative_to("/proc")  # as /dev/stdout is
    if path.exists() and (stream or not fits(path)):
        kinds = {"folder": path.is_dir(), "file": path.is_file() and not stream}
        other = next((name for name, is_one in kinds.items() if is_one), "device or a pipe")
        raise ValueError(f"{path} is a {other}, and a {kind} is to be written; name another place")
    for source in sources:
        if path.exists() and source.exists() and path.samefile(source):
            read = "a file" if path == source else f"{source},"
            raise ValueError(f"{path} is {read} which is read here; name another place to write")
    places = [] if folder else [*path.resolve().parents]
    if among := [place for place in places if (place / "labels.arrow").is_file()]:
        raise ValueError(f"{path} lies among the shards of {among[0]}; write beside that folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


_READ = ("run.json", "log.jsonl", "*.safetensors", "labels.arrow", "report.json", "*.tar")


def read_in(folders: Iterable[Path]) -> list[Path]:
    """The files of runs and shard folders that commands read, which no output may replace."""
    return [file for folder in folders for pattern in _READ for file in folder.glob(pattern)]
