"""AVCE on the command line: the commands of every group under one name, and the way in."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from avce.commands import data, paper, score, train, use
from avce.commands.terminal import tell

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate models that read valence and arousal from faces.",
    epilog="Begin with: python cli.py cartoon affectnet; then shard, train, eval. "
    "--debug anywhere shows the traceback of an error.",
)
for group in (data, train, score, use, paper):
    app.add_typer(group.app)


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
