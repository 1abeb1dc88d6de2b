"""AVCE on the command line: parse, join, print; no logic."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from joining import (
    RUNS,
    SHARDS,
    Choice,
    configured,
    device,
    filmed,
    folder_of,
    held_out,
    here,
    labelled,
    lacks_weights,
    latest,
    launcher,
    look,
    pictures,
    room_checks,
    stamp,
    stream,
    sure_scores,
)
from options import (
    FacesOption,
    FoldOption,
    Form,
    JsonOption,
    Level,
    MapsOption,
    RunOption,
    RunsArgument,
    SettingsOption,
    SplitOption,
    WhereOption,
    WhichOption,
    fraction,
    numbers_in,
    one_of,
    reader_options,
)
from terminal import (
    bar,
    err,
    leads,
    out,
    print_facts,
    print_json,
    print_report,
    print_scores,
    table,
    tell,
    then,
    training_bar,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate models that read valence and arousal from faces.",
    epilog="Begin with: python cli.py cartoon affectnet; then shard, train, eval. "
    "--debug anywhere shows the traceback of an error.",
)
RAW = Path("data/raw")
COLUMN_OF = {"video": "video_id", "subject": "subject_id"}


ShardsOption = Annotated[
    list[Path] | None,
    typer.Option(parser=here, help="Shard folder or s3://...; repeatable. Default: the run's own."),
]


# ------------------------------------------------------------------------------------ data


@app.command(epilog="Example: python cli.py cartoon affectnet --n 3000 --level easy")
def cartoon(
    name: Annotated[
        str,
        typer.Argument(help="affectnet, affectnet-2021, aff-wild, aff-wild2, afew-va or raf-db"),
    ],
    n: Annotated[
        int | None, typer.Option(min=2, help="How many images; of video sets, how many videos.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    level: Annotated[Level, typer.Option(help="How much besides the emotion varies.")] = "normal",
    to: Annotated[Path | None, typer.Option("--out", help="Default data/raw/NAME.")] = None,
    odd: Annotated[
        list[str] | None, typer.Option(help="Add an oddity of the true release; repeatable.")
    ] = None,
) -> None:
    """Draw a stand-in data set in its official layout, to try everything without a licence."""
    from shards import layouts
    from shards.cartoon import draw_affectnet

    artists: dict[str, Callable[..., Any]] = {
        "affectnet": draw_affectnet,
        "affectnet-2021": layouts.draw_affectnet_2021,
        "aff-wild": layouts.draw_aff_wild,
        "aff-wild2": layouts.draw_aff_wild2,
        "afew-va": layouts.draw_afew_va,
        "raf-db": layouts.draw_raf_db,
    }
    draw = artists[one_of(name, artists, "stand-in")]
    raw = to or RAW / name
    amount = [n] if n else []
    oddities = {"odd": odd} if odd else {}
    with bar(f"drawing {name}") as progress:
        draw(raw, *amount, seed=seed, level=level, progress=progress, **oddities)
    err.print(f"drew {raw}: level {level}, seed {seed}")
    reader = "affectnet" if name.startswith("affectnet") else name
    then(f"python cli.py shard {reader}" + ("" if raw == RAW / reader else f" --raw {raw}"))


@app.command(epilog="Example: python cli.py shard affectnet --raw data/raw/affectnet")
def shard(
    name: Annotated[str, typer.Argument(help="affectnet, aff-wild, aff-wild2, afew-va or raf-db")],
    raw: Annotated[Path | None, typer.Option(help="Default data/raw/NAME.")] = None,
    to: Annotated[
        str | None, typer.Option("--out", help="Folder or s3://...; default data/shards/NAME.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default all cores.")] = None,
    seed: Annotated[int, typer.Option(help="Of the shuffle at write time.")] = 0,
    crop: Annotated[
        str | None,
        typer.Option(help="box, landmarks, aligned or none; default what suits the data set."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Around the face, as a share of its side.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the stored crop, pixels.")] = 256,
    detect: Annotated[
        bool, typer.Option("--detect", help="Find the face (MTCNN) where no box is published.")
    ] = False,
    with_json: Annotated[
        bool, typer.Option("--with-json", help="Add KEY.json for plain WebDataset users.")
    ] = False,
    check: Annotated[bool, typer.Option(help="Decode every image once to prove it.")] = True,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of the reader, e.g. automatic=true, pts_base=0, subset=compound; repeatable.",
        ),
    ] = None,
    allow_count: Annotated[
        bool, typer.Option("--allow-count", help="Go on with a partial copy.")
    ] = False,
    engine: Annotated[str, typer.Option(help="joblib here, or dask across machines.")] = "joblib",
    address: Annotated[str | None, typer.Option(help="tcp://host:port of Dask.")] = None,
    part: Annotated[str | None, typer.Option(metavar="I/N", help="For job arrays: 0/8.")] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="After the last part: check all and write the index.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace finished shards of other options.")
    ] = False,
) -> None:
    """Turn a data set, as its owner ships it, into tar shards and one Arrow label index.

    A killed run goes on where it was when the same command is typed again.
    """
    from shards import READERS, BuildOptions, Crop, Engine, build

    reader = READERS[one_of(name, READERS, "data set")]
    if part and merge:
        raise typer.BadParameter("--merge comes after the parts; give one of --part and --merge")
    options = BuildOptions(
        crop=Crop(
            mode=crop, size=size, detect=detect, **({} if margin is None else {"margin": margin})
        ),  # type: ignore[arg-type]
        with_json=with_json,
        check=check,
        seed=seed,
        reader=reader_options(reader, option or [], allow_count),
        engine=Engine(engine, jobs=jobs, address=address),  # type: ignore[arg-type]
        part=fraction(part),
        overwrite=overwrite,
    )
    folder = to or str(SHARDS / name)
    with bar(f"sharding {name}") as progress:
        report = build(name, raw or RAW / name, folder, options, progress)
    print_report(report)
    if report.complete:
        words = [] if folder == str(SHARDS / "affectnet") else [f"--shards {folder}"]
        if name == "raf-db":  # expressions alone
            words.append("--recipe avce_discrete")
        then(" ".join(["accelerate launch cli.py train", *words]))


@app.command(epilog="Example: python cli.py inspect affectnet --plot affectnet.png")
def inspect(
    name: Annotated[str, typer.Argument(help="A name under data/shards, or any shard folder.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash every tar and read every row again.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a PNG of the valence-arousal plane and classes.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an index holds: counts, ranges, histogram, digest."""
    from shards import LabelIndex
    from shards.facts import facts_of

    index = LabelIndex.open(folder_of(name))
    if verify:
        with bar(f"verifying {name}") as progress:
            problems = index.verify(progress)
        if problems:
            raise ValueError("\n".join(problems))
        err.print(f"verified {len(index):,} rows in {len(index.tars)} shards")
    facts = facts_of(index)
    if plot:
        from avce import figures

        targets = index.where(va_valid=True).targets()
        plot.write_bytes(figures.png(lambda: figures.labels(targets, facts["expressions"])))
        tell(f"wrote {plot}")
    print_json(facts) if as_json else print_facts(folder_of(name), facts)


# ------------------------------------------------------------------------------------ training


@app.command(
    epilog="Example: accelerate launch cli.py train --recipe paper --set lr=5e-5 --epochs 10"
)
def train(
    shards: Annotated[
        list[Path] | None,
        typer.Option(
            parser=here,
            help="Shard folder or s3://...; repeatable. Default data/shards/affectnet.",
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Default runs/RECIPE-TIME.")] = None,
    recipe: Annotated[str, typer.Option(help="A row of the paper's tables, or demo.")] = "paper",
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Over all ranks.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="The encoder's first ones: imagenet (downloads), none, or a file. "
            "Default: the recipe's, or none where ImageNet's are not on this disk."
        ),
    ] = None,
    settings: SettingsOption = None,
    fold: Annotated[int | None, typer.Option(help="Hold out this fold instead of a split.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run exactly where it stopped.")
    ] = None,
) -> None:
    """Train a model. Works alone, under `accelerate launch` and under `torchrun`."""
    from avce.methods import build_method
    from avce.runs import first_scores, read_facts
    from avce.trainer import Interrupted, fit, of_first_rank
    from shards import LabelIndex

    given = [("epochs", epochs), ("batch_size", batch_size), ("weights", weights)]
    wanted = [f"{name}={value}" for name, value in given if value is not None] + (settings or [])
    config, facts = configured(recipe, wanted, resume)
    if resume and facts:
        shards, fold = [Path(p) for p in facts["folders"]], facts["fold"]
    index = LabelIndex.open(folders := shards or [SHARDS / "affectnet"])
    held = held_out(index)
    parts = {name: labelled(index, config, name, fold) for name in ("train", held)}
    if held == "test" and fold is None:
        tell("no split val in these shards: scored on test, on which the best weights are chosen")
    facts = {
        "folders": [str(folder) for folder in folders],
        "fold": fold,
        "digest": index.digest,
        "crop": index.metadata.get("options", {}),
        "parts": {name: {"n": len(part), "digest": part.digest} for name, part in parts.items()},
    }
    folder = resume or run or Path(of_first_rank(str(RUNS / f"{recipe}-{stamp()}")))
    with training_bar() as progress:
        try:
            fit(
                build_method(config),
                config,
                stream(parts["train"], config, training=True),
                stream(parts[held], config),
                run=folder,
                resume=resume is not None,
                progress=progress,
                shards_facts=facts,
            )
        except Interrupted as stopped:
            tell(f"{stopped}\ngo on with: python cli.py train --resume {folder}")
            return
    if leads():
        scores = read_facts(folder)["scores"]["best"]
        print_scores(f"{folder} on held-out faces, best weights", first_scores(folder), scores)
        then(f"python cli.py eval {folder} --split {held}")


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
    from avce import scoreboard
    from avce.intervals import assess
    from avce.predictions import one_table, write_predictions
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
    drawn = scoreboard.board(scored, scoreboard.published_on(setting.dataset), setting)
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
    from avce.gallery import KINDS, collection, saved
    from avce.journal import flat_numbers
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
    from avce.gallery import collection
    from avce.report import Run, Subject, commands_of, write_report
    from avce.scoreboard import published_on
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
) -> None:
    """Read valence and arousal from anyone's pictures, prepared as in training."""
    from avce.footage import Skipped
    from avce.predict import Predictor, predict_to, sink_for
    from shards.finder import finder_for

    skipped = Skipped()
    predictor = Predictor.load(run or latest(), which, device())
    frames, cropped = pictures(sources, skipped)
    find = None if cropped else finder_for(faces, device())
    with bar("predicting") as progress:
        sink = sink_for(to, predictor.config)
        done = predict_to(sink, predictor, frames, find=find, skipped=skipped, progress=progress)
    for line in skipped.lines():
        tell(f"skipped: {line}")
    tell(str(done))


@app.command(epilog="Example: python cli.py export --format onnx")
def export(
    run: RunOption = None,
    to: Annotated[Path | None, typer.Option("--out", help="Default RUN/export.")] = None,
    form: Annotated[Literal["safetensors", "onnx"], typer.Option("--format")] = "safetensors",
    which: WhichOption = "best",
) -> None:
    """Write the model alone, with a card that says what it may be used for."""
    from avce.export import export as write

    folder = run or latest()
    for path in write(folder, to, form, which, sure_scores(folder, which)):
        tell(f"wrote {path}")


@app.command(epilog="Example: python cli.py doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what is wrong, and what to do about it."""
    found = [
        *room_checks("avce"),
        *room_checks("pipelines"),
        *room_checks("shards", [SHARDS]),
    ]
    columns = ("what", "outcome", "found", "what to do")
    if as_json:
        print_json({"checks": [dict(zip(columns, check, strict=True)) for check in found]})
    else:
        out.print(table("", columns, found))
    if any(outcome == "fail" for _, outcome, _, _ in found):
        raise typer.Exit(1)


@app.command(name="table", epilog="Example: python cli.py table 2 --format latex")
def print_table(
    number: Annotated[int, typer.Argument(min=1, max=5, help="Of the paper's supplement.")],
    form: Annotated[Form, typer.Option("--format", help="text, csv or latex.")] = "text",
    root: Annotated[Path, typer.Option(help="Where finished runs lie.")] = RUNS,
) -> None:
    """Show a table of the supplement: printed numbers, ours from finished runs, the commands."""
    from avce import tables

    chosen = tables.table(number)
    filled = tables.fill(chosen, root)
    if form == "text":
        print(tables.as_text(chosen, filled, root))
    else:
        print((tables.as_csv if form == "csv" else tables.as_latex)(chosen, filled))


@app.command(epilog="Example: python cli.py sweep --table 2 --seeds 3")
def sweep(
    number: Annotated[int, typer.Option("--table", min=1, max=5)],
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N-1 of every row.")] = 1,
    shards: ShardsOption = None,
    settings: SettingsOption = None,
    root: Annotated[Path, typer.Option(help="Where finished runs lie.")] = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the commands.")] = False,
) -> None:
    """Train what a table still misses, one run after the other; go on where it was stopped.

    Several sweeps of one table, each with its own GPU or machine, share the work.
    """
    from avce import tables
    from avce.config import with_settings
    from avce.sweep import sweep as train_missing

    chosen = tables.table(number)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise typer.BadParameter("a sweep launches its trainings; start it by python cli.py sweep")

    def start(row: tables.Row, seed: int, folder: Path) -> list[str]:
        places = shards or [SHARDS / chosen.dataset]
        words = tables.words(row, seed, folder, places, settings or [])
        command = [*launcher(), str(Path(__file__)), "train", *words]
        tell(" ".join(command))
        return command

    left = tables.missing(chosen, range(seeds), root)
    if dry_run:
        for row, seed in left:
            start(row, seed, tables.run_folder(chosen, row, seed, root))
        return
    for row, _ in left:
        config = row.config and with_settings(row.config, settings or [])
        if config and lacks_weights(config, settings or []):
            raise ValueError(
                f"row {row.name} starts from the ImageNet weights of {config.encoder}, which "
                "are not on this disk; --set weights=imagenet downloads them, --set weights=none "
                "trains from random ones, which is not what was printed"
            )
    swept = train_missing(chosen, range(seeds), root, start)
    print_table(number, root=root)
    if swept.stopped:
        tell("stopped; run the same sweep again to go on")
    for folder in swept.elsewhere:
        tell(f"{folder} is being trained by another sweep")
    if swept.failed:
        raise ValueError(
            f"{', '.join(map(str, swept.failed))} did not finish; its own message above says why; "
            "mend it and run the same sweep again"
        )


@app.command(name="import", epilog="Example: python cli.py import released encoder.t7 regressor.t7")
def import_weights(
    kind: Annotated[str, typer.Argument(help="released: the authors' published checkpoints.")],
    paths: Annotated[list[Path], typer.Argument(help="The encoder's and the regressor's file.")],
    run: Annotated[Path, typer.Option(help="The run folder to make.")] = RUNS / "released",
) -> None:
    """Turn the authors' checkpoints into a run of ours; every tensor is accounted for."""
    from avce.released import convert_released
    from avce.runs import RunFolder

    one_of(kind, ["released"], "source")
    released = convert_released(paths)
    folder = RunFolder.begin(run, released.config, 1, {"folders": [], "fold": None})
    folder.facts["imported"] = released.digests
    folder.write()
    folder.save_weights("best", released.tensors, 0)
    print(released.report())
    then(f"python cli.py eval {run} --shards data/shards/afew-va")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: python cli.py bench layers --quick",
)
def bench(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="layers, step, feed, shard, report, predict, recipes")
    ],
) -> None:
    """Run a benchmark, ours beside its baselines, and print its table; --quick for a glance."""
    folder = Path(__file__).parent / "benchmarks"
    one_of(name, sorted(script.stem for script in folder.glob("*.py")), "benchmark")
    script = folder / f"{name}.py"
    sys.exit(subprocess.run([sys.executable, str(script), *context.args]).returncode)


# ------------------------------------------------------------------------------------ the way in


def main() -> None:
    """Run a command; an error of the user's is one sentence, not a traceback."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except (ValueError, OSError) as error:
        if debug:
            raise
        tell(f"[red]error:[/] {escape(str(error))}")
        sys.exit(1)


if __name__ == "__main__":
    main()
