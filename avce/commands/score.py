"""Score runs, draw their figures, write their page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avce.commands.join import Choice, filmed, latest, look
from avce.commands.options import (
    FacesOption,
    FoldOption,
    Form,
    JsonOption,
    MapsOption,
    RunsArgument,
    ShardsOption,
    SplitOption,
    WhereOption,
    WhichOption,
    numbers_in,
    one_of,
)
from avce.commands.terminal import print_json, tell

app = typer.Typer()


COLUMN_OF = {"video": "video_id", "subject": "subject_id"}


@app.command(name="eval", epilog='Example: python cli.py eval --where "valence > 0" --by video')
def evaluate_run(
    runs: RunsArgument = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="The same as the argument; repeatable.")
    ] = None,
    shards: ShardsOption = None,
    split: SplitOption = None,
    fold: FoldOption = None,
    where: WhereOption = None,
    which: WhichOption = "best",
    merge: Annotated[
        bool | None,
        typer.Option(help="The runs are the folds of one; default: where their folds differ."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also per video, subject, fold or any column; repeatable."),
    ] = None,
    convention: Annotated[
        str, typer.Option(help="ours, authors or torchmetrics; see docs/reading-a-report.md.")
    ] = "ours",
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirror image.")] = False,
    clusters: Annotated[
        str, typer.Option(help="What the bootstrap draws: auto, image, or a column of the index.")
    ] = "auto",
    save: Annotated[
        Path | None, typer.Option(help="Write every prediction to this Arrow file.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="text, csv or latex.")] = "text",
    as_json: JsonOption = False,
) -> None:
    """Score trained models over a whole split: RMSE, SAGR, PCC, CCC with 95 % intervals."""
    from avce.paper.tables import published_on
    from avce.scores import scoreboard
    from avce.scores.intervals import assess
    from avce.scores.predictions import one_table, write_predictions
    from shards import EXPRESSIONS

    choice = Choice(shards, split, fold, where, which)
    seen = [look(one, choice, flip) for one in (runs or []) + (run or []) or [None]]
    folds = [s.facts["shards"].get("fold") for s in seen]
    merge = None not in folds and len(set(folds)) == len(seen) > 1 if merge is None else merge
    named = {str(s.run): s.table for s in seen}
    tables = {f"{len(seen)} folds": one_table(named, merged=True)} if merge else named
    scored = [
        assess(table, name, convention=convention, clusters=clusters)
        for name, table in tables.items()
    ]
    if merge:
        tell(f"merged {len(seen)} folds into one score; --no-merge keeps them apart")
    if save:
        write_predictions(save, one_table(named, merged=merge), seen[0].facts)
        tell(f"wrote {save}")
    setting = seen[0].setting(choice, convention, flip)
    drawn = scoreboard.board(scored, published_on(setting.dataset), setting)
    columns = [*(["part"] if merge else []), *(COLUMN_OF.get(one, one) for one in by or [])]
    groups = scoreboard.groups_of(tables, columns, convention)
    if as_json:
        found = scoreboard.as_dict(scored, drawn, groups)
        alone = found["runs"][0] | {"run": str(seen[0].run)} if len(scored) == 1 else {}
        print_json({**alone, "weights": which, "split": seen[0].split, **found})
    else:
        write = {"text": scoreboard.as_text, "csv": scoreboard.as_csv, "latex": scoreboard.as_latex}
        print(write[form](scoreboard.with_groups(drawn, groups)))
        if form == "text":
            print(scoreboard.confusions(scored, EXPRESSIONS), end="")


@app.command(epilog="Example: python cli.py figures runs/first runs/second --video 001")
def figures(
    runs: RunsArgument = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder; default RUN/figures of the first run.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="training, plane, maps, tsne or video; repeatable. Default all."),
    ] = None,
    shards: ShardsOption = None,
    split: SplitOption = None,
    fold: FoldOption = None,
    where: WhereOption = None,
    which: WhichOption = "best",
    maps: MapsOption = "linear",
    video: Annotated[
        str | None,
        typer.Option(help="A video of the selection, or a video file. Default the longest."),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="Of the video, with maps: 313,1350. Default the peak of each quarter."),
    ] = None,
    faces: FacesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw what a paper shows, PNG and SVG: training curves, the valence-arousal plane,
    calibration, activation maps with their checks, t-SNE of z, a video frame by frame."""
    from avce.report.pictures import KINDS, collection, saved
    from avce.training.journal import flat_numbers
    from shards import EXPRESSIONS

    chosen = numbers_in(frames)
    kinds = {one_of(kind, KINDS, "figure") for kind in only or KINDS}
    film = Path(video) if video and Path(video).is_file() else None
    runs = runs or [latest()]
    drawn: list[Any] = []
    if film and "video" in kinds:
        kinds -= {"video"}
        drawn.append(filmed(runs, which, film, faces, chosen, maps))
    if kinds:
        seen = [look(run, Choice(shards, split, fold, where, which)) for run in runs]
        about = {} if film else {"video": video, "frames": chosen}
        drawn += collection(
            [s.exhibit() for s in seen], kinds, seen[0].index.read, EXPRESSIONS, maps, **about
        )
    folder = to or runs[0] / "figures"
    found = {}
    for picture, paths in saved(drawn, folder):
        tell(f"wrote {paths[0]} and {paths[1].suffix}")
        found[picture.name] = {"files": [str(p) for p in paths], "numbers": picture.numbers}
        for name, value in flat_numbers(dict(picture.numbers)).items():
            tell(f"  {name} {value:.3g}")
    if as_json:
        print_json({"figures": found})


@app.command(epilog="Example: python cli.py report runs/first runs/second --out report.html")
def report(
    runs: RunsArgument = None,
    to: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    shards: ShardsOption = None,
    split: SplitOption = None,
    fold: FoldOption = None,
    where: WhereOption = None,
    which: WhichOption = "best",
    maps: MapsOption = "linear",
) -> None:
    """Write one self-contained page: scores, figures, every prediction, the worst errors."""
    from avce.paper.tables import published_on
    from avce.report.page import Run, Subject, commands_of, write_report
    from avce.report.pictures import collection
    from shards import EXPRESSIONS

    choice = Choice(shards, split, fold, where, which)
    seen = [look(run, choice) for run in runs or [None]]
    first = seen[0]
    setting = first.setting(choice)
    kinds = {"maps", "tsne", "video"}
    subject = Subject(
        [Run(s.run.name, s.table, s.facts, s.log) for s in seen],
        published=published_on(setting.dataset),
        setting=setting,
        data_card={
            "folders": ", ".join(map(str, first.index.folders)),
            "digest": first.index.digest,
            "stand-in": "yes: drawn faces" if setting.stand_in else "no",
        },
        commands=[line for s in seen for line in commands_of(str(s.run), s.facts, s.split)],
        pictures=collection(
            [s.exhibit() for s in seen], kinds, first.index.read, EXPRESSIONS, maps
        ),
        thumbnail=first.index.read,
        classes=EXPRESSIONS,
    )
    tell(f"wrote {write_report(to, subject)}")
