"""`python -m avce`: the same as the installed command `avce` and as `python cli.py`."""

from avce.commands import main

main()
