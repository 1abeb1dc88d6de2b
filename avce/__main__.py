"""`python -m avce`: the same as the installed command `avce` and as `python cli.py`."""

import signal


def main() -> None:
    """Run a command. A Ctrl-C before it can be answered just ends the process, without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from avce.commands import main as command

    command()


if __name__ == "__main__":
    main()
