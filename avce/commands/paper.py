"""The paper's tables: print them, train what they miss, bring in the authors' weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from avce.commands.join import lacks_weights, launcher
from avce.commands.options import (
    RUNS,
    SHARDS,
    FormOption,
    RootOption,
    SettingsOption,
    ShardsOption,
    one_of,
    typed,
)
from avce.commands.terminal import say, tell, then

app = typer.Typer()


@app.command(name="table", epilog="Example: python cli.py table 2 --format latex")
def print_table(
    number: Annotated[int, typer.Argument(min=1, max=5, help="Of the paper's supplement.")],
    form: FormOption = "text",
    root: RootOption = RUNS,
) -> None:
    """Show a table of the supplement: printed numbers, ours from finished runs, the commands."""
    from avce.paper import tables

    if root != RUNS and not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist, so no run lies there; check --root")
    chosen = tables.table(number)
    filled = tables.fill(chosen, root)
    if form == "text":
        say(tables.as_text(chosen, filled, root))
    else:
        say((tables.as_csv if form == "csv" else tables.as_latex)(chosen, filled))


@app.command(epilog="Example: python cli.py sweep --table 2 --seeds 3")
def sweep(
    number: Annotated[int, typer.Option("--table", min=1, max=5)],
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N-1 of every row.")] = 1,
    shards: ShardsOption = None,
    settings: SettingsOption = None,
    root: RootOption = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the commands.")] = False,
) -> None:
    """Train what a table still misses, one run after the other; go on where it was stopped.

    Several sweeps of one table, each with its own GPU or machine, share the work.
    """
    from avce.config import with_settings
    from avce.paper import tables
    from avce.paper.sweep import sweep as train_missing

    chosen = tables.table(number)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise typer.BadParameter("a sweep launches its trainings; start it by python cli.py sweep")
    if any(setting.partition("=")[0].strip() == "seed" for setting in settings or []):
        raise typer.BadParameter("a sweep gives each run its seed; say --seeds N, not --set seed")

    def start(row: tables.Row, seed: int, folder: Path) -> list[str]:
        places = shards or [SHARDS / chosen.dataset]
        words = tables.words(row, seed, folder, places, settings or [])
        tell(tables.command(chosen, row, seed, root, shards or (), settings or ()))
        return [*launcher(), "-m", "avce", "train", *words]

    left = tables.missing(chosen, range(seeds), root)
    with typed():
        configs = [row.config and with_settings(row.config, settings or []) for row, _ in left]
    if dry_run:
        for row, seed in left:
            start(row, seed, tables.run_folder(chosen, row, seed, root))
        return
    for (row, _), config in zip(left, configs, strict=True):
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
    one_of(kind, ["released"], "source")
    from avce.paper.released import convert_released
    from avce.training.run_folder import RunFolder

    released = convert_released(paths)
    folder = RunFolder.begin(run, released.config, 1, {"folders": [], "fold": None})
    folder.record.imported = released.digests
    folder.write()
    folder.save_weights("best", released.tensors, 0)
    say(released.report())
    then("eval", run, "--shards", SHARDS / "afew-va")
