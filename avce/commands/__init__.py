"""AVCE on the command line: the commands of every group under one name, and the way in."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.rich_utils import rich_format_error

from avce.commands import data, paper, recipes, score, train, use
from avce.commands.terminal import let_go, occupy, plain, sentence_of, tell, unread

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train and evaluate models that read valence and arousal from faces.",
    epilog="Begin with: python cli.py cartoon affectnet; then shard, train, eval. "
    "--debug anywhere shows the traceback of an error.",
)
for group in (data, recipes, train, score, use, paper):
    app.add_typer(group.app)


def _versions(wanted: bool) -> bool:
    if wanted:
        for package in ("avce", "torch"):
            try:
                print(package, version(package))
            except PackageNotFoundError:
                print(package, "not installed" if package == "torch" else "from its source tree")
        raise typer.Exit
    return wanted


@app.callback()
def _before(
    shown: Annotated[
        bool,
        typer.Option("--version", callback=_versions, is_eager=True, help="Of AVCE and PyTorch."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command: 0 when it is done, 1 when it failed, 2 when it was typed wrongly.

    An error of the user's is one sentence, not a traceback; a bug says that it is one.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit.register(gc.freeze)  # or Python's end searches all of torch for cycles: 1 to 2 s
    occupy()
    kept = os.dup(1)  # Rich puts another in its place once nobody reads
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ascii terminal is no reason to fail
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except (Exception, SystemExit) as end:
        # libraries end the process where a pipe has lost its reader, and it may be a worker's
        error = end.__context__ if isinstance(end, SystemExit) else end
        if isinstance(error, BrokenPipeError) and unread(kept):  # by `head`, which has enough
            code = 0
        elif debug or not isinstance(error, Exception):
            raise
        else:
            code = _told(error)
    if code == 130:
        tell("interrupted")
    let_go()
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # all is said: no traceback now
    sys.exit(code or 0)


def _told(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    if isinstance(error, TyperException):
        error.message = plain(error.message)  # type: ignore[attr-defined]
        rich_format_error(error)  # type: ignore[arg-type]
        return error.exit_code  # type: ignore[attr-defined]
    looped = error.__context__ if isinstance(error, RuntimeError) else None
    if isinstance(looped, OSError) and looped.errno == errno.ELOOP:
        error = looped  # Path.resolve makes a bug of it
    if isinstance(error, ValueError | OSError):
        tell(f"error: {sentence_of(error)}", style="red")
        for note in getattr(error, "__notes__", ()):
            tell(note)
    elif isinstance(error, ImportError):
        tell(f"error: {error}; install what is missing: just setup", style="red")
    else:
        last = error.__traceback__
        while last and last.tb_next:
            last = last.tb_next
        place = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else "nowhere"
        tell(
            f"bug: {type(error).__name__} at {place}: {error}; it is AVCE's fault, so please "
            "report it with what the same command prints with --debug",
            style="red",
        )
    return 1
