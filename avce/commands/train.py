"""Train a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avce.commands.join import RUNS, SHARDS, configured, held_out, labelled, stamp, stream
from avce.commands.options import SettingsOption, here
from avce.commands.terminal import leads, print_scores, tell, then, training_bar

app = typer.Typer()


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
    from avce.method.build import build_method
    from avce.ranks import of_first_rank
    from avce.training.run_folder import first_scores, read_facts
    from avce.training.trainer import Interrupted, fit
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
        "crop": index.metadata.get("avce.commands.options", {}),
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
