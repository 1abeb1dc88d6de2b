"""Score runs, draw their figures, write their page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from avce.commands.join import Evaluated, chosen_runs, filmed, predict_onnx, predict_split
from avce.commands.options import (
    Choice,
    FormOption,
    JsonOption,
    MapsOption,
    RunsArgument,
    Scoring,
    Watching,
    grouped,
    numbers_in,
    one_of,
    output,
    read_in,
    typed,
)
from avce.commands.terminal import print_json, resampling, say, tell
from avce.report import KINDS

app = typer.Typer()


@dataclass(frozen=True)
class Foreign:
    """A model that was not made here."""

    onnx: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also this ONNX model; without a RUN it alone."),
    ] = None
    outputs: Annotated[
        str | None,
        typer.Option(metavar="valence=I,arousal=J", help="Of its numbers; or NAME, NAME:INDEX."),
    ] = None
    normalise: Annotated[
        str | None,
        typer.Option(help="Its input: imagenet, half, unit, raw or MEAN/STD; `:bgr` blue first."),
    ] = None

    def model(self) -> Any:
        """Opened, or None where none is given."""
        if self.onnx is None:
            if self.outputs or self.normalise:
                raise typer.BadParameter(
                    "--outputs and --normalise are of a model; name it: --onnx"
                )
            return None
        from avce.inference.onnx_model import OnnxModel

        found = OnnxModel(self.onnx)
        with typed():
            return found.asked(self.outputs, self.normalise)


@app.command(
    name="eval",
    epilog='Example: python cli.py eval --where "valence > 0" --by dataset; or python cli.py eval '
    "RUN --onnx other.onnx --outputs valence=8,arousal=9 --normalise imagenet",
)
@grouped
def evaluate_run(
    choice: Choice,
    scoring: Scoring,
    foreign: Foreign,
    runs: RunsArgument = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="The same as the argument; repeatable.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write every prediction to this Arrow file.")
    ] = None,
    form: FormOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Score trained models over a whole split: RMSE, SAGR, PCC, CCC with 95 % intervals."""
    named_runs = [*(runs or []), *(run or [])]
    folders = chosen_runs(named_runs, choice, save) if named_runs or not foreign.onnx else []
    if save and foreign.onnx:
        output(save, [foreign.onnx, *read_in(choice.shards or [])])
    model = foreign.model()
    from avce.paper.tables import published_on
    from avce.scores import scoreboard
    from avce.scores.intervals import assess
    from avce.scores.predictions import one_table, write_predictions

    seen = [predict_split(one, choice, scoring) for one in folders]
    seen += [predict_onnx(model, choice, scoring, seen[:1])] if model else []
    merge = merged(seen, scoring.merge)
    named = {str(s.run): s.table for s in seen}
    tables = {f"{len(seen)} folds": one_table(named, merged=True)} if merge else named
    with resampling():
        scored = [
            assess(table, name, convention=scoring.convention, clusters=scoring.clusters)
            for name, table in tables.items()
        ]
    if save:
        facts = {**seen[0].record.to_json(), **({"foreign": model.facts} if model else {})}
        write_predictions(save, one_table(named, merged=merge), facts)
        tell(f"wrote {save}")
    setting = seen[0].setting(choice, scoring.convention, scoring.flip)
    drawn = scoreboard.board(scored, published_on(setting.dataset), setting)
    drawn = drawn if scoring.published else scoreboard.ours_alone(drawn)
    columns = [*(["part"] if merge else []), *scoring.columns]
    groups = scoreboard.groups_of(tables, columns, scoring.convention)
    if as_json:
        found = scoreboard.as_dict(scored, drawn, groups)
        alone = found["runs"][0] | {"run": str(seen[0].run)} if len(scored) == 1 else {}
        said = {"weights": choice.which} if folders else {}
        said |= {"foreign": model.facts} if model else {}
        print_json({**alone, **said, "split": seen[0].split, **found})
    else:
        write = {"text": scoreboard.as_text, "csv": scoreboard.as_csv, "latex": scoreboard.as_latex}
        say(write[form](scoreboard.with_groups(drawn, groups)))
        if form == "text":
            say(scoreboard.confusions(scored, seen[0].classes))


def merged(seen: Sequence[Evaluated], wanted: bool | None) -> bool:
    """Whether runs are the folds of one: as it is wanted, or where each held out another fold."""
    folds = [s.record.shards.fold for s in seen]
    if wanted is None:
        wanted = None not in folds and len(set(folds)) == len(seen) > 1
    if wanted:
        tell(f"merged {len(seen)} folds into one score; --no-merge keeps them apart")
    return wanted


@app.command(epilog="Example: python cli.py figures runs/first runs/second --video 001")
@grouped
def figures(
    choice: Choice,
    watching: Watching,
    runs: RunsArgument = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder; default RUN/figures of the first run.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="training, plane, maps, tsne or video; repeatable. Default all."),
    ] = None,
    maps: MapsOption = "integrated",
    as_json: JsonOption = False,
) -> None:
    """Draw what a paper shows, PNG and SVG: training curves, the valence-arousal plane,
    calibration, activation maps with their checks, t-SNE of z, a video frame by frame."""
    frames = numbers_in(watching.frames)
    kinds = {one_of(kind, KINDS, "figure") for kind in only or KINDS}
    folders = chosen_runs(runs, choice)
    folder = output(to or folders[0] / "figures", folder=True)
    from avce.report.pictures import collection, saved
    from avce.training.journal import flat_numbers

    drawn: list[Any] = []
    film = watching.film
    if film and "video" in kinds:
        kinds -= {"video"}
        drawn.append(filmed(folders, choice.which, film, watching.faces, frames, maps))
    if kinds:
        seen = [predict_split(run, choice) for run in folders]
        about = {} if film else {"video": watching.video, "frames": frames}
        drawn += collection(
            [s.trained() for s in seen], kinds, seen[0].index.read, seen[0].classes, maps, **about
        )
    found = {}
    for picture, paths in saved(drawn, folder):
        tell(f"wrote {paths[0]} and {paths[1].suffix}")
        found[picture.name] = {"files": [str(p) for p in paths], "numbers": picture.numbers}
        for name, value in flat_numbers(dict(picture.numbers)).items():
            tell(f"  {name} {value:.3g}")
    if not found:
        raise ValueError(
            f"of {folders[0]} nothing can be drawn of {', '.join(only or KINDS)}: maps and t-SNE "
            "are of valence and arousal, t-SNE of 10 samples or more, a course of frames of a "
            "video; choose another --only or selection"
        )
    if as_json:
        print_json({"figures": found})


@app.command(epilog="Example: python cli.py report runs/first runs/second --out report.html")
@grouped
def report(
    choice: Choice,
    runs: RunsArgument = None,
    to: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    maps: MapsOption = "integrated",
) -> None:
    """Write one self-contained page: scores, figures, every prediction, the worst errors."""
    folders = chosen_runs(runs, choice, to)
    from avce.paper.tables import published_on
    from avce.report.cards import commands_of
    from avce.report.page import Run, Subject, write_report
    from avce.report.pictures import collection

    seen = [predict_split(run, choice) for run in folders]
    first = seen[0]
    setting = first.setting(choice)
    kinds = {"maps", "tsne", "video"}
    subject = Subject(
        [Run(s.run.name, s.table, s.record, s.log) for s in seen],
        published=published_on(setting.dataset),
        setting=setting,
        data_card={
            "folders": ", ".join(map(str, first.index.folders)),
            "digest": first.index.digest,
            "stand-in": "yes: drawn faces" if setting.stand_in else "no",
        },
        commands=[line for s in seen for line in commands_of(str(s.run), s.record, s.split)],
        pictures=collection(
            [s.trained() for s in seen], kinds, first.index.read, first.classes, maps
        ),
        thumbnail=first.index.read,
        classes=first.classes,
    )
    with resampling():
        written = write_report(to, subject)
    tell(f"wrote {written}")
