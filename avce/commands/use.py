"""Use a trained model: predict, export; and ask whether this machine can."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer

from avce.commands.join import device, latest, pictures, room_checks, sure_scores, with_weights
from avce.commands.options import (
    SHARDS,
    FacesOption,
    JsonOption,
    RunOption,
    WhichOption,
    output,
    read_in,
)
from avce.commands.terminal import bar, print_json, say, tell

app = typer.Typer()


@app.command(epilog="Example: python cli.py predict holiday.mp4 --out holiday.csv")
def predict(
    sources: Annotated[
        list[str],
        typer.Argument(help="Images, folders, globs, videos, a camera's number, or shards."),
    ],
    run: RunOption = None,
    to: Annotated[
        Path | None, typer.Option("--out", help=".csv, .arrow or .mp4; default CSV on stdout.")
    ] = None,
    faces: FacesOption = None,
    which: WhichOption = "best",
    left_out: Annotated[
        Path | None,
        typer.Option("--skipped", help="CSV of all that was left out, and why; default examples."),
    ] = None,
) -> None:
    """Read valence and arousal from anyone's pictures, prepared as in training."""
    from avce.durable import write_aside
    from avce.inference.sources import source_files
    from avce.inference.video import Skipped
    from avce.scores.sheet import as_csv
    from avce.training.record import exported_in

    listed: list[tuple[str, str]] = []
    skipped = Skipped(listing=listed.append if left_out else None)
    frames, cropped = pictures(sources, skipped)
    folder = run or latest()
    if not exported_in(folder):
        with_weights(folder, which)
    read = [*read_in([folder, *map(Path, sources)]), *([] if cropped else source_files(sources))]
    for place in filter(None, (to, left_out)):
        output(place, read)
    from avce.inference.predictor import Predictor
    from avce.inference.sinks import sink_for
    from avce.inference.stream import predict_to
    from shards.finder import finder_for

    predictor = Predictor.load(folder, which, device())
    find = None if cropped else finder_for(faces, device())
    said_by = {**predictor.facts, **(find.facts if find else {"detector": None})}
    tell(f"predicting by {folder}, weights {said_by['weights']} of step {said_by['step']}")
    try:
        with bar("predicting") as progress:
            sink = sink_for(to, predictor.config, said_by)
            done = predict_to(
                sink, predictor, frames, find=find, skipped=skipped, progress=progress
            )
        tell(str(done))
    finally:
        for line in skipped.lines():
            tell(f"skipped: {line}")
        if left_out:
            write_aside(left_out, as_csv([("reason", "place"), *listed]).encode())


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
