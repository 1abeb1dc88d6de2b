"""From a data set to shards: draw a stand-in, shard, inspect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from avce.commands.join import SHARDS, folder_of
from avce.commands.options import JsonOption, Level, fraction, one_of, reader_options
from avce.commands.terminal import bar, err, print_facts, print_json, print_report, tell, then

app = typer.Typer()


RAW = Path("data/raw")


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
    from shards.standins import layouts
    from shards.standins.affectnet import draw_affectnet

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
    from shards.summary import facts_of

    index = LabelIndex.open(folder_of(name))
    if verify:
        with bar(f"verifying {name}") as progress:
            problems = index.verify(progress)
        if problems:
            raise ValueError("\n".join(problems))
        err.print(f"verified {len(index):,} rows in {len(index.tars)} shards")
    facts = facts_of(index)
    if plot:
        from avce.report import figures

        targets = index.where(va_valid=True).targets()
        plot.write_bytes(figures.png(lambda: figures.labels(targets, facts["expressions"])))
        tell(f"wrote {plot}")
    print_json(facts) if as_json else print_facts(folder_of(name), facts)
