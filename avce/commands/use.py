"""Use a trained model: predict, export; and ask whether this machine can."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from avce.commands.join import device, latest, pictures, room_checks, sure_scores, with_weights
from avce.commands.options import (
    RUNS,
    SHARDS,
    FacesOption,
    JsonOption,
    RunOption,
    Which,
    WhichOption,
    grouped,
    output,
    read_in,
)
from avce.commands.terminal import bar, print_json, say, tell

if TYPE_CHECKING:
    from avce.inference.video import Part

app = typer.Typer()


@dataclass(frozen=True)
class Frames:
    """Which frames of films are looked at."""

    stride: Annotated[int, typer.Option(min=1, help="Every so many frames of a film.")] = 1
    fps: Annotated[
        float | None, typer.Option(help="At most so many frames of each second of a film.")
    ] = None
    start: Annotated[float, typer.Option(min=0, help="Of a film, seconds.")] = 0.0
    end: Annotated[float | None, typer.Option(help="Of a film, seconds.")] = None

    def value(self) -> Part:
        """As `avce.inference` takes it."""
        from avce.inference.video import Part

        if self.fps is not None and self.fps <= 0:
            raise typer.BadParameter(f"--fps {self.fps:g}: no frame at all; give one above 0")
        if self.fps is not None and self.stride > 1:
            raise typer.BadParameter("--fps and --stride both choose frames; give one of them")
        if self.end is not None and self.end <= self.start:
            raise typer.BadParameter(
                f"--end {self.end:g} is not behind --start {self.start:g}; give a later one"
            )
        return Part(self.stride, self.fps, self.start, self.end)


@dataclass(frozen=True)
class Looking:
    """Which faces are read, and where."""

    faces: FacesOption = None
    confidence: Annotated[
        float, typer.Option(min=0.01, max=1, help="Least probability of a face.")
    ] = 0.9
    largest: Annotated[
        bool, typer.Option("--largest/--all", help="Of each picture the largest face, or all.")
    ] = False
    on: Annotated[
        str | None, typer.Option("--device", metavar="cpu|cuda", help="Default: a GPU, if any.")
    ] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Faces at once.")] = 64


@dataclass(frozen=True)
class Result:
    """Where predictions go, and what is said in them."""

    to: Annotated[
        Path | None,
        typer.Option(
            "--out", help=".csv, .jsonl, .arrow, .parquet or .mp4; default CSV on stdout."
        ),
    ] = None
    as_json: JsonOption = False
    wide: Annotated[
        bool, typer.Option("--wide", help="CSV of a line a frame, its faces beside each other.")
    ] = False
    circumplex: Annotated[
        bool, typer.Option("--circumplex", help="Also angle, intensity and nearest named emotion.")
    ] = False
    smooth: Annotated[
        float | None,
        typer.Option(help="Also smoothed along each track, causal, by so many seconds."),
    ] = None
    crops: Annotated[
        Path | None, typer.Option("--save-crops", help="Folder for the faces as the model sees.")
    ] = None
    left_out: Annotated[
        Path | None,
        typer.Option("--skipped", help="CSV of all that was left out, and why; default examples."),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where a command was broken off.")
    ] = False

    @property
    def kind(self) -> str:
        """On stdout."""
        return "json" if self.as_json else "csv"

    def check(self) -> None:
        """Refuse what cannot be meant, before anything is opened."""
        if self.smooth is not None and self.smooth <= 0:
            raise typer.BadParameter(f"--smooth {self.smooth:g}: give seconds above 0")
        if self.as_json and self.to:
            raise typer.BadParameter("--json is for stdout; name a .jsonl with --out, or leave it")
        if self.wide and (self.as_json or not self.to or self.to.suffix.lower() != ".csv"):
            raise typer.BadParameter("--wide is a way of a CSV file; name one with --out")

    def form(self, again: bool) -> Any:
        """As `avce.inference` takes it; `again`: the same command can go on with the result."""
        from avce.inference.rows import Form

        return Form(
            wide=self.wide,
            all_columns=self.circumplex,
            smooth=self.smooth,
            crops=self.crops is not None,
            again=again,
            anew=self.overwrite,
        )


@app.command(epilog="Example: python cli.py predict holiday.mp4 --fps 5 --out holiday.csv")
@grouped
def predict(
    sources: Annotated[
        list[str],
        typer.Argument(help="Images, folders, globs, videos, a camera's number, or shards."),
    ],
    looking: Looking,
    frames: Frames,
    result: Result,
    run: RunOption = None,
    which: WhichOption = "best",
) -> None:
    """Read valence and arousal from anyone's pictures, prepared as in training.

    A row a face, or a row with the reason why a frame shows none.

    Broken off, the same command goes on where it was.
    """
    from avce.durable import write_aside
    from avce.inference.video import Skipped
    from avce.scores.sheet import as_csv

    listed: list[tuple[str, str]] = []
    skipped = Skipped(listing=listed.append if result.left_out else None)
    part = frames.value()
    result.check()
    seen = pictures(sources, part, skipped)
    folder = _chosen(run, which, result, [*seen.files, *read_in(map(Path, sources))])
    from avce.inference.predictor import Predictor
    from avce.inference.sinks import sink_for
    from avce.inference.stream import predict_to
    from shards.finder import finder_for

    predictor = Predictor.load(folder, which, looking.on or device())
    limits = {"confidence": looking.confidence, "most": 1 if looking.largest else None}
    find = None if seen.cropped else finder_for(looking.faces, looking.on or device(), **limits)
    facts = {**predictor.facts, "sources": seen.sources, "frames": asdict(part)}
    facts |= {"detector": None} if find is None else find.facts | limits
    facts |= {"smooth_s": result.smooth} if result.smooth else {}
    cut, cuts = predictor.facts["crop"]["boxes"], find and " ".join(find.facts.values())
    if cuts and cut not in (cuts, None):
        tell(
            f"warning: {folder} learned from faces as {cut}, these are found by {cuts}: what that "
            "costs stands in docs/benchmarks.md; shards made with --crop detect are cut like these"
        )
    at = "" if facts["step"] is None else f" of step {facts['step']}"
    tell(f"predicting by {folder}, weights {facts['weights']}{at}")
    form = result.form(again=None not in seen.sources.values())
    try:
        with bar("predicting") as progress:
            done = predict_to(
                sink_for(result.to, predictor.config, facts, form, result.kind),
                predictor,
                seen.frames,
                find=find,
                skipped=skipped,
                batch_size=looking.batch_size,
                crops=result.crops,
                progress=progress,
            )
        tell(str(done))
    finally:
        for line in skipped.lines():
            tell(f"skipped: {line}")
        if result.left_out:
            write_aside(result.left_out, as_csv([("reason", "place"), *listed]).encode())


def _chosen(run: Path | None, which: Which, result: Result, read: list[Path]) -> Path:
    """The run that is to speak, once it is sure that no output replaces what is read."""
    from avce.training.record import exported_in

    folder = run or newest()
    if not exported_in(folder):
        with_weights(folder, which)
    for place in filter(None, (result.to, result.left_out)):
        output(place, [*read, *read_in([folder])])
    if crops := result.crops:
        if any(crops.resolve() in Path(os.path.realpath(file)).parents for file in read):
            raise ValueError(f"{crops} holds what is read here; name another folder for the crops")
        output(crops, folder=True).mkdir(exist_ok=True)
    return folder


def newest() -> Path:
    """The newest finished run, or the starter where nothing was trained yet."""
    from avce.config import STARTER

    if any(RUNS.glob("*/run.json")):
        return latest()
    tell(
        f"no run lies under {RUNS}: the starter speaks, which was trained on drawn faces alone; "
        "docs/starter.md says how far it can be trusted"
    )
    return STARTER


@app.command(epilog="Example: python cli.py export --format onnx")
def export(
    run: RunOption = None,
    to: Annotated[Path | None, typer.Option("--out", help="Default RUN/export.")] = None,
    form: Annotated[Literal["safetensors", "onnx"], typer.Option("--format")] = "safetensors",
    which: WhichOption = "best",
) -> None:
    """Write the model alone, with a card that says what it may be used for."""
    folder = run or latest()
    with_weights(folder, which)
    if to:
        output(to, [folder], folder=True)
    from avce.inference.export import export as write

    for path in write(folder, to, form, which, sure_scores(folder, which)):
        tell(f"wrote {path}")


@app.command(epilog="Example: python cli.py doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what is wrong, and what to do about it."""
    found = []
    for check in chain(
        room_checks("avce.commands"), room_checks("pipelines"), room_checks("shards", [SHARDS])
    ):
        found.append(check)
        if not as_json:
            what, outcome, text, advice = check
            say(f"{outcome:4}  {what}: {text}" + (f"; {advice}" if advice else ""))
    if as_json:
        columns = ("what", "outcome", "found", "what to do")
        print_json({"checks": [dict(zip(columns, check, strict=True)) for check in found]})
    if any(outcome == "fail" for _, outcome, _, _ in found):
        raise typer.Exit(1)
