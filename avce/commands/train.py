"""Train a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avce.commands.join import configured, first_weights, labelled, stamp, stream, with_classes
from avce.commands.options import RUNS, SHARDS, Learning, grouped, here
from avce.commands.terminal import leads, print_scores, tell, tell_draws, then, training_bar

app = typer.Typer()


@app.command(
    epilog="Example: accelerate launch cli.py train --recipe paper --set lr=5e-5 --epochs 10"
)
@grouped
def train(
    learning: Learning,
    shards: Annotated[
        list[Path] | None,
        typer.Option(
            parser=here,
            help="Shard folder or s3://...; repeatable. Default data/shards/affectnet.",
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Default runs/RECIPE-TIME.")] = None,
    fold: Annotated[int | None, typer.Option(help="Hold out this fold instead of a split.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run exactly where it stopped.")
    ] = None,
) -> None:
    """Train a model. Works alone, under `accelerate launch` and under `torchrun`."""
    config, before = configured(learning, resume)
    from shards import LabelIndex

    if resume and before:
        shards, fold = shards or before.places(resume), before.fold
    index = LabelIndex.open(folders := shards or [SHARDS / "affectnet"])
    if not resume:
        config = with_classes(config, index, learning.changes)
    held = index.held_out
    parts = {name: labelled(index, config, name, fold) for name in ("train", held)}
    if held == "test" and fold is None:
        tell("no split val in these shards: scored on test, on which the best weights are chosen")
    facts = {
        "folders": [str(folder.resolve()) for folder in folders],
        "fold": fold,
        "datasets": index.table["dataset"].unique().to_pylist(),
        "digest": index.digest,
        "classes": index.classes,
        "crop": index.metadata.get("options", {})
        | {"boxes": index.table["bbox_source"].unique().to_pylist()},
        "parts": {name: {"n": len(part), "digest": part.digest} for name, part in parts.items()},
    }
    if not resume:
        config = first_weights(config, learning.changes)
    from avce.method.build import build_method
    from avce.ranks import of_first_rank
    from avce.training.checkpoint import newest_checkpoint
    from avce.training.record import read_record
    from avce.training.run_folder import first_scores
    from avce.training.trainer import Interrupted, fit

    training, held_out = stream(parts["train"], config, training=True), stream(parts[held], config)
    tell_draws(config.balance, training.order.expected())
    folder = resume or run or Path(of_first_rank(str(RUNS / f"{learning.recipe}-{stamp()}")))
    begun = resume is not None and newest_checkpoint(resume / "checkpoints") is not None
    method = build_method(config, pretrained=not begun)
    if config.reweigh == "plane":
        weights = method.reweigh(parts["train"].targets())
        tell(f"reweigh=plane: errors weigh {weights.min():.3g} to {weights.max():.3g} times")
    with training_bar(config.epochs * len(training)) as progress:
        try:
            fit(
                method,
                config,
                training,
                held_out,
                run=folder,
                resume=resume is not None,
                progress=progress,
                shards_facts=facts,
            )
        except Interrupted as stopped:
            tell(stopped)
            then("train", "--resume", folder, what="go on with")
            return
    if leads():
        scores = dict((read_record(folder).scores or {})["best"])
        print_scores(f"{folder} on held-out faces, best weights", first_scores(folder), scores)
        then("eval", folder, "--split", held)
