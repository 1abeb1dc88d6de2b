"""From a data set to shards: draw a stand-in, shard, inspect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from avce.commands.options import (
    RAW,
    SHARDS,
    Cutting,
    JsonOption,
    Level,
    Reading,
    Storing,
    Working,
    grouped,
    one_of,
    output,
    read_in,
    typed,
)
from avce.commands.terminal import (
    bar,
    phases,
    print_facts,
    print_json,
    print_report,
    shell,
    tell,
    then,
)

app = typer.Typer()
RELEASES = {"affectnet-2021": "affectnet"}  # drawn apart, read as one data set


@app.command(epilog="Example: python cli.py cartoon affectnet --n 3000 --level easy")
def cartoon(
    name: Annotated[
        str,
        typer.Argument(
            help="affectnet, affectnet-2021, aff-wild, aff-wild2, afew-va, raf-db or table"
        ),
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
    from shards.standins import affectnet, layouts
    from shards.standins.oddities import check_oddities

    artists: dict[str, tuple[str, Callable[..., Any]]] = {
        "affectnet": (affectnet.NAME, affectnet.draw_affectnet),
        "affectnet-2021": ("affectnet", layouts.draw_affectnet_2021),
        "aff-wild": ("affwild", layouts.draw_aff_wild),
        "aff-wild2": ("affwild2", layouts.draw_aff_wild2),
        "afew-va": ("afew_va", layouts.draw_afew_va),
        "raf-db": ("raf_db", layouts.draw_raf_db),
        "table": ("table", layouts.draw_table),
    }
    dataset, draw = artists[one_of(name, artists, "stand-in")]
    with typed():
        check_oddities(dataset, odd or [])
        if n is not None and draw is affectnet.draw_affectnet:
            affectnet.check_amount(n)
    raw = output(to or RAW / name, folder=True)
    amount = [n] if n else []
    oddities = {"odd": odd} if odd else {}
    with bar(f"drawing {name}") as progress:
        draw(raw, *amount, seed=seed, level=level, progress=progress, **oddities)
    tell(f"drew {raw}: level {level}, seed {seed}")
    reader = RELEASES.get(name, name)
    apart = ["--raw", raw] if raw != RAW / reader else []
    apart += ["--out", SHARDS / name] if name in RELEASES else []  # not among the other release's
    then("shard", reader, *apart)


@app.command(epilog="Example: python cli.py shard affectnet --raw data/raw/affectnet")
@grouped
def shard(
    name: Annotated[
        str, typer.Argument(help="affectnet, aff-wild, aff-wild2, afew-va, raf-db or table")
    ],
    storing: Storing,
    cutting: Cutting,
    reading: Reading,
    working: Working,
    as_json: JsonOption = False,
) -> None:
    """Turn a data set, as its owner ships it, into tar shards and one Arrow label index.

    A killed run goes on where it was when the same command is typed again.
    """
    from shards import READERS, BuildOptions, build
    from shards.datasets.elsewhere import imported, installed

    if reading.reader and name in READERS:
        raise typer.BadParameter(
            f"{name} has a reader of ours; give what --reader reads a new name"
        )
    others = {name: reading.reader} if reading.reader else installed()
    if name in others and name not in READERS:
        READERS[name] = imported(others[name])
    if name in RELEASES:
        raw = storing.raw or RAW / name
        raise typer.BadParameter(
            f"{name} is a release of {RELEASES[name]}; say: "
            + shell("shard", RELEASES[name], "--raw", raw, "--out", storing.to or SHARDS / name)
        )
    reader = READERS[one_of(name, {**others, **READERS}, "data set")]
    options = BuildOptions(
        crop=cutting.value(),
        with_json=storing.with_json,
        check=storing.check,
        seed=storing.seed,
        reader=reading.values(reader),
        engine=working.value(),
        part=working.fraction(),
        overwrite=working.overwrite,
    )
    folder = storing.to or str(SHARDS / name)
    heard: list[dict[str, Any]] = []

    def understood(check: dict[str, Any]) -> None:
        heard.append(check)
        if "facts" in check and not as_json:
            tell(f"{check['check']}: {check['detail']}")

    try:
        with phases(f"sharding {name}") as course:
            raw = storing.raw or RAW / name
            report = build(name, raw, folder, options, heard=understood, course=course)
    except ValueError as error:
        if as_json:
            print_json({"name": name, "complete": False, "error": str(error), "checks": heard})
        raise
    print_json(report.as_dict()) if as_json else print_report(report)
    if report.complete:
        words = [] if folder == str(SHARDS / "affectnet") else ["--shards", folder]
        facts = report.findings.facts
        if name == "raf-db" or (facts("classes") and not facts("range")):  # expressions alone
            words += ["--recipe", "avce_discrete"]
        then("train", *words, by=("accelerate", "launch"))


@app.command(epilog="Example: python cli.py inspect affectnet --plot affectnet.png")
def inspect(
    name: Annotated[str, typer.Argument(help="A name under data/shards, or any shard folder.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash every tar and read every row again.")
    ] = False,
    mend: Annotated[
        bool,
        typer.Option("--repair", help="Write again what follows from the tars: .idx, places."),
    ] = False,
    duplicates: Annotated[
        bool,
        typer.Option("--duplicates", help="Look for near-duplicate images across splits."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a PNG of the valence-arousal plane and classes.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an index holds: counts, ranges, histogram, digest."""
    from shards import LabelIndex
    from shards.summary import facts_of

    folder = Path(name) if Path(name).is_dir() else SHARDS / name
    if mend:
        from shards import repair

        for sentence in repair(folder) or ["nothing to repair"]:
            tell(sentence)
    index = LabelIndex.open(folder)
    if plot:
        output(plot, read_in([folder]))
    if verify:
        with bar(f"verifying {name}") as progress:
            problems = index.verify(progress)
        if problems:
            raise ValueError("\n".join(problems))
        tell(f"verified {len(index):,} rows in {len(index.tars)} shards")
    facts = facts_of(index)
    if duplicates:
        from shards.labels.alike import alike, told

        with bar(f"comparing {name}") as progress:
            facts["duplicates"] = told(index, alike(index, progress or (lambda *_: None)))
    if plot:
        from avce.durable import write_aside
        from avce.report import figures

        targets = index.where(va_valid=True).targets()
        drawn = figures.png(lambda: figures.labels(targets, facts["expressions"]))
        write_aside(plot, drawn)
        tell(f"wrote {plot}")
    print_json(facts) if as_json else print_facts(folder, facts)
